//! Links with which a worker moves its runs' bytes to and from storage itself, past the API.

use std::time::Duration;

use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};
use windrow_api_types::worker::{
    AnnouncedObject, NewArtifact, ObjectLink, RunRef, StoredObject, WantedObject,
};
use windrow_blob::{BlobError, DownloadOptions, ObjectKey, SignedRequest, UploadOptions};
use windrow_core::UploadId;
use windrow_store::uploads;

use super::end::unusable;
use super::objects::{GET, PUT, blob_error, place_of, readable};
use super::runs::Served;
use super::saved::own_key;
use super::{LocalEngine, at};
use crate::{EngineError, PutPlace};

/// How long a link may be used. A worker that is late asks again.
const LINK_LIFE: Duration = Duration::from_secs(15 * 60);

impl LocalEngine {
    /// The key of what the job's owner has uploaded: a workload that loads nothing has only its id, in the spec.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] when the owner has no such upload, or none that may be used.
    pub async fn object_of_upload(&self, run: RunRef, upload: UploadId) -> Result<String, EngineError> {
        let owner = self.served(run).await?.record.owner;
        let mut conn = self.store().read().await?;
        let found = uploads::stored(&mut conn, owner, upload).await?;
        found
            .map(|found| found.object_key)
            .ok_or_else(|| EngineError::NotFound(format!("of upload {upload}")))
    }

    /// A link that reads an object which the run may read.
    ///
    /// # Errors
    /// As [`Engine::get`](crate::Engine::get), also when there is no such object.
    pub async fn download_link(&self, run: RunRef, wanted: &WantedObject) -> Result<ObjectLink, EngineError> {
        let key = match wanted {
            WantedObject::Key(key) => key.clone(),
            WantedObject::Upload(upload) => self.object_of_upload(run, *upload).await?,
        };
        let served = self.served(run).await?;
        let key = readable(&key, &served)?;
        let blob = &self.inner.parts.blob;
        if !blob.exists(&key).await.map_err(blob_error)? {
            return Err(EngineError::NotFound(key.to_string()));
        }
        self.count_use(at(run, &served), GET).await?;
        let options = DownloadOptions { expires_in: LINK_LIFE, ..DownloadOptions::default() };
        Ok(link(&key, blob.sign_get(&key, &options).await.map_err(blob_error)?))
    }

    /// A link that puts an object of the run, once; it is booked as a put already. What was put counts when [`Self::complete_object`] has seen it.
    ///
    /// # Errors
    /// As [`Engine::put`](crate::Engine::put).
    pub async fn upload_link(
        &self,
        run: RunRef,
        announced: &AnnouncedObject,
    ) -> Result<ObjectLink, EngineError> {
        let AnnouncedObject { prefix, name, content_type, size } = announced;
        let served = self.served(run).await?;
        let (key, attributes) = place_of(run, PutPlace { prefix, name, content_type }, &served)?;
        self.count_use(at(run, &served), PUT).await?;
        let options = UploadOptions {
            expires_in: LINK_LIFE,
            content_type: attributes.content_type,
            max_size: *size,
            upload: None,
            once: true,
            source_type: attributes.source_type,
        };
        Ok(link(&key, self.inner.parts.blob.sign_put(&key, &options).await.map_err(blob_error)?))
    }

    /// What stands under the key of an object that the run has put through a link. Reads all of it.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] when nothing was put there.
    pub async fn complete_object(&self, run: RunRef, key: &str) -> Result<StoredObject, EngineError> {
        let key = own_key(key, &*self.served(run).await?)?;
        let mut reader = self.inner.parts.blob.stream(&key, None, None).await.map_err(blob_error)?;
        let (mut hash, mut size) = (Sha256::new(), 0);
        while let Some(chunk) = reader.stream.next().await {
            let chunk = chunk.map_err(blob_error)?;
            size += chunk.len() as u64;
            hash.update(&chunk);
        }
        Ok(StoredObject { key: key.to_string(), size, sha256: hex::encode(hash.finalize()) })
    }

    /// Holds the artifacts of a run's end against storage, before the end is written. One that is not there is the job's own fault.
    pub(super) async fn check_artifacts(
        &self,
        served: &Served,
        artifacts: &[NewArtifact],
    ) -> Result<(), EngineError> {
        for NewArtifact { object, .. } in artifacts {
            let key = own_key(&object.key, served).map_err(unusable)?;
            let problem = match self.inner.parts.blob.head(&key).await {
                Ok(found) if found.size == object.size => continue,
                Ok(found) => format!("has {} bytes, not {}", found.size, object.size),
                Err(BlobError::NotFound { .. }) => "was not put".to_owned(),
                Err(error) => return Err(blob_error(error)),
            };
            return Err(unusable(format!("the artifact's object {key} {problem}")));
        }
        Ok(())
    }
}

fn link(key: &ObjectKey, signed: SignedRequest) -> ObjectLink {
    let SignedRequest { url, method, headers, expires_at } = signed;
    ObjectLink { key: key.to_string(), url, method, headers, expires_at }
}
