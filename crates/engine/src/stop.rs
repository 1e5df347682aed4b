//! How a run is asked to come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;
use windrow_api_types::worker::StopReason;

/// Why a handler is asked to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// No room in the budget for the next call: save what there is and return a partial outcome.
    BudgetExceeded,
    /// The worker shuts down: checkpoint and come back; the rest is done elsewhere.
    Draining,
    /// A person cancelled the job: save what there is and come back.
    Cancelled,
    /// The run is no longer the job's: come back at once, nothing that is written counts.
    LeaseLost,
}

impl Stop {
    /// Whether waiting for calls in flight is of no use any more. They still settle, in the background.
    pub const fn is_hard(self) -> bool {
        matches!(self, Self::Cancelled | Self::LeaseLost)
    }

    const fn rank(self) -> u8 {
        match self {
            Self::BudgetExceeded => 1,
            Self::Draining => 2,
            Self::Cancelled => 3,
            Self::LeaseLost => 4,
        }
    }

    fn of_rank(rank: u8) -> Option<Self> {
        [Self::BudgetExceeded, Self::Draining, Self::Cancelled, Self::LeaseLost]
            .into_iter()
            .find(|stop| stop.rank() == rank)
    }
}

impl From<StopReason> for Stop {
    fn from(reason: StopReason) -> Self {
        match reason {
            StopReason::Cancelled => Self::Cancelled,
            StopReason::LeaseLost => Self::LeaseLost,
        }
    }
}

/// A stop that can be asked about and waited for. A graver reason replaces a lesser one: a drain may turn into a lost
/// lease, never the other way.
#[derive(Clone, Debug, Default)]
pub struct StopSignal {
    reason: Arc<Reason>,
}

/// One a run, and most runs are never told to stop: a byte and a list of those who wait.
#[derive(Debug, Default)]
struct Reason {
    /// A [`Stop::rank`]; 0 for none.
    rank: AtomicU8,
    graver: Notify,
}

impl StopSignal {
    pub fn stop(&self, why: Stop) {
        if self.reason.rank.fetch_max(why.rank(), Ordering::AcqRel) < why.rank() {
            self.reason.graver.notify_waiters();
        }
    }

    pub fn get(&self) -> Option<Stop> {
        Stop::of_rank(self.reason.rank.load(Ordering::Acquire))
    }

    /// Resolves when the run is asked to come back, for whatever reason.
    pub async fn stopped(&self) -> Stop {
        self.wait_for(|_| true).await
    }

    /// Resolves when calls in flight need not be waited for any more.
    pub async fn halted(&self) -> Stop {
        self.wait_for(Stop::is_hard).await
    }

    async fn wait_for(&self, matches: impl Fn(Stop) -> bool) -> Stop {
        loop {
            // from here on, so that a stop between the look and the wait is heard
            let graver = self.reason.graver.notified();
            if let Some(stop) = self.get().filter(|stop| matches(*stop)) {
                return stop;
            }
            graver.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_graver_reason_wins_and_a_lesser_one_changes_nothing() {
        let signal = StopSignal::default();
        assert_eq!(signal.get(), None);
        signal.stop(Stop::Draining);
        assert_eq!(signal.stopped().await, Stop::Draining);
        signal.stop(Stop::LeaseLost);
        signal.stop(Stop::Cancelled);
        assert_eq!((signal.get(), signal.halted().await), (Some(Stop::LeaseLost), Stop::LeaseLost));
    }
}
