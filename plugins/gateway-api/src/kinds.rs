//! The kinds of routes.

use crate::objects::GROUP;

/// A kind of route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum RouteKind {
    Http,
    Grpc,
    Tls,
    Tcp,
    /// Read only to be told that no listener takes it: UDP is not served.
    Udp,
}

impl RouteKind {
    pub(crate) const ALL: [Self; 5] = [Self::Http, Self::Grpc, Self::Tls, Self::Tcp, Self::Udp];

    /// As objects call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTPRoute",
            Self::Grpc => "GRPCRoute",
            Self::Tls => "TLSRoute",
            Self::Tcp => "TCPRoute",
            Self::Udp => "UDPRoute",
        }
    }

    pub(crate) fn of(group: &str, kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| group == GROUP && kind == known.name())
    }
}
