//! `generate` as the engine sees it.

use async_trait::async_trait;
use serde::Deserialize as _;
use serde_json::Value;
use windrow_blob::BlobError;
use windrow_core::{FieldError, JobError, JobSeq, JobStatus, PicoUsd};
use windrow_engine::{
    AfterCommit, Ended, JobContext, JobRecord, Limits, Outcome, PrepareError, Prepared, RunError,
    SubmitContext, Workload,
};
use windrow_store::{Conn, Db, StoreError, Tx};

use crate::run::{self, Input, JobState, SeedObject, ShardSpec};
use crate::spec::{JobSpec, MAX_RANDOM_SEED, PinnedSpec, json_schema};
use crate::store::shards;
use crate::use_cases::error_rate;
use crate::use_cases::seeds::{self, SeedsError};
use crate::use_cases::{estimate, pinning};

/// The workload's name.
pub const NAME: &str = "generate";

/// Seed records may be large: 64 GiB.
const MAX_UPLOAD_BYTES: u64 = 64 << 30;

/// The workload.
#[derive(Clone, Copy, Debug, Default)]
pub struct Generate;

#[async_trait]
impl Workload for Generate {
    fn name(&self) -> &'static str {
        NAME
    }

    fn spec_schema(&self) -> Value {
        json_schema()
    }

    fn limits(&self) -> Limits {
        Limits { max_upload_bytes: MAX_UPLOAD_BYTES, ..Limits::default() }
    }

    fn spec_budget(&self, spec: &Value) -> Option<PicoUsd> {
        serde_json::from_value(spec.get("budget_usd")?.clone()).ok()
    }

    async fn prepare(
        &self,
        db: &Db,
        submit: &SubmitContext<'_>,
        spec: Value,
    ) -> Result<Prepared, PrepareError> {
        let spec = JobSpec::from_value(spec).map_err(PrepareError::Invalid)?;
        // any number will do, as long as it is pinned; a new job's id is as random as one needs to be
        let drawn = u64::from_le_bytes(submit.job.0.as_bytes()[8..].try_into().expect("half of 16 bytes"));
        let mut conn = db.read().await?;
        let (pinned, document) =
            pinning::pin_spec(&mut conn, submit.owner, submit.models, spec, drawn % MAX_RANDOM_SEED).await?;
        let seed = match &pinned.spec.make_seeds {
            Some(_) => None,
            None => Some(seeds::locate(&mut conn, submit.owner, &pinned.spec.seed).await.map_err(refused)?),
        };
        let lengths = estimate::recorded(&mut conn, submit.owner, submit.models, &pinned).await?;
        drop(conn);
        pinning::check_budget(&pinned, submit.models, submit.budget).map_err(PrepareError::Invalid)?;
        let made = || {
            let make = pinned.spec.make_seeds.as_ref();
            make.map(|make| vec![make.seed_record(); estimate::SUBMIT_SAMPLE]).unwrap_or_default()
        };
        let sample = match seed {
            None => made(),
            Some(seed) => {
                let requirements = document.schema_requirements.clone();
                let judged = seeds::judge(submit.blob, &seed, requirements, pinned.spec.on_invalid);
                judged
                    .await
                    .map_err(refused)?
                    .map_err(|report| PrepareError::Invalid(seeds::faults(&report, "/seed")))?
            }
        };
        let stored = serde_json::to_value(&pinned).expect("a pinned spec is made of texts and numbers");
        let estimate = estimate::at_submit(submit.models, pinned, document, sample, lengths).await;
        Ok(Prepared { spec: stored, estimate })
    }

    async fn recheck(
        &self,
        _conn: &mut Conn,
        submit: &SubmitContext<'_>,
        spec: &Value,
    ) -> Result<(), PrepareError> {
        let pinned: PinnedSpec = serde_json::from_value(spec.clone())
            .map_err(|error| PrepareError::Invalid(vec![FieldError::new("", error)]))?;
        let gone = pinned.steps.iter().filter_map(|(step, pinned)| {
            let why = submit.models.resolve(&pinned.model).err()?;
            Some(FieldError::new("/template", format!("step {step}: {why}")))
        });
        let gone: Vec<FieldError> = gone.collect();
        if !gone.is_empty() {
            return Err(PrepareError::Invalid(gone));
        }
        pinning::check_budget(&pinned, submit.models, submit.budget).map_err(PrepareError::Invalid)
    }

    async fn load(&self, conn: &mut Conn, job: &JobRecord) -> Result<Value, JobError> {
        let input = match job.parent {
            None => {
                let judged = shards::judged(conn, job.seq).await.map_err(unreadable)?;
                Input::Job { seed: seed_of_job(conn, job).await?, judged }
            }
            Some(parent) => input_of_shard(conn, parent).await?,
        };
        Ok(serde_json::to_value(input).expect("an input is made of texts and numbers"))
    }

    async fn run(&self, ctx: JobContext, input: Value) -> Result<Outcome, RunError> {
        run::run(ctx, input).await
    }

    fn has_commit(&self) -> bool {
        true
    }

    async fn commit(&self, tx: &mut Tx, job: &JobRecord, ended: &Ended<'_>) -> Result<AfterCommit, JobError> {
        if let (Some(parent), JobStatus::Completed) = (job.parent, ended.status)
            && let Ok(shard) = ShardSpec::deserialize(&*job.spec)
            && let Some(error) = error_rate::judge(tx, parent, shard).await.map_err(unreadable)?
        {
            return Err(error);
        }
        Ok(AfterCommit::default())
    }
}

