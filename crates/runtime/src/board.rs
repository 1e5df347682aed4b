//! The runs that a worker holds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use windrow_engine::{JobContext, RunRef, Stop, StopOrder, StopSignal};

/// Every run from its claim to its end, with the signal that stops it.
#[derive(Default)]
pub(crate) struct Board {
    runs: Mutex<HashMap<RunRef, Entry>>,
    count: AtomicUsize,
    /// Told when a run leaves.
    fewer: Notify,
}

#[derive(Default)]
struct Entry {
    signal: StopSignal,
    task: Option<AbortHandle>,
    /// While its handler works: whoever takes it says how the run ends.
    handled: Option<Handled>,
}

/// A run whose handler is at work.
pub(crate) struct Handled {
    pub(crate) context: JobContext,
    /// By the monotonic clock.
    pub(crate) started: Duration,
    /// When the handler was seen at work although told to come back at once.
    pub(crate) told_at: Option<Duration>,
}

/// A run whose handler is not waited for any more.
pub(crate) struct LeftBehind<W> {
    pub(crate) why: W,
    pub(crate) handled: Handled,
    pub(crate) signal: StopSignal,
    pub(crate) task: Option<AbortHandle>,
}

impl Board {
    pub(crate) fn add(&self, run: RunRef) -> StopSignal {
        let entry = Entry::default();
        let signal = entry.signal.clone();
        let mut runs = self.runs();
        runs.insert(run, entry);
        self.count.store(runs.len(), Ordering::Release);
        signal
    }

    pub(crate) fn remove(&self, run: RunRef) {
        let mut runs = self.runs();
        runs.remove(&run);
        self.count.store(runs.len(), Ordering::Release);
        drop(runs);
        self.fewer.notify_waiters();
    }

    /// The task that runs it; it may have ended already.
    pub(crate) fn runs_in(&self, run: RunRef, task: AbortHandle) {
        if let Some(entry) = self.runs().get_mut(&run) {
            entry.task = Some(task);
        }
    }

    /// Its handler starts.
    pub(crate) fn begin(&self, context: JobContext, started: Duration) {
        if let Some(entry) = self.runs().get_mut(&context.lease().run) {
            entry.handled = Some(Handled { context, started, told_at: None });
        }
    }

    /// Its handler came back. False: too late, somebody else says how the run ends.
    pub(crate) fn came_back(&self, run: RunRef) -> bool {
        self.runs().get_mut(&run).is_some_and(|entry| entry.handled.take().is_some())
    }

    /// Takes the runs whose handlers `is_over` gives a reason to leave behind.
    pub(crate) fn leave_behind<W>(
        &self,
        mut is_over: impl FnMut(&mut Handled, &StopSignal) -> Option<W>,
    ) -> Vec<LeftBehind<W>> {
        let mut left = Vec::new();
        for entry in self.runs().values_mut() {
            let Some(handled) = &mut entry.handled else { continue };
            let Some(why) = is_over(handled, &entry.signal) else { continue };
            let handled = entry.handled.take().expect("seen just above");
            left.push(LeftBehind { why, handled, signal: entry.signal.clone(), task: entry.task.take() });
        }
        left
    }

    pub(crate) fn held(&self) -> Vec<RunRef> {
        self.runs().keys().copied().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    pub(crate) fn obey(&self, orders: &[StopOrder]) {
        let runs = self.runs();
        for order in orders {
            if let Some(entry) = runs.get(&order.run) {
                entry.signal.stop(order.reason.into());
            }
        }
    }

    pub(crate) fn stop(&self, held: &[RunRef], why: Stop) {
        let runs = self.runs();
        held.iter().filter_map(|run| runs.get(run)).for_each(|entry| entry.signal.stop(why));
    }

    pub(crate) fn stop_all(&self, why: Stop) {
        self.runs().values().for_each(|entry| entry.signal.stop(why));
    }

    /// Resolves when fewer than `limit` runs are held.
    pub(crate) async fn below(&self, limit: usize) {
        loop {
            // from here on, so that one that leaves between the look and the wait is heard
            let fewer = self.fewer.notified();
            if self.len() < limit {
                return;
            }
            fewer.await;
        }
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<RunRef, Entry>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
