//! The pipeline: lines are gathered in blocks, blocks are formed by several threads, formed blocks are written in order.

use std::collections::HashSet;
use std::io::BufRead;
use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::block::{Block, Formed};
use super::files::{Exported, Files};
use super::partition::{Folders, PartitionBy};
use super::plan::Plan;
use super::sink::Sink;
use super::{Columns, ExportError, Format};
use crate::record::{PartReader, Reject, Section};

/// A block is worked on when it has this many bytes.
const BLOCK_BYTES: usize = 2 << 20;

/// More threads than this only wait for the one that writes.
const MAX_THREADS: usize = 4;

/// What to export.
#[derive(Clone, Debug)]
pub struct Options {
    /// At least one; each is written once.
    pub formats: Vec<Format>,
    pub partition: PartitionBy,
    /// The folders of all records. One whose folder is not among them stands in [`super::FALLBACK`].
    pub folders: Folders,
    /// The columns of all parts, merged. A record that they don't hold is an error, never a loss.
    pub columns: Columns,
    /// Indices to leave out, such as duplicates.
    pub skip: HashSet<u64>,
    /// How many files may be open at once, as the operating system counts. A partitioned export lets go of the one that
    /// waits longest, and opens it again when it needs to.
    pub max_open_files: usize,
}

impl Options {
    /// All of the records in these formats, in one file each.
    pub fn new(formats: impl Into<Vec<Format>>, columns: Columns) -> Self {
        Self {
            formats: formats.into(),
            partition: PartitionBy::None,
            folders: Folders::default(),
            columns,
            skip: HashSet::new(),
            max_open_files: 128,
        }
    }
}

type Outcome = Result<(Box<dyn Sink>, Exported), ExportError>;

enum Message {
    /// A block's result will come here.
    Block(Receiver<Result<Formed, ExportError>>),
    Reject(Vec<u8>),
    Finish,
}

struct Task {
    block: Block,
    reply: SyncSender<Result<Formed, ExportError>>,
}

/// An export in progress. Dropped before [`Exporter::finish`] it leaves no files.
pub struct Exporter {
    block: Block,
    tasks: Option<SyncSender<Task>>,
    messages: Option<SyncSender<Message>>,
    writer: Option<JoinHandle<Outcome>>,
    workers: Vec<JoinHandle<()>>,
}

impl Exporter {
    /// Starts the threads; nothing is written before the first full block.
    ///
    /// # Errors
    /// When the options don't fit each other: no format, or a partition that the columns don't allow.
    pub fn start(sink: Box<dyn Sink>, options: Options) -> Result<Self, ExportError> {
        let max_open = options.max_open_files;
        let plan = Arc::new(Plan::new(options)?);
        let threads = thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
        let (tasks, task_queue) = sync_channel::<Task>(threads);
        let (messages, message_queue) = sync_channel(threads * 2);
        let task_queue = Arc::new(Mutex::new(task_queue));
        let workers = (0..threads).map(|_| {
            let (plan, queue) = (plan.clone(), task_queue.clone());
            thread::spawn(move || form_blocks(&plan, &queue))
        });
        let workers = workers.collect();
        let files = Files::new(plan, sink, max_open);
        let writer = thread::spawn(move || write_blocks(files, &message_queue));
        let (tasks, messages) = (Some(tasks), Some(messages));
        Ok(Self { block: Block::default(), tasks, messages, writer: Some(writer), workers })
    }

    /// Adds a record, as its line (with or without its line break). Blocks while the threads are behind.
    ///
    /// # Errors
    /// When an earlier line was bad or a file could not be written; the export is over then.
    pub fn push_line(&mut self, line: &str) -> Result<(), ExportError> {
        let lines = &mut self.block.lines;
        lines.push_str(line);
        if !line.ends_with('\n') {
            lines.push('\n');
        }
        if lines.len() >= BLOCK_BYTES { self.dispatch() } else { Ok(()) }
    }

    /// Adds a line to `rejects.jsonl`.
    ///
    /// # Errors
    /// As [`Self::push_line`].
    pub fn push_reject(&mut self, reject: &Reject) -> Result<(), ExportError> {
        let mut line = serde_json::to_vec(reject)?;
        line.push(b'\n');
        self.send(Message::Reject(line))
    }

    /// Adds all records and rejects of a part.
    ///
    /// # Errors
    /// When the part is not whole, and as [`Self::push_line`].
    pub fn push_part(&mut self, part: impl BufRead) -> Result<(), ExportError> {
        let mut part = PartReader::open(part)?;
        while let Some((section, line)) = part.next_text()? {
            match section {
                Section::Records => self.push_line(line)?,
                Section::Rejects => self.push_reject(&serde_json::from_str(line)?)?,
            }
        }
        Ok(())
    }

    /// Writes what is left and closes all files. Gives the sink back, for the manifest and the card.
    ///
    /// # Errors
    /// As [`Self::push_line`].
    pub fn finish(mut self) -> Outcome {
        if !self.block.lines.is_empty() {
            self.dispatch()?;
        }
        self.send(Message::Finish)?;
        self.join()
    }

    fn dispatch(&mut self) -> Result<(), ExportError> {
        let block = std::mem::take(&mut self.block);
        self.block.lines.reserve(BLOCK_BYTES + BLOCK_BYTES / 8);
        let (reply, result) = sync_channel(1);
        self.send(Message::Block(result))?;
        match &self.tasks {
            Some(tasks) if tasks.send(Task { block, reply }).is_ok() => Ok(()),
            _ => Err(self.failure()),
        }
    }

    fn send(&mut self, message: Message) -> Result<(), ExportError> {
        match &self.messages {
            Some(messages) if messages.send(message).is_ok() => Ok(()),
            _ => Err(self.failure()),
        }
    }

    /// Why a thread doesn't listen any more.
    fn failure(&mut self) -> ExportError {
        match self.join() {
            Ok(_) => ExportError::Failed,
            Err(error) => error,
        }
    }

    /// Lets all threads end.
    fn join(&mut self) -> Outcome {
        self.tasks = None;
        self.messages = None;
        for worker in self.workers.drain(..) {
            // a worker that panicked has left its block without a reply, which the writer reports
            let _ = worker.join();
        }
        match self.writer.take() {
            Some(writer) => writer.join().unwrap_or(Err(ExportError::Panicked)),
            None => Err(ExportError::Failed),
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if self.writer.is_some() {
            // nobody asks any more how it ended
            let _ = self.join();
        }
    }
}

fn form_blocks(plan: &Plan, queue: &Mutex<Receiver<Task>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Task { block, reply }) = next else { return };
        // the writer has gone away only after an error, which the exporter will learn from it
        let _ = reply.send(block.form(plan));
    }
}

fn write_blocks(mut files: Files, messages: &Receiver<Message>) -> Outcome {
    while let Ok(message) = messages.recv() {
        match message {
            Message::Block(result) => files.append(result.recv().map_err(|_| ExportError::Panicked)??)?,
            Message::Reject(line) => files.append_reject(&line)?,
            Message::Finish => return files.finish(),
        }
    }
    // abandoned: the files are dropped unfinished
    Err(ExportError::Failed)
}
