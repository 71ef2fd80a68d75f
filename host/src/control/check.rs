//! Everything that `run` would find, found without serving: names are looked up, and sockets bound and let go again.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use super::dns::Resolver;
use super::pipeline::Pipeline;
use super::sockets::{Refusal, try_out};
use crate::bootstrap::Bootstrap;
use crate::finding::{Finding, Places, Severity, Subject};
use crate::socket_name::SocketName;

/// For all names together.
const LOOK_UP: Duration = Duration::from_secs(5);

/// For the Kubernetes API to say what there is.
pub const READ: Duration = Duration::from_secs(15);

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
    let admin = bootstrap.admin;
    let (sender, answers) = mpsc::channel();
    let resolver = Resolver::start(move |answer| drop(sender.send(answer)))?;
    let mut pipeline = Pipeline::new(bootstrap.only_to_read(), 1, Some(resolver), || {})?;
    let mut build = pipeline.build_first(READ)?;
    if pipeline.await_names(&answers, LOOK_UP) {
        build = pipeline.build_first(READ)?;
    }
    let (in_use, refused): (Vec<_>, Vec<_>) =
        try_out(build.sockets.keys().cloned()).into_iter().partition(|(_, refusal)| *refusal == Refusal::InUse);
    build.drop_unbound(&refused.into_iter().map(|(address, refusal)| (address, refusal.to_string())).collect());
    let mut findings = build.findings;
    let of_admin = try_out([admin.into()].into_iter()).pop().map(|(_, refusal)| refusal);
    // A gateway that runs has all of them, which is said once.
    if of_admin == Some(Refusal::InUse) {
        findings.push(runs_already(admin));
    } else {
        findings.extend(of_admin.map(|refusal| no_admin(admin, &refusal)));
        findings.extend(in_use.iter().map(|(name, _)| address_in_use(name)));
    }
    findings.sort();
    Ok(Checked { findings, places: build.places })
}

/// `run` does not start without its admin endpoint.
fn no_admin(address: SocketAddr, refusal: &Refusal) -> Finding {
    let subject = Subject::Socket(address.to_string());
    let message = format!("the admin endpoint cannot listen: {refusal}");
    Finding::new(Severity::Error, subject, "cannot-bind", message).remedy("name another address as `admin.address`")
}

fn runs_already(admin: SocketAddr) -> Finding {
    let subject = Subject::Socket(admin.to_string());
    let message = "the admin endpoint's address is in use, most likely by the gateway itself";
    Finding::new(Severity::Info, subject, "address-in-use", message)
        .remedy("if it is another process: free the address, or name one as `admin.address`")
}

fn address_in_use(name: &SocketName) -> Finding {
    let remedy = match name {
        SocketName::Inet(_) => {
            "if it is another: free the address, or map the port to another one under `ports` in the bootstrap file"
        }
        SocketName::Unix(_) => "if it is another: end it, or name another path",
    };
    let subject = Subject::Socket(name.to_string());
    Finding::new(Severity::Info, subject, "address-in-use", "a process listens there, most likely the gateway itself")
        .remedy(remedy)
}
