//! Two owners, and ids inside of what is sent: a request that names somebody else's thing is answered as one that names
//! nothing at all.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::dead_letters::with_a_remote_workload;
use crate::harness::{Answer, Api, Windrow};

/// No upload, template, job or call of anybody's.
const NOBODYS: &str = "0199d0a8-5f6c-7000-8000-000000000001";
/// In a body, where the id goes; and where the sender's own seed data and template go.
const ID: &str = "<id>";
const OWN_SEED: &str = "<own seed>";
const OWN_TEMPLATE: &str = "<own template>";

const FREE: &str =
    "template:\n  name: NAME\n  steps: [{id: a, model: offline, max_tokens: 5, prompt: 'About {{ a }}'}]\n";
/// A private one, as all are at first.
const FRAGMENT: &str = "template:\n  name: NAME\n  fragment: Kindly.\n";

/// A user with a template, a fragment and seed data.
struct Owner {
    api: Api,
    template: String,
    fragment: String,
    seed: String,
}

impl Owner {
    fn new(api: Api, name: &str) -> Self {
        let store = |text: &str, name: &str| {
            let document = text.replace("NAME", name);
            let stored = api.post("/v1/templates", &json!({ "document": document })).expect(201).json();
            stored["id"].as_str().unwrap().to_owned()
        };
        let (template, fragment) = (store(FREE, &format!("{name}-t")), store(FRAGMENT, &format!("{name}-f")));
        let seed = api.upload("a.jsonl", "application/x-ndjson", b"{\"a\": 1}\n");
        Self { api, template, fragment, seed }
    }

    /// Sends a request of the table, with `id` where its own goes.
    fn send(&self, case: &Case, id: &str) -> Answer {
        let filled = |text: &str| {
            text.replace(ID, id).replace(OWN_SEED, &self.seed).replace(OWN_TEMPLATE, &self.template)
        };
        let request = self.api.request("POST", &filled(case.path));
        let body = filled(&case.body.to_string());
        let answer = self.api.send(request.header("content-type", "application/json").body(body));
        // a batch is answered item by item
        match answer.json()["items"][0]["status"].as_u64() {
            Some(status) => Answer { status: u16::try_from(status).unwrap(), ..answer },
            None => answer,
        }
    }
}

/// A request whose body names a thing.
struct Case {
    path: &'static str,
    /// The field of the document's schema that holds the id.
    field: &'static str,
    body: Value,
    /// Which of an owner's things goes there.
    thing: fn(&Owner) -> String,
}

fn template(owner: &Owner) -> String {
    owner.template.clone()
}

fn seed(owner: &Owner) -> String {
    owner.seed.clone()
}

fn cases() -> Vec<Case> {
    let spec = |template: &str, seed: &str| json!({ "template": template, "seed": seed, "records": 1 });
    let job = |template: &str, seed: &str| json!({ "workload": "generate", "spec": spec(template, seed) });
    let versioned = format!("{ID}@1");
    let mut cases = Vec::new();
    let mut case = |path, field, body, thing| cases.push(Case { path, field, body, thing });
    case("/v1/jobs", "spec", job(ID, OWN_SEED), template);
    case("/v1/jobs", "spec", job(&versioned, OWN_SEED), template);
    case("/v1/jobs", "spec", job(OWN_TEMPLATE, ID), seed);
    case("/v1/jobs/batch", "jobs", json!({ "jobs": [job(ID, OWN_SEED)] }), template);
    case("/v1/jobs/batch", "jobs", json!({ "jobs": [job(OWN_TEMPLATE, ID)] }), seed);
    case("/v1/generate/estimate", "spec", json!({ "spec": spec(ID, OWN_SEED) }), template);
    case("/v1/generate/estimate", "spec", json!({ "spec": spec(OWN_TEMPLATE, ID) }), seed);
    case("/v1/generate/seed-check", "template", json!({ "template": ID, "seed": OWN_SEED }), template);
    case("/v1/generate/seed-check", "seed", json!({ "template": OWN_TEMPLATE, "seed": ID }), seed);
    case("/v1/templates/<own template>/preview", "seed", json!({ "seed": ID }), seed);
    cases
}

/// Fields of the document's request bodies that hold ids, as `path field`: those named in the table, those of the worker
/// protocol (below), and those that name nothing that an owner has.
const OF_WORKERS: &[&str] = &["call", "key", "object", "provider_request_id", "upload"];

