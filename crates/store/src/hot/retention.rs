//! The end of old rows, and the vacuum that hot tables need on PostgreSQL.

use windrow_core::{JobSeq, Timestamp};

use super::CHUNK;
use crate::{Db, Dialect, ListOf, Sql, StoreError, Tx, execute, fetch_all, json_ints};

/// What one call of [`delete_old_jobs`] did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deleted {
    pub jobs: Vec<JobSeq>,
    /// Where to go on; none at the end of the table.
    pub next: Option<JobSeq>,
}

/// Every table that names a job by `job_seq`, `jobs` itself last. The ledger's rows go when they are rolled up
/// ([`crate::ledger::delete_orphans`]).
const TABLES: [&str; 14] = [
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
    "parents",
    "runs",
    "jobs",
];

/// Looks at 500 jobs from the one after `after` on, and deletes those whose tree ended before `before`, with all their
/// rows, but not dead letters that nobody has decided on, nor jobs that have a living artifact. A tree goes as a whole:
/// children with their root.
pub async fn delete_old_jobs(tx: &mut Tx, after: JobSeq, before: Timestamp) -> Result<Deleted, StoreError> {
    let (page, roots) = page(tx, after, before).await?;
    static TREE: Sql = Sql::new(|d| {
        let list = d.list("$1", ListOf::Int);
        format!(
            "WITH RECURSIVE tree(seq) AS (
                 {list} UNION ALL SELECT j.seq FROM tree t JOIN jobs j ON j.parent_seq = t.seq)
             SELECT seq FROM tree ORDER BY seq"
        )
    });
    let tree = if roots.is_empty() {
        Vec::new()
    } else {
        fetch_all!(tx, scalar i64, TREE.of(tx.dialect()), json_ints(roots))?
    };
    if !tree.is_empty() {
        forget(tx, &tree).await?;
    }
    let full = i64::try_from(page.len()).is_ok_and(|len| len >= CHUNK);
    let next = page.last().filter(|_| full).map(|seq| JobSeq(*seq));
    Ok(Deleted { jobs: tree.into_iter().map(JobSeq).collect(), next })
}

/// The jobs of the next page, and the roots among them that may go.
async fn page(tx: &mut Tx, after: JobSeq, before: Timestamp) -> Result<(Vec<i64>, Vec<i64>), StoreError> {
    static OLD: Sql = Sql::new(|d| {
        let member = d.member("j.seq", "$1", ListOf::Int);
        format!(
            "SELECT j.seq FROM jobs j JOIN job_status s ON s.job_seq = j.seq
             JOIN runs l ON l.job_seq = j.seq AND l.run = (SELECT max(r.run) FROM runs r WHERE r.job_seq = j.seq)
             WHERE {member} AND j.parent_seq IS NULL AND l.ended_at < $2
               AND s.status IN ('completed', 'failed', 'budget_exceeded', 'cancelled', 'rejected')
               AND (NOT l.dead_letter OR j.discarded_at IS NOT NULL)
               AND NOT EXISTS (SELECT 1 FROM parents p WHERE p.job_seq = j.seq)
               AND NOT EXISTS (SELECT 1 FROM artifacts a WHERE a.job_seq = j.seq)
               AND NOT EXISTS (SELECT 1 FROM jobs c JOIN artifacts a ON a.job_seq = c.seq WHERE c.parent_seq = j.seq)
             ORDER BY j.seq"
        )
    });
    let sql = "SELECT seq FROM jobs WHERE seq > $1 ORDER BY seq LIMIT $2";
    let page = fetch_all!(tx, scalar i64, sql, after, CHUNK)?;
    if page.is_empty() {
        return Ok((page, Vec::new()));
    }
    let old = fetch_all!(tx, scalar i64, OLD.of(tx.dialect()), json_ints(page.iter().copied()), before)?;
    Ok((page, old))
}

async fn forget(tx: &mut Tx, jobs: &[i64]) -> Result<(), StoreError> {
    static BUDGETS: Sql = Sql::new(|d| {
        let member = d.member("seq", "$1", ListOf::Int);
        format!("DELETE FROM budgets WHERE id IN (SELECT id FROM jobs WHERE {member} AND budget_id = id)")
    });
    let list = json_ints(jobs.iter().copied());
    execute!(tx, BUDGETS.of(tx.dialect()), list.clone())?;
    for table in TABLES {
        let column = if table == "jobs" { "seq" } else { "job_seq" };
        let sql = format!("DELETE FROM {table} WHERE {}", tx.dialect().member(column, "$1", ListOf::Int));
        execute!(tx, sqlx::AssertSqlSafe(sql), list.clone())?;
    }
    Ok(())
}

/// Frees what claims and completions left behind in the hot tables, every 15 s on PostgreSQL; SQLite needs none.
pub async fn vacuum(db: &Db) -> Result<(), StoreError> {
    if db.dialect() == Dialect::Sqlite {
        return Ok(());
    }
    let mut conn = db.writer().await?;
    for table in ["ready", "running", "scheduled"] {
        conn.raw(sqlx::AssertSqlSafe(format!("VACUUM {table}"))).await?;
    }
    Ok(())
}
