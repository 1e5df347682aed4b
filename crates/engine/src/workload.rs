//! What a kind of work gives the platform.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use windrow_blob::BlobStore;
use windrow_core::{FieldError, JobError, JobId, JobSeq, JobStatus, OwnerId, PicoUsd, RunNo, Timestamp};
use windrow_models::Models;
use windrow_store::{Conn, Db, Tx};

use crate::context::{JobContext, RunError};
use windrow_api_types::worker::Output;

/// A job, as the database side of a workload sees it.
#[derive(Clone, Debug)]
pub struct JobRecord {
    pub seq: JobSeq,
    pub id: JobId,
    pub owner: OwnerId,
    pub parent: Option<JobSeq>,
    pub child_key: Option<String>,
    /// The pinned spec.
    pub spec: Arc<Value>,
    pub submitted_at: Timestamp,
    pub budget: Option<PicoUsd>,
    /// The run that loads or ends; none when the job ends without one.
    pub run: Option<RunNo>,
}

/// What a workload may use to pin a spec at submit.
pub struct SubmitContext<'a> {
    pub owner: OwnerId,
    pub job: JobId,
    pub now: Timestamp,
    pub budget: Option<PicoUsd>,
    pub models: &'a Arc<Models>,
    /// To look into the inputs that a spec names, before it is accepted.
    pub blob: &'a BlobStore,
}

/// A spec as it is stored, and what is known about its job at submit.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// With everything pinned that may change later.
    pub spec: Value,
    /// What the job is likely to cost, in USD; none when nobody can say.
    pub estimate: Option<PicoUsd>,
}

impl From<Value> for Prepared {
    fn from(spec: Value) -> Self {
        Self { spec, estimate: None }
    }
}

/// How a run came to its end.
#[derive(Debug)]
pub enum Outcome {
    Done(Output),
    /// The budget is spent; what there is of the output.
    Partial(Output),
    /// Wait for the children that were added; the next run finds them ended.
    Await,
}

/// A job's end, as `commit` sees it.
#[derive(Debug)]
pub struct Ended<'a> {
    pub status: JobStatus,
    pub output: Option<&'a Output>,
    pub error: Option<&'a JobError>,
}

/// What to do once the transaction that ended the job is on disk.
#[derive(Debug, Default)]
pub struct AfterCommit {
    /// Cache tags to drop, in every process.
    pub cache_tags: Vec<String>,
}

/// Time limits of a workload's runs and sizes of its inputs.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest that one run may take.
    pub deadline: Duration,
    /// The longest that a run may go without progress.
    pub stall: Duration,
    /// The largest upload, in bytes.
    pub max_upload_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(6 * 3600),
            stall: Duration::from_secs(600),
            max_upload_bytes: 100 * 1024 * 1024,
        }
    }
}

/// A kind of work: what its spec looks like, and the three steps of a job.
#[async_trait]
pub trait Workload: Send + Sync {
    /// The name in the API and in the database: `[a-z][a-z0-9_-]*`.
    fn name(&self) -> &'static str;

    /// The JSON Schema (draft 2020-12) of a submitted spec.
    fn spec_schema(&self) -> Value;

    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// Whether this program has no code for it, so that only workers of the worker protocol may have its runs.
    fn is_remote(&self) -> bool {
        false
    }

    /// The budget that a spec names itself, where the workload's specs can. It counts when the submit names none.
    fn spec_budget(&self, _spec: &Value) -> Option<PicoUsd> {
        None
    }

    /// Checks what a schema can't say and pins what may change later (versions, models). Whoever submits waits for it: an
    /// estimate that takes long is left out. A connection is read from and given back (`db.read()`), not held while inputs are
    /// looked at or something is computed: there are few of them. A fault is named by JSON pointer into the spec.
    async fn prepare(
        &self,
        _db: &Db,
        _submit: &SubmitContext<'_>,
        spec: Value,
    ) -> Result<Prepared, PrepareError> {
        Ok(spec.into())
    }

