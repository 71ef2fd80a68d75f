;; Empty memories: they hold nothing, but each takes its place in the address space.
(component
  (core module $module
    (memory 0) (memory 0) (memory 0) (memory 0) (memory 0) (memory 0) (memory 0) (memory 0) (memory 0)
    (memory 0) (memory 0) (memory 0) (memory 0) (memory 0) (memory 0) (memory 0) (memory 0) (memory 0))
  (core instance (instantiate $module))
  (instance $nothing)
  (export "sekisho:gateway/translator@0.1.0" (instance $nothing))
  (export "sekisho:gateway/router@0.1.0" (instance $nothing)))
