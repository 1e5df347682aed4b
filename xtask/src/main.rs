//! Checks of the repository that neither rustc nor clippy makes. `cargo xtask` without a word lists them.
//!
//! Light on purpose: it compiles in seconds and depends on no crate of the workspace, so that it can judge all of them.

mod docs;
mod layers;
mod markdown;
mod readme;
mod repo;
mod sizes;
mod snapshots;

use std::process::ExitCode;

use anyhow::Result;

use crate::repo::Repo;

const USAGE: &str = "\
usage: cargo xtask <check>
  layers            who may depend on whom (the tables in xtask/src/layers.rs)
  docs              markdown style, links and anchors
  sizes             no Rust file over 500 lines
  readme            the tests and files that README.md names are there
  check             all of the above
  snapshots FILE    no snapshot that no test asserts; FILE is what the tests wrote
                    to INSTA_SNAPSHOT_REFERENCES_FILE";

/// A check's name and what it finds wrong: one line a finding.
type Check = (&'static str, fn(&Repo) -> Result<Vec<String>>);

const CHECKS: [Check; 4] =
    [("layers", layers::check), ("docs", docs::check), ("sizes", sizes::check), ("readme", readme::check)];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<ExitCode> {
    let repo = Repo::open()?;
    match arguments {
        ["check"] => report(&repo, &CHECKS),
        ["snapshots", references] => tell("snapshots", &snapshots::check(&repo, references)?),
        [name] if CHECKS.iter().any(|(known, _)| known == name) => {
            report(&repo, &CHECKS.iter().copied().filter(|(known, _)| known == name).collect::<Vec<_>>())
        }
        _ => {
            say(USAGE);
            Ok(ExitCode::from(2))
        }
    }
}

fn report(repo: &Repo, checks: &[Check]) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for (name, check) in checks {
        let verdict = tell(name, &check(repo)?)?;
        if verdict != ExitCode::SUCCESS {
            code = verdict;
        }
    }
    Ok(code)
}

#[expect(clippy::unnecessary_wraps, reason = "an arm of `run`")]
fn tell(name: &str, findings: &[String]) -> Result<ExitCode> {
    for finding in findings {
        say(&format!("{name}: {finding}"));
    }
    match findings.len() {
        0 => say(&format!("{name}: ok")),
        count => say(&format!("{name}: {count} wrong")),
    }
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(clippy::print_stderr, reason = "a command-line program's report")]
fn say(line: &str) {
    eprintln!("{line}");
}
