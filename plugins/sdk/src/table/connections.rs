//! Connections that are forwarded as bytes: by the name that the client asks for, then by where it comes from and where
//! it came to.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::OnMiss;
use super::names::Names;
use crate::ConnectionHead;
use crate::host_name::HostName;

/// Rules for the connections whose client asks for a name (SNI).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerName {
    /// Which names; [`HostName::Any`] also takes a client that asks for none, and every plain TCP connection.
    pub name: HostName,
    /// In order: the first that matches wins.
    pub rules: Vec<ConnectionRule>,
}

/// Conditions that lead to one stream route; all of them must hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectionRule {
    /// Index into the translation's streams.
    pub stream: u32,
    /// The client's address lies in one of these; everywhere when empty.
    pub sources: Vec<Subnet>,
    /// The address that it connected to lies in one of these; everywhere when empty.
    pub destinations: Vec<Subnet>,
}

/// An IP network: the addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Subnet {
    address: IpAddr,
    bits: u8,
}

impl FromStr for Subnet {
    type Err = String;

    /// An address, or an address, a slash and how many of its bits count.
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| format!("`{address}` is not an IP address"))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits
                .parse()
                .ok()
                .filter(|bits| *bits <= most)
                .ok_or_else(|| format!("`{bits}` is not a number of bits from 0 to {most}"))?,
        };
        Ok(Self { address, bits })
    }
}

impl Subnet {
    /// Whether the network has that address. An IPv4 address in IPv6's clothes counts as what it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = u32::from(own) ^ u32::from(other);
                differing.checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = u128::from(own) ^ u128::from(other);
                differing.checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// The connection rules of one listener, indexed by name.
#[derive(Debug)]
pub(super) struct Connections {
    names: Names,
    rules: Vec<Vec<ConnectionRule>>,
}

impl Connections {
    pub(super) fn compile(of: Vec<ServerName>) -> Self {
        let mut connections = Self { names: Names::default(), rules: Vec::with_capacity(of.len()) };
        for server_name in of {
            connections.names.insert(server_name.name, connections.rules.len());
            connections.rules.push(server_name.rules);
        }
        connections
    }

    pub(super) fn first(&self, head: &ConnectionHead, on_miss: OnMiss) -> Option<u32> {
        let (source, destination) = (address(&head.source), address(&head.destination));
        let matching = |position: usize| {
            let mut rules = self.rules[position].iter();
            let rule = rules.find(|rule| holds(&rule.sources, source) && holds(&rule.destinations, destination))?;
            Some(rule.stream)
        };
        let Some(name) = &head.sni else { return matching(self.names.nameless()?) };
        let mut claiming = self.names.claiming(name);
        match on_miss {
            OnMiss::Stop => matching(claiming.next()?),
            OnMiss::Widen => claiming.find_map(matching),
        }
    }
}

/// A peer without an IP address, on a Unix socket, is in no network.
fn holds(subnets: &[Subnet], address: Option<IpAddr>) -> bool {
    subnets.is_empty() || address.is_some_and(|address| subnets.iter().any(|subnet| subnet.contains(address)))
}

/// With or without its port.
fn address(text: &str) -> Option<IpAddr> {
    text.parse().or_else(|_| text.parse().map(|address: SocketAddr| address.ip())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream, the networks that it is from, and those that it is to.
    type Said<'s> = (u32, &'s str, &'s str);

    fn connections(of: &[(&str, &[Said<'_>])]) -> Connections {
        let subnets = |text: &str| text.split_whitespace().map(|subnet| subnet.parse().unwrap()).collect();
        let rules = |rules: &[(u32, &str, &str)]| {
            let rules = rules.iter().map(|(stream, sources, destinations)| ConnectionRule {
                stream: *stream,
                sources: subnets(sources),
                destinations: subnets(destinations),
            });
            rules.collect()
        };
        let names =
            of.iter().map(|(name, said)| ServerName { name: HostName::parse(name).unwrap(), rules: rules(said) });
        Connections::compile(names.collect())
    }

    fn head(sni: Option<&str>, source: &str, destination: &str) -> ConnectionHead {
        let (source, destination) = (source.to_owned(), destination.to_owned());
        ConnectionHead { listener: 0, sni: sni.map(str::to_owned), source, destination }
    }

    #[test]
    fn the_most_specific_name_answers_and_no_name_is_taken_by_any_alone() {
        let all = connections(&[
            ("a.x.test", &[(1, "", "")]),
            ("*.x.test", &[(2, "", "")]),
            ("*.b.x.test", &[(3, "", "")]),
            ("*", &[(4, "", "")]),
        ]);
        for (sni, stream) in [
            (Some("a.x.test"), 1),
            (Some("b.x.test"), 2),
            (Some("c.d.x.test"), 2),
            (Some("c.b.x.test"), 3),
            (Some("x.test"), 4),
            (None, 4),
        ] {
            assert_eq!(all.first(&head(sni, "127.0.0.1", "127.0.0.1"), OnMiss::Stop), Some(stream), "{sni:?}");
        }
        let named = connections(&[("*.x.test", &[(2, "", "")])]);
        assert_eq!(named.first(&head(None, "127.0.0.1", "127.0.0.1"), OnMiss::Stop), None);
        assert_eq!(named.first(&head(Some("y.test"), "127.0.0.1", "127.0.0.1"), OnMiss::Stop), None);
    }

    #[test]
    fn the_first_rule_whose_networks_have_both_addresses_wins() {
        let all = connections(&[
            ("a.test", &[(1, "10.0.0.0/8 fd00::/8", ""), (2, "", "192.168.1.1"), (3, "10.0.0.0/8", "")]),
            ("*", &[(4, "", "")]),
        ]);
        for (source, destination, stream) in [
            ("10.1.2.3", "127.0.0.1", Some(1)),
            ("[::ffff:10.1.2.3]:9", "127.0.0.1", Some(1)),
            ("fd00::1", "127.0.0.1", Some(1)),
            ("11.0.0.1:4", "192.168.1.1:443", Some(2)),
            ("11.0.0.1", "192.168.1.2", None),
            ("@socket", "", None),
        ] {
            let head = head(Some("a.test"), source, destination);
            assert_eq!(all.first(&head, OnMiss::Stop), stream, "{source} to {destination}");
            assert_eq!(all.first(&head, OnMiss::Widen), stream.or(Some(4)), "{source} to {destination}");
        }
    }

    #[test]
    fn networks_are_read_with_their_bits() {
        let has = |network: &str, address: &str| {
            network.parse::<Subnet>().unwrap().contains(address.parse::<IpAddr>().unwrap())
        };
        assert!(has("0.0.0.0/0", "255.1.2.3") && has("::/0", "fd00::1") && !has("::/0", "1.2.3.4"));
        assert!(has("10.1.0.0/15", "10.0.255.1") && !has("10.1.0.0/16", "10.0.255.1"));
        assert!(has("1.2.3.4", "1.2.3.4") && !has("1.2.3.4", "1.2.3.5") && !has("fd00::1/128", "fd00::2"));
        for wrong in ["", "a", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/-1", "10.0.0.0/"] {
            assert!(wrong.parse::<Subnet>().is_err(), "{wrong:?}");
        }
    }
}
