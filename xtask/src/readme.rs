//! What README.md promises by name: the tests that show its guarantees, and the files of its commands.
//!
//! That its commands do what it says is a test of the binary (`crates/cli/tests/it/tour`).

use anyhow::Result;

use crate::markdown::{LineKind, Target, parse};
use crate::repo::{Repo, resolve};

const README: &str = "README.md";

/// Where the files that commands name begin; what is built and what the commands make stands elsewhere.
const FOLDERS: [&str; 5] = ["scripts/", "examples/", "crates/", "docs/", "bench/"];

pub(crate) fn check(repo: &Repo) -> Result<Vec<String>> {
    let text = repo.read(README)?;
    let mut findings = Vec::new();
    let mut files: Vec<String> = Vec::new();
    let mut named = 0;
    for (index, line) in parse(&text).lines.iter().enumerate() {
        let at = index + 1;
        if line.kind == LineKind::Code {
            let missing = paths(&line.text).filter(|path| !repo.has(path));
            findings.extend(missing.map(|path| format!("{README}:{at}: there is no {path}")));
        }
        if line.kind != LineKind::Text || !line.text.starts_with('|') {
            continue;
        }
        let linked = rust_files(repo, &line.text);
        // "…, there" means the file of the row above
        if !linked.is_empty() {
            files = linked;
        }
        for test in test_names(&line.text) {
            named += 1;
            let wanted = format!("fn {test}(");
            let mut found = false;
            for file in &files {
                found |= repo.read(file)?.contains(&wanted);
            }
            if !found {
                findings.push(format!("{README}:{at}: there is no test {test} in {}", files.join(", ")));
            }
        }
    }
    if named == 0 {
        findings.push(format!("{README}: its table of guarantees names no test"));
    }
    Ok(findings)
}

/// The Rust files that a row links to, folders opened.
fn rust_files(repo: &Repo, row: &str) -> Vec<String> {
    let links = parse(row).links;
    let targets = links.iter().filter_map(|link| match &link.target {
        Target::Destination(path) => resolve(README, path),
        Target::Label(_) => None,
    });
    let targets: Vec<String> = targets.collect();
    let inside = |file: &str, target: &String| file == target || file.starts_with(&format!("{target}/"));
    let files = repo.with_extension("rs").filter(|file| targets.iter().any(|target| inside(file, target)));
    files.cloned().collect()
}

/// The words in code that are made like the names of tests: snake_case, of more than one word.
fn test_names(row: &str) -> impl Iterator<Item = &str> {
    let code = row.split('`').skip(1).step_by(2);
    let snake = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    code.filter(|word| word.contains('_')).filter(snake)
}

/// The repository's files that a line of a command names.
fn paths(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split(|c: char| c.is_whitespace() || "\"'=@(){};".contains(c));
    let words = words.map(|word| word.strip_prefix("$WINDROW/").unwrap_or(word));
    words.filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_in_code_and_files_in_commands() {
        let row = "| SIGTERM | exit 0 | `sigterm_releases`, there, or `windrow up` with `no_such_thing.rs` |";
        assert_eq!(test_names(row).collect::<Vec<_>>(), ["sigterm_releases"]);
        let line = "SEED=$WINDROW/examples/seed/a.csv; scripts/test --out out/x -d @docs/a.md";
        assert_eq!(paths(line).collect::<Vec<_>>(), ["examples/seed/a.csv", "scripts/test", "docs/a.md"]);
    }
}
