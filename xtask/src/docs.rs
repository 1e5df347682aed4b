//! The lint of Markdown files: a few rules of form, and no link that leads nowhere.
//!
//! Links to other sites are judged by their form alone: whether a site answers is no property of a commit.

use std::collections::HashMap;

use anyhow::Result;

use crate::markdown::{Document, LineKind, Target, parse};
use crate::repo::{Repo, resolve};

pub(crate) fn check(repo: &Repo) -> Result<Vec<String>> {
    let mut documents = HashMap::new();
    let mut findings = Vec::new();
    for path in repo.with_extension("md") {
        let text = repo.read(path)?;
        let document = parse(&text);
        findings.extend(form(&text, &document).into_iter().map(|finding| format!("{path}:{finding}")));
        documents.insert(path.as_str(), document);
    }
    for path in repo.with_extension("md") {
        let wrong = links(repo, &documents, path);
        findings.extend(wrong.into_iter().map(|finding| format!("{path}:{finding}")));
    }
    Ok(findings)
}

/// What is wrong with a file by itself, each as `LINE: finding`.
fn form(text: &str, document: &Document) -> Vec<String> {
    let mut findings = Vec::new();
    let mut say = |line: usize, finding: &str| findings.push(format!("{line}: {finding}"));
    for (index, line) in document.lines.iter().enumerate() {
        if line.text.ends_with([' ', '\t']) {
            say(index + 1, "the line ends in a blank");
        }
        if line.kind == LineKind::Text && line.text.contains('\t') {
            say(index + 1, "a tab outside of code");
        }
        if line.kind == (LineKind::Fence { language: false }) {
            say(index + 1, "the code block names no language (`text` when there is none)");
        }
    }
    let mut above = 0;
    for heading in &document.headings {
        if heading.level > above + 1 {
            say(heading.line, &format!("a heading of level {} under one of level {above}", heading.level));
        }
        above = heading.level;
    }
    if let Some(line) = document.open_fence {
        say(line, "the code block is never closed");
    }
    let last = document.lines.len().max(1);
    if !text.ends_with('\n') {
        say(last, "the last line has no end");
    } else if text.ends_with("\n\n") {
        say(last, "an empty line at the end");
    }
    findings
}

fn links(repo: &Repo, documents: &HashMap<&str, Document>, path: &str) -> Vec<String> {
    let document = &documents[path];
    let mut findings = Vec::new();
    for link in &document.links {
        let wrong = match &link.target {
            Target::Label(label) if document.labels.contains(label) => None,
            Target::Label(label) => Some(format!("nothing defines [{label}]")),
            Target::Destination(destination) => follow(repo, documents, path, destination).err(),
        };
        findings.extend(wrong.map(|wrong| format!("{}: {wrong}", link.line)));
    }
    findings
}

fn follow(
    repo: &Repo,
    documents: &HashMap<&str, Document>,
    path: &str,
    destination: &str,
) -> Result<(), String> {
    if destination.contains(':') {
        return external(destination);
    }
    let (file, anchor) = match destination.split_once('#') {
        Some((file, anchor)) => (file, Some(anchor)),
        None => (destination, None),
    };
    let target = if file.is_empty() { Some(path.to_owned()) } else { resolve(path, file) };
    let target = target.ok_or_else(|| format!("{destination} leads out of the repository"))?;
    if destination.is_empty() || !repo.has(&target) {
        return Err(format!("{destination}: there is no such file"));
    }
    let Some(anchor) = anchor else { return Ok(()) };
    let headings = documents.get(target.as_str()).map(|document| &document.headings);
    let headings = headings.ok_or_else(|| format!("{destination}: only Markdown files have anchors"))?;
    if headings.iter().any(|heading| heading.anchor == anchor) {
        return Ok(());
    }
    Err(format!("{destination}: {target} has no heading with that anchor"))
}

fn external(url: &str) -> Result<(), String> {
    let (scheme, rest) = url.split_once(':').unwrap_or_default();
    let host = rest.strip_prefix("//").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let right = match scheme {
        "https" | "http" => {
            host.is_some_and(|host| !host.is_empty() && host.chars().all(|c| c.is_ascii_graphic()))
        }
        "mailto" => rest.contains('@'),
        _ => false,
    };
    if right && !url.contains(char::is_whitespace) {
        Ok(())
    } else {
        Err(format!("{url} is no URL that a link can have"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form_of(text: &str) -> Vec<String> {
        form(text, &parse(text))
    }

    #[test]
    fn a_tidy_file_passes() {
        assert_eq!(form_of("# A\n\ntext\n\n## B\n\n```make\na:\n\tb\n```\n\n# C\n"), [""; 0]);
    }

    #[test]
    fn each_rule_of_form_is_held() {
        for (text, finding) in [
            ("# A\n### C\n", "2: a heading of level 3 under one of level 1"),
            ("## A\n", "1: a heading of level 2 under one of level 0"),
            ("x \n", "1: the line ends in a blank"),
            ("a\tb\n", "1: a tab outside of code"),
            ("```\nx\n```\n", "1: the code block names no language (`text` when there is none)"),
            ("x\n```sh\n", "2: the code block is never closed"),
            ("x", "1: the last line has no end"),
            ("x\n\n", "2: an empty line at the end"),
        ] {
            assert_eq!(form_of(text), [finding], "{text:?}");
        }
    }

    fn links_of(text: &str) -> Vec<String> {
        let files = ["docs/a.md", "docs/b.md", "crates/x/src/lib.rs"].map(str::to_owned).into();
        let repo = Repo { root: "/nowhere".into(), files };
        let documents = [("docs/a.md", parse(text)), ("docs/b.md", parse("# Top\n## Some part\n"))].into();
        links(&repo, &documents, "docs/a.md")
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        let good = "# Here\n[1](b.md) [2](b.md#some-part) [3](#here) [4](../crates/x) [5](../crates/x/src/lib.rs)\n\
                    [6](https://example.com/a?b#c) [7](mailto:a@example.com) [8][eight]\n\n[eight]: b.md\n";
        assert_eq!(links_of(good), [""; 0]);
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        for (text, finding) in [
            ("[x](c.md)", "1: c.md: there is no such file"),
            ("[x](b.md#other)", "1: b.md#other: docs/b.md has no heading with that anchor"),
            ("[x](#other)", "1: #other: docs/a.md has no heading with that anchor"),
            ("[x]()", "1: : there is no such file"),
            ("[x](../../y)", "1: ../../y leads out of the repository"),
            ("[x](/etc/passwd)", "1: /etc/passwd leads out of the repository"),
            (
                "[x](../crates/x/src/lib.rs#L3)",
                "1: ../crates/x/src/lib.rs#L3: only Markdown files have anchors",
            ),
            ("[x](https://)", "1: https:// is no URL that a link can have"),
            ("[x](htp://example.com)", "1: htp://example.com is no URL that a link can have"),
            ("[x][y]", "1: nothing defines [y]"),
        ] {
            assert_eq!(links_of(text), [finding], "{text:?}");
        }
    }
}
