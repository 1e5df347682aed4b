//! CSV by RFC 4180 with a header row. Commas, semicolons and tabs are told apart by the header; line ends are LF or
//! CRLF. Every value is a text; an empty field is null, so that it counts as absent. A header such as
//! `author.biography` or `poems[0].text` makes nested fields.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::source::{LineRead, Source};
use super::{FieldPath, SeedError, SeedRow, Segment, json};

/// The most columns of a table.
const MAX_COLUMNS: usize = 2_000;

#[derive(Debug)]
pub(super) struct Table {
    delimiter: u8,
    columns: Vec<FieldPath>,
}

impl Table {
    /// Reads the header row.
    pub(super) fn open(source: &mut Source<'_>) -> Result<Self, SeedError> {
        let mut buffer = Vec::new();
        let line = source.line;
        let mut table = Self { delimiter: b',', columns: Vec::new() };
        if !table.read_record(source, &mut buffer, true)? {
            return Err(SeedError::broken(line, "the header row is missing"));
        }
        let fields = table.fields(&buffer).map_err(|message| SeedError::broken(line, message))?;
        if fields.len() > MAX_COLUMNS {
            return Err(SeedError::broken(
                line,
                format!("{} columns; at most {MAX_COLUMNS} are read", fields.len()),
            ));
        }
        let mut columns: Vec<FieldPath> = Vec::with_capacity(fields.len());
        let mut skeleton = Value::Object(Map::new());
        for (i, name) in fields.iter().enumerate() {
            let name = name.trim();
            if name.is_empty() {
                let message = format!("column {} has no name; the first row is the header", i + 1);
                return Err(SeedError::broken(line, message));
            }
            let column = name.parse().unwrap_or_else(|_| FieldPath::field(name));
            if let Some(other) = columns.iter().find(|c| c.implies(&column) || column.implies(c)) {
                let message = format!("the columns {other} and {column} can't both be in one record");
                return Err(SeedError::broken(line, message));
            }
            place(&mut skeleton, column.segments(), Value::Null).map_err(|why| {
                SeedError::broken(line, format!("the column {column} can't be used: {why}"))
            })?;
            columns.push(column);
        }
        table.columns = columns;
        Ok(table)
    }

    pub(super) fn next(
        &mut self,
        source: &mut Source<'_>,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<SeedRow>, SeedError> {
        loop {
            buffer.clear();
            let (line, offset) = (source.line, source.offset);
            if !self.read_record(source, buffer, false)? {
                return Ok(None);
            }
            if buffer.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let record = self.record(buffer).map_err(|message| SeedError::record(line, message))?;
            return Ok(Some(SeedRow { line, offset, record }));
        }
    }

    /// Takes the lines of one record, which is more than one line when a quoted field has line ends. False at the end.
    fn read_record(
        &mut self,
        source: &mut Source<'_>,
        buffer: &mut Vec<u8>,
        is_header: bool,
    ) -> Result<bool, SeedError> {
        let line = source.line;
        let limit = source.limits.max_record_bytes;
        let mut place = Place::FieldStart;
        loop {
            let start = buffer.len();
            let read = source.read_line(buffer)?;
            if is_header && start == 0 {
                self.delimiter = delimiter(buffer);
            }
            place = place.after(&buffer[start..], self.delimiter);
            match (read, place) {
                (LineRead::End, Place::Quoted) => {
                    let message = "a quote that opens in this record is never closed";
                    return Err(SeedError::record(line, message));
                }
                (LineRead::End, _) => return Ok(start > 0),
                (LineRead::TooLong, Place::Quoted) => {
                    let message =
                        format!("a quote that opens in this record isn't closed within {limit} bytes");
                    return Err(SeedError::broken(line, message));
                }
                (LineRead::TooLong, _) => return Err(SeedError::record(line, json::too_long(limit))),
                (LineRead::Line, Place::Quoted) => {}
                (LineRead::Line, _) => return Ok(true),
            }
        }
    }

