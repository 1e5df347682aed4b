//! A job's history over HTTP: server-sent events that can be cut and taken up again, and plain JSON.

use std::io::{BufRead as _, BufReader};

use reqwest::blocking::Response;
use serde_json::{Value, json};

use crate::dead_letters::with_a_remote_workload;
use crate::harness::Api;

/// One server-sent event.
#[derive(Debug)]
struct Frame {
    /// Progress has none: it is not part of the history.
    id: Option<String>,
    kind: String,
    data: Value,
}

/// An open stream. Dropped, its connection is cut.
struct Stream(BufReader<Response>);

impl Stream {
    fn open(api: &Api, job: &str, after: Option<&str>) -> Self {
        let mut request =
            api.request("GET", &format!("/v1/jobs/{job}/events")).header("accept", "text/event-stream");
        if let Some(id) = after {
            request = request.header("last-event-id", id);
        }
        let response = request.send().unwrap();
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Self(BufReader::new(response))
    }
}

/// By the format of <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>.
impl Iterator for Stream {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let (mut id, mut kind, mut data) = (None, String::new(), String::new());
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                assert!(data.is_empty(), "the stream ended within an event");
                return None;
            }
            match line.trim_end_matches('\n').split_once(": ") {
                Some(("id", text)) => id = Some(text.to_owned()),
                Some(("event", text)) => text.clone_into(&mut kind),
                Some(("data", text)) => data.push_str(text),
                // a comment keeps the connection open
                _ if line.starts_with(':') => {}
                None if line == "\n" && data.is_empty() => {}
                None if line == "\n" => {
                    let data: Value = serde_json::from_str(&data).unwrap();
                    assert_eq!(data["id"].as_str(), id.as_deref());
                    return Some(Frame { id, kind, data });
                }
                _ => panic!("no line of an event stream: {line:?}"),
            }
        }
    }
}

fn claim(worker: &Api) -> String {
    let claim = json!({ "workloads": ["shout"], "slots": 1, "wait_ms": 20_000 });
    let claimed = worker.post("/v1/worker/claim", &claim).expect(200).json();
    let lease = &claimed["leases"][0];
    format!("/v1/worker/leases/{}.{}", lease["job"].as_str().unwrap(), lease["run"])
}

#[test]
fn a_stream_that_was_cut_goes_on_after_the_last_event_without_gap_or_double() {
    let (_windrow, _server, api, worker) = with_a_remote_workload();
    let job = json!({ "workload": "shout", "spec": { "text": "x" } });
    let job = api.post("/v1/jobs", &job).expect(202).json()["id"].as_str().unwrap().to_owned();
    let mut told: Vec<Frame> = Vec::new();
    let last = |told: &[Frame]| told.iter().rev().find_map(|frame| frame.id.clone());

    told.push(Stream::open(&api, &job, None).next().unwrap());
    assert_eq!(told[0].kind, "submitted");
    // what happens while nobody listens is told to the next one
    let first = claim(&worker);
    let mut stream = Stream::open(&api, &job, last(&told).as_deref());
    told.push(stream.next().unwrap());
    assert_eq!(told[1].kind, "started");
    let progress = json!({ "stage": "shouting", "done": 3, "total": 7 });
    worker.post(&format!("{first}/progress"), &progress).expect(204);
    let seen = stream.next().unwrap();
    assert_eq!((seen.kind.as_str(), &seen.id), ("progress", &None));
    assert_eq!(seen.data["payload"]["done"], 3, "{seen:?}");
    drop(stream);

    let error = json!({ "class": "transient", "code": "hoarse", "message": "later" });
    worker.post(&format!("{first}/fail"), &json!({ "error": error })).expect(200);
    told.extend(Stream::open(&api, &job, last(&told).as_deref()).find(|frame| frame.id.is_some()));
    assert_eq!(told[2].kind, "ended");
    let second = claim(&worker);
    let end = json!({ "outcome": "done", "output": { "result": { "characters": 1 }, "artifacts": [] } });
    worker.post(&format!("{second}/complete"), &end).expect(200);
    // the stream ends by itself when all is told
    told.extend(Stream::open(&api, &job, last(&told).as_deref()).filter(|frame| frame.id.is_some()));

    let plain = api.get(&format!("/v1/jobs/{job}/events")).expect(200);
    assert_eq!(plain.headers["content-type"], "application/json");
    let history: Vec<Value> = serde_json::from_slice(&plain.body).unwrap();
    assert_eq!(told.iter().map(|frame| frame.data.clone()).collect::<Vec<_>>(), history);
    let kinds: Vec<&str> = told.iter().map(|frame| frame.kind.as_str()).collect();
    assert_eq!(kinds, ["submitted", "started", "ended", "started", "ended"]);
    // from any of its events on, in either form
    for (nth, frame) in told.iter().enumerate() {
        let id = frame.id.as_deref().unwrap();
        let rest: Vec<Value> = Stream::open(&api, &job, Some(id)).map(|frame| frame.data).collect();
        assert_eq!(rest, history[nth + 1..], "after {id}");
        assert_eq!(api.get(&format!("/v1/jobs/{job}/events?after={id}")).expect(200).json(), json!(rest));
        let by_header = api.request("GET", &format!("/v1/jobs/{job}/events")).header("last-event-id", id);
        assert_eq!(api.send(by_header).expect(200).json(), json!(rest));
    }
}

#[test]
fn what_can_not_be_followed_is_a_problem_and_no_stream() {
    let (windrow, server, api, _worker) = with_a_remote_workload();
    let job = json!({ "workload": "shout", "spec": { "text": "x" } });
    let job = api.post("/v1/jobs", &job).expect(202).json()["id"].as_str().unwrap().to_owned();
    let stream = |api: &Api, after: &str| {
        let request =
            api.request("GET", &format!("/v1/jobs/{job}/events")).header("accept", "text/event-stream");
        api.send(request.header("last-event-id", after))
    };
    for after in ["yesterday", "-1", "1.1.1.1", "99999999999999999999"] {
        let refused = stream(&api, after).expect(400);
        assert_eq!(refused.headers["content-type"], "application/problem+json");
        assert_eq!(refused.json()["code"], "bad_event_id", "{after}");
    }
    let mallory = server.api(&windrow.token("mallory", "contributor"));
    stream(&mallory, "1.1.1").expect(404);
}
