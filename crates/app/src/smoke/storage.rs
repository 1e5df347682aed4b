//! Whether the configured storage does what it must: put, head, get, delete. Cleans up after itself.

use bytes::Bytes;
use windrow_api_types::SmokeReport;
use windrow_blob::{BlobError, ObjectAttributes, ObjectKey, Prefix};
use windrow_core::{OwnerId, ids::uuid_v7};

use crate::{App, AppError, Authority};

impl App {
    /// Stops at the first step that fails, and deletes what it put in any case.
    pub async fn smoke_storage(&self, by: Authority<'_>) -> Result<SmokeReport, AppError> {
        by.may_administer()?;
        let name = format!("smoke-{}", uuid_v7(&*self.parts.clock));
        // no user has this number: it is nobody's object
        let key = ObjectKey::owned(Prefix::Uploads, self.owner_hash(OwnerId(0)), &[&name])
            .map_err(AppError::internal)?;
        let bytes = Bytes::from_static(b"windrow smoke test");
        let mut steps = Vec::new();
        for step in ["put", "head", "get"] {
            let started = self.parts.clock.monotonic();
            let result = self.smoke_step(step, &key, &bytes).await;
            let failed = result.is_err();
            steps.push(self.timed_step(step, started, result));
            if failed {
                break;
            }
        }
        let started = self.parts.clock.monotonic();
        let deleted = self.parts.blob.delete(&key).await.map_err(|error| error.to_string());
        steps.push(self.timed_step("delete", started, deleted));
        Ok(super::report(steps))
    }

    async fn smoke_step(&self, step: &str, key: &ObjectKey, bytes: &Bytes) -> Result<(), String> {
        let text = |error: BlobError| error.to_string();
        let blob = &self.parts.blob;
        match step {
            "put" => blob
                .put(key, bytes.clone(), &ObjectAttributes::of_type("text/plain"))
                .await
                .map(drop)
                .map_err(text),
            "head" => {
                let info = blob.head(key).await.map_err(text)?;
                let as_put = info.size == bytes.len() as u64;
                as_put.then_some(()).ok_or_else(|| format!("its size is {}, not {}", info.size, bytes.len()))
            }
            _ => {
                let got = blob.get(key).await.map_err(text)?;
                (got == *bytes).then_some(()).ok_or_else(|| "other bytes came back than were put".to_owned())
            }
        }
    }
}
