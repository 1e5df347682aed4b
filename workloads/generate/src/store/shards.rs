//! What a shard needs of the job that made it.

use windrow_core::{JobId, JobSeq};
use windrow_store::{Conn, StoreError, fetch_optional, row};

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
