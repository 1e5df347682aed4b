//! `windrow generate run` with no server.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::harness::{Windrow, example, until};

fn args<'a>(out: &'a str, records: &'a str, template: &'a str, seed: &'a str) -> Vec<&'a str> {
    let args = [
        "generate",
        "run",
        "--template",
        template,
        "--seed",
        seed,
        "--records",
        records,
        "--model",
        "offline",
    ];
    [&args[..], &["--budget-usd", "1", "--out", out, "--yes"]].concat()
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap().lines().count()
}

#[test]
fn a_run_writes_the_dataset_and_a_second_one_spends_nothing() {
    let windrow = Windrow::new();
    let template = example("templates/brainstorm.yaml").display().to_string();
    let seed = example("seed/topics-10.csv").display().to_string();
    let first = windrow.run(&args("out", "30", &template, &seed)).ok();
    assert!(first.stderr.contains("30") || first.stdout.contains("30"), "{first:?}");
    let jsonl = std::fs::read_dir(windrow.path("out")).unwrap();
    let jsonl =
        jsonl.map(|e| e.unwrap().path()).find(|p| p.extension().is_some_and(|e| e == "jsonl")).unwrap();
    assert_eq!(lines(&jsonl), 30);
    let again = windrow.run(&args("out", "30", &template, &seed)).ok();
    let said = format!("{}{}", again.stdout, again.stderr);
    assert!(said.contains("already"), "{said}");
}

#[test]
fn a_killed_run_is_resumed_by_the_same_command() {
    let windrow = Windrow::new();
    let template = example("templates/story.yaml").display().to_string();
    let seed = example("seed/poems-10.json").display().to_string();
    let args = args("out", "3000", &template, &seed);
    let mut child = windrow.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let parts = windrow.path("out");
    until(Duration::from_secs(30), "the run has begun to write", || {
        count_parts(&parts) > 3 || child.try_wait().unwrap().is_some()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    windrow.run(&args).ok();
    let jsonl = windrow.path("out/data.jsonl");
    assert_eq!(lines(&jsonl), 3000);
}

/// Part files that were written below a directory.
fn count_parts(dir: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.path() {
            path if path.is_dir() => count_parts(&path),
            path => {
                usize::from(path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("part-")))
            }
        })
        .sum()
}

#[test]
fn a_directory_in_use_is_said_with_the_option_that_names_another_and_without_colours() {
    let windrow = Windrow::new();
    let template = example("templates/brainstorm.yaml").display().to_string();
    let seed = example("seed/topics-10.csv").display().to_string();
    let _server = windrow.start(&["up", "--data-dir", "out/.windrow", "--port", "0", "--json"]);
    let ran = windrow.run(&args("out", "30", &template, &seed));
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("in use by process") && ran.stderr.contains("--out"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("--data-dir"), "{}", ran.stderr);
    let mut log = windrow.command(&args("other", "3", &template, &seed));
    let log = log.env("LOG_LEVEL", "debug").output().unwrap();
    let log = String::from_utf8_lossy(&log.stderr).into_owned();
    assert!(!log.contains('\x1b'), "{log}");
}
