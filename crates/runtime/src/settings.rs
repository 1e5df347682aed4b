//! How a worker behaves. The defaults are the platform's promises; tests use smaller times.

use std::time::Duration;

/// How one worker process behaves.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// The most runs at the same time.
    pub slots: usize,
    /// The workloads to run; empty for all that the process knows.
    pub workloads: Vec<String>,
    /// How long one claim waits for work before it is asked again.
    pub claim_wait: Duration,
    /// How often stop orders are asked for.
    pub stop_poll: Duration,
    /// How often a run's deadline and stall limit are looked at.
    pub watch_every: Duration,
    /// How long a run that was told to stop may take to come back before it is dropped.
    pub stop_grace: Duration,
    /// Beats this often instead of as often as the engine wants: for tests.
    pub beat_every: Option<Duration>,
    /// Takes one suspect and nothing else ([`WorkerHandle::ended`](crate::WorkerHandle::ended)): for a process of its own.
    pub suspect: bool,
    /// Where runs get a directory of their own for as long as they last.
    pub scratch: std::path::PathBuf,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            slots: 16,
            workloads: Vec::new(),
            claim_wait: Duration::from_secs(1),
            stop_poll: Duration::from_millis(500),
            watch_every: Duration::from_millis(250),
            stop_grace: Duration::from_secs(5),
            beat_every: None,
            suspect: false,
            scratch: std::env::temp_dir().join("windrow"),
        }
    }
}
