//! What a secret format is written with (`secrets.wit`).

pub use crate::bindings::secrets::exports::sekisho::gateway::decoder::{
    Credential, Failure, Key, Problem, Secret, Trust,
};

/// A format of secrets: pure functions of one object's bytes.
pub trait SecretPlugin: 'static {
    /// A certificate chain and its key.
    ///
    /// # Errors
    /// [`Failure::NotMine`] passes the secret to the next plugin; [`Failure::Unusable`] names the field at fault.
    fn decode_credential(secret: Secret) -> Result<Credential, Failure>;

    /// Certificate authorities and revocation lists.
    ///
    /// # Errors
    /// As for [`SecretPlugin::decode_credential`].
    fn decode_trust(secret: Secret) -> Result<Trust, Failure>;
}
