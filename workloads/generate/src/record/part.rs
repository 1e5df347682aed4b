//! Part files: what a shard writes between two checkpoints.
//!
//! A part is plain JSONL in three sections, so that it can be read by eye, copied by range and streamed:
//! ```text
//! {"windrow_part":1,"first":0,"last":49,"records":48,"records_bytes":211200,"rejects":2}
//! {"id":…,"index":0,…}      48 lines, 211,200 bytes: exactly what the JSONL export holds
//! {"index":7,"step":…}      2 lines
//! ```
//! Each index from `first` to `last` stands in it exactly once, as a record or as a reject. The dataset's lines are one
//! range of bytes after the header's line, so a partial download copies them without looking inside.

use std::io::BufRead;

use serde::{Deserialize, Serialize};

use super::{RESERVED_FIELDS, RawRecord, Record, RecordError, Reject};
use crate::export::Columns;

const FORMAT: u32 = 1;

/// The first line of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartHeader {
    /// The format's number: 1.
    pub windrow_part: u32,
    /// The first index that the part holds.
    pub first: u64,
    /// The last index that the part holds (inclusive).
    pub last: u64,
    /// How many lines of records follow.
    pub records: u64,
    /// How many bytes these lines have, line breaks too.
    pub records_bytes: u64,
    /// How many lines of rejects follow the records.
    pub rejects: u64,
}

/// A finished part, ready to be put.
#[derive(Clone, Debug)]
pub struct Part {
    pub header: PartHeader,
    /// The whole file.
    pub bytes: Vec<u8>,
    /// The columns of its records; merged over all parts they are what an export needs to know beforehand.
    pub columns: Columns,
}

/// Collects finished records and rejects in the order of their indices.
#[derive(Debug)]
pub struct PartBuilder {
    first: u64,
    next: u64,
    records: Vec<u8>,
    record_count: u64,
    rejects: Vec<u8>,
    reject_count: u64,
    columns: Columns,
}

impl PartBuilder {
    /// An empty part whose first index will be `first`.
    pub fn new(first: u64) -> Self {
        Self {
            first,
            next: first,
            records: Vec::new(),
            record_count: 0,
            rejects: Vec::new(),
            reject_count: 0,
            columns: Columns::default(),
        }
    }

    /// The index that is added next.
    pub const fn next_index(&self) -> u64 {
        self.next
    }

    /// How many indices it holds.
    pub fn len(&self) -> u64 {
        self.next - self.first
    }

    pub fn is_empty(&self) -> bool {
        self.next == self.first
    }

    /// Bytes that wait to be put.
    pub fn bytes(&self) -> usize {
        self.records.len() + self.rejects.len()
    }

    /// Adds the record of the next index.
    ///
    /// # Errors
    /// When its index isn't the next, or an output field has a reserved name. The part stays as it was.
    pub fn push_record(&mut self, record: &Record) -> Result<(), RecordError> {
        self.expect(record.index)?;
        if let Some(field) = record.output.keys().find(|key| RESERVED_FIELDS.contains(&key.as_str())) {
            return Err(RecordError::ReservedField { field: field.clone() });
        }
        append_line(&mut self.records, record.index, record)?;
        self.columns.observe(record);
        self.record_count += 1;
        self.next += 1;
        Ok(())
    }

    /// Adds the reject of the next index.
    ///
    /// # Errors
    /// When its index isn't the next. The part stays as it was.
    pub fn push_reject(&mut self, reject: &Reject) -> Result<(), RecordError> {
        self.expect(reject.index)?;
        append_line(&mut self.rejects, reject.index, reject)?;
        self.reject_count += 1;
        self.next += 1;
        Ok(())
    }

    fn expect(&self, found: u64) -> Result<(), RecordError> {
        if found == self.next { Ok(()) } else { Err(RecordError::OutOfOrder { expected: self.next, found }) }
    }

    /// The part, and an empty builder that goes on where it ends; none when nothing was added.
    pub fn finish(&mut self) -> Option<Part> {
        if self.is_empty() {
            return None;
        }
        let done = std::mem::replace(self, Self::new(self.next));
        let header = PartHeader {
            windrow_part: FORMAT,
            first: done.first,
            last: done.next - 1,
            records: done.record_count,
            records_bytes: done.records.len() as u64,
            rejects: done.reject_count,
        };
        let mut bytes = Vec::with_capacity(done.records.len() + done.rejects.len() + 160);
        serde_json::to_writer(&mut bytes, &header).expect("a header of numbers is always JSON");
        bytes.push(b'\n');
        bytes.extend_from_slice(&done.records);
        bytes.extend_from_slice(&done.rejects);
        Some(Part { header, bytes, columns: done.columns })
    }
}

fn append_line<T: Serialize>(lines: &mut Vec<u8>, index: u64, value: &T) -> Result<(), RecordError> {
    let before = lines.len();
    if let Err(source) = serde_json::to_writer(&mut *lines, value) {
        lines.truncate(before);
        return Err(RecordError::Encode { index, source });
    }
    lines.push(b'\n');
    Ok(())
}

/// The lines of a part's records, as they stand: what a partial download of the dataset copies.
///
/// # Errors
/// When the part has no valid header or is shorter than that says.
pub fn record_lines(part: &[u8]) -> Result<&[u8], RecordError> {
    let header = PartReader::open(part)?.header;
    let start = memchr::memchr(b'\n', part).map_or(part.len(), |end| end + 1);
    usize::try_from(header.records_bytes)
        .ok()
        .and_then(|length| part[start..].get(..length))
        .ok_or(RecordError::Truncated { what: "records", expected: header.records, found: 0 })
}

