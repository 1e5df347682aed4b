//! A history's words in the store's types, and its answers in the history's words.

use std::time::Duration;

use uuid::Uuid;
use windrow_core::{BudgetId, CallId, JobError, JobId, OwnerId, PicoUsd, Priority, Timestamp};
use windrow_store::hot::{
    Approval, CallEnd, CallUsage, End, Ended, JournalLine, MoneyOp, NewBudget, NewChild, NewJob, Output,
    RunRef, Submitted,
};

use super::step::{JobNo, Money, RunEnd, SubmitJob};

pub(super) fn number(id: Uuid) -> u64 {
    u64::try_from(id.as_u128()).unwrap()
}

pub(super) fn new_job(job: &SubmitJob, now: Timestamp) -> NewJob {
    NewJob {
        priority: Priority::from_rank(i16::from(job.priority)).unwrap(),
        budget: job.cap.map(|cap| NewBudget::of(PicoUsd::from_pico(cap))),
        idempotency: job.key.map(|(key, hash)| (format!("key{key}"), [hash; 32])),
        needs_approval: job.approval,
        ..NewJob::plain(
            JobId(Uuid::from_u128(u128::from(job.job))),
            OwnerId(job.owner),
            job.workload,
            now.plus(Duration::from_micros(u64::try_from(job.delay).unwrap())),
        )
    }
}

pub(super) fn new_child(job: JobNo, key: u8) -> NewChild {
    NewChild {
        id: JobId(Uuid::from_u128(u128::from(job))),
        key: format!("c{key}"),
        workload: "w".to_owned(),
        spec: "{}".to_owned(),
        spec_version: 1,
        priority: None,
    }
}

pub(super) fn submitted(answer: &Submitted) -> String {
    match answer {
        Submitted::Created { id, .. } => format!("created {}", number(id.0)),
        Submitted::Reused { id, .. } => format!("reused {}", number(id.0)),
        Submitted::Conflict { id, .. } => format!("conflict {}", number(id.0)),
    }
}

pub(super) fn run_end(end: &RunEnd, now: Timestamp) -> End {
    let error = |code: &'static str| JobError::transient(code, "as the history says");
    match end {
        RunEnd::Complete => End::Complete(Some(Output { schema_version: 1, json: "{}".to_owned() })),
        RunEnd::Budget => End::BudgetExceeded { output: None, error: JobError::budget("no room") },
        RunEnd::Retry(after) => End::Retry {
            at: now.plus(Duration::from_micros(u64::try_from(*after).unwrap())),
            error: error("busy"),
        },
        RunEnd::Fail(dead_letter) => End::Fail { error: error("bad"), dead_letter: *dead_letter },
        RunEnd::Cancel => End::Cancel,
        RunEnd::Release => End::Release,
        RunEnd::Await => End::Await,
        RunEnd::Lost(poison_after) => End::Lost { poison_after: *poison_after },
    }
}

pub(super) fn ended(answers: &[Ended]) -> Vec<String> {
    let answer = |ended: &Ended| match ended {
        Ended::Stale => "stale".to_owned(),
        Ended::Ended(run) => format!("{} {}", run.outcome, run.status),
    };
    answers.iter().map(answer).collect()
}

pub(super) fn approval(answer: Approval) -> &'static str {
    match answer {
        Approval::Done => "done",
        Approval::NotPending => "not pending",
        Approval::NotFound => "not found",
    }
}

pub(super) fn money_op(op: &Money, budget: BudgetId, at: RunRef) -> MoneyOp {
    let id = |call: &u64| CallId(Uuid::from_u128(u128::from(*call)));
    let (call, end) = match op {
        Money::Reserve { call, worst, .. } => {
            let (model, step, worst) = ("m".to_owned(), None, PicoUsd::from_pico(*worst));
            return MoneyOp::Reserve { call: id(call), budget, at, model, step, worst };
        }
        Money::Settle { call, cost, key, .. } => {
            let usage = CallUsage {
                model: "m".to_owned(),
                step: None,
                input_tokens: 1,
                output_tokens: 1,
                cached_tokens: 0,
                cost: PicoUsd::from_pico(*cost),
                price_version: None,
                provider_request_id: None,
                duration_us: None,
            };
            let line = |key: u8| JournalLine {
                key: format!("k{key}"),
                request_hash: vec![key; 32],
                output: "1".to_owned(),
            };
            (call, CallEnd::Settled { usage: Box::new(usage), journal: key.map(line) })
        }
        Money::Unconfirmed { call, .. } => (call, CallEnd::Unconfirmed),
        Money::Release { call, .. } => (call, CallEnd::Released),
    };
    MoneyOp::End { call: id(call), budget, at, end }
}
