//! Logins, against keys that the tests make and an issuer that they play.
#![allow(clippy::unwrap_used)]

mod api_keys;
mod jwks;
mod keys;
mod local;
mod tokens;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use windrow_auth::{
    ApiKeyLookup, ApiKeyRecord, AuthError, Authenticator, Identity, LookupFailed, Principal, TokenMode,
};
use windrow_core::TestClock;

/// Keys by hash; none when the store is down.
struct Lookup(Option<HashMap<[u8; 32], ApiKeyRecord>>);

#[async_trait]
impl ApiKeyLookup for Lookup {
    async fn find(&self, sha256: &[u8; 32]) -> Result<Option<ApiKeyRecord>, LookupFailed> {
        let keys = self.0.as_ref().ok_or_else(|| LookupFailed("connection refused".into()))?;
        Ok(keys.get(sha256).cloned())
    }
}

fn authenticator(mode: TokenMode, clock: &Arc<TestClock>) -> Authenticator {
    Authenticator::new(mode, Arc::new(Lookup(Some(HashMap::new()))), clock.clone()).unwrap()
}

/// The subject that a bearer token logs in.
async fn login(authenticator: &Authenticator, token: &str) -> Result<String, AuthError> {
    let header = format!("Bearer {token}");
    let principal = authenticator.authenticate(Some(&header)).await?;
    Ok(subject(principal))
}

fn subject(principal: Principal) -> String {
    match principal.identity {
        Identity::Subject(sub) => sub,
        Identity::Owner(owner) => panic!("a token logged in as the owner {owner} of an API key"),
    }
}
