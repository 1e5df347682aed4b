//! Artifacts of jobs that no worker has run.

use std::time::Duration;

use bytes::Bytes;
use windrow_blob::{ObjectAttributes, ObjectKey, OwnerHash, Prefix};
use windrow_core::{ArtifactId, Clock, JobId};
use windrow_store::artifacts::{self, NewArtifact, Resource};
use windrow_store::jobs;

use super::TestApp;

pub(super) async fn record(test: &TestApp, job: JobId, kind: &str, bytes: Bytes) -> ArtifactId {
    let mut tx = test.db.begin().await.expect("a transaction");
    let head = jobs::head_of_anybody(&mut tx, job).await.expect("the job is read").expect("the job exists");
    let id = ArtifactId::new(&*test.clock);
    let owner = OwnerHash::new(head.owner_id, &test.app.parts.salt);
    let key = ObjectKey::of_job(Prefix::Artifacts, owner, job, &[&id.to_string()]).expect("a key");
    let put = test
        .blob
        .put(&key, bytes, &ObjectAttributes::of_type("text/plain"))
        .await
        .expect("the object is put");
    let sha256: String = put.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    let root = jobs::root(&mut tx, head.seq).await.expect("a root");
    let new = NewArtifact {
        id,
        owner: head.owner_id,
        job: head.seq,
        job_id: job,
        resource: &Resource::job(root),
        kind,
        filename: &format!("out.{kind}"),
        content_type: "text/plain",
        size: put.size,
        sha256: &sha256,
        object_key: key.as_str(),
        created_at: test.clock.now(),
        expires_at: test.clock.now().plus(Duration::from_secs(90 * 24 * 3600)),
    };
    artifacts::record(&mut tx, &new).await.expect("the artifact is recorded");
    tx.commit().await.expect("the artifact commits");
    id
}
