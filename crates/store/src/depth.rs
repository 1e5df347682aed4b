//! How many jobs are where: what the queue's metrics are made of.

use windrow_core::Timestamp;

use crate::{Conn, StoreError, fetch_all};

crate::row! {
    /// Jobs of one workload in one place.
    pub struct Depth {
        pub workload: String,
        /// `queued`, `scheduled` (queued for a time to come), `running`, `waiting` or `pending_approval`.
        pub place: String,
        pub jobs: i64,
        /// Since when the oldest of them could have run (queued), or is there.
        pub oldest: Option<Timestamp>,
    }
}

/// All places that are not empty. It walks through the hot tables: ask every few seconds at most.
pub async fn depths(conn: &mut Conn) -> Result<Vec<Depth>, StoreError> {
    let sql = "SELECT workload, 'queued' AS place, count(*) AS jobs, min(run_at) AS oldest FROM ready GROUP BY workload
         UNION ALL SELECT workload, 'scheduled', count(*), min(run_at) FROM scheduled GROUP BY workload
         UNION ALL SELECT workload, 'running', count(*), min(started_at) FROM running GROUP BY workload
         UNION ALL SELECT j.workload, 'waiting', count(*), min(j.created_at)
             FROM parents p JOIN jobs j ON j.seq = p.job_seq WHERE NOT p.held GROUP BY j.workload
         UNION ALL SELECT j.workload, 'pending_approval', count(*), min(j.created_at) FROM jobs j
             WHERE j.needs_approval AND j.approved_at IS NULL
               AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.job_seq = j.seq) GROUP BY j.workload";
    fetch_all!(conn, Depth, sql)
}
