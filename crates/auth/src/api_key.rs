//! API keys: `wr_`, 32 random bytes, a checksum.
//!
//! The bytes are written in base 62, so that a double click selects the whole key; the checksum tells a mistyped key from
//! an unknown one without asking the database, and lets scanners find leaked keys
//! (<https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/>).

use std::fmt;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use windrow_core::{ApiKeyId, OwnerId, Scope, Timestamp};

use crate::error::AuthError;

const PREFIX: &str = "wr_";
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 > 2^256.
const BODY: usize = 43;
/// 62^6 > 2^32.
const CHECKSUM: usize = 6;

/// What is stored of an API key, as far as a login needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyRecord {
    pub id: ApiKeyId,
    pub owner: OwnerId,
    pub scopes: Vec<Scope>,
    pub expires_at: Option<Timestamp>,
    pub revoked: bool,
    /// The hour in which it was used last, as far as that was written down.
    pub last_used_at: Option<Timestamp>,
}

/// The key store did not answer. Its own words belong in the log of whoever implements the lookup.
#[derive(Debug, thiserror::Error)]
#[error("the API keys can't be looked up: {0}")]
pub struct LookupFailed(pub String);

/// Where API keys are looked up. By the hash of the whole key: a guess's hash has nothing in common with a near key's, so
/// the time that an index takes to miss it tells nothing.
#[async_trait]
pub trait ApiKeyLookup: Send + Sync {
    /// The key with this SHA-256, live or not.
    ///
    /// # Errors
    /// When the store can't be asked.
    async fn find(&self, sha256: &[u8; 32]) -> Result<Option<ApiKeyRecord>, LookupFailed>;
}

/// A whole API key. It is shown once, when it is made; only its hash is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeySecret(String);

impl ApiKeySecret {
    /// A new key from the operating system's randomness.
    ///
    /// # Errors
    /// [`AuthError::Unavailable`] when there is none.
    pub fn generate() -> Result<Self, AuthError> {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AuthError::Unavailable)?;
        Ok(Self::from_random(bytes))
    }

    /// The key of these bytes, which must be random and secret.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        let body = format!("{PREFIX}{}", base62(&bytes, BODY));
        let checksum = checksum(&body);
        Self(format!("{body}{checksum}"))
    }

    /// Reads a key that somebody sent.
    ///
    /// # Errors
    /// [`AuthError::Malformed`] when it was cut or mistyped.
    pub fn parse(text: &str) -> Result<Self, AuthError> {
        let malformed = AuthError::Malformed("the API key is incomplete or mistyped");
        let body = text.strip_prefix(PREFIX).ok_or_else(|| malformed.clone())?;
        if body.len() != BODY + CHECKSUM || !body.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(malformed);
        }
        let (signed, sum) = text.split_at(PREFIX.len() + BODY);
        if bool::from(checksum(signed).as_bytes().ct_eq(sum.as_bytes())) {
            Ok(Self(text.to_owned()))
        } else {
            Err(malformed)
        }
    }

    /// Whether a credential means to be an API key.
    pub(crate) fn is_meant_by(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// The whole key, to be shown to its maker once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The first characters, by which people tell keys apart: 36 of 256 bits.
    pub fn hint(&self) -> &str {
        &self.0[..PREFIX.len() + 6]
    }

    /// What is stored. No salt and no slow hash: nobody guesses 256 random bits.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }
}

impl fmt::Debug for ApiKeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeySecret({}…)", self.hint())
    }
}

fn checksum(text: &str) -> String {
    base62(&Sha256::digest(text.as_bytes())[..4], CHECKSUM)
}

/// A big-endian number in base 62, in a fixed number of digits.
fn base62(bytes: &[u8], width: usize) -> String {
    let mut number = bytes.to_vec();
    let mut digits = vec![ALPHABET[0]; width];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0u16;
        for byte in &mut number {
            let dividend = remainder << 8 | u16::from(*byte);
            *byte = u8::try_from(dividend / 62)
                .expect("the remainder is below 62, so the quotient fits in a byte");
            remainder = dividend % 62;
        }
        *digit = ALPHABET[usize::from(remainder)];
    }
    digits.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn base_62_is_big_endian_and_padded() {
        assert_eq!(base62(&[0, 0], 3), "000");
        assert_eq!(base62(&[61], 2), "0z");
        assert_eq!(base62(&[0, 62], 2), "10");
        // 2^256 - 1 in base 62, worked out independently with arbitrary-precision integers.
        assert_eq!(base62(&[0xff; 32], 43), "yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1");
    }

    #[test]
    fn a_key_shows_itself_only_when_asked() {
        let key = ApiKeySecret::from_random([7; 32]);
        assert_eq!(key.expose().len(), 52);
        let shown = format!("{key:?}");
        assert!(shown.contains(key.hint()) && !shown.contains(&key.expose()[10..]), "{shown}");
        assert_ne!(ApiKeySecret::generate().unwrap(), ApiKeySecret::generate().unwrap());
        assert_eq!(key.sha256(), <[u8; 32]>::from(Sha256::digest(key.expose())));
    }

    proptest! {
        #[test]
        fn every_key_reads_back_and_no_slip_passes(bytes: [u8; 32], at in 0usize..52, with in "[0-9A-Za-z_]") {
            let key = ApiKeySecret::from_random(bytes);
            prop_assert_eq!(ApiKeySecret::parse(key.expose()), Ok(key.clone()));
            let mut slip = key.expose().to_owned();
            slip.replace_range(at..=at, &with);
            if slip != key.expose() {
                prop_assert!(ApiKeySecret::parse(&slip).is_err(), "{}", slip);
            }
            prop_assert!(ApiKeySecret::parse(&key.expose()[..51]).is_err());
        }
    }
}