fn refused(error: SeedsError) -> PrepareError {
    match error {
        SeedsError::Store(error) => PrepareError::Store(error),
        SeedsError::Blob(error @ BlobError::NotFound { .. }) => {
            let message = format!("its object is gone ({error}); upload the file again");
            PrepareError::Invalid(vec![FieldError::new("/seed", message)])
        }
        SeedsError::Blob(error) => PrepareError::Blob(error),
        fault => PrepareError::Invalid(vec![FieldError::new("/seed", fault)]),
    }
}

async fn seed_of_job(conn: &mut Conn, job: &JobRecord) -> Result<SeedObject, JobError> {
    let pinned: PinnedSpec = PinnedSpec::deserialize(&*job.spec).map_err(|error| {
        JobError::permanent("bad_spec", format!("the stored spec can't be read: {error}"))
    })?;
    if let Some(make) = &pinned.spec.make_seeds {
        return Ok(SeedObject::Inline { record: make.seed_record() });
    }
    match seeds::locate(conn, job.owner, &pinned.spec.seed).await {
        Ok(seed) => Ok(SeedObject::Stored { key: seed.key }),
        Err(SeedsError::Store(error)) => Err(unreadable(error)),
        Err(fault) => Err(JobError::user("seed_missing", fault)),
    }
}

async fn input_of_shard(conn: &mut Conn, parent: JobSeq) -> Result<Input, JobError> {
    let orphan = || JobError::permanent("orphan", format!("the job {parent} that made this shard is gone"));
    let parent = shards::parent(conn, parent).await.map_err(unreadable)?.ok_or_else(orphan)?;
    let broken = |what: &str, error: serde_json::Error| {
        JobError::permanent("bad_parent", format!("the {what} of job {} can't be read: {error}", parent.id))
    };
    let pinned = serde_json::from_str(&parent.spec).map_err(|error| broken("spec", error))?;
    let state = parent.state.as_deref().unwrap_or("null");
    let state: JobState = serde_json::from_str(state).map_err(|error| broken("checkpoint", error))?;
    Ok(Input::Shard { pinned, job: parent.id, seed: state.seed, reopened: parent.reopened })
}

fn unreadable(error: StoreError) -> JobError {
    JobError::transient("store_failed", error)
}
