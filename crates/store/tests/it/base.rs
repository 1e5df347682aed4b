//! Connections, transactions, macros, faults.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use uuid::Uuid;
use windrow_core::{OwnerId, Timestamp};
use windrow_store::fault::{FaultHook, FaultPoint};
use windrow_store::{
    Db, DbOptions, Dialect, ListOf, StoreError, execute, fetch_all, fetch_one, fetch_optional, json_ints,
    json_texts, json_uuids,
};
use windrow_test_support::on_both;

use crate::support::open;

windrow_store::row! {
    struct Thing { id: Uuid, owner_id: OwnerId, name: Option<String>, at: Timestamp, open: bool }
}

async fn with_table(db: &Db) {
    let (uuid, int, boolean) = match db.dialect() {
        Dialect::Sqlite => ("BLOB", "INTEGER", "INTEGER"),
        Dialect::Postgres => ("uuid", "bigint", "boolean"),
    };
    let sql = format!(
        "CREATE TABLE things (id {uuid} NOT NULL PRIMARY KEY, owner_id {int} NOT NULL CHECK (owner_id > 0), \
         name TEXT, at {int} NOT NULL, open {boolean} NOT NULL)"
    );
    let mut tx = db.begin().await.unwrap();
    tx.raw(sqlx::AssertSqlSafe(sql)).await.unwrap();
    tx.commit().await.unwrap();
}

async fn insert(tx: &mut windrow_store::Tx, n: u128, owner: i64) -> Result<u64, StoreError> {
    let (id, at) = (Uuid::from_u128(n), Timestamp::from_micros(7));
    let sql = "INSERT INTO things (id, owner_id, name, at, open) VALUES ($1, $2, $3, $4, $5)";
    execute!(tx, sql, id, OwnerId(owner), Some("héllo"), at, true)
}

async fn count(db: &Db) -> i64 {
    let mut conn = db.read().await.unwrap();
    fetch_one!(&mut conn, scalar i64, "SELECT count(*) FROM things").unwrap()
}

