//! A file that is being written, beside the place that it is for.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Removed when it is dropped, unless it has become what it is for.
pub(crate) struct Partial(Option<PathBuf>);

impl Partial {
    /// Makes an empty file under a name that nobody else has, on the file system of `file`.
    pub(crate) fn beside(file: &Path) -> io::Result<(Self, File)> {
        // Processes of several containers may have the same id: who finds a name taken takes the next one.
        for number in 0_u32.. {
            let path = file.with_file_name(format!(".windrow-{}-{number}.partial", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(out) => return Ok((Self(Some(path)), out)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        unreachable!("a folder holds fewer files")
    }

    /// Takes the place of what stands there, if anything does.
    pub(crate) fn becomes(mut self, file: &Path) -> io::Result<()> {
        let path = self.0.as_deref().expect("it is taken out by this alone");
        fs::rename(path, file)?;
        // its name may be another process's from here on
        self.0 = None;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _what_cannot_be_removed_is_only_untidy = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_partial_file_takes_its_place_or_goes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data.csv");
        let others = folder.path().join("data.partial");
        fs::write(&others, "a user's").unwrap();
        let (given_up, _) = Partial::beside(&file).unwrap();
        let (kept, mut out) = Partial::beside(&file).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "two at once don't share a name");
        out.write_all(b"a,b").unwrap();
        drop(given_up);
        kept.becomes(&file).unwrap();
        let (refused, _) = Partial::beside(&file).unwrap();
        assert!(refused.becomes(&folder.path().join("absent/data.csv")).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        assert_eq!(fs::read(&file).unwrap(), b"a,b");
        assert_eq!(fs::read(&others).unwrap(), b"a user's");
    }
}
