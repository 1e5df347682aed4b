//! One run from its lease to its end.

use std::any::Any;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tracing::Instrument as _;
use windrow_core::JobError;
use windrow_engine::{
    Backoff, EndReply, EngineError, JobContext, Lease, Outcome, RunEnd, RunError, RunRef, RunServices, Stop,
    StopSignal, Workload, WorkloadRegistry, spans,
};

use crate::WorkerSettings;
use crate::board::Board;
use crate::scratch::Scratch;

/// What all runs of a worker need.
pub(crate) struct Executor {
    pub(crate) services: RunServices,
    pub(crate) registry: WorkloadRegistry,
    pub(crate) settings: WorkerSettings,
    pub(crate) board: Arc<Board>,
    /// A directory of this process's own below which runs have theirs.
    pub(crate) scratch: Scratch,
}

impl Executor {
    /// Runs a lease that stands on the board, and takes it off.
    pub(crate) async fn execute(&self, lease: Lease, stop: StopSignal) {
        let run = lease.run;
        let span = tracing::info_span!(
            "run",
            job_id = %run.job,
            run = run.run.0,
            workload = lease.workload,
            request_id = lease.request_id,
            trace_id = lease.traceparent.map(|parent| parent.trace_id()),
        );
        spans::join(&span, lease.traceparent);
        let work = async {
            let started = self.services.clock.monotonic();
            let workload = lease.workload.clone();
            tracing::debug!("the run starts");
            if let Some(end) = self.run(lease, &stop).await {
                self.end(run, end, &stop, &workload).await;
            } else {
                count(&workload, "dropped");
                tracing::info!("the lease is gone; the run's output is thrown away");
            }
            let took = self.services.clock.monotonic().saturating_sub(started);
            metrics::histogram!("windrow_run_seconds", "workload" => workload).record(took);
        };
        work.instrument(span).await;
        self.board.remove(run);
    }

    /// Gives a lease back without running it.
    pub(crate) async fn release(&self, lease: &Lease, stop: &StopSignal) {
        self.end(lease.run, RunEnd::Released, stop, &lease.workload).await;
        self.board.remove(lease.run);
    }

    /// None when nothing may be written any more.
    async fn run(&self, lease: Lease, stop: &StopSignal) -> Option<RunEnd> {
        let Some(workload) = self.registry.get(&lease.workload).map(Arc::clone) else {
            let problem = format!("this worker does not know the workload {:?}", lease.workload);
            return Some(RunEnd::Failed { error: JobError::transient("unknown_workload", problem) });
        };
        let scratch = self.scratch.path().join(lease.run.to_string());
        let context = JobContext::new(self.services.clone(), lease, stop.clone(), scratch.clone());
        let outcome = self.watch(workload, context.clone(), stop).await;
        // most runs have none, and asking the file system about each would cost more than a short run
        if context.has_scratch()
            && let Err(error) = remove(&scratch).await
        {
            tracing::warn!(%error, path = %scratch.display(), "the run's directory could not be removed");
        }
        let end = run_end(outcome)?;
        // What the calls cost goes before the end, so that the job's cost is whole when it ends.
        match context.settle_all().await {
            Ok(()) => Some(end),
            Err(RunError::Stopped(Stop::LeaseLost)) => None,
            Err(error) => {
                tracing::error!(%error, "calls of this run could not be settled");
                Some(end)
            }
        }
    }

