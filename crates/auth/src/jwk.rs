//! Published keys, each for one algorithm.

use std::collections::HashMap;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use crate::error::AuthError;

/// The algorithms that are accepted. All are asymmetric: a published key can never pass as a shared secret.
pub(crate) fn accepted(alg: &str) -> Option<Algorithm> {
    match alg {
        "RS256" => Some(Algorithm::RS256),
        "ES256" => Some(Algorithm::ES256),
        // RFC 9864 names the curve outright; both mean the same here.
        "EdDSA" | "Ed25519" => Some(Algorithm::EdDSA),
        _ => None,
    }
}

/// A key and the one algorithm that it verifies. A token has no say in which that is.
#[derive(Clone)]
pub(crate) struct VerifyingKey {
    key: DecodingKey,
    algorithm: Algorithm,
}

impl VerifyingKey {
    /// Checks `signature` (base64url) over `message` for a token that names `algorithm`.
    pub(crate) fn verify(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &str,
    ) -> Result<(), AuthError> {
        if algorithm != self.algorithm {
            return Err(AuthError::Algorithm);
        }
        match jsonwebtoken::crypto::verify(signature, message, &self.key, self.algorithm) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(AuthError::BadSignature),
        }
    }

    /// A key that may verify tokens; none for keys of other kinds and uses.
    fn from_jwk(jwk: &Jwk) -> Option<Self> {
        if jwk.common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
            return None;
        }
        let (algorithm, declared) = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
            AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => {
                (Algorithm::ES256, KeyAlgorithm::ES256)
            }
            AlgorithmParameters::OctetKeyPair(okp) if okp.curve == EllipticCurve::Ed25519 => {
                (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
            }
            _ => return None,
        };
        if jwk.common.key_algorithm.is_some_and(|alg| alg != declared) {
            return None;
        }
        Some(Self { key: DecodingKey::from_jwk(jwk).ok()?, algorithm })
    }
}

/// Keys by their id.
pub(crate) type KeySet = HashMap<String, VerifyingKey>;

/// Reads a JWK Set (RFC 7517, section 5). Keys of unknown kinds, without an id, or for other uses are passed over, as the
/// RFC asks; a document that is no key set at all is an error.
pub(crate) fn read_key_set(json: &[u8]) -> Result<KeySet, serde_json::Error> {
    #[derive(Deserialize)]
    struct Document {
        keys: Vec<Value>,
    }
    let document: Document = serde_json::from_slice(json)?;
    let usable = document.keys.into_iter().filter_map(|key| {
        // `Ed25519` (RFC 9864) is `EdDSA` for these keys; the JWK type knows only the older name.
        let jwk: Jwk = serde_json::from_value(rename_algorithm(key)).ok()?;
        Some((jwk.common.key_id.clone()?, VerifyingKey::from_jwk(&jwk)?))
    });
    Ok(usable.collect())
}

fn rename_algorithm(mut key: Value) -> Value {
    if key.get("alg").is_some_and(|alg| alg == "Ed25519") {
        key["alg"] = "EdDSA".into();
    }
    key
}
