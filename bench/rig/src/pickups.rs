//! How long jobs wait from the call of their submit until they run.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use windrow_core::JobId;
use windrow_store::Store;
use windrow_store::hot::NewJob;

/// Remembers when a job was asked for and, once it runs, how long that took.
#[derive(Debug, Default)]
pub struct Pickups {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    asked: HashMap<JobId, Instant>,
    took: Vec<Duration>,
}

impl Pickups {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Submits jobs and remembers them.
    pub async fn submit(&self, store: &Store, jobs: Vec<NewJob>) -> Result<()> {
        let now = Instant::now();
        self.lock().asked.extend(jobs.iter().map(|job| (job.id, now)));
        store.submit(jobs).await?;
        Ok(())
    }

    /// A job runs. Those that were not submitted here don't count.
    pub fn ran(&self, job: JobId) {
        let now = Instant::now();
        let mut state = self.lock();
        if let Some(asked) = state.asked.remove(&job) {
            state.took.push(now.duration_since(asked));
        }
    }

    /// How many have not run yet.
    pub fn waiting(&self) -> usize {
        self.lock().asked.len()
    }

    /// What was measured since the last call, ascending.
    pub fn take(&self) -> Vec<Duration> {
        let mut took = std::mem::take(&mut self.lock().took);
        took.sort_unstable();
        took
    }
}
