//! The filters of a rule or of one of its backends.
//!
//! A filter that is not served is never skipped: the rule answers 500 (HTTPRouteFilter `type`).

mod cors;
mod headers;
mod path;

use sekisho_sdk::model::{Cors, HeaderOps};

pub(crate) use self::path::PathChange;
use crate::field::Field;
use crate::finding::Fault;
use crate::hostname;
use crate::kinds::RouteKind;
use crate::objects::http_route::{Filter, RequestMirror, RequestRedirect, UrlRewrite};
use crate::objects::route::BackendObjectRef;

const INCOMPATIBLE: &str = "IncompatibleFilters";

/// The types that a GRPCRoute knows.
const OF_GRPC: [&str; 4] = ["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef"];

/// What the filters of one place ask for.
#[derive(Default)]
pub(crate) struct Filters<'s> {
    pub(crate) headers: HeaderOps,
    pub(crate) redirect: Option<Redirect>,
    pub(crate) rewrite: Option<Rewrite>,
    pub(crate) mirrors: Vec<Mirror<'s>>,
    pub(crate) cors: Option<Cors>,
    /// Filters that are somebody else's objects, which we do not know.
    pub(crate) unresolved: Vec<Fault>,
}

/// Where the client is sent.
#[derive(Debug)]
pub(crate) struct Redirect {
    pub(crate) status: u16,
    pub(crate) scheme: Option<&'static str>,
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) path: Option<PathChange>,
}

/// What the backend sees instead.
#[derive(Debug)]
pub(crate) struct Rewrite {
    pub(crate) host: Option<String>,
    pub(crate) path: Option<PathChange>,
}

/// A copy of some requests.
pub(crate) struct Mirror<'s> {
    pub(crate) to: &'s BackendObjectRef,
    /// Which filter of the rule it is.
    pub(crate) index: usize,
    pub(crate) numerator: u32,
    pub(crate) denominator: u32,
}

impl<'s> Filters<'s> {
    /// Reads the filters at `field` of a route of that kind. What is not served there is a fault.
    pub(crate) fn read(specs: &'s [Filter], kind: RouteKind, field: Field<'_>, faults: &mut Vec<Fault>) -> Self {
        let mut filters = Self::default();
        for (index, spec) in specs.iter().enumerate() {
            let place = field.at(index);
            if specs[..index].iter().any(|earlier| earlier.kind == spec.kind) && is_single(&spec.kind) {
                let message = format!("a second {} filter", spec.kind);
                faults.push(Fault::new("incompatible-filters", place, message, "keep one").because(INCOMPATIBLE));
                continue;
            }
            if kind == RouteKind::Grpc && !OF_GRPC.contains(&spec.kind.as_str()) {
                let message = format!("a GRPCRoute has no filters of type `{}`", spec.kind);
                let remedy = format!("use one of {}", OF_GRPC.join(", "));
                faults.push(Fault::new("unsupported-filter", format!("{place}.type"), message, remedy));
                continue;
            }
            if let Some(fault) = shape(spec, place) {
                faults.push(fault);
                continue;
            }
            if let Err(fault) = filters.add(spec, index, place) {
                faults.push(fault);
            }
        }
        if filters.redirect.is_some() && filters.rewrite.is_some() {
            let message = "RequestRedirect and URLRewrite exclude each other";
            faults.push(Fault::new("incompatible-filters", field, message, "keep one of them").because(INCOMPATIBLE));
        }
        filters
    }

    fn add(&mut self, spec: &'s Filter, index: usize, field: Field<'_>) -> Result<(), Fault> {
        if let Some(spec) = &spec.request_header_modifier {
            self.headers.request = headers::read(spec, field.below("requestHeaderModifier"))?;
        } else if let Some(spec) = &spec.response_header_modifier {
            self.headers.response = headers::read(spec, field.below("responseHeaderModifier"))?;
        } else if let Some(spec) = &spec.request_redirect {
            self.redirect = Some(Redirect::read(spec, field.below("requestRedirect"))?);
        } else if let Some(spec) = &spec.url_rewrite {
            self.rewrite = Some(Rewrite::read(spec, field.below("urlRewrite"))?);
        } else if let Some(spec) = &spec.request_mirror {
            self.mirrors.extend(Mirror::read(spec, index, field.below("requestMirror"))?);
        } else if let Some(spec) = &spec.cors {
            self.cors = Some(cors::read(spec, field.below("cors"))?);
        } else if let Some(spec) = &spec.extension_ref {
            let message =
                format!("{} `{}` of group `{}` is no filter that is known here", spec.kind, spec.name, spec.group);
            let remedy = "remove the filter; until then the rule answers 500";
            self.unresolved.push(
                Fault::new("unsupported-filter", format!("{field}.extensionRef"), message, remedy)
                    .because("InvalidKind"),
            );
        } else {
            let message = format!("filters of type `{}` are not served", spec.kind);
            let remedy = "remove the filter; until then the rule answers 500";
            return Err(Fault::new("unsupported-filter", format!("{field}.type"), message, remedy));
        }
        Ok(())
    }

