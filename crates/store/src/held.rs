//! What an engine asks about the runs that it serves, beside the hot statements.

use windrow_core::{BudgetId, ErrorClass, JobError, JobId, JobSeq, OwnerId, PicoUsd, Timestamp};

use crate::hot::RunRef;
use crate::{Conn, Sql, StoreError, fetch_all, fetch_optional};

crate::row! {
    /// A job, as the writes of its runs need it.
    pub struct ServedJob {
        pub seq: JobSeq,
        pub id: JobId,
        pub owner_id: OwnerId,
        pub workload: String,
        /// JSON text.
        pub spec: String,
        pub parent_seq: Option<JobSeq>,
        pub child_key: Option<String>,
        pub budget_id: Option<BudgetId>,
        /// The most that the job's tree may cost.
        pub cap: Option<PicoUsd>,
        pub created_at: Timestamp,
        /// Failed attempts before the run that is going on.
        pub attempts: Option<u32>,
    }
}

crate::row! {
    struct RunError {
        class: Option<ErrorClass>,
        code: Option<String>,
        error: Option<String>,
    }
}

const SERVED: &str =
    "SELECT j.seq, j.id, j.owner_id, j.workload, j.spec, j.parent_seq, j.child_key, j.budget_id, b.cap,
         j.created_at, r.attempts
     FROM jobs j LEFT JOIN budgets b ON b.id = j.budget_id LEFT JOIN running r ON r.job_seq = j.seq";

/// The job of a run that somebody says to hold. Whether it does is for the fence to say.
pub async fn served_job(conn: &mut Conn, id: JobId) -> Result<Option<ServedJob>, StoreError> {
    static SQL: Sql = Sql::new(|_| format!("{SERVED} WHERE j.id = $1"));
    fetch_optional!(conn, ServedJob, SQL.of(conn.dialect()), id)
}

/// The same by the job's key.
pub async fn job(conn: &mut Conn, seq: JobSeq) -> Result<Option<ServedJob>, StoreError> {
    static SQL: Sql = Sql::new(|_| format!("{SERVED} WHERE j.seq = $1"));
    fetch_optional!(conn, ServedJob, SQL.of(conn.dialect()), seq)
}

/// What a run that has ended went wrong by; none when nothing did.
pub async fn error_of(conn: &mut Conn, at: RunRef) -> Result<Option<JobError>, StoreError> {
    let sql = "SELECT class, code, error FROM runs WHERE job_seq = $1 AND run = $2";
    let row = fetch_optional!(conn, RunError, sql, at.job, at.run)?;
    Ok(row.and_then(|row| Some(JobError::new(row.class?, row.code?, row.error?))))
}

crate::row! {
    /// A part of a job or of a child of it.
    pub struct TreePart {
        /// Of the child; none for the job's own part.
        pub child_key: Option<String>,
        pub first: i64,
        pub last: i64,
        pub key: String,
        /// 32 bytes.
        pub sha256: Vec<u8>,
        /// Bytes.
        pub size: u64,
    }
}

/// Parts of a job and of its children by first item and key, after `after`, at most `limit`.
pub async fn tree_parts(
    conn: &mut Conn,
    job: JobSeq,
    (after_first, after_key): (i64, &str),
    limit: i64,
) -> Result<Vec<TreePart>, StoreError> {
    let sql = "SELECT CASE WHEN j.seq = $1 THEN NULL ELSE j.child_key END AS child_key, p.first, p.last, p.key, p.sha256, p.size
         FROM parts p JOIN jobs j ON j.seq = p.job_seq
         WHERE (j.seq = $1 OR j.parent_seq = $1) AND (p.first > $2 OR (p.first = $2 AND p.key > $3))
         ORDER BY p.first, p.key LIMIT $4";
    fetch_all!(conn, TreePart, sql, job, after_first, after_key, limit)
}
