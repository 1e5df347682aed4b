//! Keeps so many children running, starts one for each suspect, and takes back at once what a dead one held.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use windrow_core::SharedClock;
use windrow_engine::{Backoff, Departure, LocalEngine};
use windrow_runtime::sweep_scratch;

use super::process::{ChildCommand, ChildProcess, Exit};
use super::share::Share;

/// How long to wait before a child is started again; it doubles while children don't live as long as [`SETTLED`].
const RESTART: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));

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
        tasks.spawn(Arc::clone(&inner).keep_suspects());
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
        let mut backoff = RESTART;
        loop {
            let began = self.parts.clock.monotonic();
            match child {
                Ok(child) => self.watch(child).await,
                Err(error) => tracing::error!("{error:#}"),
            }
            if self.parts.clock.monotonic().saturating_sub(began) >= SETTLED {
                backoff.reset();
            }
            if self.rested(backoff.wait()).await.is_none() {
                return;
            }
            child = self.begin(share, false);
        }
    }

    /// A process of its own for each job that waits for one, one job at a time: it may ask of the models what a child may,
    /// beside the children, and more than one such share too much would be a limit that nobody keeps.
    async fn keep_suspects(self: Arc<Self>) {
        let share = Share::new(self.parts.processes, self.parts.processes);
        let mut suspects = self.parts.engine.suspects();
        let mut backoff = RESTART;
        loop {
            let found = tokio::select! {
                found = suspects.wait_for(|list| !list.is_empty()) => found.ok().map(|list| list[0].run),
                () = self.stopping.cancelled() => None,
            };
            let Some(run) = found else { return };
            tracing::warn!(job_id = %run.job, "a job was lost three times in a row; it runs alone in a process");
            match self.begin(share, true) {
                Ok(child) => self.watch(child).await,
                Err(error) => tracing::error!("{error:#}"),
            }
            if suspects.borrow().iter().all(|lease| lease.run != run) {
                backoff.reset();
                continue;
            }
            // It ended before it took the job.
            if self.rested(backoff.wait()).await.is_none() {
                return;
            }
        }
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use windrow_config::{Config, Input};
    use windrow_core::{JobId, OwnerId};
    use windrow_engine::{ClaimRequest, Engine as _, LocalSettings};
    use windrow_store::hot::NewJob;

    use super::*;
    use crate::compose::{Migrations, Platform};
    use crate::engines;

    /// An engine for runs of others, with two jobs that three workers died of.
    async fn two_suspects(dir: &Path) -> (Platform, LocalEngine) {
        let file = dir.join("windrow.toml");
        fs::write(&file, "[workloads.shout]\nspec_schema = '{}'\n").unwrap();
        let data = dir.join("data").display().to_string();
        let input = Input::from_env([("APP_ENV", "local"), ("WINDROW_DATA_DIR", &data)]).with_file(&file);
        let config = Config::load(&input).unwrap();
        let url = "http://127.0.0.1:1".parse().unwrap();
        let platform = Platform::open(config, url, "a test", Migrations::Apply).await.unwrap();
        let settings = LocalSettings { leased: true, isolate: true, ..LocalSettings::default() };
        let engine = LocalEngine::register(engines::local_parts(&platform), settings).await.unwrap();
        let job = || {
            let now = platform.clock.now();
            NewJob::plain(JobId::new(&*platform.clock), OwnerId(1), "shout", now)
        };
        platform.store.submit(vec![job(), job()]).await.unwrap();
        for left in [2, 2, 2, 0] {
            let request = ClaimRequest { slots: 2, worker: Some("w".to_owned()), ..ClaimRequest::default() };
            assert_eq!(engine.claim(&request).await.unwrap().len(), left);
            engine.dismiss("w", Departure::Died("it fell")).await;
        }
        assert_eq!(engine.suspects().borrow().len(), 2);
        (platform, engine)
    }

    async fn until(holds: impl Fn() -> bool) {
        let wait = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect("it comes to that");
    }

    #[tokio::test]
    async fn suspects_run_one_after_another() {
        let dir = tempfile::tempdir().unwrap();
        let (platform, engine) = two_suspects(dir.path()).await;
        let (log, go) = (dir.path().join("log"), dir.path().join("go"));
        let program = dir.path().join("child");
        let text = format!(
            "#!/bin/sh\necho begin >> {0}\nwhile ! rm {1} 2> /dev/null; do sleep 0.01; done\necho end >> {0}\n",
            log.display(),
            go.display()
        );
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        let supervisor = Supervisor::start(SupervisorParts {
            engine: engine.clone(),
            command: ChildCommand::of(program),
            clock: platform.clock.clone(),
            scratch: dir.path().join("scratch"),
            processes: 0,
        });
        let lines =
            || fs::read_to_string(&log).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
        for number in 0..2 {
            until(|| lines().len() == 2 * number + 1).await;
            let request = ClaimRequest {
                slots: 1,
                suspects: true,
                worker: Some(format!("child {number} of process {}", std::process::id())),
                ..ClaimRequest::default()
            };
            assert_eq!(engine.claim(&request).await.unwrap().len(), 1);
            // time for a second one to begin, which it must not
            tokio::time::sleep(Duration::from_millis(100)).await;
            fs::write(&go, "").unwrap();
            until(|| lines().len() > 2 * number + 1).await;
        }
        assert_eq!(lines(), ["begin", "end", "begin", "end"]);
        drop(supervisor);
        platform.close().await;
    }
}
