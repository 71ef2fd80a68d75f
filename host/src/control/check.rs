//! Everything that `run` would find, found without serving: names are looked up, and sockets bound and let go again.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::dns::Resolver;
use super::pipeline::Pipeline;
use super::sockets;
use crate::bootstrap::Bootstrap;
use crate::finding::{Finding, Places, Severity, Subject};

/// For all names together.
const LOOK_UP: Duration = Duration::from_secs(5);

/// What there is to say of a configuration.
#[derive(Debug)]
pub struct Checked {
    /// The worst first.
    pub findings: Vec<Finding>,
    /// Where each object was read.
    pub places: Places,
}

/// Does what `run` does before it serves.
///
/// # Errors
/// When the sandbox or a thread cannot be started.
pub fn check(bootstrap: Bootstrap) -> anyhow::Result<Checked> {
    let (sender, answers) = mpsc::channel();
    let resolver = Resolver::start(move |answer| drop(sender.send(answer)))?;
    let mut pipeline = Pipeline::new(bootstrap, 1, Some(resolver))?;
    let mut build = pipeline.build(Instant::now());
    if pipeline.await_names(&answers, LOOK_UP) {
        build = pipeline.build(Instant::now());
    }
    let (in_use, unbound) = unbound(&build.sockets.keys().copied().collect::<Vec<_>>());
    build.drop_unbound(&unbound);
    let mut findings = build.findings;
    findings.extend(in_use.into_iter().map(address_in_use));
    findings.sort();
    Ok(Checked { findings, places: build.places })
}

/// Those that another process has, and those that cannot be bound for a reason of their own.
fn unbound(addresses: &[SocketAddr]) -> (Vec<SocketAddr>, BTreeMap<SocketAddr, String>) {
    let failed = sockets::try_out(addresses);
    let is_bound = |address: &&SocketAddr| failed.iter().all(|(other, _)| other != *address);
    let bound: Vec<&SocketAddr> = addresses.iter().filter(is_bound).collect();
    // One address of a port and all of them, as in `127.0.0.1` and `0.0.0.0`, are in each other's way.
    let is_own_clash = |address: &SocketAddr| {
        bound.iter().any(|other| {
            other.port() == address.port()
                && other.is_ipv4() == address.is_ipv4()
                && (other.ip().is_unspecified() || address.ip().is_unspecified())
        })
    };
    let (in_use, unbound): (Vec<_>, Vec<_>) =
        failed.iter().partition(|(address, error)| error.kind() == ErrorKind::AddrInUse && !is_own_clash(address));
    let in_use = in_use.into_iter().map(|(address, _)| *address).collect();
    (in_use, unbound.into_iter().map(|(address, error)| (*address, error.to_string())).collect())
}

fn address_in_use(address: SocketAddr) -> Finding {
    let subject = Subject::Socket(address.to_string());
    Finding::new(Severity::Info, subject, "address-in-use", "a process listens there, most likely the gateway itself")
        .remedy(
            "if it is another: free the address, or map the port to another one under `ports` in the bootstrap file",
        )
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_has_an_address_is_told_apart() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = other.local_addr().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let everywhere = SocketAddr::new([0, 0, 0, 0].into(), free.port());
        let elsewhere = SocketAddr::new([192, 0, 2, 1].into(), free.port());
        let (in_use, unbound) = unbound(&[taken, everywhere, free, elsewhere]);
        assert_eq!(in_use, [taken]);
        assert_eq!(unbound.keys().collect::<Vec<_>>(), [&free, &elsewhere]);
        assert!(unbound[&free].contains("in use") && unbound[&elsewhere].contains("assign"), "{unbound:?}");
        assert_eq!(sockets::try_out(&[free]).len(), 0, "they are let go again");
    }
}
