//! Logins by API key.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use windrow_auth::{
    ApiKeyRecord, ApiKeySecret, AuthError, Authenticator, Identity, Login, Principal, TokenMode,
};
use windrow_core::{ApiKeyId, Clock, OwnerId, Scope, TestClock};

use crate::Lookup;

struct Fixture {
    clock: Arc<TestClock>,
    secret: ApiKeySecret,
    record: ApiKeyRecord,
}

fn fixture() -> Fixture {
    let clock = TestClock::shared();
    let record = ApiKeyRecord {
        id: ApiKeyId::new(&*clock),
        owner: OwnerId(7),
        scopes: vec![Scope::Read, Scope::Worker(Some("generate".into()))],
        expires_at: Some(clock.now().plus(Duration::from_secs(60))),
        revoked: false,
        last_used_at: None,
    };
    Fixture { clock, secret: ApiKeySecret::from_random([9; 32]), record }
}

impl Fixture {
    async fn login(&self, credential: &str) -> Result<Principal, AuthError> {
        let keys = HashMap::from([(self.secret.sha256(), self.record.clone())]);
        let lookup = Arc::new(Lookup(Some(keys)));
        let auth = Authenticator::new(TokenMode::Insecure, lookup, self.clock.clone()).unwrap();
        auth.authenticate(Some(&format!("Bearer {credential}"))).await
    }
}

#[tokio::test]
async fn a_key_logs_its_owner_in_with_its_scopes() {
    let fixture = fixture();
    let principal = fixture.login(fixture.secret.expose()).await.unwrap();
    assert_eq!(principal.identity, Identity::Owner(OwnerId(7)));
    assert_eq!(principal.login, Login::ApiKey { id: fixture.record.id, last_used_at: None });
    assert!(principal.allows(&Scope::Read) && principal.allows(&Scope::Worker(Some("generate".into()))));
    assert!(!principal.allows(&Scope::Write) && !principal.allows(&Scope::Worker(Some("style".into()))));
}

#[tokio::test]
async fn a_key_that_is_unknown_revoked_or_expired_says_so() {
    let mut fixture = fixture();
    let other = ApiKeySecret::from_random([1; 32]);
    assert_eq!(fixture.login(other.expose()).await, Err(AuthError::UnknownApiKey));
    assert!(matches!(fixture.login("wr_short").await, Err(AuthError::Malformed(_))));
    let secret = fixture.secret.clone();
    fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(fixture.login(secret.expose()).await, Err(AuthError::ExpiredApiKey));
    fixture.record.revoked = true;
    assert_eq!(fixture.login(secret.expose()).await, Err(AuthError::RevokedApiKey));
}

#[tokio::test]
async fn a_key_store_that_is_down_is_no_fault_of_the_caller() {
    let fixture = fixture();
    let auth =
        Authenticator::new(TokenMode::Insecure, Arc::new(Lookup(None)), fixture.clock.clone()).unwrap();
    let error = auth.authenticate(Some(&format!("Bearer {}", fixture.secret.expose()))).await.unwrap_err();
    assert!(error.is_unavailable());
    assert_eq!(error.code(), "login_unavailable");
}
