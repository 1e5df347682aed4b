//! Budgets, prices and caps as people set them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use windrow_core::Timestamp;

use crate::harness::{Windrow, example};
use crate::provider::Provider;

const RECORDS: usize = 100;

/// A run whose records are foldered by what the provider says, of a model that no table knows.
fn run<'a>(template: &'a str, seed: &'a str, url: &'a str, budget: &'a str) -> Vec<&'a str> {
    let files =
        ["generate", "run", "--template", template, "--seed", seed, "--records", "100", "--out", "out"];
    let rest =
        ["--model", "openai:house", "--base-url", url, "--partition-by", "a", "--format", "jsonl", "--yes"];
    [&files[..], &rest[..], &["--budget-usd", budget]].concat()
}

fn files_below(dir: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        match entry.unwrap().path() {
            path if path.ends_with(".windrow") => {}
            path if path.is_dir() => files_below(&path, found),
            path => drop(found.insert(path)),
        }
    }
}

/// The indices in all of a dataset's folders.
fn indices(files: &BTreeSet<PathBuf>) -> Vec<u64> {
    let parts = files.iter().filter(|file| file.ends_with("part-00000.jsonl"));
    let mut indices = Vec::new();
    for part in parts {
        let text = std::fs::read_to_string(part).unwrap();
        let index = |line: &str| serde_json::from_str::<Value>(line).unwrap()["index"].as_u64().unwrap();
        indices.extend(text.lines().map(index));
    }
    indices.sort_unstable();
    indices
}

#[test]
fn the_same_command_with_a_larger_budget_goes_on_and_pays_nothing_twice() {
    let provider = Provider::start(Duration::from_millis(1));
    let windrow = Windrow::new().with_env("OPENAI_API_KEY", "a key of the test");
    let template = "template:\n  name: paid\n  steps:\n    - {id: a, max_tokens: 20, prompt: 'Write about {{ topic }}.'}\n";
    let template = windrow.file("t.yaml", template).display().to_string();
    let seed = example("seed/topics-10.csv").display().to_string();
    let unpriced = windrow.run(&run(&template, &seed, &provider.url, "0.5"));
    assert!(unpriced.code != 0 && unpriced.stderr.contains("no known price"), "{unpriced:?}");
    assert!(provider.bill().is_empty());
    // a tenth of a cent a token: each call is bounded by some 0.2 USD and costs about 0.01
    let priced = |budget| {
        let args =
            [&run(&template, &seed, &provider.url, budget)[..], &["--price-usd-per-mtok", "1000,1000"]]
                .concat();
        windrow.run(&args)
    };
    let first = priced("0.5");
    assert_eq!(first.code, 3, "{first:?}");
    let paid = provider.bill().len();
    assert!((1..RECORDS).contains(&paid), "{paid}");
    let mut files = BTreeSet::new();
    files_below(&windrow.path("out"), &mut files);
    assert_eq!(indices(&files).len(), paid);
    for budget in ["0.5", "0.3"] {
        let again = priced(budget);
        assert_eq!(again.code, 3, "{again:?}");
        assert!(again.stderr.contains("a larger --budget-usd goes on from there"), "{again:?}");
    }
    assert_eq!(provider.bill().len(), paid);
    let second = priced("5").ok();
    assert!(second.stderr.contains("raised from 0.50 to 5.00 USD"), "{second:?}");
    assert_eq!(provider.bill().len(), RECORDS, "each record was asked for once");
    let mut files = BTreeSet::new();
    files_below(&windrow.path("out"), &mut files);
    assert_eq!(indices(&files), (0..RECORDS as u64).collect::<Vec<_>>());
    let done: Value = serde_json::from_str(
        &windrow.run(&[&run(&template, &seed, &provider.url, "9")[..], &["--json"]].concat()).ok().stdout,
    )
    .unwrap();
    assert_eq!((&done["already_finished"], &done["budget_usd"]), (&json!(true), &json!("5.00")));
    let named =
        done["files"].as_array().unwrap().iter().map(|file| windrow.path("out").join(file.as_str().unwrap()));
    assert_eq!(named.collect::<BTreeSet<_>>(), files);
    assert_eq!(provider.bill().len(), RECORDS);
}

