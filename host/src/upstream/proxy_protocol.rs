//! The PROXY protocol (haproxy's proxy-protocol.txt, 2.1 and 2.2): what a connection to an endpoint begins with, so that
//! it learns whose it is.

use std::net::{IpAddr, SocketAddr};

use crate::model::ProxyVersion;
use crate::socket_name::UNIX_PEER;

/// How version 2 begins.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, on behalf of somebody else.
const PROXY: u8 = 0x21;
/// An address of no family that has a number.
const UNSPECIFIED: u8 = 0x00;

/// The header for a client at `peer` that came in at `local`. Of one that came by a Unix socket there is nothing to say.
pub(super) fn header(version: ProxyVersion, peer: SocketAddr, local: SocketAddr) -> Vec<u8> {
    if peer == UNIX_PEER {
        return match version {
            ProxyVersion::V1 => b"PROXY UNKNOWN\r\n".to_vec(),
            ProxyVersion::V2 => [SIGNATURE, &[PROXY, UNSPECIFIED, 0, 0]].concat(),
        };
    }
    let (from, to) = match (peer.ip().to_canonical(), local.ip().to_canonical()) {
        (from @ IpAddr::V4(_), to @ IpAddr::V4(_)) | (from @ IpAddr::V6(_), to @ IpAddr::V6(_)) => (from, to),
        // There is no way to say two families.
        (from, to) => (mapped(from), mapped(to)),
    };
    match version {
        ProxyVersion::V1 => {
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            format!("PROXY {family} {from} {to} {} {}\r\n", peer.port(), local.port()).into_bytes()
        }
        ProxyVersion::V2 => {
            let (family, length) = if from.is_ipv4() { (0x11, 12) } else { (0x21, 36) };
            let mut header = [SIGNATURE, &[PROXY, family, 0, length]].concat();
            for address in [from, to] {
                match address {
                    IpAddr::V4(address) => header.extend(address.octets()),
                    IpAddr::V6(address) => header.extend(address.octets()),
                }
            }
            header.extend(peer.port().to_be_bytes());
            header.extend(local.port().to_be_bytes());
            header
        }
    }
}

fn mapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().into(),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: ProxyVersion, peer: &str, local: &str) -> Vec<u8> {
        header(version, peer.parse().unwrap(), local.parse().unwrap())
    }

    #[test]
    fn version_1_is_a_line() {
        let line = |peer, local| String::from_utf8(of(ProxyVersion::V1, peer, local)).unwrap();
        assert_eq!(line("192.0.2.1:5000", "10.0.0.1:443"), "PROXY TCP4 192.0.2.1 10.0.0.1 5000 443\r\n");
        assert_eq!(line("[2001:db8::1]:5000", "[::1]:443"), "PROXY TCP6 2001:db8::1 ::1 5000 443\r\n");
        assert_eq!(line("[::ffff:192.0.2.1]:5", "10.0.0.1:6"), "PROXY TCP4 192.0.2.1 10.0.0.1 5 6\r\n");
    }

    #[test]
    fn of_a_client_without_an_address_nothing_is_said() {
        assert_eq!(header(ProxyVersion::V1, UNIX_PEER, UNIX_PEER), b"PROXY UNKNOWN\r\n");
        assert_eq!(header(ProxyVersion::V2, UNIX_PEER, UNIX_PEER)[12..], [0x21, 0, 0, 0]);
    }

    #[test]
    fn version_2_is_binary() {
        let four = of(ProxyVersion::V2, "192.0.2.1:258", "10.0.0.1:443");
        assert_eq!(four[..12], *b"\r\n\r\n\0\r\nQUIT\n");
        assert_eq!(four[12..], [0x21, 0x11, 0, 12, 192, 0, 2, 1, 10, 0, 0, 1, 1, 2, 1, 187]);
        let six = of(ProxyVersion::V2, "[2001:db8::1]:1", "[::1]:2");
        assert_eq!(six[12..16], [0x21, 0x21, 0, 36]);
        assert_eq!(six.len(), 16 + 36);
    }
}
