//! A worker process's running part.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use windrow_engine::{Engine, EngineError, RunServices, Stop, WorkloadRegistry};

use crate::board::Board;
use crate::claimer::{Claimer, Pace};
use crate::executor::Executor;
use crate::scratch::Scratch;
use crate::{WorkerSettings, beater, sweep_scratch, watcher};

/// The last part of the grace is for giving back what did not come back by itself.
const RELEASE_SHARE: u32 = 10;

/// Runs jobs. See [`Worker::start`].
#[derive(Debug)]
pub struct Worker;

/// A running worker. Dropping it without [`WorkerHandle::drain`] leaves its runs to be rescued.
pub struct WorkerHandle {
    board: Arc<Board>,
    runs: TaskTracker,
    closing: CancellationToken,
    done: CancellationToken,
    claimer: Option<JoinHandle<Result<(), EngineError>>>,
    poller: JoinHandle<()>,
    watcher: JoinHandle<()>,
    beater: Option<thread::JoinHandle<()>>,
    executor: Arc<Executor>,
}

/// How a drain went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Runs that did not come back in time and were given back.
    pub given_back: usize,
    /// Runs that could not even be given back; they will count as lost.
    pub left_behind: usize,
}

impl Worker {
    /// Starts claiming and running on the current tokio runtime.
    ///
    /// # Errors
    /// When the scratch directory can't be made or the beating thread can't be started.
    pub fn start(
        services: RunServices,
        registry: WorkloadRegistry,
        mut settings: WorkerSettings,
    ) -> std::io::Result<WorkerHandle> {
        if settings.workloads.is_empty() {
            let ours = |name: &&str| registry.get(name).is_some_and(|workload| !workload.is_remote());
            settings.workloads = registry.names().filter(ours).map(str::to_owned).collect();
        }
        let scratch = Scratch::make(&settings.scratch)?;
        sweep_scratch(&settings.scratch)?;
        let board = Arc::new(Board::default());
        let (closing, done) = (CancellationToken::new(), CancellationToken::new());
        let engine = Arc::clone(&services.engine);
        let beater = beater::start(engine.beater(), Arc::clone(&board), settings.beat_every, done.clone())?;
        let poller = tokio::spawn(poll_stops(engine, Arc::clone(&board), settings.stop_poll, done.clone()));
        let executor =
            Arc::new(Executor { services, registry, settings, board: Arc::clone(&board), scratch });
        let runs = TaskTracker::new();
        let watcher = tokio::spawn(watcher::watch(Arc::clone(&executor), runs.clone(), done.clone()));
        let claimer = Claimer {
            executor: Arc::clone(&executor),
            runs: runs.clone(),
            closing: closing.clone(),
            pace: Arc::new(Pace::default()),
        };
        let claimer = Some(tokio::spawn(claimer.work()));
        Ok(WorkerHandle {
            board,
            runs,
            closing,
            done,
            claimer,
            poller,
            watcher,
            beater: Some(beater),
            executor,
        })
    }
}

impl WorkerHandle {
    /// How many runs the worker holds.
    pub fn held(&self) -> usize {
        self.board.len()
    }

    /// Resolves when a worker for one suspect ([`WorkerSettings::suspect`]) has ended its run, or found none.
    pub async fn ended(&mut self) {
        if let Some(claimer) = &mut self.claimer {
            let _panic_was_logged = claimer.await;
            self.claimer = None;
        }
        self.runs.close();
        self.runs.wait().await;
    }

    /// Resolves when the engine lets this worker in no more, and says why. What it runs is lost then: [`WorkerHandle::abort`] it.
    pub async fn turned_away(&mut self) -> String {
        if let Some(claimer) = &mut self.claimer {
            let claimed = claimer.await;
            self.claimer = None;
            if let Ok(Err(EngineError::TurnedAway(why))) = claimed {
                return why;
            }
        }
        std::future::pending().await
    }

    /// Claims nothing more, lets runs reach their next checkpoint, gives back the rest without burning an attempt, all
    /// within `grace`.
    pub async fn drain(mut self, grace: Duration) -> Drained {
        let started = self.executor.services.clock.monotonic();
        self.closing.cancel();
        self.runs.close();
        self.board.stop_all(Stop::Draining);
        let patience = grace - grace / RELEASE_SHARE;
        let came_back = tokio::time::timeout(patience, async {
            if let Some(claimer) = self.claimer.take() {
                let _panic_was_logged = claimer.await;
            }
            // What the last claim brought was added after the stop; what it would have brought is nobody's.
            self.board.stop_all(Stop::Draining);
            if let Err(error) = self.executor.services.engine.release_others(&self.board.held()).await {
                tracing::warn!(%error, "a claim that was given up may have left runs to be rescued");
            }
            self.runs.wait().await;
        });
        let mut drained = Drained { given_back: 0, left_behind: 0 };
        if came_back.await.is_err() {
            drained = self.give_back(grace / RELEASE_SHARE).await;
        }
        self.stop();
        let took = self.executor.services.clock.monotonic().saturating_sub(started);
        tracing::info!(
            ?took,
            given_back = drained.given_back,
            left_behind = drained.left_behind,
            "the worker is drained"
        );
        drained
    }

    async fn give_back(&self, patience: Duration) -> Drained {
        let late = self.board.held();
        let released = late.iter().map(|run| async {
            self.executor.services.engine.end(*run, windrow_engine::RunEnd::Released).await.is_ok()
        });
        let released = tokio::time::timeout(patience, futures::future::join_all(released)).await;
        let given_back = released.unwrap_or_default().into_iter().filter(|done| *done).count();
        Drained { given_back, left_behind: late.len() - given_back }
    }

    /// Stops at once: what runs is left to be rescued.
    pub fn abort(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        self.closing.cancel();
        self.done.cancel();
        self.board.stop_all(Stop::LeaseLost);
        if let Some(claimer) = self.claimer.take() {
            claimer.abort();
        }
        self.poller.abort();
        self.watcher.abort();
        if let Some(beater) = self.beater.take() {
            // It ends within a tick; nobody needs to wait for it.
            drop(beater);
        }
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Asks for stop orders more often than beats are due: a cancel arrives within a second.
async fn poll_stops(engine: Arc<dyn Engine>, board: Arc<Board>, every: Duration, done: CancellationToken) {
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut cancels = engine.cancels();
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = moved(cancels.as_mut()) => {}
            () = done.cancelled() => return,
        }
        let held = board.held();
        if held.is_empty() {
            continue;
        }
        match engine.stops(&held).await {
            Ok(reply) => board.obey(&reply.stop),
            Err(error) => tracing::warn!(%error, "stop orders could not be asked for"),
        }
    }
}

/// Never resolves where nobody tells of cancels.
async fn moved(counter: Option<&mut tokio::sync::watch::Receiver<u64>>) {
    if let Some(counter) = counter
        && counter.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}
