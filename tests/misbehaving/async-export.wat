;; `route` may wait.
(component
  (core module $module (func (export "route") (result i32) (i32.const 0)))
  (core instance $instance (instantiate $module))
  (func $route async (result u32) (canon lift (core func $instance "route")))
  (instance $router (export "route" (func $route)))
  (instance $nothing)
  (export "sekisho:gateway/translator@0.1.0" (instance $nothing))
  (export "sekisho:gateway/router@0.1.0" (instance $router)))
