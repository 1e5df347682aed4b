//! From an `Authorization` header to a principal.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use windrow_core::SharedClock;

use crate::api_key::{ApiKeyLookup, ApiKeySecret};
use crate::claims::{Claims, Expected};
use crate::error::AuthError;
use crate::jwk::{VerifyingKey, accepted};
use crate::jwks::{JwksClient, JwksSettings};
use crate::local::LocalIssuer;
use crate::principal::{Identity, Login, Principal};
use crate::token::Token;

/// How long a login waits for the issuer's keys.
const JWKS_TIMEOUT: Duration = Duration::from_secs(5);

/// How tokens are checked.
#[derive(Debug)]
pub enum TokenMode {
    /// Against an issuer's published keys.
    Jwks(JwksSettings),
    /// Against our own key.
    Local(Arc<LocalIssuer>),
    /// Not at all: any token's subject is believed. The configuration allows it with `APP_ENV=local` only.
    Insecure,
}

/// Checks the credentials of requests.
pub struct Authenticator {
    tokens: Tokens,
    api_keys: Arc<dyn ApiKeyLookup>,
    default_owner: Option<String>,
    clock: SharedClock,
}

enum Tokens {
    Jwks { keys: JwksClient, expected: Expected },
    Local { issuer: Arc<LocalIssuer>, expected: Expected },
    Insecure,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match &self.tokens {
            Tokens::Jwks { .. } => "jwks",
            Tokens::Local { .. } => "local",
            Tokens::Insecure => "insecure",
        };
        f.debug_struct("Authenticator").field("mode", &mode).finish_non_exhaustive()
    }
}

impl Authenticator {
    /// Nothing is fetched before the first token arrives.
    ///
    /// # Errors
    /// A text, when the HTTP client for the issuer's keys can't be made (no trusted certificates).
    pub fn new(mode: TokenMode, api_keys: Arc<dyn ApiKeyLookup>, clock: SharedClock) -> Result<Self, String> {
        let tokens = match mode {
            TokenMode::Jwks(settings) => {
                let http = reqwest::Client::builder()
                    .timeout(JWKS_TIMEOUT)
                    // Keys come from where the configuration says, and from nowhere else.
                    .redirect(reqwest::redirect::Policy::none())
                    .build()
                    .map_err(|e| format!("the HTTP client for the issuer's keys can't be made: {e}"))?;
                let JwksSettings { issuer, jwks_url, audiences, client_ids, cache } = settings;
                let keys = JwksClient::new(jwks_url, cache, http, Arc::clone(&clock));
                Tokens::Jwks { keys, expected: Expected { issuer, audiences, client_ids } }
            }
            TokenMode::Local(issuer) => Tokens::Local { issuer, expected: LocalIssuer::expected() },
            TokenMode::Insecure => Tokens::Insecure,
        };
        Ok(Self { tokens, api_keys, default_owner: None, clock })
    }

    /// Lets requests without a credential in as this subject. The configuration allows it with `APP_ENV=local` only.
    #[must_use]
    pub fn with_default_owner(mut self, sub: Option<String>) -> Self {
        self.default_owner = sub;
        self
    }

    /// Who sends this `Authorization` header (its value; none when there is no such header).
    ///
    /// # Errors
    /// Why nobody is let in.
    pub async fn authenticate(&self, authorization: Option<&str>) -> Result<Principal, AuthError> {
        let Some(header) = authorization.map(str::trim).filter(|header| !header.is_empty()) else {
            let default = self.default_owner.clone().ok_or(AuthError::Missing)?;
            return Ok(Principal::subject(default, Login::DefaultOwner));
        };
        let (scheme, credential) = header.split_once(' ').unwrap_or((header, ""));
        let credential = credential.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || credential.is_empty() {
            return Err(AuthError::Malformed("expected `Authorization: Bearer TOKEN`"));
        }
        if ApiKeySecret::is_meant_by(credential) {
            return self.by_api_key(credential).await;
        }
        let sub = self.subject_of(credential).await?;
        Ok(Principal::subject(sub, Login::Token))
    }

    async fn by_api_key(&self, credential: &str) -> Result<Principal, AuthError> {
        let secret = ApiKeySecret::parse(credential)?;
        let found = self.api_keys.find(&secret.sha256()).await.map_err(|error| {
            tracing::warn!(%error, "an API key can't be checked");
            AuthError::Unavailable
        })?;
        let key = found.ok_or(AuthError::UnknownApiKey)?;
        if key.revoked {
            return Err(AuthError::RevokedApiKey);
        }
        if key.expires_at.is_some_and(|end| self.clock.now() >= end) {
            return Err(AuthError::ExpiredApiKey);
        }
        Ok(Principal {
            identity: Identity::Owner(key.owner),
            login: Login::ApiKey { id: key.id, last_used_at: key.last_used_at },
            scopes: Some(key.scopes),
        })
    }

    async fn subject_of(&self, credential: &str) -> Result<String, AuthError> {
        let token = Token::parse(credential)?;
        let expected = match &self.tokens {
            Tokens::Jwks { expected, .. } | Tokens::Local { expected, .. } => expected,
            Tokens::Insecure => {
                let claims: Claims = token.claims()?;
                claims.check_optional_times(self.clock.now())?;
                return claims.into_subject();
            }
        };
        // The algorithm is refused before any key is asked for, so that `none` costs nothing.
        let algorithm = accepted(&token.header.alg).ok_or(AuthError::Algorithm)?;
        let kid = token.header.kid.as_deref().ok_or(AuthError::NoKeyId)?;
        let key = self.key(kid).await?;
        key.verify(algorithm, token.signed.as_bytes(), token.signature)?;
        let claims: Claims = token.claims()?;
        claims.check(expected, self.clock.now())?;
        claims.into_subject()
    }

    async fn key(&self, kid: &str) -> Result<VerifyingKey, AuthError> {
        match &self.tokens {
            Tokens::Jwks { keys, .. } => keys.key(kid).await,
            Tokens::Local { issuer, .. } => issuer.key(kid),
            Tokens::Insecure => Err(AuthError::UnknownKey),
        }
    }
}
