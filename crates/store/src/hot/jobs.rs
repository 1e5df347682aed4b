//! What the other statements read of a job.

use std::collections::HashMap;

use windrow_core::{BudgetId, JobId, JobSeq, JobStatus, OwnerId, Priority, RunNo, Timestamp};

use crate::{Conn, Dialect, ListOf, Sql, StoreError, fetch_all, json_ints};

crate::row! {
    /// A job's row without its spec.
    pub(super) struct Head {
        pub(super) seq: JobSeq,
        pub(super) id: JobId,
        pub(super) owner_id: OwnerId,
        pub(super) workload: String,
        pub(super) priority: Priority,
        pub(super) run_at: Timestamp,
        pub(super) parent_seq: Option<JobSeq>,
        pub(super) budget_id: Option<BudgetId>,
        pub(super) webhook_url: Option<String>,
        pub(super) needs_approval: bool,
        pub(super) approved_at: Option<Timestamp>,
        pub(super) cancel_requested_at: Option<Timestamp>,
        pub(super) reopened_run: RunNo,
        pub(super) reopened_at: Option<Timestamp>,
    }
}

const HEAD: &str = "SELECT seq, id, owner_id, workload, priority, run_at, parent_seq, budget_id, webhook_url,
    needs_approval, approved_at, cancel_requested_at, reopened_run, reopened_at FROM jobs WHERE ";

/// How rows of `jobs` are held until the commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hold {
    /// A cancel waits; others who hold them so do not.
    Share,
    /// Everybody else waits.
    Alone,
}

/// Jobs by number, ascending; those that don't exist are absent.
pub(super) async fn heads(
    conn: &mut Conn,
    seqs: impl IntoIterator<Item = JobSeq>,
    hold: Hold,
) -> Result<Vec<Head>, StoreError> {
    static SHARE: Sql = Sql::new(|d| text(d, d.for_share()));
    static ALONE: Sql = Sql::new(|d| text(d, d.for_update()));
    fn text(dialect: Dialect, lock: &str) -> String {
        format!("{HEAD} {} ORDER BY seq{lock}", dialect.member("seq", "$1", ListOf::Int))
    }
    let sql = match hold {
        Hold::Share => SHARE.of(conn.dialect()),
        Hold::Alone => ALONE.of(conn.dialect()),
    };
    fetch_all!(conn, Head, sql, json_ints(seqs.into_iter().map(|seq| seq.0)))
}

crate::row! {
    /// The newest of a job's ended runs. `attempts` and `lost` are what its next run starts with.
    pub(super) struct LastRun {
        pub(super) job_seq: JobSeq,
        pub(super) run: RunNo,
        pub(super) retry_at: Option<Timestamp>,
        pub(super) attempts: i64,
        pub(super) lost: i64,
    }
}

/// The newest ended run of each job that has one.
pub(super) async fn last_runs(
    conn: &mut Conn,
    seqs: impl IntoIterator<Item = JobSeq>,
) -> Result<HashMap<JobSeq, LastRun>, StoreError> {
    static LAST: Sql = Sql::new(|dialect| {
        let rows = dialect.rows("$1", "i", &[("seq", crate::Col::Int)]);
        format!(
            "SELECT r.job_seq, r.run, r.retry_at, r.attempts, r.lost FROM {rows}
             JOIN runs r ON r.job_seq = i.seq AND r.run = (SELECT max(l.run) FROM runs l WHERE l.job_seq = i.seq)"
        )
    });
    let list: Vec<(i64,)> = seqs.into_iter().map(|seq| (seq.0,)).collect();
    if list.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = fetch_all!(conn, LastRun, LAST.of(conn.dialect()), crate::json_rows(&list))?;
    Ok(rows.into_iter().map(|row| (row.job_seq, row)).collect())
}

/// The status of each job, by the view.
pub(super) async fn statuses(
    conn: &mut Conn,
    seqs: impl IntoIterator<Item = JobSeq>,
) -> Result<HashMap<JobSeq, JobStatus>, StoreError> {
    static STATUS: Sql = Sql::new(|dialect| {
        let list = dialect.member("job_seq", "$1", ListOf::Int);
        format!("SELECT job_seq, status FROM job_status WHERE {list}")
    });
    crate::row! {
        struct Row { job_seq: JobSeq, status: JobStatus }
    }
    let rows =
        fetch_all!(conn, Row, STATUS.of(conn.dialect()), json_ints(seqs.into_iter().map(|seq| seq.0)))?;
    Ok(rows.into_iter().map(|row| (row.job_seq, row.status)).collect())
}
