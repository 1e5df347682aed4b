//! JSON records: one text at a time, a single object, an array of any length.

use serde_json::Value;

use super::source::Source;
use super::{SeedError, SeedRow};

/// What is wrong with the text of a record.
#[derive(Debug)]
pub(super) enum Problem {
    /// Not JSON: where its end is isn't certain either.
    Syntax { line: usize, column: usize, message: String },
    /// JSON, but not one that can be a record.
    Content(String),
}

impl Problem {
    /// The message when the text stands on one line.
    pub(super) fn on_one_line(self) -> String {
        match self {
            Self::Syntax { column, message, .. } => format!("not valid JSON: {message} at column {column}"),
            Self::Content(message) => message,
        }
    }
}

pub(super) fn too_long(limit: usize) -> String {
    format!("the record is longer than {limit} bytes")
}

/// Whether a line is a complete JSON object.
pub(super) fn is_object(line: &[u8]) -> bool {
    matches!(serde_json::from_slice(line), Ok(Value::Object(_)))
}

/// Reads the text of one record.
pub(super) fn record(bytes: &[u8]) -> Result<Value, Problem> {
    let text = utf8(bytes)?;
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let full = error.to_string();
        let message = full.split(" at line ").next().unwrap_or(&full);
        if message.contains("recursion limit") {
            return Problem::Content("the record nests deeper than 127 levels".to_owned());
        }
        let message = if bytes.contains(&0) { "a NUL character".to_owned() } else { message.to_owned() };
        Problem::Syntax { line: error.line(), column: error.column(), message }
    })?;
    if !value.is_object() {
        let kind = kind(&value);
        return Err(Problem::Content(format!(
            "the record is {kind}; a record is an object with named fields"
        )));
    }
    // Most records have no such escape, so the walk through the value is rare.
    if text.contains("\\u0000") && has_nul(&value) {
        return Err(Problem::Content(
            "a text has a NUL character (\\u0000), which can't be stored".to_owned(),
        ));
    }
    Ok(value)
}

pub(super) fn utf8(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|error| {
        Problem::Content(format!(
            "not valid UTF-8 at byte {} of the record; save the file as UTF-8",
            error.valid_up_to() + 1
        ))
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(k, v)| k.contains('\0') || has_nul(v)),
        _ => false,
    }
}

/// A file that is one object.
pub(super) fn single(source: &mut Source<'_>, buffer: &mut Vec<u8>) -> Result<SeedRow, SeedError> {
    let row = element(source, buffer)?;
    if let Some((line, byte)) = next_significant(source)? {
        let found = char::from(byte);
        let message =
            format!("'{found}' after the end of the object; put several records into a list, or one a line");
        return Err(SeedError::broken(line, message));
    }
    Ok(row)
}

/// A file that is a list of objects.
#[derive(Debug, Default)]
pub(super) struct Array {
    begun: bool,
}

impl Array {
    pub(super) fn next(
        &mut self,
        source: &mut Source<'_>,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<SeedRow>, SeedError> {
        let unclosed = |line| SeedError::broken(line, "the file ends before the list's closing ]");
        let first = !self.begun;
        if first {
            source.consume(1, 0);
            self.begun = true;
        }
        let (line, byte) = next_significant(source)?.ok_or_else(|| unclosed(source.line))?;
        match byte {
            b']' => {
                source.consume(1, 0);
                return match next_significant(source)? {
                    None => Ok(None),
                    Some((line, _)) => {
                        Err(SeedError::broken(line, "there is data after the list's closing ]"))
                    }
                };
            }
            b',' if !first => source.consume(1, 0),
            _ if first => {}
            other => {
                let message = format!("expected , or ] after a record, found '{}'", char::from(other));
                return Err(SeedError::broken(line, message));
            }
        }
        next_significant(source)?.ok_or_else(|| unclosed(source.line))?;
        element(source, buffer).map(Some)
    }
}

/// Skips blanks; says what comes next, and on which line.
fn next_significant(source: &mut Source<'_>) -> Result<Option<(u64, u8)>, SeedError> {
    loop {
        let chunk = source.fill()?;
        if chunk.is_empty() {
            return Ok(None);
        }
        let blanks = chunk.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')).count();
        let newlines = chunk[..blanks].iter().filter(|b| **b == b'\n').count();
        let next = chunk.get(blanks).copied();
        source.consume(blanks, newlines);
        if let Some(byte) = next {
            return Ok(Some((source.line, byte)));
        }
    }
}

/// Reads one value of a file: finds its end by brackets and quotes, then parses it.
fn element(source: &mut Source<'_>, buffer: &mut Vec<u8>) -> Result<SeedRow, SeedError> {
    let (line, offset) = (source.line, source.offset);
    let limit = source.limits.max_record_bytes;
    let mut scan = Scan::default();
    let mut over_long = false;
    loop {
        let chunk = source.fill()?;
        if chunk.is_empty() {
            let message = format!("the file ends in the middle of the record that begins on line {line}");
            return Err(SeedError::broken(source.line, message));
        }
        let (used, done) = scan.run(chunk);
        over_long |= buffer.len() + used > limit;
        if !over_long {
            buffer.extend_from_slice(&chunk[..used]);
        }
        let newlines = chunk[..used].iter().filter(|b| **b == b'\n').count();
        source.consume(used, newlines);
        if done {
            break;
        }
    }
    if over_long {
        return Err(SeedError::record(line, too_long(limit)));
    }
    if buffer.is_empty() {
        return Err(SeedError::broken(line, "a comma must be followed by another record"));
    }
    match record(buffer) {
        Ok(record) => Ok(SeedRow { line, offset, record }),
        Err(Problem::Content(message)) => Err(SeedError::record(line, message)),
        Err(Problem::Syntax { line: within, column, message }) => {
            let line = line + (within.max(1) - 1) as u64;
            Err(SeedError::broken(
                line,
                format!("not valid JSON: {message} (column {column} of the record's line)"),
            ))
        }
    }
}

/// Where a JSON value ends.
#[derive(Debug, Default)]
struct Scan {
    depth: u64,
    in_text: bool,
    escaped: bool,
}

impl Scan {
    /// How many bytes of the chunk belong to the value, and whether it ends there.
    fn run(&mut self, chunk: &[u8]) -> (usize, bool) {
        for (i, byte) in chunk.iter().enumerate() {
            if self.in_text {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.in_text = false;
                        if self.depth == 0 {
                            return (i + 1, true);
                        }
                    }
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_text = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth > 1 => self.depth -= 1,
                b'}' | b']' if self.depth == 1 => return (i + 1, true),
                b'}' | b']' | b',' | b' ' | b'\t' | b'\r' | b'\n' if self.depth == 0 => return (i, true),
                _ => {}
            }
        }
        (chunk.len(), false)
    }
}
