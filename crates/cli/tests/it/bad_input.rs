//! Wrong input gets a clear problem, never a 500, and loses nothing.

use serde_json::{Value, json};

use crate::harness::{Answer, Api, Server, Windrow};

struct Fixture {
    _windrow: Windrow,
    server: Server,
    api: Api,
}

fn fixture() -> Fixture {
    let windrow = Windrow::new();
    let server = windrow.up();
    let api = server.api(&windrow.token("alice", "admin"));
    Fixture { _windrow: windrow, server, api }
}

/// A problem document with this status and code, and something for a person to read.
#[track_caller]
fn problem(answer: Answer, status: u16, code: &str) -> Value {
    let problem = answer.expect(status).json();
    assert_eq!(problem["code"], code, "{problem}");
    assert!(problem["detail"].as_str().unwrap().len() > 10, "{problem}");
    assert!(!problem["request_id"].as_str().unwrap().is_empty(), "{problem}");
    problem
}

fn raw(api: &Api, path: &str, body: impl Into<reqwest::blocking::Body>) -> Answer {
    api.send(api.request("POST", path).header("content-type", "application/json").body(body))
}

#[test]
fn bodies_that_are_no_json_or_too_much_of_it() {
    let fixture = fixture();
    let api = &fixture.api;
    for body in ["{", "", "nonsense", "{\"workload\": \"generate\",}", "\u{0}"] {
        problem(raw(api, "/v1/jobs", body), 400, "malformed_json");
    }
    problem(raw(api, "/v1/jobs", vec![0xff, 0xfe, 0x00]), 400, "malformed_json");
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    problem(raw(api, "/v1/jobs", deep), 400, "too_deep");
    // twice the limit, and no more than a server reads for nothing: the answer gets through for certain
    problem(raw(api, "/v1/jobs", vec![b' '; 2 << 20]), 413, "body_too_large");
    let plain = api.send(api.request("POST", "/v1/jobs").body("{}"));
    problem(plain, 415, "unsupported_media_type");
}

#[test]
fn specs_that_do_not_fit_are_named_by_pointer() {
    let fixture = fixture();
    let submit = |body: Value| fixture.api.post("/v1/jobs", &body);
    let unknown = problem(submit(json!({ "workload": "nope", "spec": {} })), 422, "unknown_workload");
    assert!(unknown["detail"].as_str().unwrap().contains("generate"));
    let missing = problem(submit(json!({ "workload": "generate", "spec": {} })), 422, "invalid_spec");
    assert!(missing["errors"].as_array().unwrap().len() >= 3, "{missing}");
    let typo = problem(
        submit(json!({ "workload": "generate", "spec": {}, "priorty": "low" })),
        422,
        "invalid_request",
    );
    assert_eq!(typo["errors"][0]["pointer"], "/priorty", "{typo}");
    let wrong = json!({ "template": "a@1", "seed": "sample:authors", "records": "ten" });
    let wrong = problem(submit(json!({ "workload": "generate", "spec": wrong })), 422, "invalid_spec");
    assert_eq!(wrong["errors"][0]["pointer"], "/spec/records", "{wrong}");
    let money = problem(
        submit(json!({ "workload": "generate", "spec": {}, "budget_usd": "lots" })),
        422,
        "invalid_request",
    );
    assert_eq!(money["errors"][0]["pointer"], "/budget_usd");
}

#[test]
fn ids_cursors_and_queries_that_make_no_sense() {
    let fixture = fixture();
    let api = &fixture.api;
    for path in
        ["/v1/jobs/nope", "/v1/jobs/..%2f..%2fetc", "/v1/jobs/%00", "/v1/uploads/1", "/v1/nothing/here"]
    {
        problem(api.get(path), 404, "not_found");
    }
    problem(api.get("/v1/jobs?cursor=garbage"), 400, "bad_cursor");
    problem(api.get("/v1/jobs?status=done"), 422, "invalid_query");
    problem(api.get("/v1/jobs?limit=many"), 422, "invalid_query");
    problem(api.get("/v1/jobs?colour=red"), 422, "invalid_query");
    problem(api.send(api.request("DELETE", "/v1/jobs")), 405, "method_not_allowed");
}

