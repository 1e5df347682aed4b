//! API keys and logins.

use std::time::Duration;

use serde_json::json;
use windrow_api_types::{ChangeUser, CreateApiKey, JobListQuery, UserQuery};
use windrow_app::{Actor, AppError, Authority};
use windrow_core::{Clock, Role, Scope};
use windrow_test_support::app::{TestAppOptions, submit_request};
use windrow_test_support::{TestApp, TestDb, on_both};

fn wish(scopes: &[Scope]) -> CreateApiKey {
    CreateApiKey { name: "nightly".to_owned(), scopes: scopes.to_vec(), expires_at: None }
}

async fn log_in(test: &TestApp, secret: &str) -> Result<Actor, AppError> {
    test.app.authenticate(Some(&format!("Bearer {secret}")), None).await
}

on_both! {
    async fn a_key_lets_its_owner_in_until_it_is_revoked(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let made = test.app.create_key(&ada, &wish(&[Scope::Read])).await.unwrap();
        assert!(made.secret.starts_with(&made.key.hint));
        let reader = log_in(&test, &made.secret).await.unwrap();
        assert_eq!(reader.owner(), ada.owner());
        test.app.list_jobs(&reader, &JobListQuery::default()).await.unwrap();
        let error = test.app.submit_job(&reader, submit_request(json!({"text": "a"})), None).await.unwrap_err();
        assert_eq!((error.status(), error.code()), (403, "scope_missing"));
        let keys = test.app.list_keys(&ada).await.unwrap();
        assert_eq!(keys[0].last_used_at, Some(test.clock.now()));
        test.app.revoke_key(&ada, made.key.id).await.unwrap();
        test.app.revoke_key(&ada, made.key.id).await.unwrap();
        let error = log_in(&test, &made.secret).await.unwrap_err();
        assert_eq!((error.status(), error.code()), (401, "api_key_revoked"));
        let bob = test.actor("bob").await;
        assert_eq!(test.app.revoke_key(&bob, made.key.id).await.unwrap_err().status(), 404);
        test.finish().await;
    }
}

#[tokio::test]
async fn a_key_never_allows_more_than_whoever_made_it() {
    let test = TestApp::sqlite().await;
    let (ada, admin) = (test.actor("ada").await, test.actor_with("root", Role::Admin).await);
    for scope in [Scope::Admin, Scope::Worker(None)] {
        let error = test.app.create_key(&ada, &wish(&[scope])).await.unwrap_err();
        assert_eq!(error.code(), "role_too_low");
    }
    let writer = test.app.create_key(&admin, &wish(&[Scope::Write])).await.unwrap();
    let writer = log_in(&test, &writer.secret).await.unwrap();
    assert_eq!(
        test.app.create_key(&writer, &wish(&[Scope::Admin])).await.unwrap_err().code(),
        "scope_missing"
    );
    assert_eq!(
        test.app.list_users(&writer, &UserQuery::default()).await.unwrap_err().code(),
        "scope_missing"
    );
    let worker = test.app.create_key(&admin, &wish(&[Scope::Worker(Some("echo".to_owned()))])).await.unwrap();
    let worker = log_in(&test, &worker.secret).await.unwrap();
    worker.may_work("echo").unwrap();
    assert_eq!(worker.may_work("style").unwrap_err().code(), "scope_missing");
    assert_eq!(worker.may_read().unwrap_err().code(), "scope_missing");
    assert_eq!(ada.may_work("echo").unwrap_err().code(), "role_too_low");
    test.finish().await;
}

on_both! {
    async fn a_worker_key_works_for_as_long_as_its_owner_is_an_admin(db) {
        let test = TestApp::start(db).await;
        let (root, ada) = (test.actor_with("root", Role::Admin).await, test.actor_with("ada", Role::Admin).await);
        let one = Scope::Worker(Some("echo".to_owned()));
        let any = test.app.create_key(&ada, &wish(&[Scope::Worker(None)])).await.unwrap();
        let one = test.app.create_key(&ada, &wish(&[one])).await.unwrap();
        for role in [Role::Contributor, Role::Consumer, Role::Admin] {
            let change = ChangeUser { role: Some(role), status: None, reason: "a test".to_owned() };
            test.app.change_user(Authority::Actor(&root), ada.owner(), &change).await.unwrap();
            for secret in [&any.secret, &one.secret] {
                let worker = log_in(&test, secret).await.unwrap();
                let answers = [worker.may_work_at_all(), worker.may_work("echo")];
                let refused = answers.map(|answer| answer.err().map(|error| error.code()));
                let expected = (role != Role::Admin).then_some("role_too_low");
                assert_eq!(refused, [expected, expected], "{role:?}");
            }
        }
        test.finish().await;
    }
}

#[tokio::test]
async fn keys_expire_and_bad_wishes_are_refused() {
    let test = TestApp::sqlite().await;
    let ada = test.actor("ada").await;
    let soon = test.clock.now().plus(Duration::from_secs(60));
    let made = test
        .app
        .create_key(&ada, &CreateApiKey { expires_at: Some(soon), ..wish(&[Scope::Read]) })
        .await
        .unwrap();
    log_in(&test, &made.secret).await.unwrap();
    test.clock.advance(Duration::from_secs(60));
    assert_eq!(log_in(&test, &made.secret).await.unwrap_err().code(), "api_key_expired");
    for (bad, pointer) in [
        (CreateApiKey { name: " ".to_owned(), ..wish(&[Scope::Read]) }, "/name"),
        (wish(&[]), "/scopes"),
        (CreateApiKey { expires_at: Some(soon), ..wish(&[Scope::Read]) }, "/expires_at"),
    ] {
        let error = test.app.create_key(&ada, &bad).await.unwrap_err();
        assert_eq!(error.into_field_errors()[0].pointer, pointer);
    }
    test.finish().await;
}

#[tokio::test]
async fn nobody_comes_in_without_a_credential_unless_the_installation_says_as_whom() {
    let test = TestApp::sqlite().await;
    for (header, code) in [
        (None, "credential_missing"),
        (Some("Basic abc"), "credential_malformed"),
        (Some("Bearer wr_nonsense"), "credential_malformed"),
        (Some("Bearer a.b.c"), "credential_malformed"),
    ] {
        let error = test.app.authenticate(header, None).await.unwrap_err();
        assert_eq!((error.status(), error.code()), (401, code), "{header:?}");
    }
    let stale = test.bearer("ada");
    test.clock.advance(Duration::from_secs(7200));
    assert_eq!(test.app.authenticate(Some(&stale), None).await.unwrap_err().code(), "token_expired");
    test.finish().await;

    let options = TestAppOptions { default_owner: Some("me".to_owned()), ..TestAppOptions::default() };
    let test = TestApp::start_with(TestDb::sqlite().await, options).await;
    let me = test.app.authenticate(None, None).await.unwrap();
    let body = test.app.me(&me).await.unwrap();
    assert_eq!((body.user.sub.as_str(), body.login.as_str(), body.scopes), ("me", "default_owner", None));
    test.finish().await;
}
