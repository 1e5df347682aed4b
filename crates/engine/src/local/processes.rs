//! Worker processes beside this one that work through its engine: who may claim, and what becomes of their runs when they
//! are gone. Nobody counts their beats, because whoever admitted them sees their end.

use tokio::sync::watch;
use windrow_api_types::worker::{ClaimRequest, Lease};
use windrow_core::{ErrorClass, JobError};
use windrow_store::hot::{self, End, EndRun};

use super::LocalEngine;
use super::counters::count_lost_with_process;
use super::runs::Holder;
use crate::{Backoff, EngineError, end_lost};

/// How a process left.
#[derive(Clone, Copy, Debug)]
pub enum Departure<'a> {
    /// As it was told to: what it did not get to is given back, and none of it is to blame.
    InOrder,
    /// Its runs are lost. A suspect that was alone in it is poison, and this (such as the exit status) stands in the dead
    /// letter.
    Died(&'a str),
}

impl LocalEngine {
    /// Lets a process claim under this name. False when the name is taken.
    pub fn admit(&self, worker: &str) -> bool {
        self.inner.runs.admit(worker)
    }

    /// A process that was admitted did not even start: it holds nothing.
    pub fn turn_away(&self, worker: &str) {
        self.inner.runs.shut_out(worker);
    }

    /// A process that was admitted is gone: it gets nothing more, and what it held is back in line at once. Insists while
    /// the database can't be reached, until the store is closed; given up before, what is left is still held in the
    /// engine's name ([`Self::release_all`]). Gives the number of its runs.
    pub async fn dismiss(&self, worker: &str, departure: Departure<'_>) -> usize {
        let mut left = {
            // After any claim that is under way, so that none is handed out from here on.
            let _alone = self.inner.runs.claiming().await;
            self.inner.runs.shut_out(worker);
            self.inner.runs.held_by(worker)
        };
        let count = left.len();
        let mut backoff = Backoff::of_engine();
        loop {
            left = self.take_back(left, departure).await;
            if left.is_empty() {
                break;
            }
            if self.store().is_closed() {
                tracing::warn!(
                    worker,
                    left = left.len(),
                    "the runs of a process that is gone are left to be retaken"
                );
                break;
            }
            tracing::warn!(
                worker,
                left = left.len(),
                "the runs of a process that is gone can't be taken back yet"
            );
            backoff.rest().await;
        }
        let taken = count - left.len();
        if taken > 0 && matches!(departure, Departure::Died(_)) {
            count_lost_with_process(taken as u64);
        }
        count
    }

    /// Puts back in line, without burning an attempt, whatever is held in this engine's name, by whichever process, and
    /// hands out nothing from then on. For the end of the process that serves the others.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn release_all(&self) -> Result<usize, EngineError> {
        let _alone = self.inner.runs.claiming().await;
        // Who works for this process may ask until it is gone; what was given out now, nobody would find.
        self.inner.runs.close();
        let held = self.store().held(self.worker()).await?;
        let count = held.len();
        let ends = held.into_iter().map(|at| EndRun { at, end: End::Release }).collect();
        self.write_ends(ends).await?;
        Ok(count)
    }

    /// Jobs that killed three workers in a row and wait for a process of their own ([`LocalSettings::isolate`](super::LocalSettings)):
    /// whoever starts one has it claim with `suspects`.
    pub fn suspects(&self) -> watch::Receiver<Vec<Lease>> {
        self.inner.runs.suspects()
    }

    /// Refuses everybody once this engine stops, and a process that is gone, or was never admitted. Remote workers need no admission: they have leases.
    pub(super) fn let_in(&self, request: &ClaimRequest) -> Result<(), EngineError> {
        if self.inner.runs.is_closed() {
            return Err(EngineError::Unavailable("the process that hands out jobs is stopping".to_owned()));
        }
        match &request.worker {
            Some(name) if !self.inner.settings.leased && !self.inner.runs.is_admitted(name) => {
                Err(EngineError::WorkerDead)
            }
            _ => Ok(()),
        }
    }

    /// Takes each run back, whatever becomes of the others. Gives those that are worth another try.
    async fn take_back(
        &self,
        held: Vec<(hot::RunRef, Holder)>,
        departure: Departure<'_>,
    ) -> Vec<(hot::RunRef, Holder)> {
        let mut left = Vec::new();
        for (at, holder) in held {
            let run = holder.run;
            let mut taken = match self.write_use(at).await {
                Ok(()) => self.take_back_one(at, &holder, departure).await,
                unwritten => unwritten,
            };
            if let Err(error @ (EngineError::Invalid(_) | EngineError::Job(_))) = &taken {
                // The worker in whose name it is held lives, so nobody else would find it: it goes without its workload's say.
                tracing::error!(%run, %error, "the run of a process that is gone ends without its workload");
                taken = self.write_ends(vec![EndRun { at, end: self.loss() }]).await.map(drop);
            }
            match taken {
                Err(error @ EngineError::Unavailable(_)) => {
                    tracing::debug!(%run, %error, "a run can't be taken back yet");
                    left.push((at, holder));
                    continue;
                }
                // Somebody else was faster.
                Ok(()) | Err(EngineError::Stale) => {}
                Err(error) => {
                    tracing::error!(%run, %error, "the run of a process that is gone can't be taken back");
                }
            }
            self.inner.runs.forget(run, at);
        }
        left
    }

    async fn take_back_one(
        &self,
        at: hot::RunRef,
        holder: &Holder,
        departure: Departure<'_>,
    ) -> Result<(), EngineError> {
        match departure {
            Departure::InOrder => self.write_ends(vec![EndRun { at, end: End::Release }]).await.map(drop),
            Departure::Died(why) if holder.alone => {
                let served = self.served(holder.run).await?;
                self.bury(holder.run, &served, JobError::new(ErrorClass::Lost, "poison", why)).await
            }
            Departure::Died(_) => self.lose(at).await,
        }
    }

    /// With the workload's part, where this ends the job.
    async fn lose(&self, at: hot::RunRef) -> Result<(), EngineError> {
        let parts = &self.inner.parts;
        let (now, end) = (self.now(), EndRun { at, end: self.loss() });
        let written = end_lost(&parts.store, &parts.registry, parts.drop_tags.as_ref(), move |tx| {
            let end = end.clone();
            Box::pin(async move { Ok((vec![at], hot::end_runs(tx, &[end], now).await?)) })
        });
        Ok(written.await.map(drop)?)
    }

    /// Where nobody starts processes for suspects, the fourth loss in a row says it all.
    fn loss(&self) -> End {
        End::Lost { poison_after: (!self.inner.settings.isolate).then_some(hot::REMOTE_POISON_AFTER) }
    }
}
