//! A workload that does what a test tells it to.

use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::watch;
use windrow_core::{JobError, JobSeq};
use windrow_store::{Conn, Tx, execute};

use crate::{AfterCommit, Ended, JobContext, JobRecord, Limits, Outcome, Output, RunError, Workload};

/// What a run does.
pub type Handler =
    Box<dyn Fn(JobContext, Value) -> BoxFuture<'static, Result<Outcome, RunError>> + Send + Sync>;

/// The table that [`Scripted`] writes to; made by [`super::Bench`].
pub(super) const TABLE: &str = "CREATE TABLE scripted (job_seq bigint NOT NULL, what text NOT NULL)";

/// The workload `scripted`. Its spec may hold `load_error`, `commit_error` (`always`, or `completed` to refuse that end
/// only) and anything that its handler looks at.
pub struct Scripted {
    handler: Handler,
    limits: Limits,
    commits: bool,
    starts: watch::Sender<u64>,
}

impl Scripted {
    pub const NAME: &'static str = "scripted";

    /// A run completes with the lease's input as its result.
    pub fn echo() -> Self {
        Self::new(|_, input| {
            Box::pin(async move { Ok(Outcome::Done(Output { result: input, artifacts: vec![] })) })
        })
    }

    pub fn new<F>(handler: F) -> Self
    where
        F: Fn(JobContext, Value) -> BoxFuture<'static, Result<Outcome, RunError>> + Send + Sync + 'static,
    {
        let starts = watch::Sender::new(0);
        Self { handler: Box::new(handler), limits: Limits::default(), commits: false, starts }
    }

    /// How many runs have begun.
    pub fn starts(&self) -> watch::Receiver<u64> {
        self.starts.subscribe()
    }

    /// Its ends are transactions of their own, and leave a row each.
    #[must_use]
    pub fn with_commit(self) -> Self {
        Self { commits: true, ..self }
    }

    #[must_use]
    pub fn with_limits(self, deadline: Duration, stall: Duration) -> Self {
        let limits = Limits { deadline, stall, ..self.limits };
        Self { limits, ..self }
    }
}

#[async_trait]
impl Workload for Scripted {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn spec_schema(&self) -> Value {
        json!({"type": "object"})
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    async fn load(&self, _conn: &mut Conn, job: &JobRecord) -> Result<Value, JobError> {
        match job.spec.get("load_error").and_then(Value::as_str) {
            Some(why) => Err(JobError::user("load_error", why)),
            None => Ok(json!({"loaded": job.spec})),
        }
    }

    async fn run(&self, ctx: JobContext, input: Value) -> Result<Outcome, RunError> {
        self.starts.send_modify(|starts| *starts += 1);
        (self.handler)(ctx, input).await
    }

    async fn save(&self, tx: &mut Tx, job: &JobRecord, n: i64, chunk: Value) -> Result<(), JobError> {
        write(tx, job.seq, &format!("chunk {n}: {chunk}")).await
    }

    fn has_commit(&self) -> bool {
        self.commits
    }

    async fn commit(&self, tx: &mut Tx, job: &JobRecord, ended: &Ended<'_>) -> Result<AfterCommit, JobError> {
        if !self.commits {
            return Ok(AfterCommit::default());
        }
        write(tx, job.seq, &format!("ended {}", ended.status)).await?;
        match job.spec.get("commit_error").and_then(Value::as_str) {
            Some("always") => Err(JobError::permanent("commit_error", "never")),
            Some(status) if status == ended.status.as_str() => {
                Err(JobError::permanent("commit_error", format!("not {status}")))
            }
            _ => Ok(AfterCommit { cache_tags: vec![format!("job:{}", job.id)] }),
        }
    }
}

async fn write(tx: &mut Tx, job: JobSeq, what: &str) -> Result<(), JobError> {
    let sql = "INSERT INTO scripted (job_seq, what) VALUES ($1, $2)";
    let written = execute!(tx, sql, job, what);
    written.map(drop).map_err(|error| JobError::transient("store", error))
}
