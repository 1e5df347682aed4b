//! What is known about an object beside its bytes.

use serde::{Deserialize, Serialize};
use windrow_core::Timestamp;

use crate::error::BlobError;
use crate::key::ObjectKey;

const MAX_VALUE: usize = 255;

/// What a caller says about an object when putting it. The owner is in the key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectAttributes {
    /// A media type, such as `application/pdf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Where it came from, such as `upload`, `generate`, `sample`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_type: Option<String>,
}

impl ObjectAttributes {
    pub fn of_type(content_type: impl Into<String>) -> Self {
        Self { content_type: Some(content_type.into()), source_type: None }
    }

    #[must_use]
    pub fn from_source(mut self, source_type: impl Into<String>) -> Self {
        self.source_type = Some(source_type.into());
        self
    }

    pub const fn is_empty(&self) -> bool {
        self.content_type.is_none() && self.source_type.is_none()
    }

    /// Values become HTTP headers: printable ASCII only.
    pub(crate) fn check(&self) -> Result<(), BlobError> {
        for (name, value) in [("content type", &self.content_type), ("source type", &self.source_type)] {
            let Some(value) = value else { continue };
            let printable = value.bytes().all(|b| (0x20..0x7f).contains(&b));
            if value.is_empty() || value.len() > MAX_VALUE || !printable {
                return Err(BlobError::InvalidAttribute(format!(
                    "the {name} of an object must be 1 to {MAX_VALUE} printable ASCII characters, not {value:?}"
                )));
            }
        }
        Ok(())
    }
}

/// A stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    pub key: ObjectKey,
    /// In bytes.
    pub size: u64,
    /// Names this version of the object; for `If-Match`. Without quotes.
    pub etag: Option<String>,
    /// When this version was put.
    pub created: Timestamp,
    pub attributes: ObjectAttributes,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutReceipt {
    /// In bytes.
    pub size: u64,
    pub etag: Option<String>,
    /// Of the bytes as they were handed over.
    pub sha256: [u8; 32],
}
