//! Users, API keys, the audit log.

use windrow_core::{ApiKeyId, Role, Scope, TestClock, UserStatus};
use windrow_store::api_keys::{self, ApiKey};
use windrow_store::audit::{self, AuditFilter, NewEntry};
use windrow_store::users::{self, UserFilter};
use windrow_test_support::on_both;

use crate::support::{CLOCK, migrated};

fn entry(action: &str) -> NewEntry<'_> {
    NewEntry {
        at: CLOCK,
        actor: "ada",
        action,
        target: "user:bob",
        before: None,
        after: Some("{}".to_owned()),
        reason: "test",
        request_id: Some("r-1"),
    }
}

on_both! {
    async fn a_first_seen_user_is_an_active_consumer_and_the_same_one_ever_after(db) {
        let db = migrated(&db).await;
        let mut tx = db.begin().await.unwrap();
        let first = users::ensure(&mut tx, "ada", CLOCK).await.unwrap();
        assert_eq!((first.role, first.status), (Role::Consumer, UserStatus::Active));
        users::set(&mut tx, first.id, Role::Admin, UserStatus::Active, CLOCK).await.unwrap();
        let again = users::ensure(&mut tx, "ada", CLOCK).await.unwrap();
        assert_eq!((again.id, again.role), (first.id, Role::Admin));
        assert_eq!(users::lock_active_admins(&mut tx).await.unwrap(), [first.id]);
        users::set(&mut tx, first.id, Role::Admin, UserStatus::Disabled, CLOCK).await.unwrap();
        assert!(users::lock_active_admins(&mut tx).await.unwrap().is_empty());
        let disabled = windrow_store::fetch_all!(&mut tx, scalar i64, "SELECT owner_id FROM disabled_owners").unwrap();
        assert_eq!(disabled, [first.id.0]);
        users::set(&mut tx, first.id, Role::Admin, UserStatus::Active, CLOCK).await.unwrap();
        let disabled = windrow_store::fetch_all!(&mut tx, scalar i64, "SELECT owner_id FROM disabled_owners").unwrap();
        assert!(disabled.is_empty());
    }

    async fn users_are_listed_by_role_status_and_page(db) {
        let db = migrated(&db).await;
        let mut tx = db.begin().await.unwrap();
        let mut ids = Vec::new();
        for sub in ["a", "b", "c", "d"] {
            ids.push(users::ensure(&mut tx, sub, CLOCK).await.unwrap().id);
        }
        users::set(&mut tx, ids[1], Role::Admin, UserStatus::Active, CLOCK).await.unwrap();
        users::set(&mut tx, ids[2], Role::Consumer, UserStatus::Disabled, CLOCK).await.unwrap();
        let mut listed = async |filter: UserFilter<'_>, after| -> Vec<_> {
            users::list(&mut tx, &filter, after, 2).await.unwrap().into_iter().map(|u| u.id).collect()
        };
        assert_eq!(listed(UserFilter::default(), None).await, ids[..2]);
        assert_eq!(listed(UserFilter::default(), Some(ids[1])).await, ids[2..]);
        assert_eq!(listed(UserFilter { roles: &[Role::Admin], status: None }, None).await, [ids[1]]);
        let disabled = UserFilter { roles: &[], status: Some(UserStatus::Disabled) };
        assert_eq!(listed(disabled, None).await, [ids[2]]);
    }

    async fn a_key_is_found_by_its_hash_and_revoked_by_its_owner_only(db) {
        let db = migrated(&db).await;
        let mut tx = db.begin().await.unwrap();
        let ada = users::ensure(&mut tx, "ada", CLOCK).await.unwrap().id;
        let bob = users::ensure(&mut tx, "bob", CLOCK).await.unwrap().id;
        let key = ApiKey {
            id: ApiKeyId::new(&*TestClock::shared()), owner: ada, name: "k".to_owned(), hint: "wr_ab".to_owned(),
            scopes: vec![Scope::Read, Scope::Worker(Some("generate".to_owned()))], created_at: CLOCK, expires_at: None,
            last_used_at: None, revoked_at: None,
        };
        api_keys::insert(&mut tx, &key, &[7; 32]).await.unwrap();
        let found = api_keys::by_hashes(&mut tx, &[[7; 32], [8; 32]].into()).await.unwrap();
        assert_eq!(found, [([7; 32], key.clone())].into());
        api_keys::touch(&mut tx, key.id, CLOCK).await.unwrap();
        assert!(api_keys::revoke(&mut tx, bob, key.id, CLOCK).await.unwrap().is_none());
        let revoked = api_keys::revoke(&mut tx, ada, key.id, CLOCK).await.unwrap().unwrap();
        assert!(!revoked.is_live(CLOCK));
        assert_eq!(revoked.last_used_at, Some(CLOCK));
        assert_eq!(api_keys::list(&mut tx, ada).await.unwrap(), [revoked]);
        assert!(api_keys::list(&mut tx, bob).await.unwrap().is_empty());
    }

    async fn the_audit_log_can_only_grow(db) {
        let db = migrated(&db).await;
        let mut tx = db.begin().await.unwrap();
        audit::append(&mut tx, entry("user.grant")).await.unwrap();
        audit::append(&mut tx, entry("user.disable")).await.unwrap();
        tx.commit().await.unwrap();
        let mut attempts = vec!["UPDATE audit_log SET reason = 'x'", "DELETE FROM audit_log"];
        match db.dialect() {
            windrow_store::Dialect::Sqlite => attempts.push(
                "REPLACE INTO audit_log (id, at, actor, action, target, reason) VALUES (1, 0, 'x', 'x', 'x', 'x')",
            ),
            windrow_store::Dialect::Postgres => attempts.push("TRUNCATE audit_log"),
        }
        for attempt in attempts {
            let mut tx = db.begin().await.unwrap();
            let error = tx.raw(attempt).await.unwrap_err();
            assert!(error.to_string().contains("append-only") || error.to_string().contains("refused"), "{attempt}: {error}");
        }
        let mut conn = db.read().await.unwrap();
        let all = audit::list(&mut conn, &AuditFilter::default(), None, 10).await.unwrap();
        assert_eq!(all.iter().map(|e| e.action.as_str()).collect::<Vec<_>>(), ["user.disable", "user.grant"]);
        let one = AuditFilter { action: Some("user.grant"), request_id: Some("r-1"), ..AuditFilter::default() };
        assert_eq!(audit::list(&mut conn, &one, None, 10).await.unwrap().len(), 1);
        assert_eq!(audit::list(&mut conn, &AuditFilter::default(), Some(all[0].id), 10).await.unwrap().len(), 1);
    }
}
