;; A table grows at the start as long as it may; a million elements are too many.
(component
  (core module $module
    (table 0 funcref)
    (func $start
      (loop $again
        (if (i32.eq (table.grow (ref.null func) (i32.const 1000)) (i32.const -1)) (then unreachable))
        (br_if $again (i32.lt_u (table.size) (i32.const 1000000)))))
    (start $start))
  (core instance (instantiate $module))
  (instance $nothing)
  (export "sekisho:gateway/translator@0.1.0" (instance $nothing))
  (export "sekisho:gateway/router@0.1.0" (instance $nothing)))
