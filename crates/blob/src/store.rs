//! The store itself.

use std::fmt;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, GetResult, GetResultPayload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutOptions, PutPayload,
};
use sha2::{Digest, Sha256};
use windrow_core::{SharedClock, Timestamp};

use crate::attributes::{ObjectAttributes, ObjectInfo, PutReceipt};
use crate::backend::{self, Backend, BlobSettings, MARKER};
use crate::error::BlobError;
use crate::key::{ObjectKey, ObjectPrefix};
use crate::retry::{count_error, retrying};
use crate::writer::BlobWriter;

/// One object store of one installation. Cheap to clone.
#[derive(Clone)]
pub struct BlobStore {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) backend: Backend,
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) clock: SharedClock,
}

impl fmt::Debug for BlobStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobStore({})", self.inner.objects)
    }
}

/// Which bytes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// From this offset to the end.
    From(u64),
    /// From the first offset up to, and without, the second; cut at the object's end.
    Between(u64, u64),
    /// This many at the end.
    Last(u64),
}

/// An object being read.
pub struct BlobReader {
    pub info: ObjectInfo,
    /// Which bytes the stream gives.
    pub range: Range<u64>,
    pub stream: BoxStream<'static, Result<Bytes, BlobError>>,
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobReader").field("info", &self.info).field("range", &self.range).finish()
    }
}

/// An object as a list shows it: attributes are for [`BlobStore::head`] to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    pub key: ObjectKey,
    /// In bytes.
    pub size: u64,
    pub etag: Option<String>,
    pub created: Timestamp,
}

impl BlobStore {
    /// Opens the storage; on local disk makes the directory and marks it as this installation's.
    ///
    /// # Errors
    /// When the directory can't be made or written, or belongs to another installation.
    pub fn open(settings: BlobSettings, clock: SharedClock) -> Result<Self, BlobError> {
        let (backend, objects) = backend::open(settings, &*clock)?;
        Ok(Self { inner: Arc::new(Inner { backend, objects, clock }) })
    }

