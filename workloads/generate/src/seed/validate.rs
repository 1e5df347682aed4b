//! A whole seed file against what a template requires.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::path::Found;
use super::{BadRecord, FieldPath, SeedError, SeedFormat, SeedIndex, SeedReader, SeedRow};

/// How many bad records a report names.
pub const MAX_BAD_RECORDS: usize = 20;

/// What was found in a seed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedReport {
    pub format: SeedFormat,
    pub gzip: bool,
    pub valid: u64,
    pub invalid: u64,
    /// The first [`MAX_BAD_RECORDS`] bad ones.
    pub bad: Vec<BadRecord>,
    /// The size of the file, uncompressed, in bytes.
    pub bytes: u64,
}

/// Checks every record of a file: each required path must exist and be non-null.
///
/// # Errors
/// When the file is broken somewhere, or can't be read. Bad records are no error; they are in the report.
pub fn validate(reader: SeedReader<'_>, requirements: &[FieldPath]) -> Result<SeedReport, SeedError> {
    check(reader, requirements, |_| Ok(()))
}

/// Checks as [`validate`] does, and writes each valid record to `out` as one line of compact JSON.
///
/// # Errors
/// Those of [`validate`], and `out`'s own.
pub fn normalise(
    reader: SeedReader<'_>,
    requirements: &[FieldPath],
    out: &mut impl Write,
) -> Result<(SeedReport, SeedIndex), SeedError> {
    let mut index = SeedIndex::default();
    let mut line = Vec::new();
    let report = check(reader, requirements, |row| {
        line.clear();
        serde_json::to_writer(&mut line, &row.record).map_err(io::Error::from)?;
        line.push(b'\n');
        out.write_all(&line)?;
        index.push(line.len()).map_err(io::Error::other)?;
        Ok(())
    })?;
    out.flush()?;
    Ok((report, index))
}

fn check(
    mut reader: SeedReader<'_>,
    requirements: &[FieldPath],
    mut take: impl FnMut(&SeedRow) -> Result<(), SeedError>,
) -> Result<SeedReport, SeedError> {
    let mut report = SeedReport {
        format: reader.format(),
        gzip: reader.is_gzip(),
        valid: 0,
        invalid: 0,
        bad: Vec::new(),
        bytes: 0,
    };
    for row in reader.by_ref() {
        let bad = match row {
            Ok(row) => match unmet(&row.record, requirements) {
                None => {
                    take(&row)?;
                    report.valid += 1;
                    continue;
                }
                Some((path, message)) => BadRecord { line: row.line, path: Some(path.to_string()), message },
            },
            Err(SeedError::Record(bad)) => bad,
            Err(error) => return Err(error),
        };
        report.invalid += 1;
        if report.bad.len() < MAX_BAD_RECORDS {
            report.bad.push(bad);
        }
    }
    report.bytes = reader.bytes_read();
    Ok(report)
}

/// The first required path that a record doesn't have, and what is wrong there.
pub fn unmet<'p>(record: &Value, requirements: &'p [FieldPath]) -> Option<(&'p FieldPath, String)> {
    requirements.iter().find_map(|path| match path.find(record) {
        Found::Value => None,
        Found::Null => Some((path, format!("{path} is null or empty; the template requires it"))),
        Found::Missing => Some((path, format!("{path} is missing; the template requires it"))),
    })
}
