//! Uploads: a URL is handed out, bytes arrive, `complete` checks what arrived.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use windrow_api_types::{CreateUpload, CreatedUpload, Page, PageQuery, Upload};
use windrow_blob::{
    BlobError, ObjectKey, Prefix, SNIFF_LEN, SignedRequest, UploadOptions, sanitise_file_name, sniff,
};
use windrow_core::{FieldError, OwnerId, Timestamp, UploadId, UploadStatus};
use windrow_store::Tx;
use windrow_store::uploads::{self, Verified};

use crate::artifacts::object_key;
use crate::{Actor, App, AppError, cursor};

/// The longest content type, in bytes.
const MAX_TYPE: usize = 255;

/// What was found in storage.
struct Found {
    etag: Option<String>,
    sha256: String,
    detected_type: &'static str,
    /// Why it is not what was announced.
    problem: Option<String>,
}

impl App {
    /// Makes an upload and the URL that takes its bytes.
    ///
    /// # Errors
    /// What is wrong with the request; [`AppError::UploadTooLarge`].
    pub async fn create_upload(
        &self,
        actor: &Actor,
        request: &CreateUpload,
    ) -> Result<CreatedUpload, AppError> {
        actor.may_write()?;
        let prefix = check(request)?;
        let max = self.upload_max(request.workload.as_deref())?;
        if request.size > max {
            return Err(AppError::UploadTooLarge { size: request.size, max });
        }
        let settings = &self.parts.settings;
        let id = UploadId::new(&*self.parts.clock);
        let key = ObjectKey::owned(prefix, self.owner_hash(actor.owner()), &[&id.to_string()])
            .map_err(AppError::internal)?;
        let options = UploadOptions {
            expires_in: settings.upload_link,
            content_type: Some(request.content_type.clone()),
            max_size: request.size,
            upload: Some(id),
            once: false,
            source_type: Some("upload".to_owned()),
        };
        let signed = self.parts.blob.sign_put(&key, &options).await?;
        let row = uploads::Upload {
            id,
            owner_id: actor.owner(),
            status: UploadStatus::Pending,
            purpose: request.purpose.clone().unwrap_or_else(|| "upload".to_owned()),
            filename: sanitise_file_name(&request.filename),
            content_type: request.content_type.clone(),
            size: request.size,
            sha256: request.sha256.clone(),
            object_key: key.to_string(),
            etag: None,
            detected_type: None,
            problem: None,
            created_at: self.now(),
            expires_at: signed.expires_at,
            complete_by: signed.expires_at.plus(settings.complete_grace),
            ended_at: None,
        };
        self.write(move |tx| {
            let row = row.clone();
            Box::pin(async move { Ok(uploads::insert(tx, &row).await?) })
        })
        .await?;
        let SignedRequest { url, method, headers, expires_at } = signed;
        Ok(CreatedUpload { id, url, method, headers, expires_at })
    }

    /// Checks what arrived against what was announced, and records the version that was checked. Doing it twice gives
    /// the same answer.
    ///
    /// # Errors
    /// [`AppError::UploadMissing`], [`AppError::UploadRejected`], [`AppError::UploadExpired`],
    /// [`AppError::ObjectChanged`] when the object was replaced meanwhile: complete it again.
    pub async fn complete_upload(&self, actor: &Actor, id: UploadId) -> Result<Upload, AppError> {
        actor.may_write()?;
        let row = self.own_upload(actor, id).await?;
        if row.status != UploadStatus::Pending {
            return completed(row);
        }
        if self.now() > row.complete_by {
            return Err(AppError::UploadExpired);
        }
        let found = Arc::new(self.inspect(&row).await?);
        let (owner, now) = (actor.owner(), self.now());
        self.write(move |tx| {
            let found = Arc::clone(&found);
            Box::pin(async move { found.record(tx, owner, id, now).await })
        })
        .await?;
        // whoever was faster has decided
        completed(self.own_upload(actor, id).await?)
    }

    /// # Errors
    /// [`AppError::NotFound`].
    pub async fn show_upload(&self, actor: &Actor, id: UploadId) -> Result<Upload, AppError> {
        actor.may_read()?;
        Ok(upload(self.own_upload(actor, id).await?))
    }

    pub async fn list_uploads(&self, actor: &Actor, query: &PageQuery) -> Result<Page<Upload>, AppError> {
        actor.may_read()?;
        let before = cursor::decode(query.cursor.as_deref())?;
        let size = query.size();
        let rows = uploads::list(&mut self.read().await?, actor.owner(), before, size + 1).await?;
        Ok(cursor::page(rows, size, |row| row.id, upload))
    }

    async fn own_upload(&self, actor: &Actor, id: UploadId) -> Result<uploads::Upload, AppError> {
        let found = uploads::get(&mut self.read().await?, actor.owner(), id).await?;
        found.ok_or_else(|| AppError::not_found("upload", id))
    }

    /// The size cap: the configuration's for the workload, else the workload's own, else the general one.
    fn upload_max(&self, workload: Option<&str>) -> Result<u64, AppError> {
        let settings = &self.parts.settings;
        let Some(name) = workload else { return Ok(settings.upload_max) };
        let known = self.parts.workloads.get(name);
        let known =
            known.ok_or_else(|| AppError::invalid("/workload", format!("there is no workload {name:?}")))?;
        let configured = settings.upload_max_by_workload.get(name).copied();
        Ok(configured.unwrap_or_else(|| known.limits().max_upload_bytes))
    }

