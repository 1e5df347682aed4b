//! Servers and workers that die in the middle: nothing is lost, nothing is done twice.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Api, Windrow, until};

const SLOW: &str = "template:\n  name: slow\n  steps:\n    - {id: a, model: offline, max_tokens: 400, prompt: 'Write about {{ a }}.'}\n    - {id: b, model: offline, max_tokens: 400, prompt: 'Go on: {{ steps.a.output }}'}\n";

pub fn submit(api: &Api, records: u32) -> String {
    start(api, slow_spec(api), records)
}

/// The spec of jobs that take a while, whatever their number of records; its template and its seed are made.
pub fn slow_spec(api: &Api) -> Value {
    let template = api.post("/v1/templates", &json!({ "document": SLOW })).expect(201).json();
    let seed = api.upload("a.jsonl", "application/x-ndjson", b"{\"a\": \"rivers\"}\n{\"a\": \"stones\"}\n");
    json!({ "template": template["id"], "seed": seed, "shard_size": 100, "formats": ["jsonl", "csv", "parquet"] })
}

/// Submits a job of so many records.
pub fn start(api: &Api, mut spec: Value, records: u32) -> String {
    spec["records"] = json!(records);
    let job = api.post("/v1/jobs", &json!({ "workload": "generate", "spec": spec })).expect(202).json();
    job["id"].as_str().unwrap().to_owned()
}

/// Every index once, in the job's JSONL.
#[track_caller]
pub fn assert_whole(api: &Api, job: &Value, records: u64) {
    assert_eq!(job["status"], "completed", "{job}");
    assert_eq!(job["result"]["records"], records, "{job}");
    let groups = api.get(&format!("/v1/jobs/{}/artifacts", job["id"].as_str().unwrap())).expect(200).json();
    for group in groups.as_array().unwrap() {
        assert_eq!(
            (&group["latest"]["version"], &group["earlier"]),
            (&json!(1), &json!([])),
            "one a kind: {groups}"
        );
    }
    let jsonl = groups.as_array().unwrap().iter().find(|group| group["kind"] == "jsonl").unwrap();
    let lines = api.get(jsonl["latest"]["download"].as_str().unwrap()).expect(200).body;
    let indices: Vec<u64> = String::from_utf8(lines)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["index"].as_u64().unwrap())
        .collect();
    assert_eq!(indices.len() as u64, records);
    assert_eq!(indices.iter().copied().collect::<BTreeSet<_>>(), (0..records).collect());
    assert!(indices.is_sorted());
}

pub fn some_progress(api: &Api, job: &str) {
    until(Duration::from_secs(30), "some records are made", || {
        let job = api.get(&format!("/v1/jobs/{job}")).expect(200).json();
        job["progress"]["done"].as_u64() > Some(20) || job["status"] == "completed"
    });
}

#[test]
fn a_killed_server_goes_on_where_it_was() {
    let windrow = Windrow::new();
    let mut server = windrow.up();
    let token = windrow.token("alice", "contributor");
    let job = submit(&server.api(&token), 1000);
    for _ in 0..3 {
        some_progress(&server.api(&token), &job);
        server.kill();
        server = windrow.up();
    }
    let api = server.api(&token);
    let ended = api.finished(&job);
    assert_whole(&api, &ended, 1000);
    let (code, log) = server.terminate();
    assert_eq!(code, 0, "{log}");
}

#[test]
fn sigterm_releases_without_burning_an_attempt() {
    let windrow = Windrow::new();
    let mut server = windrow.up();
    let token = windrow.token("alice", "contributor");
    let job = submit(&server.api(&token), 2000);
    some_progress(&server.api(&token), &job);
    let (code, log) = server.terminate();
    assert_eq!(code, 0, "{log}");
    let server = windrow.up();
    let api = server.api(&token);
    let ended = api.finished(&job);
    assert_whole(&api, &ended, 2000);
    let children = api.get(&format!("/v1/jobs/{job}/children?limit=200")).expect(200).json();
    for child in children["items"].as_array().unwrap() {
        let id = child["id"].as_str().unwrap();
        let runs = api.get(&format!("/v1/jobs/{id}/runs")).expect(200).json();
        for run in runs.as_array().unwrap() {
            assert!(matches!(run["outcome"].as_str(), Some("released" | "completed")), "{run}");
        }
    }
}

#[test]
fn a_second_up_is_told_who_is_there() {
    let windrow = Windrow::new();
    let server = windrow.up();
    let ran = windrow.run(&["up", "--data-dir", "data", "--port", "0"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains(&server.pid().to_string()), "{}", ran.stderr);
    assert!(ran.stderr.contains(&server.url), "{}", ran.stderr);
}

#[test]
fn a_running_job_is_cancelled_within_a_second() {
    let windrow = Windrow::new();
    let server = windrow.up();
    let api = server.api(&windrow.token("alice", "contributor"));
    let job = submit(&api, 50_000);
    some_progress(&api, &job);
    api.post(&format!("/v1/jobs/{job}/cancel"), &json!({})).expect(200);
    until(Duration::from_secs(5), "the job is cancelled", || {
        api.get(&format!("/v1/jobs/{job}")).expect(200).json()["status"] == "cancelled"
    });
}