    /// Lets the handler work until it comes back, panics, runs out of time, or does not come back when told to.
    async fn watch(
        &self,
        workload: Arc<dyn Workload>,
        context: JobContext,
        stop: &StopSignal,
    ) -> Result<Outcome, RunError> {
        let lease = context.lease();
        let input = lease.input.clone();
        let handler_context = context.clone();
        // A task of its own: its panic is caught, and it can be left behind when it does not come back.
        let work = async move { workload.run(handler_context, input).await };
        let mut handler = Handler(tokio::spawn(work.in_current_span()));
        let started = self.services.clock.monotonic();
        let mut told_at = None;
        // not at once: most short runs are over before the first look
        let every = self.settings.watch_every;
        let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                done = &mut handler.0 => return done.unwrap_or_else(|error| Err(panicked(error).into())),
                _ = tick.tick() => {}
            }
            let now = self.services.clock.monotonic();
            if let Some(why) = stop.get()
                && why.is_hard()
            {
                let told_at = *told_at.get_or_insert(now);
                if now.saturating_sub(told_at) >= self.settings.stop_grace {
                    return Err(RunError::Stopped(why));
                }
            }
            if now.saturating_sub(started) >= lease.deadline() {
                let problem = format!("the run took longer than its deadline of {} ms", lease.deadline_ms);
                return Err(JobError::transient("deadline_exceeded", problem).into());
            }
            if context.idle() >= lease.stall() {
                let problem = format!("the run made no progress for {} ms", lease.stall_ms);
                return Err(JobError::transient("stalled", problem).into());
            }
        }
    }

    /// Insists until the engine has taken the end, or the lease is gone.
    async fn end(&self, run: RunRef, end: RunEnd, stop: &StopSignal, workload: &str) {
        let mut backoff = Backoff::of_engine();
        loop {
            match self.services.engine.end(run, end.clone()).await {
                Ok(EndReply::Recorded { status }) => {
                    count(workload, outcome(&end));
                    log_end(&end, status);
                    return;
                }
                Ok(EndReply::Stale) | Err(EngineError::Stale | EngineError::WorkerDead) => {
                    count(workload, "stale");
                    tracing::warn!("the run had lost its lease before it ended");
                    return;
                }
                Err(EngineError::Unavailable(why)) if stop.get() != Some(Stop::LeaseLost) => {
                    tracing::warn!(why, "the run's end is sent again");
                    backoff.rest().await;
                }
                // Nobody hears it; whoever claims says why.
                Err(EngineError::TurnedAway(_)) => return count(workload, "dropped"),
                Err(error) => {
                    count(workload, "stuck");
                    tracing::error!(%error, "the run's end was refused; the run will count as lost");
                    return;
                }
            }
        }
    }
}

/// A handler's task, stopped when nobody waits for it any more.
struct Handler(JoinHandle<Result<Outcome, RunError>>);

impl Drop for Handler {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How the run ends in the engine's words; none when its writes count for nothing.
fn run_end(outcome: Result<Outcome, RunError>) -> Option<RunEnd> {
    Some(match outcome {
        Ok(Outcome::Done(output)) => RunEnd::Done { output },
        Ok(Outcome::Partial(output)) => RunEnd::Partial { output },
        Ok(Outcome::Await) => RunEnd::Await,
        Err(RunError::Failed(error)) => RunEnd::Failed { error },
        Err(RunError::Stopped(Stop::LeaseLost)) => return None,
        Err(RunError::Stopped(Stop::Draining)) => RunEnd::Released,
        Err(RunError::Stopped(Stop::Cancelled)) => RunEnd::Failed { error: JobError::cancelled() },
        Err(RunError::Stopped(Stop::BudgetExceeded)) => {
            RunEnd::Failed { error: JobError::budget("the budget has no room for the next call") }
        }
    })
}

fn panicked(error: tokio::task::JoinError) -> JobError {
    let message = match error.try_into_panic() {
        Ok(panic) => panic_message(&*panic),
        Err(_) => return JobError::transient("aborted", "the run was aborted as the process went down"),
    };
    JobError::transient("panicked", format!("the handler panicked: {message}"))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "(no message)".to_owned())
}

async fn remove(directory: &std::path::Path) -> std::io::Result<()> {
    match tokio::fs::remove_dir_all(directory).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn outcome(end: &RunEnd) -> &'static str {
    match end {
        RunEnd::Done { .. } => "completed",
        RunEnd::Partial { .. } => "budget_exceeded",
        RunEnd::Await => "awaited",
        RunEnd::Failed { .. } => "failed",
        RunEnd::Released => "released",
    }
}

fn log_end(end: &RunEnd, status: windrow_core::JobStatus) {
    match end {
        RunEnd::Failed { error } => tracing::warn!(%status, %error, class = %error.class, "the run failed"),
        end => tracing::debug!(%status, outcome = outcome(end), "the run ended"),
    }
}

fn count(workload: &str, outcome: &'static str) {
    metrics::counter!("windrow_runs_total", "workload" => workload.to_owned(), "outcome" => outcome)
        .increment(1);
}
