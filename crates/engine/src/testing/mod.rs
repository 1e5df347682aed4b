//! What tests of workloads, workers and engines stand on.
//!
//! [`MemoryEngine`] is an engine in memory, so that a workload's `run` and the metered calls are tested without a database. [`Bench`] is an
//! engine over a database; [`conformance`] is what every engine must do.
//!
//! The engine in memory knows one job and its children's rows, but runs nobody: [`MemoryEngine::lease`] starts the next run of the job,
//! which makes the one before it stale, as a lost worker would.

mod bench;
pub mod conformance;
mod engine;
mod script;

pub use bench::Bench;
pub use script::{Handler, Scripted};

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use windrow_api_types::worker::{
    Child, FreeCall, JournalEntry, Lease, NewChild, Part, Progress, Reserve, RunEnd, RunRef, SCHEMA_VERSION,
    SettleResult,
};
use windrow_core::{
    CallId, Clock as _, JobId, JobStatus, PicoUsd, RetryPolicy, RunNo, SharedClock, TestClock,
};
use windrow_models::Models;

use crate::{AssetCache, JobContext, RunServices, StopSignal};

/// One job in memory.
pub struct MemoryEngine {
    state: Mutex<State>,
    template: Lease,
}

/// What the job has left behind; public for tests to look at.
#[derive(Debug, Default)]
pub struct State {
    pub run: i64,
    pub checkpoint: Option<Value>,
    pub parts: Vec<Part>,
    pub journal: BTreeMap<String, JournalEntry>,
    pub free_calls: Vec<FreeCall>,
    pub progress: Option<Progress>,
    pub saved: BTreeMap<i64, Value>,
    /// In the order in which they were made.
    pub children: Vec<(NewChild, Child)>,
    pub objects: BTreeMap<String, Bytes>,
    pub ended: Option<RunEnd>,
    pub calls: BTreeMap<CallId, (Reserve, Option<SettleResult>)>,
    pub spent: PicoUsd,
    pub reserved: PicoUsd,
    /// How many exchanges of money there were.
    pub exchanges: usize,
    /// So many operations from now fail with [`EngineError::Unavailable`](crate::EngineError::Unavailable).
    pub outage: usize,
}

impl MemoryEngine {
    pub fn new(workload: &str, spec: Value, budget: Option<PicoUsd>) -> Arc<Self> {
        let clock = TestClock::shared();
        let template = Lease {
            schema_version: SCHEMA_VERSION,
            run: RunRef { job: JobId::new(&*clock), run: RunNo(0) },
            workload: workload.to_owned(),
            spec: Arc::new(spec),
            input: Value::Null,
            state: None,
            attempts: 0,
            suspect: false,
            is_child: false,
            child_key: None,
            deadline_ms: 3_600_000,
            stall_ms: 600_000,
            submitted_at: clock.now(),
            request_id: None,
            traceparent: None,
            budget,
        };
        Arc::new(Self { state: Mutex::default(), template })
    }

    /// Starts the job's next run; the one before is stale from now on.
    pub fn lease(&self) -> Lease {
        let mut state = self.state();
        state.run += 1;
        state.ended = None;
        let run = RunRef { run: RunNo(state.run), ..self.template.run };
        Lease { run, state: state.checkpoint.clone(), ..self.template.clone() }
    }

    /// The context of the job's next run, with a scratch directory under `scratch`.
    pub fn context(
        self: &Arc<Self>,
        models: Arc<Models>,
        clock: SharedClock,
        scratch: PathBuf,
    ) -> (JobContext, StopSignal) {
        let services = RunServices {
            engine: Arc::clone(self) as Arc<dyn crate::Engine>,
            models,
            clock,
            assets: Arc::new(AssetCache::new(1 << 20)),
            call_retry: RetryPolicy { base: Duration::ZERO, ..RetryPolicy::default() },
        };
        let stop = StopSignal::default();
        (JobContext::new(services, self.lease(), stop.clone(), scratch), stop)
    }

    /// What the job has left behind, to look at or to change. Not to be held across an await.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an object that the job may read.
    pub fn add_object(&self, key: &str, bytes: impl Into<Bytes>) {
        self.state().objects.insert(key.to_owned(), bytes.into());
    }

    /// Ends a child, as a worker would have.
    ///
    /// # Panics
    /// When there is no such child.
    pub fn end_child(&self, key: &str, status: JobStatus, result: Option<Value>) {
        let mut state = self.state();
        let (_, child) =
            state.children.iter_mut().find(|(new, _)| new.key == key).expect("the child was added");
        child.status = status;
        child.result = result;
    }
}
