//! Webhooks of a real server, told to a receiver that checks the signature as Standard Webhooks says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::harness::{Api, Windrow, example, until};

/// One request, as it came.
struct Told {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Told {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }
}

/// Answers its first requests with these statuses, and all after them with 204.
fn receiver(statuses: &'static [u16]) -> (String, Receiver<Told>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let mut statuses = statuses.iter().copied().chain(std::iter::repeat(204));
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let mut headers = Vec::new();
            loop {
                line.clear();
                reader.read_line(&mut line).unwrap();
                let Some((name, value)) = line.trim_end().split_once(": ") else { break };
                headers.push((name.to_owned(), value.to_owned()));
            }
            let mut told = Told { headers, body: Vec::new() };
            told.body.resize(told.header("content-length").parse().unwrap(), 0);
            reader.read_exact(&mut told.body).unwrap();
            let answer = format!("HTTP/1.1 {} Told\r\nconnection: close\r\n\r\n", statuses.next().unwrap());
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            if tell.send(told).is_err() {
                return;
            }
        }
    });
    (url, told)
}

fn job_with_webhook(api: &Api, url: &str) -> String {
    let seed = std::fs::read(example("seed/topics-10.csv")).unwrap();
    let upload = api.upload("topics.csv", "text/csv", &seed);
    let document = std::fs::read_to_string(example("templates/brainstorm.yaml")).unwrap();
    let template = api.post("/v1/templates", &json!({ "document": document })).expect(201).json();
    let spec = json!({
        "template": template["id"], "seed": upload, "records": 3, "overrides": { "model": "offline" },
    });
    let job = json!({ "workload": "generate", "spec": spec, "webhook_url": url });
    api.post("/v1/jobs", &job).expect(202).json()["id"].as_str().unwrap().to_owned()
}

/// `base64(HMAC-SHA-256(secret, "id.timestamp.body"))`, by the specification of Standard Webhooks.
fn signature(secret: &str, told: &Told) -> String {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{}.{}.", told.header("webhook-id"), told.header("webhook-timestamp")).as_bytes());
    mac.update(&told.body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

fn told_in_history(api: &Api, job: &str) -> Option<Value> {
    let events = api.get(&format!("/v1/jobs/{job}/events")).expect(200).json();
    events.as_array().unwrap().iter().find(|e| e["type"].as_str().unwrap().starts_with("webhook")).cloned()
}

#[test]
fn the_end_of_a_job_is_told_signed_and_again_after_a_failure() {
    let windrow = Windrow::new().with_env("WINDROW_WEBHOOKS_ALLOW_PRIVATE", "true");
    let server = windrow.up();
    let api = server.api(&windrow.token("alice", "contributor"));
    let (url, told) = receiver(&[503]);
    let job = job_with_webhook(&api, &url);
    let secret = api.get("/v1/me/webhook-secret").expect(200).json()["secret"].as_str().unwrap().to_owned();
    // the second comes after a pause of up to 5 s
    let [first, second] = [(); 2].map(|()| told.recv_timeout(Duration::from_secs(60)).unwrap());
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    for told in [&first, &second] {
        assert_eq!(told.header("webhook-signature"), signature(&secret, told));
    }
    let body: Value = serde_json::from_slice(&second.body).unwrap();
    assert_eq!((&body["type"], &body["data"]["id"]), (&json!("job.completed"), &json!(job)));
    until(Duration::from_secs(30), "the history tells of it", || told_in_history(&api, &job).is_some());
    assert_eq!(told_in_history(&api, &job).unwrap()["type"], "webhook_delivered");
}

#[test]
fn this_machine_is_no_place_for_webhooks_unless_it_is_allowed_and_that_only_locally() {
    let windrow = Windrow::new();
    let server = windrow.up();
    let api = server.api(&windrow.token("alice", "contributor"));
    let (url, told) = receiver(&[]);
    let job = job_with_webhook(&api, &url);
    until(Duration::from_secs(60), "it is given up", || told_in_history(&api, &job).is_some());
    let event = told_in_history(&api, &job).unwrap();
    assert_eq!(event["type"], "webhook_failed");
    assert!(event["payload"]["problem"].as_str().unwrap().contains("127.0.0.1"), "{event}");
    assert!(told.try_recv().is_err(), "nothing was sent");

    let deployed =
        Windrow::new().with_env("APP_ENV", "uat").with_env("WINDROW_WEBHOOKS_ALLOW_PRIVATE", "true");
    let ran = deployed.run(&["config", "check"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains("WINDROW_WEBHOOKS_ALLOW_PRIVATE: webhooks to private"), "{}", ran.stdout);
}
