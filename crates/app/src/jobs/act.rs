//! What a person does to a job: cancel, retry.

use serde_json::json;
use windrow_api_types::{Job, RetryJob, SCHEMA_VERSION};
use windrow_core::{JobId, JobStatus, PicoUsd, RunNo};
use windrow_store::hot::{self, CancelAnswer, NewEvent, Reopened};
use windrow_store::jobs::{self, Head};

use super::look::own_head;
use crate::{Actor, App, AppError, Authority};

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
        // the keeper would find them too: here they end before the answer, if they can
        if let Err(error) = store.stop_children().await {
            tracing::warn!(%error, job_id = %id, "the children of a cancelled job end a little later");
        }
        match answer {
            CancelAnswer::Cancelled | CancelAnswer::Asked => self.job_body(actor.owner(), id).await,
            CancelAnswer::AlreadyEnded(status) => {
                Err(AppError::JobState(format!("the job has ended as {status}: there is nothing to cancel")))
            }
            CancelAnswer::NotFound => Err(AppError::not_found("job", id)),
        }
    }

    /// Puts a job that failed, was cancelled or exceeded its budget in line again, with the children that did not
    /// complete. Attempts start anew, run numbers go on, what was saved is kept. A larger budget is audited.
    ///
    /// # Errors
    /// [`AppError::ChildJob`] for a child; [`AppError::JobState`] for a job that nothing can retry;
    /// [`AppError::InvalidRequest`] for a budget that is not above the job's, or that a submit would make wait for an admin.
    pub async fn retry_job(&self, actor: &Actor, id: JobId, retry: &RetryJob) -> Result<Job, AppError> {
        actor.may_write()?;
        let head = own_head(&mut self.read().await?, actor.owner(), id).await?;
        let answer = match retry.budget_usd {
            None => self.parts.store.reopen(head.seq, None).await?,
            Some(budget) => self.reopen_with(actor, &head, budget).await?,
        };
        match answer {
            Reopened::Reopened { .. } => self.job_body(actor.owner(), id).await,
            Reopened::NotEnded(status @ (JobStatus::Cancelled | JobStatus::Rejected)) => {
                Err(AppError::JobState(format!(
                    "the job was {status} before anybody approved it: submit a new one"
                )))
            }
            Reopened::NotEnded(status) => Err(AppError::JobState(format!(
                "the job is {status}: only a failed, cancelled or budget-exceeded one can be retried"
            ))),
            Reopened::Child => {
                let root = jobs::root_id(&mut self.read().await?, head.seq).await?;
                Err(AppError::ChildJob { root })
            }
            Reopened::Settling => Err(AppError::JobState(
                "children of its last run are still stopping; try again in a moment".to_owned(),
            )),
            Reopened::NotFound => Err(AppError::not_found("job", id)),
        }
    }

    async fn reopen_with(&self, actor: &Actor, head: &Head, budget: PicoUsd) -> Result<Reopened, AppError> {
        let limit = self.parts.settings.approval_above(&head.workload);
        if let Some(limit) = limit.filter(|limit| budget > *limit && actor.may_administer().is_err()) {
            let message = format!(
                "is above {limit} USD, which takes an admin's approval: ask for at most that, or submit a new job"
            );
            return Err(AppError::invalid("/budget_usd", message));
        }
        let reason = "retried with a larger budget";
        let target = format!("job:{}", head.id);
        let line = self.audit_line(Authority::Actor(actor), "job.raise_budget", target, reason);
        let (head, now) = (head.clone(), self.now());
        self.write(move |tx| {
            let (mut line, head) = (line.clone(), head.clone());
            Box::pin(async move {
                let row = jobs::get(tx, head.owner_id, head.id).await?;
                let answer = hot::reopen(tx, head.seq, Some(budget), now).await?;
                if !matches!(answer, Reopened::Reopened { .. }) {
                    return Ok(answer);
                }
                // only a reopening raises a budget, and of two at once one finds the job not ended: the row is the last word
                let cap = raised(row.and_then(|row| row.cap.zip(row.spent)), budget)?;
                line.before = Some(json!({ "budget_usd": cap }));
                line.after = Some(json!({ "budget_usd": budget }));
                let event = NewEvent {
                    job: head.seq,
                    run: RunNo(0),
                    kind: "budget_raised".to_owned(),
                    payload: json!({ "from": cap, "to": budget }).to_string(),
                    schema_version: i64::from(SCHEMA_VERSION),
                };
                hot::append_events(tx, &[event], now).await?;
                line.write(tx).await?;
                Ok(answer)
            })
        })
        .await
    }
}

/// The budget before, if `budget` is more. `had` is the budget and what is spent of it.
fn raised(had: Option<(PicoUsd, PicoUsd)>, budget: PicoUsd) -> Result<PicoUsd, AppError> {
    match had {
        None => Err(AppError::invalid("/budget_usd", "the job has no budget: retry it without one")),
        Some((cap, spent)) if budget <= cap => {
            let message = format!("must be above the job's budget of {cap} USD, of which {spent} are spent");
            Err(AppError::invalid("/budget_usd", message))
        }
        Some((cap, _)) => Ok(cap),
    }
}
