//! IngressClasses: which Ingresses are ours.
//!
//! A class is ours when it names the gateway's controller (`gateway.controllerName` in `sekisho.json`). The class called
//! as the gateway's own (`gateway.className`) need not be there as an object.

use std::collections::HashSet;

use sekisho_sdk::{Environment, Finding, Object, Typed};

use crate::objects::{Class, GROUP, IngressClassSpec};

/// Says that Ingresses without a class belong to this one.
const IS_DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";

/// Names a class, as was done before there was a field for it; where both are, the API gives it precedence.
const LEGACY_CLASS: &str = "kubernetes.io/ingress.class";

/// The classes that are ours.
pub(crate) struct Classes {
    /// By name.
    ours: HashSet<String>,
    /// Whether the default class is one of them, where there is a default class.
    default_is_ours: Option<bool>,
}

impl Classes {
    pub(crate) fn read(objects: &[Object], environment: &Environment, findings: &mut Vec<Finding>) -> Self {
        let mut classes = Self { ours: HashSet::from([environment.class_name.clone()]), default_is_ours: None };
        for object in objects.iter().filter(|object| object.key.is(GROUP, "IngressClass")) {
            let Some(class) = Typed::<IngressClassSpec>::read_part(object, findings) else { continue };
            let is_ours = class.spec.controller == environment.controller_name;
            if class.metadata.annotations.get(IS_DEFAULT).is_some_and(|value| value == "true") {
                *classes.default_is_ours.get_or_insert(is_ours) |= is_ours;
            }
            if is_ours {
                classes.ours.insert(object.key.name.clone());
            } else {
                classes.ours.remove(&object.key.name);
            }
            if is_ours && class.spec.parameters.is_some() {
                let message = "this controller has no parameters, so the reference leads nowhere";
                findings.push(object.key.at("spec.parameters").warning("invalid-parameters", message, "remove it"));
            }
        }
        classes
    }

    /// Whether an Ingress is ours. Of one that is another's, not a word is said; one that is nobody's is named.
    pub(crate) fn own(&self, object: &Object, findings: &mut Vec<Finding>) -> bool {
        let Some(ingress) = Typed::<Class>::read_part(object, findings) else { return false };
        let class = ingress.metadata.annotations.get(LEGACY_CLASS).or(ingress.spec.ingress_class_name.as_ref());
        if class.is_none() && self.default_is_ours.is_none() {
            let message = "it names no class, and there is no default class: nobody serves it";
            let remedy = format!("name a class, or annotate one with `{IS_DEFAULT}: \"true\"`");
            findings.push(object.key.at("spec.ingressClassName").warning("no-class", message, remedy));
        }
        match class {
            Some(class) => self.ours.contains(class),
            None => self.default_is_ours == Some(true),
        }
    }
}
