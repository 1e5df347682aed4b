//! An issuer that rotates its keys, fails, and is not to be flooded.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use windrow_auth::{AuthError, Authenticator, JwksSettings, TokenMode};
use windrow_core::TestClock;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::keys::{ISSUER, Key, claims};
use crate::{authenticator, login};

pub struct Issuer {
    pub server: MockServer,
    pub clock: Arc<TestClock>,
}

impl Issuer {
    pub async fn start() -> Self {
        Self { server: MockServer::start().await, clock: TestClock::shared() }
    }

    pub async fn publishes(&self, keys: &[Value]) {
        self.answers(ResponseTemplate::new(200).set_body_json(json!({ "keys": keys }))).await;
    }

    pub async fn answers(&self, answer: ResponseTemplate) {
        self.server.reset().await;
        Mock::given(method("GET")).and(path("/jwks.json")).respond_with(answer).mount(&self.server).await;
    }

    pub async fn fails(&self) {
        self.answers(ResponseTemplate::new(500)).await;
    }

    /// How often it was asked since its answer last changed.
    pub async fn asked(&self) -> usize {
        self.server.received_requests().await.unwrap().len()
    }

    pub fn settings(&self) -> JwksSettings {
        JwksSettings {
            issuer: ISSUER.to_owned(),
            jwks_url: format!("{}/jwks.json", self.server.uri()),
            audiences: vec!["windrow".to_owned()],
            client_ids: vec!["client-1".to_owned()],
            cache: Duration::from_secs(600),
        }
    }

    pub fn authenticator(&self) -> Authenticator {
        authenticator(TokenMode::Jwks(self.settings()), &self.clock)
    }