/// The properties of a schema, references and lists followed, whose value names something.
fn naming(document: &Value, schema: &Value, found: &mut BTreeSet<String>, depth: usize) {
    if depth > 8 {
        return;
    }
    if let Some(reference) = schema["$ref"].as_str() {
        return naming(document, document.pointer(&reference[1..]).unwrap(), found, depth + 1);
    }
    for list in ["oneOf", "anyOf", "allOf"] {
        schema[list]
            .as_array()
            .into_iter()
            .flatten()
            .for_each(|part| naming(document, part, found, depth + 1));
    }
    if schema["items"].is_object() {
        naming(document, &schema["items"], found, depth + 1);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let is_id = property["format"] == "uuid" || name == "id" || name.ends_with("_id");
        if is_id || ["seed", "template", "upload", "parent", "key", "object"].contains(&name.as_str()) {
            found.insert(name.clone());
        }
        naming(document, property, found, depth + 1);
    }
}

#[test]
fn somebody_elses_thing_in_a_body_is_answered_as_nobodys() {
    let windrow = Windrow::new();
    let server = windrow.up();
    let owner = |name: &str| Owner::new(server.api(&windrow.token(name, "contributor")), name);
    let (alice, mallory) = (owner("alice"), owner("mallory"));
    for case in cases() {
        let theirs = (case.thing)(&alice);
        let told = format!("{} {}", case.path, case.body);
        // the body is a good one: its owner may send it
        let fine = alice.send(&case, &theirs);
        assert!(fine.status < 300, "{told}: {} {}", fine.status, String::from_utf8_lossy(&fine.body));
        let crossed = mallory.send(&case, &theirs);
        let nobodys = mallory.send(&case, NOBODYS);
        let text = |answer: &Answer, id: &str| {
            let body = answer.json();
            // in a batch's item, or in the body itself
            let problem = body.pointer("/items/0/problem").unwrap_or(&body);
            body.to_string().replace(id, ID).replace(problem["request_id"].as_str().unwrap(), "<request>")
        };
        assert!((400..500).contains(&crossed.status), "{told}: {} {:?}", crossed.status, crossed.json());
        assert_eq!(crossed.status, nobodys.status, "{told}");
        assert_eq!(text(&crossed, &theirs), text(&nobodys, NOBODYS), "{told}");
    }
    let jobs = mallory.api.get("/v1/jobs").expect(200).json();
    assert_eq!(jobs["items"], json!([]), "nothing of it became a job");

    // a new field of the API that names something is missed here
    let document = mallory.api.get("/openapi.json").expect(200).json();
    let known: BTreeSet<(String, &str)> =
        cases().iter().map(|case| (case.path.replace(OWN_TEMPLATE, "{template_id}"), case.field)).collect();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let mut found = BTreeSet::new();
            naming(
                &document,
                &operation["requestBody"]["content"]["application/json"]["schema"],
                &mut found,
                0,
            );
            for field in found {
                let covered = match path.starts_with("/v1/worker") {
                    true => OF_WORKERS.contains(&field.as_str()),
                    false => known.contains(&(path.clone(), field.as_str())),
                };
                assert!(covered, "{method} {path}: {field} names something; cross it in this test");
            }
        }
    }
}

/// Stores a template of this name that includes a fragment, in each way that there is, and submits a job with each; gives what both
/// were answered, without names and ids of their own.
fn including(owner: &Owner, name: &str, fragment: &str) -> Vec<(Value, u16, String)> {
    let document = |name: &str| {
        let prompt = format!("{{% include '{fragment}@1' %}} {{{{ a }}}}");
        format!("template:\n  name: {name}\n  steps: [{{id: a, model: offline, prompt: \"{prompt}\"}}]\n")
    };
    let (api, own) = (&owner.api, format!("/v1/templates/{}/versions", owner.template));
    let import = api.request("POST", "/v1/templates/import").header("content-type", "application/yaml");
    let own_name = api.get(&format!("/v1/templates/{}", owner.template)).expect(200).json()["name"].clone();
    let stored = [
        api.post("/v1/templates", &json!({ "document": document(name) })),
        api.send(import.body(document(&format!("{name}-imported")))),
        api.post(&own, &json!({ "document": document(own_name.as_str().unwrap()) })),
    ];
    let answers = stored.map(|stored| {
        let stored = stored.expect(201).json();
        let template = format!("{}@{}", stored["id"].as_str().unwrap(), stored["version"]);
        let spec = json!({ "template": template, "seed": owner.seed, "records": 1 });
        let answer = api.post("/v1/jobs", &json!({ "workload": "generate", "spec": spec }));
        let mut body = answer.json();
        let body = body.as_object_mut().unwrap();
        body.remove("request_id");
        (stored["analysis"].clone(), answer.status, json!(body).to_string().replace(&template, ID))
    });
    answers.to_vec()
}

