//! Layouts with a folder per value, named as Hive does.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use windrow_core::Timestamp;

use super::ExportError;
use crate::record::RawRecord;

/// What Hive calls the folder of null (`hive.exec.default.partition.name`).
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// File systems allow 255 bytes a name.
const MAX_NAME: usize = 240;

/// How a dataset is spread over folders. As text: `none`, `date`, or the name of an output field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PartitionBy {
    /// One file a format.
    #[default]
    None,
    /// A folder a day of `created_at` (UTC): `date=2026-01-31/`.
    Date,
    /// A folder a value of an output field: `language=en/`.
    Field(String),
}

impl PartitionBy {
    /// The key of the folders' names.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Date => Some("date"),
            Self::Field(name) => Some(name),
        }
    }

    /// The folder of a record, such as `language=en`; none for the layout without folders.
    pub(super) fn folder(&self, record: &RawRecord<'_>) -> Result<Option<String>, ExportError> {
        let Some(key) = self.key() else { return Ok(None) };
        let value: Cow<'_, str> = match self {
            Self::Field(name) => match record.field(name).map(serde_json::value::RawValue::get) {
                None | Some("null") => Cow::Borrowed(NULL),
                Some(text) if text.starts_with('"') => {
                    Cow::Owned(escape(&serde_json::from_str::<String>(text)?))
                }
                Some(scalar) => Cow::Owned(escape(scalar)),
            },
            _ => Cow::Owned(day(record)?),
        };
        let folder = format!("{}={value}", escape(key));
        if folder.len() > MAX_NAME {
            let reason = format!(
                "the value in record {} makes a folder name of {} bytes, at most {MAX_NAME} are possible",
                record.index,
                folder.len()
            );
            return Err(ExportError::Partition { field: key.to_owned(), reason });
        }
        Ok(Some(folder))
    }
}

/// The day (UTC) that a record was made on.
fn day(record: &RawRecord<'_>) -> Result<String, ExportError> {
    created_at(record).map(Timestamp::date)
}

pub(super) fn created_at(record: &RawRecord<'_>) -> Result<Timestamp, ExportError> {
    record.created_at.parse().map_err(|_| ExportError::Unfit {
        column: "created_at".to_owned(),
        index: record.index,
        reason: format!("{:?} is not an RFC 3339 time", record.created_at),
    })
}

/// Escapes a name or value as Hive does (`FileUtils.escapePathName` of Apache Hive): control characters and the
/// characters that paths or shells take for their own become `%XX`.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        let special = matches!(
            c,
            '"' | '#' | '%' | '\'' | '*' | '/' | ':' | '=' | '?' | '\\' | '{' | '[' | ']' | '^' | '\u{7f}'
        );
        if special || c < ' ' {
            escaped.push_str(&format!("%{:02X}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

impl fmt::Display for PartitionBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.key().unwrap_or("none"))
    }
}

impl FromStr for PartitionBy {
    type Err = ExportError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err(ExportError::Partition {
                field: String::new(),
                reason: "it is none, date, or the name of an output field".to_owned(),
            }),
            "none" => Ok(Self::None),
            "date" => Ok(Self::Date),
            field => Ok(Self::Field(field.to_owned())),
        }
    }
}

impl Serialize for PartitionBy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PartitionBy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
