;; Its memory grows at the start; it traps only where it is refused more.
(component
  (core module $module
    (memory 1)
    (func $start
      (loop $again
        (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
        (br_if $again (i32.lt_u (memory.size) (i32.const 2000)))))
    (start $start))
  (core instance (instantiate $module))
  (instance $nothing)
  (export "sekisho:gateway/translator@0.1.0" (instance $nothing))
  (export "sekisho:gateway/router@0.1.0" (instance $nothing)))
