//! `windrow up`, `api` and `worker`: how they begin and end.

use std::process::Stdio;

use serde_json::json;

use crate::harness::{Windrow, signal};

#[test]
fn a_server_says_where_it_is_and_ends_with_0_at_a_signal() {
    let windrow = Windrow::new();
    for (command, which) in [("up", "-INT"), ("up", "-TERM"), ("api", "-INT")] {
        let server = windrow.start(&[command, "--data-dir", "data", "--port", "0", "--json"]);
        let dir = windrow.path("data").canonicalize().unwrap();
        assert_eq!(server.hello["data_dir"], json!(dir), "{command}");
        assert_eq!(server.hello["pid"], json!(server.pid()), "{command}");
        let health: serde_json::Value =
            reqwest::blocking::get(format!("{}/v1/health", server.url)).unwrap().json().unwrap();
        assert_eq!(health, json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }), "{command}");
        let mut server = server;
        signal(which, server.pid());
        let (code, log) = server.ended();
        assert_eq!(code, 0, "{command} {which}: {log}");
    }
    let worker = windrow.command(&["worker", "--data-dir", "data", "--json"]).stdout(Stdio::piped()).spawn();
    let mut worker = worker.unwrap();
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(worker.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    signal("-INT", worker.id());
    assert_eq!(worker.wait().unwrap().code(), Some(0), "{line}");
}

#[test]
fn a_server_that_can_not_begin_says_why_and_leaves_nothing_running() {
    let windrow = Windrow::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for command in ["up", "api"] {
        let ran = windrow.run(&[command, "--data-dir", "data", "--port", &port]);
        ran.refused(1, &[&format!("can't listen on 127.0.0.1 port {port}"), "--port"]);
        windrow.run(&[command, "--bind", "everywhere"]).refused(2, &["everywhere"]);
        windrow.run(&[command, "--port", "70000"]).refused(2, &["70000"]);
    }
    windrow.file("no-directory", "");
    windrow.run(&["up", "--data-dir", "no-directory", "--port", "0"]).refused(1, &["no-directory"]);
    windrow.run(&["up", "--worker-processes", "many"]).refused(2, &["many"]);
    windrow.run(&["worker", "--concurrency", "0", "--data-dir", "data"]).refused(2, &["CONCURRENCY"]);
    windrow.run(&["worker", "--workload", "knit", "--data-dir", "data"]).refused(2, &["knit"]);
    // for scripts, the reason is JSON: the last line, after what the log says
    let told = windrow.run(&["up", "--data-dir", "no-directory", "--port", "0", "--json"]);
    let error: serde_json::Value = serde_json::from_str(told.stderr.lines().last().unwrap()).unwrap();
    assert!(error["error"].as_str().unwrap().contains("no-directory"), "{error}");
}
