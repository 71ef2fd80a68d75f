;; What a plugin exports that was built for a later version of the interface.
(component
  (instance $nothing)
  (export "sekisho:gateway/translator@0.2.0" (instance $nothing))
  (export "sekisho:gateway/router@0.2.0" (instance $nothing)))
