//! The files that are being written, and those that are done.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::block::{Content, Formed};
use super::parquet::ParquetFile;
use super::plan::Plan;
use super::sink::{HashedFile, Sink};
use super::{ExportError, Format, csv};

/// The file of rejects, when there are any.
const REJECTS: &str = "rejects.jsonl";

/// What the row groups of all files together may hold back in memory.
const ALL_ROW_GROUPS_BYTES: usize = 64 << 20;

/// A file that an export wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedFile {
    /// Relative to the export, with `/`.
    pub path: String,
    /// How many records or rejects; 0 for a document.
    pub rows: u64,
    pub bytes: u64,
    /// Lowercase hex.
    pub sha256: String,
}

/// What an export wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Records written to each format.
    pub records: u64,
    /// Records left out because they were to be skipped are in neither number.
    pub rejects: u64,
    /// All files: formats in the order asked for, folders by name, then `rejects.jsonl`.
    pub files: Vec<ExportedFile>,
}

type Place = (Format, Option<String>);

enum Body {
    Text(HashedFile),
    Parquet(Box<ParquetFile>),
}

struct OpenFile {
    body: Body,
    rows: u64,
    /// When it was last written to; the one that waits longest is parked first.
    used: u64,
    parked: bool,
}

impl OpenFile {
    fn park(&mut self) -> Result<(), ExportError> {
        self.parked = true;
        match &mut self.body {
            Body::Text(file) => file.park(),
            Body::Parquet(file) => file.park(),
        }
    }
}

/// The writing end of an export: takes formed blocks in order.
pub(super) struct Files {
    plan: Arc<Plan>,
    pub(super) sink: Box<dyn Sink>,
    max_open: usize,
    open: HashMap<Place, OpenFile>,
    /// How many of them are not parked.
    unparked: usize,
    done: Vec<(usize, ExportedFile)>,
    rejects: Option<(HashedFile, u64)>,
    records: u64,
    last_index: Option<u64>,
    writes: u64,
}

impl Files {
    pub(super) fn new(plan: Arc<Plan>, sink: Box<dyn Sink>, max_open: usize) -> Self {
        Self {
            plan,
            sink,
            max_open: max_open.max(1),
            open: HashMap::new(),
            unparked: 0,
            done: Vec::new(),
            rejects: None,
            records: 0,
            last_index: None,
            writes: 0,
        }
    }

    /// Writes what a block adds.
    pub(super) fn append(&mut self, block: Formed) -> Result<(), ExportError> {
        if let Some((first, last)) = block.indices {
            if let Some(before) = self.last_index.filter(|before| first <= *before) {
                return Err(ExportError::OutOfOrder { last: before, found: first });
            }
            self.last_index = Some(last);
        }
        for (name, folder) in block.folders {
            self.records += folder.rows;
            for (format, content) in folder.contents {
                self.write(&(format, name.clone()), content, folder.rows)?;
            }
        }
        Ok(())
    }

    /// Writes a line of `rejects.jsonl`.
    pub(super) fn append_reject(&mut self, line: &[u8]) -> Result<(), ExportError> {
        if self.rejects.is_none() {
            self.rejects = Some((HashedFile::create(&mut *self.sink, REJECTS.to_owned())?, 0));
        }
        if let Some((file, rows)) = &mut self.rejects {
            file.append(line)?;
            *rows += 1;
        }
        Ok(())
    }

    fn write(&mut self, place: &Place, content: Content, rows: u64) -> Result<(), ExportError> {
        if self.open.get(place).is_none_or(|file| file.parked) {
            self.make_room()?;
            self.unparked += 1;
        }
        if !self.open.contains_key(place) {
            self.create(place)?;
        }
        self.writes += 1;
        let file = self.open.get_mut(place).expect("the file was opened just now");
        (file.used, file.parked) = (self.writes, false);
        file.rows += rows;
        match (&mut file.body, content) {
            (Body::Text(file), Content::Bytes(bytes)) => file.append(&bytes),
            (Body::Parquet(file), Content::Rows(rows)) => {
                file.append(*rows)?;
                self.bound_row_groups()
            }
            (Body::Text(_), Content::Rows(_)) | (Body::Parquet(_), Content::Bytes(_)) => {
                unreachable!("a format's content goes to a file of the same format")
            }
        }
    }

    /// Opens a folder's file.
    fn create(&mut self, place: &Place) -> Result<(), ExportError> {
        let (format, folder) = place;
        let path = Plan::path(*format, folder.as_deref());
        let mut file = HashedFile::create(&mut *self.sink, path.clone())?;
        let body = match format {
            Format::Jsonl => Body::Text(file),
            Format::Csv => {
                file.append(&csv::header(&self.plan))?;
                Body::Text(file)
            }
            Format::Parquet => Body::Parquet(Box::new(ParquetFile::create(file, path, &self.plan)?)),
        };
        self.open.insert(place.clone(), OpenFile { body, rows: 0, used: self.writes, parked: false });
        Ok(())
    }

    /// Parks the file that was not written to for the longest time, when as many as may be are open.
    fn make_room(&mut self) -> Result<(), ExportError> {
        while self.unparked >= self.max_open {
            let oldest = self.open.values_mut().filter(|file| !file.parked).min_by_key(|file| file.used);
            let Some(oldest) = oldest else { return Ok(()) };
            oldest.park()?;
            self.unparked -= 1;
        }
        Ok(())
    }

    /// Many folders must not hold many row groups: the largest is written early.
    fn bound_row_groups(&mut self) -> Result<(), ExportError> {
        if self.open.len() <= self.plan.formats.len() {
            return Ok(());
        }
        let mut total = 0;
        let mut largest: Option<(usize, &mut OpenFile)> = None;
        for file in self.open.values_mut() {
            let Body::Parquet(parquet) = &file.body else { continue };
            let size = parquet.held_bytes();
            total += size;
            if largest.as_ref().is_none_or(|(most, _)| size > *most) {
                largest = Some((size, file));
            }
        }
        match largest {
            Some((_, OpenFile { body: Body::Parquet(file), parked, .. })) if total > ALL_ROW_GROUPS_BYTES => {
                file.flush()?;
                // the flush has opened it again
                if *parked { file.park() } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    fn close(&mut self, place: &Place) -> Result<(), ExportError> {
        let Some(OpenFile { body, rows, .. }) = self.open.remove(place) else { return Ok(()) };
        let closed = match body {
            Body::Text(file) => file.close(rows)?,
            Body::Parquet(file) => file.finish()?.close(rows)?,
        };
        let rank = self.plan.formats.iter().position(|format| *format == place.0).unwrap_or(0);
        self.done.push((rank, closed));
        Ok(())
    }

    /// Closes all files. A format without a record gets one that holds its columns and no row.
    pub(super) fn finish(mut self) -> Result<(Box<dyn Sink>, Exported), ExportError> {
        if self.records == 0 {
            for format in self.plan.formats.clone() {
                self.create(&(format, None))?;
            }
        }
        let places: Vec<Place> = self.open.keys().cloned().collect();
        for place in places {
            self.close(&place)?;
        }
        self.done
            .sort_by(|(rank, file), (other_rank, other)| (rank, &file.path).cmp(&(other_rank, &other.path)));
        let mut files: Vec<ExportedFile> = self.done.into_iter().map(|(_, file)| file).collect();
        let mut rejects = 0;
        if let Some((file, rows)) = self.rejects {
            rejects = rows;
            files.push(file.close(rows)?);
        }
        Ok((self.sink, Exported { records: self.records, rejects, files }))
    }
}