    /// Reads the whole object, one certain version of it.
    async fn inspect(&self, row: &uploads::Upload) -> Result<Found, AppError> {
        let key = object_key("uploads", &row.object_key)?;
        let info = match self.parts.blob.head(&key).await {
            Ok(info) => info,
            Err(BlobError::NotFound { .. }) => return Err(AppError::UploadMissing),
            Err(error) => return Err(error.into()),
        };
        let reader = self.parts.blob.stream(&key, None, info.etag.as_deref()).await?;
        let mut stream = reader.stream;
        let (mut hash, mut first, mut size) = (Sha256::new(), Vec::new(), 0u64);
        while let Some(chunk) = stream.try_next().await? {
            keep_first(&mut first, &chunk);
            hash.update(&chunk);
            size += chunk.len() as u64;
        }
        let sha256 = hex::encode(hash.finalize());
        let kind = sniff(&first);
        let problem = if size != row.size {
            Some(format!("it has {size} bytes, and {} were announced", row.size))
        } else if row.sha256.as_ref().is_some_and(|announced| *announced != sha256) {
            Some(format!("its SHA-256 is {sha256}, not the one that was announced"))
        } else if !kind.agrees_with(&row.content_type) {
            Some(format!("its bytes are {}, not {} as announced", kind.media_type(), row.content_type))
        } else {
            None
        };
        Ok(Found { etag: info.etag, sha256, detected_type: kind.media_type(), problem })
    }
}

impl Found {
    /// Writes what became of the upload, unless somebody else already has.
    async fn record(
        &self,
        tx: &mut Tx,
        owner: OwnerId,
        id: UploadId,
        now: Timestamp,
    ) -> Result<(), AppError> {
        match &self.problem {
            Some(problem) => uploads::reject(tx, owner, id, problem, now).await?,
            None => {
                let verified = Verified {
                    etag: self.etag.as_deref(),
                    sha256: &self.sha256,
                    detected_type: self.detected_type,
                };
                uploads::store(tx, owner, id, &verified, now).await?
            }
        };
        Ok(())
    }
}

fn keep_first(first: &mut Vec<u8>, chunk: &Bytes) {
    let room = SNIFF_LEN.saturating_sub(first.len());
    first.extend_from_slice(&chunk[..chunk.len().min(room)]);
}

fn completed(row: uploads::Upload) -> Result<Upload, AppError> {
    match row.status {
        UploadStatus::Stored => Ok(upload(row)),
        UploadStatus::Rejected => Err(AppError::UploadRejected(row.problem.unwrap_or_default())),
        UploadStatus::Expired => Err(AppError::UploadExpired),
        // its time ran out while it was read
        UploadStatus::Pending => Err(AppError::UploadExpired),
    }
}

fn upload(row: uploads::Upload) -> Upload {
    Upload {
        id: row.id,
        status: row.status,
        filename: row.filename,
        content_type: row.content_type,
        detected_type: row.detected_type,
        purpose: row.purpose,
        size: row.size,
        sha256: row.sha256,
        problem: row.problem,
        created_at: row.created_at,
        expires_at: row.expires_at,
        stored_at: row.ended_at.filter(|_| row.status == UploadStatus::Stored),
    }
}

/// All faults at once; gives the storage prefix of the purpose.
fn check(request: &CreateUpload) -> Result<Prefix, AppError> {
    let mut errors = Vec::new();
    if request.filename.trim().is_empty() || request.filename.len() > 1024 {
        errors.push(FieldError::new("/filename", "must have 1 to 1024 bytes"));
    }
    if !is_media_type(&request.content_type) {
        errors.push(FieldError::new("/content_type", "must be a media type such as text/csv"));
    }
    let is_hash = |text: &String| {
        text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    if request.sha256.as_ref().is_some_and(|text| !is_hash(text)) {
        errors.push(FieldError::new("/sha256", "must have 64 lower-case hexadecimal digits"));
    }
    let prefix = match request.purpose.as_deref() {
        None | Some("upload") => Some(Prefix::Uploads),
        Some("seed_data") => Some(Prefix::SeedData),
        Some("baseline") => Some(Prefix::Baseline),
        Some(_) => None,
    };
    match prefix {
        Some(prefix) if errors.is_empty() => return Ok(prefix),
        Some(_) => {}
        None => errors.push(FieldError::new("/purpose", "must be one of: upload, seed_data, baseline")),
    }
    Err(AppError::InvalidRequest(errors))
}

/// `type/subtype` and perhaps parameters (RFC 9110, section 8.3.1), in printable ASCII.
fn is_media_type(text: &str) -> bool {
    let printable = text.len() <= MAX_TYPE && text.bytes().all(|b| (0x20..0x7f).contains(&b));
    let essence = text.split(';').next().unwrap_or_default().trim();
    let token = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    printable && essence.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_have_two_parts() {
        for good in ["text/csv", "application/vnd.oasis.opendocument.text", "text/plain; charset=utf-8"] {
            assert!(is_media_type(good), "{good}");
        }
        for bad in ["", "csv", "text/", "/csv", "a/b/c", "text/csv\r\nx: y", "text/\u{e4}"] {
            assert!(!is_media_type(bad), "{bad}");
        }
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let request = CreateUpload {
            filename: " ".to_owned(),
            content_type: "csv".to_owned(),
            size: 1,
            sha256: Some("AB".to_owned()),
            purpose: Some("backups".to_owned()),
            workload: None,
        };
        let faults = check(&request).unwrap_err().into_field_errors();
        let pointers: Vec<&str> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["/filename", "/content_type", "/sha256", "/purpose"]);
    }
}
