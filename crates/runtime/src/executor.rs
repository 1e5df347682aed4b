//! One run from its lease to its end.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tracing::Instrument as _;
use windrow_core::JobError;
use windrow_engine::{
    Backoff, EndReply, EngineError, JobContext, Lease, Outcome, RunEnd, RunError, RunRef, RunServices, Stop,
    StopSignal, WorkloadRegistry, spans,
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
        let span = tracing::info_span!(
            "run",
            job_id = %lease.run.job,
            run = lease.run.run.0,
            workload = lease.workload,
            request_id = lease.request_id,
            trace_id = lease.traceparent.map(|parent| parent.trace_id()),
        );
        spans::join(&span, lease.traceparent);
        self.work(lease, stop).instrument(span).await;
    }

    async fn work(&self, lease: Lease, stop: StopSignal) {
        let run = lease.run;
        let Some(workload) = self.registry.get(&lease.workload).map(Arc::clone) else {
            let problem = format!("this worker does not know the workload {:?}", lease.workload);
            let end = RunEnd::Failed { error: JobError::transient("unknown_workload", problem) };
            self.end(run, end, &stop, &lease.workload).await;
            return self.board.remove(run);
        };
        tracing::debug!("the run starts");
        let context =
            JobContext::new(self.services.clone(), lease, stop.clone(), Arc::clone(self.scratch.path()));
        let started = self.services.clock.monotonic();
        self.board.begin(context.clone(), started);
        let handler = workload.run(context.clone(), context.lease().input.clone());
        let outcome = AssertUnwindSafe(handler).catch_unwind().await;
        // Whoever left it behind meanwhile ends the run.
        if self.board.came_back(run) {
            let outcome = outcome.unwrap_or_else(|panic| Err(panicked(&*panic).into()));
            self.finish(&context, outcome, &stop, started).await;
        }
    }

    /// Gives a lease back without running it.
    pub(crate) async fn release(&self, lease: &Lease, stop: &StopSignal) {
        self.end(lease.run, RunEnd::Released, stop, &lease.workload).await;
        self.board.remove(lease.run);
    }

    /// Settles a run and ends it as its outcome says, and takes it off the board.
    pub(crate) async fn finish(
        &self,
        context: &JobContext,
        outcome: Result<Outcome, RunError>,
        stop: &StopSignal,
        started: Duration,
    ) {
        let (run, workload) = (context.lease().run, &context.lease().workload);
        // most runs have none, and asking the file system about each would cost more than a short run
        if let Some(scratch) = context.used_scratch()
            && let Err(error) = remove(scratch).await
        {
            tracing::warn!(%error, path = %scratch.display(), "the run's directory could not be removed");
        }
        if let Some(end) = self.settled(context, outcome).await {
            self.end(run, end, stop, workload).await;
        } else {
            count(workload, "dropped");
            tracing::info!("the lease is gone; the run's output is thrown away");
        }
        let took = self.services.clock.monotonic().saturating_sub(started);
        metrics::histogram!("windrow_run_seconds", "workload" => workload.clone()).record(took);
        self.board.remove(run);
    }

    /// What the calls cost goes before the end, so that the job's cost is whole when it ends. None when nothing may be
    /// written any more.
    async fn settled(&self, context: &JobContext, outcome: Result<Outcome, RunError>) -> Option<RunEnd> {
        let end = run_end(outcome)?;
        match context.settle_all().await {
            Ok(()) => Some(end),
            Err(RunError::Stopped(Stop::LeaseLost)) => None,
            Err(error) => {
                tracing::error!(%error, "calls of this run could not be settled");
                Some(end)
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

fn panicked(panic: &(dyn Any + Send)) -> JobError {
    JobError::transient("panicked", format!("the handler panicked: {}", panic_message(panic)))
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
