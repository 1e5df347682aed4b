//! A workload that the configuration registers, done by a program in another language: the one of
//! `docs/your-own-workload.md`.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::harness::{Windrow, example};

/// Killed when the test ends.
struct Program(Child);

impl Program {
    fn start(server: &str, key: &str) -> Self {
        let program = Command::new("python3")
            .arg(example("remote-worker/worker.py"))
            .env("WINDROW_SERVER", server)
            .env("WINDROW_TOKEN", key)
            .env("no_proxy", "*")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        Self(program.unwrap())
    }

    /// Waits for its end; gives its exit code and what it said.
    fn ended(&mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.0.wait().unwrap().code(), said)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn file(name: &str) -> String {
    std::fs::read_to_string(example("remote-worker").join(name)).unwrap()
}

#[test]
fn a_python_program_does_the_runs_of_a_registered_workload() {
    let windrow = Windrow::new();
    for name in ["windrow.toml", "shout.schema.json"] {
        windrow.file(name, file(name));
    }
    // the server's own worker leaves these jobs alone
    let mut server = windrow.up();
    let api = server.api(&windrow.token("alice", "contributor"));
    let admin = server.api(&windrow.token("root", "admin"));
    let key = admin.post("/v1/keys", &json!({ "name": "w", "scopes": ["worker:shout"] })).expect(201).json();

    let spec = json!({ "loud": true });
    let refused = api.post("/v1/jobs", &json!({ "workload": "shout", "spec": spec })).expect(422).json();
    assert!(refused["errors"][0]["pointer"].as_str().unwrap().starts_with("/spec"), "{refused}");
    let spec = json!({ "text": "not so\nloud" });
    let job = api.post("/v1/jobs", &json!({ "workload": "shout", "spec": spec })).expect(202).json();
    let job = job["id"].as_str().unwrap().to_owned();

    let _program = Program::start(&server.url, key["secret"].as_str().unwrap());
    let ended = api.finished(&job);
    assert_eq!(
        (&ended["status"], &ended["result"]),
        (&json!("completed"), &json!({ "characters": 11 })),
        "{ended}"
    );
    let artifacts = api.get(&format!("/v1/jobs/{job}/artifacts")).expect(200).json();
    let text = api.get(artifacts[0]["latest"]["download"].as_str().unwrap()).expect(200).body;
    assert_eq!(String::from_utf8(text).unwrap(), "NOT SO\nLOUD");
    let runs = api.get(&format!("/v1/jobs/{job}/runs")).expect(200).json();
    assert_eq!(runs.as_array().unwrap().len(), 1, "{runs}");

    // a server that is killed while the program waits for work, and one that comes in its place
    server.kill();
    let port = server.url.rsplit(':').next().unwrap().to_owned();
    let server = windrow.start(&["up", "--data-dir", "data", "--port", &port, "--json"]);
    let api = server.api(&windrow.token("alice", "contributor"));
    let job = api.post("/v1/jobs", &json!({ "workload": "shout", "spec": spec })).expect(202).json();
    let ended = api.finished(job["id"].as_str().unwrap());
    assert_eq!(ended["status"], "completed", "{ended}");

    let (code, said) = Program::start(&server.url, "wr_nobodys").ended();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no work for this key"), "{said}");
}

#[test]
fn a_worker_moves_bytes_past_the_api_with_links_of_its_own_leases() {
    let windrow = Windrow::new();
    for name in ["windrow.toml", "shout.schema.json"] {
        windrow.file(name, file(name));
    }
    let server = windrow.up();
    let api = server.api(&windrow.token("alice", "contributor"));
    let stranger = server.api(&windrow.token("bob", "contributor"));
    let admin = server.api(&windrow.token("root", "admin"));
    let key = admin.post("/v1/keys", &json!({ "name": "w", "scopes": ["worker:shout"] })).expect(201).json();
    let worker = server.api(key["secret"].as_str().unwrap());
    let input = api.upload("in.txt", "text/plain", b"not so loud");
    let strangers = stranger.upload("in.txt", "text/plain", b"secret");

    let job = json!({ "workload": "shout", "spec": { "text": input } });
    let job = api.post("/v1/jobs", &job).expect(202).json()["id"].as_str().unwrap().to_owned();
    let claim = json!({ "workloads": ["shout"], "slots": 1, "wait_ms": 20000 });
    let lease = worker.post("/v1/worker/claim", &claim).expect(200).json()["leases"][0].clone();
    let objects = format!("/v1/worker/leases/{}.{}/objects", lease["job"].as_str().unwrap(), lease["run"]);
    let follow = |link: &serde_json::Value, body: &[u8]| {
        let plain = reqwest::blocking::Client::new();
        let method = link["method"].as_str().unwrap().parse().unwrap();
        let mut request = plain.request(method, link["url"].as_str().unwrap()).body(body.to_vec());
        for (name, value) in link["headers"].as_object().unwrap() {
            request = request.header(name, value.as_str().unwrap());
        }
        worker.send(request)
    };

    // in
    let wanted = |what: serde_json::Value| worker.post(&format!("{objects}/download-link"), &what);
    let link = wanted(json!({ "upload": lease["spec"]["text"] })).expect(200).json();
    assert_eq!(follow(&link, b"").expect(200).body, b"not so loud");
    assert_eq!(worker.get(&format!("{objects}?upload={input}")).expect(200).body, b"not so loud");
    for nobodys in [json!({ "upload": strangers }), json!({ "key": "uploads/x/y" }), json!({ "key": "../x" })]
    {
        let refused = wanted(nobodys.clone());
        assert!(matches!(refused.status, 404 | 422), "{nobodys}: {refused:?}");
    }
    worker.get(&format!("{objects}?upload={strangers}")).expect(404);

    // out
    let announced = json!({
        "prefix": "outputs", "name": "shouted.txt", "content_type": "text/plain", "size": 11,
    });
    let link = worker.post(&format!("{objects}/upload-link"), &announced).expect(200).json();
    let put = json!({ "key": link["key"] });
    worker.post(&format!("{objects}/complete"), &put).expect(404);
    let artifact = |object: &serde_json::Value| {
        let artifact = json!({
            "kind": "txt", "filename": "shouted.txt", "content_type": "text/plain", "object": object,
        });
        json!({ "outcome": "done", "output": { "result": {}, "artifacts": [artifact] } })
    };
    let complete = objects.replace("/objects", "/complete");
    assert_eq!(follow(&link, b"more than was announced").expect(413).json()["code"], "upload_too_large");
    follow(&link, b"NOT SO LOUD").expect(200);
    assert_eq!(follow(&link, b"NOT SO BAD!").expect(409).json()["code"], "object_exists");
    let object = worker.post(&format!("{objects}/complete"), &put).expect(200).json();
    worker.post(&complete, &artifact(&object)).expect(200);

    assert_eq!(api.finished(&job)["status"], "completed");
    let artifacts = api.get(&format!("/v1/jobs/{job}/artifacts")).expect(200).json();
    let text = api.get(artifacts[0]["latest"]["download"].as_str().unwrap()).expect(200).body;
    assert_eq!(text, b"NOT SO LOUD");

    // an artifact that nobody put
    let job =
        api.post("/v1/jobs", &json!({ "workload": "shout", "spec": { "text": "x" } })).expect(202).json();
    let lease = worker.post("/v1/worker/claim", &claim).expect(200).json()["leases"][0].clone();
    let lease = format!("/v1/worker/leases/{}.{}", lease["job"].as_str().unwrap(), lease["run"]);
    let link = worker.post(&format!("{lease}/objects/upload-link"), &announced).expect(200).json();
    let object = json!({ "key": link["key"], "size": 11, "sha256": "00".repeat(32) });
    worker.post(&format!("{lease}/complete"), &artifact(&object)).expect(200);
    let failed = api.finished(job["id"].as_str().unwrap());
    assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!("bad_artifact")));
    assert!(failed["error"]["message"].as_str().unwrap().ends_with("was not put"), "{failed}");
}

