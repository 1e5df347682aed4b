//! A job of paid records, its provider's bill, and the ledger that must be the same, call by call.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::harness::{Api, Server, Windrow};
use crate::provider::{Provider, Tokens};

/// Far more than the jobs of these tests cost.
const BUDGET_USD: &str = "0.5";
/// Calls of one process at once: what may be in flight when it dies.
pub const CONCURRENCY: usize = 16;

const TEMPLATE: &str = "template:\n  name: paid\n  steps:\n    - {id: a, model: 'openai:gpt-4o-mini', max_tokens: 20, prompt: 'Write about {{ a }}.'}\n";

pub fn windrow(provider: &Provider) -> Windrow {
    Windrow::new()
        .with_env("OPENAI_BASE_URL", provider.url.as_str())
        .with_env("OPENAI_API_KEY", "a key of the test")
        .with_env("WINDROW_MODEL_CONCURRENCY", CONCURRENCY.to_string())
        .with_env("WINDROW_WORKER_CONCURRENCY", "4")
}

/// A job of so many records, each of which is one paid call.
pub fn submit(api: &Api, records: u64) -> String {
    submit_within(api, records, 50, BUDGET_USD)
}

/// The same with so many records a shard and another budget.
pub fn submit_within(api: &Api, records: u64, shard_size: u64, budget_usd: &str) -> String {
    let template = api.post("/v1/templates", &json!({ "document": TEMPLATE })).expect(201).json();
    let seed =
        api.upload("a.jsonl", "application/x-ndjson", b"{\"a\": \"rivers\"}\n{\"a\": \"old stones\"}\n");
    let spec = json!({ "template": template["id"], "seed": seed, "records": records, "shard_size": shard_size, "formats": ["jsonl", "csv", "parquet"] });
    let job = json!({ "workload": "generate", "spec": spec, "budget_usd": budget_usd });
    api.post("/v1/jobs", &job).expect(202).json()["id"].as_str().unwrap().to_owned()
}

pub fn ledger(api: &Api, job: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = api.get(&format!("/v1/jobs/{job}/ledger?limit=200{cursor}")).expect(200).json();
        rows.extend(page["items"].as_array().unwrap().iter().filter(|row| row["kind"] == "model").cloned());
        let Some(next) = page["next_cursor"].as_str() else { return rows };
        cursor = format!("&cursor={next}");
    }
}

pub fn pico(usd: &Value) -> i64 {
    let usd: windrow_core::PicoUsd = serde_json::from_value(usd.clone()).unwrap();
    usd.as_pico()
}

/// gpt-4o-mini: 0.15 USD a million input tokens, 0.60 a million output tokens.
pub fn cost((input, output): Tokens) -> i64 {
    i64::try_from(input * 150_000 + output * 600_000).unwrap()
}

/// One call in the ledger: its rows together.
#[derive(Default)]
struct Call {
    states: Vec<String>,
    cost: i64,
    /// What the provider said, once it did.
    answer: Option<(String, Tokens)>,
}

fn calls(rows: &[Value]) -> BTreeMap<String, Call> {
    let mut calls = BTreeMap::<String, Call>::new();
    for row in rows {
        let call = calls.entry(row["call_id"].as_str().unwrap().to_owned()).or_default();
        call.states.push(row["state"].as_str().unwrap().to_owned());
        call.cost += pico(&row["cost_usd"]);
        if let Some(id) = row["provider_request_id"].as_str() {
            let tokens = (row["input_tokens"].as_u64().unwrap(), row["output_tokens"].as_u64().unwrap());
            call.answer = Some((id.to_owned(), tokens));
        }
    }
    calls
}

/// The ledger is the bill, but for calls that were in flight when something broke: at most `in_flight` of them.
#[track_caller]
pub fn assert_paid(api: &Api, job: &Value, provider: &Provider, records: u64, in_flight: usize) {
    let bill = provider.bill();
    let rows = ledger(api, job["id"].as_str().unwrap());
    let calls = calls(&rows);
    let mut answered = BTreeSet::new();
    for (id, tokens) in calls.values().filter_map(|call| call.answer.clone()) {
        assert_eq!(bill.get(&id), Some(&tokens), "the ledger has other tokens than the bill: {id}");
        assert!(answered.insert(id.clone()), "two calls of the ledger are one of the bill: {id}");
    }
    for call in calls.values() {
        if let Some((id, tokens)) = &call.answer {
            assert_eq!(call.cost, cost(*tokens), "{id}");
        }
    }
    // an answer that came after its run was lost is a correction, and the record's call is made again
    let in_time = calls.values().filter(|call| call.states == ["settled"]).count();
    assert_eq!(in_time as u64, records, "each record's call is paid in time once");
    let others = calls.len() - in_time;
    assert!(
        others <= in_flight,
        "{others} calls were in flight when something broke, which {in_flight} may be"
    );
    let unanswered = calls.values().filter(|call| call.answer.is_none());
    assert!(unanswered.clone().all(|call| call.states == ["unconfirmed"]));
    let not_booked = bill.keys().filter(|id| !answered.contains(*id)).count();
    assert!(not_booked <= unanswered.count(), "{not_booked} calls are billed and not in the ledger");
    let billed: i64 = bill.values().copied().map(cost).sum();
    let booked: i64 = calls.values().map(|call| call.cost).sum();
    assert_eq!(pico(&job["cost"]["actual"]), booked, "{job}");
    assert_eq!(pico(&job["cost"]["reserved"]), 0, "{job}");
    assert!(billed <= booked && booked <= pico(&json!(BUDGET_USD)), "billed {billed}, booked {booked}");
}

/// One `api` and two `worker`s.
pub struct Fleet {
    pub processes: Vec<Server>,
}

impl Fleet {
    pub const COMMANDS: [&'static [&'static str]; 3] =
        [&["api", "--port", "0", "--json"], &["worker", "--json"], &["worker", "--json"]];

    pub fn start(windrow: &Windrow) -> Self {
        Self { processes: Self::COMMANDS.iter().map(|args| windrow.start(args)).collect() }
    }

    pub fn kill(&mut self, windrow: &Windrow, victim: usize) {
        self.processes[victim].kill();
        self.processes[victim] = windrow.start(Self::COMMANDS[victim]);
    }

    pub fn api(&self, token: &str) -> Api {
        self.processes[0].api(token)
    }
}
