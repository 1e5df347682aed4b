//! Ends without a run: the workload has its say in the transaction that ends the job, as in any other end.

use std::fmt;

use windrow_core::JobError;
use windrow_store::ends::EndFuture;
use windrow_store::{EndHook, StoreError, Tx, UnrunEnd, held};

use crate::lost::record;
use crate::{DropTags, Ended, WorkloadRegistry};

/// Runs workloads' commits for jobs that end without a run; see [`Workload::commit`](crate::Workload::commit). Give it to
/// [`Db::with_end_hook`](windrow_store::Db::with_end_hook).
#[derive(Clone)]
pub struct UnrunCommits {
    registry: WorkloadRegistry,
    drop_tags: Option<DropTags>,
}

impl UnrunCommits {
    pub fn new(registry: WorkloadRegistry, drop_tags: Option<DropTags>) -> Self {
        Self { registry, drop_tags }
    }
}

impl fmt::Debug for UnrunCommits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.registry.names()).finish()
    }
}

impl EndHook for UnrunCommits {
    fn wants(&self, workload: &str) -> bool {
        self.registry.get(workload).is_some_and(|workload| workload.has_commit())
    }

    fn ended<'a>(&'a self, tx: &'a mut Tx, end: &'a UnrunEnd) -> EndFuture<'a> {
        Box::pin(async move {
            let Some(workload) = self.registry.get(&end.workload) else { return Ok(Vec::new()) };
            let missing =
                || StoreError::invariant("runs", "job_seq", end.at.job, "there is no such row in jobs");
            let job = held::job(tx, end.at.job).await.map_err(unread)?.ok_or_else(missing).map_err(unread)?;
            let error = held::error_of(tx, end.at).await.map_err(unread)?;
            let record = record(job, None).map_err(unread)?;
            let ended = Ended { status: end.status, output: None, error: error.as_ref() };
            Ok(workload.commit(tx, &record, &ended).await?.cache_tags)
        })
    }

    fn committed(&self, tags: Vec<String>) {
        if let Some(drop_tags) = &self.drop_tags {
            drop_tags(&tags);
        }
    }
}

fn unread(error: StoreError) -> JobError {
    JobError::transient("store", error)
}
