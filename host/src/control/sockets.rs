//! Sockets: bound once, one for each worker, and kept for as long as a generation wants them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel holds until a worker takes them.
const BACKLOG: i32 = 1024;

/// Why an address cannot be bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// By another process.
    InUse,
    /// One address of a port and all of them, as in `127.0.0.1` and `0.0.0.0`, are in each other's way.
    Clash(SocketAddr),
    NotOurs,
    Forbidden,
    Other(String),
}

impl Refusal {
    fn new(address: SocketAddr, error: &std::io::Error, mut bound: impl Iterator<Item = SocketAddr>) -> Self {
        let clashes = |other: &SocketAddr| {
            (other.port(), other.is_ipv4()) == (address.port(), address.is_ipv4())
                && (other.ip().is_unspecified() || address.ip().is_unspecified())
        };
        match error.kind() {
            ErrorKind::AddrInUse => bound.find(clashes).map_or(Self::InUse, Self::Clash),
            ErrorKind::AddrNotAvailable => Self::NotOurs,
            ErrorKind::PermissionDenied => Self::Forbidden,
            _ => Self::Other(error.to_string()),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse => f.write_str("the address is in use"),
            Self::Clash(other) => write!(f, "this gateway listens on {other} already"),
            Self::NotOurs => f.write_str("it is not an address of this machine"),
            Self::Forbidden => f.write_str("permission denied; ports below 1024 need CAP_NET_BIND_SERVICE"),
            Self::Other(error) => f.write_str(error),
        }
    }
}

/// Which addresses are bound, and what workers still have to be given.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    bound: BTreeSet<SocketAddr>,
    fresh: Vec<(SocketAddr, Vec<TcpListener>)>,
}

impl Sockets {
    /// Binds what is wanted and not bound yet, and forgets what is not wanted any more (workers close those). The
    /// addresses that cannot be bound, and why.
    pub(super) fn bind(
        &mut self,
        wanted: impl Iterator<Item = SocketAddr>,
        workers: usize,
    ) -> BTreeMap<SocketAddr, String> {
        let wanted: BTreeSet<SocketAddr> = wanted.collect();
        self.bound.retain(|address| wanted.contains(address));
        let mut unbound = BTreeMap::new();
        for address in wanted {
            if self.bound.contains(&address) {
                continue;
            }
            match bind_for_all(address, workers) {
                Ok(listeners) => {
                    self.bound.insert(address);
                    self.fresh.push((address, listeners));
                }
                Err(error) => {
                    let refusal = Refusal::new(address, &error, self.bound.iter().copied());
                    unbound.insert(address, refusal.to_string());
                }
            }
        }
        unbound
    }

    /// Whether any of these addresses could be bound now.
    pub(super) fn has_become_free(&self, addresses: &BTreeSet<SocketAddr>) -> bool {
        addresses.iter().any(|address| bind(*address, false).is_ok())
    }

    /// The new sockets, one of each for every worker.
    pub(super) fn take(&mut self, workers: usize) -> Vec<Vec<(SocketAddr, TcpListener)>> {
        let mut shares: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
        for (address, listeners) in self.fresh.drain(..) {
            for (share, listener) in shares.iter_mut().zip(listeners) {
                share.push((address, listener));
            }
        }
        shares
    }
}

/// Binds all of them as [`Sockets::bind`] does, and lets go again; those that cannot be bound, and why.
pub(super) fn try_out(addresses: impl Iterator<Item = SocketAddr>) -> Vec<(SocketAddr, Refusal)> {
    let mut held: Vec<(SocketAddr, Vec<TcpListener>)> = Vec::new();
    let mut refused = Vec::new();
    for address in addresses {
        match bind_for_all(address, 1) {
            Ok(listeners) => held.push((address, listeners)),
            Err(error) => {
                let bound = held.iter().map(|(address, _)| *address);
                refused.push((address, Refusal::new(address, &error, bound)));
            }
        }
    }
    refused
}

fn bind_for_all(address: SocketAddr, workers: usize) -> std::io::Result<Vec<TcpListener>> {
    // Sockets that share a port let another process of the same user join unnoticed. One that does not share finds out
    // whether somebody else is there.
    drop(bind(address, false)?);
    (0..workers)
        .map(|_| {
            let socket = bind(address, true)?;
            socket.listen(BACKLOG)?;
            Ok(socket.into())
        })
        .collect()
}

fn bind(address: SocketAddr, shared: bool) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        // `::` beside `0.0.0.0` is a second socket, not a second claim on the first.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_is_named_and_later_bound() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap();
        let mut sockets = Sockets::default();
        let unbound = sockets.bind([address].into_iter(), 2);
        assert!(unbound[&address].contains("in use"), "{unbound:?}");
        drop(other);
        assert!(sockets.bind([address].into_iter(), 2).is_empty());
        let shares = sockets.take(2);
        assert_eq!(shares.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
        assert!(sockets.bind([address].into_iter(), 2).is_empty(), "it stays bound");
        assert!(sockets.take(2).iter().all(Vec::is_empty));
    }

    #[test]
    fn who_has_an_address_is_told_apart() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = other.local_addr().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let on_free = |ip: [u8; 4]| SocketAddr::new(ip.into(), free.port());
        // An address for documentation (RFC 5737) is nobody's.
        let (everywhere, nowhere) = (on_free([0; 4]), on_free([192, 0, 2, 1]));
        assert_eq!(
            try_out([taken, everywhere, free, nowhere].into_iter()),
            [(taken, Refusal::InUse), (free, Refusal::Clash(everywhere)), (nowhere, Refusal::NotOurs)]
        );
        assert_eq!(try_out([free].into_iter()), [], "they are let go again");
        let unbound = Sockets::default().bind([everywhere, free].into_iter(), 1);
        assert_eq!(unbound[&free], format!("this gateway listens on {everywhere} already"));
    }
}
