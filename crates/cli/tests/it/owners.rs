//! Two owners, every id, every endpoint: made from the OpenAPI document, so that a new endpoint is covered by itself.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::dead_letters::with_a_remote_workload;
use crate::document::{path_parameters, required_query, with_body};
use crate::harness::{Api, Windrow, example};

const NOBODYS: &str = "0199d0a8-5f6c-7000-8000-000000000001";

/// One thing of each kind, by the name that paths give its id.
pub fn one_of_each(alice: &Api) -> BTreeMap<&'static str, String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let seed = std::fs::read(example("seed/topics-10.csv")).unwrap();
    let upload = alice.upload("topics.csv", "text/csv", &seed);
    let document = std::fs::read_to_string(example("templates/brainstorm.yaml")).unwrap();
    let template = alice.post("/v1/templates", &json!({ "document": document })).expect(201).json();
    let template = text(&template["id"]);
    let spec = json!({
        "template": template, "seed": upload, "records": 5, "overrides": { "model": "offline" },
    });
    let job = alice.post("/v1/jobs", &json!({ "workload": "generate", "spec": spec })).expect(202).json();
    let job = text(&job["id"]);
    assert_eq!(alice.finished(&job)["status"], "completed");
    let artifacts = alice.get(&format!("/v1/jobs/{job}/artifacts")).expect(200).json();
    let artifact = text(&artifacts[0]["latest"]["id"]);
    let key = alice.post("/v1/keys", &json!({ "name": "mine", "scopes": ["read"] })).expect(201).json();
    let request = alice.post("/v1/jobs", &json!({ "workload": "generate", "spec": spec })).expect(202);
    let request_id = request.headers["x-request-id"].to_str().unwrap().to_owned();
    let me = alice.get("/v1/me").expect(200).json();
    BTreeMap::from([
        ("job_id", job),
        ("upload_id", upload),
        ("template_id", template),
        ("artifact_id", artifact),
        ("key_id", text(&key["id"])),
        ("request_id", request_id),
        ("user_id", me["id"].to_string()),
        // any id is somebody else's
        ("lease_id", format!("{NOBODYS}.1")),
        ("call_id", NOBODYS.to_owned()),
    ])
}

/// What a request to each endpoint of the document that takes an id is answered, with these ids; gives how many there are.
fn cross(
    who: &Api,
    document: &Value,
    ids: &BTreeMap<&str, String>,
    expected: impl Fn(&Value) -> u16,
) -> usize {
    let mut crossed = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let admin_only = operation["tags"] == json!(["admin"]);
            let parameters = path_parameters(path);
            if parameters.is_empty() && !admin_only {
                continue;
            }
            let mut concrete = path.clone();
            for name in &parameters {
                let id = ids.get(name.as_str()).unwrap_or_else(|| {
                    panic!("{method} {path}: this test has no {name}; add one to one_of_each")
                });
                concrete = concrete.replace(&format!("{{{name}}}"), id);
            }
            concrete.push_str(&required_query(operation));
            let answer = who.send(with_body(who, document, operation, method, &concrete));
            let problem = String::from_utf8_lossy(&answer.body).into_owned();
            assert_eq!(answer.status, expected(operation), "{method} {concrete}: {problem}");
            assert_eq!(answer.headers["content-type"], "application/problem+json", "{method} {concrete}");
            crossed += 1;
        }
    }
    crossed
}

fn is_of(operation: &Value, tag: &str) -> bool {
    operation["tags"] == json!([tag])
}

#[test]
fn nobody_reaches_anothers_rows_through_any_endpoint() {
    let (windrow, server, alice, worker) = with_a_remote_workload();
    let mut ids = one_of_each(&alice);
    // a run that goes on, so that its lease is a living one
    let shout = json!({ "workload": "shout", "spec": { "text": "x" } });
    let running = alice.post("/v1/jobs", &shout).expect(202).json()["id"].as_str().unwrap().to_owned();
    let claim = json!({ "workloads": ["shout"], "slots": 1, "wait_ms": 20_000 });
    let lease = worker.post("/v1/worker/claim", &claim).expect(200).json()["leases"][0].clone();
    assert_eq!(lease["job"], json!(running));
    let lease = format!("{running}.{}", lease["run"]);
    ids.insert("lease_id", lease.clone());
    let document = alice.get("/openapi.json").expect(200).json();

    for role in ["contributor", "consumer"] {
        let mallory = server.api(&windrow.token(&format!("mallory-{role}"), role));
        let crossed =
            cross(&mallory, &document, &ids, |operation| if is_of(operation, "admin") { 403 } else { 404 });
        assert!(crossed >= 45, "only {crossed} endpoints take an id; is the document whole?");
    }
    // a worker of another workload has no part in the lease, and is nobody elsewhere
    let admin = server.api(&windrow.token("root", "admin"));
    let key = json!({ "name": "other", "scopes": ["worker:generate"] });
    let other = admin.post("/v1/keys", &key).expect(201).json()["secret"].as_str().unwrap().to_owned();
    let crossed =
        cross(
            &server.api(&other),
            &document,
            &ids,
            |operation| {
                if is_of(operation, "worker") { 404 } else { 403 }
            },
        );
    assert!(crossed >= 45, "{crossed}");

    // and nothing was changed on the way
    assert_eq!(alice.get(&format!("/v1/jobs/{}", ids["job_id"])).expect(200).json()["status"], "completed");
    alice.get(&format!("/v1/templates/{}", ids["template_id"])).expect(200);
    let keys = alice.get("/v1/keys").expect(200).json();
    assert!(keys.as_array().unwrap().iter().all(|key| key["revoked_at"].is_null()), "{keys}");
    assert_eq!(alice.get(&format!("/v1/jobs/{running}")).expect(200).json()["status"], "running");
    worker.post(&format!("/v1/worker/leases/{lease}/heartbeat"), &json!({})).expect(200);
}

/// An id that belongs to nobody and one that belongs to somebody else can't be told apart.
#[test]
fn somebody_elses_and_nobodys_ids_answer_alike() {
    let windrow = Windrow::new();
    let server = windrow.up();
    let alice = server.api(&windrow.token("alice", "contributor"));
    let mallory = server.api(&windrow.token("mallory", "contributor"));
    let upload = alice.upload("a.jsonl", "application/x-ndjson", b"{\"a\":1}\n");
    let theirs = mallory.get(&format!("/v1/uploads/{upload}")).expect(404).json();
    let nobodys = mallory.get("/v1/uploads/0199d0a8-5f6c-7000-8000-000000000001").expect(404).json();
    assert_eq!(theirs["code"], nobodys["code"]);
    assert_eq!(theirs["title"], nobodys["title"]);
}
