//! The end of old rows, and the vacuum that hot tables need on PostgreSQL.

use windrow_core::{JobSeq, Timestamp};

use super::CHUNK;
use crate::{Conn, Db, Dialect, ListOf, Sql, StoreError, Tx, execute, fetch_all, json_ints};

/// A page of jobs, looked through for old trees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OldJobs {
    /// Roots of trees that may go.
    pub roots: Vec<JobSeq>,
    /// Where to go on; none when no further job can be old.
    pub next: Option<JobSeq>,
}

/// What one call of [`delete_trees`] did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deleted {
    pub jobs: Vec<JobSeq>,
    /// Whether to call it again for the same roots.
    pub more: bool,
}

/// Every table that names a job by `job_seq`, `jobs` itself last. The ledger's rows go when they are rolled up
/// ([`crate::ledger::delete_orphans`]).
const TABLES: [&str; 15] = [
    "events",
    "progress",
    "results",
    "saves",
    "parts",
    "checkpoints",
    "call_journal",
    "calls",
    "leases",
    "outbox",
    "job_rollups",
    "storage_use",
    "parents",
    "runs",
    "jobs",
];

/// Looks at 500 jobs from the one after `after` on, for roots of trees that ended before `before`. Dead letters that nobody
/// has decided on don't count, nor trees in which an artifact lives.
pub async fn old_jobs(conn: &mut Conn, after: JobSeq, before: Timestamp) -> Result<OldJobs, StoreError> {
    let sql = "SELECT seq, created_at FROM jobs WHERE seq > $1 ORDER BY seq LIMIT $2";
    let page = fetch_all!(conn, (i64, i64), sql, after, CHUNK)?;
    let full = i64::try_from(page.len()).is_ok_and(|len| len >= CHUNK);
    // numbers follow submits: after a job that is too young for it there is none that ended long ago
    let last = page.last().filter(|(_, created_at)| full && *created_at < before.as_micros());
    let next = last.map(|(seq, _)| JobSeq(*seq));
    let roots = still_old(conn, page.iter().map(|(seq, _)| *seq), before).await?;
    Ok(OldJobs { roots, next })
}

/// Which of these jobs are roots of trees that may go.
async fn still_old(
    conn: &mut Conn,
    jobs: impl IntoIterator<Item = i64>,
    before: Timestamp,
) -> Result<Vec<JobSeq>, StoreError> {
    static OLD: Sql = Sql::new(|d| {
        let member = d.member("j.seq", "$1", ListOf::Int);
        format!(
            "SELECT j.seq FROM jobs j JOIN job_status s ON s.job_seq = j.seq
             JOIN runs l ON l.job_seq = j.seq AND l.run = (SELECT max(r.run) FROM runs r WHERE r.job_seq = j.seq)
             WHERE {member} AND j.parent_seq IS NULL AND l.ended_at < $2
               AND s.status IN ('completed', 'failed', 'budget_exceeded', 'cancelled', 'rejected')
               AND (NOT l.dead_letter OR j.discarded_at IS NOT NULL)
               AND NOT EXISTS (SELECT 1 FROM parents p WHERE p.job_seq = j.seq)
               AND NOT EXISTS (WITH RECURSIVE tree(seq) AS (
                       SELECT t.seq FROM jobs t WHERE t.seq = j.seq
                       UNION ALL SELECT c.seq FROM tree t JOIN jobs c ON c.parent_seq = t.seq)
                   SELECT 1 FROM tree t JOIN artifacts a ON a.job_seq = t.seq)
             ORDER BY j.seq"
        )
    });
    let old = fetch_all!(conn, scalar i64, OLD.of(conn.dialect()), json_ints(jobs), before)?;
    Ok(old.into_iter().map(JobSeq).collect())
}