    /// Puts an object, over any that stands there. It is on disk when this returns.
    ///
    /// # Errors
    /// [`BlobError::NoSpace`] and the general ones.
    pub fn put<'a>(
        &'a self,
        key: &'a ObjectKey,
        bytes: Bytes,
        attributes: &'a ObjectAttributes,
    ) -> BoxFuture<'a, Result<PutReceipt, BlobError>> {
        Box::pin(async move {
            attributes.check()?;
            retrying("put", || async {
                self.inner.put_attributes(key, attributes).await?;
                self.inner.put_bytes(key, bytes.clone(), PutMode::Overwrite).await
            })
            .await
        })
    }

    /// Puts an object where none stands. Of several that race, one wins and the others get
    /// [`BlobError::AlreadyExists`]; they should agree on the attributes, which may come from any of them. After a
    /// transient error that hid a success, the writer's own object can be what exists.
    ///
    /// # Errors
    /// [`BlobError::AlreadyExists`], [`BlobError::NoSpace`] and the general ones.
    pub fn put_if_absent<'a>(
        &'a self,
        key: &'a ObjectKey,
        bytes: Bytes,
        attributes: &'a ObjectAttributes,
    ) -> BoxFuture<'a, Result<PutReceipt, BlobError>> {
        Box::pin(async move {
            attributes.check()?;
            retrying("put", || async {
                if self.inner.meta(key).await?.is_some() {
                    return Err(BlobError::AlreadyExists { key: key.to_string() });
                }
                self.inner.put_attributes(key, attributes).await?;
                self.inner.put_bytes(key, bytes.clone(), PutMode::Create).await
            })
            .await
        })
    }

    /// Starts an object that is too large to hold in memory, or of unknown length. Nothing stands under the key before
    /// [`BlobWriter::finish`]; a writer that is dropped leaves nothing. `max_size` in bytes.
    ///
    /// # Errors
    /// The general ones.
    pub fn writer<'a>(
        &'a self,
        key: &'a ObjectKey,
        attributes: &'a ObjectAttributes,
        max_size: Option<u64>,
    ) -> BoxFuture<'a, Result<BlobWriter, BlobError>> {
        Box::pin(async move {
            attributes.check()?;
            let path = key.to_path();
            let upload = retrying("put", || async {
                self.inner
                    .objects
                    .put_multipart(&path)
                    .await
                    .map_err(|e| BlobError::from_store(key.as_str(), &e))
            })
            .await?;
            Ok(BlobWriter::new(Arc::clone(&self.inner), key.clone(), attributes.clone(), upload, max_size))
        })
    }

    /// The whole object, in memory: for objects known to be small.
    ///
    /// # Errors
    /// [`BlobError::NotFound`] and the general ones.
    pub fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Bytes, BlobError>> {
        Box::pin(async move {
            let path = key.to_path();
            retrying("get", || async {
                let result = self.inner.objects.get(&path).await;
                let bytes = match result {
                    Ok(result) => result.bytes().await,
                    Err(e) => Err(e),
                };
                bytes.map_err(|e| BlobError::from_store(key.as_str(), &e))
            })
            .await
        })
    }

    /// The object as a stream, or a range of it. With `if_match` only the version of that ETag.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], [`BlobError::InvalidRange`], [`BlobError::Changed`] and the general ones.
    pub fn stream<'a>(
        &'a self,
        key: &'a ObjectKey,
        range: Option<ByteRange>,
        if_match: Option<&'a str>,
    ) -> BoxFuture<'a, Result<BlobReader, BlobError>> {
        Box::pin(async move {
            let path = key.to_path();
            let result = retrying("get", || async {
                let options = GetOptions {
                    range: range.map(|range| match range {
                        ByteRange::From(start) => GetRange::Offset(start),
                        ByteRange::Between(start, end) => GetRange::Bounded(start..end),
                        ByteRange::Last(count) => GetRange::Suffix(count),
                    }),
                    if_match: if_match.map(str::to_owned),
                    ..GetOptions::default()
                };
                match self.inner.objects.get_opts(&path, options).await {
                    Ok(result) => Ok(result),
                    Err(error) => Err(self.inner.explain_range(key, range, &error).await),
                }
            })
            .await?;
            let info = self.inner.info(key, &result.meta).await?;
            let range = result.range.clone();
            Ok(BlobReader { info, range, stream: chunks(key, result) })
        })
    }

    /// What is known about the object.
    ///
    /// # Errors
    /// [`BlobError::NotFound`] and the general ones.
    pub fn head<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<ObjectInfo, BlobError>> {
        Box::pin(async move {
            retrying("head", || async {
                match self.inner.meta(key).await? {
                    Some(meta) => self.inner.info(key, &meta).await,
                    None => Err(BlobError::NotFound { key: key.to_string() }),
                }
            })
            .await
        })
    }

    /// Whether an object stands under the key.
    ///
    /// # Errors
    /// The general ones.
    pub async fn exists(&self, key: &ObjectKey) -> Result<bool, BlobError> {
        retrying("head", || async { Ok(self.inner.meta(key).await?.is_some()) }).await
    }

    /// Removes the object. That none stands there is no error: the wish is met.
    ///
    /// # Errors
    /// The general ones.
    pub async fn delete(&self, key: &ObjectKey) -> Result<(), BlobError> {
        retrying("delete", || async {
            self.inner.remove(key, &key.to_path()).await?;
            self.inner.remove(key, &sidecar(key)).await
        })
        .await
    }

    /// The objects of a folder and of the folders in it, in no order. Files that are no objects of ours are passed over.
    pub fn list(&self, prefix: &ObjectPrefix) -> BoxStream<'static, Result<ListedObject, BlobError>> {
        metrics::counter!("windrow_storage_operations_total", "operation" => "list").increment(1);
        let path = Path::parse(prefix.as_str()).expect("a prefix's segments are stricter than a path's");
        let name = prefix.as_str().to_owned();
        let listed = self.inner.objects.list(Some(&path)).map(move |meta| match meta {
            Ok(meta) => Ok(meta.location.as_ref().parse::<ObjectKey>().ok().map(|key| ListedObject {
                key,
                size: meta.size,
                created: created(&meta),
                etag: meta.e_tag,
            })),
            Err(error) => {
                let error = BlobError::from_store(&name, &error);
                count_error("list", &error);
                Err(error)
            }
        });
        listed.try_filter_map(|object| async move { Ok(object) }).boxed()
    }

    /// Whether the storage answers: for readiness. Reads one small object that always stands.
    ///
    /// # Errors
    /// The general ones.
    pub async fn check(&self) -> Result<(), BlobError> {
        let found = self.inner.objects.head(&Path::from(MARKER)).await;
        found.map(drop).map_err(|e| {
            let error = BlobError::from_store(MARKER, &e);
            count_error("check", &error);
            error
        })
    }
}

impl Inner {
    async fn put_bytes(&self, key: &ObjectKey, bytes: Bytes, mode: PutMode) -> Result<PutReceipt, BlobError> {
        let (size, sha256) = (bytes.len() as u64, Sha256::digest(&bytes).into());
        let options = PutOptions::from(mode);
        let put = self.objects.put_opts(&key.to_path(), PutPayload::from_bytes(bytes), options).await;
        let result = put.map_err(|e| BlobError::from_store(key.as_str(), &e))?;
        Ok(PutReceipt { size, etag: result.e_tag, sha256 })
    }

