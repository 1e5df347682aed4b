//! The runs that a worker holds.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use windrow_engine::{RunRef, Stop, StopOrder, StopSignal};

/// Every run from its claim to its end, with the signal that stops it.
#[derive(Debug)]
pub(crate) struct Board {
    runs: Mutex<HashMap<RunRef, StopSignal>>,
    count: watch::Sender<usize>,
}

impl Board {
    pub(crate) fn new() -> Self {
        Self { runs: Mutex::default(), count: watch::Sender::new(0) }
    }

    pub(crate) fn add(&self, run: RunRef) -> StopSignal {
        let signal = StopSignal::default();
        let mut runs = self.runs();
        runs.insert(run, signal.clone());
        self.count.send_replace(runs.len());
        signal
    }

    pub(crate) fn remove(&self, run: RunRef) {
        let mut runs = self.runs();
        runs.remove(&run);
        self.count.send_replace(runs.len());
    }

    pub(crate) fn held(&self) -> Vec<RunRef> {
        self.runs().keys().copied().collect()
    }

    pub(crate) fn len(&self) -> usize {
        *self.count.borrow()
    }

    pub(crate) fn obey(&self, orders: &[StopOrder]) {
        let runs = self.runs();
        for order in orders {
            if let Some(signal) = runs.get(&order.run) {
                signal.stop(order.reason.into());
            }
        }
    }

    pub(crate) fn stop(&self, held: &[RunRef], why: Stop) {
        let runs = self.runs();
        held.iter().filter_map(|run| runs.get(run)).for_each(|signal| signal.stop(why));
    }

    pub(crate) fn stop_all(&self, why: Stop) {
        self.runs().values().for_each(|signal| signal.stop(why));
    }

    /// Resolves when fewer than `limit` runs are held.
    pub(crate) async fn below(&self, limit: usize) {
        let mut count = self.count.subscribe();
        let _the_sender_is_ours = count.wait_for(|count| *count < limit).await;
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<RunRef, StopSignal>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
