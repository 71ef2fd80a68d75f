//! Which listener serves a request on a connection: decisions 1, 2 and 3.
//!
//! A connection keeps what its handshake established, and each request is held against the generation that is current
//! at its head.

use std::sync::Arc;

use crate::generation::{Listener, Socket, Traffic};
use crate::model::Misdirected;
use crate::tls::{Handshake, Verification};

/// Why no listener serves a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misdirection {
    /// Nobody's authority: 404.
    Nobody,
    /// Another listener's: 421.
    Other,
    /// The connection's own listener is gone or would not accept this client any more: 421, and the connection ends.
    Outlived,
}

/// The listener that serves a request for `host` on this connection.
///
/// # Errors
/// [`Misdirection`].
pub fn choose<'g>(
    socket: &'g Socket,
    handshake: Option<&Handshake>,
    host: &str,
) -> Result<&'g Arc<Listener>, Misdirection> {
    let Some(handshake) = handshake else {
        return socket.find(host).ok_or(Misdirection::Nobody);
    };
    let own = match &handshake.listener {
        Some(name) => Some(socket.named(name).ok_or(Misdirection::Outlived)?),
        None => None,
    };
    if let Some(own) = own {
        let serves = own.traffic == Traffic::Requests;
        let tls = own.tls.as_ref().filter(|tls| serves && tls.config.is_ok()).ok_or(Misdirection::Outlived)?;
        if !handshake.still_satisfies(&tls.verification) {
            return Err(Misdirection::Outlived);
        }
    }
    let best = socket.find(host).ok_or(Misdirection::Nobody)?;
    match own {
        Some(own) if Arc::ptr_eq(own, best) => Ok(best),
        Some(own) if may_follow(own, best, host) => Ok(best),
        _ => Err(Misdirection::Other),
    }
}

/// Decision 2: both say `follow`, the certificate shown covers the name, and client verification is equal.
fn may_follow(own: &Listener, best: &Listener, host: &str) -> bool {
    let (Some(own_tls), Some(best_tls)) = (&own.tls, &best.tls) else { return false };
    best.traffic == Traffic::Requests
        && own.misdirected == Misdirected::Follow
        && best.misdirected == Misdirected::Follow
        && best_tls.config.is_ok()
        && own_tls.covers(host)
        && Verification::digest(&own_tls.verification) == Verification::digest(&best_tls.verification)
}
