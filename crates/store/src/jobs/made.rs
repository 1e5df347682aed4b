//! A job that was just made, as a read would find it.

use windrow_core::{BudgetId, JobSeq, JobStatus, PicoUsd, RunNo, Timestamp};

use super::JobRow;
use crate::hot::NewJob;

impl JobRow {
    /// What [`super::get`] finds right after a submit has answered [`Submitted::Created`](crate::hot::Submitted) with `seq` and `at`,
    /// before anything else happens to the job: so whoever submitted it need not read what they wrote.
    pub fn made(new: NewJob, seq: JobSeq, at: Timestamp) -> Self {
        let money = |amount| new.budget.map(|_| amount);
        Self {
            seq,
            id: new.id,
            owner_id: new.owner,
            workload: new.workload,
            spec: new.spec,
            spec_version: u32::try_from(new.spec_version).unwrap_or(u32::MAX),
            priority: new.priority,
            run_at: new.run_at.max(at),
            parent_id: None,
            child_key: None,
            budget_id: new.budget.map(|_| BudgetId(new.id.0)),
            request_id: new.request_id,
            traceparent: new.traceparent,
            estimate: new.estimate,
            created_at: at,
            approved_at: None,
            cancel_requested_at: None,
            reopened_run: RunNo(0),
            reopened_at: None,
            status: if new.needs_approval { JobStatus::PendingApproval } else { JobStatus::Queued },
            running_run: None,
            running_since: None,
            running_attempts: None,
            running_lost: None,
            last_run: None,
            last_outcome: None,
            last_ended_at: None,
            retry_at: None,
            attempts: None,
            lost: None,
            class: None,
            code: None,
            error: None,
            user_fault: None,
            first_started_at: None,
            stage: None,
            done: None,
            total: None,
            progress_at: None,
            cap: new.budget.map(|budget| budget.cap),
            reserved: money(PicoUsd::ZERO),
            spent: money(PicoUsd::ZERO),
            counts_compute: new.budget.map(|budget| budget.counts.compute),
            counts_storage: new.budget.map(|budget| budget.counts.storage),
            output: None,
            output_version: None,
            input_tokens: None,
            output_tokens: None,
            cached_tokens: None,
            cost: None,
        }
    }
}
