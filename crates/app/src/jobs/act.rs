//! What a person does to a job: cancel, retry.

use windrow_api_types::Job;
use windrow_core::{JobId, JobSeq};
use windrow_store::hot::{CancelAnswer, Reopened};
use windrow_store::jobs;

use super::look::own_head;
use crate::{Actor, App, AppError};

impl App {
    /// Cancels a job and its tree: queued ones end at once, running ones when they notice.
    ///
    /// # Errors
    /// [`AppError::JobState`] when it has ended already.
    pub async fn cancel_job(&self, actor: &Actor, id: JobId) -> Result<Job, AppError> {
        actor.may_write()?;
        let head = own_head(&mut self.read().await?, actor.owner(), id).await?;
        let store = &self.parts.store;
        let answer = store.cancel(head.seq).await?;
        // the sweeper would find them too: here they end before the answer
        store.stop_children().await?;
        match answer {
            CancelAnswer::Cancelled | CancelAnswer::Asked => self.job_body(actor.owner(), id).await,
            CancelAnswer::AlreadyEnded(status) => {
                Err(AppError::JobState(format!("the job has ended as {status}: there is nothing to cancel")))
            }
            CancelAnswer::NotFound => Err(AppError::not_found("job", id)),
        }
    }

    /// Puts a job that failed, was cancelled or exceeded its budget in line again, with the children that did not
    /// complete. Attempts start anew, run numbers go on, what was saved is kept.
    ///
    /// # Errors
    /// [`AppError::ChildJob`] for a child; [`AppError::JobState`] for a job that nothing can retry.
    pub async fn retry_job(&self, actor: &Actor, id: JobId) -> Result<Job, AppError> {
        actor.may_write()?;
        let head = own_head(&mut self.read().await?, actor.owner(), id).await?;
        self.reopen(head.seq, id).await?;
        self.job_body(actor.owner(), id).await
    }

    pub(super) async fn reopen(&self, job: JobSeq, id: JobId) -> Result<(), AppError> {
        match self.parts.store.reopen(job, None).await? {
            Reopened::Reopened { .. } => Ok(()),
            Reopened::NotEnded(status) => Err(AppError::JobState(format!(
                "the job is {status}: only a failed, cancelled or budget-exceeded one can be retried"
            ))),
            Reopened::Child => {
                let root = jobs::root_id(&mut self.read().await?, job).await?;
                Err(AppError::ChildJob { root })
            }
            Reopened::Settling => Err(AppError::JobState(
                "children of its last run are still stopping; try again in a moment".to_owned(),
            )),
            Reopened::NotFound => Err(AppError::not_found("job", id)),
        }
    }
}