    /// What a backend's own filters ask for that only a rule's may: the model gives targets headers and a host.
    pub(crate) fn beyond_backend(&self) -> Option<&'static str> {
        if self.redirect.is_some() {
            Some("RequestRedirect")
        } else if !self.mirrors.is_empty() {
            Some("RequestMirror")
        } else if self.cors.is_some() {
            Some("CORS")
        } else if self.rewrite.as_ref().is_some_and(|rewrite| rewrite.path.is_some()) {
            Some("URLRewrite with a path")
        } else {
            None
        }
    }
}

impl Redirect {
    fn read(spec: &RequestRedirect, field: Field<'_>) -> Result<Self, Fault> {
        let scheme = match spec.scheme.as_deref() {
            None => None,
            Some("http") => Some("http"),
            Some("https") => Some("https"),
            Some(other) => {
                let message = format!("`{other}` is not a scheme");
                return Err(Fault::new("unsupported-value", format!("{field}.scheme"), message, "use http or https"));
            }
        };
        let status = spec.status_code.unwrap_or(302);
        let Ok(status @ (301 | 302 | 303 | 307 | 308)) = u16::try_from(status) else {
            let message = format!("{status} is not a status of a redirect");
            let remedy = "use 301, 302, 303, 307 or 308";
            return Err(Fault::new("unsupported-value", format!("{field}.statusCode"), message, remedy));
        };
        let port = match spec.port.map(u16::try_from) {
            None => None,
            Some(Ok(port)) if port > 0 => Some(port),
            Some(_) => {
                let message = format!("{} is not a port", spec.port.unwrap_or_default());
                return Err(Fault::new(
                    "invalid-port",
                    format!("{field}.port"),
                    message,
                    "give a number from 1 to 65535",
                ));
            }
        };
        let host = precise(spec.hostname.as_deref(), field)?;
        let path = spec.path.as_ref().map(|path| PathChange::read(path, field.below("path"))).transpose()?;
        Ok(Self { status, scheme, host, port, path })
    }
}

impl Rewrite {
    fn read(spec: &UrlRewrite, field: Field<'_>) -> Result<Self, Fault> {
        let host = precise(spec.hostname.as_deref(), field)?;
        let path = spec.path.as_ref().map(|path| PathChange::read(path, field.below("path"))).transpose()?;
        Ok(Self { host, path })
    }
}

impl<'s> Mirror<'s> {
    /// None when no request at all is to be copied.
    fn read(spec: &'s RequestMirror, index: usize, field: Field<'_>) -> Result<Option<Self>, Fault> {
        let fault = |below: &str, message: &str, remedy: &str| {
            Fault::new("invalid-filter", format!("{field}.{below}"), message, remedy)
        };
        let (numerator, denominator) = match (spec.percent, &spec.fraction) {
            (Some(_), Some(_)) => {
                return Err(fault("percent", "`percent` and `fraction` exclude each other", "keep one of them"));
            }
            (None, None) => (1, 1),
            (Some(percent), None) => (percent, 100),
            (None, Some(fraction)) => (fraction.numerator, fraction.denominator.unwrap_or(100)),
        };
        match (u32::try_from(numerator), u32::try_from(denominator)) {
            (Ok(0), Ok(1..)) => Ok(None),
            (Ok(numerator), Ok(denominator)) if numerator <= denominator => {
                Ok(Some(Self { to: &spec.backend_ref, index, numerator, denominator }))
            }
            _ => {
                let below = if spec.percent.is_some() { "percent" } else { "fraction" };
                Err(fault(below, "this is not a share of all requests", "give a share from none to all"))
            }
        }
    }
}

fn precise(hostname: Option<&str>, field: Field<'_>) -> Result<Option<String>, Fault> {
    let fault = |why| {
        Fault::new("invalid-hostname", format!("{field}.hostname"), why, "give one name such as `www.example.com`")
    };
    hostname.map(hostname::parse_precise).transpose().map_err(fault)
}

/// Filters of which a place may have only one.
fn is_single(kind: &str) -> bool {
    ["RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite", "CORS"].contains(&kind)
}

/// The settings of a filter's type must be there, and no others.
fn shape(spec: &Filter, field: Field<'_>) -> Option<Fault> {
    let settings = [
        ("RequestHeaderModifier", "requestHeaderModifier", spec.request_header_modifier.is_some()),
        ("ResponseHeaderModifier", "responseHeaderModifier", spec.response_header_modifier.is_some()),
        ("RequestMirror", "requestMirror", spec.request_mirror.is_some()),
        ("RequestRedirect", "requestRedirect", spec.request_redirect.is_some()),
        ("URLRewrite", "urlRewrite", spec.url_rewrite.is_some()),
        ("CORS", "cors", spec.cors.is_some()),
        ("ExternalAuth", "externalAuth", spec.external_auth.is_some()),
        ("ExtensionRef", "extensionRef", spec.extension_ref.is_some()),
    ];
    settings.into_iter().find_map(|(kind, name, given)| match (spec.kind == kind, given) {
        (true, false) => {
            let message = format!("a filter of type {kind} needs `{name}`");
            Some(Fault::new("missing-field", format!("{field}.{name}"), message, "add it"))
        }
        (false, true) => {
            let message = format!("`{name}` is not for a filter of type `{}`", spec.kind);
            Some(Fault::new("invalid-filter", format!("{field}.{name}"), message, "correct `type`, or remove it"))
        }
        _ => None,
    })
}
