//! GatewayClasses: which Gateways are ours.

use sekisho_sdk::{Environment, Finding, Object, ObjectKey, Typed};

use crate::finding::{Fault, Findings, Problem};
use crate::objects::GatewayClassSpec;
use crate::snapshot::read_apart;

/// A GatewayClass that carries our controller name.
#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) key: ObjectKey,
    pub(crate) generation: i64,
    pub(crate) refused: Option<Problem>,
}

/// The classes that are ours.
#[derive(Debug)]
pub(crate) struct Classes {
    pub(crate) ours: Vec<Class>,
}

impl Classes {
    pub(crate) fn read(objects: &[Object], environment: &Environment, findings: &mut Vec<Finding>) -> Self {
        let ours = objects.iter().filter_map(|object| Class::read(object, &environment.controller_name, findings));
        Self { ours: ours.collect() }
    }

    /// Whether a Gateway of this class is ours, and if so what is wrong with the class.
    pub(crate) fn find(&self, name: &str) -> Option<Result<(), &Problem>> {
        let class = self.ours.iter().find(|class| class.key.name == name)?;
        Some(class.refused.as_ref().map_or(Ok(()), Err))
    }
}

impl Class {
    fn read(object: &Object, controller: &str, findings: &mut Vec<Finding>) -> Option<Self> {
        let (written, apart) = read_apart::<Typed<GatewayClassSpec>>(object, findings)?;
        let Typed { metadata, spec } = &*written;
        if spec.controller_name != controller {
            return None;
        }
        findings.extend(apart);
        let refused = spec.parameters_ref.as_ref().map(|_| {
            let message = "this controller has no parameters, so the reference leads nowhere";
            let fault = Fault::new("invalid-parameters", "spec.parametersRef", message, "remove it");
            Findings::about(&object.key, findings).refuse(fault.because("InvalidParameters"))
        });
        Some(Self { key: object.key.clone(), generation: metadata.generation, refused })
    }
}
