//! Which format a file has, and its records.

use std::io::Read;

use super::source::{LineRead, Source};
use super::{SeedError, SeedFormat, SeedLimits, SeedRow, csv, json};

/// The records of a seed file, one after another.
///
/// An item of [`SeedError::Record`] is one bad record; after any other error the iterator has ended.
pub struct SeedReader<'a> {
    source: Source<'a>,
    rows: Rows,
    buffer: Vec<u8>,
    /// How many records there were so far.
    seen: u64,
    max_records: u64,
    ended: bool,
}

enum Rows {
    Jsonl,
    Array(json::Array),
    Object,
    Csv(csv::Table),
}

impl std::fmt::Debug for SeedReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeedReader").field("format", &self.format()).field("line", &self.source.line).finish()
    }
}

impl<'a> SeedReader<'a> {
    /// Looks at the first bytes and finds out what the file is.
    ///
    /// # Errors
    /// [`SeedError::Broken`] for an empty file, for what is neither text nor gzip of text, and for a CSV header that
    /// can't be used; [`SeedError::Io`] when the input fails.
    pub fn open(input: impl Read + Send + 'a, limits: SeedLimits) -> Result<Self, SeedError> {
        Self::open_watched(input, limits, |_| Ok(()))
    }

    /// The same, where somebody may end the reading: `watch` is asked before each read of uncompressed bytes, with how many came
    /// before, and its error is the reader's last item. Few compressed bytes can hold very many.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_watched(
        input: impl Read + Send + 'a,
        limits: SeedLimits,
        watch: impl FnMut(u64) -> std::io::Result<()> + Send + 'a,
    ) -> Result<Self, SeedError> {
        let max_records = limits.max_records;
        let mut source = Source::open(input, limits, Box::new(watch))?;
        skip_mark_and_blanks(&mut source)?;
        let (line, offset) = (source.line, source.offset);
        let first = source.fill()?.first().copied();
        let rows = match first {
            None => {
                return Err(SeedError::broken(line, "the file is empty; it must have at least one record"));
            }
            Some(b'[') => Rows::Array(json::Array::default()),
            Some(b'{') => sniff_object(&mut source)?,
            Some(_) => {
                binary(source.fill()?, line)?;
                Rows::Csv(csv::Table::open(&mut source)?)
            }
        };
        if matches!(rows, Rows::Jsonl | Rows::Object) {
            (source.line, source.offset) = (line, offset);
        }
        Ok(Self { source, rows, buffer: Vec::new(), seen: 0, max_records, ended: false })
    }

    pub fn format(&self) -> SeedFormat {
        match self.rows {
            Rows::Jsonl => SeedFormat::Jsonl,
            Rows::Array(_) | Rows::Object => SeedFormat::Json,
            Rows::Csv(_) => SeedFormat::Csv,
        }
    }

    /// Whether the file is compressed with gzip.
    pub fn is_gzip(&self) -> bool {
        self.source.gzip
    }

    /// How many bytes were read so far, uncompressed.
    pub fn bytes_read(&self) -> u64 {
        self.source.offset
    }

    fn next_row(&mut self) -> Result<Option<SeedRow>, SeedError> {
        self.buffer.clear();
        match &mut self.rows {
            Rows::Jsonl => next_line(&mut self.source, &mut self.buffer),
            Rows::Array(array) => array.next(&mut self.source, &mut self.buffer),
            Rows::Object => {
                self.ended = true;
                json::single(&mut self.source, &mut self.buffer).map(Some)
            }
            Rows::Csv(table) => table.next(&mut self.source, &mut self.buffer),
        }
    }
}

impl Iterator for SeedReader<'_> {
    type Item = Result<SeedRow, SeedError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let mut item = self.next_row().transpose();
        self.seen += u64::from(item.is_some());
        if item.is_some() && self.seen > self.max_records {
            let problem =
                format!("the data has more than {} records, the most that can be used", self.max_records);
            item = Some(Err(SeedError::broken(self.source.line, problem)));
        }
        if !matches!(item, Some(Ok(_) | Err(SeedError::Record(_)))) {
            self.ended = true;
        }
        item
    }
}

fn skip_mark_and_blanks(source: &mut Source<'_>) -> Result<(), SeedError> {
    let chunk = source.fill()?;
    if chunk.starts_with(b"\xff\xfe") || chunk.starts_with(b"\xfe\xff") {
        return Err(SeedError::broken(1, "the file is UTF-16; save it as UTF-8"));
    }
    if chunk.starts_with(b"\xef\xbb\xbf") {
        source.consume(3, 0);
    }
    loop {
        let chunk = source.fill()?;
        let blanks = chunk.iter().take_while(|b| b.is_ascii_whitespace()).count();
        if blanks == 0 {
            return Ok(());
        }
        let newlines = chunk[..blanks].iter().filter(|b| **b == b'\n').count();
        source.consume(blanks, newlines);
    }
}

/// What begins with an object is JSONL when its first or second line is an object of its own, so that a broken first
/// line doesn't hide the rest; else it is one object over many lines.
fn sniff_object(source: &mut Source<'_>) -> Result<Rows, SeedError> {
    let mut head = Vec::new();
    let mut is_jsonl = false;
    for _ in 0..2 {
        let start = head.len();
        let limit = source.limits.max_record_bytes;
        let mut line = Vec::new();
        let read = source.read_line(&mut line)?;
        if read == LineRead::TooLong {
            return Err(SeedError::broken(source.line, json::too_long(limit)));
        }
        head.extend_from_slice(&line);
        if json::is_object(&head[start..]) {
            is_jsonl = true;
            break;
        }
    }
    source.rewind_to(head);
    Ok(if is_jsonl { Rows::Jsonl } else { Rows::Object })
}

/// Refuses what is no text before it becomes a table of nonsense.
fn binary(chunk: &[u8], line: u64) -> Result<(), SeedError> {
    let what = if chunk.starts_with(b"PK\x03\x04") {
        "a ZIP archive or an Office document"
    } else if chunk.starts_with(b"PAR1") {
        "a Parquet file"
    } else if chunk.starts_with(b"%PDF") {
        "a PDF"
    } else if chunk.starts_with(&[0x1f, 0x8b]) {
        "gzip within gzip"
    } else if chunk.split(|b| *b == b'\n').next().is_some_and(|header| header.contains(&0)) {
        "binary data (it has NUL bytes)"
    } else {
        return Ok(());
    };
    let message = format!("this is {what}; seed data is JSON, JSONL or CSV, or gzip of one of these");
    Err(SeedError::broken(line, message))
}

fn next_line(source: &mut Source<'_>, buffer: &mut Vec<u8>) -> Result<Option<SeedRow>, SeedError> {
    loop {
        buffer.clear();
        let (line, offset) = (source.line, source.offset);
        match source.read_line(buffer)? {
            LineRead::End => return Ok(None),
            LineRead::TooLong => {
                return Err(SeedError::record(line, json::too_long(source.limits.max_record_bytes)));
            }
            LineRead::Line if buffer.iter().all(u8::is_ascii_whitespace) => {}
            LineRead::Line => {
                let record = json::record(buffer.trim_ascii_end())
                    .map_err(|problem| SeedError::record(line, problem.on_one_line()))?;
                return Ok(Some(SeedRow { line, offset, record }));
            }
        }
    }
}
