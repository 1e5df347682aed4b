//! What dead workers held goes back in line.

use futures::future::BoxFuture;
use windrow_core::{JobSeq, RunNo, Timestamp};

use super::end::{Closing, End, EndRun, end_runs};
use super::{CHUNK, RunRef};
use crate::{Sql, StoreError, Tx, fetch_all, fetch_one};

/// What one call of [`rescue`] did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rescued {
    /// The runs that were taken from dead workers.
    pub runs: Vec<RunRef>,
    pub closing: Closing,
}

/// Ends up to 500 runs of workers that are dead or have left as `lost`: their jobs are queued again, their calls in
/// flight count as unconfirmed. A claim that commits after its worker's death is found by the next call, for a dead
/// worker's row outlives its runs.
pub fn rescue(tx: &mut Tx, now: Timestamp) -> BoxFuture<'_, Result<Rescued, StoreError>> {
    Box::pin(async move {
        static FIND: Sql = Sql::new(|d| {
            let lock = d.pick("", " FOR UPDATE OF r SKIP LOCKED");
            format!(
                "SELECT r.job_seq, r.run FROM running r JOIN workers w ON w.id = r.worker_id
             WHERE w.state <> 'live' ORDER BY r.job_seq LIMIT $1{lock}"
            )
        });
        let dead = fetch_one!(tx, scalar i64, "SELECT count(*) FROM workers WHERE state <> 'live'")?;
        if dead == 0 {
            return Ok(Rescued::default());
        }
        let rows = fetch_all!(tx, (i64, i64), FIND.of(tx.dialect()), CHUNK)?;
        let runs: Vec<RunRef> =
            rows.into_iter().map(|(job, run)| RunRef { job: JobSeq(job), run: RunNo(run) }).collect();
        let ends: Vec<EndRun> =
            runs.iter().map(|at| EndRun { at: *at, end: End::Lost { poison_after: None } }).collect();
        let closing = end_runs(tx, &ends, now).await?;
        Ok(Rescued { runs, closing })
    })
}
