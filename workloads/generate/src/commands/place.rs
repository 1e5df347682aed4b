//! An output directory, and what it remembers of the run that it belongs to.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use windrow_core::JobId;
use windrow_plugin::{CommandError, ExitCode};

/// The folder of the engine's own files, and the file beside them that names the run.
const ENGINE: &str = ".windrow";
const RUN: &str = "run.json";

pub(super) struct Place {
    out: PathBuf,
}

/// What a directory remembers. It is written before each step that it speaks of, so that a killed command goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RunState {
    /// Of all that shapes the result: the arguments and the contents of the files that they name.
    pub(super) key: String,
    /// The request that makes the job, word for word: the server must see the same one again.
    pub(super) request: serde_json::Value,
    pub(super) job: Option<JobId>,
    /// The files that were downloaded, when the job had ended.
    #[serde(default)]
    pub(super) finished: Option<Finished>,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Finished {
    /// What was printed then.
    pub(super) summary: serde_json::Value,
    /// Relative to the directory.
    pub(super) files: Vec<PathBuf>,
}

impl Place {
    /// Makes the directory when it is absent.
    ///
    /// # Errors
    /// When it can't be made.
    pub(super) fn open(out: &Path) -> Result<Self, CommandError> {
        fs::create_dir_all(out.join(ENGINE)).with_context(|| format!("can't make {}", out.display()))?;
        Ok(Self { out: out.to_owned() })
    }

    pub(super) fn out(&self) -> &Path {
        &self.out
    }

    /// Where the engine keeps its database and objects.
    pub(super) fn engine(&self) -> PathBuf {
        self.out.join(ENGINE)
    }

    /// What it remembers; none when it is new.
    ///
    /// # Errors
    /// When it belongs to a run with other arguments or files, or what it remembers can't be read.
    pub(super) fn state(&self, key: &str) -> Result<Option<RunState>, CommandError> {
        let path = self.engine().join(RUN);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display()))?,
        };
        let state: RunState = serde_json::from_slice(&text)
            .with_context(|| format!("{} is damaged; choose another --out", path.display()))?;
        if state.key != key {
            let message = format!(
                "{} belongs to a run with other arguments or files; choose another --out, or repeat that command to go on with it",
                self.out.display()
            );
            return Err(CommandError::new(ExitCode::Usage, anyhow::Error::msg(message)));
        }
        Ok(Some(state))
    }

    /// Remembers; on disk when this returns.
    ///
    /// # Errors
    /// When it can't be written.
    pub(super) fn remember(&self, state: &RunState) -> Result<(), CommandError> {
        let path = self.engine().join(RUN);
        let staged = self.engine().join(format!("{RUN}.partial"));
        let written = || -> std::io::Result<()> {
            let mut file = fs::File::create(&staged)?;
            file.write_all(&serde_json::to_vec_pretty(state)?)?;
            file.sync_all()?;
            fs::rename(&staged, &path)?;
            fs::File::open(self.engine())?.sync_all()
        };
        written().with_context(|| format!("can't write {}", path.display()))?;
        Ok(())
    }

    /// Whether all files of a finished run are still there.
    pub(super) fn is_whole(&self, finished: &Finished) -> bool {
        finished.files.iter().all(|file| self.out.join(file).is_file())
    }

    /// Removes files that are part of the dataset no more, and the folders that they leave empty.
    ///
    /// # Errors
    /// When one stays.
    pub(super) fn remove<'f>(&self, files: impl Iterator<Item = &'f PathBuf>) -> Result<(), CommandError> {
        for file in files {
            let path = self.out.join(file);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("can't remove {}", path.display()))?;
                }
                _ => {}
            }
            let folders = path.ancestors().skip(1).take_while(|folder| *folder != self.out);
            // a folder that holds anything stays
            let _ = folders.map(fs::remove_dir).take_while(Result::is_ok).count();
        }
        Ok(())
    }

    /// Where an artifact goes: below the directory, whatever its name says.
    pub(super) fn file(&self, name: &str) -> Result<(PathBuf, PathBuf), CommandError> {
        let relative: PathBuf = name
            .split('/')
            .filter(|part| !part.is_empty() && !part.starts_with('.') && !part.contains('\\'))
            .collect();
        if relative.as_os_str().is_empty() {
            return Err(CommandError::new(
                ExitCode::Failed,
                anyhow::Error::msg(format!("{name:?} is no file name")),
            ));
        }
        let path = self.out.join(&relative);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
        }
        Ok((relative, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_belongs_to_one_run() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::open(&folder.path().join("out")).ok().unwrap();
        assert_eq!(place.state("a").ok().unwrap(), None);
        let state =
            RunState { key: "a".to_owned(), request: serde_json::json!({}), job: None, finished: None };
        place.remember(&state).ok().unwrap();
        assert_eq!(place.state("a").ok().unwrap(), Some(state));
        let error = place.state("b").err().unwrap();
        assert_eq!(error.code, ExitCode::Usage);
        assert!(error.error.to_string().contains("--out"));
    }

    #[test]
    fn what_is_removed_leaves_no_empty_folder() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::open(&folder.path().join("out")).ok().unwrap();
        let names =
            ["jsonl/a=1/part-0.jsonl", "jsonl/a=2/part-0.jsonl", "jsonl/a=2/part-1.jsonl", "data.csv"];
        let files: Vec<PathBuf> = names
            .iter()
            .map(|name| {
                let (relative, path) = place.file(name).ok().unwrap();
                fs::write(path, "x").unwrap();
                relative
            })
            .collect();
        place.remove([&files[0], &files[1], &PathBuf::from("gone.csv")].into_iter()).ok().unwrap();
        assert!(!place.out().join("jsonl/a=1").exists());
        assert!(files[2..].iter().all(|file| place.out().join(file).is_file()));
        place.remove(files.iter()).ok().unwrap();
        assert!(!place.out().join("jsonl").exists() && place.engine().is_dir());
    }

    #[test]
    fn no_artifact_leaves_the_directory() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::open(folder.path()).ok().unwrap();
        for (name, expected) in [
            ("records.jsonl", "records.jsonl"),
            ("jsonl/date=2026-01-01/part-0.jsonl", "jsonl/date=2026-01-01/part-0.jsonl"),
            ("../../etc/passwd", "etc/passwd"),
            ("/etc/passwd", "etc/passwd"),
            (".windrow/run.json", "run.json"),
        ] {
            let (relative, path) = place.file(name).ok().unwrap();
            assert_eq!(relative, Path::new(expected));
            assert!(path.starts_with(folder.path()));
        }
        assert!(place.file("..").is_err());
    }
}
