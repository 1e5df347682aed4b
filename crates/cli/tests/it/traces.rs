//! One trace from a request to its runs and their model calls, told to a collector; and the log that is kept of it.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::{Value, json};

use crate::harness::{Api, Windrow, example};

/// One HTTP request, as it came.
struct Heard {
    path: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

/// Answers every request with the same body, and tells of each.
fn listener(content_type: &'static str, answer: String) -> (String, Receiver<Heard>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, heard) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (tell, answer) = (tell.clone(), answer.clone());
            std::thread::spawn(move || {
                let Some(request) = read(BufReader::new(stream.as_ref().unwrap())) else { return };
                let _ = tell.send(request);
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    answer.len()
                );
                let mut stream = stream.unwrap();
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(answer.as_bytes()));
            });
        }
    });
    (url, heard)
}

fn read(mut from: BufReader<&TcpStream>) -> Option<Heard> {
    let mut line = String::new();
    from.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = HashMap::new();
    loop {
        line.clear();
        from.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    from.read_exact(&mut body).ok()?;
    Some(Heard { path, headers, body })
}

fn model() -> (String, Receiver<Heard>) {
    let answer = json!({"id": "c-1", "choices": [{"index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "content": "a word"}}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2}});
    listener("application/json", answer.to_string())
}

fn submit(api: &Api, headers: &[(&str, &str)], model: &str) -> (String, String) {
    let seed = api.upload("topics.csv", "text/csv", &std::fs::read(example("seed/topics-10.csv")).unwrap());
    let document = std::fs::read_to_string(example("templates/brainstorm.yaml")).unwrap();
    let template = api.post("/v1/templates", &json!({ "document": document })).expect(201).json();
    let spec = json!({"template": template["id"], "seed": seed, "records": 2, "overrides": {"model": model}});
    let mut request = api.request("POST", "/v1/jobs").json(&json!({"workload": "generate", "spec": spec}));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = api.send(request).expect(202);
    let request_id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
    (answer.json()["id"].as_str().unwrap().to_owned(), request_id)
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn of_trace(heard: &Receiver<Heard>) -> Vec<Span> {
    let requests = heard.try_iter().map(|request| {
        assert_eq!(request.path, "/v1/traces");
        assert_eq!(request.headers["content-type"], "application/x-protobuf");
        assert_eq!(request.headers["x-team"], "blue sky");
        ExportTraceServiceRequest::decode(request.body.as_slice()).unwrap()
    });
    let resources = requests.flat_map(|request| request.resource_spans);
    let spans = resources.flat_map(|resource| {
        let attributes = resource.resource.unwrap().attributes;
        let name = attributes.into_iter().find(|attribute| attribute.key == "service.name").unwrap();
        assert!(format!("{:?}", name.value).contains("windrow-test"), "{:?}", name.value);
        resource.scope_spans
    });
    spans.flat_map(|scope| scope.spans).filter(|span| hex::encode(&span.trace_id) == TRACE).collect()
}

#[test]
fn one_trace_leads_from_the_request_to_the_model_call_across_processes() {
    let (collector, spans) = listener("application/x-protobuf", String::new());
    let (model, calls) = model();
    let windrow = Windrow::new()
        .with_env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
        .with_env("OTEL_EXPORTER_OTLP_HEADERS", "x-team=blue%20sky")
        .with_env("OTEL_SERVICE_NAME", "windrow-test")
        .with_env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .with_env("WINDROW_ALLOW_UNPRICED", "true");
    windrow.file("windrow.toml", format!("[models.providers.openai]\nbase_url = \"{model}/v1\"\n"));
    let mut server =
        windrow.start(&["up", "--data-dir", "data", "--port", "0", "--json", "--worker-processes", "1"]);
    let api = server.api(&windrow.token("alice", "contributor"));
    let traceparent = format!("00-{TRACE}-{CALLER}-01");
    let (job, _) = submit(&api, &[("traceparent", &traceparent)], "openai:stub");
    let ended = api.finished(&job);
    assert_eq!((&ended["status"], &ended["trace_id"]), (&json!("completed"), &json!(TRACE)), "{ended}");
    assert_eq!(server.terminate().0, 0);

    let spans = of_trace(&spans);
    let names: BTreeSet<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    for name in ["request", "submit", "load", "run", "model call", "checkpoint", "commit"] {
        assert!(names.contains(name), "{name} is missing in {names:?}");
    }
    let by_id: HashMap<String, &Span> = spans.iter().map(|span| (hex::encode(&span.span_id), span)).collect();
    let parent =
        |span: &Span| by_id.get(&hex::encode(&span.parent_span_id)).map(|parent| parent.name.as_str());
    for span in &spans {
        let expected = match span.name.as_str() {
            "submit" => "request",
            "load" | "run" => "submit",
            "model call" => "run",
            _ => continue,
        };
        assert_eq!(parent(span), Some(expected), "{}", span.name);
    }
    let root = spans.iter().find(|span| hex::encode(&span.parent_span_id) == CALLER).unwrap();
    assert_eq!(root.name, "request");
    let sent: Vec<String> = calls.try_iter().map(|call| call.headers["traceparent"].clone()).collect();
    assert_eq!(sent.len(), 2);
    for traceparent in sent {
        let [_, trace, span, flags] = traceparent.split('-').collect::<Vec<_>>()[..] else {
            panic!("{traceparent}")
        };
        assert_eq!((trace, by_id[span].name.as_str(), flags), (TRACE, "model call", "01"));
    }
}

#[test]
fn a_collector_that_is_not_there_neither_slows_nor_breaks_anything() {
    // bound and never listened to by anybody: connections are taken by the kernel and nothing answers
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let windrow = Windrow::new()
        .with_env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", silent.local_addr().unwrap()))
        .with_env("OTEL_BSP_SCHEDULE_DELAY", "50");
    let mut server = windrow.up();
    let api = server.api(&windrow.token("alice", "contributor"));
    let (job, _) = submit(&api, &[], "offline");
    assert_eq!(api.finished(&job)["status"], "completed");
    let began = Instant::now();
    let (code, log) = server.terminate();
    assert_eq!(code, 0, "{log}");
    assert!(began.elapsed() < Duration::from_secs(15), "the end took {:?}", began.elapsed());
}

#[test]
fn a_trace_shows_what_the_log_has_of_the_request_and_its_runs() {
    let windrow = Windrow::new();
    let server = windrow.up();
    let (alice, bob) = (windrow.token("alice", "contributor"), windrow.token("bob", "contributor"));
    let (job, _) = submit(&server.api(&alice), &[("x-request-id", "order-17")], "offline");
    assert_eq!(server.api(&alice).finished(&job)["status"], "completed");
    let trace = |token: &str| {
        let ran = windrow.run(&["trace", "order-17", "--server", &server.url, "--token", token, "--json"]);
        (ran.code == 0).then(|| serde_json::from_str::<Value>(&ran.stdout).unwrap())
    };
    let lines = trace(&alice).unwrap()["log"].as_array().unwrap().clone();
    let said: Vec<&str> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    for message in ["answered", "the run starts", "the run ended"] {
        assert!(said.contains(&message), "{message:?} is missing in {said:?}");
    }
    let of_run = lines.iter().find(|line| line["message"] == "the run starts").unwrap();
    assert_eq!((&of_run["request_id"], &of_run["run"]), (&json!("order-17"), &json!(1)));
    assert_eq!(of_run["trace_id"].as_str().unwrap().len(), 32);
    // the request's id is of the client's choosing, so knowing it opens nothing
    assert_eq!(trace(&bob), None);
    let ran = windrow.run(&["trace", "order-17", "--server", &server.url, "--token", &alice]).ok();
    assert!(ran.stdout.contains("the run ended") && ran.stdout.contains(&job), "{}", ran.stdout);

    let keeps_none = Windrow::new().with_env("WINDROW_LOG_KEEP", "0");
    let server = keeps_none.up();
    let token = keeps_none.token("alice", "contributor");
    let (_, request_id) = submit(&server.api(&token), &[], "offline");
    let ran = keeps_none.run(&["trace", &request_id, "--server", &server.url, "--token", &token]).ok();
    assert!(ran.stdout.contains("log: not kept by this installation"), "{}", ran.stdout);
    assert!(!keeps_none.path("data/log").exists());
}
