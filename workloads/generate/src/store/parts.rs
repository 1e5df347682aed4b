//! What a job has checkpointed so far.

use windrow_core::JobSeq;
use windrow_store::{Conn, StoreError, fetch_all, row};

row! {
    /// One part of a job or of one of its shards.
    pub struct PartRow {
        pub job_seq: JobSeq,
        pub first: i64,
        pub key: String,
        /// In bytes.
        pub size: i64,
    }
}

/// The parts of a job's shards in the order of their first index, after `after`, at most `limit`.
pub async fn page(
    conn: &mut Conn,
    job: JobSeq,
    after: Option<i64>,
    limit: u32,
) -> Result<Vec<PartRow>, StoreError> {
    fetch_all!(
        conn,
        PartRow,
        "SELECT p.job_seq, p.first, p.key, p.size FROM parts p JOIN jobs j ON j.seq = p.job_seq
         WHERE j.parent_seq = $1 AND p.first > $2 ORDER BY p.first LIMIT $3",
        job,
        after.unwrap_or(-1),
        limit,
    )
}
