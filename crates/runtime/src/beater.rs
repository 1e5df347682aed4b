//! Keeps the worker alive from a thread that no job can block: it has a runtime and connections of its own.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use windrow_engine::{Beater, EngineError, Stop};

use crate::board::Board;

/// Keeps an engine alive whose runs are all in other processes. Dropped, it stops.
#[derive(Debug)]
pub struct Pulse {
    done: CancellationToken,
}

impl Pulse {
    /// Starts to beat, on a thread of its own. When the worker is declared dead it is registered anew; what its processes
    /// held is refused to them from then on.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn start(beater: Box<dyn Beater>) -> std::io::Result<Self> {
        let done = CancellationToken::new();
        start(beater, Arc::new(Board::default()), None, done.clone())?;
        Ok(Self { done })
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.done.cancel();
    }
}

/// Starts the thread; it ends when `done` is cancelled.
pub(crate) fn start(
    mut beater: Box<dyn Beater>,
    board: Arc<Board>,
    every: Option<Duration>,
    done: CancellationToken,
) -> std::io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("windrow-beat".to_owned()).spawn(move || {
        let every = every.unwrap_or_else(|| beater.every());
        runtime.block_on(async {
            let mut tick = tokio::time::interval(every);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = tick.tick() => {}
                    () = done.cancelled() => return,
                }
                tokio::select! {
                    () = beat(&mut *beater, &board) => {}
                    () = done.cancelled() => return,
                }
            }
        });
    })
}

async fn beat(beater: &mut dyn Beater, board: &Board) {
    let held = board.held();
    match beater.beat(&held).await {
        Ok(reply) => board.obey(&reply.stop),
        Err(EngineError::WorkerDead) => {
            tracing::error!("this worker was declared dead; its runs are thrown away");
            metrics::counter!("windrow_worker_deaths_total").increment(1);
            // not those that were claimed meanwhile, in the name of the worker that has taken its place
            board.stop(&held, Stop::LeaseLost);
        }
        Err(error @ EngineError::TurnedAway(_)) => {
            tracing::error!(%error, "this worker's runs are thrown away");
            board.stop_all(Stop::LeaseLost);
        }
        Err(error) => tracing::warn!(%error, "a beat did not get through"),
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use windrow_core::{JobId, RunNo, TestClock};
    use windrow_engine::{BeatReply, RunRef, StopSignal};

    use super::*;

    /// Dead at its first beat; what is claimed meanwhile is claimed in the name of its successor.
    struct Succeeded {
        board: Arc<Board>,
        claimed: RunRef,
        signal: Option<StopSignal>,
    }

    #[async_trait]
    impl Beater for Succeeded {
        fn every(&self) -> Duration {
            Duration::from_secs(5)
        }

        async fn beat(&mut self, _held: &[RunRef]) -> Result<BeatReply, EngineError> {
            self.signal = Some(self.board.add(self.claimed));
            Err(EngineError::WorkerDead)
        }
    }

    #[tokio::test]
    async fn a_dead_workers_runs_are_stopped_and_not_those_of_its_successor() {
        let clock = TestClock::shared();
        let run = |n| RunRef { job: JobId::new(&*clock), run: RunNo(n) };
        let board = Arc::new(Board::default());
        let lost = board.add(run(1));
        let mut beater = Succeeded { board: Arc::clone(&board), claimed: run(2), signal: None };
        beat(&mut beater, &board).await;
        assert_eq!(lost.get(), Some(Stop::LeaseLost));
        assert_eq!(beater.signal.expect("it has beaten").get(), None);
    }
}
