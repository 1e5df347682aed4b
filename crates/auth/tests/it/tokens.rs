//! What a token must be and say.

use aws_lc_rs::hmac;
use proptest::prelude::*;
use serde_json::{Value, json};
use windrow_auth::{AuthError, Authenticator, Login, TokenMode};
use windrow_core::{Clock, TestClock};

use crate::jwks::Issuer;
use crate::keys::{Key, claims, encode, unsigned};
use crate::{authenticator, login};

async fn with_key(key: &Key) -> (Issuer, Authenticator) {
    let issuer = Issuer::start().await;
    issuer.publishes(&[key.jwk("a")]).await;
    let auth = issuer.authenticator();
    (issuer, auth)
}

/// The claims that pass, with one changed; null removes it.
fn changed(clock: &TestClock, name: &str, value: Value) -> Value {
    let mut claims = claims(clock);
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(name);
    } else {
        claims[name] = value;
    }
    claims
}

#[tokio::test]
async fn each_algorithm_logs_in_with_its_own_key() {
    for key in [Key::rsa(), Key::ec(), Key::ed()] {
        let (issuer, auth) = with_key(&key).await;
        let token = key.token("a", &claims(&issuer.clock));
        let principal = auth.authenticate(Some(&format!("bearer  {token} "))).await.unwrap();
        assert_eq!((principal.login, &principal.scopes), (Login::Token, &None), "{}", key.algorithm());
        assert_eq!(crate::subject(principal), "ann");

        // The same with another key of the same kind, or one bit changed.
        let other = match key.algorithm() {
            "RS256" => Key::rsa(),
            "ES256" => Key::ec(),
            _ => Key::ed(),
        };
        let forged = other.token("a", &claims(&issuer.clock));
        assert_eq!(login(&auth, &forged).await, Err(AuthError::BadSignature));
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let raised = unsigned(
            &json!({ "alg": key.algorithm(), "kid": "a" }),
            &changed(&issuer.clock, "sub", json!("root")),
        );
        assert_ne!(signed, raised);
        assert_eq!(login(&auth, &format!("{raised}.{signature}")).await, Err(AuthError::BadSignature));
    }
}

#[tokio::test]
async fn a_token_does_not_choose_its_algorithm() {
    let key = Key::rsa();
    let (issuer, auth) = with_key(&key).await;
    let claims = claims(&issuer.clock);
    let jwk = key.jwk("a");

    // The public key as a shared secret, in the forms in which attackers have it.
    for secret in [jwk["n"].as_str().unwrap().to_owned(), jwk.to_string()] {
        let signed = unsigned(&json!({ "alg": "HS256", "kid": "a" }), &claims);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes());
        assert_eq!(login(&auth, &format!("{signed}.{}", encode(tag))).await, Err(AuthError::Algorithm));
    }
    for none in ["none", "None", "NONE", "", "rs256", "PS256", "RS512"] {
        let signed = unsigned(&json!({ "alg": none, "kid": "a" }), &claims);
        assert_eq!(login(&auth, &format!("{signed}.")).await, Err(AuthError::Algorithm), "{none}");
    }
    // An accepted algorithm that this key is not for.
    let signed = unsigned(&json!({ "alg": "EdDSA", "kid": "a" }), &claims);
    assert_eq!(login(&auth, &format!("{signed}.{}", encode([0; 64]))).await, Err(AuthError::Algorithm));
    assert_eq!(
        login(&auth, &format!("{}.", key.token("a", &claims).rsplit_once('.').unwrap().0)).await,
        Err(AuthError::BadSignature)
    );
}

#[tokio::test]
async fn a_token_must_name_its_key_and_demand_nothing_unknown() {
    let key = Key::ed();
    let (issuer, auth) = with_key(&key).await;
    let claims = claims(&issuer.clock);
    let no_kid = key.token_with(&json!({ "alg": "EdDSA" }), &claims);
    assert_eq!(login(&auth, &no_kid).await, Err(AuthError::NoKeyId));
    let critical = key.token_with(&json!({ "alg": "EdDSA", "kid": "a", "crit": ["b64"] }), &claims);
    assert!(matches!(login(&auth, &critical).await, Err(AuthError::Malformed(_))));
    // Keys that the token brings along are not looked at.
    let own = Key::ed();
    let header =
        json!({ "alg": "EdDSA", "kid": "a", "jwk": own.jwk("a"), "jku": "https://evil.example/jwks.json" });
    assert_eq!(login(&auth, &own.token_with(&header, &claims)).await, Err(AuthError::BadSignature));
}

