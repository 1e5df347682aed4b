//! Every `windrow …` that a document mentions is a command that there is, with the options that it is said to have.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::harness::Windrow;

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    docs.chain(["README.md", "CHANGELOG.md", "examples/README.md"].map(|name| root.join(name))).collect()
}

/// The commands in a document's inline code and in its blocks of shell, each up to where it ends.
fn mentions(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (nth, block) in text.split("\n```").enumerate() {
        let code: Vec<&str> = if nth % 2 == 1 {
            let shell = block.starts_with("sh\n");
            block.split(['\n', '|', '(', ')', ';', '&']).filter(|_| shell).collect()
        } else {
            // a command may be broken where its paragraph is
            block.split('`').skip(1).step_by(2).collect()
        };
        let commands = code.iter().filter_map(|code| code.trim_start().strip_prefix("windrow "));
        found.extend(commands.map(|command| command.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    found
}

/// The subcommands at the beginning, options of all commands aside, and the options anywhere.
fn parts(mention: &str) -> (Vec<&str>, Vec<&str>) {
    let words: Vec<&str> =
        mention.split(' ').map(|word| word.trim_end_matches(['"', '\'', ',', '.'])).collect();
    let options = words.iter().copied().filter(|word| word.starts_with("--"));
    let options = options.map(|word| word.split('=').next().unwrap_or(word)).collect();
    let mut commands = Vec::new();
    let mut rest = words.iter().peekable();
    while let Some(word) = rest.next() {
        if ["--server", "--token", "--data-dir", "--config"].contains(word) && commands.is_empty() {
            rest.next();
        } else if word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-') {
            commands.push(*word);
        } else {
            break;
        }
    }
    (commands, options)
}

#[test]
fn every_command_that_a_document_mentions_is_there() {
    let windrow = Windrow::new();
    let mut faults = Vec::new();
    let mut checked = 0;
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for mention in mentions(&text) {
            let (commands, options) = parts(&mention);
            let help = windrow.run(&[&commands, &["--help"][..]].concat());
            // a word of a sentence or an argument, such as a file's name, is no command: one of two must be
            let usage = format!("Usage: windrow {}", commands.first().copied().unwrap_or_default());
            let known = help.code == 0 && help.stdout.contains(usage.trim_end());
            let there: BTreeSet<&str> =
                help.stdout.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).collect();
            let unknown: Vec<&&str> = options.iter().filter(|option| !there.contains(**option)).collect();
            if !known || !unknown.is_empty() {
                faults.push(format!(
                    "{}: windrow {mention}: {unknown:?} {}",
                    document.display(),
                    help.stderr
                ));
            }
            checked += 1;
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(checked > 20, "only {checked} commands were found; have the documents changed their form?");
}

#[test]
fn commands_are_found_in_code_and_in_shell() {
    let text = "See `windrow job\nlist` or `cargo x`.\n```sh\nA=$(windrow --token \"$T\" key create --scope=read) | windrow db status\n```\n`windrow up`\n```text\nwindrow is here\n```\n";
    let found: Vec<String> = mentions(text).into_iter().collect();
    assert_eq!(found, ["--token \"$T\" key create --scope=read", "db status", "job list", "up"]);
    assert_eq!(parts(&found[0]), (vec!["key", "create"], vec!["--token", "--scope"]));
}
