//! Layouts with a folder per value, named as Hive does.
//!
//! A dataset that was paid for is always written. A record whose value can't name a folder, or comes after the last
//! folder that a dataset may have, stands in the folder [`FALLBACK`]; the manifest and the card say how many do and why.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use windrow_core::Timestamp;

use super::ExportError;
use crate::record::RawRecord;

/// What Hive calls the folder of null (`hive.exec.default.partition.name`).
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The folder of the records that have none of their own.
pub const FALLBACK: &str = "__OTHER__";

/// The most folders of values; the folders of null and [`FALLBACK`] come on top. Each takes a file and a row group in
/// memory for each format, and with more nobody wants to open them.
pub const MAX_FOLDERS: usize = 500;

/// File systems allow 255 bytes a name.
const MAX_NAME: usize = 240;

/// The longest name of a field, escaped, that leaves room for a value.
const MAX_KEY: usize = 120;

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

    /// Why no record could ever stand in a folder of its own, as far as the field's name tells.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub fn check(&self) -> Result<(), String> {
        match self.key().map(|key| escape(key).len()) {
            Some(length) if length > MAX_KEY => Err(format!(
                "the field's name takes {length} bytes in the folders' names, at most {MAX_KEY} are possible; choose another field"
            )),
            _ => Ok(()),
        }
    }

    /// The folder that a record's value names, such as `language=en`; none for the layout without folders.
    fn own_folder(&self, record: &RawRecord<'_>) -> Result<Option<Own>, ExportError> {
        let Some(key) = self.key() else { return Ok(None) };
        let value: Cow<'_, str> = match self {
            Self::Field(name) => match record.field(name).map(serde_json::value::RawValue::get) {
                None | Some("null") => return Ok(Some(Own::Null(folder(key, NULL)))),
                Some(text) if text.starts_with('"') => {
                    Cow::Owned(escape(&serde_json::from_str::<String>(text)?))
                }
                Some(text) if text.starts_with(['[', '{']) => {
                    return Ok(Some(Own::Unnameable(FallbackReason::ListOrObject)));
                }
                Some(scalar) => Cow::Owned(escape(scalar)),
            },
            _ => Cow::Owned(created_at(record)?.date()),
        };
        let folder = folder(key, &value);
        Ok(Some(match folder.len() {
            0..=MAX_NAME => Own::Named(folder),
            _ => Own::Unnameable(FallbackReason::TooLong),
        }))
    }

    /// The folder that a record goes to; none for the layout without folders.
    pub(super) fn folder(
        &self,
        record: &RawRecord<'_>,
        folders: &Folders,
    ) -> Result<Option<String>, ExportError> {
        let Some(key) = self.key() else { return Ok(None) };
        Ok(Some(match self.own_folder(record)? {
            Some(Own::Null(null)) => null,
            Some(Own::Named(name)) if folders.named.contains(&name) => name,
            _ => folder(key, FALLBACK),
        }))
    }
}

fn folder(key: &str, value: &str) -> String {
    format!("{}={value}", escape(key))
}

/// What a record's value says of its folder.
enum Own {
    Null(String),
    Named(String),
    Unnameable(FallbackReason),
}

/// Why a record has no folder of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FallbackReason {
    /// The value is a list or an object.
    ListOrObject,
    /// The folder's name would be longer than file systems allow.
    TooLong,
    /// [`MAX_FOLDERS`] other values came before.
    TooManyValues,
}

impl FallbackReason {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ListOrObject => "list_or_object",
            Self::TooLong => "too_long",
            Self::TooManyValues => "too_many_values",
        }
    }
}

/// The folders of a dataset, known from a look at all records before the first is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folders {
    named: HashSet<String>,
    fallback: BTreeMap<FallbackReason, u64>,
}

impl Folders {
    /// Makes room for a record, in the order of their indices.
    ///
    /// # Errors
    /// When the record's time or value can't be read.
    pub fn observe(&mut self, by: &PartitionBy, record: &RawRecord<'_>) -> Result<(), ExportError> {
        let reason = match by.own_folder(record)? {
            None | Some(Own::Null(_)) => return Ok(()),
            Some(Own::Named(name)) if self.named.contains(&name) => return Ok(()),
            Some(Own::Named(name)) if self.named.len() < MAX_FOLDERS => {
                self.named.insert(name);
                return Ok(());
            }
            Some(Own::Named(_)) => FallbackReason::TooManyValues,
            Some(Own::Unnameable(reason)) => reason,
        };
        *self.fallback.entry(reason).or_default() += 1;
        Ok(())
    }

    /// How many records stand in [`FALLBACK`], and why.
    pub fn fallback(&self) -> &BTreeMap<FallbackReason, u64> {
        &self.fallback
    }
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
