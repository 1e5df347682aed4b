//! What a server says to those who are no client of its API: a browser, Prometheus, a page of another origin, an issuer's user.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, Response};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use windrow_core::SystemClock;

use crate::harness::{Api, Server, Windrow};

/// An issuer's keys, as the tests of logins make them.
#[path = "../../../auth/tests/it/keys.rs"]
#[allow(dead_code, reason = "the other kinds of keys are for the tests that it belongs to")]
mod keys;

use keys::{ISSUER, Key};

fn page(url: &str) -> Response {
    let response = Client::new().get(url).send().unwrap();
    assert_eq!(response.status(), 200, "{url}");
    response
}

/// The values of an attribute in a page.
fn attributes<'p>(page: &'p str, name: &str) -> Vec<&'p str> {
    let begin = format!("{name}=\"");
    page.split(&begin).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn the_viewer_of_the_api_needs_no_other_server() {
    let windrow = Windrow::new();
    let server = windrow.up();
    let viewer = page(&format!("{}/docs", server.url));
    let base = viewer.url().clone();
    assert!(base.path().ends_with('/'), "what it names stands beside it: {base}");
    let text = viewer.text().unwrap();
    let names = [attributes(&text, "src"), attributes(&text, "href")].concat();
    assert!(names.len() >= 4, "{text}");
    for name in names {
        let part = base.join(name).unwrap();
        assert_eq!(part.origin(), base.origin(), "{name}");
        let part = page(part.as_str());
        let kind = part.headers()["content-type"].to_str().unwrap().to_owned();
        let expected = match name.rsplit('.').next().unwrap() {
            "js" => "javascript",
            "css" => "text/css",
            _ => "image/png",
        };
        assert!(kind.contains(expected), "{name}: {kind}");
        let body = part.bytes().unwrap();
        assert!(!body.is_empty(), "{name}");
        if name.contains("initializer") {
            let script = String::from_utf8_lossy(&body);
            assert!(script.contains("\"/openapi.json\""), "{script}");
            assert!(!script.contains("://"), "{script}");
        }
    }
    let document: Value = page(&format!("{}/openapi.json", server.url)).json().unwrap();
    assert!(document["paths"].as_object().unwrap().len() > 20);
}

/// Runs a small job to its end.
fn run_a_job(api: &Api) {
    let template = "template:\n  name: t\n  steps:\n    - {id: a, model: offline, max_tokens: 20, prompt: 'About {{ a }}'}\n";
    let made = api.post("/v1/templates", &json!({ "document": template })).expect(201).json();
    let seed = api.upload("a.jsonl", "application/x-ndjson", b"{\"a\": 1}\n");
    let spec = json!({ "template": made["id"], "seed": seed, "records": 3 });
    let job = api.post("/v1/jobs", &json!({ "workload": "generate", "spec": spec })).expect(202).json();
    let job = api.finished(job["id"].as_str().unwrap());
    assert_eq!(job["status"], "completed", "{job}");
}

