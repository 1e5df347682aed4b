//! Snapshots that no test asserts any more.
//!
//! insta appends the path of every snapshot it compares to the file named by `INSTA_SNAPSHOT_REFERENCES_FILE` (its
//! `env.rs`, `memoize_snapshot_file`). A whole run of the tests writes that file; what it lacks, nobody reads.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::repo::Repo;

pub(crate) fn check(repo: &Repo, references: &str) -> Result<Vec<String>> {
    // Without a snapshot in the repository the tests write no such file.
    let read = match fs::read_to_string(references) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    };
    let seen = read.with_context(|| format!("cannot read {references}"))?;
    // insta joins paths without cleaning them: `crates/x/src/../snapshots`.
    let seen: HashSet<PathBuf> = seen.lines().filter_map(|line| fs::canonicalize(line).ok()).collect();
    let unseen = repo.with_extension("snap").filter(|path| !seen.contains(&repo.root.join(path)));
    Ok(unseen.map(|path| format!("{path} is asserted by no test; remove it")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_no_test_asserted_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("src/snapshots")).unwrap();
        for name in ["used", "stale"] {
            fs::write(root.join(format!("src/snapshots/{name}.snap")), "").unwrap();
        }
        let references = root.join("references");
        fs::write(&references, format!("{}/src/../src/snapshots/used.snap\n", root.display())).unwrap();
        let files = ["src/snapshots/used.snap".to_owned(), "src/snapshots/stale.snap".to_owned()].into();
        let repo = Repo { root, files };

        let findings = check(&repo, references.to_str().unwrap()).unwrap();
        assert_eq!(findings, ["src/snapshots/stale.snap is asserted by no test; remove it"]);
        let findings = check(&repo, "/nowhere/references").unwrap();
        assert_eq!(findings.len(), 2, "a run that asserted nothing leaves both");
    }
}
