//! Who has a say when a job ends without a run: the hook that the engine gives the database.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use windrow_core::{JobError, JobStatus};

use crate::hot::RunRef;
use crate::{StoreError, Tx};

/// A job that ended without a run: cancelled or stopped while it was in line, rejected, or a parent that its children end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnrunEnd {
    /// The row in `runs` that says so.
    pub at: RunRef,
    pub workload: String,
    pub status: JobStatus,
}

/// A future of a hook that borrows the transaction.
pub type EndFuture<'a> = Pin<Box<dyn Future<Output = Result<Vec<String>, JobError>> + Send + 'a>>;

/// Has a say in the transaction that ends a job without a run.
pub trait EndHook: Send + Sync + fmt::Debug {
    /// Whether it has anything to say about ends of this workload's jobs: most have not, and a savepoint costs time.
    fn wants(&self, workload: &str) -> bool;

    /// Writes what it has to, in a savepoint of its own, after all that the engine itself writes about the end. It may be asked
    /// again after a rollback. An error undoes what it wrote and nothing else: the job has ended. Gives cache tags to drop.
    fn ended<'a>(&'a self, tx: &'a mut Tx, end: &'a UnrunEnd) -> EndFuture<'a>;

    /// The transaction is on disk.
    fn committed(&self, tags: Vec<String>);
}

/// A hook that many connections share.
pub type SharedEndHook = Arc<dyn EndHook>;

impl Tx {
    /// Has the hook say what it has to about ends that were written. Comes last in an operation: what it locks comes after the
    /// engine's own tables in the order of locks.
    pub(crate) async fn tell_ends(&mut self, ends: &[UnrunEnd]) -> Result<(), StoreError> {
        let Some(hook) = self.end_hook().filter(|_| !ends.is_empty()) else { return Ok(()) };
        for end in ends.iter().filter(|end| hook.wants(&end.workload)) {
            self.savepoint().await?;
            match hook.ended(self, end).await {
                Ok(tags) => {
                    self.release().await?;
                    self.drop_later(tags);
                }
                Err(error) => {
                    self.rollback_to().await?;
                    let (job, run) = (end.at.job.0, end.at.run.0);
                    metrics::counter!("windrow_commits_refused_total", "workload" => end.workload.clone())
                        .increment(1);
                    tracing::error!(job, run, %error, "the workload's commit failed for a job that ended without a run");
                }
            }
        }
        Ok(())
    }
}
