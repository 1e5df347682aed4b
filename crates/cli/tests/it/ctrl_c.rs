//! Ctrl-C in the middle of `windrow generate run`: what is paid for is kept, and the same command goes on from there.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Ran, Windrow, example, signal};
use crate::provider::Provider;

const RECORDS: u64 = 300;

/// In seven shards, so that at the stop some have ended, some are under way and some are not begun.
fn args(url: &str) -> Vec<String> {
    let template = "t.yaml".to_owned();
    let seed = example("seed/topics-10.csv").display().to_string();
    let records = RECORDS.to_string();
    let args =
        ["generate", "run", "--template", &template, "--seed", &seed, "--records", &records, "--out", "out"];
    let more =
        ["--model", "openai:gpt-4o-mini", "--base-url", url, "--budget-usd", "1", "--shard-size", "45"];
    let last = ["--concurrency", "4", "--format", "jsonl", "--yes", "--json"];
    [&args[..], &more, &last].concat().into_iter().map(str::to_owned).collect()
}

fn windrow() -> Windrow {
    let windrow = Windrow::new().with_env("OPENAI_API_KEY", "a key of the test");
    let template = "template:\n  name: paid\n  steps:\n    - {id: a, max_tokens: 20, prompt: 'Write about {{ topic }}.'}\n";
    windrow.file("t.yaml", template);
    windrow
}

fn run(windrow: &Windrow, provider: &Provider) -> Ran {
    let args = args(&provider.url);
    windrow.run(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

fn begin(windrow: &Windrow, provider: &Provider) -> Child {
    let args: Vec<String> = args(&provider.url).into_iter().filter(|arg| arg != "--json").collect();
    let mut command = windrow.command(&args.iter().map(String::as_str).collect::<Vec<_>>());
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[track_caller]
fn assert_whole(windrow: &Windrow) {
    let lines = std::fs::read_to_string(windrow.path("out/data.jsonl")).unwrap();
    let index = |line: &str| serde_json::from_str::<Value>(line).unwrap()["index"].as_u64().unwrap();
    assert_eq!(lines.lines().map(index).collect::<Vec<_>>(), (0..RECORDS).collect::<Vec<_>>());
}

#[test]
fn the_same_command_goes_on_after_ctrl_c_and_pays_no_call_twice() {
    let provider = Provider::start(Duration::from_millis(20));
    let windrow = windrow();
    for calls in [60, 150] {
        let stopped = begin(&windrow, &provider);
        provider.await_calls(calls);
        signal("-INT", stopped.id());
        let stopped = Ran::of(&stopped.wait_with_output().unwrap());
        stopped.refused(1, &["stopping at the next checkpoint; the same command goes on from there"]);
        assert!((provider.bill().len() as u64) < RECORDS, "it was stopped too late to show anything");
    }
    let ended = run(&windrow, &provider).ok().json();
    assert_eq!((&ended["records"], &ended["already_finished"]), (&RECORDS.into(), &false.into()), "{ended}");
    assert_whole(&windrow);
    assert_eq!(provider.bill().len() as u64, RECORDS, "a call was paid twice");
    let again = run(&windrow, &provider).ok().json();
    assert_eq!(again["already_finished"], true, "{again}");
    assert_eq!(provider.bill().len() as u64, RECORDS, "it was finished, and spent");
}

#[test]
fn a_second_ctrl_c_ends_the_run_at_once() {
    // an answer that nobody waits for to the end
    let silent = Provider::start(Duration::from_secs(600));
    let windrow = windrow();
    let mut begun = begin(&windrow, &silent);
    silent.await_calls(1);
    let mut said = BufReader::new(begun.stderr.take().unwrap()).lines().map(Result::unwrap);
    signal("-INT", begun.id());
    assert!(said.any(|line| line.contains("stopping at the next checkpoint")), "the first is heard");
    signal("-INT", begun.id());
    assert_eq!(begun.wait().unwrap().code(), Some(130));
    // wherever the model is, it is the same run
    let provider = Provider::start(Duration::ZERO);
    run(&windrow, &provider).ok();
    assert_whole(&windrow);
    assert_eq!(provider.bill().len() as u64, RECORDS);
}