on_both! {
    async fn so_many_connections_are_open_from_the_start_as_are_to_be_kept(test) {
        for min_connections in [0, 3] {
            let db = Db::connect(test.url(), DbOptions { min_connections, ..DbOptions::default() }).await.unwrap();
            // PostgreSQL has as many writers as readers; SQLite has one writer
            let expected = match db.dialect() {
                Dialect::Sqlite => 1 + min_connections,
                Dialect::Postgres => min_connections.max(1) + min_connections,
            };
            assert_eq!(db.open_connections(), expected);
            db.close().await;
        }
    }

    async fn values_of_every_kind_come_back(test) {
        let db = open(&test).await;
        with_table(&db).await;
        let mut tx = db.begin().await.unwrap();
        assert_eq!(insert(&mut tx, 1, 5).await.unwrap(), 1);
        insert(&mut tx, 2, 6).await.unwrap();
        tx.commit().await.unwrap();

        let mut conn = db.read().await.unwrap();
        let thing = fetch_one!(&mut conn, Thing, "SELECT * FROM things WHERE owner_id = $1", OwnerId(5)).unwrap();
        assert_eq!(thing.id, Uuid::from_u128(1));
        assert_eq!((thing.owner_id, thing.name.as_deref(), thing.open), (OwnerId(5), Some("héllo"), true));
        assert_eq!(thing.at, Timestamp::from_micros(7));
        let none = fetch_optional!(&mut conn, (i64,), "SELECT owner_id FROM things WHERE owner_id = $1", OwnerId(9)).unwrap();
        assert_eq!(none, None);

        let lists = [
            (db.dialect().member("owner_id", "$1", ListOf::Int), json_ints([5, 9])),
            (db.dialect().member("id", "$1", ListOf::Uuid), json_uuids([Uuid::from_u128(1)])),
        ];
        for (member, list) in lists {
            let sql = format!("SELECT owner_id FROM things WHERE {member}");
            let owners = fetch_all!(&mut conn, scalar i64, sqlx::AssertSqlSafe(sql), list).unwrap();
            assert_eq!(owners, [5]);
        }
        let names = db.dialect().member("name", "$1", ListOf::Text);
        let sql = format!("SELECT owner_id FROM things WHERE {names} ORDER BY owner_id");
        let owners = fetch_all!(&mut conn, scalar i64, sqlx::AssertSqlSafe(sql), json_texts(["héllo"])).unwrap();
        assert_eq!(owners, [5, 6]);
    }

    async fn what_is_not_committed_is_not_there(test) {
        let db = open(&test).await;
        with_table(&db).await;
        let mut tx = db.begin().await.unwrap();
        insert(&mut tx, 1, 1).await.unwrap();
        drop(tx);
        assert_eq!(count(&db).await, 0);

        let mut tx = db.begin().await.unwrap();
        insert(&mut tx, 1, 1).await.unwrap();
        tx.savepoint().await.unwrap();
        insert(&mut tx, 2, 1).await.unwrap();
        tx.savepoint().await.unwrap();
        insert(&mut tx, 3, 1).await.unwrap();
        tx.release().await.unwrap();
        assert!(insert(&mut tx, 3, 1).await.unwrap_err().is_conflict());
        tx.rollback_to().await.unwrap();
        insert(&mut tx, 4, 1).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(count(&db).await, 2);
    }

    async fn errors_say_who_is_at_fault(test) {
        let db = open(&test).await;
        with_table(&db).await;
        let mut tx = db.begin().await.unwrap();
        insert(&mut tx, 1, 1).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = db.begin().await.unwrap();
        assert!(matches!(insert(&mut tx, 1, 1).await, Err(StoreError::Conflict { .. })));
        drop(tx);
        let mut tx = db.begin().await.unwrap();
        assert!(matches!(insert(&mut tx, 2, -1).await, Err(StoreError::Refused { .. })));
        drop(tx);
        let mut conn = db.read().await.unwrap();
        let error = fetch_one!(&mut conn, (i64,), "SELECT nothing FROM things").unwrap_err();
        assert!(error.to_string().contains("SELECT nothing FROM things"), "{error}");
    }

    async fn a_fault_strikes_where_it_is_told_to(test) {
        #[derive(Debug)]
        struct Strike { left: AtomicUsize, after_commit: bool }
        impl FaultHook for Strike {
            fn strikes(&self, point: FaultPoint<'_>) -> bool {
                match point {
                    FaultPoint::AfterCommit => self.after_commit,
                    _ => self.left.fetch_sub(1, Ordering::SeqCst) == 1,
                }
            }
        }
        let db = open(&test).await;
        with_table(&db).await;
        let second = db.clone().with_faults(Arc::new(Strike { left: AtomicUsize::new(2), after_commit: false }));
        let mut tx = second.begin().await.unwrap();
        insert(&mut tx, 1, 1).await.unwrap();
        assert!(matches!(insert(&mut tx, 2, 1).await, Err(StoreError::Injected(_))));
        drop(tx);
        assert_eq!(count(&db).await, 0);

        let lost = db.clone().with_faults(Arc::new(Strike { left: AtomicUsize::new(9), after_commit: true }));
        let mut tx = lost.begin().await.unwrap();
        insert(&mut tx, 1, 1).await.unwrap();
        assert!(matches!(tx.commit().await, Err(StoreError::UnknownOutcome(_))));
        assert_eq!(count(&db).await, 1);
    }

    async fn a_reader_that_takes_too_long_is_stopped(test) {
        let options = DbOptions { read_limit: Duration::from_millis(50), ..DbOptions::default() };
        let db = Db::connect(test.url(), options).await.unwrap();
        let mut conn = db.read().await.unwrap();
        let endless = "WITH RECURSIVE n(i) AS (SELECT CAST(1 AS bigint) UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
        let error = fetch_one!(&mut conn, scalar i64, endless).unwrap_err();
        assert!(matches!(error, StoreError::TimeLimit(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_reader_of_sqlite_cannot_write() {
    let test = windrow_test_support::TestDb::sqlite().await;
    let db = open(&test).await;
    with_table(&db).await;
    let mut conn = db.read().await.unwrap();
    assert!(execute!(&mut conn, "DELETE FROM things").is_err());
}

#[tokio::test]
async fn sqlite_keeps_what_it_says_it_has_kept() {
    let test = windrow_test_support::TestDb::sqlite().await;
    let db = open(&test).await;
    let mut conn = db.writer().await.unwrap();
    assert_eq!(fetch_one!(&mut conn, scalar String, "PRAGMA journal_mode").unwrap(), "wal");
    assert_eq!(fetch_one!(&mut conn, scalar i64, "PRAGMA synchronous").unwrap(), 2, "2 is FULL");
    assert_eq!(fetch_one!(&mut conn, scalar i64, "PRAGMA foreign_keys").unwrap(), 1);
}

#[tokio::test]
async fn urls_that_name_no_database_are_refused_with_the_reason() {
    for (url, word) in
        [("mysql://h/d", "mysql"), ("nonsense", "scheme"), ("postgres://h/d?schema=A;B", "schema")]
    {
        let error = Db::connect(url, DbOptions::default()).await.unwrap_err();
        assert!(matches!(error, StoreError::BadUrl { .. }), "{error:?}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let error = Db::connect("sqlite:/no/such/folder/w.db", DbOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("/no/such/folder/w.db"), "{error}");
}