    fn fields<'b>(&self, record: &'b [u8]) -> Result<Vec<Cow<'b, str>>, String> {
        if record.contains(&0) {
            return Err("the row has a NUL character; is this a text file?".to_owned());
        }
        let text = json::utf8(record).map_err(json::Problem::on_one_line)?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        split(text.strip_suffix('\r').unwrap_or(text), char::from(self.delimiter))
    }

    fn record(&self, row: &[u8]) -> Result<Value, String> {
        let fields = self.fields(row)?;
        if fields.len() != self.columns.len() {
            return Err(format!(
                "the row has {} fields, the header has {}",
                fields.len(),
                self.columns.len()
            ));
        }
        let mut record = Value::Object(Map::with_capacity(fields.len()));
        for (column, field) in self.columns.iter().zip(fields) {
            let value = if field.is_empty() { Value::Null } else { Value::String(field.into_owned()) };
            place(&mut record, column.segments(), value)?;
        }
        Ok(record)
    }
}

/// The delimiter that a header uses most, outside quotes.
fn delimiter(header: &[u8]) -> u8 {
    let mut counts = [(b',', 0u32), (b';', 0), (b'\t', 0)];
    let mut quoted = false;
    for byte in header {
        quoted ^= *byte == b'"';
        for (delimiter, count) in &mut counts {
            *count += u32::from(!quoted && byte == delimiter);
        }
    }
    // The first of equals wins, so that a header without any has the comma.
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map_or(b',', |(delimiter, _)| delimiter)
}

/// Where in a record a byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    FieldStart,
    Unquoted,
    Quoted,
    /// After a quote within a quoted field: the end of the field, or the first half of a doubled quote.
    Quote,
}

impl Place {
    fn after(self, bytes: &[u8], delimiter: u8) -> Self {
        bytes.iter().fold(self, |place, byte| match (place, byte) {
            (Self::FieldStart | Self::Quote, b'"') => Self::Quoted,
            (Self::Quoted, b'"') => Self::Quote,
            (Self::Quoted, _) => Self::Quoted,
            (_, byte) if *byte == delimiter => Self::FieldStart,
            _ => Self::Unquoted,
        })
    }
}

/// The fields of one record without its line end.
fn split(text: &str, delimiter: char) -> Result<Vec<Cow<'_, str>>, String> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let number = fields.len() + 1;
        let after = if let Some(quoted) = rest.strip_prefix('"') {
            let end =
                closing_quote(quoted).ok_or_else(|| format!("the quote of field {number} is not closed"))?;
            let field = &quoted[..end];
            fields.push(if field.contains('"') { field.replace("\"\"", "\"").into() } else { field.into() });
            &quoted[end + 1..]
        } else {
            let end = rest.find(delimiter).unwrap_or(rest.len());
            if rest[..end].contains('"') {
                let why = "has a quote inside; put the field in quotes and double the quotes in it";
                return Err(format!("field {number} {why}"));
            }
            fields.push(rest[..end].into());
            &rest[end..]
        };
        match after.strip_prefix(delimiter) {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => return Err(format!("field {number} goes on after its closing quote")),
        }
    }
}

/// The position of the quote that is not doubled.
fn closing_quote(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        at += text[at..].find('"')?;
        if bytes.get(at + 1) != Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

/// Puts a value at a path, making objects and lists on the way. Whether it fits depends on the columns only, so what
/// fits for the header fits for every row.
fn place(node: &mut Value, path: &[Segment], value: Value) -> Result<(), &'static str> {
    let Some((segment, rest)) = path.split_first() else {
        *node = value;
        return Ok(());
    };
    let child = match (segment, &mut *node) {
        (Segment::Field(name), Value::Null | Value::Object(_)) => &mut node[name.as_str()],
        (Segment::Index(i), Value::Null | Value::Array(_)) => {
            if node.is_null() {
                *node = Value::Array(Vec::new());
            }
            let items = node.as_array_mut().ok_or("it is no list")?;
            if *i == items.len() {
                items.push(Value::Null);
            }
            items.get_mut(*i).ok_or("the positions of a list must be 0, 1, 2 and so on, in this order")?
        }
        _ => return Err("another column makes something else of the same field"),
    };
    place(child, rest, value)
}
