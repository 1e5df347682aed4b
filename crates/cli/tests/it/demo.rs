//! `windrow demo`, in an empty folder.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Ran, Windrow, signal};

/// How many rows a Parquet file has, by a reader that is not ours.
fn parquet_rows(file: &Path) -> usize {
    let script = "import sys, pyarrow.parquet as p; print(p.ParquetFile(sys.argv[1]).metadata.num_rows)";
    let python =
        Command::new(windrow_test_support::python()).args(["-c", script]).arg(file).output().unwrap();
    Ran::of(&python).ok().stdout.trim().parse().unwrap()
}

#[test]
fn the_demo_shows_the_whole_of_it() {
    let windrow = Windrow::new();
    windrow.run(&["demo"]).ok();
    // once more in the same folder
    let ran = windrow.run(&["demo"]).ok();
    assert_eq!(ran.stdout, "", "what it tells is for people");
    let said = ran.stderr;
    for part in [
        "signed URL",
        "created the template brainstorm@1",
        "estimate for 200 records",
        "killed",
        "cost 0.00 USD",
        " s in all",
    ] {
        assert!(said.contains(part), "the demo does not show {part:?}:\n{said}");
    }
    let made = |line: &str| -> u32 {
        let line = said.lines().find(|said| said.contains(line)).unwrap();
        let before = line.split(" of 200").next().unwrap();
        before.split(' ').next_back().unwrap().parse().unwrap()
    };
    let (killed, after) = (made("SIGKILL"), made("a new worker process"));
    assert!((80..200).contains(&killed), "killed with {killed} of 200 records made:\n{said}");
    assert!(after > killed, "nothing was made after the kill:\n{said}");
    let records: Vec<&str> = said.lines().filter(|line| line.starts_with("  #")).collect();
    assert_eq!(records.len(), 3, "three sample records:\n{said}");
    assert!(
        records.iter().all(|record| record.contains(" from seed record ") && record.len() > 40),
        "{said}"
    );

    let dataset = said.split("The dataset:").nth(1).unwrap().lines().map(str::trim);
    let files: Vec<PathBuf> =
        dataset.filter(|line| !line.is_empty()).map(|line| windrow.path(line)).collect();
    let file = |extension: &str| {
        let found = files.iter().find(|file| file.extension().is_some_and(|found| found == extension));
        found.unwrap_or_else(|| panic!("the demo names no {extension} file:\n{said}"))
    };
    let jsonl = std::fs::read_to_string(file("jsonl")).unwrap();
    let index = |line: &str| serde_json::from_str::<Value>(line).unwrap()["index"].as_u64().unwrap();
    assert_eq!(jsonl.lines().map(index).collect::<Vec<_>>(), (0..200).collect::<Vec<_>>());
    // no value of these records has a line break inside
    assert!(!jsonl.contains("\\n"), "rows of the CSV file can't be counted by lines");
    assert_eq!(std::fs::read_to_string(file("csv")).unwrap().lines().count(), 1 + 200);
    assert_eq!(parquet_rows(file("parquet")), 200);
}

#[test]
fn a_demo_that_is_kept_serves_until_ctrl_c() {
    let windrow = Windrow::new();
    let mut demo = windrow.command(&["demo", "--keep", "--json"]);
    let mut demo = demo.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(demo.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let Ok(told) = serde_json::from_str::<Value>(&line) else {
        panic!("{line:?} {:?}", Ran::of(&demo.wait_with_output().unwrap()))
    };
    assert_eq!(
        (&told["job"]["status"], &told["job"]["records"]),
        (&json!("completed"), &json!(200)),
        "{told}"
    );
    assert!(told["files"].as_array().unwrap().len() >= 5 && told["seconds"].is_number(), "{told}");
    let (url, token) = (told["url"].as_str().unwrap(), told["token"].as_str().unwrap());
    let jobs = windrow.run(&["job", "list", "--server", url, "--token", token, "--json"]).ok().json();
    assert_eq!(jobs["items"][0]["id"], told["job"]["id"], "{jobs}");
    signal("-INT", demo.id());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!((demo.wait().unwrap().code(), rest.as_str()), (Some(0), ""));
    windrow.run(&["job", "list", "--server", url, "--token", token]).refused(4, &[]);
}

#[test]
fn a_demo_that_is_stopped_leaves_no_server() {
    let windrow = Windrow::new();
    // so many that it does not end by itself before it is stopped
    let mut demo = windrow.command(&["demo", "--records", "1000000"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stderr.take().unwrap()).lines().map(Result::unwrap);
    let url =
        lines.find_map(|line| Some(line.split_once("started Windrow on ")?.1.split(' ').next()?.to_owned()));
    let url = url.unwrap();
    lines.find(|line| line.contains("submitted job")).unwrap();
    signal("-INT", demo.id());
    let last = lines.last().unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(1));
    assert!(last.contains("stopped before its end"), "{last}");
    windrow.run(&["job", "list", "--server", &url, "--token", "x"]).refused(4, &[]);
}

#[test]
fn a_demo_whose_server_dies_says_that_first() {
    let windrow = Windrow::new();
    let mut demo = windrow.command(&["demo", "--records", "1000000"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stderr.take().unwrap()).lines().map(Result::unwrap);
    let started = lines.find(|line| line.contains("started Windrow on ")).unwrap();
    let url = started.split(' ').find(|word| word.starts_with("http://")).unwrap();
    let server = started.split_once("(process ").unwrap().1.split(',').next().unwrap();
    lines.find(|line| line.contains("submitted job")).unwrap();
    signal("-KILL", server.parse().unwrap());
    let rest: Vec<String> = lines.collect();
    // the server can't be asked any more; that it did not end well is the consequence
    let said = rest.last().unwrap();
    assert!(said.starts_with("error: ") && said.contains(url), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("did not end well either")), "{rest:?}");
    assert_eq!(demo.wait().unwrap().code(), Some(4));
}