#[test]
fn credentials_that_prove_nothing() {
    let fixture = fixture();
    let with = |token: &str| Api { token: token.to_owned(), ..fixture.api.clone() }.get("/v1/me");
    for token in ["garbage", "a.b.c", "wr_0000000000000000000000000000000000000000000"] {
        let answer = with(token).expect(401);
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    let none = fixture.api.http.get(format!("{}/v1/me", fixture.server.url));
    fixture.api.send(none).expect(401);
}

#[test]
fn links_that_were_altered_expired_or_used_otherwise() {
    let fixture = fixture();
    let api = &fixture.api;
    let wish = json!({ "filename": "../../etc/passwd", "content_type": "text/plain", "size": 3 });
    let created = api.post("/v1/uploads", &wish).expect(201).json();
    let url = created["url"].as_str().unwrap().to_owned();
    let put = |url: &str, body: &'static [u8]| {
        api.send(api.http.put(url).header("content-type", "text/plain").body(body))
    };
    problem(put(&url.replace("/blobs/uploads/", "/blobs/seed-data/"), b"abc"), 403, "link_invalid");
    problem(put(&format!("{url}x"), b"abc"), 403, "link_invalid");
    problem(api.send(api.http.get(&url)), 403, "link_invalid");
    problem(
        api.send(api.http.put(&url).header("content-type", "text/html").body("abc")),
        400,
        "link_mismatch",
    );
    problem(put(&url, b"far more than three"), 413, "upload_too_large");
    put(&url, b"abc").expect(200);
    let id = created["id"].as_str().unwrap();
    let upload = api.post(&format!("/v1/uploads/{id}/complete"), &json!({})).expect(200).json();
    assert_eq!(upload["status"], "stored");
    // a local URL dies at complete
    problem(put(&url, b"xyz"), 409, "upload_closed");
}

#[test]
fn templates_that_can_not_work() {
    let fixture = fixture();
    let create = |document: &str| fixture.api.post("/v1/templates", &json!({ "document": document }));
    for document in [
        "template: [",
        "template: {name: a}",
        "template:\n  name: a\n  steps:\n    - {id: x, prompt: '{{ broken'}",
        "template:\n  name: a\n  colour: red\n  steps: [{id: x, prompt: hi}]",
        "template:\n  name: a\n  steps: [{id: x, prompt: hi}, {id: x, prompt: hi}]",
        "",
    ] {
        let problem = problem(create(document), 422, "invalid_request");
        assert!(!problem["errors"].as_array().unwrap().is_empty(), "{document}: {problem}");
    }
    let bomb = "template:\n  name: bomb\n  steps:\n    - {id: x, model: offline, prompt: '{% for i in range(5000) %}{% for j in range(5000) %}x{% endfor %}{% endfor %}'}\n";
    let template = create(bomb).expect(201).json();
    let upload = fixture.api.upload("a.jsonl", "application/x-ndjson", b"{\"a\": 1}\n");
    let spec = json!({ "template": template["id"], "seed": upload, "records": 60 });
    let job =
        fixture.api.post("/v1/jobs", &json!({ "workload": "generate", "spec": spec })).expect(202).json();
    let job = fixture.api.finished(job["id"].as_str().unwrap());
    assert_eq!(job["status"], "failed", "{job}");
    assert!(job["error"]["message"].as_str().unwrap().contains("loop"), "{job}");
}

#[test]
fn seeds_that_can_not_be_read() {
    let fixture = fixture();
    let api = &fixture.api;
    let document = "template:\n  name: needs-a\n  schema_requirements: [a.b]\n  steps: [{id: x, model: offline, prompt: '{{ a.b }}'}]\n";
    let template = api.post("/v1/templates", &json!({ "document": document })).expect(201).json();
    let include =
        "template:\n  name: lost\n  steps: [{id: x, model: offline, prompt: \"{% include 'nobody@1' %}\"}]\n";
    let lost = api.post("/v1/templates", &json!({ "document": include })).expect(201).json();
    let submit = |template: &Value, seed: &str| {
        let spec = json!({ "template": template["id"], "seed": seed, "records": 5 });
        api.post("/v1/jobs", &json!({ "workload": "generate", "spec": spec }))
    };
    let good = api.upload("good.jsonl", "application/x-ndjson", b"{\"a\": {\"b\": 1}}\n");
    let lost = problem(submit(&lost, &good), 422, "invalid_spec");
    assert!(lost["detail"].as_str().unwrap().contains("nobody@1"), "{lost}");
    let put = |bytes: &[u8]| api.offer("bad.jsonl", "application/x-ndjson", bytes);
    for bytes in [
        &b"{\"a\": {\"c\": 1}}\n{\"a\": {\"b\": null}}\n"[..],
        b"{\"a\": \n",
        b"\x1f\x8b\x08broken gzip",
        b"{\"a\": {\"b\": \"\xff\xfe\"}}\n",
        b"a,b\n1,2,3\n",
        b"\x00\x00\x00\x00",
        b"",
    ] {
        // what is no text at all is refused when it arrives, the rest when a job wants to read it
        let upload = match put(bytes) {
            Ok(upload) => upload,
            Err(refused) => {
                assert_eq!(refused.status, 422, "{refused:?}");
                continue;
            }
        };
        let answer = submit(&template, &upload);
        let problem = problem(answer, 422, "invalid_spec");
        assert_eq!(problem["errors"][0]["pointer"], "/spec/seed", "{problem}");
    }
}
