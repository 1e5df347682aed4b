//! A token's three parts, before anything in it is believed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::AuthError;

/// Longer ones are refused unread: issuers' tokens have one to four KiB.
const MAX_LENGTH: usize = 16 * 1024;

/// A JWS in compact form (RFC 7515, section 7.1).
pub(crate) struct Token<'a> {
    pub(crate) header: Header,
    /// What the signature is over.
    pub(crate) signed: &'a str,
    claims: &'a str,
    pub(crate) signature: &'a str,
}

#[derive(Deserialize)]
pub(crate) struct Header {
    pub(crate) alg: String,
    pub(crate) kid: Option<String>,
    /// Extensions that must be understood; we understand none (RFC 7515, section 4.1.11).
    crit: Option<serde_json::Value>,
}

impl<'a> Token<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, AuthError> {
        if text.len() > MAX_LENGTH {
            return Err(AuthError::Malformed("the token is too long"));
        }
        let not_three = AuthError::Malformed("a token has three parts between dots");
        let (signed, signature) = text.rsplit_once('.').ok_or_else(|| not_three.clone())?;
        let (header, claims) = signed.split_once('.').ok_or_else(|| not_three.clone())?;
        if claims.contains('.') {
            return Err(not_three);
        }
        let header: Header = decode(header, "the token's header is no base64url JSON with an algorithm")?;
        if header.crit.is_some() {
            return Err(AuthError::Malformed("the token demands extensions (crit) that are not known"));
        }
        Ok(Self { header, signed, claims, signature })
    }

    pub(crate) fn claims<T: DeserializeOwned>(&self) -> Result<T, AuthError> {
        decode(self.claims, "the token's claims are no base64url JSON of the right types")
    }
}

fn decode<T: DeserializeOwned>(part: &str, otherwise: &'static str) -> Result<T, AuthError> {
    let malformed = || AuthError::Malformed(otherwise);
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed())?;
    serde_json::from_slice(&json).map_err(|_| malformed())
}
