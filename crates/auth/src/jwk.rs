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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// The public keys of RFC 7517, A.1 (EC) and RFC 8037, A.2 (Ed25519), and one that is no key.
    fn published(nth: usize) -> Value {
        let keys = [
            json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "a",
                   "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
                   "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}),
            json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "b",
                   "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
            json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "c", "n": "", "e": "AQAB"}),
        ];
        keys[nth % keys.len()].clone()
    }

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[A-Za-z0-9_=+/-]{0,60}|\\PC{0,20}".prop_map(Value::from),
            prop::collection::vec("[a-z]{0,8}".prop_map(Value::from), 0..4).prop_map(Value::from),
            Just(json!({"x": {}})),
        ]
    }

    proptest! {
        #[test]
        fn any_member_of_a_key_may_be_anything(
            nth in 0usize..3,
            name in "kty|crv|use|alg|kid|x|y|n|e|key_ops|x5c|x5t|oth",
            value in any_value(),
            cut in 0usize..2_000,
        ) {
            let mut changed = published(nth);
            changed[&name] = value;
            let set = json!({"keys": [changed.clone(), published(1), 7, "no key"]}).to_string();
            let keys = read_key_set(set.as_bytes()).unwrap();
            // the other key is there whatever became of this one
            prop_assert!(keys.contains_key("b"), "{}", set);
            let is_named = |id: &String| id == "b" || changed["kid"].as_str() == Some(id);
            prop_assert!(keys.keys().all(is_named), "{:?}", keys.keys());
            let cut = cut % set.len();
            prop_assert!(set.is_char_boundary(cut).then(|| read_key_set(&set.as_bytes()[..cut])).is_none_or(|read| read.is_err()));
        }

        #[test]
        fn any_bytes_are_a_key_set_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read_key_set(&bytes).is_err());
        }
    }
}
