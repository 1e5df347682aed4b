//! Handlers that take too long, do nothing, or do not come back when told to.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use windrow_core::JobError;
use windrow_engine::{RunError, Stop, StopSignal};

use crate::board::{Handled, LeftBehind};
use crate::executor::Executor;

/// Looks at all runs now and then, and ends those whose handlers are left behind. A handler that never yields keeps its
/// thread; its run ends all the same.
pub(crate) async fn watch(executor: Arc<Executor>, runs: TaskTracker, done: CancellationToken) {
    let mut tick = tokio::time::interval(executor.settings.watch_every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = done.cancelled() => return,
        }
        let (now, grace) = (executor.services.clock.monotonic(), executor.settings.stop_grace);
        for left in executor.board.leave_behind(|handled, signal| reason(handled, signal, now, grace)) {
            let (executor, span) = (Arc::clone(&executor), left.handled.context.span().clone());
            runs.spawn(async move { end(&executor, left).await }.instrument(span));
        }
    }
}

async fn end(executor: &Executor, left: LeftBehind<RunError>) {
    if let Some(task) = left.task {
        task.abort();
    }
    executor.finish(&left.handled.context, Err(left.why), &left.signal, left.handled.started).await;
    // What it set going beside itself hears that its writes count for nothing any more.
    left.signal.stop(Stop::LeaseLost);
}

/// Why nobody waits for this handler any longer.
fn reason(handled: &mut Handled, signal: &StopSignal, now: Duration, grace: Duration) -> Option<RunError> {
    if let Some(why) = signal.get()
        && why.is_hard()
    {
        let told_at = *handled.told_at.get_or_insert(now);
        if now.saturating_sub(told_at) >= grace {
            return Some(RunError::Stopped(why));
        }
    }
    let lease = handled.context.lease();
    if now.saturating_sub(handled.started) >= lease.deadline() {
        let problem = format!("the run took longer than its deadline of {} ms", lease.deadline_ms);
        return Some(JobError::transient("deadline_exceeded", problem).into());
    }
    if handled.context.idle() >= lease.stall() {
        let problem = format!("the run made no progress for {} ms", lease.stall_ms);
        return Some(JobError::transient("stalled", problem).into());
    }
    None
}
