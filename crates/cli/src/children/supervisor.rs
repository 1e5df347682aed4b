//! Keeps so many children running, starts one for each suspect, and takes back at once what a dead one held.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use windrow_core::SharedClock;
use windrow_engine::{Departure, LocalEngine};
use windrow_runtime::sweep_scratch;

use super::process::{ChildCommand, ChildProcess, Exit};
use super::share::Share;

/// How long to wait before a child is started again; it doubles while children don't live as long as [`SETTLED`].
const RESTART_FIRST: Duration = Duration::from_millis(50);
const RESTART_LONGEST: Duration = Duration::from_secs(10);

/// A child that lived so long did not die of its start.
const SETTLED: Duration = Duration::from_secs(1);

/// What a supervisor stands on.
pub(crate) struct SupervisorParts {
    /// The engine behind the socket that children speak to.
    pub(crate) engine: LocalEngine,
    pub(crate) command: ChildCommand,
    pub(crate) clock: SharedClock,
    /// Where workers keep their runs' directories.
    pub(crate) scratch: PathBuf,
    /// How many children to keep; 0 starts them for suspects only.
    pub(crate) processes: u32,
    /// The most suspects at once, each alone in its process.
    pub(crate) suspects: u32,
}

/// The parent's side of its children. Dropped, it kills them.
pub(crate) struct Supervisor {
    inner: Arc<Inner>,
    tasks: TaskTracker,
}

struct Inner {
    parts: SupervisorParts,
    started: AtomicU64,
    alive: Mutex<BTreeSet<u32>>,
    /// Cancelled when no child may be started any more and all are told to stop, within the grace.
    stopping: CancellationToken,
    grace: Mutex<Duration>,
    /// Cancelled when the grace is over.
    overdue: CancellationToken,
}

impl Supervisor {
    /// Starts the children.
    pub(crate) fn start(parts: SupervisorParts) -> Self {
        let inner = Arc::new(Inner {
            parts,
            started: AtomicU64::new(0),
            alive: Mutex::default(),
            stopping: CancellationToken::new(),
            grace: Mutex::default(),
            overdue: CancellationToken::new(),
        });
        let tasks = TaskTracker::new();
        for place in 0..inner.parts.processes {
            let share = Share::new(place, inner.parts.processes);
            // Here and not in the task, so that their ids are known when this returns.
            let first = inner.begin(share, false);
            tasks.spawn(Arc::clone(&inner).keep_one(share, first));
        }
        tasks.spawn(Arc::clone(&inner).keep_suspects(tasks.clone()));
        Self { inner, tasks }
    }

    /// The process ids of the children that live.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.inner.alive().iter().copied().collect()
    }

    /// Lets the children's runs reach their next checkpoint, and returns when all children are gone, at the end of `grace` at
    /// the latest. What those held that had to be killed is still held in the engine's name.
    pub(crate) async fn drain(self, grace: Duration) {
        *self.inner.grace.lock().unwrap_or_else(PoisonError::into_inner) = grace;
        self.inner.stopping.cancel();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            self.inner.overdue.cancel();
            self.tasks.wait().await;
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.inner.stopping.cancel();
        self.inner.overdue.cancel();
    }
}

impl Inner {
    /// One place among the workers, for ever.
    async fn keep_one(self: Arc<Self>, share: Share, mut child: anyhow::Result<ChildProcess>) {
        let mut wait = RESTART_FIRST;
        loop {
            let began = self.parts.clock.monotonic();
            match child {
                Ok(child) => self.watch(child).await,
                Err(error) => tracing::error!("{error:#}"),
            }
            if self.parts.clock.monotonic().saturating_sub(began) >= SETTLED {
                wait = RESTART_FIRST;
            }
            if self.rested(wait).await.is_none() {
                return;
            }
            wait = (wait * 2).min(RESTART_LONGEST);
            child = self.begin(share, false);
        }
    }

