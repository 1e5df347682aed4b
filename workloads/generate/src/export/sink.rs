//! Where an export's files go.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::ExportError;
use super::files::ExportedFile;

/// Makes files. Paths are relative, with `/`, and every part of them is safe as a file name.
pub trait Sink: Send {
    /// A new file. One of that path that is there already is replaced when the new one is closed, not before.
    ///
    /// # Errors
    /// When it can't be made.
    fn create(&mut self, path: &str) -> io::Result<Box<dyn SinkFile>>;
}

/// A file that is being written. Dropped without [`SinkFile::close`] it leaves nothing behind.
pub trait SinkFile: Write + Send {
    /// Lets go of what the operating system counts, until the next write. What has nothing of that kind ignores it.
    ///
    /// # Errors
    /// When what was written can't be kept.
    fn park(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Makes the file durable and seen.
    ///
    /// # Errors
    /// When what was written can't be kept.
    fn close(self: Box<Self>) -> io::Result<()>;
}

/// A folder of the local disk. A file is written under a temporary name, synced, then renamed.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
}

impl Sink for Directory {
    fn create(&mut self, path: &str) -> io::Result<Box<dyn SinkFile>> {
        let done = self.root.join(path);
        let folder = done.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder)?;
        let mut name = done.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let partial = folder.join(name);
        let file = File::create(&partial)?;
        Ok(Box::new(DirectoryFile { file: Some(file), partial: Some(partial), done }))
    }
}

struct DirectoryFile {
    /// None while it is parked.
    file: Option<File>,
    /// None once it is done.
    partial: Option<PathBuf>,
    done: PathBuf,
}

impl DirectoryFile {
    fn file(&mut self) -> io::Result<&mut File> {
        let file = match (self.file.take(), &self.partial) {
            (Some(file), _) => file,
            (None, Some(partial)) => File::options().append(true).open(partial)?,
            (None, None) => return Err(io::Error::other("the file was closed before")),
        };
        Ok(self.file.insert(file))
    }
}

impl Write for DirectoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SinkFile for DirectoryFile {
    fn park(&mut self) -> io::Result<()> {
        self.file = None;
        Ok(())
    }

    fn close(mut self: Box<Self>) -> io::Result<()> {
        self.file()?.sync_all()?;
        if let Some(partial) = self.partial.take() {
            fs::rename(partial, &self.done)?;
        }
        self.done.parent().map_or(Ok(()), sync_folder)
    }
}

/// A rename is durable once its folder is synced. Only Unix can open a folder.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

impl Drop for DirectoryFile {
    fn drop(&mut self) {
        if let Some(partial) = self.partial.take() {
            // what can't be removed is only untidy: the next export of that path replaces it
            let _ = fs::remove_file(partial);
        }
    }
}

/// What a [`ChunkSink`] hands over. Files are numbered in the order of their creation; several may be open at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    Create {
        file: usize,
        path: String,
    },
    Data {
        file: usize,
        bytes: Bytes,
    },
    /// The file is whole.
    Close {
        file: usize,
    },
    /// The file will not be finished: drop what came of it.
    Abandon {
        file: usize,
    },
}

/// Hands files over to asynchronous code, in chunks through a bounded channel: the export waits when nobody takes them.
#[derive(Debug)]
pub struct ChunkSink {
    sender: mpsc::Sender<Chunk>,
    files: usize,
}

impl ChunkSink {
    /// The sink, and where its chunks come out. At most `capacity` chunks (of up to 1 MiB each) wait.
    pub fn new(capacity: usize) -> (Self, mpsc::Receiver<Chunk>) {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        (Self { sender, files: 0 }, receiver)
    }
}

fn hand_over(sender: &mpsc::Sender<Chunk>, chunk: Chunk) -> io::Result<()> {
    let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody takes the export's chunks any more");
    sender.blocking_send(chunk).map_err(gone)
}

impl Sink for ChunkSink {
    fn create(&mut self, path: &str) -> io::Result<Box<dyn SinkFile>> {
        let file = self.files;
        self.files += 1;
        hand_over(&self.sender, Chunk::Create { file, path: path.to_owned() })?;
        Ok(Box::new(ChunkFile { sender: self.sender.clone(), file, closed: false }))
    }
}

struct ChunkFile {
    sender: mpsc::Sender<Chunk>,
    file: usize,
    closed: bool,
}

impl Write for ChunkFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(1 << 20)];
        hand_over(&self.sender, Chunk::Data { file: self.file, bytes: Bytes::copy_from_slice(bytes) })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SinkFile for ChunkFile {
    fn close(mut self: Box<Self>) -> io::Result<()> {
        self.closed = true;
        hand_over(&self.sender, Chunk::Close { file: self.file })
    }
}

impl Drop for ChunkFile {
    fn drop(&mut self) {
        if !self.closed {
            // a receiver that is gone has dropped the file already
            let _ = hand_over(&self.sender, Chunk::Abandon { file: self.file });
        }
    }
}

/// A file that is hashed and counted as it is written.
pub(super) struct HashedFile {
    file: Box<dyn SinkFile>,
    path: String,
    hash: Sha256,
    bytes: u64,
}

impl HashedFile {
    pub(super) fn create(sink: &mut dyn Sink, path: String) -> Result<Self, ExportError> {
        match sink.create(&path) {
            Ok(file) => Ok(Self { file, path, hash: Sha256::new(), bytes: 0 }),
            Err(source) => Err(ExportError::Write { path, source }),
        }
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.write_all(bytes).map_err(|source| ExportError::Write { path: self.path.clone(), source })
    }

    /// See [`SinkFile::park`].
    pub(super) fn park(&mut self) -> Result<(), ExportError> {
        self.file.park().map_err(|source| ExportError::Write { path: self.path.clone(), source })
    }

    /// Closes the file; what it holds is `rows` rows.
    pub(super) fn close(self, rows: u64) -> Result<ExportedFile, ExportError> {
        let Self { file, path, hash, bytes } = self;
        match file.close() {
            Ok(()) => Ok(ExportedFile { path, rows, bytes, sha256: hex::encode(hash.finalize()) }),
            Err(source) => Err(ExportError::Write { path, source }),
        }
    }
}

impl Write for HashedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes a small whole file, such as the manifest or the card.
///
/// # Errors
/// When the sink can't take it.
pub fn write_document(sink: &mut dyn Sink, path: &str, text: &str) -> Result<ExportedFile, ExportError> {
    let mut file = HashedFile::create(sink, path.to_owned())?;
    file.append(text.as_bytes())?;
    file.close(0)
}
