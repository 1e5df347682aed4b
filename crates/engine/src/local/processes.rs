//! Worker processes beside this one that work through its engine: who may claim, and what becomes of their runs when they
//! are gone. Nobody counts their beats, because whoever admitted them sees their end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use windrow_api_types::worker::{ClaimRequest, Lease, RunRef};
use windrow_core::{ErrorClass, JobError};
use windrow_store::hot::{self, End, EndRun};

use super::{LocalEngine, at};
use crate::{EngineError, end_lost};

/// How long to wait before the runs of a process that is gone are tried to be taken back again.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LONGEST: Duration = Duration::from_secs(2);

impl LocalEngine {
    /// Lets a process claim under this name. False when the name is taken.
    pub fn admit(&self, worker: &str) -> bool {
        self.inner.runs.admit(worker)
    }

    /// A process that was admitted did not even start: it holds nothing.
    pub fn turn_away(&self, worker: &str) {
        self.inner.runs.shut_out(worker);
    }

    /// A process that was admitted is gone: it gets nothing more, and what it held is back in line at once. A suspect
    /// that was alone in it is poison, and `why` (such as its exit status) stands in the dead letter. Insists while the
    /// database can't be reached. Gives the number of its runs.
    pub async fn dismiss(&self, worker: &str, why: &str) -> usize {
        let held = {
            // After any claim that is under way, so that none is handed out from here on.
            let _alone = self.inner.runs.claiming().await;
            self.inner.runs.shut_out(worker);
            self.inner.runs.held_by(worker)
        };
        let mut wait = RETRY_FIRST;
        while let Err(error) = self.lose(&held, why).await {
            if !matches!(error, EngineError::Unavailable(_)) {
                tracing::error!(worker, %error, "the runs of a process that is gone are left to be rescued");
                return held.len();
            }
            tracing::warn!(worker, %error, "the runs of a process that is gone could not be taken back yet");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_LONGEST);
        }
        if !held.is_empty() {
            metrics::counter!("windrow_lost_leases_total", "by" => "exit").increment(held.len() as u64);
        }
        held.len()
    }

    /// Puts back in line, without burning an attempt, whatever is held in this engine's name, by whichever process. For
    /// the end of the process that serves the others.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn release_all(&self) -> Result<usize, EngineError> {
        let _alone = self.inner.runs.claiming().await;
        let held = self.store().held(self.worker()).await?;
        let count = held.len();
        let ends = held.into_iter().map(|at| EndRun { at, end: End::Release }).collect();
        self.write_ends(ends).await?;
        Ok(count)
    }

    /// The runs that a worker has claimed of this engine, by the name that it gave, and not ended.
    pub fn held_by(&self, worker: &str) -> Vec<RunRef> {
        self.inner.runs.held_by(worker)
    }

    /// Jobs that killed three workers in a row and wait for a process of their own ([`LocalSettings::isolate`](super::LocalSettings)):
    /// whoever starts one has it claim with `suspects`.
    pub fn suspects(&self) -> watch::Receiver<Vec<Lease>> {
        self.inner.runs.suspects()
    }

    /// Refuses a process that is gone, or was never admitted. Remote workers need no admission: they have leases.
    pub(super) fn let_in(&self, request: &ClaimRequest) -> Result<(), EngineError> {
        match &request.worker {
            Some(name) if !self.inner.settings.leased && !self.inner.runs.is_admitted(name) => {
                Err(EngineError::WorkerDead)
            }
            _ => Ok(()),
        }
    }

    /// With the workload's part in those ends that end the job.
    async fn lose_all(&self, ends: Vec<EndRun>) -> Result<(), EngineError> {
        let parts = &self.inner.parts;
        let (now, ends) = (self.now(), Arc::new(ends));
        let written = end_lost(&parts.store, &parts.registry, parts.drop_tags.as_ref(), move |tx| {
            let ends = Arc::clone(&ends);
            Box::pin(async move {
                let closing = hot::end_runs(tx, &ends, now).await?;
                Ok((ends.iter().map(|end| end.at).collect(), closing))
            })
        });
        Ok(written.await.map(drop)?)
    }

    async fn lose(&self, runs: &[RunRef], why: &str) -> Result<(), EngineError> {
        let mut ends = Vec::with_capacity(runs.len());
        for run in runs {
            let served = self.served(*run).await?;
            let at = at(*run, &served);
            if self.inner.runs.is_alone(at) {
                let error = JobError::new(ErrorClass::Lost, "poison", why);
                self.bury(*run, &served, error).await?;
            } else {
                // Where nobody starts processes for suspects, the fourth loss in a row says it all.
                let poison_after = (!self.inner.settings.isolate).then_some(hot::REMOTE_POISON_AFTER);
                ends.push(EndRun { at, end: End::Lost { poison_after } });
            }
        }
        self.lose_all(ends).await?;
        for run in runs {
            let at = at(*run, &*self.served(*run).await?);
            self.inner.runs.forget(*run, at);
        }
        Ok(())
    }
}
