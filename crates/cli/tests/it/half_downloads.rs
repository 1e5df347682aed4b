//! Downloads that end before the file is whole.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Ran, Windrow, signal, until};

const ID: &str = "0199d0a8-5f6c-7000-8000-000000000001";

/// A server with one artifact, of which it sends a part and then, when it is told to, cuts the connection. Gives its URL.
fn server_of_half_an_artifact(cut: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            if request_line(&stream).contains("/download") {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/csv\r\ncontent-length: 1000000\r\n\r\n";
                stream.write_all(head.as_bytes()).unwrap();
                stream.write_all(&[b'x'; 1000]).unwrap();
                if !cut {
                    held.push(stream);
                }
                continue;
            }
            let artifact = json!({
                "id": ID, "job_id": ID, "kind": "csv", "version": 1, "latest": true, "filename": "data.csv",
                "content_type": "text/csv", "size": 1_000_000, "sha256": "00", "created_at": "2026-01-01T00:00:00Z",
                "expires_at": "2026-04-01T00:00:00Z", "download": format!("/v1/artifacts/{ID}/download"),
            });
            let (body, head) = (artifact.to_string(), "HTTP/1.1 200 OK\r\ncontent-type: application/json");
            let length = body.len();
            write!(stream, "{head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").unwrap();
        }
    });
    url
}

/// Of a request whose head is read to its end.
fn request_line(stream: &TcpStream) -> String {
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let line = lines.next().unwrap_or_default();
    lines.find(String::is_empty);
    line
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).map(Iterator::count).unwrap_or_default()
}

#[test]
fn a_connection_that_is_cut_leaves_no_file() {
    let windrow = Windrow::new();
    let url = server_of_half_an_artifact(true);
    let ran = windrow.run(&["download", ID, "--out", "out", "--server", &url, "--token", "x"]);
    assert!([1, 4].contains(&ran.code), "{ran:?}");
    assert_eq!(files(&windrow.path("out")), 0, "{ran:?}");
}

#[test]
fn ctrl_c_leaves_no_file() {
    let windrow = Windrow::new();
    let url = server_of_half_an_artifact(false);
    let mut download = windrow.command(&["download", ID, "--out", "out", "--server", &url, "--token", "x"]);
    let download = download.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    until(Duration::from_secs(30), "the file is begun", || files(&windrow.path("out")) == 1);
    signal("-INT", download.id());
    let stopped = Ran::of(&download.wait_with_output().unwrap());
    stopped.refused(1, &["stopped before the last file was there"]);
    assert_eq!(files(&windrow.path("out")), 0);
}
