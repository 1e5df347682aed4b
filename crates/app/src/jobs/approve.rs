//! An admin's yes or no to a job that waits for one.

use windrow_api_types::{Decision, Job, SCHEMA_VERSION};
use windrow_core::{JobId, RunNo, Timestamp};
use windrow_engine::SubmitContext;
use windrow_store::Tx;
use windrow_store::hot::{self, Approval, NewEvent};
use windrow_store::jobs::{self, Head};

use super::submit::refused;
use super::view;
use crate::{Actor, App, AppError, Authority};

impl App {
    /// Queues a job that waits for approval; audited.
    ///
    /// # Errors
    /// [`AppError::JobState`] when it doesn't wait for approval (any more), or could not be submitted any more.
    pub async fn approve_job(&self, actor: &Actor, id: JobId, decision: &Decision) -> Result<Job, AppError> {
        let head = self.to_decide(actor, id, decision).await?;
        let line =
            self.audit_line(Authority::Actor(actor), "job.approve", format!("job:{id}"), &decision.reason);
        let now = self.now();
        let (app, waiting) = (self.clone(), head.clone());
        self.write(move |tx| {
            let (app, head, line) = (app.clone(), waiting.clone(), line.clone());
            Box::pin(async move {
                decided(hot::approve(tx, head.seq, now).await?, id)?;
                app.recheck(tx, &head, now).await?;
                let approved = NewEvent {
                    job: head.seq,
                    run: RunNo(0),
                    kind: "approved".to_owned(),
                    payload: "{}".to_owned(),
                    schema_version: i64::from(SCHEMA_VERSION),
                };
                hot::append_events(tx, &[approved], now).await?;
                line.write(tx).await
            })
        })
        .await?;
        self.job_body(head.owner_id, id).await
    }

    /// Whether the job could still be submitted as it stands: it may have waited for a month.
    async fn recheck(&self, tx: &mut Tx, head: &Head, now: Timestamp) -> Result<(), AppError> {
        let stale = |why: &dyn std::fmt::Display| {
            AppError::JobState(format!("the job can't be approved as it stands: {why}; reject it"))
        };
        let Some(workload) = self.parts.workloads.get(&head.workload) else {
            return Err(stale(&format_args!("the workload {} is not served here any more", head.workload)));
        };
        let row = jobs::get(tx, head.owner_id, head.id).await?;
        let row = row.ok_or_else(|| AppError::not_found("job", head.id))?;
        let (models, blob) = (&self.parts.models, &self.parts.blob);
        let context =
            SubmitContext { owner: head.owner_id, job: head.id, now, budget: row.cap, models, blob };
        let spec = view::json("jobs", "spec", &row, &row.spec)?;
        match workload.recheck(tx, &context, &spec).await.map_err(refused) {
            Err(error @ (AppError::InvalidSpec(_) | AppError::InvalidRequest(_))) => Err(stale(&error)),
            other => other,
        }
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
