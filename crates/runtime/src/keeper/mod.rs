//! What keeps a database in order beside the workers: due jobs become claimable, trees are stopped, dead workers' runs go
//! back in line, what is old or unused goes away, and how the queue stands is measured.
//!
//! Each duty is a task of its own ([`chore`]): its failures are logged, counted (`windrow_keeper_failures_total`) and
//! tried again, and never end it. All duties may go on in several processes at once: each of them either locks what it
//! changes or does the same whoever does it.

mod chore;
mod rescue;
mod retake;
mod schedule;
mod settings;
mod stop;

pub use retake::{Retaken, retake};
pub use settings::KeeperSettings;

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
    pub fn start(parts: KeeperParts) -> KeeperHandle {
        let handle = KeeperHandle { done: CancellationToken::new(), tasks: TaskTracker::new() };
        let KeeperParts { store, settings, .. } = &parts;
        let wakes = store.wakes();

        let poll = Rhythm::at_once(settings.poll);
        handle.spawn(schedule::Scheduler::new(&parts), poll.clone().woken_by(wakes.later()));
        handle.spawn(stop::Stopper::new(&parts), poll.woken_by(wakes.stopping()));

        let observe = Rhythm::at_once(settings.observe_every);
        if settings.judge_beats.unwrap_or(store.db().dialect() == Dialect::Postgres) {
            handle.spawn(rescue::Beats::new(&parts), observe.clone());
        }
        handle.spawn(rescue::Leases::new(&parts), observe.clone());
        handle.spawn(rescue::Rescuer::new(&parts), observe);
        handle.tasks.close();
        handle
    }
}

impl KeeperHandle {
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
    /// A workload would not remove what a failed job left.
    #[error("the workload {workload:?} could not discard rows of the job {job}: {error}")]
    Discard { workload: String, job: windrow_core::JobSeq, error: windrow_core::JobError },
    #[error("no answer within {0:?}")]
    NoAnswer(std::time::Duration),
}
