//! Objects: what a run reads and writes in storage.

use std::ops::Range;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _};
use windrow_api_types::worker::StoredObject;
use windrow_core::JobError;

use super::{JobContext, RunError};
use crate::{EngineError, ObjectStream, PutPlace};

/// The largest object that [`JobContext::asset`] reads.
const MAX_ASSET_BYTES: usize = 64 * 1024 * 1024;

impl JobContext {
    /// An object's bytes, or a range of them, as a stream. The job's owner's objects and the shared ones can be read.
    pub async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<ObjectStream, RunError> {
        let inner = &self.inner;
        let stream = self.insist(|| inner.services.engine.get(inner.lease.run, key, range.clone())).await?;
        Ok(self.noting(stream))
    }

    /// An object of at most `max` bytes, or a range of one, in memory.
    pub async fn get_bytes(
        &self,
        key: &str,
        range: Option<Range<u64>>,
        max: usize,
    ) -> Result<Bytes, RunError> {
        let inner = &self.inner;
        self.insist(|| async {
            let stream = inner.services.engine.get(inner.lease.run, key, range.clone()).await?;
            read_all(self.noting(stream), key, max).await
        })
        .await
    }

    /// A shared, immutable object (a bundled data set), cached in this process.
    pub async fn asset(&self, key: &str) -> Result<Bytes, RunError> {
        self.asset_up_to(key, MAX_ASSET_BYTES).await
    }

    /// The same of at most `max` bytes, where the caller knows how large it may be.
    pub async fn asset_up_to(&self, key: &str, max: usize) -> Result<Bytes, RunError> {
        let inner = &self.inner;
        let read = || async {
            let stream = inner.services.engine.get(inner.lease.run, key, None).await?;
            read_all(self.noting(stream), key, max).await
        };
        self.insist(|| inner.services.assets.get(key, read())).await
    }

    /// What is being read is progress: a large input may take longer than the stall limit.
    fn noting(&self, stream: ObjectStream) -> ObjectStream {
        let context = self.clone();
        stream.inspect_ok(move |_| context.note_progress()).boxed()
    }

    /// Puts an object under the job's own part of `prefix` (`checkpoints`, `outputs`, `artifacts`, `generated`). `name` is
    /// unique within the run; the key that comes back is unique in the installation.
    pub async fn put(
        &self,
        prefix: &str,
        name: &str,
        content_type: &str,
        bytes: Bytes,
    ) -> Result<StoredObject, RunError> {
        let inner = &self.inner;
        let place = PutPlace { prefix, name, content_type };
        let stored = self.insist(|| inner.services.engine.put(inner.lease.run, place, bytes.clone())).await?;
        self.note_progress();
        Ok(stored)
    }

    /// The same from a local file, streamed.
    pub async fn put_file(
        &self,
        prefix: &str,
        name: &str,
        content_type: &str,
        file: &Path,
    ) -> Result<StoredObject, RunError> {
        let inner = &self.inner;
        let place = PutPlace { prefix, name, content_type };
        let stored = self.insist(|| inner.services.engine.put_file(inner.lease.run, place, file)).await?;
        self.note_progress();
        Ok(stored)
    }
}

async fn read_all(mut stream: ObjectStream, key: &str, max: usize) -> Result<Bytes, EngineError> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| EngineError::Unavailable(format!("{key}: {error}")))?;
        if bytes.len() + chunk.len() > max {
            let problem = format!("the object {key} is larger than {max} bytes");
            return Err(EngineError::Job(JobError::permanent("object_too_large", problem)));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}