    /// A process of its own for each job that waits for one.
    async fn keep_suspects(self: Arc<Self>, tasks: TaskTracker) {
        let room = Arc::new(Semaphore::new(self.parts.suspects.max(1) as usize));
        // Beside those that share all there is.
        let share = Share::new(self.parts.processes, self.parts.processes);
        let mut suspects = self.parts.engine.suspects();
        let mut wait = RESTART_FIRST;
        loop {
            let waiting = async {
                let place = Arc::clone(&room).acquire_owned().await.ok()?;
                let first = suspects.wait_for(|list| !list.is_empty()).await.ok()?[0].run;
                Some((place, first))
            };
            let found = tokio::select! {
                found = waiting => found,
                () = self.stopping.cancelled() => None,
            };
            let Some((place, run)) = found else { return };
            tracing::warn!(job_id = %run.job, "a job was lost three times in a row; it runs alone in a process");
            let taken =
                async { suspects.wait_for(|list| list.iter().all(|lease| lease.run != run)).await.is_ok() };
            let taken = match self.begin(share, true) {
                Ok(child) => {
                    let watched = tasks.spawn(Arc::clone(&self).watch_in(place, child));
                    tokio::select! {
                        taken = taken => taken,
                        // It ended before it took the job.
                        _ = watched => false,
                    }
                }
                Err(error) => {
                    tracing::error!("{error:#}");
                    false
                }
            };
            if taken {
                wait = RESTART_FIRST;
                continue;
            }
            if self.rested(wait).await.is_none() {
                return;
            }
            wait = (wait * 2).min(RESTART_LONGEST);
        }
    }

    async fn watch_in(self: Arc<Self>, _place: OwnedSemaphorePermit, child: ChildProcess) {
        self.watch(child).await;
    }

    /// None when this process stops.
    async fn rested(&self, pause: Duration) -> Option<()> {
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => None,
            () = tokio::time::sleep(pause) => Some(()),
        }
    }

    fn begin(&self, share: Share, suspect: bool) -> anyhow::Result<ChildProcess> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let name = format!("child {number} of process {}", std::process::id());
        // Before it can ask for work.
        self.parts.engine.admit(&name);
        let child = self.parts.command.start(name.clone(), share, suspect);
        let child = child.inspect_err(|_| self.parts.engine.turn_away(&name))?;
        tracing::info!(pid = child.pid, suspect, "started a worker process");
        self.alive().insert(child.pid);
        Ok(child)
    }

    /// Until it has ended and what it held is back in line.
    async fn watch(&self, mut child: ChildProcess) {
        let mut killed = false;
        let exit = tokio::select! {
            exit = child.reaped() => exit,
            () = self.stopping.cancelled() => {
                // A tenth stays for what is done here after the children.
                let grace = *self.grace.lock().unwrap_or_else(PoisonError::into_inner);
                child.drain(grace - grace / 10).await;
                tokio::select! {
                    exit = child.reaped() => exit,
                    () = self.overdue.cancelled() => {
                        killed = true;
                        child.kill();
                        child.reaped().await
                    }
                }
            }
        };
        self.alive().remove(&child.pid);
        let exit =
            exit.inspect_err(|error| tracing::error!(%error, "a worker process can't be waited for")).ok();
        // What was killed here is not to blame; it is given back with the rest.
        if !killed {
            let why = exit.as_ref().map_or_else(|| "its process is gone".to_owned(), ToString::to_string);
            // In a process that was told to stop, a run that could not be given back in time did nothing wrong. One that
            // ends by itself has reported its runs before; what it holds still died with it, whatever its exit status says.
            let in_order = self.stopping.is_cancelled();
            let departure = if in_order { Departure::InOrder } else { Departure::Died(&why) };
            let lost = tokio::select! {
                lost = self.parts.engine.dismiss(&child.name, departure) => lost,
                // The database may stay away for longer than the grace: what is left is given back with the rest.
                () = self.overdue.cancelled() => 0,
            };
            if exit.as_ref().is_some_and(Exit::is_success) && (in_order || lost == 0) {
                tracing::info!(pid = child.pid, lost, "a worker process has ended");
            } else {
                metrics::counter!("windrow_worker_exits_total").increment(1);
                tracing::warn!(pid = child.pid, lost, "a worker process died: {why}");
            }
        }
        let scratch = self.parts.scratch.clone();
        let swept = tokio::task::spawn_blocking(move || sweep_scratch(&scratch)).await;
        if let Ok(Err(error)) = swept {
            tracing::warn!(%error, "dead workers' directories can't be looked for");
        }
    }

    fn alive(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
