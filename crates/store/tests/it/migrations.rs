//! Migrations up and down, their ledger, their lock, and that both dialects mean the same schema.

use std::collections::BTreeMap;

use windrow_core::{Clock, TestClock, Timestamp};
use windrow_store::migrate::{self, Migration, MigrationError, MigrationSet, PLATFORM, State};
use windrow_store::{Db, DbOptions, Dialect, StoreError, fetch_all};
use windrow_test_support::{TestDb, on_both};

use crate::support::{migrated, open};

const WORKLOAD: MigrationSet = MigrationSet { source: "poems", sqlite: POEMS, postgres: POEMS };
const POEMS: &[Migration] = &[
    Migration { version: 1, name: "poems", up: "CREATE TABLE poems (id bigint)", down: "DROP TABLE poems" },
    Migration { version: 2, name: "lines", up: "CREATE TABLE lines (id bigint)", down: "DROP TABLE lines" },
];

fn now() -> Timestamp {
    TestClock::shared().now()
}

async fn relations(db: &Db) -> Vec<String> {
    let mut conn = db.read().await.unwrap();
    let sql = match db.dialect() {
        Dialect::Sqlite => "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY 1",
        Dialect::Postgres => {
            "SELECT relname::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace ORDER BY 1"
        }
    };
    fetch_all!(&mut conn, scalar String, sql).unwrap()
}

/// Table → column → whether it may be null.
async fn columns(db: &Db) -> BTreeMap<String, BTreeMap<String, bool>> {
    let mut conn = db.read().await.unwrap();
    let sql = match db.dialect() {
        Dialect::Sqlite => {
            "SELECT m.name, c.name, c.\"notnull\" = 0 AND c.pk = 0 FROM sqlite_master m, pragma_table_info(m.name) c
             WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'"
        }
        Dialect::Postgres => {
            "SELECT c.table_name::text, c.column_name::text, c.is_nullable = 'YES' FROM information_schema.columns c
             JOIN information_schema.tables t USING (table_schema, table_name)
             WHERE c.table_schema = current_schema() AND t.table_type = 'BASE TABLE'"
        }
    };
    let mut tables: BTreeMap<String, BTreeMap<String, bool>> = BTreeMap::new();
    for (table, column, nullable) in fetch_all!(&mut conn, (String, String, bool), sql).unwrap() {
        tables.entry(table).or_default().insert(column, nullable);
    }
    tables
}

#[tokio::test]
async fn both_dialects_mean_the_same_tables() {
    let (sqlite, postgres) = (TestDb::sqlite().await, TestDb::postgres().await);
    let (sqlite, postgres) = (migrated(&sqlite).await, migrated(&postgres).await);
    let (left, right) = (columns(&sqlite).await, columns(&postgres).await);
    assert!(left.len() > 20, "{:?}", left.keys());
    for table in left.keys().chain(right.keys()) {
        assert_eq!(left.get(table), right.get(table), "{table}");
    }
}

