;; No memory is larger than one may be, but together they are.
(component
  (core module $module (memory 700))
  (core instance (instantiate $module))
  (core instance (instantiate $module))
  (instance $nothing)
  (export "sekisho:gateway/translator@0.1.0" (instance $nothing))
  (export "sekisho:gateway/router@0.1.0" (instance $nothing)))
