//! Windrow as its own issuer.

use std::sync::Arc;
use std::time::Duration;

use wiremock::ResponseTemplate;

use windrow_auth::{AuthError, JwksSettings, LOCAL_AUDIENCE, LOCAL_ISSUER, LocalIssuer, TokenMode};
use windrow_core::{Clock, TestClock};

use crate::jwks::Issuer;
use crate::keys::{Key, claims};
use crate::{authenticator, login};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_minted_token_lives_as_long_as_it_was_given() {
    let clock = TestClock::shared();
    let issuer = Arc::new(LocalIssuer::generate().unwrap());
    let auth = authenticator(TokenMode::Local(Arc::clone(&issuer)), &clock);
    let token = issuer.mint("ann", HOUR, clock.now()).unwrap();
    assert_eq!(login(&auth, &token).await.as_deref(), Ok("ann"));
    clock.advance(HOUR + Duration::from_secs(29));
    assert_eq!(login(&auth, &token).await.as_deref(), Ok("ann"));
    clock.advance(Duration::from_secs(1));
    assert_eq!(login(&auth, &token).await, Err(AuthError::Expired));
    assert!(issuer.mint("", HOUR, clock.now()).is_err());
}

#[tokio::test]
async fn a_signature_that_was_good_is_good_for_nothing_else() {
    let clock = TestClock::shared();
    let issuer = Arc::new(LocalIssuer::generate().unwrap());
    let auth = authenticator(TokenMode::Local(Arc::clone(&issuer)), &clock);
    let tokens = ["ann", "bob"].map(|sub| issuer.mint(sub, HOUR, clock.now()).unwrap());
    for _ in 0..2 {
        assert_eq!(login(&auth, &tokens[0]).await.as_deref(), Ok("ann"));
        assert_eq!(login(&auth, &tokens[1]).await.as_deref(), Ok("bob"));
        let [(_, of_ann), (signed_by_bob, _)] =
            tokens.each_ref().map(|token| token.rsplit_once('.').unwrap());
        let forged = format!("{signed_by_bob}.{of_ann}");
        assert_eq!(login(&auth, &forged).await, Err(AuthError::BadSignature));
    }
}

#[tokio::test]
async fn the_kept_key_is_the_same_issuer_and_another_is_not() {
    let clock = TestClock::shared();
    let issuer = LocalIssuer::generate().unwrap();
    let token = issuer.mint("ann", HOUR, clock.now()).unwrap();
    let kept = LocalIssuer::load(&issuer.to_pkcs8().unwrap()).unwrap();
    assert_eq!(kept.jwks(), issuer.jwks());
    let auth = authenticator(TokenMode::Local(Arc::new(kept)), &clock);
    assert_eq!(login(&auth, &token).await.as_deref(), Ok("ann"));

    let other = authenticator(TokenMode::Local(Arc::new(LocalIssuer::generate().unwrap())), &clock);
    assert_eq!(login(&other, &token).await, Err(AuthError::UnknownKey));
    assert!(LocalIssuer::load(b"not a key").unwrap_err().to_string().contains("damaged"));
    assert!(!format!("{issuer:?}").contains(&hex::encode(issuer.to_pkcs8().unwrap())[40..60]));
}

#[tokio::test]
async fn a_secret_is_one_issuer_wherever_it_is_and_another_secret_another() {
    let clock = TestClock::shared();
    let secret = b"a secret of thirty-two characters";
    let token = LocalIssuer::derive(secret).unwrap().mint("ann", HOUR, clock.now()).unwrap();
    let elsewhere = LocalIssuer::derive(secret).unwrap();
    // kept like any other
    let elsewhere = LocalIssuer::load(&elsewhere.to_pkcs8().unwrap()).unwrap();
    let auth = authenticator(TokenMode::Local(Arc::new(elsewhere)), &clock);
    assert_eq!(login(&auth, &token).await.as_deref(), Ok("ann"));

    let other = LocalIssuer::derive(b"a secret of thirty-two characterz").unwrap();
    let other = authenticator(TokenMode::Local(Arc::new(other)), &clock);
    assert_eq!(login(&other, &token).await, Err(AuthError::UnknownKey));
}

/// A release that derived another key would end all tokens. The expected one is from an implementation that is not ours
/// (Python's `hmac` and `hashlib`, after RFC 5869 and RFC 8032).
#[test]
fn what_a_secret_stands_for_is_fixed() {
    let issuer = LocalIssuer::derive(b"0123456789abcdef0123456789abcdef").unwrap();
    assert_eq!(issuer.jwks()["keys"][0]["x"], "1t2Q7EwkrbI2s8JcjJgaTHl1AKWDNQFofRNDFmLp_RE");
}

#[tokio::test]
async fn a_foreign_key_under_our_key_id_signs_nothing() {
    let clock = TestClock::shared();
    let issuer = Arc::new(LocalIssuer::generate().unwrap());
    let kid = issuer.jwks()["keys"][0]["kid"].as_str().unwrap().to_owned();
    let auth = authenticator(TokenMode::Local(issuer), &clock);
    let mut claims = claims(&clock);
    claims["iss"] = LOCAL_ISSUER.into();
    assert_eq!(login(&auth, &Key::ed().token(&kid, &claims)).await, Err(AuthError::BadSignature));
}

#[tokio::test]
async fn our_key_set_serves_those_that_verify_by_jwks() {
    let published = Issuer::start().await;
    let local = LocalIssuer::generate().unwrap();
    published.answers(ResponseTemplate::new(200).set_body_json(local.jwks())).await;
    let settings = JwksSettings {
        issuer: LOCAL_ISSUER.to_owned(),
        audiences: vec![LOCAL_AUDIENCE.to_owned()],
        ..published.settings()
    };
    let auth = authenticator(TokenMode::Jwks(settings), &published.clock);
    let token = local.mint("ann", HOUR, published.clock.now()).unwrap();
    assert_eq!(login(&auth, &token).await.as_deref(), Ok("ann"));
}
