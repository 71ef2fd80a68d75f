//! ListenerSets: listeners that others than a Gateway's owner add to it, as far as the Gateway lets them.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;

use sekisho_sdk::{Finding, Object, ObjectKey, Typed};

use crate::finding::{Fault, Findings, Problem};
use crate::gateways::Gateway;
use crate::grants::Grants;
use crate::listeners::{self, Owner};
use crate::objects::GROUP;
use crate::objects::gateway::GatewaySpec;
use crate::objects::listener_set::{ListenerSetSpec, ParentGatewayRef};
use crate::precedence::Seniority;
use crate::snapshot::{Namespaces, read_apart};

/// A ListenerSet that names a Gateway of ours.
#[derive(Debug)]
pub(crate) struct ListenerSet {
    pub(crate) key: ObjectKey,
    pub(crate) generation: i64,
    pub(crate) seniority: Seniority,
    /// Why it is not attached; its listeners are not read then.
    pub(crate) refused: Option<Problem>,
    /// Which of the Gateway's listeners are its own.
    pub(crate) listeners: Range<usize>,
}

/// What ListenerSets are read against.
pub(crate) struct Surroundings<'s> {
    /// Every Gateway there is, also of other classes.
    pub(crate) known: &'s HashSet<ObjectKey>,
    /// Our Gateways; what their `tls` says holds for the listeners of sets too.
    pub(crate) written: &'s HashMap<ObjectKey, Rc<Typed<GatewaySpec>>>,
    pub(crate) grants: &'s Grants,
    pub(crate) namespaces: &'s Namespaces,
}

/// A set as it was read, with the warnings that are nobody's business until it is known to be ours.
struct Read {
    key: ObjectKey,
    generation: i64,
    seniority: Seniority,
    gateway: usize,
    written: Rc<Typed<ListenerSetSpec>>,
    findings: Vec<Finding>,
}

/// Reads the sets, and puts the listeners of those that attach behind their Gateway's own.
pub(crate) fn attach(objects: &[Object], gateways: &mut [Gateway], around: &Surroundings<'_>, list: &mut Vec<Finding>) {
    let places: HashMap<ObjectKey, usize> =
        gateways.iter().enumerate().map(|(index, gateway)| (gateway.key.clone(), index)).collect();
    let read = |object| read(object, &places, around.known, list);
    let mut sets: Vec<_> = objects.iter().filter_map(read).collect();
    sets.sort_by(|a, b| a.seniority.cmp(&b.seniority));
    for set in sets {
        list.extend(set.findings);
        let gateway = &mut gateways[set.gateway];
        let mut findings = Findings::about(&set.key, list);
        let allowed = gateway.allowed_sets.include(&gateway.key.namespace, &set.key.namespace, around.namespaces);
        let refused = (!allowed).then(|| {
            let message = format!(
                "Gateway {} lets no ListenerSet of namespace `{}` attach",
                gateway.seniority.name, set.key.namespace
            );
            let remedy = "allow the namespace in `spec.allowedListeners` of the Gateway";
            let fault = Fault::new("listener-set-not-allowed", "spec.parentRef", message, remedy);
            findings.refuse(fault.because("NotAllowed"))
        });
        let first = gateway.listeners.len();
        if refused.is_none() {
            let owner = Owner { key: &set.key, gateway: &gateway.key, set: Some(gateway.sets.len()) };
            let tls = around.written.get(&gateway.key).and_then(|gateway| gateway.spec.tls.as_ref());
            gateway.listeners.extend(listeners::read(
                &set.written.spec.listeners,
                owner,
                tls,
                around.grants,
                &mut findings,
            ));
            if set.written.spec.listeners.is_empty() {
                let message = "a ListenerSet needs a listener";
                findings.refuse(Fault::new("missing-field", "spec.listeners", message, "add one"));
            }
        }
        let (generation, seniority) = (set.generation, set.seniority);
        let listeners = first..gateway.listeners.len();
        gateway.sets.push(ListenerSet { key: set.key, generation, seniority, refused, listeners });
    }
}

/// None when it is none of our business.
fn read(
    object: &Object,
    places: &HashMap<ObjectKey, usize>,
    known: &HashSet<ObjectKey>,
    list: &mut Vec<Finding>,
) -> Option<Read> {
    let (written, findings) = read_apart::<Typed<ListenerSetSpec>>(object, list)?;
    let Typed { metadata, spec } = &*written;
    let gateway = parent(&spec.parent_ref, &object.key);
    let Some(place) = gateway.as_ref().and_then(|gateway| places.get(gateway)) else {
        match gateway {
            None => {
                let message = "the parent of a ListenerSet is a Gateway";
                Findings::about(&object.key, list).warn(Fault::new(
                    "unsupported-parent",
                    "spec.parentRef",
                    message,
                    "name a Gateway",
                ));
            }
            Some(gateway) if !known.contains(&gateway) => {
                let message = format!("there is no Gateway `{}` in namespace `{}`", gateway.name, gateway.namespace);
                let remedy = "correct the name or the namespace, or create it";
                let fault = Fault::new("parent-not-found", "spec.parentRef", message, remedy);
                Findings::about(&object.key, list).warn(fault);
            }
            Some(_) => {}
        }
        return None;
    };
    let generation = metadata.generation;
    let seniority = Seniority::new(metadata.creation_timestamp.clone(), &object.key.namespace, &object.key.name);
    Some(Read { key: object.key.clone(), generation, seniority, gateway: *place, written, findings })
}

/// The Gateway that a reference means.
fn parent(reference: &ParentGatewayRef, set: &ObjectKey) -> Option<ObjectKey> {
    let group = reference.group.as_deref().unwrap_or(GROUP);
    let kind = reference.kind.as_deref().unwrap_or("Gateway");
    let namespace = reference.namespace.as_deref().unwrap_or(&set.namespace);
    (group == GROUP && kind == "Gateway").then(|| ObjectKey::new(GROUP, "Gateway", namespace, &reference.name))
}