on_both! {
    async fn a_migration_may_take_longer_than_any_other_statement(test) {
        let read_limit = std::time::Duration::from_millis(100);
        let db = Db::connect(test.url(), DbOptions { read_limit, ..DbOptions::default() }).await.unwrap();
        let nap = match db.dialect() {
            Dialect::Sqlite => "SELECT 1",
            Dialect::Postgres => "SELECT pg_sleep(0.3)",
        };
        let slow: &'static [Migration] = Box::leak(Box::new([Migration { version: 1, name: "nap", up: nap, down: "" }]));
        let set = MigrationSet { source: "slow", sqlite: slow, postgres: slow };
        assert_eq!(migrate::up(&db, &[set], now()).await.unwrap().len(), 1);
    }

    async fn all_the_way_down_leaves_nothing(test) {
        let db = open(&test).await;
        let sets = [PLATFORM, WORKLOAD];
        let steps = migrate::up(&db, &sets, now()).await.unwrap();
        assert_eq!(steps.len(), PLATFORM.sqlite.len() + 2);
        assert_eq!(migrate::up(&db, &sets, now()).await.unwrap(), [], "a second time does nothing");
        migrate::check(&db, &sets).await.unwrap();
        let before = relations(&db).await;
        migrate::reset(&db, &sets, now()).await.unwrap();
        assert_eq!(relations(&db).await, before);
        migrate::rollback(&db, &sets, usize::MAX).await.unwrap();
        let left = relations(&db).await;
        assert!(left.iter().all(|name| name.starts_with("schema_migrations")), "{left:?}");
    }

    async fn rollback_takes_back_the_newest(test) {
        let db = open(&test).await;
        migrate::up(&db, &[WORKLOAD], now()).await.unwrap();
        let steps = migrate::rollback(&db, &[WORKLOAD], 1).await.unwrap();
        assert_eq!(steps.iter().map(|s| s.version).collect::<Vec<_>>(), [2]);
        let error = migrate::check(&db, &[WORKLOAD]).await.unwrap_err();
        assert!(error.to_string().contains("1 migrations are pending, the first is poems/2 (lines)"), "{error}");
    }

    async fn an_absent_source_is_no_error(test) {
        let db = open(&test).await;
        migrate::up(&db, &[WORKLOAD, PLATFORM], now()).await.unwrap();
        migrate::check(&db, &[PLATFORM]).await.unwrap();
        let states = migrate::status(&db, &[PLATFORM]).await.unwrap();
        let foreign = states.iter().filter(|s| matches!(s.state, State::Foreign(_)));
        assert_eq!(foreign.map(|s| s.step.source.as_str()).collect::<Vec<_>>(), ["poems", "poems"]);
    }

    async fn a_changed_text_is_found(test) {
        let db = open(&test).await;
        migrate::up(&db, &[WORKLOAD], now()).await.unwrap();
        const TAMPERED: &[Migration] =
            &[Migration { version: 1, name: "poems", up: "CREATE TABLE poems (id text)", down: "" }, POEMS[1]];
        let tampered = MigrationSet { source: "poems", sqlite: TAMPERED, postgres: TAMPERED };
        for result in [
            migrate::up(&db, &[tampered], now()).await.map(drop),
            migrate::check(&db, &[tampered]).await,
        ] {
            let error = result.unwrap_err();
            assert!(matches!(error, StoreError::Migration(MigrationError::Changed { version: 1, .. })), "{error:?}");
        }
    }

    async fn a_hole_in_the_versions_is_found(test) {
        let db = open(&test).await;
        let late = MigrationSet { source: "poems", sqlite: &POEMS[1..], postgres: &POEMS[1..] };
        migrate::up(&db, &[late], now()).await.unwrap();
        let error = migrate::up(&db, &[WORKLOAD], now()).await.unwrap_err();
        assert!(matches!(error, StoreError::Migration(MigrationError::OutOfOrder { missing: 1, .. })), "{error:?}");
    }

    async fn a_migration_that_fails_leaves_nothing(test) {
        let db = open(&test).await;
        const BROKEN: &[Migration] =
            &[POEMS[0], Migration { version: 2, name: "broken", up: "CREATE TABLE a (b bigint); CREATE", down: "" }];
        let broken = MigrationSet { source: "poems", sqlite: BROKEN, postgres: BROKEN };
        migrate::up(&db, &[broken], now()).await.unwrap_err();
        assert_eq!(relations(&db).await, [] as [&str; 0]);
    }

    async fn many_processes_migrate_at_once(test) {
        let mut dbs = Vec::new();
        for _ in 0..6 {
            dbs.push(open(&test).await);
        }
        let steps = futures::future::join_all(dbs.iter().map(|db| migrate::up(db, &[PLATFORM], now()))).await;
        let steps: usize = steps.into_iter().map(|steps| steps.unwrap().len()).sum();
        assert_eq!(steps, PLATFORM.sqlite.len(), "each migration was applied once");
    }
}
