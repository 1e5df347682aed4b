//! What keeps a database in order beside the workers: due jobs become claimable, trees are stopped, dead workers' runs go
//! back in line, what is old or unused goes away, and how the queue stands is measured.
//!
//! Each duty is a task of its own ([`chore`]): its failures are logged, counted (`windrow_keeper_failures_total`) and
//! tried again, and never end it. All duties may go on in several processes at once: each of them either locks what it
//! changes or does the same whoever does it.

mod artifacts;
mod chore;
mod deliver;
mod integrity;
mod jobs;
mod ledger;
mod measure;
mod reconcile;
mod rescue;
mod retake;
mod schedule;
mod settings;
mod stop;
mod tables;
#[cfg(test)]
mod tests;
mod uploads;

pub use deliver::Deliver;
pub use retake::{Retaken, retake};
pub use settings::KeeperSettings;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use windrow_blob::{BlobStore, InstallationSalt};
use windrow_core::SharedClock;
use windrow_engine::WorkloadRegistry;
use windrow_store::{Dialect, Store};

use chore::{Chore, Rhythm, keep};

/// What a keeper stands on.
#[derive(Clone)]
pub struct KeeperParts {
    pub store: Store,
    pub blob: BlobStore,
    /// Tells this installation's objects from others' in the same storage.
    pub salt: InstallationSalt,
    pub clock: SharedClock,
    /// Whose workloads' leftovers are removed, and asked about objects that their own tables name.
    pub registry: WorkloadRegistry,
    /// Tells the outside what waits for it; none where somebody else does.
    pub deliver: Option<Arc<dyn Deliver>>,
    pub settings: KeeperSettings,
}

/// Keeps a database in order. See [`Keeper::start`].
#[derive(Debug)]
pub struct Keeper;

/// A running keeper. Dropping it without [`KeeperHandle::stop`] stops it too, without waiting.
#[derive(Debug)]
pub struct KeeperHandle {
    done: CancellationToken,
    tasks: TaskTracker,
}

impl Keeper {
    /// Starts all duties on the current tokio runtime. The process that owns an embedded database calls [`retake`]
    /// first.
    #[expect(clippy::needless_pass_by_value, reason = "the keeper takes its parts over, as a worker does")]
    pub fn start(parts: KeeperParts) -> KeeperHandle {
        let handle = KeeperHandle { done: CancellationToken::new(), tasks: TaskTracker::new() };
        let KeeperParts { store, settings, .. } = &parts;
        let wakes = store.wakes();

        let poll = Rhythm::at_once(settings.poll);
        if let Some(deliver) = &parts.deliver {
            handle.spawn(deliver::Deliveries(Arc::clone(deliver)), poll.clone());
        }
        handle.spawn(schedule::Scheduler::new(&parts), poll.clone().woken_by(wakes.later()));
        handle.spawn(stop::Stopper::new(&parts), poll.woken_by(wakes.stopping()));

        rescue::count_from_zero();
        let observe = Rhythm::at_once(settings.observe_every);
        if settings.judge_beats.unwrap_or(store.db().dialect() == Dialect::Postgres) {
            handle.spawn(rescue::Beats::new(&parts), observe.clone());
        }
        handle.spawn(rescue::Leases::new(&parts), observe.clone());
        handle.spawn(rescue::Rescuer::new(&parts), observe);

        handle.sweep(&parts);
        if store.db().dialect() == Dialect::Postgres {
            handle.spawn(tables::Vacuum::new(&parts), Rhythm::at_once(settings.vacuum_every));
        }
        handle
            .spawn(integrity::Integrity::new(&parts), Rhythm::later(integrity::FIRST, settings.check_every));
        handle.spawn(measure::Gauges::new(&parts), Rhythm::at_once(settings.measure_every));
        handle.tasks.close();
        handle
    }
}

impl KeeperHandle {
    /// What time ends.
    fn sweep(&self, parts: &KeeperParts) {
        let KeeperSettings { sweep_every, roll_up_every, reconcile_every, .. } = parts.settings;
        let sweep = Rhythm::later(sweep_every, sweep_every);
        self.spawn(uploads::Uploads::new(parts), sweep.clone());
        self.spawn(artifacts::Artifacts::new(parts), sweep.clone());
        self.spawn(jobs::Approvals::new(parts), sweep.clone());
        self.spawn(jobs::OldJobs::new(parts), sweep.clone());
        self.spawn(ledger::OldRows::new(parts), sweep.clone());
        self.spawn(tables::EndedLeases::new(parts), sweep);
        self.spawn(ledger::RollUps::new(parts), Rhythm::later(roll_up_every, roll_up_every));

        let reconcile = Rhythm::later(sweep_every, reconcile_every);
        self.spawn(ledger::OrphanedSums::new(parts), reconcile.clone());
        self.spawn(tables::EndedWorkers::new(parts), reconcile.clone());
        self.spawn(reconcile::Reconciler::new(parts), reconcile);
    }

    fn spawn(&self, chore: impl Chore, rhythm: Rhythm) {
        let done = self.done.clone();
        self.tasks.spawn(async move {
            // Dropped wherever it waits: what was asked of the store is done or not, as after a crash.
            tokio::select! {
                () = done.cancelled() => {}
                () = keep(chore, rhythm) => {}
            }
        });
    }

    /// Stops all duties and returns when none goes on.
    pub async fn stop(self) {
        self.done.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for KeeperHandle {
    fn drop(&mut self) {
        self.done.cancel();
    }
}

/// Why a duty could not be done this time.
#[derive(Debug, thiserror::Error)]
enum KeeperError {
    #[error(transparent)]
    Store(#[from] windrow_store::StoreError),
    #[error(transparent)]
    Blob(#[from] windrow_blob::BlobError),
    #[error("the workload {workload:?} could not {what}: {error}")]
    Workload { workload: String, what: &'static str, error: windrow_core::JobError },
    #[error("what waits for the outside could not be told: {0}")]
    Deliver(Box<dyn std::error::Error + Send + Sync>),
    #[error("no answer within {0:?}")]
    NoAnswer(std::time::Duration),
}

/// How many rows one transaction or page of a sweep takes.
const PAGE: u32 = 500;

fn is_full(rows: usize) -> bool {
    u32::try_from(rows).is_ok_and(|rows| rows >= PAGE)
}

/// Removes the object under a row's key.
async fn remove(blob: &BlobStore, key: &str) -> Result<(), KeeperError> {
    let key = key.parse().map_err(windrow_blob::BlobError::from)?;
    Ok(blob.delete(&key).await?)
}
