//! What rows say about objects in storage: what the reconciler asks before it removes one.

use std::collections::HashSet;

use windrow_core::{ArtifactId, JobId, JobStatus, Timestamp};

use crate::{Conn, ListOf, StoreError, artifacts, fetch_all, fetch_one, fetch_optional, json_texts, uploads};

/// Which of these object keys some row of the platform's names. Workloads name further ones in tables of their own.
pub async fn named(conn: &mut Conn, keys: &[String]) -> Result<HashSet<String>, StoreError> {
    let mut named: HashSet<String> = uploads::named(conn, keys).await?.into_iter().collect();
    named.extend(artifacts::named(conn, keys).await?);
    let listed = conn.dialect().member("key", "$1", ListOf::Text);
    let sql = format!("SELECT key FROM parts WHERE {listed}");
    let keys = json_texts(keys.iter().map(String::as_str));
    named.extend(fetch_all!(conn, scalar String, sqlx::AssertSqlSafe(sql), keys)?);
    Ok(named)
}

/// Whether a row besides this artifact's names the object.
pub async fn shared(conn: &mut Conn, artifact: ArtifactId, key: &str) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM artifacts WHERE object_key = $1 AND id <> $2)
         OR EXISTS (SELECT 1 FROM uploads WHERE object_key = $1 AND status = 'stored')";
    fetch_one!(conn, scalar bool, sql, key, artifact)
}

crate::row! {
    /// A job that put objects, as far as it tells whether they may still be needed.
    pub struct Putter {
        pub workload: String,
        /// Of the root of its tree: while that is open, anything may still be named.
        pub root_status: JobStatus,
        /// When the root's last run ended.
        pub root_ended_at: Option<Timestamp>,
        /// JSON text, which may name objects.
        pub checkpoint: Option<String>,
        /// The same.
        pub output: Option<String>,
    }
}

/// The job with this id, if it is still known.
pub async fn putter(conn: &mut Conn, job: JobId) -> Result<Option<Putter>, StoreError> {
    let sql = "WITH RECURSIVE up(seq, parent_seq) AS (
             SELECT seq, parent_seq FROM jobs WHERE id = $1
             UNION ALL SELECT j.seq, j.parent_seq FROM jobs j JOIN up ON j.seq = up.parent_seq
         )
         SELECT j.workload, s.status AS root_status,
             (SELECT max(r.ended_at) FROM runs r WHERE r.job_seq = up.seq) AS root_ended_at,
             (SELECT c.state FROM checkpoints c WHERE c.job_seq = j.seq) AS checkpoint,
             (SELECT t.output FROM results t WHERE t.job_seq = j.seq) AS output
         FROM jobs j JOIN up ON up.parent_seq IS NULL JOIN job_status s ON s.job_seq = up.seq
         WHERE j.id = $1";
    fetch_optional!(conn, Putter, sql, job)
}