    /// Writes the sidecar of an object that is about to be put, or removes one that an earlier object left.
    pub(crate) async fn put_attributes(
        &self,
        key: &ObjectKey,
        attributes: &ObjectAttributes,
    ) -> Result<(), BlobError> {
        if attributes.is_empty() {
            return self.remove(key, &sidecar(key)).await;
        }
        let json = serde_json::to_vec(attributes).expect("attributes are strings");
        let put = self.objects.put(&sidecar(key), PutPayload::from(json)).await;
        put.map(drop).map_err(|e| BlobError::from_store(key.as_str(), &e))
    }

    async fn attributes(&self, key: &ObjectKey) -> Result<ObjectAttributes, BlobError> {
        let json = match self.objects.get(&sidecar(key)).await {
            Ok(result) => result.bytes().await,
            Err(object_store::Error::NotFound { .. }) => return Ok(ObjectAttributes::default()),
            Err(error) => Err(error),
        };
        let json = json.map_err(|e| BlobError::from_store(key.as_str(), &e))?;
        serde_json::from_slice(&json).map_err(|e| BlobError::Permanent {
            key: key.to_string(),
            message: format!("its sidecar {} is damaged: {e}", sidecar(key)),
        })
    }

    async fn meta(&self, key: &ObjectKey) -> Result<Option<ObjectMeta>, BlobError> {
        match self.objects.head(&key.to_path()).await {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(BlobError::from_store(key.as_str(), &error)),
        }
    }

    async fn info(&self, key: &ObjectKey, meta: &ObjectMeta) -> Result<ObjectInfo, BlobError> {
        Ok(ObjectInfo {
            key: key.clone(),
            size: meta.size,
            etag: meta.e_tag.clone(),
            created: created(meta),
            attributes: self.attributes(key).await?,
        })
    }

    async fn remove(&self, key: &ObjectKey, path: &Path) -> Result<(), BlobError> {
        match self.objects.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(BlobError::from_store(key.as_str(), &error)),
        }
    }

    /// `object_store` has no kind for a range outside the object: tells it from other failures by the object's size.
    async fn explain_range(
        &self,
        key: &ObjectKey,
        range: Option<ByteRange>,
        error: &object_store::Error,
    ) -> BlobError {
        let explained = BlobError::from_store(key.as_str(), error);
        if !matches!(explained, BlobError::Permanent { .. }) {
            return explained;
        }
        let Ok(Some(meta)) = self.meta(key).await else { return explained };
        let outside = match range {
            Some(ByteRange::From(start)) => start >= meta.size,
            Some(ByteRange::Between(start, end)) => start >= meta.size || end <= start,
            Some(ByteRange::Last(count)) => count == 0 || meta.size == 0,
            None => false,
        };
        if outside { BlobError::InvalidRange { key: key.to_string(), size: meta.size } } else { explained }
    }
}

fn sidecar(key: &ObjectKey) -> Path {
    Path::parse(format!(".meta/{key}.json")).expect("a key's segments are stricter than a path's")
}

fn created(meta: &ObjectMeta) -> Timestamp {
    Timestamp::from_micros(meta.last_modified.timestamp_micros())
}

/// Bytes a read of a local file. `object_store` reads 8 KiB at a time, each on a thread of its own: too dear for exports.
const CHUNK: u64 = 256 * 1024;

fn chunks(key: &ObjectKey, result: GetResult) -> BoxStream<'static, Result<Bytes, BlobError>> {
    let name = key.to_string();
    let range = result.range.clone();
    let file = match result.payload {
        GetResultPayload::File(file, _) => file,
        GetResultPayload::Stream(stream) => {
            return stream.map_err(move |e| BlobError::from_store(&name, &e)).boxed();
        }
    };
    let start = (file, range.start);
    futures::stream::try_unfold(start, move |(mut file, at)| {
        let (end, name) = (range.end, name.clone());
        async move {
            if at >= end {
                return Ok(None);
            }
            let length = CHUNK.min(end - at);
            let read = tokio::task::spawn_blocking(move || {
                let mut buffer = vec![0; usize::try_from(length).expect("a chunk fits in memory")];
                file.seek(SeekFrom::Start(at))?;
                file.read_exact(&mut buffer)?;
                Ok::<_, std::io::Error>((Bytes::from(buffer), file))
            });
            match read.await {
                Ok(Ok((bytes, file))) => Ok(Some((bytes, (file, at + length)))),
                Ok(Err(error)) => Err(BlobError::from_io(&name, &error)),
                Err(error) => Err(BlobError::Transient { key: name, message: error.to_string() }),
            }
        }
    })
    .boxed()
}