    /// Checks a stored spec again, before a job that waited for approval is queued: models and prices may be others by now.
    async fn recheck(
        &self,
        _conn: &mut Conn,
        _submit: &SubmitContext<'_>,
        _spec: &Value,
    ) -> Result<(), PrepareError> {
        Ok(())
    }

    /// Whether `load` does anything: one that doesn't needs no connection at the start of its runs.
    fn has_load(&self) -> bool {
        true
    }

    /// Where the database is: reads what the run needs.
    async fn load(&self, _conn: &mut Conn, _job: &JobRecord) -> Result<Value, JobError> {
        Ok(Value::Null)
    }

    /// Anywhere: does the work. All it can do to the world goes through `ctx`.
    async fn run(&self, ctx: JobContext, input: Value) -> Result<Outcome, RunError>;

    /// Writes the rows of chunk `n` of an output too large for one commit; they stay invisible until `commit`.
    async fn save(&self, _tx: &mut Tx, job: &JobRecord, _n: i64, _chunk: Value) -> Result<(), JobError> {
        Err(JobError::permanent("no_save", format!("the workload of job {} saves no chunks", job.id)))
    }

    /// Whether `commit` does anything; jobs with a `commit` of their own share no batch with others.
    fn has_commit(&self) -> bool {
        false
    }

    /// In the transaction that ends the job, whatever its end. It may be called again after a rollback, and must have no effect
    /// outside of `tx`.
    ///
    /// An error undoes what it wrote. At the end of a run it also undoes that end, and the run ends as failed by it instead, with a
    /// second call for that end; what it refuses then is ended without it. At the end of a lost run a transient error has the end tried
    /// again a few times, and at an end without a run ([`JobRecord::run`] is none: a job that was cancelled, stopped or rejected
    /// before it ran, a parent that its children end) it is not: there the job is over whatever it says, the error is logged and
    /// counted (`windrow_commits_refused_total`), and rows that only it would have written are missing.
    async fn commit(
        &self,
        _tx: &mut Tx,
        _job: &JobRecord,
        _ended: &Ended<'_>,
    ) -> Result<AfterCommit, JobError> {
        Ok(AfterCommit::default())
    }

    /// Which of these object keys rows in the workload's own tables name. What no row names is removed some days after its
    /// job's end; the platform knows of artifacts, uploads, parts, results and checkpoints by itself.
    async fn names_objects(&self, _conn: &mut Conn, _keys: &[String]) -> Result<Vec<String>, JobError> {
        Ok(Vec::new())
    }

    /// Removes rows that a failed job's `save` left, at most `limit`; returns how many.
    async fn discard(&self, _tx: &mut Tx, _job: JobSeq, _limit: i64) -> Result<i64, JobError> {
        Ok(0)
    }
}

/// Why a spec can't become a job.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The user's to mend; each fault by JSON pointer.
    #[error("the spec is not valid")]
    Invalid(Vec<FieldError>),
    #[error(transparent)]
    Store(#[from] windrow_store::StoreError),
    /// An input could not be looked at.
    #[error(transparent)]
    Blob(#[from] windrow_blob::BlobError),
}

/// The workloads that this process knows, by name.
#[derive(Clone, Default)]
pub struct WorkloadRegistry {
    by_name: BTreeMap<String, Arc<dyn Workload>>,
}

impl WorkloadRegistry {
    /// # Panics
    /// When two workloads have one name: a mistake of the composition root.
    pub fn new(workloads: impl IntoIterator<Item = Arc<dyn Workload>>) -> Self {
        let mut by_name = BTreeMap::new();
        for workload in workloads {
            let name = workload.name().to_owned();
            assert!(by_name.insert(name.clone(), workload).is_none(), "two workloads are named {name}");
        }
        Self { by_name }
    }

    pub fn get(&self, name: &str) -> Option<&Arc<dyn Workload>> {
        self.by_name.get(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}
