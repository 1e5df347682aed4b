//! An admin's yes or no to a job that waits for one.

use windrow_api_types::{Decision, Job};
use windrow_core::JobId;
use windrow_store::hot::{self, Approval};
use windrow_store::jobs::{self, Head};

use crate::{Actor, App, AppError, Authority};

impl App {
    /// Queues a job that waits for approval; audited.
    ///
    /// # Errors
    /// [`AppError::JobState`] when it doesn't wait for approval (any more).
    pub async fn approve_job(&self, actor: &Actor, id: JobId, decision: &Decision) -> Result<Job, AppError> {
        let head = self.to_decide(actor, id, decision).await?;
        if self.parts.workloads.get(&head.workload).is_none() {
            return Err(AppError::JobState(format!(
                "the workload {} is not served here any more",
                head.workload
            )));
        }
        let line =
            self.audit_line(Authority::Actor(actor), "job.approve", format!("job:{id}"), &decision.reason);
        let (job, now) = (head.seq, self.now());
        self.write(move |tx| {
            let line = line.clone();
            Box::pin(async move {
                decided(hot::approve(tx, job, now).await?, id)?;
                line.write(tx).await
            })
        })
        .await?;
        self.job_body(head.owner_id, id).await
    }

    /// Ends a job that waits for approval as `rejected`; audited.
    ///
    /// # Errors
    /// As [`App::approve_job`].
    pub async fn reject_job(&self, actor: &Actor, id: JobId, decision: &Decision) -> Result<Job, AppError> {
        let head = self.to_decide(actor, id, decision).await?;
        let line =
            self.audit_line(Authority::Actor(actor), "job.reject", format!("job:{id}"), &decision.reason);
        let (job, now) = (head.seq, self.now());
        self.write(move |tx| {
            let line = line.clone();
            Box::pin(async move {
                let (approval, _) = hot::reject(tx, job, &line.reason, now).await?;
                decided(approval, id)?;
                line.write(tx).await
            })
        })
        .await?;
        self.job_body(head.owner_id, id).await
    }

    async fn to_decide(&self, actor: &Actor, id: JobId, decision: &Decision) -> Result<Head, AppError> {
        actor.may_administer()?;
        crate::audit::check_reason(&decision.reason)?;
        let head = jobs::head_of_anybody(&mut self.read().await?, id).await?;
        head.ok_or_else(|| AppError::not_found("job", id))
    }
}

fn decided(approval: Approval, id: JobId) -> Result<(), AppError> {
    match approval {
        Approval::Done => Ok(()),
        Approval::NotPending => Err(AppError::JobState("the job does not wait for approval".to_owned())),
        Approval::NotFound => Err(AppError::not_found("job", id)),
    }
}
