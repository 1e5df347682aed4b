//! Budgets that do not last: many who spend one at once, and a provider that bills more than was agreed.

use std::time::Duration;

use serde_json::json;
use windrow_test_support::TestDb;

use crate::harness::{Api, Windrow};
use crate::paid::{Fleet, cost, ledger, pico, submit_within};
use crate::provider::Provider;

const RECORDS: u64 = 600;
/// Some half of what the records cost.
const BUDGET_USD: &str = "0.0008";

fn windrow(provider: &Provider, workers: usize) -> Windrow {
    Windrow::new()
        .with_env("OPENAI_BASE_URL", provider.url.as_str())
        .with_env("OPENAI_API_KEY", "a key of the test")
        .with_env("WINDROW_MODEL_CONCURRENCY", "200")
        .with_env("WINDROW_WORKER_CONCURRENCY", workers.to_string())
}

/// A job that a hundred runs work at, until its budget has no room for one call more.
fn is_spent_exactly(api: &Api, provider: &Provider) {
    // each shard has several calls of its own at once
    let job = submit_within(api, RECORDS, 10, BUDGET_USD);
    let ended = api.finished(&job);
    assert_eq!(ended["status"], "budget_exceeded", "{ended}");
    let cap = pico(&json!(BUDGET_USD));
    let billed: i64 = provider.bill().values().copied().map(cost).sum();
    assert_eq!((pico(&ended["cost"]["actual"]), pico(&ended["cost"]["reserved"])), (billed, 0), "{ended}");
    let booked: i64 = ledger(api, &job).iter().map(|row| pico(&row["cost_usd"])).sum();
    assert_eq!(booked, billed);
    assert!(billed <= cap, "{billed} of {cap} were spent");
    // 20 tokens out; in at most as many as the prompt has bytes, and what a chat adds
    let worst = cost((100, 20));
    assert!(billed + worst > cap, "{billed} of {cap} were spent, and one call more would have had room");
}

#[test]
fn a_hundred_workers_spend_one_budget_to_the_last_call_that_fits() {
    let provider = Provider::start(Duration::from_millis(5));
    let windrow = windrow(&provider, 100);
    let server = windrow.up();
    is_spent_exactly(&server.api(&windrow.token("alice", "contributor")), &provider);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_workers_in_two_processes_spend_one_budget_to_the_last_call_that_fits() {
    let db = TestDb::postgres().await;
    let url = db.url().to_owned();
    tokio::task::spawn_blocking(move || {
        let provider = Provider::start(Duration::from_millis(5));
        let windrow =
            windrow(&provider, 50).with_env("DATABASE_URL", url).with_env("WINDROW_DATA_DIR", "data");
        windrow.run(&["db", "migrate"]).ok();
        let fleet = Fleet::start(&windrow);
        let token = windrow.run(&["token", "create", "--sub", "alice", "--role", "contributor"]).ok();
        is_spent_exactly(&fleet.api(token.stdout.trim()), &provider);
    })
    .await
    .unwrap();
}

#[test]
fn a_bill_above_its_bound_is_booked_and_stops_the_job() {
    let provider = Provider::with_surcharge(Duration::from_millis(5), 1_000);
    let windrow = windrow(&provider, 4);
    let server = windrow.up();
    let api = server.api(&windrow.token("alice", "contributor"));
    // there is room for all of it: what stops the job is that nobody knows what the next call costs
    let job = submit_within(&api, 400, 100, "100");
    let ended = api.finished(&job);
    assert_eq!(ended["status"], "budget_exceeded", "{ended}");
    let bill = provider.bill();
    let billed: i64 = bill.values().copied().map(cost).sum();
    assert_eq!((pico(&ended["cost"]["actual"]), pico(&ended["cost"]["reserved"])), (billed, 0), "{ended}");
    assert!(bill.len() <= 4 * 16, "{} calls were made though the first had cost too much", bill.len());
    let metrics = String::from_utf8(api.get("/metrics").expect(200).body).unwrap();
    let over = metrics.lines().find_map(|line| line.strip_prefix("windrow_calls_over_bound_total "));
    assert_eq!(over.unwrap().parse(), Ok(bill.len()), "{over:?}");
}
