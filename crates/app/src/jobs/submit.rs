//! Submit: login, then the key, then validation, then pinning, then one transaction.

use tracing::{Instrument as _, Span};
use windrow_api_types::{Job, SubmitJob};
use windrow_core::{BudgetCounts, FieldError, JobId, PicoUsd, Timestamp};
use windrow_engine::{PrepareError, SubmitContext, spans};
use windrow_store::hot::{NewBudget, NewJob, Submitted};
use windrow_store::jobs::{self, JobRow};

use super::{canonical, validate, view};
use crate::{Actor, App, AppError};

/// The job of a submit, and whether an earlier request with the same key had made it.
#[derive(Clone, Debug)]
pub struct SubmitReply {
    pub job: Job,
    pub reused: bool,
}

/// A request that passed all checks.
pub(super) struct Prepared {
    pub(super) new: NewJob,
}

impl App {
    /// Submits one job; `key` is the request's `Idempotency-Key`. Returns once the job is on disk.
    ///
    /// # Errors
    /// [`AppError::IdempotencyConflict`] when the key stands for another request; what is wrong with the request.
    pub async fn submit_job(
        &self,
        actor: &Actor,
        request: SubmitJob,
        key: Option<&str>,
    ) -> Result<SubmitReply, AppError> {
        actor.may_write()?;
        let key = match (key, request.idempotency_key.as_deref()) {
            (Some(header), Some(body)) if header != body => {
                return Err(AppError::invalid("/idempotency_key", "differs from the header Idempotency-Key"));
            }
            (header, body) => header.or(body).map(str::to_owned),
        };
        if key.as_deref().is_some_and(|key| !validate::is_key(key)) {
            return Err(AppError::BadIdempotencyKey);
        }
        let idempotency = key.map(|key| (key, canonical::request_hash(&request)));
        if let Some((key, hash)) = &idempotency {
            let used = jobs::of_keys(&mut self.read().await?, actor.owner(), &[key.as_str()]).await?;
            if let Some(used) = used.first() {
                return self.replay(actor, used.id, used.request_hash == hash).await;
            }
        }
        self.submit_new(actor, request, idempotency).instrument(tracing::debug_span!("submit")).await
    }

    async fn submit_new(
        &self,
        actor: &Actor,
        request: SubmitJob,
        idempotency: Option<(String, [u8; 32])>,
    ) -> Result<SubmitReply, AppError> {
        validate::check(self, &request)?;
        let prepared = self.prepare(actor, request, idempotency).await?;
        let submitted = self.parts.store.submit(vec![prepared.new.clone()]).await?;
        match submitted.first().copied() {
            Some(Submitted::Created { seq, at, .. }) => {
                let job = view::job(self, JobRow::made(prepared.new, seq, at), None)?;
                Ok(SubmitReply { job, reused: false })
            }
            Some(Submitted::Reused { id, .. }) => self.replay(actor, id, true).await,
            Some(Submitted::Conflict { id, .. }) => self.replay(actor, id, false).await,
            None => unreachable!("a submit answers each of its items"),
        }
    }

    async fn replay(&self, actor: &Actor, job: JobId, same: bool) -> Result<SubmitReply, AppError> {
        if !same {
            return Err(AppError::IdempotencyConflict { job });
        }
        Ok(SubmitReply { job: self.job_body(actor.owner(), job).await?, reused: true })
    }

    /// Has the workload check and pin the spec.
    pub(super) async fn prepare(
        &self,
        actor: &Actor,
        request: SubmitJob,
        idempotency: Option<(String, [u8; 32])>,
    ) -> Result<Prepared, AppError> {
        let workload = self.parts.workloads.get(&request.workload);
        let workload = workload.ok_or_else(|| AppError::UnknownWorkload {
            name: request.workload.clone(),
            known: self.parts.workloads.names().collect::<Vec<_>>().join(", "),
        })?;
        let now = self.now();
        let id = JobId::new(&*self.parts.clock);
        let budget = request
            .budget_usd
            .or_else(|| workload.spec_budget(&request.spec))
            .or(self.parts.settings.default_budget);
        if budget.is_none() && request.budget_counts.is_some() {
            let message = "says what counts against a budget, and the job has none: set budget_usd, too";
            return Err(AppError::invalid("/budget_counts", message));
        }
        let (models, blob) = (&self.parts.models, &self.parts.blob);
        let context = SubmitContext { owner: actor.owner(), job: id, now, budget, models, blob };
        let prepared =
            workload.prepare(self.parts.store.db(), &context, request.spec.clone()).await.map_err(refused)?;
        let settings = &self.parts.settings;
        let needs_approval = settings.needs_approval(&request.workload, budget, prepared.estimate);
        let usual = settings.priority_by_workload.get(&request.workload).copied();
        let request = SubmitJob { priority: request.priority.or(usual), ..request };
        let new = new_job(actor, request, &prepared, id, budget, idempotency, now);
        Ok(Prepared { new: NewJob { needs_approval, ..new } })
    }
}

pub(super) fn refused(error: PrepareError) -> AppError {
    let under_spec = |fault: FieldError| FieldError { pointer: format!("/spec{}", fault.pointer), ..fault };
    match error {
        PrepareError::Invalid(faults) => AppError::InvalidSpec(faults.into_iter().map(under_spec).collect()),
        PrepareError::Store(error) => error.into(),
        PrepareError::Blob(error) => error.into(),
    }
}

fn new_job(
    actor: &Actor,
    request: SubmitJob,
    prepared: &windrow_engine::Prepared,
    id: JobId,
    budget: Option<PicoUsd>,
    idempotency: Option<(String, [u8; 32])>,
    now: Timestamp,
) -> NewJob {
    let counts = request.budget_counts.as_deref().and_then(BudgetCounts::of).unwrap_or_default();
    NewJob {
        id,
        owner: actor.owner(),
        workload: request.workload,
        spec: prepared.spec.to_string(),
        spec_version: i64::from(request.schema_version.unwrap_or(windrow_api_types::SCHEMA_VERSION)),
        priority: request.priority.unwrap_or_default(),
        run_at: request.run_at.unwrap_or(now),
        budget: budget.map(|cap| NewBudget { counts, ..NewBudget::of(cap) }),
        idempotency,
        request_id: actor.request_id.clone(),
        traceparent: spans::position(&Span::current(), actor.traceparent).map(|at| at.to_string()),
        webhook_url: request.webhook_url,
        needs_approval: false,
        estimate: prepared.estimate,
    }
}
