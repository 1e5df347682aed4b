//! Starting from nothing but the environment.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use serde_json::json;
use windrow_test_support::TestDb;

use crate::harness::{Ran, Server, Windrow};

/// The names and values of `.env.local.example`.
fn local_example() -> Vec<(String, String)> {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.env.local.example")).unwrap();
    windrow_config::parse_env_file(&text).unwrap().into_iter().collect()
}

fn with_local_example() -> Windrow {
    local_example().into_iter().fold(Windrow::new(), |windrow, (name, value)| windrow.with_env(&name, value))
}

/// Has a job of fifty records done by whatever works for the server.
#[track_caller]
fn assert_does_a_job(windrow: &Windrow, server: &Server) {
    let token = windrow.run(&["token", "create", "--sub", "alice", "--role", "contributor"]).ok();
    let api = server.api(token.stdout.trim());
    let document = "template:\n  name: t\n  steps: [{id: x, model: offline, prompt: 'About {{ a }}'}]\n";
    let template = api.post("/v1/templates", &json!({ "document": document })).expect(201).json();
    let seed = api.upload("a.jsonl", "application/x-ndjson", b"{\"a\": 1}\n");
    let spec = json!({ "template": template["id"], "seed": seed, "records": 50 });
    let job = api.post("/v1/jobs", &json!({ "workload": "generate", "spec": spec })).expect(202).json();
    let job = api.finished(job["id"].as_str().unwrap());
    assert_eq!((&job["status"], &job["result"]["records"]), (&json!("completed"), &json!(50)), "{job}");
}

#[test]
fn everything_starts_from_the_local_example_alone() {
    let windrow = with_local_example();
    let server = windrow.start(&["up", "--port", "0", "--json"]);
    let ready = reqwest::blocking::get(format!("{}/ready", server.url)).unwrap();
    assert_eq!(ready.status(), 200);
}

#[test]
fn api_and_worker_do_a_job_from_the_local_example_alone() {
    let windrow = with_local_example();
    let mut server = windrow.start(&["api", "--port", "0", "--json"]);
    let mut worker = windrow.start(&["worker", "--json"]);
    assert_does_a_job(&windrow, &server);
    assert_eq!(worker.terminate().0, 0);
    assert_eq!(server.terminate().0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn api_and_worker_share_one_postgresql() {
    let db = TestDb::postgres().await;
    let url = db.url().to_owned();
    tokio::task::spawn_blocking(move || {
        let windrow = Windrow::new().with_env("DATABASE_URL", url).with_env("WINDROW_DATA_DIR", "data");
        windrow.run(&["db", "migrate"]).ok();
        let api_server = windrow.start(&["api", "--port", "0", "--json"]);
        let mut worker = windrow.start(&["worker", "--json"]);
        assert_does_a_job(&windrow, &api_server);
        assert_eq!(worker.terminate().0, 0);
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_one_process_is_good_for_another_with_the_same_secret_key() {
    let db = TestDb::postgres().await;
    let url = db.url().to_owned();
    tokio::task::spawn_blocking(move || {
        let windrow = Windrow::new().with_env("DATABASE_URL", url).with_env("WINDROW_STORAGE_DIR", "objects");
        windrow.run(&["db", "migrate"]).ok();
        let start = |dir: &str, secret: &str| {
            let mut api = windrow.command(&["api", "--port", "0", "--json", "--data-dir", dir]);
            api.env("WINDROW_SECRET_KEY", secret);
            Server::start(api)
        };
        let secret = "0123456789abcdef0123456789abcdef";
        let (one, two) = (start("one", secret), start("two", secret));
        let other = start("three", "fedcba9876543210fedcba9876543210");
        // beside a server its user need not have the secret, which is in the data directory
        let token = windrow.run(&["token", "create", "--sub", "alice", "--data-dir", "one"]).ok().stdout;
        for (server, status) in [(&one, 200), (&two, 200), (&other, 401)] {
            server.api(token.trim()).get("/v1/me").expect(status);
        }
        let keys = |server: &Server| {
            reqwest::blocking::get(format!("{}/.well-known/jwks.json", server.url)).unwrap().text().unwrap()
        };
        assert_eq!(keys(&one), keys(&two));
        assert!(!keys(&one).contains("\"d\""), "only what is public");
    })
    .await
    .unwrap();
}

#[test]
fn a_variable_that_is_no_text_is_a_mistake_where_it_is_a_setting() {
    let windrow = Windrow::new();
    let run = |args: &[&str], name: &str| {
        Ran::of(&windrow.command(args).env(name, OsStr::from_bytes(b"1\xff")).output().unwrap())
    };
    run(&["config", "check"], "LESS").ok();
    for name in ["PORT", "WINDROW_BEAT", "COGNITO_CLIENT_ID"] {
        run(&["up"], name).refused(2, &[name, "UTF-8"]);
        let check = run(&["config", "check"], name);
        assert_eq!(check.code, 1, "{check:?}");
        assert!(check.stdout.contains(name) && check.stdout.contains("UTF-8"), "{check:?}");
    }
}

#[test]
fn a_process_refuses_to_start_on_what_is_wrong_and_says_all_of_it() {
    let windrow = Windrow::new()
        .with_env("PORT", "many")
        .with_env("WINDROW_LAPSE", "soon")
        .with_env("WINDROW_TYPO", "1");
    let ran = windrow.run(&["up"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    for name in ["PORT", "WINDROW_LAPSE", "WINDROW_TYPO"] {
        assert!(ran.stderr.contains(name), "{}", ran.stderr);
    }
    let check = windrow.run(&["config", "check"]);
    assert_eq!(check.code, 1, "{check:?}");
}
