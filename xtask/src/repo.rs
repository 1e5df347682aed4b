//! The files of the repository: what git tracks or would track.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// The repository's root and its files.
#[derive(Debug)]
pub(crate) struct Repo {
    pub(crate) root: PathBuf,
    /// Paths from the root, with `/` between their parts.
    pub(crate) files: BTreeSet<String>,
}

impl Repo {
    /// The repository that this program was built from.
    pub(crate) fn open() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
        let listed = output(
            Command::new("git")
                .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
                .current_dir(&root),
        )?;
        let files = listed.split('\0').filter(|path| !path.is_empty() && root.join(path).is_file());
        Ok(Self { files: files.map(str::to_owned).collect(), root })
    }

    pub(crate) fn with_extension<'a>(&'a self, extension: &'a str) -> impl Iterator<Item = &'a String> {
        self.files
            .iter()
            .filter(move |path| Path::new(path).extension().is_some_and(|found| found == extension))
    }

    pub(crate) fn read(&self, path: &str) -> Result<String> {
        std::fs::read_to_string(self.root.join(path)).with_context(|| format!("cannot read {path}"))
    }

    /// Whether there is a file, or a directory with a file in it.
    pub(crate) fn has(&self, path: &str) -> bool {
        let inside = format!("{path}/");
        path.is_empty()
            || self.files.contains(path)
            || self.files.range(inside.clone()..).next().is_some_and(|next| next.starts_with(&inside))
    }
}

/// What `link` in the file `from` points at, as a path from the root; `None` when it leaves the repository.
pub(crate) fn resolve(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for component in Path::new(link).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::ParentDir => drop(parts.pop()?),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

/// The standard output of a command that must succeed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    ensure!(output.status.success(), "{program} failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).with_context(|| format!("{program} printed something else than UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_resolve_from_the_file_they_stand_in() {
        assert_eq!(resolve("docs/adr/README.md", "0001.md").as_deref(), Some("docs/adr/0001.md"));
        assert_eq!(resolve("docs/adr/README.md", "../../LICENSE").as_deref(), Some("LICENSE"));
        assert_eq!(resolve("README.md", "docs/").as_deref(), Some("docs"));
        assert_eq!(resolve("README.md", "../elsewhere"), None);
        assert_eq!(resolve("README.md", "/etc/passwd"), None);
    }

    #[test]
    fn directories_exist_through_their_files() {
        let repo =
            Repo { root: PathBuf::new(), files: ["docs/adr/a.md".to_owned(), "docs2".to_owned()].into() };
        assert!(repo.has("docs") && repo.has("docs/adr") && repo.has("docs/adr/a.md") && repo.has(""));
        assert!(!repo.has("doc") && !repo.has("docs/adr/b.md") && !repo.has("docs2/x"));
    }
}
