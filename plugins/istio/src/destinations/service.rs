//! Kubernetes Services as destinations.

use std::rc::Rc;

use sekisho_sdk::objects::read_part;
use sekisho_sdk::{Object, ObjectKey};

use super::{Backing, Members, Port, Speaks};
use crate::findings::Findings;
use crate::names::Exports;
use crate::objects::{Service, ServicePort};

/// Istio's `exportTo` for Services, separated by commas.
const EXPORT_TO: &str = "networking.istio.io/exportTo";

pub(super) fn read(object: &Object, domain: &str, findings: &mut Findings) -> Option<Backing> {
    // Services have fields that no gateway reads; only what makes one unreadable concerns us.
    let service = read_part(object, findings.list())?;
    let Service { metadata, spec } = &*service;
    let key = &object.key;
    let exports = metadata.annotations.get(EXPORT_TO).map(String::as_str).into_iter().flat_map(|list| list.split(','));
    let members =
        if spec.r#type == "ExternalName" { Members::Alias(spec.external_name.clone()) } else { Members::Service };
    let ports = spec.ports.iter().enumerate().filter(|(_, port)| port.protocol != "UDP");
    Some(Backing {
        host: format!("{}.{}.svc.{domain}", key.name, key.namespace),
        name: format!("{}/{}", key.namespace, key.name),
        exports: Exports::read(exports, &key.namespace),
        ports: ports.map(|(index, said)| port(index, said, key)).collect(),
        members,
        names: Rc::new([]),
        object: key.clone(),
    })
}

fn port(index: usize, port: &ServicePort, key: &ObjectKey) -> Port {
    // Istio takes `appProtocol`, then the name or what stands before its first dash.
    let by_name = || {
        let name = port.name.as_str();
        let prefix = if name.starts_with("grpc-web") { "grpc-web" } else { name.split('-').next().unwrap_or(name) };
        Speaks::named(prefix)
    };
    Port {
        number: port.port,
        name: port.name.clone(),
        target: port.port,
        speaks: Speaks::named(&port.app_protocol).or_else(by_name).unwrap_or(Speaks::Http1),
        origin: key.at(format!("spec.ports[{index}]")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_says_what_it_speaks() {
        let key = ObjectKey::new("", "Service", "default", "web");
        for (name, app_protocol, speaks) in [
            ("", "", Speaks::Http1),
            ("web", "", Speaks::Http1),
            ("http-web", "", Speaks::Http1),
            ("http2", "", Speaks::Http2),
            ("grpc-orders", "", Speaks::Http2),
            ("grpc-web-orders", "", Speaks::Http2),
            ("grpcx", "", Speaks::Http1),
            ("web", "kubernetes.io/h2c", Speaks::Http2),
            ("grpc", "http", Speaks::Http1),
            ("https", "", Speaks::Tls),
        ] {
            let said = ServicePort { name: name.into(), app_protocol: app_protocol.into(), ..ServicePort::default() };
            assert_eq!(port(0, &said, &key).speaks, speaks, "{name} {app_protocol}");
        }
    }
}
