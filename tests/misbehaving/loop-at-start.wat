;; Its instances never come to be.
(component
  (core module $module
    (func $start (loop $again (br $again)))
    (start $start))
  (core instance (instantiate $module))
  (instance $nothing)
  (export "sekisho:gateway/translator@0.1.0" (instance $nothing))
  (export "sekisho:gateway/router@0.1.0" (instance $nothing)))
