//! Objects of runs.

use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio_util::io::ReaderStream;
use windrow_api_types::worker::{RunRef, StoredObject};
use windrow_blob::{BlobError, BlobErrorClass, ByteRange, ObjectAttributes, ObjectKey, Prefix, PutReceipt};
use windrow_store::hot::{self, StorageUse};
use windrow_store::{StoreError, uploads};

use super::runs::Served;
use super::{LocalEngine, at};
use crate::{EngineError, ObjectStream, PutPlace, RUN_PREFIXES};

pub(super) const PUT: StorageUse = StorageUse { puts: 1, gets: 0 };
pub(super) const GET: StorageUse = StorageUse { puts: 0, gets: 1 };

/// Bytes a read of a local file.
const CHUNK: usize = 256 * 1024;

impl LocalEngine {
    pub(super) async fn get_object(
        &self,
        run: RunRef,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<ObjectStream, EngineError> {
        let served = self.served(run).await?;
        let key = readable(key, &served)?;
        let range = range.map(|range| ByteRange::Between(range.start, range.end));
        let verified = match key.prefix() {
            Prefix::SeedData | Prefix::Uploads | Prefix::Baseline => {
                uploads::verified_etag(&mut self.store().read().await?, key.as_str()).await?
            }
            _ => None,
        };
        let blob = &self.inner.parts.blob;
        let reader = blob.stream(&key, range, verified.as_deref()).await.map_err(blob_error)?;
        self.count_use(at(run, &served), GET).await?;
        Ok(reader.stream.map(|chunk| chunk.map_err(std::io::Error::other)).boxed())
    }

    pub(super) async fn put_bytes(
        &self,
        run: RunRef,
        place: PutPlace<'_>,
        bytes: Bytes,
    ) -> Result<StoredObject, EngineError> {
        let served = self.served(run).await?;
        let (key, attributes) = place_of(run, place, &served)?;
        match self.inner.parts.blob.put_if_absent(&key, bytes.clone(), &attributes).await {
            Ok(receipt) => {
                self.count_use(at(run, &served), PUT).await?;
                Ok(stored(&key, &receipt))
            }
            Err(BlobError::AlreadyExists { .. }) => {
                let sha256 = hex::encode(Sha256::digest(&bytes));
                self.same_object(
                    &key,
                    StoredObject { key: key.to_string(), size: bytes.len() as u64, sha256 },
                )
                .await
            }
            Err(error) => Err(blob_error(error)),
        }
    }

    pub(super) async fn put_local_file(
        &self,
        run: RunRef,
        place: PutPlace<'_>,
        file: &Path,
    ) -> Result<StoredObject, EngineError> {
        let unreadable = |error: std::io::Error| EngineError::Invalid(format!("{}: {error}", file.display()));
        let source = tokio::fs::File::open(file).await.map_err(unreadable)?;
        self.put_stream(run, place, ReaderStream::with_capacity(source, CHUNK)).await
    }

    /// [`Engine::put`](crate::Engine::put) of bytes that arrive over time.
    ///
    /// # Errors
    /// As there; [`EngineError::Invalid`] when the source breaks off.
    pub async fn put_stream(
        &self,
        run: RunRef,
        place: PutPlace<'_>,
        source: impl Stream<Item = std::io::Result<Bytes>> + Send,
    ) -> Result<StoredObject, EngineError> {
        let served = self.served(run).await?;
        let (key, attributes) = place_of(run, place, &served)?;
        let broken =
            |error: std::io::Error| EngineError::Invalid(format!("the bytes of {key} broke off: {error}"));
        let blob = &self.inner.parts.blob;
        let mut source = std::pin::pin!(source);
        match blob.head(&key).await {
            Ok(_) => {
                let (mut hash, mut size) = (Sha256::new(), 0);
                while let Some(chunk) = source.next().await {
                    let chunk = chunk.map_err(broken)?;
                    size += chunk.len() as u64;
                    hash.update(&chunk);
                }
                let sha256 = hex::encode(hash.finalize());
                return self.same_object(&key, StoredObject { key: key.to_string(), size, sha256 }).await;
            }
            Err(BlobError::NotFound { .. }) => {}
            Err(error) => return Err(blob_error(error)),
        }
        let mut writer = blob.writer(&key, &attributes, None).await.map_err(blob_error)?;
        while let Some(chunk) = source.next().await {
            writer.write(chunk.map_err(broken)?).await.map_err(blob_error)?;
        }
        let receipt = writer.finish().await.map_err(blob_error)?;
        self.count_use(at(run, &served), PUT).await?;
        Ok(stored(&key, &receipt))
    }

    /// Runs of this process are counted in memory until their next checkpoint or end; a remote worker's next request may reach
    /// another process, so that its use is written down at once.
    pub(super) async fn count_use(&self, at: hot::RunRef, used: StorageUse) -> Result<(), EngineError> {
        if !self.store().db().options().prices.has_storage() {
            return Ok(());
        }
        if self.inner.settings.leased {
            return Ok(self.store().use_storage(at, used).await?);
        }
        self.inner.runs.count_use(at, used);
        Ok(())
    }

    /// Writes down what a run has put and got since the last time.
    pub(super) async fn write_use(&self, at: hot::RunRef) -> Result<(), EngineError> {
        let used = self.inner.runs.take_use(at);
        if used.is_zero() {
            return Ok(());
        }
        let written = self.store().use_storage(at, used).await;
        // Where nobody knows whether it was written, it counts as written: better a put too few on the bill than one twice.
        if matches!(&written, Err(error) if !matches!(error, StoreError::UnknownOutcome(_))) {
            self.inner.runs.count_use(at, used);
        }
        Ok(written?)
    }

    /// A repeated put whose first reply was lost: right when the bytes are the same.
    async fn same_object(&self, key: &ObjectKey, wanted: StoredObject) -> Result<StoredObject, EngineError> {
        let mut reader = self.inner.parts.blob.stream(key, None, None).await.map_err(blob_error)?;
        let mut hash = Sha256::new();
        while let Some(chunk) = reader.stream.next().await {
            hash.update(chunk.map_err(blob_error)?);
        }
        if hex::encode(hash.finalize()) == wanted.sha256 {
            Ok(wanted)
        } else {
            Err(EngineError::Invalid(format!("this run has put other bytes under {key} already")))
        }
    }
}

/// The key of an object that a run may read: its owner's, or a shared one.
pub(super) fn readable(key: &str, served: &Served) -> Result<ObjectKey, EngineError> {
    let parsed: ObjectKey =
        key.parse().map_err(|error| EngineError::Invalid(format!("the object key {key:?}: {error}")))?;
    let may_read =
        parsed.owner().map_or(parsed.prefix() != Prefix::Backups, |owner| owner == served.owner_hash());
    // As for a person: what is somebody else's is not there.
    if may_read { Ok(parsed) } else { Err(EngineError::NotFound(key.to_owned())) }
}

/// `{prefix}/{owner}/{job}/run-{run}/{name}`: no two runs share a key, so a stale one can't touch what counts.
pub(super) fn place_of(
    run: RunRef,
    place: PutPlace<'_>,
    served: &Served,
) -> Result<(ObjectKey, ObjectAttributes), EngineError> {
    if !RUN_PREFIXES.contains(&place.prefix) {
        let known = RUN_PREFIXES.join(", ");
        return Err(EngineError::Invalid(format!(
            "a run may write under {known}; not under {:?}",
            place.prefix
        )));
    }
    let prefix: Prefix = place.prefix.parse().map_err(|error| EngineError::Invalid(format!("{error}")))?;
    let folder = format!("run-{}", run.run);
    let segments: Vec<&str> = [folder.as_str()].into_iter().chain(place.name.split('/')).collect();
    let key = ObjectKey::of_job(prefix, served.owner_hash(), served.record.id, &segments)
        .map_err(|error| EngineError::Invalid(format!("the object name {:?}: {error}", place.name)))?;
    // Checkpoints are read by runs only: they need no attributes, and on a local disk those would cost a second file.
    let attributes = if prefix == Prefix::Checkpoints {
        ObjectAttributes::default()
    } else {
        ObjectAttributes::of_type(place.content_type).from_source(served.workload.as_str())
    };
    Ok((key, attributes))
}

fn stored(key: &ObjectKey, receipt: &PutReceipt) -> StoredObject {
    StoredObject { key: key.to_string(), size: receipt.size, sha256: hex::encode(receipt.sha256) }
}

pub(super) fn blob_error(error: BlobError) -> EngineError {
    match error.class() {
        BlobErrorClass::NotFound => match error {
            BlobError::NotFound { key } => EngineError::NotFound(key),
            error => EngineError::NotFound(error.to_string()),
        },
        // A full disk is waited out: somebody will free some space, or the run's deadline ends it.
        BlobErrorClass::Transient | BlobErrorClass::NoSpace => EngineError::Unavailable(error.to_string()),
        BlobErrorClass::Permanent | BlobErrorClass::AlreadyExists => EngineError::Invalid(error.to_string()),
    }
}
