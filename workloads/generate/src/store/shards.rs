//! What a shard needs of the job that made it.

use windrow_core::{JobId, JobSeq};
use windrow_store::sqlx::AssertSqlSafe;
use windrow_store::{Conn, StoreError, fetch_all, fetch_one, fetch_optional, row};

use crate::run::Sums;

row! {
    /// The job that made a shard.
    pub struct Parent {
        pub id: JobId,
        /// The pinned spec, JSON.
        pub spec: String,
        /// Its last checkpoint, JSON.
        pub state: Option<String>,
        /// After which of its runs a person last retried it; 0 for never.
        pub reopened: i64,
    }
}

pub async fn parent(conn: &mut Conn, seq: JobSeq) -> Result<Option<Parent>, StoreError> {
    fetch_optional!(
        conn,
        Parent,
        "SELECT j.id, j.spec, c.state, j.reopened_run AS reopened FROM jobs j LEFT JOIN checkpoints c ON c.job_seq = j.seq WHERE j.seq = $1",
        seq,
    )
}

row! {
    struct Row {
        records: u64,
        rejects: u64,
    }
}

/// The shards of the job $1 whose results are of after a person last retried it, or all of them: by the number of that
/// run, for the clocks of two machines can't be compared.
fn since_retry(conn: &Conn) -> String {
    let reopened = conn.dialect().json_text("r.output", &["reopened"]);
    format!(
        "FROM jobs p JOIN jobs j ON j.parent_seq = p.seq JOIN results r ON r.job_seq = j.seq
         WHERE p.seq = $1 AND coalesce(CAST({reopened} AS BIGINT), 0) = p.reopened_run"
    )
}

/// Sums over the results of a job's shards, but for what a person has accepted by retrying the job.
pub async fn judged(conn: &mut Conn, job: JobSeq) -> Result<Sums, StoreError> {
    let dialect = conn.dialect();
    let number = |field: &str| {
        let text = dialect.json_text("r.output", &[field]);
        format!("coalesce(CAST({text} AS BIGINT), 0)")
    };
    let sum = |field: &str| {
        let (all, earlier) = (number(field), number(&format!("earlier_{field}")));
        format!("CAST(coalesce(sum({all} - {earlier}), 0) AS BIGINT) AS {field}")
    };
    let (records, rejects) = (sum("records"), sum("rejects"));
    let sql = format!("SELECT {records}, {rejects} {}", since_retry(conn));
    let Row { records, rejects } = fetch_one!(conn, Row, AssertSqlSafe(sql), job)?;
    Ok(Sums { records, rejects })
}

/// The results of a job's latest shards that have rejects, at most `limit`, as JSON; of those that [`judged`] sums.
pub async fn with_rejects(conn: &mut Conn, job: JobSeq, limit: u32) -> Result<Vec<String>, StoreError> {
    let rejects = conn.dialect().json_text("r.output", &["rejects"]);
    let since_retry = since_retry(conn);
    fetch_all!(
        conn,
        scalar String,
        AssertSqlSafe(format!(
            "SELECT r.output {since_retry} AND CAST({rejects} AS BIGINT) > 0 ORDER BY j.seq DESC LIMIT $2"
        )),
        job,
        limit,
    )
}
