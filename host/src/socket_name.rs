//! Where a socket is bound.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

/// Both ends of a connection over a Unix socket, wherever addresses are asked for: whoever connects there is a process of
/// this machine. No TCP connection comes from port 0.
pub const UNIX_PEER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

/// Where a socket is bound.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SocketName {
    /// An address and a port.
    Inet(SocketAddr),
    /// A file by its absolute path, or `@` and a name that is in no file system.
    Unix(Arc<str>),
}

impl SocketName {
    /// Address and port, where it has such.
    #[must_use]
    pub fn inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The port, where it has one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.inet().map(|address| address.port())
    }

    /// The address that clients connect to.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.inet().unwrap_or(UNIX_PEER).ip()
    }
}

impl From<SocketAddr> for SocketName {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}

/// As objects write it.
impl fmt::Display for SocketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix://{path}"),
        }
    }
}
