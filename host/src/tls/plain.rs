//! What rustls and webpki say of a peer's certificate, in an operator's words.

use rustls::{AlertDescription, CertificateError, Error};

/// Why a client is refused.
pub(crate) fn refusal(error: &Error) -> String {
    match error {
        Error::NoCertificatesPresented => "the client gave no certificate".to_owned(),
        Error::InvalidCertificate(error) => certificate(error),
        Error::AlertReceived(alert) => format!("the client does not like what it was shown: alert {alert:?}"),
        other => other.to_string(),
    }
}

/// Why an endpoint is not spoken to.
pub(super) fn endpoint_refusal(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::InvalidPurpose) => {
            "its certificate is not for servers: its extendedKeyUsage does not have serverAuth".to_owned()
        }
        Error::InvalidCertificate(error) => format!("its certificate is refused: {}", certificate(error)),
        Error::AlertReceived(AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure) => {
            "it refused the handshake; most often it wants a client certificate".to_owned()
        }
        Error::AlertReceived(alert) => format!("it refused the handshake: alert {alert:?}"),
        Error::InvalidMessage(_) => "what it said is no TLS; it may speak in the clear".to_owned(),
        other => other.to_string(),
    }
}

fn certificate(error: &CertificateError) -> String {
    let plain = match error {
        CertificateError::UnknownIssuer => "its issuer is none of the authorities accepted here, nor sent along",
        CertificateError::Expired => "it has expired",
        CertificateError::NotValidYet => "it is not valid yet",
        CertificateError::Revoked => "it was revoked",
        CertificateError::UnknownRevocationStatus => "no revocation list tells of it",
        CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => {
            "the revocation list that tells of it has expired"
        }
        CertificateError::BadSignature => "its signature is wrong",
        CertificateError::BadEncoding => "it cannot be read",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its extendedKeyUsage does not have clientAuth"
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
            Some(webpki::Error::CaUsedAsEndEntity) => "it is one of an authority (CA:TRUE), and not trusted by itself",
            Some(webpki::Error::UnsupportedCertVersion) => {
                "it is of X.509 version 1 or 2, and not issued directly by an authority that may vouch for it"
            }
            Some(_) => return format!("it is not accepted ({})", other.0),
            None => return other.0.to_string(),
        },
        // These tell the times.
        CertificateError::ExpiredContext { .. } | CertificateError::NotValidYetContext { .. } => {
            return format!("it is {error}").replace("certificate ", "");
        }
        other => return other.to_string(),
    };
    plain.to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::OtherError;
    use rustls::pki_types::UnixTime;

    use super::*;

    #[test]
    fn nobody_is_shown_the_names_of_types() {
        let at = |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let other = OtherError(Arc::new(webpki::Error::CaUsedAsEndEntity));
        for error in [
            CertificateError::UnknownIssuer,
            CertificateError::ExpiredContext { time: at(2), not_after: at(1) },
            CertificateError::NotValidYetContext { time: at(1), not_before: at(2) },
            CertificateError::Revoked,
            CertificateError::Other(other),
        ] {
            let said = refusal(&Error::InvalidCertificate(error));
            assert!(said.starts_with("it") && !said.contains("Error") && !said.contains('{'), "{said}");
        }
    }
}
