//! The table that remembers which migrations were applied, and the lock that lets one process migrate at a time.

use windrow_core::Timestamp;

use super::Migration;
use crate::{Db, Dialect, StoreError, Tx, execute, fetch_all};

crate::row! {
    pub(super) struct LedgerRow {
        pub(super) source: String,
        pub(super) version: i64,
        pub(super) name: String,
        pub(super) checksum: String,
        pub(super) applied_at: Timestamp,
    }
}

/// The table's name: whatever has it is a database of Windrow's.
pub(crate) const LEDGER: &str = "schema_migrations";

const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    position bigint NOT NULL,
    source text NOT NULL,
    version bigint NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at bigint NOT NULL,
    PRIMARY KEY (source, version)
)";

/// A transaction that alone may migrate. SQLite: the one writer. PostgreSQL: an advisory lock of the schema.
pub(super) async fn lock(db: &Db) -> Result<Tx, StoreError> {
    let mut tx = db.begin().await?;
    if db.dialect() == Dialect::Postgres {
        // neither the wait for another process's migrations nor a migration of a large table is a statement gone astray
        tx.raw("SET LOCAL statement_timeout = 0").await?;
        // the number is arbitrary; it keeps clear of the locks of caps, which hash names
        let name = db.schema().unwrap_or("public");
        let sql = "SELECT count(*) FROM (SELECT pg_advisory_xact_lock(1465400402, hashtext(coalesce(current_schema(), $1)))) AS taken";
        crate::fetch_one!(&mut tx, scalar i64, sql, name)?;
        if let Some(schema) = db.schema() {
            // the name was checked when the URL was read
            let sql = format!("CREATE SCHEMA IF NOT EXISTS {schema}");
            tx.raw(sqlx::AssertSqlSafe(sql)).await?;
        }
        tx.raw("SET LOCAL client_min_messages = warning").await?;
    }
    tx.raw(TABLE).await?;
    Ok(tx)
}

pub(super) async fn read(tx: &mut Tx) -> Result<Vec<LedgerRow>, StoreError> {
    let sql = "SELECT source, version, name, checksum, applied_at FROM schema_migrations ORDER BY position";
    fetch_all!(tx, LedgerRow, sql)
}

pub(super) async fn insert(
    tx: &mut Tx,
    source: &str,
    migration: &Migration,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        tx,
        "INSERT INTO schema_migrations (position, source, version, name, checksum, applied_at)
         SELECT coalesce(max(position), 0) + 1, $1, $2, $3, $4, $5 FROM schema_migrations",
        source,
        migration.version,
        migration.name,
        migration.checksum(),
        now
    )
    .map(drop)
}

pub(super) async fn delete(tx: &mut Tx, row: &LedgerRow) -> Result<(), StoreError> {
    let sql = "DELETE FROM schema_migrations WHERE source = $1 AND version = $2";
    execute!(tx, sql, &row.source, row.version).map(drop)
}
