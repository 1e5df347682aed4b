//! Signatures as Standard Webhooks 1.0 asks for them
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use windrow_core::OwnerId;

/// What an owner's webhooks are signed with.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret([u8; 32]);

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

impl Secret {
    /// Each owner's is another one, and none tells the installation's key.
    pub(super) fn of_owner(installation_key: &[u8], owner: OwnerId) -> Self {
        Self(mac(installation_key, &[b"windrow webhook secret\0", &owner.0.to_be_bytes()]))
    }

    /// As receivers configure it.
    pub(super) fn shown(&self) -> String {
        format!("whsec_{}", STANDARD.encode(self.0))
    }

    /// The value of `webhook-signature`.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        sign(&self.0, id, timestamp, body)
    }
}

fn sign(key: &[u8], id: &str, timestamp: u64, body: &[u8]) -> String {
    let signed = mac(key, &[id.as_bytes(), b".", timestamp.to_string().as_bytes(), b".", body]);
    format!("v1,{}", STANDARD.encode(signed))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the reference implementation's tests (standard-webhooks, `libraries/*`, `test sign`).
    #[test]
    fn the_reference_example_is_signed_as_the_reference_does() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = sign(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn owners_have_secrets_of_their_own() {
        let one = Secret::of_owner(b"key", OwnerId(1));
        assert!(one.shown().starts_with("whsec_"));
        assert_ne!(one.shown(), Secret::of_owner(b"key", OwnerId(2)).shown());
        assert_ne!(one.shown(), Secret::of_owner(b"other", OwnerId(1)).shown());
    }
}
