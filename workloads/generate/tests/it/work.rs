//! What a job's work costs beside its calls, from the submit to the ledger.

use serde_json::json;
use windrow_api_types::{LedgerQuery, LedgerRow, RollupBy, RollupQuery};
use windrow_core::{BudgetId, JobId, JobStatus, LedgerKind, PicoUsd, SystemClock};
use windrow_store::{WorkPrices, hot};
use windrow_test_support::{TestDb, on_both};

use crate::installation::{Installation, assert_status, indices};
use crate::stub::{CALL_USD, Stub};

const ALL: [LedgerKind; 3] = [LedgerKind::Model, LedgerKind::Compute, LedgerKind::Storage];
const ONE_STEP: &str = "template:\n  name: one\n  schema_requirements: [n]\n  steps:\n    - {id: a, model: \"stub:m\", max_tokens: 10, prompt: 'number {{ n }}'}\n";

fn usd(text: &str) -> PicoUsd {
    text.parse().unwrap()
}

/// An hour, a put and a get cost so much.
async fn start(db: TestDb, hour: &str, put: i64, get: i64) -> Installation {
    let thousand = |cents: i64| PicoUsd::from_usd(cents * 10);
    let prices = WorkPrices { compute_hour: usd(hour), puts_1000: thousand(put), gets_1000: thousand(get) };
    Installation::priced(db, Some(Stub::echo().models(SystemClock::shared())), prices).await
}

/// 40 records in shards of 4.
async fn spec(it: &Installation) -> serde_json::Value {
    let template = it.template(ONE_STEP).await;
    let seeds: String = (0..40).map(|n| format!("{{\"n\": {n}}}\n")).collect();
    let seed = it.upload(seeds.as_bytes()).await;
    json!({"template": template, "seed": seed, "records": 40, "shard_size": 4, "formats": ["jsonl"]})
}

async fn ledger(it: &Installation, job: JobId) -> Vec<LedgerRow> {
    let actor = it.test.actor("alice").await;
    let query = LedgerQuery { limit: Some(200), ..LedgerQuery::default() };
    it.test.app.job_ledger(&actor, job, &query).await.unwrap().items
}

fn of(rows: &[LedgerRow], kind: LedgerKind) -> Vec<&LedgerRow> {
    rows.iter().filter(|row| row.kind == kind).collect()
}

fn sum<'a>(rows: impl IntoIterator<Item = &'a LedgerRow>) -> PicoUsd {
    rows.into_iter().map(|row| row.cost_usd).sum()
}

on_both! {
    async fn all_that_a_job_uses_is_in_its_ledger_and_counts_where_it_says_so(db) {
        let it = start(db, "0.36", 1, 1).await;
        let spec = spec(&it).await;
        let job = it.submit_counting(spec.clone(), Some("100000"), Some(ALL.to_vec())).await;
        assert_eq!(job.budget_counts.as_deref(), Some(&ALL[..]));
        let done = it.finish(job.id).await;
        assert_status(&done, JobStatus::Completed);
        let rows = ledger(&it, job.id).await;
        let calls: PicoUsd = (0..40).map(|_| usd(CALL_USD)).sum();
        assert_eq!(sum(of(&rows, LedgerKind::Model)), calls);
        // the plan and the assembly are runs of the job itself; each shard is one, and puts its part
        let puts: u64 = of(&rows, LedgerKind::Storage).iter().filter_map(|row| row.puts).sum();
        let gets: u64 = of(&rows, LedgerKind::Storage).iter().filter_map(|row| row.gets).sum();
        assert!(puts > 10 && gets >= 10, "{puts} puts, {gets} gets");
        assert_eq!(sum(of(&rows, LedgerKind::Storage)), PicoUsd::from_pico(10_000_000_000).saturating_mul(puts + gets));
        for row in of(&rows, LedgerKind::Compute) {
            // a second is 0.0001 USD
            assert_eq!(row.cost_usd.as_pico() / 100_000, i64::try_from(row.duration_ms.unwrap()).unwrap(), "{row:?}");
        }
        assert_eq!(done.cost.actual, sum(&rows));
        let mut conn = it.test.app.parts.store.read().await.unwrap();
        let budget = hot::budget(&mut conn, BudgetId(job.id.0)).await.unwrap().unwrap();
        drop(conn);
        assert_eq!(budget.spent, sum(&rows));

        // of the same job only its calls count, unless it says otherwise
        let job = it.submit(spec, Some("1")).await;
        assert_eq!(job.budget_counts.as_deref(), Some(&ALL[..1]));
        let done = it.finish(job.id).await;
        assert_status(&done, JobStatus::Completed);
        let rows = ledger(&it, job.id).await;
        assert_eq!(done.cost.actual, sum(&rows));
        let mut conn = it.test.app.parts.store.read().await.unwrap();
        let budget = hot::budget(&mut conn, BudgetId(job.id.0)).await.unwrap().unwrap();
        drop(conn);
        assert_eq!(budget.spent, calls);
        it.test.finish().await;
    }

    async fn a_job_whose_work_costs_more_than_its_budget_ends_with_what_it_made(db) {
        let it = start(db, "0", 30, 0).await;
        let spec = spec(&it).await;
        let job = it.submit_counting(spec, Some("1"), Some(ALL.to_vec())).await;
        let done = it.finish(job.id).await;
        assert_status(&done, JobStatus::BudgetExceeded);
        let records = indices(&it.records(job.id).await);
        assert!(!records.is_empty() && records.len() < 40, "{records:?}");
        let rows = ledger(&it, job.id).await;
        assert!(sum(&rows) > usd("1"), "what was done is booked, above the cap too");
        assert_eq!(done.cost.actual, sum(&rows));

        let high = it.test.app.parts.store.alone(|tx| Box::pin(windrow_store::ledger::settled_up_to(tx))).await.unwrap();
        it.test.app.parts.store.alone(move |tx| Box::pin(windrow_store::ledger::roll_up(tx, high, 1000))).await.unwrap();
        let actor = it.test.actor("alice").await;
        let query = RollupQuery { by: RollupBy::Kind, ..RollupQuery::default() };
        let sums = it.test.app.ledger_rollups(&actor, &query).await.unwrap();
        let kinds: Vec<(&str, u64)> = sums.iter().map(|sum| (sum.key.as_str(), sum.calls)).collect();
        assert_eq!(kinds, [("model", of(&rows, LedgerKind::Model).len() as u64), ("storage", 0)]);
        let query = RollupQuery { by: RollupBy::Model, ..RollupQuery::default() };
        let models = it.test.app.ledger_rollups(&actor, &query).await.unwrap();
        assert_eq!(models.iter().map(|sum| sum.key.as_str()).collect::<Vec<_>>(), ["stub:m"]);
        it.test.finish().await;
    }
}
