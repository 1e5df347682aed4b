//! A job whose handler ends the process that runs it: after three such ends it runs alone in a process, and when that ends too it
//! is a dead letter that says how.

use serde_json::{Value, json};

use crate::harness::Windrow;
use crate::machine::preloaded;

/// Stands for a library that a handler uses and that ends its process: at the first connection to a certain port, with a certain
/// status (-1: `abort`). Preloaded, it does so in every process that runs the job.
const DEADLY: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int connect(int fd, const struct sockaddr *to, socklen_t size) {
    const char *port = getenv("DEADLY_PORT"), *status = getenv("DEADLY_STATUS");
    if (port && status && to->sa_family == AF_INET
        && ntohs(((const struct sockaddr_in *)to)->sin_port) == atoi(port)) {
        fprintf(stderr, "the library gives up\n");
        if (atoi(status) < 0) abort();
        _exit(atoi(status));
    }
    int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
    return real(fd, to, size);
}
"#;

/// Where nobody listens; nobody gets so far.
const PORT: &str = "9";

/// A job of one record, whose call of a model is deadly, in child processes.
fn dead_letter_of(status: &str) -> (Value, Vec<Value>) {
    let mut windrow = preloaded(Windrow::new(), DEADLY);
    for (name, value) in [
        ("DEADLY_PORT", PORT.to_owned()),
        ("DEADLY_STATUS", status.to_owned()),
        ("OPENAI_BASE_URL", format!("http://127.0.0.1:{PORT}/v1")),
        ("OPENAI_API_KEY", "a key of the test".to_owned()),
    ] {
        windrow = windrow.with_env(name, value);
    }
    let up = ["up", "--data-dir", "data", "--port", "0", "--worker-processes", "1", "--json"];
    let mut server = windrow.start(&up);
    let api = server.api(&windrow.token("alice", "contributor"));
    let template = "template:\n  name: paid\n  steps:\n    - {id: a, model: 'openai:gpt-4o-mini', max_tokens: 20, prompt: 'Write about {{ a }}.'}\n";
    let template = api.post("/v1/templates", &json!({ "document": template })).expect(201).json();
    let seed = api.upload("a.jsonl", "application/x-ndjson", b"{\"a\": \"rivers\"}\n");
    let spec = json!({ "template": template["id"], "seed": seed, "records": 1, "formats": ["jsonl"] });
    let job = json!({ "workload": "generate", "spec": spec, "budget_usd": "1" });
    let job = api.post("/v1/jobs", &job).expect(202).json()["id"].as_str().unwrap().to_owned();
    let ended = api.finished(&job);
    assert_eq!(ended["status"], "failed", "{ended}");
    let shard = api.get(&format!("/v1/jobs/{job}/children")).expect(200).json()["items"][0].clone();
    let runs = api.get(shard["links"]["runs"].as_str().unwrap()).expect(200).json();
    let letters = api.get("/v1/dead-letters").expect(200).json();
    // the server and its other processes are well
    assert_eq!(reqwest::blocking::get(format!("{}/ready", server.url)).unwrap().status(), 200);
    let (code, log) = server.terminate();
    assert_eq!(code, 0, "{log}");
    (letters, runs.as_array().unwrap().clone())
}

#[test]
fn a_job_that_ends_its_process_whatever_the_status_is_a_dead_letter_in_the_end() {
    for (status, shown) in [("0", "exit status: 0"), ("7", "exit status: 7"), ("-1", "signal: 6")] {
        let (letters, runs) = dead_letter_of(status);
        let outcomes: Vec<&str> = runs.iter().map(|run| run["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, ["lost", "lost", "lost", "failed"], "{runs:?}");
        let letters = letters["items"].as_array().unwrap();
        let [letter] = &letters[..] else { panic!("{status}: one dead letter: {letters:?}") };
        // a person decides on the job that was submitted; it says which of its children died, and of what
        for why in [&letter["error"], &runs[3]["error"]] {
            let why = why.to_string();
            for part in ["poison", shown, "the library gives up"] {
                assert!(why.contains(part), "{status}: {part:?} is missing in {why}");
            }
        }
    }
}