#[tokio::test]
async fn each_claim_is_checked() {
    let key = Key::ed();
    let (issuer, auth) = with_key(&key).await;
    let now = issuer.clock.now().as_micros() / 1_000_000;
    for (name, value, expected) in [
        ("iss", Value::Null, AuthError::MissingClaim("iss")),
        ("iss", json!("https://login.example.com/"), AuthError::WrongIssuer),
        ("aud", Value::Null, AuthError::WrongAudience),
        ("aud", json!("another"), AuthError::WrongAudience),
        ("aud", json!([]), AuthError::WrongAudience),
        ("exp", Value::Null, AuthError::MissingClaim("exp")),
        ("exp", json!(now - 30), AuthError::Expired),
        ("nbf", json!(now + 31), AuthError::NotYetValid),
        ("sub", Value::Null, AuthError::MissingClaim("sub")),
    ] {
        let token = key.token("a", &changed(&issuer.clock, name, value.clone()));
        assert_eq!(login(&auth, &token).await, Err(expected), "{name} = {value}");
    }
    for (name, value) in [
        ("exp", json!("tomorrow")),
        ("sub", json!("")),
        ("sub", json!("a\nb")),
        ("sub", json!("x".repeat(256))),
        ("aud", json!(1)),
    ] {
        let token = key.token("a", &changed(&issuer.clock, name, value.clone()));
        assert!(matches!(login(&auth, &token).await, Err(AuthError::Malformed(_))), "{name} = {value}");
    }
    // Within the leeway at either end, an audience among several, a time with a fraction.
    for (name, value) in [
        ("exp", json!(now - 29)),
        ("nbf", json!(now + 30)),
        ("aud", json!(["x", "windrow"])),
        ("exp", json!(1e15)),
        ("exp", json!(now as f64 + 0.5)),
    ] {
        let token = key.token("a", &changed(&issuer.clock, name, value.clone()));
        assert!(login(&auth, &token).await.is_ok(), "{name} = {value}");
    }
}

#[tokio::test]
async fn cognitos_tokens_name_the_client_where_cognito_puts_it() {
    let key = Key::rsa();
    let (issuer, auth) = with_key(&key).await;
    let with = |more: Value| {
        let mut claims = changed(&issuer.clock, "aud", Value::Null);
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        key.token("a", &claims)
    };
    for (more, expected) in [
        (json!({ "token_use": "access", "client_id": "client-1" }), Ok(())),
        (json!({ "token_use": "id", "aud": "client-1" }), Ok(())),
        (json!({ "client_id": "client-1" }), Ok(())),
        (json!({ "token_use": "access", "client_id": "client-2" }), Err(AuthError::WrongAudience)),
        (json!({ "token_use": "id", "aud": "client-2" }), Err(AuthError::WrongAudience)),
        // An ID token is for its audience, whatever client_id it also names; an audience is no client.
        (json!({ "token_use": "id", "client_id": "client-1" }), Err(AuthError::WrongAudience)),
        (json!({ "aud": "client-1" }), Err(AuthError::WrongAudience)),
        (json!({ "token_use": "refresh", "client_id": "client-1" }), Err(AuthError::WrongUse)),
    ] {
        assert_eq!(login(&auth, &with(more.clone())).await.map(drop), expected, "{more}");
    }
}

#[tokio::test]
async fn what_is_no_token_says_why_and_asks_nobody() {
    let key = Key::ed();
    let (issuer, auth) = with_key(&key).await;
    assert_eq!(auth.authenticate(None).await, Err(AuthError::Missing));
    assert_eq!(auth.authenticate(Some("  ")).await, Err(AuthError::Missing));
    for header in ["Basic YTpi", "Bearer", "Bearer ", "token x"] {
        assert!(matches!(auth.authenticate(Some(header)).await, Err(AuthError::Malformed(_))), "{header}");
    }
    let long = "x".repeat(16 * 1024 + 1);
    for token in ["x", "a.b", "a.b.c.d", "..", "!.!.!", "e30.e30.", &long] {
        assert!(matches!(login(&auth, token).await, Err(AuthError::Malformed(_))), "{token}");
    }
    assert_eq!(issuer.asked().await, 0);
}

#[tokio::test]
async fn insecure_mode_believes_the_subject_and_the_times_that_are_there() {
    let clock = TestClock::shared();
    let auth = authenticator(TokenMode::Insecure, &clock);
    let token = |claims: &Value| format!("{}.", unsigned(&json!({ "alg": "none" }), claims));
    assert_eq!(login(&auth, &token(&json!({ "sub": "bob" }))).await.as_deref(), Ok("bob"));
    assert_eq!(login(&auth, &token(&json!({ "sub": "bob", "exp": 1 }))).await, Err(AuthError::Expired));
    assert_eq!(login(&auth, &token(&json!({}))).await, Err(AuthError::MissingClaim("sub")));
    assert!(matches!(login(&auth, "bob").await, Err(AuthError::Malformed(_))));
}

#[tokio::test]
async fn a_default_owner_is_for_requests_without_a_credential_only() {
    let clock = TestClock::shared();
    let auth = authenticator(TokenMode::Insecure, &clock).with_default_owner(Some("me".into()));
    let principal = auth.authenticate(None).await.unwrap();
    assert_eq!(principal.login, Login::DefaultOwner);
    assert_eq!(crate::subject(principal), "me");
    assert!(auth.authenticate(Some("Bearer x")).await.is_err());
}

proptest! {
    #[test]
    fn no_header_panics_or_logs_in_by_chance(header in r"([Bb]earer |Basic )?[A-Za-z0-9_.-]{0,80}|\PC{0,40}") {
        let clock = TestClock::shared();
        let issuer = std::sync::Arc::new(windrow_auth::LocalIssuer::generate().unwrap());
        let auth = authenticator(TokenMode::Local(issuer), &clock);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let error = runtime.block_on(auth.authenticate(Some(&header))).unwrap_err();
        // What was sent never comes back in the answer or the log.
        let credential = header.trim().split(' ').next_back().unwrap_or_default();
        let told = format!("{error} {error:?}");
        prop_assert!(credential.len() < 20 || !told.contains(credential));
    }
}
