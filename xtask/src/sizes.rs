//! A Rust file over 500 lines is two rooms.

use anyhow::Result;

use crate::repo::Repo;

const MOST_LINES: usize = 500;

pub(crate) fn check(repo: &Repo) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for path in repo.with_extension("rs") {
        findings.extend(judge(path, &repo.read(path)?));
    }
    Ok(findings)
}

fn judge(path: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > MOST_LINES).then(|| format!("{path} has {lines} lines; split it, {MOST_LINES} is the most"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_501st_line_is_one_too_many() {
        assert_eq!(judge("a.rs", &"x\n".repeat(500)), None);
        assert!(judge("a.rs", &"x\n".repeat(501)).is_some());
    }
}
