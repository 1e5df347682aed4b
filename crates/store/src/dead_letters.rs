//! Dead letters: jobs whose last run failed for good and waits for a person. Retrying and discarding is in `hot`.

use windrow_core::{ErrorClass, JobId, JobSeq, OwnerId, RunNo, Timestamp};

use crate::{Conn, StoreError, Tx, fetch_all, fetch_one, fetch_optional};

/// Which dead letters.
#[derive(Clone, Debug, Default)]
pub struct DeadLetterFilter<'a> {
    /// None: of all owners, for admins.
    pub owner: Option<OwnerId>,
    pub workload: Option<&'a str>,
    /// Died at or after.
    pub since: Option<Timestamp>,
    /// Died before.
    pub until: Option<Timestamp>,
}

crate::row! {
    /// A job that waits for a person.
    pub struct DeadLetter {
        pub seq: JobSeq,
        pub id: JobId,
        pub owner_id: OwnerId,
        pub workload: String,
        pub run: RunNo,
        pub attempts: u32,
        pub lost: u32,
        pub class: Option<ErrorClass>,
        pub code: Option<String>,
        pub error: Option<String>,
        pub created_at: Timestamp,
        pub ended_at: Timestamp,
    }
}

/// Undecided: neither retried (`reopened_run`) nor discarded. Children are decided with their root.
const UNDECIDED: &str = "FROM runs r JOIN jobs j ON j.seq = r.job_seq
    WHERE r.dead_letter AND r.run > j.reopened_run AND j.discarded_at IS NULL AND j.parent_seq IS NULL
      AND ($1 IS NULL OR j.owner_id = $1) AND ($2 IS NULL OR j.workload = $2)
      AND ($3 IS NULL OR r.ended_at >= $3) AND ($4 IS NULL OR r.ended_at < $4)";

/// Latest submitted first, before the job `before`, at most `limit`.
pub async fn list(
    conn: &mut Conn,
    filter: &DeadLetterFilter<'_>,
    before: Option<JobSeq>,
    limit: u32,
) -> Result<Vec<DeadLetter>, StoreError> {
    let sql = format!(
        "SELECT j.seq, j.id, j.owner_id, j.workload, r.run, r.attempts, r.lost, r.class, r.code, r.error,
             j.created_at, r.ended_at
         {UNDECIDED} AND ($5 IS NULL OR j.seq < $5) ORDER BY j.seq DESC LIMIT $6"
    );
    let DeadLetterFilter { owner, workload, since, until } = *filter;
    fetch_all!(conn, DeadLetter, sqlx::AssertSqlSafe(sql), owner, workload, since, until, before, limit)
}

pub async fn count(conn: &mut Conn, filter: &DeadLetterFilter<'_>) -> Result<i64, StoreError> {
    let sql = format!("SELECT count(*) {UNDECIDED}");
    let DeadLetterFilter { owner, workload, since, until } = *filter;
    fetch_one!(conn, scalar i64, sqlx::AssertSqlSafe(sql), owner, workload, since, until)
}

/// Whether this job is a dead letter that nobody has decided on; its row is locked until the commit.
pub async fn waits(tx: &mut Tx, job: JobSeq) -> Result<bool, StoreError> {
    let lock = tx.dialect().pick("", " FOR UPDATE OF j");
    let sql = format!(
        "SELECT j.seq FROM runs r JOIN jobs j ON j.seq = r.job_seq
         WHERE j.seq = $1 AND r.dead_letter AND r.run > j.reopened_run AND j.discarded_at IS NULL
           AND j.parent_seq IS NULL{lock}"
    );
    Ok(fetch_optional!(tx, scalar i64, sqlx::AssertSqlSafe(sql), job)?.is_some())
}
