//! The tour of README.md, typed as it stands there: the commands run in order in one empty directory, and what is printed is
//! what the README shows.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{Ran, Windrow, signal};

const TOUR: &str = "## A tour of five minutes";

/// Commands, and the output that is shown below them.
struct Step {
    commands: String,
    shown: Option<String>,
}

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn steps() -> Vec<Step> {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let tour = readme.split_once(TOUR).unwrap().1.split("\n## ").next().unwrap();
    let mut steps: Vec<Step> = Vec::new();
    // what stands between fences: every second piece, its first line the language
    for piece in tour.split("```").skip(1).step_by(2) {
        let (language, text) = piece.split_once('\n').unwrap();
        match language {
            "sh" => steps.push(Step { commands: text.to_owned(), shown: None }),
            "text" => steps.last_mut().unwrap().shown = Some(text.to_owned()),
            other => panic!("a block of {other:?} in the tour"),
        }
    }
    steps
}

/// Whether a printed text has what a shown one promises: each field of its JSON, and the beginning of each line that
/// isn't JSON, a time or a `…`.
#[track_caller]
fn assert_shows(printed: &str, shown: &str) {
    let fields = shown.split('"').zip(shown.split('"').skip(1)).filter(|(_, after)| after.starts_with(':'));
    for (field, _) in fields {
        assert!(
            printed.contains(&format!("\"{field}\"")),
            "the README shows {field:?}, but it printed:\n{printed}"
        );
    }
    for line in shown.lines() {
        let word = line.split_whitespace().next().unwrap_or_default();
        if line.starts_with(char::is_alphabetic) {
            let printed = printed.lines().any(|line| line.split_whitespace().next() == Some(word));
            assert!(printed, "the README shows a line {word:?}, but it printed:\n{printed}");
        }
    }
}

#[test]
fn the_tour_of_the_readme_goes_as_it_says() {
    let windrow = Windrow::new();
    let mut steps = steps().into_iter();
    // the first two commands: one builds, and is done already; the other serves until it is stopped
    let begin = steps.next().unwrap();
    let commands: Vec<&str> = begin.commands.lines().collect();
    let [build, serve] = commands[..] else { panic!("the tour begins with two commands: {commands:?}") };
    assert!(
        build.starts_with("cargo build --release && export PATH=\"$WINDROW/target/release:$PATH\""),
        "{build}"
    );
    let serve: Vec<&str> = serve.split_whitespace().collect();
    let shown = begin.shown.unwrap();
    // the port may be somebody's: the server takes a free one, and the commands name that
    let ["windrow", rest @ .., "--port", port] = &serve[..] else { panic!("{serve:?}") };
    let mut server = windrow.command(&[rest, &["--port", "0"]].concat());
    let mut server = server.stderr(Stdio::piped()).spawn().unwrap();
    let mut hello = BufReader::new(server.stderr.take().unwrap()).lines().map(Result::unwrap);
    let first = hello.next().unwrap();
    let free = first.split("http://127.0.0.1:").nth(1).unwrap().split(',').next().unwrap();
    let printed = format!("{first}\n{}\n", hello.next().unwrap()).replace(free, port);
    let dir = windrow.dir.path().canonicalize().unwrap();
    assert_eq!(printed, shown.replace('…', &dir.display().to_string()));

    let mut script = "set -euo pipefail\n".to_owned();
    let mut shown = Vec::new();
    for step in steps {
        writeln!(script, "echo '=== step {}'", shown.len()).unwrap();
        script.push_str(&step.commands.replace(port, free));
        shown.push(step.shown);
    }
    let bin = Path::new(env!("CARGO_BIN_EXE_windrow")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    shell.arg("-c").arg(format!("exec 2>&1\n{script}")).current_dir(&dir).stdin(Stdio::null()).env_clear();
    shell.env("PATH", path).env("HOME", &dir).env("WINDROW", root());
    let ran = shell.output().unwrap();
    let ran = Ran::of(&ran);
    signal("-INT", server.id());
    assert_eq!(server.wait().unwrap().code(), Some(0), "Ctrl-C stops the server");
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    let printed: Vec<&str> = ran.stdout.split("=== step ").skip(1).collect();
    assert_eq!(printed.len(), shown.len());
    for (printed, shown) in printed.iter().zip(&shown) {
        if let Some(shown) = shown {
            assert_shows(printed, shown);
        }
    }
    assert_eq!(std::fs::read_to_string(dir.join("out/data.jsonl")).unwrap().lines().count(), 50);
}
