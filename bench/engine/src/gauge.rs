//! What the machine says: the disk's syncs, bytes written, memory.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use windrow_store::{Db, Dialect, fetch_one};

/// How often a second the disk under `dir` keeps an append of 4 KiB.
pub fn syncs(dir: &Path) -> Result<u64> {
    let mut file = std::fs::File::create(dir.join("sync"))?;
    let (page, started, mut count) = ([7u8; 4096], Instant::now(), 0u64);
    while started.elapsed() < Duration::from_secs(2) {
        file.write_all(&page)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(count / 2)
}

/// Bytes of write-ahead log so far, as PostgreSQL counts them; of SQLite what this process has written to files: its log,
/// and the pages that are folded into the database.
pub async fn written(db: &Db) -> Result<u64> {
    if db.dialect() == Dialect::Postgres {
        let mut conn = db.read().await?;
        let sql = "SELECT CAST(pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') AS bigint)";
        return Ok(u64::try_from(fetch_one!(&mut conn, scalar i64, sql)?)?);
    }
    number_after(&std::fs::read_to_string("/proc/self/io")?, "wchar:")
}

/// The most memory that this process ever had resident, in KiB.
pub fn peak_rss() -> Result<u64> {
    number_after(&std::fs::read_to_string("/proc/self/status")?, "VmHWM:")
}

fn number_after(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|line| line.split_whitespace().next());
    word.with_context(|| format!("this system tells {name}"))?.parse().context("a number")
}
