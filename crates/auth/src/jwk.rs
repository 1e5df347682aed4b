//! Published keys, each for one algorithm.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

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

/// How many good signatures a key remembers; 32 bytes each.
const REMEMBERED: usize = 4_096;

/// A key and the one algorithm that it verifies. A token has no say in which that is.
///
/// It remembers the signatures that it found good, as hashes: a client sends the same token with each request, and a signature
/// costs some fifty times what its hash does. Whether a signature is good never changes; everything else about a token
/// is checked each time. A key that is fetched anew remembers nothing.
#[derive(Clone)]
pub(crate) struct VerifyingKey {
    key: DecodingKey,
    algorithm: Algorithm,
    good: Arc<Mutex<HashSet<[u8; 32]>>>,
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
        // of all that is verified: base64url has no dot, so no other message and signature read the same
        let hash =
            Sha256::new().chain_update(message).chain_update(".").chain_update(signature).finalize().into();
        if self.good().contains(&hash) {
            return Ok(());
        }
        match jsonwebtoken::crypto::verify(signature, message, &self.key, self.algorithm) {
            Ok(true) => {
                let mut good = self.good();
                if good.len() >= REMEMBERED {
                    good.clear();
                }
                good.insert(hash);
                Ok(())
            }
            Ok(false) | Err(_) => Err(AuthError::BadSignature),
        }
    }

    fn good(&self) -> std::sync::MutexGuard<'_, HashSet<[u8; 32]>> {
        // a panic in between leaves the set as whole as it was
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
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
        Some(Self { key: DecodingKey::from_jwk(jwk).ok()?, algorithm, good: Arc::default() })
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
