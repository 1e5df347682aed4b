//! How a run is asked to come back.

use std::sync::Arc;

use tokio::sync::watch;
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
#[derive(Clone, Debug)]
pub struct StopSignal {
    reason: Arc<watch::Sender<Option<Stop>>>,
}

impl Default for StopSignal {
    fn default() -> Self {
        Self { reason: Arc::new(watch::Sender::new(None)) }
    }
}

impl StopSignal {
    pub fn stop(&self, why: Stop) {
        self.reason.send_if_modified(|reason| {
            let graver = reason.is_none_or(|known| why.rank() > known.rank());
            if graver {
                *reason = Some(why);
            }
            graver
        });
    }

    pub fn get(&self) -> Option<Stop> {
        *self.reason.borrow()
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
        let mut reason = self.reason.subscribe();
        let seen = reason.wait_for(|reason| reason.is_some_and(&matches)).await;
        let seen = seen.expect("self holds the sender");
        seen.expect("the condition asks for a reason")
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
