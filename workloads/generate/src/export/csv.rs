//! CSV by RFC 4180: CRLF, a header row, quotes where a field needs them.
//!
//! Texts stand as they are, numbers and booleans as in JSON, lists and objects as JSON text; null and absent are an
//! empty field, the empty text is `""`. What a text holds is never changed: a value that begins with `=`, `+`, `-` or
//! `@` may be taken for a formula by a spreadsheet, so open untrusted datasets there as text
//! (<https://owasp.org/www-community/attacks/CSV_Injection>).

use memchr::{memchr, memchr_iter};
use serde_json::value::RawValue;

use super::plan::{LEADING, Plan};
use crate::record::RawRecord;

/// The header row.
pub(super) fn header(plan: &Plan) -> Vec<u8> {
    let mut row = Vec::new();
    let output = plan.columns.output.keys().map(String::as_str);
    for (position, name) in LEADING.into_iter().chain(output).chain(["meta"]).enumerate() {
        if position > 0 {
            row.push(b',');
        }
        text(&mut row, name);
    }
    row.extend_from_slice(b"\r\n");
    row
}

/// Appends the record's row.
pub(super) fn append(
    out: &mut Vec<u8>,
    record: &RawRecord<'_>,
    row: &[Option<&RawValue>],
) -> Result<(), serde_json::Error> {
    text(out, &record.id);
    out.push(b',');
    text(out, &record.job_id);
    out.push(b',');
    out.extend_from_slice(record.index.to_string().as_bytes());
    out.push(b',');
    text(out, &record.created_at);
    out.push(b',');
    text(out, &record.seed_data_id);
    for value in row {
        out.push(b',');
        if let Some(value) = value {
            field(out, value.get())?;
        }
    }
    out.push(b',');
    quoted(out, record.meta.get());
    out.extend_from_slice(b"\r\n");
    Ok(())
}

fn field(out: &mut Vec<u8>, json: &str) -> Result<(), serde_json::Error> {
    match json.as_bytes().first() {
        Some(b'"') => {
            let inner = &json[1..json.len() - 1];
            if memchr(b'\\', inner.as_bytes()).is_some() {
                text(out, &serde_json::from_str::<String>(json)?);
            } else if inner.is_empty() || memchr(b',', inner.as_bytes()).is_some() {
                // JSON has neither quotes nor line breaks in a text without escapes
                out.push(b'"');
                out.extend_from_slice(inner.as_bytes());
                out.push(b'"');
            } else {
                out.extend_from_slice(inner.as_bytes());
            }
        }
        Some(b'{' | b'[') => quoted(out, json),
        _ if json == "null" => {}
        _ => out.extend_from_slice(json.as_bytes()),
    }
    Ok(())
}

fn text(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    if bytes.is_empty()
        || memchr::memchr3(b'"', b'\r', b'\n', bytes).is_some()
        || memchr(b',', bytes).is_some()
    {
        quoted(out, text);
    } else {
        out.extend_from_slice(bytes);
    }
}

fn quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut copied = 0;
    for quote in memchr_iter(b'"', text.as_bytes()) {
        out.extend_from_slice(&text.as_bytes()[copied..=quote]);
        out.push(b'"');
        copied = quote + 1;
    }
    out.extend_from_slice(&text.as_bytes()[copied..]);
    out.push(b'"');
}
