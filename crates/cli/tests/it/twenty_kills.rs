//! Twenty SIGKILLs at random instants through one job of two thousand paid records: the dataset is whole, and the ledger is the
//! provider's bill, call by call, but for the calls that were in flight at a kill.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};
use std::process::Command;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use windrow_test_support::TestDb;

use crate::harness::{Api, Server, Windrow};
use crate::kills::assert_whole;
use crate::provider::{Provider, Tokens};

const RECORDS: u64 = 2_000;
const KILLS: usize = 20;
const BUDGET_USD: &str = "0.5";
/// What may be in flight at one kill.
const CONCURRENCY: usize = 16;

const TEMPLATE: &str = "template:\n  name: paid\n  steps:\n    - {id: a, model: 'openai:gpt-4o-mini', max_tokens: 20, prompt: 'Write about {{ a }}.'}\n";

fn windrow(provider: &Provider) -> Windrow {
    Windrow::new()
        .with_env("OPENAI_BASE_URL", provider.url.as_str())
        .with_env("OPENAI_API_KEY", "a key of the test")
        .with_env("WINDROW_MODEL_CONCURRENCY", CONCURRENCY.to_string())
        .with_env("WINDROW_WORKER_CONCURRENCY", "4")
}

fn submit(api: &Api) -> String {
    let template = api.post("/v1/templates", &json!({ "document": TEMPLATE })).expect(201).json();
    let seed =
        api.upload("a.jsonl", "application/x-ndjson", b"{\"a\": \"rivers\"}\n{\"a\": \"old stones\"}\n");
    let spec = json!({ "template": template["id"], "seed": seed, "records": RECORDS, "shard_size": 50, "formats": ["jsonl", "csv", "parquet"] });
    let job = json!({ "workload": "generate", "spec": spec, "budget_usd": BUDGET_USD });
    api.post("/v1/jobs", &job).expect(202).json()["id"].as_str().unwrap().to_owned()
}

/// Numbers of calls after which to kill, ascending, and a way to choose a victim and a pause.
struct Chance(ChaCha8Rng);

impl Chance {
    #[expect(clippy::print_stdout, reason = "shown by the test runner when the test fails")]
    fn new() -> Self {
        let seed = std::env::var("WINDROW_KILL_SEED")
            .map_or_else(|_| RandomState::new().hash_one(KILLS), |seed| seed.parse().unwrap());
        println!("WINDROW_KILL_SEED={seed} chooses the same victims and calls again");
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    fn instants(&mut self) -> Vec<u64> {
        let mut instants: Vec<_> = (0..KILLS).map(|_| 1 + self.below(RECORDS)).collect();
        instants.sort_unstable();
        instants
    }

    fn victim(&mut self, processes: usize) -> usize {
        usize::try_from(self.below(processes as u64)).unwrap()
    }

    /// Not only while a call arrives: checkpoints and the assembly take their share of the kills.
    fn pause(&mut self) {
        std::thread::sleep(Duration::from_millis(self.below(40)));
    }
}

fn ledger(api: &Api, job: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = api.get(&format!("/v1/jobs/{job}/ledger?limit=200{cursor}")).expect(200).json();
        rows.extend(page["items"].as_array().unwrap().iter().filter(|row| row["kind"] == "model").cloned());
        let Some(next) = page["next_cursor"].as_str() else { return rows };
        cursor = format!("&cursor={next}");
    }
}

fn pico(usd: &Value) -> i64 {
    let usd: windrow_core::PicoUsd = serde_json::from_value(usd.clone()).unwrap();
    usd.as_pico()
}

/// gpt-4o-mini: 0.15 USD a million input tokens, 0.60 a million output tokens.
fn cost((input, output): Tokens) -> i64 {
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

fn assert_paid(api: &Api, job: &Value, provider: &Provider) {
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
    assert_eq!(in_time as u64, RECORDS, "each record's call is paid in time once");
    let in_flight = calls.len() - in_time;
    assert!(in_flight <= 2 * KILLS * CONCURRENCY, "{in_flight} calls in flight at the kills");
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

/// The process ids of a process's children; none when it has none just now.
fn children_of(pid: u32) -> Vec<String> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().map(str::to_owned).collect()
}

/// Twenty kills of `windrow up` with these arguments, and of its children where it has some.
fn twenty_kills_on_sqlite(args: &[&str]) {
    let provider = Provider::start(Duration::from_millis(5));
    let windrow = windrow(&provider);
    let args = [&["up", "--data-dir", "data", "--port", "0", "--json"], args].concat();
    let mut server = windrow.start(&args);
    let token = windrow.token("alice", "contributor");
    let job = submit(&server.api(&token));
    let mut chance = Chance::new();
    for calls in chance.instants() {
        provider.await_calls(calls);
        chance.pause();
        let children = children_of(server.pid());
        match children.get(chance.victim(children.len() + 1)) {
            // it may have died by itself since it was listed
            Some(child) => drop(Command::new("kill").args(["-KILL", child]).output().unwrap()),
            None => {
                server.kill();
                server = windrow.start(&args);
            }
        }
    }
    let api = server.api(&token);
    let ended = api.finished(&job);
    assert_whole(&api, &ended, RECORDS);
    assert_paid(&api, &ended, &provider);
}

#[test]
fn on_sqlite_the_bill_is_the_ledger_after_twenty_kills() {
    twenty_kills_on_sqlite(&[]);
}

#[test]
fn with_worker_processes_the_bill_is_the_ledger_after_twenty_kills() {
    twenty_kills_on_sqlite(&["--worker-processes", "2"]);
}

/// One `api` and two `worker`s.
struct Fleet {
    processes: Vec<Server>,
}

impl Fleet {
    const COMMANDS: [&'static [&'static str]; 3] =
        [&["api", "--port", "0", "--json"], &["worker", "--json"], &["worker", "--json"]];

    fn start(windrow: &Windrow) -> Self {
        Self { processes: Self::COMMANDS.iter().map(|args| windrow.start(args)).collect() }
    }

    fn kill(&mut self, windrow: &Windrow, victim: usize) {
        self.processes[victim].kill();
        self.processes[victim] = windrow.start(Self::COMMANDS[victim]);
    }

    fn api(&self, token: &str) -> Api {
        self.processes[0].api(token)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_the_bill_is_the_ledger_after_twenty_kills() {
    let db = TestDb::postgres().await;
    let url = db.url().to_owned();
    tokio::task::spawn_blocking(move || {
        let provider = Provider::start(Duration::from_millis(5));
        let windrow = windrow(&provider).with_env("DATABASE_URL", url).with_env("WINDROW_DATA_DIR", "data");
        windrow.run(&["db", "migrate"]).ok();
        let mut fleet = Fleet::start(&windrow);
        let token = windrow.run(&["token", "create", "--sub", "alice", "--role", "contributor"]).ok();
        let token = token.stdout.trim();
        let job = submit(&fleet.api(token));
        let mut chance = Chance::new();
        for calls in chance.instants() {
            provider.await_calls(calls);
            chance.pause();
            fleet.kill(&windrow, chance.victim(Fleet::COMMANDS.len()));
        }
        let api = fleet.api(token);
        let ended = api.finished(&job);
        assert_whole(&api, &ended, RECORDS);
        assert_paid(&api, &ended, &provider);
    })
    .await
    .unwrap();
}
