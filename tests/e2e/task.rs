//! What the founding task names again and again.

use std::path::PathBuf;

use rig::{Certificates, Pair, Set};

pub(crate) const HTTPBIN: &str = "httpbin.example.com";
pub(crate) const HELLOWORLD: &str = "helloworld.example.com";

// The task's `kubectl create -n istio-system secret …`.
pub(crate) const HTTPBIN_CREDENTIAL: &str = "tls httpbin-credential \
    --key=example_certs1/httpbin.example.com.key \
    --cert=example_certs1/httpbin.example.com.crt";
pub(crate) const HTTPBIN_CREDENTIAL_2: &str = "tls httpbin-credential \
    --key=example_certs2/httpbin.example.com.key \
    --cert=example_certs2/httpbin.example.com.crt";
pub(crate) const HTTPBIN_CREDENTIAL_MUTUAL: &str = "generic httpbin-credential \
    --from-file=tls.key=example_certs1/httpbin.example.com.key \
    --from-file=tls.crt=example_certs1/httpbin.example.com.crt \
    --from-file=ca.crt=example_certs1/example.com.crt";
pub(crate) const HELLOWORLD_CREDENTIAL: &str = "tls helloworld-credential \
    --key=example_certs1/helloworld.example.com.key \
    --cert=example_certs1/helloworld.example.com.crt";

/// `example_certs1/example.com.crt`
pub(crate) fn ca() -> PathBuf {
    Certificates::shared().ca(Set::First)
}

/// `example_certs2/example.com.crt`
pub(crate) fn ca_2() -> PathBuf {
    Certificates::shared().ca(Set::Second)
}

/// `example_certs1/client.example.com.{crt,key}`
pub(crate) fn client() -> Pair {
    Certificates::shared().pair(Set::First, "client")
}

/// Both certificates that the task makes are of version 1, which deserves a word; there is nothing else to say.
#[track_caller]
pub(crate) fn only_the_tasks_certificates(checked: &str) {
    assert!(checked.ends_with("0 errors, 2 warnings\n"), "{checked}");
    assert_eq!(checked.matches("warning[version-1-certificate]").count(), 2, "{checked}");
}
