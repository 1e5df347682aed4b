//! Artifacts: lists and downloads.

use windrow_api_types::{Artifact, ArtifactGroup, ArtifactQuery, Page};
use windrow_blob::{BlobError, DownloadOptions, ObjectKey, SignedRequest};
use windrow_core::ArtifactId;
use windrow_store::{StoreError, artifacts};

use crate::{Actor, App, AppError, cursor};

impl App {
    /// All of the actor's, newest first.
    pub async fn list_artifacts(
        &self,
        actor: &Actor,
        query: &ArtifactQuery,
    ) -> Result<Page<Artifact>, AppError> {
        actor.may_read()?;
        let before = cursor::decode(query.cursor.as_deref())?;
        let size = windrow_api_types::page::page_size(query.limit);
        let kind = query.kind.as_deref();
        let rows = artifacts::list(&mut self.read().await?, actor.owner(), kind, before, size + 1).await?;
        Ok(cursor::page(rows, size, |row| row.id, artifact))
    }

    /// # Errors
    /// [`AppError::NotFound`].
    pub async fn show_artifact(&self, actor: &Actor, id: ArtifactId) -> Result<Artifact, AppError> {
        Ok(artifact(self.own_artifact(actor, id).await?))
    }

    /// A signed URL, made now and never stored.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is no such artifact, or its object has been removed.
    pub async fn download_artifact(&self, actor: &Actor, id: ArtifactId) -> Result<SignedRequest, AppError> {
        let row = self.own_artifact(actor, id).await?;
        let key = object_key("artifacts", &row.object_key)?;
        // a link that leads nowhere would fail where nobody can say why
        match self.parts.blob.head(&key).await {
            Ok(_) => {}
            Err(BlobError::NotFound { .. }) => return Err(AppError::not_found("artifact", id)),
            Err(error) => return Err(error.into()),
        }
        let options = DownloadOptions {
            expires_in: self.parts.settings.download_link,
            file_name: Some(row.filename),
            content_type: Some(row.content_type),
        };
        Ok(self.parts.blob.sign_get(&key, &options).await?)
    }

    async fn own_artifact(&self, actor: &Actor, id: ArtifactId) -> Result<artifacts::Artifact, AppError> {
        actor.may_read()?;
        let found = artifacts::get(&mut self.read().await?, actor.owner(), id).await?;
        found.ok_or_else(|| AppError::not_found("artifact", id))
    }
}

/// The key that a row names.
pub(crate) fn object_key(table: &'static str, text: &str) -> Result<ObjectKey, AppError> {
    let broken = |error| AppError::internal(StoreError::invariant(table, "object_key", text, error));
    text.parse().map_err(broken)
}

fn artifact(row: artifacts::Artifact) -> Artifact {
    Artifact {
        id: row.id,
        job_id: row.job_id,
        kind: row.kind,
        version: row.version,
        latest: row.version == row.latest,
        filename: row.filename,
        content_type: row.content_type,
        size: row.size,
        sha256: row.sha256,
        created_at: row.created_at,
        expires_at: row.expires_at,
        download: format!("/v1/artifacts/{}/download", row.id),
    }
}

/// Rows that come kind by kind, latest first.
pub(crate) fn groups(rows: Vec<artifacts::Artifact>) -> Vec<ArtifactGroup> {
    let mut groups: Vec<ArtifactGroup> = Vec::new();
    for row in rows.into_iter().map(artifact) {
        match groups.last_mut() {
            Some(group) if group.kind == row.kind => group.earlier.push(row),
            _ => groups.push(ArtifactGroup { kind: row.kind.clone(), latest: row, earlier: Vec::new() }),
        }
    }
    groups
}
