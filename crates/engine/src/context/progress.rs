//! How far a run is: what it reports, and whether it stalls.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use windrow_api_types::worker::Progress;

use super::JobContext;

/// The shortest time between two reports of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(super) struct Reports {
    newest: Progress,
    /// Whether `newest` was not sent.
    pending: bool,
    sent_at: Option<Duration>,
}

impl JobContext {
    /// Reports how far the run is. At most two reports a second leave; the newest of the others rides with the next checkpoint. Never
    /// fails the run.
    pub async fn progress(&self, stage: &str, done: u64, total: Option<u64>) {
        let progress = Progress { stage: stage.to_owned(), done, total };
        let Some(progress) = self.due_progress(progress) else { return };
        if let Err(error) = self.inner.services.engine.progress(self.inner.lease.run, progress).await {
            tracing::debug!(run = %self.inner.lease.run, %error, "progress was not written");
        }
    }

    fn due_progress(&self, progress: Progress) -> Option<Progress> {
        let now = self.inner.services.clock.monotonic();
        let mut reports = self.inner.reports.lock().unwrap_or_else(PoisonError::into_inner);
        if progress == reports.newest {
            return None;
        }
        self.note_progress();
        reports.newest = progress.clone();
        let due = reports.sent_at.is_none_or(|sent_at| now.saturating_sub(sent_at) >= PROGRESS_EVERY);
        reports.pending = !due;
        if due {
            reports.sent_at = Some(now);
        }
        due.then_some(progress)
    }

    pub(super) fn take_pending_progress(&self) -> Option<Progress> {
        let mut reports = self.inner.reports.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut reports.pending).then(|| reports.newest.clone())
    }

    /// How long the run has shown no progress: no answer, checkpoint, report, child, chunk or object, nor bytes of an object that it reads.
    pub fn idle(&self) -> Duration {
        let last = Duration::from_micros(self.inner.last_progress.load(Ordering::Relaxed));
        self.inner.services.clock.monotonic().saturating_sub(last)
    }

    /// Something was answered, saved or reported: the stall limit counts from now.
    pub(super) fn note_progress(&self) {
        let now = u64::try_from(self.inner.services.clock.monotonic().as_micros()).unwrap_or(u64::MAX);
        self.inner.last_progress.store(now, Ordering::Relaxed);
    }
}
