;; A component of a world of its own.
(component
  (instance $nothing)
  (export "example:greeting/greeter@1.0.0" (instance $nothing)))
