//! Sockets: bound once, one for each worker, and kept for as long as a generation wants them. Of a Unix socket, which
//! nobody can share by binding, every worker has a duplicate.

mod unix;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

use self::unix::SocketFile;
use crate::socket_name::SocketName;
use crate::worker::Listening;

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
    /// A file is there that is no socket.
    NoSocket,
    /// Of a Unix socket.
    NoDirectory,
    /// To put a Unix socket there.
    NoPermission,
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
            Self::NoSocket => f.write_str("a file is there that is no socket"),
            Self::NoDirectory => f.write_str("its directory does not exist"),
            Self::NoPermission => f.write_str("permission denied to put a socket there"),
            Self::Other(error) => f.write_str(error),
        }
    }
}

/// Which addresses are bound, and what workers still have to be given.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    bound: BTreeMap<SocketName, Option<SocketFile>>,
    fresh: Vec<(SocketName, Vec<Listening>)>,
}

impl Sockets {
    /// Binds what is wanted and not bound yet, and forgets what is not wanted any more (workers close those). The
    /// addresses that cannot be bound, and why.
    pub(super) fn bind(
        &mut self,
        wanted: impl Iterator<Item = SocketName>,
        workers: usize,
    ) -> BTreeMap<SocketName, String> {
        let wanted: BTreeSet<SocketName> = wanted.collect();
        self.bound.retain(|name, _| wanted.contains(name));
        let mut unbound = BTreeMap::new();
        for name in wanted {
            if self.bound.contains_key(&name) {
                continue;
            }
            match bind_for_all(&name, workers, self.bound.keys()) {
                Ok((listeners, file)) => {
                    self.bound.insert(name.clone(), file);
                    self.fresh.push((name, listeners));
                }
                Err(refusal) => drop(unbound.insert(name, refusal.to_string())),
            }
        }
        unbound
    }

    /// Whether any of these could be bound now.
    pub(super) fn has_become_free(&self, names: &BTreeSet<SocketName>) -> bool {
        names.iter().any(|name| match name {
            SocketName::Inet(address) => bind(*address, false).is_ok(),
            SocketName::Unix(path) => unix::probe(path).is_ok(),
        })
    }

    /// The new sockets, one of each for every worker.
    pub(super) fn take(&mut self, workers: usize) -> Vec<Vec<(SocketName, Listening)>> {
        let mut shares: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
        for (name, listeners) in self.fresh.drain(..) {
            for (share, listener) in shares.iter_mut().zip(listeners) {
                share.push((name.clone(), listener));
            }
        }
        shares
    }
}

/// Binds all of them as [`Sockets::bind`] does, and lets go again; those that cannot be bound, and why.
pub(super) fn try_out(names: impl Iterator<Item = SocketName>) -> Vec<(SocketName, Refusal)> {
    let mut held: BTreeMap<SocketName, Vec<Listening>> = BTreeMap::new();
    let mut refused = Vec::new();
    for name in names {
        let tried = match &name {
            SocketName::Inet(_) => bind_for_all(&name, 1, held.keys()).map(|(listeners, _)| listeners),
            SocketName::Unix(path) => unix::probe(path).map(|()| Vec::new()),
        };
        match tried {
            Ok(listeners) => drop(held.insert(name, listeners)),
            Err(refusal) => refused.push((name, refusal)),
        }
    }
    refused
}

/// What each worker accepts on, and the file to keep as long as one of them does.
fn bind_for_all<'b>(
    name: &SocketName,
    workers: usize,
    bound: impl Iterator<Item = &'b SocketName>,
) -> Result<(Vec<Listening>, Option<SocketFile>), Refusal> {
    match name {
        SocketName::Inet(address) => {
            let bound = bound.filter_map(SocketName::inet);
            let listeners = bind_shared(*address, workers).map_err(|error| Refusal::new(*address, &error, bound))?;
            Ok((listeners, None))
        }
        SocketName::Unix(path) => {
            let (listener, file) = unix::bind(path)?;
            let duplicates = (0..workers).map(|_| listener.try_clone().map(Listening::Unix));
            let duplicates = duplicates.collect::<Result<_, _>>();
            Ok((duplicates.map_err(|error| Refusal::Other(error.to_string()))?, file))
        }
    }
}

fn bind_shared(address: SocketAddr, workers: usize) -> std::io::Result<Vec<Listening>> {
    // Sockets that share a port let another process of the same user join unnoticed. One that does not share finds out
    // whether somebody else is there.
    drop(bind(address, false)?);
    (0..workers)
        .map(|_| {
            let socket = bind(address, true)?;
            socket.listen(BACKLOG)?;
            Ok(Listening::Inet(socket.into()))
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
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_address_in_use_is_named_and_later_bound() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = SocketName::from(other.local_addr().unwrap());
        let bind = |sockets: &mut Sockets| sockets.bind([address.clone()].into_iter(), 2);
        let mut sockets = Sockets::default();
        let unbound = bind(&mut sockets);
        assert!(unbound[&address].contains("in use"), "{unbound:?}");
        drop(other);
        assert!(bind(&mut sockets).is_empty());
        let shares = sockets.take(2);
        assert_eq!(shares.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
        assert!(bind(&mut sockets).is_empty(), "it stays bound");
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
            try_out([taken, everywhere, free, nowhere].map(SocketName::from).into_iter()),
            [
                (taken.into(), Refusal::InUse),
                (free.into(), Refusal::Clash(everywhere)),
                (nowhere.into(), Refusal::NotOurs)
            ]
        );
        assert_eq!(try_out([free.into()].into_iter()), [], "they are let go again");
        let unbound = Sockets::default().bind([everywhere, free].map(SocketName::from).into_iter(), 1);
        assert_eq!(unbound[&free.into()], format!("this gateway listens on {everywhere} already"));
    }
}
