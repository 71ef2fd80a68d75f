//! Ports that nobody uses.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which the system picks ports for outgoing connections: one of those, taken between this answer
/// and the bind, would be a test that fails once in a thousand runs.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port free on 127.0.0.1, given out once.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Other processes may run the same tests: each starts elsewhere.
    let start = u16::try_from(std::process::id() * 97 % u32::from(COUNT)).expect("less than COUNT");
    (0..COUNT)
        .map(|_| FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT)
        .find(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok())
        .expect("there is a free port")
}