    fn later(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

fn ann() -> Result<String, AuthError> {
    Ok("ann".to_owned())
}

#[tokio::test]
async fn keys_are_fetched_once_and_kept_for_their_time() {
    let issuer = Issuer::start().await;
    let key = Key::ed();
    issuer.publishes(&[key.jwk("a")]).await;
    let auth = issuer.authenticator();
    assert_eq!(issuer.asked().await, 0, "nothing is fetched before the first token");
    let token = key.token("a", &claims(&issuer.clock));
    for _ in 0..3 {
        assert_eq!(login(&auth, &token).await, ann());
    }
    issuer.later(599);
    assert_eq!(login(&auth, &token).await, ann());
    assert_eq!(issuer.asked().await, 1);
    issuer.later(1);
    assert_eq!(login(&auth, &token).await, ann());
    assert_eq!(issuer.asked().await, 2);
}

#[tokio::test]
async fn a_rotated_key_is_found_and_the_old_one_dies() {
    let issuer = Issuer::start().await;
    let (old, new) = (Key::ec(), Key::ec());
    issuer.publishes(&[old.jwk("old")]).await;
    let auth = issuer.authenticator();
    let old_token = old.token("old", &claims(&issuer.clock));
    assert_eq!(login(&auth, &old_token).await, ann());

    issuer.later(30);
    issuer.publishes(&[new.jwk("new")]).await;
    assert_eq!(login(&auth, &new.token("new", &claims(&issuer.clock))).await, ann());
    assert_eq!(issuer.asked().await, 1);
    issuer.later(30);
    assert_eq!(login(&auth, &old_token).await, Err(AuthError::UnknownKey));
}

#[tokio::test]
async fn made_up_key_ids_reach_the_issuer_at_most_once_in_30_seconds() {
    let issuer = Issuer::start().await;
    let key = Key::ed();
    issuer.publishes(&[key.jwk("a")]).await;
    let auth = issuer.authenticator();
    assert_eq!(login(&auth, &key.token("a", &claims(&issuer.clock))).await, ann());
    for second in 0..60 {
        let made_up = key.token(&format!("made-up-{second}"), &claims(&issuer.clock));
        assert_eq!(login(&auth, &made_up).await, Err(AuthError::UnknownKey));
        issuer.later(1);
    }
    // The first fetch, and one at second 30.
    assert_eq!(issuer.asked().await, 2);
}

#[tokio::test]
async fn made_up_key_ids_reach_an_issuer_that_is_down_no_oftener() {
    let issuer = Issuer::start().await;
    let key = Key::ed();
    issuer.publishes(&[key.jwk("a")]).await;
    let auth = issuer.authenticator();
    assert_eq!(login(&auth, &key.token("a", &claims(&issuer.clock))).await, ann());
    issuer.fails().await;
    for second in 0..90 {
        let made_up = key.token(&format!("made-up-{second}"), &claims(&issuer.clock));
        assert_eq!(login(&auth, &made_up).await, Err(AuthError::UnknownKey));
        issuer.later(1);
    }
    // At seconds 30 and 60.
    assert_eq!(issuer.asked().await, 2);
}

#[tokio::test]
async fn an_issuer_that_is_down_leaves_its_keys_in_force_for_an_hour() {
    let issuer = Issuer::start().await;
    let key = Key::ed();
    issuer.publishes(&[key.jwk("a")]).await;
    let auth = issuer.authenticator();
    let mut long = claims(&issuer.clock);
    long["exp"] = json!(long["exp"].as_i64().unwrap() + 86_400);
    let token = key.token("a", &long);
    assert_eq!(login(&auth, &token).await, ann());

    issuer.fails().await;
    issuer.later(600);
    for _ in 0..10 {
        assert_eq!(login(&auth, &token).await, ann());
    }
    assert_eq!(issuer.asked().await, 1, "an issuer that is down is left alone for a while");
    issuer.later(3599);
    assert_eq!(login(&auth, &token).await, ann());
    issuer.later(1);
    assert_eq!(login(&auth, &token).await, Err(AuthError::Unavailable));

    issuer.publishes(&[key.jwk("a")]).await;
    issuer.later(5);
    assert_eq!(login(&auth, &token).await, ann());
}

#[tokio::test]
async fn an_issuer_that_never_answered_is_asked_again_after_a_while() {
    let issuer = Issuer::start().await;
    let key = Key::ed();
    issuer.fails().await;
    let auth = issuer.authenticator();
    let token = key.token("a", &claims(&issuer.clock));
    for _ in 0..5 {
        let error = login(&auth, &token).await.unwrap_err();
        assert!(error.is_unavailable(), "{error}");
    }
    assert_eq!(issuer.asked().await, 1);
    issuer.publishes(&[key.jwk("a")]).await;
    issuer.later(5);
    assert_eq!(login(&auth, &token).await, ann());
}

#[tokio::test]
async fn many_logins_at_once_make_one_request() {
    let issuer = Issuer::start().await;
    let key = Key::ed();
    issuer.publishes(&[key.jwk("a")]).await;
    let auth = Arc::new(issuer.authenticator());
    let token = key.token("a", &claims(&issuer.clock));
    let logins: Vec<_> = (0..50)
        .map(|_| {
            let (auth, token) = (Arc::clone(&auth), token.clone());
            tokio::spawn(async move { login(&auth, &token).await })
        })
        .collect();
    for outcome in logins {
        assert_eq!(outcome.await.unwrap(), ann());
    }
    assert_eq!(issuer.asked().await, 1);
}

#[tokio::test]
async fn what_is_no_key_set_replaces_no_keys() {
    let issuer = Issuer::start().await;
    let (key, other) = (Key::ed(), Key::ed());
    issuer.publishes(&[key.jwk("a")]).await;
    let auth = issuer.authenticator();
    let token = key.token("a", &claims(&issuer.clock));
    assert_eq!(login(&auth, &token).await, ann());
    for answer in [
        ResponseTemplate::new(200).set_body_string("<html>"),
        ResponseTemplate::new(200).set_body_json(json!({ "keys": [] })),
        ResponseTemplate::new(200)
            .set_body_json(json!({ "keys": [other.jwk("b")], "x": "x".repeat(1 << 20) })),
        ResponseTemplate::new(302).insert_header("location", "/jwks.json"),
    ] {
        issuer.answers(answer).await;
        issuer.later(601);
        assert_eq!(login(&auth, &token).await, ann());
        assert_eq!(issuer.asked().await, 1);
    }
}

#[tokio::test]
async fn keys_for_other_things_are_passed_over() {
    let issuer = Issuer::start().await;
    let (signing, encrypting, nameless, other) = (Key::ed(), Key::rsa(), Key::ec(), Key::ed());
    let mut encryption = encrypting.jwk("enc");
    encryption["use"] = "enc".into();
    let mut without_id = nameless.jwk("x");
    without_id.as_object_mut().unwrap().remove("kid");
    let mut other_algorithm = encrypting.jwk("rs512");
    other_algorithm["alg"] = "RS512".into();
    let mut newer_name = other.jwk("newer");
    newer_name["alg"] = "Ed25519".into();
    let published = [
        json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "shared", "alg": "HS256" }),
        json!({ "kty": "quantum", "kid": "q" }),
        json!("no key at all"),
        encryption,
        without_id,
        other_algorithm,
        newer_name,
        signing.jwk("sig"),
    ];
    issuer.publishes(&published).await;
    let auth = issuer.authenticator();
    let claims = claims(&issuer.clock);
    assert_eq!(login(&auth, &signing.token("sig", &claims)).await, ann());
    assert_eq!(login(&auth, &other.token("newer", &claims)).await, ann());
    for kid in ["enc", "rs512", "shared", "q"] {
        assert_eq!(login(&auth, &encrypting.token(kid, &claims)).await, Err(AuthError::UnknownKey), "{kid}");
    }
}
