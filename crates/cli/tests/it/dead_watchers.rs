//! Those who open a job's event stream and never read it: the server goes on, its memory is bounded, jobs run.
//!
//! `WINDROW_WATCHERS=n` opens n of them (default 100).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::json;

use crate::harness::{Server, Windrow, number};
use crate::kills::{assert_whole, slow_spec, start, submit};

const RECORDS: u32 = 1_000;
/// What one watcher may keep of the server's memory: its connection's buffers, and the events that it has not read.
const KIB_A_WATCHER: u64 = 256;

/// Resident memory, in KiB.
fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A stream of a job's events that is open, and of which nothing but the first bytes is ever read.
fn watch(server: &Server, token: &str, job: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    let request = format!(
        "GET /v1/jobs/{job}/events HTTP/1.1\r\nhost: windrow\r\nauthorization: Bearer {token}\r\naccept: text/event-stream\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    stream
}

#[test]
fn watchers_that_never_read_hold_up_nobody() {
    let watchers = number("WINDROW_WATCHERS").unwrap_or(100);
    let windrow = Windrow::new();
    let mut server = windrow.up();
    let token = windrow.token("alice", "contributor");
    let api = server.api(&token);
    // what a job takes by itself is taken before it is measured
    let spec = slow_spec(&api);
    assert_whole(&api, &api.finished(&start(&api, spec.clone(), RECORDS)), RECORDS.into());
    let before = resident(&server);
    let job = start(&api, spec.clone(), RECORDS);
    let idle: Vec<TcpStream> = (0..watchers).map(|_| watch(&server, &token, &job)).collect();
    assert_whole(&api, &api.finished(&job), RECORDS.into());
    // a finished job's stream ends; those of one that runs are still there when another owner's has ended
    let running = start(&api, spec, 50 * RECORDS);
    let more: Vec<TcpStream> = (0..watchers).map(|_| watch(&server, &token, &running)).collect();
    let other = server.api(&windrow.token("bob", "contributor"));
    assert_whole(&other, &other.finished(&submit(&other, RECORDS)), RECORDS.into());
    let grown = resident(&server).saturating_sub(before);
    let allowed = 64 * 1024 + 2 * watchers * KIB_A_WATCHER;
    assert!(grown < allowed, "{grown} KiB more for {watchers} watchers, {allowed} are allowed");
    api.post(&format!("/v1/jobs/{running}/cancel"), &json!({})).expect(200);
    drop((idle, more));
    let (code, log) = server.terminate();
    assert_eq!(code, 0, "{log}");
    assert!(!log.contains("panicked"), "{log}");
}
