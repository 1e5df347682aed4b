//! A server that may open no more files: it waits, says so, and goes on as soon as it may.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Windrow, until};
use crate::kills::{assert_whole, submit};
use crate::machine::up_within;

/// Enough for the server itself and a few who ask.
const FILES: usize = 100;

fn open_files(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

#[test]
fn a_server_out_of_file_descriptors_goes_on_when_it_has_some() {
    let windrow = Windrow::new().with_env("WINDROW_RETRY_BASE", "100ms");
    let mut server = up_within(&windrow, &format!("ulimit -n {FILES}"));
    let token = windrow.token("alice", "contributor");
    let api = server.api(&token);
    let job = submit(&api, 600);
    let address = server.url.strip_prefix("http://").unwrap();
    let idle: Vec<TcpStream> = (0..FILES).map(|_| TcpStream::connect(address).unwrap()).collect();
    until(Duration::from_secs(10), "no file can be opened", || open_files(server.pid()) >= FILES);
    // who is connected is served; an object needs a file, which may be had when another is closed
    let refused = api.put_upload("a.jsonl", "application/x-ndjson", b"{\"a\": 1}\n").unwrap().1;
    if refused.status != 200 {
        let problem = refused.json();
        assert_eq!((refused.status, &problem["code"]), (503, &json!("storage_unavailable")), "{problem}");
    }
    drop(idle);
    let ended = api.finished(&job);
    assert_whole(&api, &ended, 600);
    api.upload("a.jsonl", "application/x-ndjson", b"{\"a\": 1}\n");
    let (code, log) = server.terminate();
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("Too many open files"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}
