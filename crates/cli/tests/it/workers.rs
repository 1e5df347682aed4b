//! Workers in processes of their own: over a server's API, beside the owner of a data directory, and as its children.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Api, Windrow, until};
use crate::kills::{assert_whole, some_progress, submit};

/// How the runs of a job's children ended.
pub fn outcomes(api: &Api, job: &str) -> Vec<String> {
    let children = api.get(&format!("/v1/jobs/{job}/children?limit=200")).expect(200).json();
    let runs = children["items"].as_array().unwrap().iter().flat_map(|child| {
        let runs = api.get(&format!("/v1/jobs/{}/runs", child["id"].as_str().unwrap())).expect(200).json();
        runs.as_array().unwrap().clone()
    });
    runs.map(|run| run["outcome"].as_str().unwrap_or_default().to_owned()).collect()
}

fn kill(pid: u64) {
    let done = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
    assert!(done.success(), "process {pid} is gone already");
}

#[test]
fn a_worker_with_a_key_works_over_the_api() {
    let windrow = Windrow::new();
    let server = windrow.start(&["api", "--data-dir", "data", "--port", "0", "--json"]);
    let api = server.api(&windrow.token("alice", "contributor"));
    let admin = server.api(&windrow.token("root", "admin"));
    let key = admin.post("/v1/keys", &json!({ "name": "w", "scopes": ["worker:*"] })).expect(201).json();
    let key = key["secret"].as_str().unwrap();
    let job = submit(&api, 300);
    // In the environment it may be meant for other commands.
    let windrow = windrow.with_env("WINDROW_WORKER_PROCESSES", "2");
    let mut worker = windrow.start(&["worker", "--server", &server.url, "--token", key, "--json"]);
    let ended = api.finished(&job);
    assert_whole(&api, &ended, 300);
    let (code, log) = worker.terminate();
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("WINDROW_WORKER_PROCESSES"), "nothing says that the setting is left aside:\n{log}");
    assert!(!windrow.path("windrow-data").exists(), "a remote worker has no database");
}

#[test]
fn a_worker_whose_key_is_revoked_ends_and_says_so() {
    let windrow = Windrow::new();
    let server = windrow.start(&["api", "--data-dir", "data", "--port", "0", "--json"]);
    let admin = server.api(&windrow.token("root", "admin"));
    let key = admin.post("/v1/keys", &json!({ "name": "w", "scopes": ["worker:*"] })).expect(201).json();
    let secret = key["secret"].as_str().unwrap();
    let mut worker = windrow.start(&["worker", "--server", &server.url, "--token", secret, "--json"]);
    admin.send(admin.request("DELETE", &format!("/v1/keys/{}", key["id"].as_str().unwrap()))).expect(200);
    let (code, log) = worker.ended();
    assert_eq!(code, 2, "{log}");
    assert!(log.contains("gives this worker no work: the API key was revoked"), "{log}");
}

#[test]
fn a_worker_without_a_fitting_key_or_server_says_so() {
    let windrow = Windrow::new();
    let server = windrow.start(&["api", "--data-dir", "data", "--port", "0", "--json"]);
    let token = windrow.token("alice", "contributor");
    let refused = windrow.run(&["worker", "--server", &server.url, "--token", &token]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    for part in ["gives this worker no work: ", "windrow key create --scope 'worker:*'"] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    let nowhere = windrow.run(&["worker", "--server", "http://127.0.0.1:1", "--token", &token]);
    assert_eq!(nowhere.code, 4, "{}", nowhere.stderr);
    let refused = windrow.run(&["worker", "--server", &server.url, "--worker-processes", "2"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("has no --worker-processes"), "{}", refused.stderr);
}

#[test]
fn a_worker_that_joined_takes_over_when_the_owner_is_killed() {
    let windrow = Windrow::new();
    let mut server = windrow.up();
    let token = windrow.token("alice", "contributor");
    let job = submit(&server.api(&token), 2000);
    let mut worker = windrow.start(&["worker", "--data-dir", "data", "--json"]);
    some_progress(&server.api(&token), &job);
    server.kill();
    // the socket is the new owner's: commands of the same directory reach it
    let mut status = Value::Null;
    until(Duration::from_secs(60), "the job is completed by the worker that is left", || {
        let ran = windrow.run(&["job", "show", &job, "--json", "--data-dir", "data", "--token", &token]);
        status = serde_json::from_str(&ran.stdout).unwrap_or_default();
        status["status"] == "completed"
    });
    assert_eq!(worker.terminate().0, 0);
    let server = windrow.up();
    assert_whole(&server.api(&token), &status, 2000);
}

#[test]
fn a_killed_child_is_replaced_and_its_runs_go_on_at_once() {
    let windrow = Windrow::new();
    let mut server =
        windrow.start(&["up", "--data-dir", "data", "--port", "0", "--worker-processes", "1", "--json"]);
    let api = server.api(&windrow.token("alice", "contributor"));
    let job = submit(&api, 2000);
    some_progress(&api, &job);
    let killed = server.hello["worker_pids"][0].as_u64().unwrap();
    let left_by_killed = || {
        let scratch = std::fs::read_dir(windrow.path("data/scratch")).unwrap();
        let theirs = format!("worker-{killed}-");
        scratch
            .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with(&theirs))
            .count()
    };
    assert_eq!(left_by_killed(), 1);
    kill(killed);
    let ended = api.finished(&job);
    assert_whole(&api, &ended, 2000);
    assert_eq!(left_by_killed(), 0, "its directory is still there");
    let outcomes = outcomes(&api, &job);
    assert!(
        outcomes.iter().any(|outcome| outcome == "lost"),
        "no run was lost with the process: {outcomes:?}"
    );
    let (code, log) = server.terminate();
    assert_eq!(code, 0, "{log}");
}
