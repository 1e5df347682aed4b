//! A disk that no longer says that it kept what it was given: fsync and fdatasync fail. What was acknowledged is there after a
//! restart, and the server says why it ended.

use serde_json::{Value, json};

use crate::harness::{Api, Windrow, example};
use crate::kills::{assert_whole, submit};
use crate::machine::{ends_by_its_disk, preloaded};

/// While the file `SICK` exists, nothing below `SICK_BELOW` is synced: EIO.
const SICK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is_sick(int fd) {
    const char *sick = getenv("SICK"), *below = getenv("SICK_BELOW");
    char link[64], path[4096];
    if (!sick || !below || access(sick, F_OK) != 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return strstr(path, below) != 0;
}

int fsync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    if (is_sick(fd)) { errno = EIO; return -1; }
    return real(fd);
}

int fdatasync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
    if (is_sick(fd)) { errno = EIO; return -1; }
    return real(fd);
}
"#;

/// An installation whose files with `below` in their path are not synced once the test has made the file `sick`.
fn installation(below: &str) -> Windrow {
    let windrow = Windrow::new();
    for name in ["windrow.toml", "shout.schema.json"] {
        windrow.file(name, std::fs::read(example("remote-worker").join(name)).unwrap());
    }
    let sick = windrow.path("sick").display().to_string();
    preloaded(windrow, SICK).with_env("SICK", sick).with_env("SICK_BELOW", below)
}

/// A job that waits for a worker which never comes; the error is what else was answered, if anything.
fn shout(api: &Api, nth: usize) -> Result<String, Option<(u16, Value)>> {
    let job = json!({ "workload": "shout", "spec": { "text": format!("number {nth}") } });
    let answer = api.request("POST", "/v1/jobs").json(&job).send();
    let answer = answer.and_then(|answer| Ok((answer.status().as_u16(), answer.json::<Value>()?)));
    match answer {
        Ok((202, job)) => Ok(job["id"].as_str().unwrap().to_owned()),
        other => Err(other.ok()),
    }
}

#[test]
fn a_database_that_is_not_synced_ends_the_server_and_loses_nothing_acknowledged() {
    let windrow = installation("data/windrow.db");
    let mut server = windrow.up();
    let token = windrow.token("alice", "contributor");
    let api = server.api(&token);
    let mut acknowledged: Vec<String> = (0..20).map(|nth| shout(&api, nth).unwrap()).collect();
    let sick = windrow.file("sick", "");
    // the disk may fail between two commits; then the next is the first that knows
    let refused = (20..).find_map(|nth| match shout(&api, nth) {
        Ok(id) => {
            acknowledged.push(id);
            None
        }
        Err(refused) => Some(refused),
    });
    if let Some((status, problem)) = refused.unwrap() {
        assert_eq!((status, &problem["code"]), (503, &json!("database_unavailable")), "{problem}");
    }
    ends_by_its_disk(&mut server);
    // as long as the disk is sick it says so
    windrow.run(&["up", "--data-dir", "data", "--port", "0"]).refused(1, &["windrow.db", "disk I/O error"]);

    std::fs::remove_file(sick).unwrap();
    let mut server = windrow.up();
    let api = server.api(&token);
    for (nth, job) in acknowledged.iter().enumerate() {
        let job = api.get(&format!("/v1/jobs/{job}")).expect(200).json();
        assert_eq!(
            (&job["status"], &job["spec"]["text"]),
            (&json!("queued"), &json!(format!("number {nth}")))
        );
    }
    assert_eq!(server.terminate().0, 0);
    let check = windrow.run(&["db", "check", "--json", "--data-dir", "data"]).ok();
    assert_eq!(check.json()["findings"], json!([]), "{check:?}");
}

#[test]
fn objects_that_are_not_synced_are_refused_and_their_job_ends_whole_once_they_are() {
    let windrow = installation("data/objects").with_env("WINDROW_RETRY_BASE", "100ms");
    let mut server = windrow.up();
    let token = windrow.token("alice", "contributor");
    let api = server.api(&token);
    let job = submit(&api, 300);
    let sick = windrow.file("sick", "");
    let refused = api.put_upload("a.jsonl", "application/x-ndjson", b"{\"a\": 1}\n").unwrap().1;
    assert_eq!(refused.status, 503, "{}", String::from_utf8_lossy(&refused.body));
    assert_eq!(refused.json()["code"], "storage_unavailable");
    std::fs::remove_file(sick).unwrap();
    let ended = api.finished(&job);
    assert_whole(&api, &ended, 300);
    let (code, log) = server.terminate();
    assert_eq!(code, 0, "{log}");
    assert!(!log.contains("panicked"), "{log}");
}
