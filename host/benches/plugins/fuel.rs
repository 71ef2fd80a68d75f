//! Instructions in the sandbox, counted by wasmtime's fuel: WebAssembly instructions that the plugin executes, its own
//! part of moving arguments and results included. The host's part of a call is not in it, and a copy of memory counts
//! as one. The same plugin gives the same numbers on every machine.
//!
//! The gateway's own engine counts no fuel, so that this one is made here; values are dynamic, because bindings would
//! be generated a second time.

use sekisho::object::ObjectKey;
use sekisho::plugin::{Engine, read_code};
use wasmtime::component::{Component, Func, Instance, Linker, Val};
use wasmtime::{Config, Store};
use wit_component::ComponentEncoder;

use crate::cases::{Asking, Estate, environment};
use crate::estate::{Asked, Dialect};
use crate::sandboxed;

/// Prints what each case takes.
pub(crate) fn count() {
    for dialect in Dialect::ALL {
        let plugin = sandboxed::routes(&Engine::new().expect("an engine"), dialect.name());
        let counted = Counted::new(dialect);
        for estate in Estate::all_of(dialect) {
            let mut translator = plugin.translator().expect("an instance");
            let translation = translator.translate(&environment(), &estate.objects).expect("a translation");
            let say = |case: &str, fuel: u64| println!("{case:60} {fuel:>12} of fuel");
            let name = |call| estate.name(call, "sandboxed");
            let mut instance = counted.start();
            let objects = estate.objects.iter().map(|object| {
                let object = record([
                    ("key", key(&object.key)),
                    ("version", Val::String(object.version.clone())),
                    ("json", bytes(&object.json)),
                ]);
                Val::Variant("new".to_owned(), Some(Box::new(object)))
            });
            let same = |index| Val::Variant("same".to_owned(), Some(Box::new(Val::U32(index))));
            let again = (0_u32..).take(estate.objects.len()).map(same);
            let first = [environment_value(), Val::List(objects.collect())];
            let again = [environment_value(), Val::List(again.collect())];
            say(&name("translate"), instance.call("translator", "translate", &first));
            // Only the second is remembered.
            instance.call("translator", "translate", &again);
            say(&name("translate-again"), instance.call("translator", "translate", &again));
            let mut instance = counted.start();
            say(&name("load"), instance.call("router", "load", &[bytes(&translation.table)]));
            for asked in Asked::ALL {
                let Asking { host, path, inputs } = Asking::new(asked, &estate, &translation);
                let inputs = inputs.iter().map(|input| Val::Option(input.as_deref().map(bytes).map(Box::new)));
                let head = record([
                    ("listener", Val::U32(0)),
                    ("host", Val::String(host)),
                    ("path", Val::String(path)),
                    ("inputs", Val::List(inputs.collect())),
                ]);
                // What is made at the first call is not counted.
                let head = [head];
                instance.call("router", "route", &head);
                say(&format!("{}/{}", name("route"), asked.name()), instance.call("router", "route", &head));
            }
        }
    }
}

/// A plugin that is compiled to count.
struct Counted {
    component: Component,
    linker: Linker<()>,
}

impl Counted {
    fn new(dialect: Dialect) -> Self {
        let mut config = Config::new();
        config.consume_fuel(true);
        let engine = wasmtime::Engine::new(&config).expect("an engine");
        let module = read_code(&sandboxed::builtin(dialect.name()), u64::MAX).expect("a built-in plugin").0;
        let encoder = ComponentEncoder::default().module(&module).expect("a module with its component type");
        let component = encoder.validate(true).encode().expect("a component");
        let component = Component::from_binary(&engine, &component).expect("a component that compiles");
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&component).expect("imports");
        Self { component, linker }
    }

    fn start(&self) -> Running {
        let mut store = Store::new(self.linker.engine(), ());
        store.set_hostcall_fuel(usize::MAX);
        store.set_fuel(u64::MAX / 2).expect("an engine that counts");
        let instance = self.linker.instantiate(&mut store, &self.component).expect("an instance");
        Running { store, instance }
    }
}

struct Running {
    store: Store<()>,
    instance: Instance,
}

impl Running {
    /// What one call takes.
    fn call(&mut self, interface: &str, name: &str, arguments: &[Val]) -> u64 {
        let function = self.function(interface, name);
        let before = self.store.get_fuel().expect("an engine that counts");
        let mut results = [Val::Bool(false)];
        function.call(&mut self.store, arguments, &mut results).expect("a call that returns");
        before - self.store.get_fuel().expect("an engine that counts")
    }

    fn function(&mut self, interface: &str, name: &str) -> Func {
        let interface = format!("sekisho:gateway/{interface}@0.1.0");
        let interface = self.instance.get_export_index(&mut self.store, None, &interface).expect("an interface");
        let function = self.instance.get_export_index(&mut self.store, Some(&interface), name).expect("a function");
        self.instance.get_func(&mut self.store, function).expect("a function")
    }
}

fn environment_value() -> Val {
    let gateway = environment().gateway;
    let label = |(name, value): (String, String)| Val::Tuple(vec![Val::String(name), Val::String(value)]);
    record([
        ("namespace", Val::String(gateway.namespace)),
        ("labels", Val::List(gateway.labels.into_iter().map(label).collect())),
        ("class-name", Val::String(gateway.class_name)),
        ("controller-name", Val::String(gateway.controller_name)),
        ("capabilities", Val::List(Vec::new())),
        ("config", Val::String("null".to_owned())),
    ])
}

fn key(key: &ObjectKey) -> Val {
    let ObjectKey { group, kind, namespace, name } = key;
    let text = |text: &String| Val::String(text.clone());
    record([("group", text(group)), ("kind", text(kind)), ("namespace", text(namespace)), ("name", text(name))])
}

fn record<const N: usize>(fields: [(&str, Val); N]) -> Val {
    Val::Record(fields.map(|(name, value)| (name.to_owned(), value)).into())
}

fn bytes(bytes: &[u8]) -> Val {
    Val::List(bytes.iter().copied().map(Val::U8).collect())
}
