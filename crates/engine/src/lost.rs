//! Ends of runs that nobody reports: of workers that are gone, of leases that lapsed. Most put the job back in line; where one
//! ends the job (it is poison, or was cancelled meanwhile), the workload has its say as in any other end.

use std::collections::HashSet;

use windrow_core::{JobError, JobSeq, RunNo};
use windrow_store::hot::{Closing, Ended as Written, EndedRun, RunRef};
use windrow_store::{Store, StoreError, Tx, UnitFuture, held};

use crate::{AfterCommit, DropTags, Ended, JobRecord, WorkloadRegistry};

/// What ends runs in the transaction that it is given: which, and what came of each, in the same order.
pub type LostRuns = (Vec<RunRef>, Closing);

/// Ends lost runs by `end`, in a transaction of its own together with the `commit` of each workload whose job is over with it. A
/// `commit` that refuses is left out, for the job must end all the same; all others are kept. `end` may be called again.
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
    let mut refusing: HashSet<JobSeq> = HashSet::new();
    loop {
        let (end, registry, left_out) = (end.clone(), registry.clone(), refusing.clone());
        let written = store.alone(move |tx| {
            let (end, registry, left_out) = (end.clone(), registry.clone(), left_out.clone());
            Box::pin(async move {
                let (runs, closing) = end(tx).await?;
                let mut tags = Vec::new();
                for (at, written) in runs.iter().zip(&closing.ended) {
                    if let Written::Ended(ended) = written
                        && ended.status.is_final()
                        && !left_out.contains(&at.job)
                    {
                        tags.extend(commit(tx, &registry, *at, ended).await?.cache_tags);
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
            Err(Unwritten::Refused(job, error)) => {
                tracing::error!(job = job.0, %error, "the workload's commit failed for the end of a lost run");
                refusing.insert(job);
            }
        }
    }
}

/// Why a transaction was rolled back.
enum Unwritten {
    Store(StoreError),
    /// The workload's commit for this job.
    Refused(JobSeq, JobError),
}

impl From<StoreError> for Unwritten {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

async fn commit(
    tx: &mut Tx,
    registry: &WorkloadRegistry,
    at: RunRef,
    ended: &EndedRun,
) -> Result<AfterCommit, Unwritten> {
    let missing = || StoreError::invariant("runs", "job_seq", at.job, "there is no such row in jobs");
    let job = held::job(tx, at.job).await?.ok_or_else(missing)?;
    let Some(workload) = registry.get(&job.workload) else {
        tracing::warn!(job = at.job.0, workload = job.workload, "a job ends whose workload is not here");
        return Ok(AfterCommit::default());
    };
    if !workload.has_commit() {
        return Ok(AfterCommit::default());
    }
    let error = held::error_of(tx, at).await?;
    let record = record(job, Some(at.run))?;
    let ended = Ended { status: ended.status, output: None, error: error.as_ref() };
    workload.commit(tx, &record, &ended).await.map_err(|error| Unwritten::Refused(at.job, error))
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
        spec,
        submitted_at: job.created_at,
        budget: job.cap,
        run,
    })
}
