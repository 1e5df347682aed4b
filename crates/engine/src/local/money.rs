//! Reservations and settlements.

use windrow_api_types::worker::{Bill, Reserve, Reserved, RunRef, Settle, SettleResult};
use windrow_store::hot::{CallEnd, CallUsage, JournalLine, MoneyAnswer, MoneyOp};

use super::counters::count_cost;
use super::saved::{Journalled, micros};
use super::{LocalEngine, at};
use crate::EngineError;

impl LocalEngine {
    pub(super) async fn exchange(
        &self,
        run: RunRef,
        settle: &[Settle],
        reserve: &[Reserve],
    ) -> Result<Vec<Reserved>, EngineError> {
        let served = self.served(run).await?;
        let at = at(run, &served);
        let Some(budget) = served.budget else {
            return Err(EngineError::Invalid("the job has no budget: it can make no priced call".to_owned()));
        };
        let ends = settle.iter().map(|settle| {
            let end = call_end(settle)?;
            Ok(MoneyOp::End { call: settle.call, budget, at, end })
        });
        let mut ops = ends.collect::<Result<Vec<_>, EngineError>>()?;
        ops.extend(reserve.iter().map(|reserve| MoneyOp::Reserve {
            call: reserve.call,
            budget,
            at,
            model: reserve.model.clone(),
            step: Some(reserve.step.clone()),
            worst: reserve.worst,
        }));
        let answers = self.store().money(ops).await?;
        let (settled, reserved) = answers.split_at(settle.len());
        note_excess(run, settled);
        count_costs(settle, settled);
        reserved.iter().map(|answer| reservation(*answer)).collect()
    }
}

fn reservation(answer: MoneyAnswer) -> Result<Reserved, EngineError> {
    match answer {
        MoneyAnswer::Reserved => Ok(Reserved::Granted),
        MoneyAnswer::Wait => Ok(Reserved::Wait),
        MoneyAnswer::Refused => Ok(Reserved::Exceeded),
        MoneyAnswer::Stale => Err(EngineError::Stale),
        // The call was reserved before and has ended: a repeated request whose first answer was lost. Its id is used up.
        other => Err(EngineError::Invalid(format!("a reservation was answered with {other:?}"))),
    }
}

fn call_end(settle: &Settle) -> Result<CallEnd, EngineError> {
    Ok(match &settle.result {
        SettleResult::Unconfirmed => CallEnd::Unconfirmed,
        SettleResult::Released => CallEnd::Released,
        SettleResult::Settled(bill) => {
            CallEnd::Settled { usage: Box::new(usage(settle, bill)), journal: journal_line(bill)? }
        }
    })
}

fn usage(settle: &Settle, bill: &Bill) -> CallUsage {
    CallUsage {
        model: settle.model.clone(),
        step: Some(settle.step.clone()),
        input_tokens: bill.input_tokens,
        output_tokens: bill.output_tokens,
        cached_tokens: bill.cached_tokens,
        cost: bill.cost,
        price_version: Some(bill.price_version.clone()),
        provider_request_id: bill.provider_request_id.clone(),
        duration_us: Some(micros(bill.duration_ms)),
    }
}

fn journal_line(bill: &Bill) -> Result<Option<JournalLine>, EngineError> {
    let Some(line) = &bill.journal else { return Ok(None) };
    let request_hash = hex::decode(&line.request_hash).map_err(|_| {
        EngineError::Invalid(format!("the request_hash of {:?} is not hexadecimal", line.key))
    })?;
    let output = Journalled { cost: bill.cost, response: &line.response };
    let output = serde_json::to_string(&output).map_err(|error| EngineError::Invalid(error.to_string()))?;
    Ok(Some(JournalLine { key: line.key.clone(), request_hash, output }))
}

fn count_costs(settles: &[Settle], answers: &[MoneyAnswer]) {
    for (settle, answer) in settles.iter().zip(answers) {
        let (SettleResult::Settled(bill), MoneyAnswer::Settled { .. }) = (&settle.result, answer) else {
            continue;
        };
        count_cost(&settle.model, bill.cost);
    }
}

/// A provider that bills more than the bound closes the tree; somebody should look.
fn note_excess(run: RunRef, settled: &[MoneyAnswer]) {
    let excess =
        settled.iter().filter(|answer| matches!(answer, MoneyAnswer::Settled { excess: true, .. })).count();
    if excess > 0 {
        metrics::counter!("windrow_calls_over_bound_total").increment(excess as u64);
        tracing::error!(%run, calls = excess, "calls cost more than was reserved; their tree is closed");
    }
}
