//! Jobs that nobody approved are rejected, and jobs that ended long ago are deleted.

use std::sync::Arc;
use std::time::Duration;

use windrow_core::{JobError, JobSeq, Timestamp};
use windrow_engine::WorkloadRegistry;
use windrow_store::{Store, StoreError, Tx, hot};

use super::chore::{Chore, Next};
use super::{KeeperError, KeeperParts};

/// How many pages of 500 jobs one turn looks through: a large table is walked in several turns.
const PAGES: usize = 20;

/// How many trees, and how many of their jobs, one transaction deletes at most: others wait for it.
const ROOTS_A_COMMIT: usize = 20;
const JOBS_A_COMMIT: usize = 50;

/// How many rows of a workload one transaction removes at most.
const ROWS_A_COMMIT: i64 = 500;

pub(super) struct Approvals {
    store: Store,
    wait: Duration,
}

impl Approvals {
    pub(super) fn new(parts: &KeeperParts) -> Self {
        Self { store: parts.store.clone(), wait: parts.settings.approval_wait }
    }
}

impl Chore for Approvals {
    const NAME: &'static str = "approvals";

    async fn turn(&mut self) -> Result<Next, KeeperError> {
        let before = self.store.now().minus(self.wait);
        loop {
            let rejected = self.store.expire_approvals(before).await?;
            if rejected > 0 {
                tracing::info!(jobs = rejected, "jobs that nobody approved in time were rejected");
            }
            if i64::try_from(rejected).is_ok_and(|count| count < hot::CHUNK) {
                return Ok(Next::Usual);
            }
        }
    }
}

/// Deletes jobs some time after their end, with the rows that their workloads' saves left when they failed.
pub(super) struct OldJobs {
    store: Store,
    registry: Arc<WorkloadRegistry>,
    keep: Duration,
    /// Where the next turn goes on.
    after: JobSeq,
}

impl OldJobs {
    pub(super) fn new(parts: &KeeperParts) -> Self {
        Self {
            store: parts.store.clone(),
            registry: Arc::new(parts.registry.clone()),
            keep: parts.settings.keep_jobs,
            after: JobSeq(0),
        }
    }

    /// Deletes these trees; when one of them can't be, the others all the same.
    async fn delete(&self, roots: &[JobSeq], before: Timestamp) -> Result<(), KeeperError> {
        let mut problem = None;
        for roots in roots.chunks(ROOTS_A_COMMIT) {
            let Err(error) = self.delete_together(roots, before).await else { continue };
            if roots.len() == 1 || matches!(error, KeeperError::Store(_)) {
                problem.get_or_insert(error);
                continue;
            }
            for root in roots {
                if let Err(error) = self.delete_together(&[*root], before).await {
                    problem.get_or_insert(error);
                }
            }
        }
        problem.map_or(Ok(()), Err)
    }

    async fn delete_together(&self, roots: &[JobSeq], before: Timestamp) -> Result<(), KeeperError> {
        let roots: Arc<[JobSeq]> = roots.into();
        loop {
            let (roots, registry) = (Arc::clone(&roots), Arc::clone(&self.registry));
            let more = self.store.alone(move |tx| {
                let (roots, registry) = (Arc::clone(&roots), Arc::clone(&registry));
                Box::pin(async move { delete_some(tx, &registry, &roots, before).await })
            });
            if !more.await? {
                return Ok(());
            }
        }
    }
}

/// Discards or deletes as much as one transaction should; whether there is more.
async fn delete_some(
    tx: &mut Tx,
    registry: &WorkloadRegistry,
    roots: &[JobSeq],
    before: Timestamp,
) -> Result<bool, KeeperError> {
    let jobs = hot::old_trees(tx, roots, before, JOBS_A_COMMIT).await?;
    for (job, workload) in hot::undiscarded(tx, &jobs).await? {
        if discard(tx, registry, job, &workload).await? >= ROWS_A_COMMIT {
            return Ok(true);
        }
        hot::forget_saves(tx, job).await?;
    }
    Ok(hot::delete_trees(tx, roots, before, JOBS_A_COMMIT).await?.more)
}

async fn discard(
    tx: &mut Tx,
    registry: &WorkloadRegistry,
    job: JobSeq,
    workload: &str,
) -> Result<i64, KeeperError> {
    let discarded = match registry.get(workload) {
        Some(workload) => workload.discard(tx, job, ROWS_A_COMMIT).await,
        // Another process of the fleet may know it.
        None => Err(JobError::permanent("unknown_workload", "this process does not know the workload")),
    };
    discarded.map_err(|error| KeeperError::Workload {
        workload: workload.to_owned(),
        what: "discard what a failed job saved",
        error,
    })
}

impl Chore for OldJobs {
    const NAME: &'static str = "old_jobs";

    async fn turn(&mut self) -> Result<Next, KeeperError> {
        let before = self.store.now().minus(self.keep);
        let mut problem = None;
        for _ in 0..PAGES {
            let page = hot::old_jobs(&mut self.store.read().await?, self.after, before).await?;
            match self.delete(&page.roots, before).await {
                Ok(()) => {}
                Err(error @ KeeperError::Store(StoreError::Closed)) => return Err(error),
                Err(error) => drop(problem.get_or_insert(error)),
            }
            self.after = page.next.unwrap_or(JobSeq(0));
            if page.next.is_none() {
                break;
            }
        }
        problem.map_or(Ok(Next::Usual), Err)
    }
}
