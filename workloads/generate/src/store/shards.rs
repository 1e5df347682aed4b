//! What a shard needs of the job that made it.

use windrow_core::{JobId, JobSeq};
use windrow_store::sqlx::AssertSqlSafe;
use windrow_store::{Conn, StoreError, fetch_all, fetch_one, fetch_optional, row};

row! {
    /// The job that made a shard.
    pub struct Parent {
        pub id: JobId,
        /// The pinned spec, JSON.
        pub spec: String,
        /// Its last checkpoint, JSON.
        pub state: Option<String>,
    }
}

pub async fn parent(conn: &mut Conn, seq: JobSeq) -> Result<Option<Parent>, StoreError> {
    fetch_optional!(
        conn,
        Parent,
        "SELECT j.id, j.spec, c.state FROM jobs j LEFT JOIN checkpoints c ON c.job_seq = j.seq WHERE j.seq = $1",
        seq,
    )
}

row! {
    /// What the shards of a job that have a result came to.
    pub struct Sums {
        pub records: u64,
        pub rejects: u64,
    }
}

/// Sums over the results of a job's shards.
pub async fn sums(conn: &mut Conn, job: JobSeq) -> Result<Sums, StoreError> {
    let sum = |field| {
        let number = conn.dialect().json_text("r.output", &[field]);
        format!("CAST(coalesce(sum(CAST({number} AS BIGINT)), 0) AS BIGINT) AS {field}")
    };
    let (records, rejects) = (sum("records"), sum("rejects"));
    fetch_one!(
        conn,
        Sums,
        AssertSqlSafe(format!(
            "SELECT {records}, {rejects} FROM jobs j JOIN results r ON r.job_seq = j.seq WHERE j.parent_seq = $1"
        )),
        job,
    )
}

/// The results of a job's latest shards that have rejects, at most `limit`, as JSON.
pub async fn with_rejects(conn: &mut Conn, job: JobSeq, limit: u32) -> Result<Vec<String>, StoreError> {
    let rejects = conn.dialect().json_text("r.output", &["rejects"]);
    fetch_all!(
        conn,
        scalar String,
        AssertSqlSafe(format!(
            "SELECT r.output FROM jobs j JOIN results r ON r.job_seq = j.seq
             WHERE j.parent_seq = $1 AND CAST({rejects} AS BIGINT) > 0 ORDER BY j.seq DESC LIMIT $2"
        )),
        job,
        limit,
    )
}