#[test]
fn somebody_elses_fragment_is_included_as_nobodys() {
    let windrow = Windrow::new();
    let server = windrow.up();
    let owner = |name: &str| Owner::new(server.api(&windrow.token(name, "contributor")), name);
    let (alice, mallory) = (owner("alice"), owner("mallory"));
    for (theirs, nobodys) in [(alice.fragment.as_str(), NOBODYS), ("alice-f", "nobody-f")] {
        for (_, status, body) in including(&alice, &format!("alice-{theirs}"), theirs) {
            assert_eq!(status, 202, "{theirs}: {body}");
        }
        let crossed = including(&mallory, &format!("crossed-{theirs}"), theirs);
        let missing = including(&mallory, &format!("missing-{theirs}"), nobodys);
        for ((found, status, body), (as_nobodys, _, as_nobodys_body)) in crossed.into_iter().zip(missing) {
            assert_eq!(found.to_string().replace(theirs, ID), as_nobodys.to_string().replace(nobodys, ID));
            assert_eq!((status, body.replace(theirs, ID)), (422, as_nobodys_body.replace(nobodys, ID)));
        }
    }
}

/// A lease of a new job of the owner's.
fn lease(owner: &Api, worker: &Api) -> (String, String) {
    let shout = json!({ "workload": "shout", "spec": { "text": "x" } });
    let job = owner.post("/v1/jobs", &shout).expect(202).json()["id"].as_str().unwrap().to_owned();
    let claim = json!({ "workloads": ["shout"], "slots": 1, "wait_ms": 20_000 });
    let lease = worker.post("/v1/worker/claim", &claim).expect(200).json()["leases"][0].clone();
    assert_eq!(lease["job"], json!(job));
    (format!("/v1/worker/leases/{job}.{}", lease["run"]), job)
}

/// A worker that works for both owners can't be made to carry one's things to the other.
#[test]
fn a_lease_reaches_nothing_of_another_owner() {
    let (windrow, server, alice, worker) = with_a_remote_workload();
    let mallory = server.api(&windrow.token("mallory", "contributor"));
    let (hers, _) = lease(&alice, &worker);
    let (his, job) = lease(&mallory, &worker);
    let put = worker.request("PUT", &format!("{hers}/objects?prefix=outputs&name=secret.txt"));
    let object = worker.send(put.header("content-type", "text/plain").body("the secret")).expect(200).json();
    let key = object["key"].as_str().unwrap();
    worker.get(&format!("{hers}/objects?key={key}")).expect(200);

    let stolen = worker.get(&format!("{his}/objects?key={key}"));
    assert_eq!(stolen.status, 404, "{stolen:?}");
    let nobodys = worker.get(&format!("{his}/objects?key={}", key.replace("secret", "nothin")));
    assert_eq!((nobodys.status, nobodys.json()["code"].clone()), (404, stolen.json()["code"].clone()));
    // uploads, and links to storage, reach no further than the lease itself
    let upload = alice.upload("a.jsonl", "application/x-ndjson", b"{\"a\": 1}\n");
    let told = |answer: &Answer, id: &str| {
        let body = answer.json();
        (answer.status, body["code"].clone(), body["detail"].as_str().unwrap().replace(id, ID))
    };
    for (operation, field, theirs) in [
        ("download-link", "key", key),
        ("download-link", "upload", upload.as_str()),
        ("complete", "key", key),
    ] {
        let nobodys = if field == "key" { key.replace("secret", "nothin") } else { NOBODYS.to_owned() };
        let ask = |lease: &str, id: &str| {
            worker.post(&format!("{lease}/objects/{operation}"), &json!({ field: id }))
        };
        ask(&hers, theirs).expect(200);
        let (crossed, missing) = (ask(&his, theirs), ask(&his, &nobodys));
        assert!((400..500).contains(&crossed.status), "{operation} {field}: {crossed:?}");
        assert_eq!(told(&crossed, theirs), told(&missing, &nobodys), "{operation} {field}");
    }
    worker.get(&format!("{hers}/objects?upload={upload}")).expect(200);
    let crossed = worker.get(&format!("{his}/objects?upload={upload}")).expect(404);
    let missing = worker.get(&format!("{his}/objects?upload={NOBODYS}"));
    assert_eq!(told(&crossed, &upload), told(&missing, NOBODYS));
    let part =
        json!({ "child_key": "", "first": 0, "last": 1, "key": key, "sha256": object["sha256"], "size": 10 });
    let checkpoint = json!({ "state": {}, "parts": [part] });
    let refused = worker.post(&format!("{his}/checkpoint"), &checkpoint);
    assert_eq!(refused.status, 422, "{refused:?}");
    let artifact =
        json!({ "kind": "txt", "filename": "s.txt", "content_type": "text/plain", "object": object });
    let end = json!({ "outcome": "done", "output": { "result": {}, "artifacts": [artifact] } });
    let ended = worker.post(&format!("{his}/complete"), &end).expect(200).json();
    assert_eq!(ended["status"], "failed", "{ended}");
    assert_eq!(mallory.get(&format!("/v1/jobs/{job}/artifacts")).expect(200).json(), json!([]));
    worker.post(&format!("{hers}/complete"), &end).expect(200);
}
