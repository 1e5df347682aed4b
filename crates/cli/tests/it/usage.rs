//! What the command line says, and the exit codes that scripts rely on.

use crate::harness::Windrow;

#[test]
fn help_is_stable() {
    let windrow = Windrow::new();
    for args in [
        &["--help"][..],
        &["generate", "--help"],
        &["generate", "run", "--help"],
        &["job", "--help"],
        &["job", "submit", "--help"],
        &["db", "--help"],
        &["dead-letters", "--help"],
    ] {
        let help = windrow.run(args).ok();
        insta::assert_snapshot!(format!("help {}", args[..args.len() - 1].join(" ")), help.stdout);
    }
}

#[test]
fn wrong_usage_is_2() {
    let windrow = Windrow::new();
    for args in
        [&["nonsense"][..], &["job", "submit"], &["job", "show", "not-an-id"], &["up", "--port", "many"]]
    {
        assert_eq!(windrow.run(args).code, 2, "{args:?}");
    }
}

#[test]
fn nobody_there_is_4_and_says_what_to_do() {
    let windrow = Windrow::new();
    let ran = windrow.run(&["job", "list", "--server", "http://127.0.0.1:9", "--token", "x"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("127.0.0.1:9"), "{}", ran.stderr);
    let ran = windrow.run(&["job", "list", "--data-dir", "empty"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("windrow up"), "{}", ran.stderr);
}

#[test]
fn output_that_nobody_reads_to_its_end_is_no_failure() {
    let windrow = Windrow::new();
    for args in [&["config", "check"][..], &["config", "check", "--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = windrow.command(args);
        let output = command.stdout(writer).stderr(std::process::Stdio::piped()).spawn().unwrap();
        let output = output.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
    }
}

#[test]
fn what_is_wrong_with_a_request_is_printed_once() {
    let windrow = Windrow::new();
    let _server = windrow.up();
    let submit = ["job", "submit", "--workload", "generate", "--spec", "{}", "--data-dir", "data"];
    let ran = windrow.run(&submit);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("/spec/template").count(), 1, "{}", ran.stderr);
}

#[test]
fn a_key_is_made_without_options_and_may_do_what_its_owner_may() {
    let windrow = Windrow::new();
    let server = windrow.up();
    let token = windrow.token("alice", "contributor");
    let ran = windrow.run(&["key", "create", "--data-dir", "data", "--token", &token]).ok();
    let keyed = server.api(ran.stdout.trim());
    let me = keyed.get("/v1/me").expect(200).json();
    assert_eq!(me["sub"], "alice", "{me}");
    keyed.upload("a.jsonl", "application/x-ndjson", b"{\"a\": 1}\n");
    let wrong = windrow.run(&["key", "create", "--scope", "all", "--data-dir", "data", "--token", &token]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("worker:WORKLOAD"), "{}", wrong.stderr);
}