#[test]
fn every_family_of_metrics_is_there_after_a_job() {
    let windrow = Windrow::new();
    let server = windrow.up();
    let api = server.api(&windrow.token("ada", "contributor"));
    run_a_job(&api);
    let families = [
        "windrow_jobs{",
        "windrow_queue_lag_seconds{",
        "windrow_claim_seconds_bucket{",
        "windrow_pickup_seconds_bucket{",
        r#"windrow_runs_total{workload="generate",outcome="completed"} "#,
        "windrow_lost_leases_total{",
        "windrow_retries_total{",
        "windrow_dead_letters ",
        "windrow_model_calls_total{",
        "windrow_model_tokens_total{",
        "windrow_model_cost_picousd_total{",
        "windrow_storage_errors_total{",
    ];
    // the queue is measured every few seconds, and a run is counted after its end is told
    let began = Instant::now();
    loop {
        let text = page(&format!("{}/metrics", server.url)).text().unwrap();
        let lacks = |family: &&str| !text.lines().any(|line| line.starts_with(family));
        let missing: Vec<&str> = families.into_iter().filter(lacks).collect();
        if missing.is_empty() {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{missing:?} are not in:\n{text}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a browser asks before a page of `origin` may post a job with a token.
fn preflight(server: &Server, origin: &str) -> (u16, HeaderMap) {
    let request = Client::new()
        .request(reqwest::Method::OPTIONS, format!("{}/v1/jobs", server.url))
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,idempotency-key");
    let response = request.send().unwrap();
    (response.status().as_u16(), response.headers().clone())
}

fn from_origin(server: &Server, origin: &str) -> HeaderMap {
    let response =
        Client::new().get(format!("{}/v1/health", server.url)).header("origin", origin).send().unwrap();
    assert_eq!(response.status(), 200);
    response.headers().clone()
}

fn listed(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map(|value| value.to_str().unwrap().to_ascii_lowercase()).unwrap_or_default()
}

const ALLOW: &str = "access-control-allow-origin";

#[test]
fn pages_of_the_origins_that_are_set_may_call_and_no_others() {
    let (ours, second, other) =
        ("https://app.example.com", "https://b.example.com:8443", "https://app.example.com.evil.example");
    let windrow = Windrow::new().with_env("WINDROW_CORS_ORIGINS", format!("{ours},{second}"));
    let server = windrow.up();
    for origin in [ours, second] {
        let answer = from_origin(&server, origin);
        assert_eq!(answer[ALLOW], origin);
        assert!(listed(&answer, "access-control-expose-headers").contains("x-request-id"), "{answer:?}");
        let (status, answer) = preflight(&server, origin);
        assert_eq!(status, 200);
        assert_eq!(answer[ALLOW], origin);
        let methods = listed(&answer, "access-control-allow-methods");
        assert!(methods == "*" || methods.contains("post"), "{methods}");
        // a wildcard doesn't cover Authorization: https://fetch.spec.whatwg.org/#cors-non-wildcard-request-header-name
        let headers = listed(&answer, "access-control-allow-headers");
        for name in ["authorization", "content-type", "idempotency-key"] {
            assert!(headers.split(',').any(|header| header.trim() == name), "{name}: {headers}");
        }
    }
    assert_eq!(from_origin(&server, other).get(ALLOW), None);
    assert_eq!(preflight(&server, other).1.get(ALLOW), None);
}

#[test]
fn no_page_of_another_origin_may_call_unless_it_is_set() {
    let windrow = Windrow::new();
    let server = windrow.up();
    let origin = "https://app.example.com";
    assert_eq!(from_origin(&server, origin).get(ALLOW), None);
    let (status, answer) = preflight(&server, origin);
    assert_eq!((status, answer.get(ALLOW)), (405, None));
}

/// Serves one document for as long as the test runs; gives its URL.
fn published(document: &Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    let body = document.to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // one request fits into one read, and nothing else is asked here
            let _ = stream.read(&mut [0; 4096]).unwrap();
            let length = body.len();
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json";
            write!(stream, "{head}\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
        }
    });
    url
}

#[test]
fn a_server_that_trusts_an_issuer_lets_its_users_in_and_nobody_else() {
    let (key, stranger) = (Key::ed(), Key::ed());
    let keys_at = published(&json!({ "keys": [key.jwk("a")] }));
    let windrow = Windrow::new()
        .with_env("WINDROW_AUTH", "jwks")
        .with_env("WINDROW_AUTH_ISSUER", ISSUER)
        .with_env("WINDROW_AUTH_AUDIENCE", "windrow")
        .with_env("WINDROW_AUTH_JWKS_URL", keys_at);
    let server = windrow.up();
    let now = SystemClock::shared().now().as_micros() / 1_000_000;
    let claims = |change: Value| {
        let mut claims = json!({ "iss": ISSUER, "aud": "windrow", "sub": "ann", "exp": now + 3600 });
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        claims
    };
    let good = key.token("a", &claims(json!({})));
    let me = server.api(&good).get("/v1/me").expect(200).json();
    assert_eq!((&me["sub"], &me["role"]), (&json!("ann"), &json!("consumer")), "{me}");
    let unsigned = keys::unsigned(&json!({ "alg": "none", "kid": "a" }), &claims(json!({})));
    for (token, code) in [
        (stranger.token("a", &claims(json!({}))), "token_signature"),
        (key.token("b", &claims(json!({}))), "token_key_unknown"),
        (key.token("a", &claims(json!({ "exp": now - 3600 }))), "token_expired"),
        (key.token("a", &claims(json!({ "iss": "https://other.example.com" }))), "token_issuer"),
        (key.token("a", &claims(json!({ "aud": "another" }))), "token_audience"),
        (format!("{unsigned}."), "token_algorithm"),
    ] {
        let refused = server.api(&token).get("/v1/me").expect(401).json();
        assert_eq!(refused["code"], code, "{refused}");
    }
}