#[test]
fn the_documentation_shows_the_program_that_was_tested() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/your-own-workload.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    for (language, name) in [("python", "worker.py"), ("toml", "windrow.toml"), ("json", "shout.schema.json")]
    {
        let shown = format!("```{language}\n{}```", file(name));
        assert!(
            docs.contains(&shown),
            "docs/your-own-workload.md differs from examples/remote-worker/{name}"
        );
    }
}

#[test]
fn a_section_for_no_workload_is_a_mistake() {
    for (section, problem) in [
        ("[workloads.shuot]\nmax_running = 2", "there is no workload of this name"),
        ("[workloads.evidence]\nmax_running = 2", "there is no workload of this name (there are generate)"),
        ("[workloads.generate]\nspec_schema = '{}'", "it is Windrow's own"),
        ("[workloads.shout]\nspec_schema = 'no-such.json'", "no-such.json can't be read"),
        ("[workloads.shout]\nspec_schema = '{\"type\": 7}'", "no JSON Schema"),
        ("[workloads.'Shout it']\nspec_schema = '{}'", "can't be the name of a workload"),
    ] {
        let windrow = Windrow::new();
        windrow.file("windrow.toml", section);
        let ran = windrow.run(&["up", "--data-dir", "data", "--port", "0"]);
        assert_eq!(ran.code, 1, "{section}: {}", ran.stdout);
        assert!(ran.stderr.contains(problem), "{section}: {}", ran.stderr);
    }
}
