//! Windrow as its own issuer: one Ed25519 key, kept by the caller or derived from a secret of the caller's.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use windrow_core::Timestamp;

use crate::claims::{Expected, check_subject};
use crate::error::AuthError;
use crate::jwk::{VerifyingKey, read_key_set};

/// The `iss` of our own tokens.
pub const LOCAL_ISSUER: &str = "windrow";
/// The `aud` of our own tokens.
pub const LOCAL_AUDIENCE: &str = "windrow";

/// Keeps the derived key apart from whatever else is derived from the same secret (RFC 5869, section 3.2).
const DERIVED_FOR: &[u8] = b"windrow local issuer, Ed25519, 1";

/// The kept key is no Ed25519 key, or none could be made.
#[derive(Debug, thiserror::Error)]
pub enum LocalKeyError {
    #[error(
        "the signing key is damaged: it is no Ed25519 key in PKCS#8; remove it to have a new one made, which ends all tokens"
    )]
    Damaged,
    #[error("the operating system gave no randomness for a signing key")]
    NoRandomness,
    #[error("no signing key can be derived from the secret")]
    Underivable,
}

/// Signs and verifies the tokens of a local installation.
pub struct LocalIssuer {
    key: Ed25519KeyPair,
    key_id: String,
    verifying: VerifyingKey,
}

impl fmt::Debug for LocalIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalIssuer({})", self.key_id)
    }
}

impl LocalIssuer {
    /// A new key. The caller keeps [`LocalIssuer::to_pkcs8`] where only the installation's user can read it (mode 0600).
    ///
    /// # Errors
    /// [`LocalKeyError::NoRandomness`].
    pub fn generate() -> Result<Self, LocalKeyError> {
        Self::new(Ed25519KeyPair::generate().map_err(|_| LocalKeyError::NoRandomness)?)
    }

    /// The key that was kept.
    ///
    /// # Errors
    /// [`LocalKeyError::Damaged`].
    pub fn load(pkcs8: &[u8]) -> Result<Self, LocalKeyError> {
        Self::new(Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| LocalKeyError::Damaged)?)
    }

    /// The key that a secret stands for, by HKDF-SHA256 (RFC 5869): the same in every process that has the secret. That must be
    /// hard to guess, as tokens are published that were signed by what is made of it.
    ///
    /// # Errors
    /// [`LocalKeyError::Underivable`].
    pub fn derive(secret: &[u8]) -> Result<Self, LocalKeyError> {
        let mut seed = [0; 32];
        let key = Salt::new(HKDF_SHA256, &[]).extract(secret);
        key.expand(&[DERIVED_FOR], HKDF_SHA256)
            .and_then(|material| material.fill(&mut seed))
            .map_err(|_| LocalKeyError::Underivable)?;
        Self::new(Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| LocalKeyError::Underivable)?)
    }

    fn new(key: Ed25519KeyPair) -> Result<Self, LocalKeyError> {
        let public = key.public_key().as_ref();
        let key_id = hex::encode(&Sha256::digest(public)[..8]);
        let document = key_set(&key_id, public).to_string();
        let mut keys = read_key_set(document.as_bytes()).map_err(|_| LocalKeyError::Damaged)?;
        let verifying = keys.remove(&key_id).ok_or(LocalKeyError::Damaged)?;
        Ok(Self { key, key_id, verifying })
    }

    /// The private key, DER-encoded PKCS#8 (RFC 5958). Secret.
    ///
    /// # Errors
    /// [`LocalKeyError::Damaged`] when the key can't be encoded.
    pub fn to_pkcs8(&self) -> Result<Vec<u8>, LocalKeyError> {
        Ok(self.key.to_pkcs8().map_err(|_| LocalKeyError::Damaged)?.as_ref().to_vec())
    }

    /// A token for `sub` that lives for `ttl`, to the second.
    ///
    /// # Errors
    /// [`AuthError::Malformed`] when `sub` is empty, longer than 255 bytes, or holds control characters.
    pub fn mint(&self, sub: &str, ttl: Duration, now: Timestamp) -> Result<String, AuthError> {
        check_subject(sub)?;
        let seconds = |time: Timestamp| time.since(Timestamp::default()).as_secs();
        let header = json!({ "alg": "EdDSA", "kid": self.key_id, "typ": "JWT" });
        let claims = json!({
            "iss": LOCAL_ISSUER,
            "aud": LOCAL_AUDIENCE,
            "sub": sub,
            "iat": seconds(now),
            "exp": seconds(now.plus(ttl)),
        });
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()));
        Ok(format!("{signed}.{signature}"))
    }

    /// The public key as a JWK Set, for others that want to verify our tokens.
    pub fn jwks(&self) -> Value {
        key_set(&self.key_id, self.key.public_key().as_ref())
    }

    pub(crate) fn key(&self, kid: &str) -> Result<VerifyingKey, AuthError> {
        if kid == self.key_id { Ok(self.verifying.clone()) } else { Err(AuthError::UnknownKey) }
    }

    pub(crate) fn expected() -> Expected {
        Expected {
            issuer: LOCAL_ISSUER.to_owned(),
            audiences: vec![LOCAL_AUDIENCE.to_owned()],
            client_ids: Vec::new(),
        }
    }
}

/// RFC 8037, section 2: an Ed25519 key as an octet key pair.
fn key_set(key_id: &str, public: &[u8]) -> Value {
    let x = URL_SAFE_NO_PAD.encode(public);
    json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key_id, "x": x }] })
}
