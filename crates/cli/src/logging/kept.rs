//! The log that an installation keeps in its data directory: JSON lines, in a few files of bounded size. The newest is
//! `windrow.jsonl`; when it is full, it becomes `windrow.1.jsonl`, and the oldest goes.
//!
//! Several processes may write (a server, its children): each appends whole lines, and whoever finds the newest file full
//! makes room under a lock.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use windrow_app::KeptLines;

use super::lines::LineSink;

/// So many files hold what is kept.
const FILES: u64 = 4;

/// Lines that wait to be written; more are dropped rather than that anybody waits for the disk.
const WAITING: usize = 8192;

/// Bytes that are written at once, roughly.
const BATCH: usize = 64 * 1024;

/// How long the process waits at its end for what is still to be written.
const PATIENCE: Duration = Duration::from_secs(1);

static WRITER: OnceLock<SyncSender<Note>> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

enum Note {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// Hands lines to the thread that writes them.
pub(super) struct KeptLog(SyncSender<Note>);

impl KeptLog {
    /// `keep` is how many bytes all files together may have.
    pub(super) fn begin(dir: &Path, keep: u64) -> io::Result<Self> {
        let files = Files::open(dir, keep)?;
        let (sender, notes) = sync_channel(WAITING);
        thread::Builder::new().name("windrow-log".to_owned()).spawn(move || write_all(files, &notes))?;
        let _a_second_start_flushes_the_first = WRITER.set(sender.clone());
        Ok(Self(sender))
    }
}

impl LineSink for KeptLog {
    fn write(&self, line: Vec<u8>) {
        if let Err(TrySendError::Full(_)) = self.0.try_send(Note::Line(line)) {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Waits until what was logged so far is written.
pub(crate) fn flush() {
    let Some(writer) = WRITER.get() else { return };
    let (done, written) = sync_channel(1);
    if writer.try_send(Note::Flush(done)).is_ok() {
        let _ = written.recv_timeout(PATIENCE);
    }
}

fn write_all(mut files: Files, notes: &Receiver<Note>) {
    let mut failed = false;
    while let Ok(first) = notes.recv() {
        let (mut batch, mut flushed) = (Vec::new(), Vec::new());
        for note in std::iter::once(first).chain(notes.try_iter()) {
            match note {
                Note::Line(line) => batch.extend_from_slice(&line),
                Note::Flush(done) => flushed.push(done),
            }
            if batch.len() >= BATCH {
                break;
            }
        }
        let dropped = DROPPED.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let lost = serde_json::json!({"level": "WARN", "message": "log lines came too fast to be kept", "lines": dropped});
            batch.extend_from_slice(format!("{lost}\n").as_bytes());
        }
        // told once: the warning is a line itself
        if let Err(error) = files.append(&batch)
            && !std::mem::replace(&mut failed, true)
        {
            tracing::warn!(%error, dir = %files.dir.display(), "the log can't be kept");
        }
        for done in flushed {
            // whoever waited may have lost patience
            let _ = done.send(());
        }
    }
}

struct Files {
    dir: PathBuf,
    /// Of one file, in bytes.
    most: u64,
    newest: File,
}

impl Files {
    fn open(dir: &Path, keep: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self { newest: open(&path(dir, 0))?, dir: dir.to_owned(), most: (keep / FILES).max(1) })
    }

    fn append(&mut self, batch: &[u8]) -> io::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let full = |size: u64| size > 0 && size + batch.len() as u64 > self.most;
        let newest = path(&self.dir, 0);
        let there = fs::metadata(&newest);
        if !there.is_ok_and(|there| there.ino() == self.newest.metadata().map_or(0, |mine| mine.ino())) {
            self.newest = open(&newest)?;
        }
        if full(self.newest.metadata()?.len()) {
            let lock = open(&self.dir.join("lock"))?;
            lock.lock()?;
            // another process may have made room meanwhile
            if full(fs::metadata(&newest).map_or(0, |there| there.len())) {
                for n in (0..FILES - 1).rev() {
                    match fs::rename(path(&self.dir, n), path(&self.dir, n + 1)) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                        _ => {}
                    }
                }
            }
            self.newest = open(&newest)?;
        }
        self.newest.write_all(batch)
    }
}

/// The `n`th newest.
fn path(dir: &Path, n: u64) -> PathBuf {
    match n {
        0 => dir.join("windrow.jsonl"),
        n => dir.join(format!("windrow.{n}.jsonl")),
    }
}

/// Its user's alone: lines may name what jobs are about.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Reads what is kept.
pub(crate) struct KeptFiles(pub(crate) PathBuf);

impl KeptLines for KeptFiles {
    fn find(&self, wanted: &dyn Fn(&Value) -> bool, most: usize) -> io::Result<Vec<Value>> {
        flush();
        let mut found = Vec::new();
        for n in (0..FILES).rev() {
            let file = match File::open(path(&self.0, n)) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for line in BufReader::new(file).split(b'\n') {
                let line = line?;
                // a line may be cut off where a process was killed
                if let Some(line) = serde_json::from_slice(&line).ok().filter(wanted) {
                    found.push(line);
                }
                if found.len() >= most {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(dir: &Path) -> Vec<u64> {
        (0..FILES).filter_map(|n| Some(fs::metadata(path(dir, n)).ok()?.len())).collect()
    }

    #[test]
    fn what_is_kept_stays_within_its_bound_and_the_newest_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let (mut one, mut other) =
            (Files::open(dir.path(), 4000).unwrap(), Files::open(dir.path(), 4000).unwrap());
        for n in 0..200 {
            let line =
                format!("{{\"request_id\": \"r-{}\", \"n\": {n}, \"pad\": \"{}\"}}\n", n % 2, "x".repeat(50));
            // as two processes would
            if n % 3 == 0 { &mut one } else { &mut other }.append(line.as_bytes()).unwrap();
        }
        assert!(sizes(dir.path()).len() == 4 && sizes(dir.path()).iter().all(|size| *size <= 1000));
        fs::OpenOptions::new()
            .append(true)
            .open(path(dir.path(), 0))
            .unwrap()
            .write_all(b"{\"request_id\": \"r-1\"")
            .unwrap();
        let kept = KeptFiles(dir.path().to_owned());
        let of = |id: &'static str| move |line: &Value| line["request_id"] == id;
        let found = kept.find(&of("r-1"), 1000).unwrap();
        let numbers: Vec<u64> = found.iter().map(|line| line["n"].as_u64().unwrap()).collect();
        assert!(numbers.is_sorted() && numbers.last() == Some(&199) && numbers.len() > 15, "{numbers:?}");
        assert!(
            numbers.windows(2).all(|pair| pair[1] == pair[0] + 2),
            "none in between is lost: {numbers:?}"
        );
        assert_eq!(kept.find(&of("r-1"), 3).unwrap().len(), 3);
        assert!(kept.find(&of("r"), 3).unwrap().is_empty());
    }
}