#[test]
fn a_workloads_cap_holds_over_all_of_its_jobs() {
    let provider = Provider::start(Duration::from_millis(200));
    let windrow = Windrow::new()
        .with_env("OPENAI_BASE_URL", provider.url.as_str())
        .with_env("OPENAI_API_KEY", "a key of the test")
        .with_env("WINDROW_CONFIG", "windrow.toml")
        .with_env("WINDROW_WORKER_CONCURRENCY", "8");
    windrow.file("windrow.toml", "[workloads.generate]\nmax_running = 1\n");
    let server = windrow.up();
    let api = server.api(&windrow.token("alice", "contributor"));
    let template = "template:\n  name: paid\n  steps:\n    - {id: a, model: 'openai:gpt-4o-mini', max_tokens: 20, prompt: 'Write about {{ a }}.'}\n";
    let template = api.post("/v1/templates", &json!({ "document": template })).expect(201).json();
    let seed = api.upload("a.jsonl", "application/x-ndjson", b"{\"a\": \"rivers\"}\n");
    let spec = json!({ "template": template["id"], "seed": seed, "records": 2, "shard_size": 1, "formats": ["jsonl"] });
    let job = json!({ "workload": "generate", "spec": spec, "budget_usd": "1" });
    let jobs: Vec<String> = (0..3)
        .map(|_| api.post("/v1/jobs", &job).expect(202).json()["id"].as_str().unwrap().to_owned())
        .collect();
    for job in &jobs {
        assert_eq!(api.finished(job)["status"], "completed");
    }
    let all = api.get("/v1/jobs?children=true&limit=200").expect(200).json();
    let mut runs: Vec<(Timestamp, Timestamp)> = Vec::new();
    for job in all["items"].as_array().unwrap() {
        let of_job = api.get(job["links"]["runs"].as_str().unwrap()).expect(200).json();
        let time = |run: &Value, name: &str| serde_json::from_value(run[name].clone()).unwrap();
        runs.extend(
            of_job.as_array().unwrap().iter().map(|run| (time(run, "started_at"), time(run, "ended_at"))),
        );
    }
    runs.sort_unstable();
    assert!(runs.len() >= 12, "three jobs with a plan, two shards and an assembly each: {runs:?}");
    // a claim's time is taken before its transaction, which may then wait for that of an end: far less than a call takes
    let slack = Duration::from_millis(100);
    assert!(runs.windows(2).all(|pair| pair[1].0.plus(slack) >= pair[0].1), "{runs:?}");
}

#[test]
fn dear_jobs_wait_for_an_admins_command() {
    let windrow = Windrow::new().with_env("WINDROW_APPROVAL_ABOVE_USD", "5");
    let server = windrow.up();
    let (alice, admin) = (windrow.token("alice", "contributor"), windrow.token("root", "admin"));
    let api = server.api(&alice);
    let template = "template:\n  name: free\n  steps:\n    - {id: a, model: offline, max_tokens: 20, prompt: 'Write about {{ title }}.'}\n";
    let template = api.post("/v1/templates", &json!({ "document": template })).expect(201).json();
    let spec =
        json!({ "template": template["id"], "seed": "sample:poems", "records": 2, "formats": ["jsonl"] });
    let submit = |budget: &str| {
        let job = json!({ "workload": "generate", "spec": spec, "budget_usd": budget });
        api.post("/v1/jobs", &job).expect(202).json()
    };
    let ids = ["6", "7"].map(|budget| {
        let job = submit(budget);
        assert_eq!(job["status"], "pending_approval");
        job["id"].as_str().unwrap().to_owned()
    });
    let decide = |verb: &str, id: &str, token: &str| {
        let args = ["job", verb, id, "--reason", "as agreed", "--server", &server.url, "--token", token];
        windrow.run(&args)
    };
    let refused = decide("approve", &ids[0], &alice);
    assert!(refused.code == 1 && refused.stderr.contains("needs the role admin"), "{refused:?}");
    // it may run before the answer is printed
    assert!(!decide("approve", &ids[0], &admin).ok().stdout.contains("pending"));
    assert!(decide("reject", &ids[1], &admin).ok().stdout.contains("rejected"));
    assert_eq!(api.finished(&ids[0])["status"], "completed");
    assert_eq!(api.get(&format!("/v1/jobs/{}", ids[1])).expect(200).json()["status"], "rejected");
    assert_eq!(submit("5")["status"], "queued");
}
