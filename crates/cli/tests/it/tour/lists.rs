//! Lists that are longer than a page of the API.

use std::time::Duration;

use serde_json::{Value, json};
use windrow_auth::LocalIssuer;
use windrow_core::SystemClock;

use crate::dead_letters::with_a_remote_workload;
use crate::harness::{Api, Ran, Windrow};

/// More than a page has, and not whole pages.
const MANY: usize = 205;

/// Items of a list as scripts see it, and whether there are more.
#[track_caller]
fn items(ran: Ran) -> (usize, bool) {
    let page = ran.ok().json();
    let items = page["items"].as_array().unwrap();
    let mut ids: Vec<String> =
        items.iter().map(|item| item.get("id").unwrap_or(&item["job_id"]).to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), items.len(), "an item is listed twice");
    (ids.len(), page["next_cursor"].is_string())
}

fn submit_many(api: &Api, job: &Value) {
    let jobs = vec![job; MANY];
    let reply = api.post("/v1/jobs/batch", &json!({ "jobs": jobs }));
    let reply = reply.json();
    assert_eq!(reply["accepted"], MANY, "{reply}");
}

/// What every list of the kind does with `--limit` and, where it has a limit unless told, with `--all`.
#[track_caller]
fn assert_pages(run: impl Fn(&[&str]) -> Ran, unless_told: usize, all: &[&str]) {
    let scripted = |args: &[&str]| items(run(&[args, &["--json"]].concat()));
    assert_eq!(scripted(&[]), (unless_told, unless_told < MANY));
    assert_eq!(scripted(&["--limit", "7"]), (7, true));
    assert_eq!(scripted(&["--limit", "203"]), (203, true));
    assert_eq!(scripted(&["--limit", "1000"]), (MANY, false));
    assert_eq!(scripted(all), (MANY, false));
    let some = run(&["--limit", "7"]).ok();
    assert!(some.stderr.contains("the first 7; there are more: "), "{}", some.stderr);
    let whole = run(all).ok();
    assert!(!whole.stderr.contains("there are more"), "{}", whole.stderr);
    run(&["--limit", "0"]).refused(2, &["--limit"]);
}

#[test]
fn jobs_and_dead_letters_are_listed_as_far_as_is_asked() {
    let (windrow, _server, api, worker) = with_a_remote_workload();
    let run = |group: &str, args: &[&str]| -> Ran {
        windrow.run(&[&[group, "list"], args, &["--data-dir", "data", "--token", &api.token]].concat())
    };
    submit_many(&api, &json!({ "workload": "shout", "spec": { "text": "x" } }));
    assert_pages(|args| run("job", args), 20, &["--all"]);
    assert_eq!(items(run("job", &["--all", "--status", "queued", "--json"])), (MANY, false));
    assert_eq!(items(run("job", &["--all", "--status", "failed", "--json"])), (0, false));
    run("job", &["--all", "--limit", "3"]).refused(2, &["--all"]);

    let error = json!({ "error": { "class": "permanent", "code": "broken", "message": "it is broken" } });
    let claim = json!({ "workloads": ["shout"], "slots": 50, "wait_ms": 20_000 });
    let mut failed = 0;
    while failed < MANY {
        let claimed = worker.post("/v1/worker/claim", &claim).expect(200).json();
        for lease in claimed["leases"].as_array().unwrap() {
            let lease = format!("{}.{}", lease["job"].as_str().unwrap(), lease["run"]);
            worker.post(&format!("/v1/worker/leases/{lease}/fail"), &error).expect(200);
            failed += 1;
        }
    }
    assert_pages(|args| run("dead-letters", args), 50, &["--all"]);
}

#[test]
fn users_are_listed_as_far_as_is_asked() {
    let windrow = Windrow::new();
    let server = windrow.up();
    let root = windrow.token("root", "admin");
    let issuer = LocalIssuer::load(&std::fs::read(windrow.path("data/issuer.pk8")).unwrap()).unwrap();
    let already = items(windrow.run(&["user", "list", "--data-dir", "data", "--token", &root, "--json"])).0;
    for number in already..MANY {
        let now = SystemClock::shared().now();
        let token = issuer.mint(&format!("user-{number}"), Duration::from_secs(600), now).unwrap();
        server.api(&token).get("/v1/me").expect(200);
    }
    let run = |args: &[&str]| -> Ran {
        windrow.run(&[&["user", "list"], args, &["--data-dir", "data", "--token", &root]].concat())
    };
    assert_pages(run, MANY, &[]);
}
