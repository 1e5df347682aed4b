//! What the server does under `/blobs/`, where it stands in for a cloud's storage. The link is the permission.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::Method;
use windrow_blob::{BlobReader, ByteRange, Grant, ObjectAttributes, PutGrant, PutReceipt};
use windrow_core::UploadStatus;
use windrow_store::uploads;

use crate::{App, AppError};

/// An object on its way to whoever holds a download link.
#[derive(Debug)]
pub struct Served {
    pub reader: BlobReader,
    /// The value of `Content-Disposition`.
    pub disposition: Option<String>,
    pub content_type: Option<String>,
}

impl App {
    /// Serves a download link: GET or HEAD of `/blobs/{key}?{query}`.
    ///
    /// # Errors
    /// [`AppError::LinkInvalid`], [`AppError::LinkExpired`], [`AppError::NotFound`],
    /// [`AppError::RangeNotSatisfiable`].
    pub async fn serve_blob(
        &self,
        method: &Method,
        key: &str,
        query: &str,
        range: Option<ByteRange>,
        if_match: Option<&str>,
    ) -> Result<Served, AppError> {
        let Grant::Get { key, disposition, content_type } = self.parts.blob.verify(method, key, query)?
        else {
            return Err(AppError::LinkInvalid("the link is for an upload".to_owned()));
        };
        let reader = self.parts.blob.stream(&key, range, if_match).await?;
        let content_type = content_type.or_else(|| reader.info.attributes.content_type.clone());
        Ok(Served { reader, disposition, content_type })
    }

    /// Takes the bytes that an upload link allows: PUT of `/blobs/{key}?{query}`. The link dies when its upload is
    /// completed or has expired, and one that writes once when something stands there: that is asked before the bytes are taken
    /// and again before they become the object.
    ///
    /// # Errors
    /// [`AppError::LinkInvalid`], [`AppError::LinkExpired`], [`AppError::LinkMismatch`],
    /// [`AppError::UploadTooLarge`], [`AppError::UploadClosed`], [`AppError::ObjectExists`], [`AppError::BodyBroken`].
    pub async fn receive_blob<S, E>(
        &self,
        key: &str,
        query: &str,
        content_type: Option<&str>,
        content_length: Option<u64>,
        body: S,
    ) -> Result<PutReceipt, AppError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: std::fmt::Display,
    {
        let Grant::Put(grant) = self.parts.blob.verify(&Method::PUT, key, query)? else {
            return Err(AppError::LinkInvalid("the link is for a download".to_owned()));
        };
        grant.check_headers(content_type, content_length)?;
        self.check_open(&grant).await?;
        let mut attributes = ObjectAttributes::default();
        attributes.content_type.clone_from(&grant.content_type);
        attributes.source_type.clone_from(&grant.source_type);
        let mut writer = self.parts.blob.writer(&grant.key, &attributes, Some(grant.max_size)).await?;
        let mut body = std::pin::pin!(body);
        while let Some(chunk) = body.next().await {
            let written = match chunk {
                Ok(chunk) => writer.write(chunk).await.map_err(AppError::from),
                Err(error) => Err(AppError::BodyBroken(error.to_string())),
            };
            if let Err(error) = written {
                writer.abort().await?;
                return Err(error);
            }
        }
        if let Err(error) = self.check_open(&grant).await {
            writer.abort().await?;
            return Err(error);
        }
        Ok(writer.finish().await?)
    }

    async fn check_open(&self, grant: &PutGrant) -> Result<(), AppError> {
        if grant.once && self.parts.blob.exists(&grant.key).await? {
            return Err(AppError::ObjectExists(grant.key.to_string()));
        }
        let Some(id) = grant.upload else { return Ok(()) };
        let row = uploads::of_link(&mut self.read().await?, id).await?;
        match row {
            None => Err(AppError::not_found("upload", id)),
            Some(row) if row.status != UploadStatus::Pending => Err(AppError::UploadClosed(row.status)),
            Some(row) if self.now() > row.complete_by => Err(AppError::UploadExpired),
            Some(_) => Ok(()),
        }
    }
}