/// The last up to `limit` jobs of the trees of those `roots` that are still old; children before their parents, so that
/// what remains after a deletion is a tree. The roots are locked until the commit: nobody reopens them meanwhile.
pub async fn old_trees(
    tx: &mut Tx,
    roots: &[JobSeq],
    before: Timestamp,
    limit: usize,
) -> Result<Vec<JobSeq>, StoreError> {
    static LOCK: Sql = Sql::new(|d| {
        format!(
            "SELECT seq FROM jobs WHERE {} ORDER BY seq{}",
            d.member("seq", "$1", ListOf::Int),
            d.for_update()
        )
    });
    static TREE: Sql = Sql::new(|d| {
        let list = d.list("$1", ListOf::Int);
        format!(
            "WITH RECURSIVE tree(seq) AS (
                 {list} UNION ALL SELECT j.seq FROM tree t JOIN jobs j ON j.parent_seq = t.seq)
             SELECT seq FROM tree ORDER BY seq DESC LIMIT $2"
        )
    });
    let locked = fetch_all!(tx, scalar i64, LOCK.of(tx.dialect()), json_ints(roots.iter().map(|seq| seq.0)))?;
    let old = still_old(tx, locked, before).await?;
    if old.is_empty() {
        return Ok(Vec::new());
    }
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let list = json_ints(old.into_iter().map(|seq| seq.0));
    let tree = fetch_all!(tx, scalar i64, TREE.of(tx.dialect()), list, limit)?;
    Ok(tree.into_iter().map(JobSeq).collect())
}

/// Which of these jobs ended without a result and have saved chunks that their workload has not discarded, with their
/// workloads.
pub async fn undiscarded(conn: &mut Conn, jobs: &[JobSeq]) -> Result<Vec<(JobSeq, String)>, StoreError> {
    static FIND: Sql = Sql::new(|d| {
        let member = d.member("j.seq", "$1", ListOf::Int);
        format!(
            "SELECT j.seq, j.workload FROM jobs j JOIN job_status s ON s.job_seq = j.seq
             WHERE {member} AND s.status IN ('failed', 'cancelled', 'rejected')
               AND EXISTS (SELECT 1 FROM saves v WHERE v.job_seq = j.seq) ORDER BY j.seq"
        )
    });
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let list = json_ints(jobs.iter().map(|seq| seq.0));
    let rows = fetch_all!(conn, (i64, String), FIND.of(conn.dialect()), list)?;
    Ok(rows.into_iter().map(|(seq, workload)| (JobSeq(seq), workload)).collect())
}

/// Notes that a job's workload has discarded all chunks.
pub async fn forget_saves(tx: &mut Tx, job: JobSeq) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM saves WHERE job_seq = $1", job).map(drop)
}

/// Deletes up to `limit` jobs of the trees of `roots` that are still old, with all their rows.
pub async fn delete_trees(
    tx: &mut Tx,
    roots: &[JobSeq],
    before: Timestamp,
    limit: usize,
) -> Result<Deleted, StoreError> {
    let jobs = old_trees(tx, roots, before, limit).await?;
    if !jobs.is_empty() {
        forget(tx, &jobs).await?;
    }
    Ok(Deleted { more: jobs.len() >= limit, jobs })
}

async fn forget(tx: &mut Tx, jobs: &[JobSeq]) -> Result<(), StoreError> {
    static BUDGETS: Sql = Sql::new(|d| {
        let member = d.member("seq", "$1", ListOf::Int);
        format!("DELETE FROM budgets WHERE id IN (SELECT id FROM jobs WHERE {member} AND budget_id = id)")
    });
    let list = json_ints(jobs.iter().map(|seq| seq.0));
    execute!(tx, BUDGETS.of(tx.dialect()), list.clone())?;
    for table in TABLES {
        let column = if table == "jobs" { "seq" } else { "job_seq" };
        let sql = format!("DELETE FROM {table} WHERE {}", tx.dialect().member(column, "$1", ListOf::Int));
        execute!(tx, sqlx::AssertSqlSafe(sql), list.clone())?;
    }
    Ok(())
}

/// Frees what claims and completions left behind in the hot tables, every 15 s on PostgreSQL; SQLite needs none. Of
/// several processes one does it.
pub async fn vacuum(db: &Db) -> Result<(), StoreError> {
    if db.dialect() == Dialect::Sqlite {
        return Ok(());
    }
    let mut conn = db.writer().await?;
    for table in ["ready", "running", "scheduled"] {
        conn.raw(sqlx::AssertSqlSafe(format!("VACUUM (SKIP_LOCKED) {table}"))).await?;
    }
    Ok(())
}
