//! Trying the configured environment out, for operators: each step is timed, and what a try left behind is removed.

mod queue;
mod storage;

use std::time::Duration;

use windrow_api_types::{CheckState, SmokeReport, SmokeStep};

use crate::App;

fn report(steps: Vec<SmokeStep>) -> SmokeReport {
    SmokeReport { ok: steps.iter().all(|step| step.state == CheckState::Ok), steps }
}

impl App {
    /// A step that began at `started` on the monotonic clock and ends now.
    fn timed_step(&self, step: &str, started: Duration, result: Result<(), String>) -> SmokeStep {
        let took = self.parts.clock.monotonic().saturating_sub(started);
        SmokeStep {
            step: step.to_owned(),
            state: if result.is_ok() { CheckState::Ok } else { CheckState::Failed },
            millis: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            detail: result.err(),
        }
    }
}
