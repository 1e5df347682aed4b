//! Twenty SIGKILLs at random instants through one job of two thousand paid records: the dataset is whole, and the ledger is the
//! provider's bill, call by call, but for the calls that were in flight at a kill.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
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

fn pico(usd: &Value) -> u64 {
    let usd: windrow_core::PicoUsd = serde_json::from_value(usd.clone()).unwrap();
    usd.as_pico().try_into().unwrap()
}

/// gpt-4o-mini: 0.15 USD a million input tokens, 0.60 a million output tokens.
fn cost((input, output): Tokens) -> u64 {
    input * 150_000 + output * 600_000
}

fn assert_paid(api: &Api, job: &Value, provider: &Provider) {
    let bill = provider.bill();
    let rows = ledger(api, job["id"].as_str().unwrap());
    let (settled, unconfirmed): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row["state"] == "settled");
    let mut booked = BTreeMap::new();
    for row in &settled {
        let id = row["provider_request_id"].as_str().unwrap();
        let tokens = (row["input_tokens"].as_u64().unwrap(), row["output_tokens"].as_u64().unwrap());
        assert_eq!(bill.get(id), Some(&tokens), "the provider knows another price: {row}");
        assert_eq!(pico(&row["cost_usd"]), cost(tokens), "{row}");
        assert!(booked.insert(id, tokens).is_none(), "booked twice: {row}");
    }
    assert_eq!(booked.len() as u64, RECORDS, "each record's call is settled once");
    assert!(unconfirmed.iter().all(|row| row["state"] == "unconfirmed"), "{unconfirmed:?}");
    let unanswered: Vec<_> = bill.iter().filter(|(id, _)| !booked.contains_key(id.as_str())).collect();
    assert!(unanswered.len() <= unconfirmed.len(), "{unanswered:?} are billed and not in the ledger");
    assert!(
        unconfirmed.len() <= KILLS * CONCURRENCY * 2,
        "{} calls in flight at the kills",
        unconfirmed.len()
    );
    let billed: u64 = bill.values().copied().map(cost).sum();
    let total: u64 = rows.iter().map(|row| pico(&row["cost_usd"])).sum();
    assert_eq!(pico(&job["cost"]["actual"]), total, "{job}");
    assert_eq!(pico(&job["cost"]["reserved"]), 0, "{job}");
    assert!(billed <= total && total <= pico(&json!(BUDGET_USD)), "billed {billed}, booked {total}");
}

#[test]
fn on_sqlite_the_bill_is_the_ledger_after_twenty_kills() {
    let provider = Provider::start(Duration::from_millis(5));
    let windrow = windrow(&provider);
    let mut server = windrow.up();
    let token = windrow.token("alice", "contributor");
    let job = submit(&server.api(&token));
    let mut chance = Chance::new();
    for calls in chance.instants() {
        provider.await_calls(calls);
        chance.pause();
        server.kill();
        server = windrow.up();
    }
    let api = server.api(&token);
    let ended = api.finished(&job);
    assert_whole(&api, &ended, RECORDS);
    assert_paid(&api, &ended, &provider);
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
