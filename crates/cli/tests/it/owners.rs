//! Two owners, every id, every endpoint: made from the OpenAPI document, so that a new endpoint is covered by itself.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::document::{path_parameters, required_query, with_body};
use crate::harness::{Api, Windrow, example};

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
        // nobody can have one of these yet: any id is somebody else's
        ("lease_id", "0199d0a8-5f6c-7000-8000-000000000001.1".to_owned()),
        ("call_id", "0199d0a8-5f6c-7000-8000-000000000001".to_owned()),
    ])
}

#[test]
fn nobody_reaches_anothers_rows_through_any_endpoint() {
    let windrow = Windrow::new();
    let server = windrow.up();
    let alice = server.api(&windrow.token("alice", "contributor"));
    let mallory = server.api(&windrow.token("mallory", "contributor"));
    let ids = one_of_each(&alice);
    let document = mallory.get("/openapi.json").expect(200).json();
    let mut crossed = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let parameters = path_parameters(path);
            if parameters.is_empty() {
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
            let answer = mallory.send(with_body(&mallory, &document, operation, method, &concrete));
            let admin_only = operation["tags"] == json!(["admin"]);
            let problem = String::from_utf8_lossy(&answer.body).into_owned();
            let expected = if admin_only { 403 } else { 404 };
            assert_eq!(answer.status, expected, "{method} {concrete}: {problem}");
            assert_eq!(answer.headers["content-type"], "application/problem+json", "{method} {concrete}");
            crossed += 1;
        }
    }
    assert!(crossed >= 20, "only {crossed} endpoints take an id; is the document whole?");
    // and nothing was changed on the way
    assert_eq!(alice.get(&format!("/v1/jobs/{}", ids["job_id"])).expect(200).json()["status"], "completed");
    alice.get(&format!("/v1/templates/{}", ids["template_id"])).expect(200);
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
