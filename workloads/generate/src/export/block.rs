//! Blocks of lines, and what each format makes of one. A block is worked on by itself, so several can be at once.

use indexmap::IndexMap;

use super::parquet::Rows;
use super::plan::Plan;
use super::{ExportError, Format, csv};
use crate::record::RawRecord;

/// Some lines of records, each with its line break, in order.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) lines: String,
}

/// What a block adds to the files.
#[derive(Debug, Default)]
pub(super) struct Formed {
    /// The first and last index that it holds, skipped ones too.
    pub(super) indices: Option<(u64, u64)>,
    /// Rows, by folder, in the order of the folders' first rows.
    pub(super) folders: IndexMap<Option<String>, Folder>,
}

/// What a block adds to one folder, for each format.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) rows: u64,
    pub(super) contents: Vec<(Format, Content)>,
}

/// Rows in a format.
#[derive(Debug)]
pub(super) enum Content {
    Bytes(Vec<u8>),
    Rows(Box<Rows>),
}

/// Rows that are being put in a format.
enum Forming {
    Jsonl(Vec<u8>),
    Csv(Vec<u8>),
    Parquet(Box<Rows>),
}

struct FormingFolder {
    rows: u64,
    formats: Vec<Forming>,
}

impl Block {
    /// Parses each line once and puts it in all formats.
    pub(super) fn form(&self, plan: &Plan) -> Result<Formed, ExportError> {
        let mut folders: IndexMap<Option<String>, FormingFolder> = IndexMap::new();
        let mut indices: Option<(u64, u64)> = None;
        let mut row = Vec::with_capacity(plan.columns.output.len());
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', self.lines.as_bytes()) {
            let line = &self.lines[start..end];
            start = end + 1;
            let record = RawRecord::parse(line)?;
            indices = Some(match indices {
                Some((_, last)) if record.index <= last => {
                    return Err(ExportError::OutOfOrder { last, found: record.index });
                }
                Some((first, _)) => (first, record.index),
                None => (record.index, record.index),
            });
            if plan.skip.contains(&record.index) {
                continue;
            }
            plan.arrange(&record, &mut row)?;
            let folder = plan.partition.folder(&record, &plan.folders)?;
            let forming = folders.entry(folder).or_insert_with(|| self.start(plan));
            forming.rows += 1;
            for format in &mut forming.formats {
                match format {
                    Forming::Jsonl(bytes) => {
                        bytes.extend_from_slice(line.as_bytes());
                        bytes.push(b'\n');
                    }
                    Forming::Csv(bytes) => csv::append(bytes, &record, &row)?,
                    Forming::Parquet(rows) => rows.append(plan, &record, &row)?,
                }
            }
        }
        let folders = folders.into_iter().map(|(folder, forming)| (folder, forming.finish()));
        Ok(Formed { indices, folders: folders.collect() })
    }

    fn start(&self, plan: &Plan) -> FormingFolder {
        let room = if plan.partition.key().is_none() { self.lines.len() } else { 0 };
        let formats = plan.formats.iter().map(|format| match format {
            Format::Jsonl => Forming::Jsonl(Vec::with_capacity(room)),
            Format::Csv => Forming::Csv(Vec::with_capacity(room)),
            Format::Parquet => Forming::Parquet(Box::new(Rows::new(plan))),
        });
        FormingFolder { rows: 0, formats: formats.collect() }
    }
}

impl FormingFolder {
    fn finish(self) -> Folder {
        let contents = self.formats.into_iter().map(|format| match format {
            Forming::Jsonl(bytes) => (Format::Jsonl, Content::Bytes(bytes)),
            Forming::Csv(bytes) => (Format::Csv, Content::Bytes(bytes)),
            Forming::Parquet(rows) => (Format::Parquet, Content::Rows(rows)),
        });
        Folder { rows: self.rows, contents: contents.collect() }
    }
}
