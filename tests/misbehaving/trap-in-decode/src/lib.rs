//! A plugin for secrets that traps on each of them.

use sekisho_sdk::secrets::{Credential, Failure, Secret, Trust};

/// The plugin.
#[derive(Debug)]
pub struct TrapInDecode;

impl sekisho_sdk::SecretPlugin for TrapInDecode {
    fn decode_credential(_secret: Secret) -> Result<Credential, Failure> {
        panic!("it decodes nothing")
    }

    fn decode_trust(_secret: Secret) -> Result<Trust, Failure> {
        panic!("it decodes nothing")
    }
}

sekisho_sdk::export_secrets!(TrapInDecode);
