//! Users, roles, status, and the last admin.

use windrow_api_types::{AuditQuery, ChangeUser, CommaList, UserQuery};
use windrow_app::Authority;
use windrow_core::{OwnerId, Role, UserStatus};
use windrow_test_support::{TestApp, on_both};

fn change(role: Option<Role>, status: Option<UserStatus>) -> ChangeUser {
    ChangeUser { role, status, reason: "because".to_owned() }
}

on_both! {
    async fn a_change_works_on_the_very_next_request_and_is_audited(db) {
        let test = TestApp::start(db).await;
        let admin = test.actor_with("root", Role::Admin).await;
        let ada = test.actor("ada").await;
        assert_eq!(ada.user.role, Role::Consumer);
        let by = Authority::Actor(&admin);
        test.app.change_user(by, ada.owner(), &change(Some(Role::Contributor), None)).await.unwrap();
        assert_eq!(test.actor("ada").await.user.role, Role::Contributor);
        test.app.change_user(by, ada.owner(), &change(None, Some(UserStatus::Disabled))).await.unwrap();
        let refused = test.app.authenticate(Some(&test.bearer("ada")), None).await.unwrap_err();
        assert_eq!((refused.status(), refused.code()), (403, "user_disabled"));
        test.app.change_user(by, ada.owner(), &change(None, Some(UserStatus::Active))).await.unwrap();
        assert_eq!(test.actor("ada").await.user.role, Role::Contributor);
        let query = AuditQuery { target: Some("user:ada".to_owned()), ..AuditQuery::default() };
        let audit = test.app.list_audit(&admin, &query).await.unwrap().items;
        let lines: Vec<_> = audit.iter().map(|e| (e.actor.as_str(), e.action.as_str(), e.reason.as_str())).collect();
        assert_eq!(lines, [("root", "user.enable", "because"), ("root", "user.disable", "because"), ("root", "user.grant", "because")]);
        assert_eq!(audit[1].before.as_ref().unwrap()["status"], "active");
        assert_eq!(audit[1].after.as_ref().unwrap()["status"], "disabled");
        assert_eq!(audit[0].request_id.as_deref(), Some("request-of-root"));
        test.finish().await;
    }

    async fn many_requests_at_once_each_find_their_own_user_as_it_is_now(db) {
        let test = TestApp::start(db).await;
        let admin = test.actor_with("root", Role::Admin).await;
        let ada = test.actor("ada").await;
        let bearers: Vec<_> = (0..40).map(|n| test.bearer(&format!("user-{}", n % 20))).collect();
        let busy = test.app.clone();
        let others = tokio::spawn(async move {
            for _ in 0..10 {
                let logins = bearers.iter().map(|bearer| busy.authenticate(Some(bearer), None));
                for (n, actor) in futures::future::join_all(logins).await.into_iter().enumerate() {
                    assert_eq!(actor.unwrap().user.sub, format!("user-{}", n % 20));
                }
            }
        });
        for role in [Role::Contributor, Role::Consumer, Role::Admin, Role::Consumer] {
            test.app.change_user(Authority::Actor(&admin), ada.owner(), &change(Some(role), None)).await.unwrap();
            assert_eq!(test.actor("ada").await.user.role, role, "of a request that came after the change");
        }
        others.await.unwrap();
        test.finish().await;
    }

    async fn the_last_active_admin_stays(db) {
        let test = TestApp::start(db).await;
        let root = test.actor_with("root", Role::Admin).await;
        let by = Authority::Actor(&root);
        for change in [change(Some(Role::Consumer), None), change(None, Some(UserStatus::Disabled))] {
            let error = test.app.change_user(by, root.owner(), &change).await.unwrap_err();
            assert_eq!((error.status(), error.code()), (409, "last_admin"));
        }
        let audit = test.app.list_audit(&root, &AuditQuery::default()).await.unwrap();
        assert_eq!(audit.items.len(), 1, "a refused change leaves no line");
        let second = test.actor_with("second", Role::Admin).await;
        // each disables the other at the same time: one of them must lose
        let (one, other) = (test.app.clone(), test.app.clone());
        let (first_actor, second_actor) = (root.clone(), second.clone());
        let disable = change(None, Some(UserStatus::Disabled));
        let (left, right) = tokio::join!(
            one.change_user(Authority::Actor(&first_actor), second.owner(), &disable),
            other.change_user(Authority::Actor(&second_actor), root.owner(), &disable),
        );
        let outcomes = [left.map(drop).map_err(|e| e.code()), right.map(drop).map_err(|e| e.code())];
        assert!(outcomes.contains(&Ok(())) && outcomes.contains(&Err("last_admin")), "{outcomes:?}");
        test.finish().await;
    }
}

#[tokio::test]
async fn only_admins_see_and_change_users() {
    let test = TestApp::sqlite().await;
    let admin = test.actor_with("root", Role::Admin).await;
    let ada = test.actor("ada").await;
    test.actor("bob").await;
    let by = Authority::Actor(&ada);
    let mut codes = vec![
        test.app.list_users(&ada, &UserQuery::default()).await.unwrap_err().code(),
        test.app.show_user(&ada, admin.owner()).await.unwrap_err().code(),
        test.app.change_user(by, ada.owner(), &change(Some(Role::Admin), None)).await.unwrap_err().code(),
        test.app.grant(by, "ada", &change(Some(Role::Admin), None)).await.unwrap_err().code(),
        test.app.list_audit(&ada, &AuditQuery::default()).await.unwrap_err().code(),
    ];
    codes.dedup();
    assert_eq!(codes, ["role_too_low"]);
    let consumers = UserQuery { role: Some(CommaList(vec![Role::Consumer])), ..UserQuery::default() };
    let listed = test.app.list_users(&admin, &consumers).await.unwrap();
    assert_eq!(listed.items.iter().map(|user| user.sub.as_str()).collect::<Vec<_>>(), ["ada", "bob"]);
    let nobody = test.app.show_user(&admin, OwnerId(999)).await.unwrap_err();
    assert_eq!(nobody.status(), 404);
    let no_reason = ChangeUser { reason: " ".to_owned(), ..change(Some(Role::Admin), None) };
    let error = test.app.change_user(Authority::Actor(&admin), ada.owner(), &no_reason).await.unwrap_err();
    assert_eq!(error.into_field_errors()[0].pointer, "/reason");
    test.finish().await;
}
