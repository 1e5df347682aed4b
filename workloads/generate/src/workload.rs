//! `generate` as the engine sees it.

use async_trait::async_trait;
use serde_json::Value;
use windrow_core::{FieldError, JobError, JobSeq, OwnerId, UploadStatus};
use windrow_engine::{
    JobContext, JobRecord, Limits, Outcome, PrepareError, RunError, SubmitContext, Workload,
};
use windrow_store::{Conn, StoreError, uploads};

use crate::run::{self, Input, JobState, SeedObject};
use crate::samples;
use crate::spec::{JobSpec, MAX_RANDOM_SEED, PinnedSpec, SeedRef, json_schema, pin};
use crate::store::shards;
use crate::use_cases::templates::{self, TemplateError};

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

    async fn prepare(
        &self,
        conn: &mut Conn,
        submit: &SubmitContext<'_>,
        spec: Value,
    ) -> Result<Value, PrepareError> {
        let spec = JobSpec::from_value(spec).map_err(PrepareError::Invalid)?;
        if let Err(fault) = find_seed(conn, submit.owner, &spec.seed).await? {
            return Err(PrepareError::Invalid(vec![FieldError::new("/seed", fault)]));
        }
        let resolved = templates::resolve(conn, submit.owner, &spec.template, "/template").await;
        let (template, document, _) = resolved.map_err(|error| match error {
            TemplateError::Invalid(errors) => PrepareError::Invalid(errors),
            TemplateError::Store(error) => PrepareError::Store(error),
            other => PrepareError::Invalid(vec![FieldError::new("/template", other)]),
        })?;
        // any number will do, as long as it is pinned; a new job's id is as random as one needs to be
        let drawn = u64::from_le_bytes(submit.job.0.as_bytes()[8..].try_into().expect("half of 16 bytes"));
        let resolve =
            |model: &str| submit.models.resolve(model).map(|m| m.id().to_owned()).map_err(|e| e.to_string());
        let pinned = pin(spec, template, &document, drawn % MAX_RANDOM_SEED, resolve)
            .map_err(PrepareError::Invalid)?;
        Ok(serde_json::to_value(pinned).expect("a pinned spec is made of texts and numbers"))
    }

    async fn load(&self, conn: &mut Conn, job: &JobRecord) -> Result<Value, JobError> {
        let input = match job.parent {
            None => Input::Job { seed: seed_of_job(conn, job).await? },
            Some(parent) => input_of_shard(conn, parent).await?,
        };
        Ok(serde_json::to_value(input).expect("an input is made of texts and numbers"))
    }

    async fn run(&self, ctx: JobContext, input: Value) -> Result<Outcome, RunError> {
        run::run(ctx, input).await
    }
}

/// Where seed data is, or what keeps it from being used.
async fn find_seed(
    conn: &mut Conn,
    owner: OwnerId,
    seed: &SeedRef,
) -> Result<Result<SeedObject, String>, StoreError> {
    let id = match seed {
        SeedRef::Sample(name) => {
            let known = || samples::ALL.iter().map(|sample| sample.name).collect::<Vec<_>>().join(", ");
            let sample = samples::ALL.iter().find(|sample| sample.name == name);
            return Ok(sample
                .map(|sample| SeedObject { key: sample.key() })
                .ok_or_else(|| format!("there is no sample named {name}; there are {}", known())));
        }
        SeedRef::Upload(id) => *id,
    };
    Ok(match uploads::get(conn, owner, id).await? {
        None => Err(format!("you have no upload {id}")),
        Some(upload) if upload.status == UploadStatus::Stored => Ok(SeedObject { key: upload.object_key }),
        Some(upload) => {
            Err(format!("upload {id} is {}, not stored: put its bytes and complete it", upload.status))
        }
    })
}

async fn seed_of_job(conn: &mut Conn, job: &JobRecord) -> Result<SeedObject, JobError> {
    let pinned: PinnedSpec = serde_json::from_value(job.spec.clone()).map_err(|error| {
        JobError::permanent("bad_spec", format!("the stored spec can't be read: {error}"))
    })?;
    let found = find_seed(conn, job.owner, &pinned.spec.seed).await.map_err(unreadable)?;
    found.map_err(|fault| JobError::user("seed_missing", fault))
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
    Ok(Input::Shard { pinned, job: parent.id, seed: state.seed })
}

fn unreadable(error: StoreError) -> JobError {
    JobError::transient("store_failed", error)
}