/// Appends what comes up to the next line break, which is kept; `read_until` without its slower search.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let waiting = match input.fill_buf() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            waiting => waiting?,
        };
        let end = memchr::memchr(b'\n', waiting);
        let taken = end.map_or(waiting.len(), |end| end + 1);
        line.extend_from_slice(&waiting[..taken]);
        input.consume(taken);
        if end.is_some() || taken == 0 {
            return Ok(());
        }
    }
}

// Most of an export's lines are long and rarely ASCII throughout, where the standard library's check took a third of
// its time.
fn utf8(bytes: &[u8], line: u64) -> Result<&str, RecordError> {
    simdutf8::compat::from_utf8(bytes).map_err(|error| {
        let source = serde::de::Error::custom(format_args!("not UTF-8: {error}"));
        RecordError::Line { line, source }
    })
}

/// Which section of a part a line stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Records,
    Rejects,
}

/// One line of a part.
#[derive(Debug)]
pub enum PartLine<'a> {
    Record(RawRecord<'a>),
    Reject(Reject),
}

/// Reads a part line by line; memory is bounded by its longest line. Counts, order and the range of indices are
/// checked against the header on the way.
#[derive(Debug)]
pub struct PartReader<R> {
    input: R,
    header: PartHeader,
    buffer: Vec<u8>,
    records: u64,
    rejects: u64,
    last_index: Option<u64>,
}

impl<R: BufRead> PartReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When it is absent, not a header, or of another format.
    pub fn open(mut input: R) -> Result<Self, RecordError> {
        let mut buffer = Vec::new();
        read_line(&mut input, &mut buffer)?;
        let header: PartHeader = serde_json::from_slice(&buffer)
            .map_err(|error| RecordError::Header { reason: error.to_string() })?;
        let bad = |reason: String| Err(RecordError::Header { reason });
        if header.windrow_part != FORMAT {
            return bad(format!(
                "format {} is not known to this version, only {FORMAT}",
                header.windrow_part
            ));
        }
        let held = header.last.checked_add(1).and_then(|end| end.checked_sub(header.first));
        if held.is_none_or(|n| n == 0) || held != header.records.checked_add(header.rejects) {
            return bad(format!(
                "indices {}..={} don't match {} records and {} rejects",
                header.first, header.last, header.records, header.rejects
            ));
        }
        Ok(Self { input, header, buffer, records: 0, rejects: 0, last_index: None })
    }

    pub const fn header(&self) -> &PartHeader {
        &self.header
    }

    /// The next line: the records in order, then the rejects in order, then none.
    ///
    /// # Errors
    /// When a line isn't what the header says, or can't be read.
    #[expect(clippy::should_implement_trait, reason = "each line borrows the reader's buffer")]
    pub fn next(&mut self) -> Result<Option<PartLine<'_>>, RecordError> {
        if self.rejects == 0 && self.records == self.header.records {
            // the rejects' indices begin anew
            self.last_index = None;
        }
        let Some((section, line)) = self.advance()? else { return Ok(None) };
        let invalid = |source| RecordError::Line { line, source };
        let text = utf8(&self.buffer, line)?;
        let (index, parsed) = match section {
            Section::Records => {
                let record = RawRecord::parse(text).map_err(invalid)?;
                (record.index, PartLine::Record(record))
            }
            Section::Rejects => {
                let reject: Reject = serde_json::from_str(text).map_err(invalid)?;
                (reject.index, PartLine::Reject(reject))
            }
        };
        let expected = self.last_index.map_or(self.header.first, |last| last + 1);
        if index < expected || index > self.header.last {
            return Err(RecordError::OutOfOrder { expected, found: index });
        }
        self.last_index = Some(index);
        Ok(Some(parsed))
    }

    /// The next line as text, for those who parse it elsewhere and check the order there.
    pub(crate) fn next_text(&mut self) -> Result<Option<(Section, &str)>, RecordError> {
        let Some((section, line)) = self.advance()? else { return Ok(None) };
        Ok(Some((section, utf8(&self.buffer, line)?)))
    }

    /// Reads the next line into the buffer: its section and its number in the file.
    fn advance(&mut self) -> Result<Option<(Section, u64)>, RecordError> {
        let section = if self.records < self.header.records { Section::Records } else { Section::Rejects };
        if section == Section::Rejects && self.rejects == self.header.rejects {
            return if self.input.fill_buf()?.is_empty() { Ok(None) } else { Err(RecordError::TooLong) };
        }
        self.buffer.clear();
        read_line(&mut self.input, &mut self.buffer)?;
        if self.buffer.pop() != Some(b'\n') {
            return Err(self.truncated());
        }
        match section {
            Section::Records => self.records += 1,
            Section::Rejects => self.rejects += 1,
        }
        Ok(Some((section, self.records + self.rejects + 1)))
    }

    fn truncated(&self) -> RecordError {
        if self.records < self.header.records {
            RecordError::Truncated { what: "records", expected: self.header.records, found: self.records }
        } else {
            RecordError::Truncated { what: "rejects", expected: self.header.rejects, found: self.rejects }
        }
    }
}
