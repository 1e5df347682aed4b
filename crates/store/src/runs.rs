//! Runs as people look at them.

use windrow_core::{ErrorClass, JobSeq, RunNo, RunOutcome, Timestamp};

use crate::{Conn, StoreError, fetch_all};

crate::row! {
    /// One attempt at a job, ended or not.
    pub struct RunRow {
        pub run: RunNo,
        /// None while it runs.
        pub outcome: Option<RunOutcome>,
        pub worker: Option<String>,
        pub started_at: Option<Timestamp>,
        pub ended_at: Option<Timestamp>,
        pub retry_at: Option<Timestamp>,
        pub class: Option<ErrorClass>,
        pub code: Option<String>,
        pub error: Option<String>,
        pub user_fault: Option<bool>,
        pub stage: Option<String>,
        pub done: Option<u64>,
        pub total: Option<u64>,
    }
}

/// All runs of a job in order, the present one last. Progress is kept of the latest run only.
pub async fn list(conn: &mut Conn, job: JobSeq) -> Result<Vec<RunRow>, StoreError> {
    let sql = "SELECT r.run, r.outcome, w.name AS worker, r.started_at, r.ended_at, r.retry_at, r.class, r.code, r.error,
             r.user_fault, g.stage, g.done, g.total
         FROM runs r
         LEFT JOIN workers w ON w.id = r.worker_id
         LEFT JOIN progress g ON g.job_seq = r.job_seq AND g.run = r.run
         WHERE r.job_seq = $1
         UNION ALL
         SELECT r.run, NULL, w.name, r.started_at, NULL, NULL, NULL, NULL, NULL, NULL, g.stage, g.done, g.total
         FROM running r
         LEFT JOIN workers w ON w.id = r.worker_id
         LEFT JOIN progress g ON g.job_seq = r.job_seq AND g.run = r.run
         WHERE r.job_seq = $1
         ORDER BY 1";
    fetch_all!(conn, RunRow, sql, job)
}
