//! Between the generated `Guest` traits and the SDK's own: the state of the one instance that a component is.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Once;

use crate::bindings::routes::exports::sekisho::gateway::{router, translator};
use crate::bindings::secrets::exports::sekisho::gateway::decoder;
use crate::last::Last;
use crate::objects::memory;
use crate::{RoutePlugin, Router, SecretPlugin};

/// The component of a [`RoutePlugin`].
pub struct Routes<P>(PhantomData<P>);

type Report = Box<dyn Fn(&translator::Outcome) -> Vec<translator::Status>>;

thread_local! {
    static LAST: RefCell<Last> = RefCell::default();
    static REPORT: RefCell<Option<Report>> = const { RefCell::new(None) };
    static ROUTER: RefCell<Option<Box<dyn Router>>> = const { RefCell::new(None) };
}

impl<P: RoutePlugin> translator::Guest for Routes<P> {
    fn describe() -> translator::Description {
        log_panics();
        P::describe()
    }

    fn translate(
        env: translator::Environment,
        objects: Vec<translator::Given>,
    ) -> Result<translator::Translation, Vec<translator::Finding>> {
        log_panics();
        // What was left for reports takes as much memory again.
        REPORT.set(None);
        let objects = LAST.with_borrow_mut(|last| last.objects(objects));
        let (translation, plugin) = memory::translating(|| P::translate(env, objects))?;
        REPORT.set(Some(Box::new(move |outcome| plugin.report(outcome))));
        Ok(LAST.with_borrow_mut(|last| last.record(translation)))
    }

    fn report(outcome: translator::Outcome) -> Vec<translator::Status> {
        REPORT.with_borrow(|report| report.as_ref().map_or_else(Vec::new, |report| report(&outcome)))
    }
}

impl<P: RoutePlugin> router::Guest for Routes<P> {
    fn load(table: Vec<u8>) -> Result<(), String> {
        log_panics();
        ROUTER.set(Some(Box::new(P::Router::load(&table)?)));
        Ok(())
    }

    fn route(head: router::RequestHead) -> Option<u32> {
        ROUTER.with_borrow(|router| router.as_ref()?.route(&head))
    }

    fn route_connection(head: router::ConnectionHead) -> Option<u32> {
        ROUTER.with_borrow(|router| router.as_ref()?.route_connection(&head))
    }

    fn explain(head: router::RequestHead) -> router::Explanation {
        ROUTER.with_borrow(|router| match router {
            Some(router) => router.explain(&head),
            None => router::Explanation { chosen: None, because: None, virtual_host: None, rejected: Vec::new() },
        })
    }
}

/// The component of a [`SecretPlugin`]. It has no imports, so a panic says nothing: secrets stay out of logs.
pub struct Secrets<P>(PhantomData<P>);

impl<P: SecretPlugin> decoder::Guest for Secrets<P> {
    fn decode_credential(secret: decoder::Secret) -> Result<decoder::Credential, decoder::Failure> {
        P::decode_credential(secret)
    }

    fn decode_trust(secret: decoder::Secret) -> Result<decoder::Trust, decoder::Failure> {
        P::decode_trust(secret)
    }
}

/// A panic aborts the instance; its message reaches the log first.
fn log_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| std::panic::set_hook(Box::new(|panic| crate::log::error(&panic.to_string()))));
}
