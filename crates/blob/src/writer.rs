//! Objects written piece by piece.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use object_store::{MultipartUpload, WriteMultipart};
use sha2::{Digest, Sha256};

use crate::attributes::{ObjectAttributes, PutReceipt};
use crate::error::BlobError;
use crate::key::ObjectKey;
use crate::retry::count_error;
use crate::store::Inner;

/// S3 takes parts from 5 MiB on and at most 10,000 of them: 8 MiB allows objects of 78 GiB
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
const PART: usize = 8 * 1024 * 1024;
/// Parts in flight; with the one being filled this bounds a writer's memory.
const IN_FLIGHT: usize = 2;

/// An object in the making; see [`crate::BlobStore::writer`].
pub struct BlobWriter {
    inner: Arc<Inner>,
    key: ObjectKey,
    attributes: ObjectAttributes,
    upload: WriteMultipart,
    max_size: Option<u64>,
    size: u64,
    sha256: Sha256,
}

impl fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobWriter").field("key", &self.key).field("size", &self.size).finish()
    }
}

impl BlobWriter {
    pub(crate) fn new(
        inner: Arc<Inner>,
        key: ObjectKey,
        attributes: ObjectAttributes,
        upload: Box<dyn MultipartUpload>,
        max_size: Option<u64>,
    ) -> Self {
        let upload = WriteMultipart::new_with_chunk_size(upload, PART);
        Self { inner, key, attributes, upload, max_size, size: 0, sha256: Sha256::new() }
    }

    /// How many bytes were written so far.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds bytes; waits while too much is in flight.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`] before the limit is passed, [`BlobError::NoSpace`] and the general ones. After an error
    /// the writer is of no further use: drop it, and nothing of the object remains.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        let size = self.size.saturating_add(bytes.len() as u64);
        if let Some(max) = self.max_size.filter(|max| size > *max) {
            return Err(BlobError::TooLarge { key: self.key.to_string(), max });
        }
        self.upload.wait_for_capacity(IN_FLIGHT).await.map_err(|e| failed(&self.key, &e))?;
        self.sha256.update(&bytes);
        // A copy into the part's buffer: a thousand small records must not keep a thousand allocations alive.
        self.upload.write(&bytes);
        self.size = size;
        Ok(())
    }

    /// Ends the object: it stands under its key, on disk, when this returns.
    ///
    /// # Errors
    /// [`BlobError::NoSpace`] and the general ones; then nothing of it remains.
    pub async fn finish(self) -> Result<PutReceipt, BlobError> {
        self.inner.put_attributes(&self.key, &self.attributes).await?;
        let result = self.upload.finish().await.map_err(|e| failed(&self.key, &e))?;
        Ok(PutReceipt { size: self.size, etag: result.e_tag, sha256: self.sha256.finalize().into() })
    }

    /// Gives the object up; on remote storage this frees its parts.
    ///
    /// # Errors
    /// The general ones.
    pub async fn abort(self) -> Result<(), BlobError> {
        self.upload.abort().await.map_err(|e| failed(&self.key, &e))
    }
}

fn failed(key: &ObjectKey, error: &object_store::Error) -> BlobError {
    let error = BlobError::from_store(key.as_str(), error);
    count_error("put", &error);
    error
}
