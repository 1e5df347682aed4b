//! Ends of runs that nobody reports: of workers that are gone, of leases that lapsed. Most put the job back in line; where one
//! ends the job (it is poison, or was cancelled meanwhile), the workload has its say as in any other end.

use std::sync::Arc;
use std::time::Duration;

use windrow_core::{ErrorClass, JobError, JobSeq, RunNo};
use windrow_store::hot::{Closing, Ended as Written, EndedRun, RunRef};
use windrow_store::{Store, StoreError, Tx, UnitFuture, held};

use crate::{DropTags, Ended, JobRecord, WorkloadRegistry};

/// What ends runs in the transaction that it is given: which, and what came of each, in the same order.
pub type LostRuns = (Vec<RunRef>, Closing);

/// How often an end that a workload's commit refuses for now is tried.
const TRIES: u32 = 4;

/// The wait before the second try; it doubles.
const PAUSE: Duration = Duration::from_millis(50);

/// Ends lost runs by `end`, in a transaction of its own together with the `commit` of each workload whose job is over with it, each
/// in a savepoint. A `commit` that refuses for good is left out, for the job must end all the same; all others are kept. One that refuses
/// for now (transient) has the whole tried again, a few times, and is then left out too. `end` may be called again.
///
/// # Errors
/// When the database fails, or a stored row can't be read.
pub async fn end_lost<F>(
    store: &Store,
    registry: &WorkloadRegistry,
    drop_tags: Option<&DropTags>,
    end: F,
) -> Result<LostRuns, StoreError>
where
    F: for<'a> Fn(&'a mut Tx) -> UnitFuture<'a, LostRuns, StoreError> + Clone + Send + Sync + 'static,
{
    let (mut tries, mut pause) = (1, PAUSE);
    loop {
        let (end, registry, patient) = (end.clone(), registry.clone(), tries < TRIES);
        let written = store.alone(move |tx| {
            let (end, registry) = (end.clone(), registry.clone());
            Box::pin(async move {
                let (runs, closing) = end(tx).await?;
                let mut tags = Vec::new();
                for (at, written) in runs.iter().zip(&closing.ended) {
                    if let Written::Ended(ended) = written
                        && ended.status.is_final()
                    {
                        tags.extend(commit(tx, &registry, *at, ended, patient).await?);
                    }
                }
                Ok::<_, Unwritten>((runs, closing, tags))
            })
        });
        match written.await {
            Ok((runs, closing, tags)) => {
                if let Some(drop_tags) = drop_tags.filter(|_| !tags.is_empty()) {
                    drop_tags(&tags);
                }
                return Ok((runs, closing));
            }
            Err(Unwritten::Store(error)) => return Err(error),
            Err(Unwritten::Later(job, error)) => {
                tracing::warn!(job = job.0, %error, tries, "the workload's commit refuses the end of a lost run for now");
                tokio::time::sleep(pause).await;
                (tries, pause) = (tries + 1, pause * 2);
            }
        }
    }
}

/// Why a transaction was rolled back.
enum Unwritten {
    Store(StoreError),
    /// The workload's commit for this job is worth another try.
    Later(JobSeq, JobError),
}

impl From<StoreError> for Unwritten {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The workload's part, in a savepoint; gives cache tags to drop.
async fn commit(
    tx: &mut Tx,
    registry: &WorkloadRegistry,
    at: RunRef,
    ended: &EndedRun,
    patient: bool,
) -> Result<Vec<String>, Unwritten> {
    let missing = || StoreError::invariant("runs", "job_seq", at.job, "there is no such row in jobs");
    let job = held::job(tx, at.job).await?.ok_or_else(missing)?;
    let Some(workload) = registry.get(&job.workload) else {
        tracing::warn!(job = at.job.0, workload = job.workload, "a job ends whose workload is not here");
        return Ok(Vec::new());
    };
    if !workload.has_commit() {
        return Ok(Vec::new());
    }
    let error = held::error_of(tx, at).await?;
    let record = record(job, Some(at.run))?;
    let ended = Ended { status: ended.status, output: None, error: error.as_ref() };
    tx.savepoint().await?;
    match workload.commit(tx, &record, &ended).await {
        Ok(after) => {
            tx.release().await?;
            Ok(after.cache_tags)
        }
        Err(error) if patient && error.class == ErrorClass::Transient => Err(Unwritten::Later(at.job, error)),
        Err(error) => {
            tx.rollback_to().await?;
            metrics::counter!("windrow_commits_refused_total", "workload" => workload.name()).increment(1);
            tracing::error!(job = at.job.0, %error, "the workload's commit failed for the end of a lost run");
            Ok(Vec::new())
        }
    }
}

/// A stored job as its workload sees it.
pub(crate) fn record(job: held::ServedJob, run: Option<RunNo>) -> Result<JobRecord, StoreError> {
    let spec = serde_json::from_str(&job.spec)
        .map_err(|error| StoreError::invariant("jobs", "spec", job.seq, error))?;
    Ok(JobRecord {
        seq: job.seq,
        id: job.id,
        owner: job.owner_id,
        parent: job.parent_seq,
        child_key: job.child_key,
        spec: Arc::new(spec),
        submitted_at: job.created_at,
        budget: job.cap,
        run,
    })
}
