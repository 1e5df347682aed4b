//! Money: rows, sums, and calls that nobody answered.

use serde_json::json;
use windrow_api_types::{
    LedgerQuery, LedgerRollup, LedgerRow, Page, PageQuery, RollupBy, RollupQuery, SettleUnconfirmed,
    UnconfirmedCall,
};
use windrow_core::{CallId, FieldError, JobId, PicoUsd};
use windrow_store::hot::{self, CallEnd, CallUsage, MoneyAnswer, MoneyOp, RunRef};
use windrow_store::ledger::{self, GroupBy, Unconfirmed};

use crate::jobs::own_head;
use crate::{Actor, App, AppError, Authority, audit, cursor};

impl App {
    /// The rows of a job and its descendants, in order of booking.
    pub async fn job_ledger(
        &self,
        actor: &Actor,
        id: JobId,
        query: &LedgerQuery,
    ) -> Result<Page<LedgerRow>, AppError> {
        actor.may_read()?;
        let after = cursor::decode(query.cursor.as_deref())?;
        let mut conn = self.read().await?;
        let head = own_head(&mut conn, actor.owner(), id).await?;
        let size = query.size();
        let rows = ledger::of_tree(&mut conn, head.seq, after, size + 1).await?;
        Ok(cursor::page(rows, size, |row| row.seq, row))
    }

    /// The actor's own sums by day, workload, model or kind; some seconds behind the rows.
    pub async fn ledger_rollups(
        &self,
        actor: &Actor,
        query: &RollupQuery,
    ) -> Result<Vec<LedgerRollup>, AppError> {
        actor.may_read()?;
        let days = [("/since", &query.since), ("/until", &query.until)];
        let bad = days.into_iter().filter(|(_, day)| day.as_deref().is_some_and(|day| !is_day(day)));
        let bad: Vec<FieldError> =
            bad.map(|(place, _)| FieldError::new(place, "must be a day such as 2026-01-31")).collect();
        if !bad.is_empty() {
            return Err(AppError::InvalidRequest(bad));
        }
        let by = match query.by {
            RollupBy::Day => GroupBy::Day,
            RollupBy::Workload => GroupBy::Workload,
            RollupBy::Model => GroupBy::Model,
            RollupBy::Kind => GroupBy::Kind,
        };
        let mut conn = self.read().await?;
        let sums =
            ledger::rollups(&mut conn, actor.owner(), by, query.since.as_deref(), query.until.as_deref())
                .await?;
        Ok(sums
            .into_iter()
            .map(|sum| LedgerRollup {
                key: sum.key,
                calls: sum.calls,
                input_tokens: sum.input_tokens,
                output_tokens: sum.output_tokens,
                cached_tokens: sum.cached_tokens,
                cost_usd: sum.cost,
            })
            .collect())
    }

    /// Calls of all owners that are booked at their worst case.
    pub async fn list_unconfirmed(
        &self,
        actor: &Actor,
        query: &PageQuery,
    ) -> Result<Page<UnconfirmedCall>, AppError> {
        actor.may_administer()?;
        let after = cursor::decode(query.cursor.as_deref())?;
        let size = query.size();
        let rows = ledger::unconfirmed(&mut self.read().await?, after, size + 1).await?;
        Ok(cursor::page(rows, size, |row| row.id, unconfirmed))
    }

    /// Books what an unconfirmed call really cost, by the provider's bill; audited.
    ///
    /// # Errors
    /// [`AppError::CallNotUnconfirmed`] when it is settled already.
    pub async fn settle_unconfirmed(
        &self,
        actor: &Actor,
        id: CallId,
        settle: &SettleUnconfirmed,
    ) -> Result<(), AppError> {
        actor.may_administer()?;
        audit::check_reason(&settle.reason)?;
        if settle.cost_usd.as_pico() < 0 {
            return Err(AppError::invalid("/cost_usd", "must not be negative"));
        }
        let line =
            self.audit_line(Authority::Actor(actor), "call.settle", format!("call:{id}"), &settle.reason);
        let (cost, now) = (settle.cost_usd, self.now());
        self.write(move |tx| {
            let mut line = line.clone();
            Box::pin(async move {
                let settled = || AppError::CallNotUnconfirmed(id.to_string());
                let call = ledger::unconfirmed_call(tx, id).await?.ok_or_else(settled)?;
                let answers = hot::reserve_and_settle(tx, &[by_bill(&call, cost)], now).await?;
                if !matches!(answers[..], [MoneyAnswer::Settled { .. }]) {
                    return Err(settled());
                }
                line.before = Some(json!({"cost_usd": call.worst}));
                line.after = Some(json!({"cost_usd": cost}));
                line.write(tx).await
            })
        })
        .await
    }
}

/// The provider's bill says what it cost, and nothing about tokens.
fn by_bill(call: &Unconfirmed, cost: PicoUsd) -> MoneyOp {
    let usage = CallUsage {
        model: call.model.clone().unwrap_or_default(),
        step: call.step.clone(),
        input_tokens: 0,
        output_tokens: 0,
        cached_tokens: 0,
        cost,
        price_version: Some("bill".to_owned()),
        provider_request_id: None,
        duration_us: None,
    };
    MoneyOp::End {
        call: call.id,
        budget: call.budget_id,
        at: RunRef { job: call.job_seq, run: call.run },
        end: CallEnd::Settled { usage: Box::new(usage), journal: None },
    }
}

fn is_day(text: &str) -> bool {
    let shape = text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(at, b)| if matches!(at, 4 | 7) { b == b'-' } else { b.is_ascii_digit() });
    shape && format!("{text}T00:00:00Z").parse::<windrow_core::Timestamp>().is_ok()
}

fn row(row: ledger::LedgerRow) -> LedgerRow {
    LedgerRow {
        call_id: row.call_id,
        job_id: row.job_id,
        run: row.run.0,
        kind: row.kind,
        state: row.entry,
        step: row.step,
        model: row.model,
        input_tokens: row.input_tokens,
        output_tokens: row.output_tokens,
        cached_tokens: row.cached_tokens,
        cost_usd: row.cost,
        price_version: row.price_version,
        duration_ms: row.duration_us.map(|us| us / 1000),
        puts: row.puts,
        gets: row.gets,
        provider_request_id: row.provider_request_id,
        at: row.at,
    }
}

fn unconfirmed(row: Unconfirmed) -> UnconfirmedCall {
    UnconfirmedCall {
        call_id: row.id,
        job_id: row.job_id,
        run: row.run.0,
        model: row.model.unwrap_or_default(),
        step: row.step.unwrap_or_default(),
        worst_usd: row.worst,
        reserved_at: row.reserved_at,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn days_are_real_days() {
        assert!(super::is_day("2026-02-28"));
        for bad in ["2026-02-30", "2026-2-3", "20260203", "2026-02-03T", "yesterday!"] {
            assert!(!super::is_day(bad), "{bad}");
        }
    }
}
