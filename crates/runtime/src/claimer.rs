//! Takes as much work as the worker can start at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use windrow_engine::{Backoff, ClaimRequest, EngineError, Lease};

use crate::executor::Executor;

/// What is claimed beyond the free slots is what the worker runs in this time: enough to be busy until the next claim's
/// commit, little enough that nothing waits here while another worker is idle.
const AHEAD: Duration = Duration::from_millis(5);

pub(crate) struct Claimer {
    pub(crate) executor: Arc<Executor>,
    pub(crate) runs: TaskTracker,
    /// Cancelled when nothing more may be claimed.
    pub(crate) closing: CancellationToken,
    pub(crate) pace: Arc<Pace>,
}

/// How many runs the worker ends in [`AHEAD`], as a moving average.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    ended: AtomicU64,
}

impl Pace {
    pub(crate) fn count(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// The average, given how many ended since the last time and how long that was.
    fn average(&self, last: f64, elapsed: Duration) -> f64 {
        let ended = self.ended.swap(0, Ordering::Relaxed);
        if elapsed.is_zero() {
            return last;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate of runs is far below 2^52")]
        let now = ended as f64 * AHEAD.as_secs_f64() / elapsed.as_secs_f64();
        // Half of the new value each time: a pause is forgotten within a few claims.
        f64::midpoint(last, now)
    }
}

impl Claimer {
    /// Until the worker closes, or may have no more.
    ///
    /// # Errors
    /// [`EngineError::TurnedAway`]: nobody lets this worker in any more.
    pub(crate) async fn work(self) -> Result<(), EngineError> {
        let slots = Arc::new(Semaphore::new(self.executor.settings.slots));
        let clock = Arc::clone(&self.executor.services.clock);
        let (mut ahead, mut since) = (0.0, clock.monotonic());
        let mut backoff = Backoff::of_engine();
        while !self.closing.is_cancelled() {
            let limit = self.executor.settings.slots + whole(ahead);
            tokio::select! {
                () = self.executor.board.below(limit) => {}
                () = self.closing.cancelled() => return Ok(()),
            }
            // runs that one commit has ended leave one after another: all of them make room for this claim
            tokio::task::yield_now().await;
            let now = clock.monotonic();
            ahead = self.pace.average(ahead, now.saturating_sub(since));
            since = now;
            // all slots at once would begin and end together, and whoever comes meanwhile would wait for all of them
            let half = self.executor.settings.slots.div_ceil(2).max(1);
            let room = limit.saturating_sub(self.executor.board.len()).clamp(1, half);
            let claim = tokio::select! {
                claim = self.claim(room) => claim,
                // Given up; whoever drains the worker puts back in line what it may have brought.
                () = self.closing.cancelled() => return Ok(()),
            };
            match claim.map(|leases| self.start(leases, &slots)) {
                Ok(()) if self.executor.settings.suspect => return Ok(()),
                Ok(()) => backoff.reset(),
                Err(error @ EngineError::TurnedAway(_)) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "a claim failed");
                    tokio::select! {
                        () = backoff.rest() => {}
                        () = self.closing.cancelled() => return Ok(()),
                    }
                }
            }
        }
        Ok(())
    }

    async fn claim(&self, room: usize) -> Result<Vec<Lease>, EngineError> {
        let settings = &self.executor.settings;
        let request = ClaimRequest {
            workloads: settings.workloads.clone(),
            slots: u32::try_from(room).unwrap_or(u32::MAX),
            wait_ms: u64::try_from(settings.claim_wait.as_millis()).unwrap_or(u64::MAX),
            suspects: settings.suspect,
            worker: None,
        };
        self.executor.services.engine.claim(&request).await
    }

    fn start(&self, leases: Vec<Lease>, slots: &Arc<Semaphore>) {
        for lease in leases {
            let stop = self.executor.board.add(lease.run);
            let (executor, slots) = (Arc::clone(&self.executor), Arc::clone(slots));
            let (closing, pace) = (self.closing.clone(), Arc::clone(&self.pace));
            let run = lease.run;
            let task = self.runs.spawn(async move {
                let slot = match Arc::clone(&slots).try_acquire_owned() {
                    Ok(slot) if !closing.is_cancelled() => Some(slot),
                    Ok(_) => None,
                    Err(_) => tokio::select! {
                        biased;
                        () = closing.cancelled() => None,
                        slot = slots.acquire_owned() => slot.ok(),
                    },
                };
                match slot {
                    Some(_slot) => executor.execute(lease, stop).await,
                    None => executor.release(&lease, &stop).await,
                }
                pace.count();
            });
            self.executor.board.runs_in(run, task.abort_handle());
        }
    }
}

fn whole(ahead: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 10,000")]
    let whole = ahead.clamp(0.0, 10_000.0) as usize;
    whole
}
