//! Bytes of write-ahead log.

use anyhow::Result;
use windrow_store::{Db, Dialect, fetch_one};

/// Bytes of write-ahead log so far, as PostgreSQL counts them; of SQLite what this process has written to files: its log,
/// and the pages that are folded into the database.
pub async fn written(db: &Db) -> Result<u64> {
    if db.dialect() == Dialect::Postgres {
        let mut conn = db.read().await?;
        let sql = "SELECT CAST(pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') AS bigint)";
        return Ok(u64::try_from(fetch_one!(&mut conn, scalar i64, sql)?)?);
    }
    windrow_bench_gauge::written()
}
