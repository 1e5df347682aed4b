//! The rescuer: finds dead workers and lapsed leases, and puts their runs back in line.
//!
//! It judges by what it sees itself: a counter (a worker's beats, a lease's renewals) that has stood still between its own
//! successful reads for so long by its own monotonic clock. No timestamp of another machine counts. A failed read, one
//! without an answer, and one that comes late start the observation anew, for then this process or its network may have
//! been asleep while the workers were not.

use std::future::Future;
use std::time::Duration;

use windrow_core::{SharedClock, WorkerId};
use windrow_engine::{WorkloadRegistry, end_lost};
use windrow_store::hot::{self, Closing, Ended, Observations, RunRef};
use windrow_store::{Store, StoreError};

use super::chore::{Chore, Next};
use super::{KeeperError, KeeperParts};

/// Buries workers whose beats stand still.
pub(super) struct Beats {
    store: Store,
    registry: WorkloadRegistry,
    clock: SharedClock,
    seen: Observations<WorkerId>,
    patience: Duration,
}

impl Beats {
    pub(super) fn new(parts: &KeeperParts) -> Self {
        let settings = &parts.settings;
        Self {
            store: parts.store.clone(),
            registry: parts.registry.clone(),
            clock: parts.clock.clone(),
            seen: Observations::new(settings.beat_lapse, settings.observe_every),
            patience: settings.beat_lapse,
        }
    }

    async fn bury(&self, worker: WorkerId, seen: i64) -> Result<(), StoreError> {
        if self.store.bury(worker, seen).await? {
            metrics::counter!("windrow_workers_buried_total").increment(1);
            tracing::warn!(worker = worker.0, "a worker's beats have stopped; it is taken for dead");
        }
        Ok(())
    }
}

impl Chore for Beats {
    const NAME: &'static str = "judge_beats";

    async fn turn(&mut self) -> Result<Next, KeeperError> {
        let at = self.clock.monotonic();
        let read = async { hot::live_beats(&mut self.store.db().aside().await?).await };
        let beats = answered(self.patience, read).await.inspect_err(|_| self.seen.failed())?;
        let lapsed = self.seen.read(&beats, at);
        for (worker, seen) in &lapsed {
            self.bury(*worker, *seen).await?;
        }
        if !lapsed.is_empty() {
            rescue_all(&self.store, &self.registry).await?;
        }
        Ok(Next::Usual)
    }
}

/// Ends runs of remote workers that no longer renew their leases.
pub(super) struct Leases {
    store: Store,
    registry: WorkloadRegistry,
    clock: SharedClock,
    seen: Observations<RunRef>,
    patience: Duration,
}

impl Leases {
    pub(super) fn new(parts: &KeeperParts) -> Self {
        let settings = &parts.settings;
        Self {
            store: parts.store.clone(),
            registry: parts.registry.clone(),
            clock: parts.clock.clone(),
            seen: Observations::new(settings.lease_lapse, settings.observe_every),
            patience: settings.lease_lapse,
        }
    }
}

impl Chore for Leases {
    const NAME: &'static str = "judge_leases";

    async fn turn(&mut self) -> Result<Next, KeeperError> {
        let at = self.clock.monotonic();
        let read = async { hot::leases(&mut self.store.read().await?).await };
        let leases = answered(self.patience, read).await.inspect_err(|_| self.seen.failed())?;
        let lapsed = self.seen.read(&leases, at);
        for lease in lapsed {
            let now = self.store.now();
            let lapsing = end_lost(&self.store, &self.registry, None, move |tx| {
                Box::pin(async move {
                    let closing = hot::lapse(tx, lease, now).await?;
                    Ok((closing.ended.iter().map(|_| lease.0).collect(), closing))
                })
            });
            let (_, closing) = lapsing.await?;
            let lost = count_ended(&closing);
            if lost > 0 {
                count_lost("lease", lost);
                let (job, run) = (lease.0.job.0, lease.0.run.0);
                tracing::warn!(job, run, "a lease was not renewed in time; its run counts as lost");
            }
        }
        Ok(Next::Usual)
    }
}

/// Puts back in line what dead workers hold, whoever found them dead: another rescuer may have died between the burial
/// and the rescue, and a claim may commit after its worker's death.
pub(super) struct Rescuer {
    store: Store,
    registry: WorkloadRegistry,
}

impl Rescuer {
    pub(super) fn new(parts: &KeeperParts) -> Self {
        Self { store: parts.store.clone(), registry: parts.registry.clone() }
    }
}

impl Chore for Rescuer {
    const NAME: &'static str = "rescue";

    async fn turn(&mut self) -> Result<Next, KeeperError> {
        rescue_all(&self.store, &self.registry).await?;
        Ok(Next::Usual)
    }
}

/// Ends all runs of dead workers, at most 500 a transaction, until none is found; gives how many there were.
pub(super) async fn rescue_all(store: &Store, registry: &WorkloadRegistry) -> Result<usize, StoreError> {
    let mut lost = 0;
    loop {
        let now = store.now();
        let rescuing = end_lost(store, registry, None, move |tx| {
            Box::pin(async move {
                let rescued = hot::rescue(tx, now).await?;
                Ok((rescued.runs, rescued.closing))
            })
        });
        let (runs, closing) = rescuing.await?;
        let ended = count_ended(&closing);
        if ended > 0 {
            count_lost("worker", ended);
            tracing::warn!(runs = ended, "runs of dead workers were put back in line");
        }
        lost += ended;
        if runs.is_empty() {
            return Ok(lost);
        }
    }
}

fn count_ended(closing: &Closing) -> usize {
    closing.ended.iter().filter(|ended| matches!(ended, Ended::Ended(_))).count()
}

/// Shows lost leases as none yet: a counter is unknown until it is first counted, and an alert on what is unknown is silent.
pub(super) fn count_from_zero() {
    ["worker", "lease"].into_iter().for_each(|by| count_lost(by, 0));
}

fn count_lost(by: &'static str, runs: usize) {
    metrics::counter!("windrow_lost_leases_total", "by" => by).increment(runs as u64);
}

/// A read that hangs, as on a network that swallows packets, is a failed one.
async fn answered<T>(
    patience: Duration,
    read: impl Future<Output = Result<T, StoreError>> + Send,
) -> Result<T, KeeperError> {
    match tokio::time::timeout(patience, read).await {
        Ok(read) => Ok(read?),
        Err(_) => Err(KeeperError::NoAnswer(patience)),
    }
}
