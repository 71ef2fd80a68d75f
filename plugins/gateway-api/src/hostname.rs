//! The API's `Hostname` and `PreciseHostname`: stricter than what the gateway as such can match.

use std::net::IpAddr;

use sekisho_sdk::host_name::HostName;

/// A name or `*.suffix`; not `*`, not an address.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<HostName, String> {
    let host = HostName::parse(text).map_err(|why| format!("`{text}` is not a host name: {why}"))?;
    match &host {
        HostName::Any => Err("`*` is not a host name here; a field that is left out stands for every name".to_owned()),
        HostName::Exact(name) | HostName::Subdomains(name) | HostName::OneLabel(name) => {
            if name.parse::<IpAddr>().is_ok() {
                return Err(format!("`{text}` is an IP address"));
            }
            match name.split('.').find(|label| !is_label(label)) {
                Some(label) => Err(format!("`{text}` is not a host name: `{label}` is not a DNS label")),
                None => Ok(host),
            }
        }
    }
}

/// A name without a wildcard.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub(crate) fn parse_precise(text: &str) -> Result<String, String> {
    match parse(text)? {
        HostName::Exact(name) => Ok(name),
        _ => Err(format!("`{text}` is a wildcard; one name is needed")),
    }
}

fn is_label(label: &str) -> bool {
    !label.starts_with('-') && !label.ends_with('-') && !label.contains('_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_and_suffixes_are_host_names() {
        for text in ["a", "a.example.com", "*.example.com", "A.example.com", "xn--bcher-kva.example"] {
            assert!(parse(text).is_ok(), "{text}");
        }
        for text in ["", "*", "*.*.com", "192.0.2.1", "-a.com", "a_b.com", "a.com.", "a.com:443", "a b.com"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse_precise("A.com").as_deref(), Ok("a.com"));
        assert!(parse_precise("*.com").is_err());
    }
}
