//! Uploads and artifacts.

use std::time::Duration;

use windrow_core::{ArtifactId, JobId, JobSeq, OwnerId, Timestamp, UploadId, UploadStatus};
use windrow_store::artifacts::{self, NewArtifact, Resource};
use windrow_store::uploads::{self, Upload, Verified};
use windrow_store::{Db, Tx, users};
use windrow_test_support::on_both;

use crate::support::{CLOCK, migrated};

fn at(second: u64) -> Timestamp {
    CLOCK.plus(Duration::from_secs(second))
}

fn clock() -> std::sync::Arc<windrow_core::TestClock> {
    windrow_core::TestClock::shared()
}

fn an_upload(owner: OwnerId) -> Upload {
    let id = UploadId::new(&*clock());
    Upload {
        id,
        owner_id: owner,
        status: UploadStatus::Pending,
        purpose: "upload".to_owned(),
        filename: "poems.jsonl".to_owned(),
        content_type: "application/x-ndjson".to_owned(),
        size: 12,
        sha256: None,
        object_key: format!("uploads/{id}"),
        etag: None,
        detected_type: None,
        problem: None,
        created_at: at(0),
        expires_at: at(900),
        complete_by: at(1800),
        ended_at: None,
    }
}

const VERIFIED: Verified<'static> = Verified { etag: Some("e1"), sha256: "00", detected_type: "text/plain" };

async fn owner(tx: &mut Tx, sub: &str) -> OwnerId {
    users::ensure(tx, sub, at(0)).await.unwrap().id
}

async fn record(db: &Db, owner: OwnerId, kind: &str, expires_at: Timestamp) -> (ArtifactId, u32) {
    let id = ArtifactId::new(&*clock());
    let mut tx = db.begin().await.unwrap();
    let resource = Resource::job(JobSeq(7));
    let new = NewArtifact {
        id,
        owner,
        job: JobSeq(7),
        job_id: JobId::new(&*clock()),
        resource: &resource,
        kind,
        filename: "dataset.jsonl",
        content_type: "application/x-ndjson",
        size: 1,
        sha256: "00",
        object_key: &format!("artifacts/{id}"),
        created_at: at(0),
        expires_at,
    };
    let version = artifacts::record(&mut tx, &new).await.unwrap();
    tx.commit().await.unwrap();
    (id, version)
}

on_both! {
    async fn an_upload_leaves_pending_once_and_its_owner_alone_sees_it(db) {
        let db = migrated(&db).await;
        let mut tx = db.begin().await.unwrap();
        let (ada, bob) = (owner(&mut tx, "ada").await, owner(&mut tx, "bob").await);
        let upload = an_upload(ada);
        uploads::insert(&mut tx, &upload).await.unwrap();
        assert!(uploads::get(&mut tx, bob, upload.id).await.unwrap().is_none());
        assert!(uploads::stored(&mut tx, ada, upload.id).await.unwrap().is_none());
        assert!(!uploads::store(&mut tx, bob, upload.id, &VERIFIED, at(1)).await.unwrap());
        assert!(uploads::store(&mut tx, ada, upload.id, &VERIFIED, at(1)).await.unwrap());
        assert!(!uploads::store(&mut tx, ada, upload.id, &VERIFIED, at(2)).await.unwrap());
        assert!(!uploads::reject(&mut tx, ada, upload.id, "no", at(2)).await.unwrap());
        assert_eq!(uploads::expire(&mut tx, at(10_000), 10).await.unwrap(), 0);
        let stored = uploads::stored(&mut tx, ada, upload.id).await.unwrap().unwrap();
        assert_eq!((stored.etag.as_deref(), stored.ended_at), (Some("e1"), Some(at(1))));
    }

    async fn an_upload_that_nobody_completes_expires_and_its_object_is_named_for_deletion(db) {
        let db = migrated(&db).await;
        let mut tx = db.begin().await.unwrap();
        let ada = owner(&mut tx, "ada").await;
        let upload = an_upload(ada);
        uploads::insert(&mut tx, &upload).await.unwrap();
        assert_eq!(uploads::expire(&mut tx, at(1800), 10).await.unwrap(), 0);
        assert!(!uploads::store(&mut tx, ada, upload.id, &VERIFIED, at(1801)).await.unwrap());
        assert_eq!(uploads::expire(&mut tx, at(1801), 10).await.unwrap(), 1);
        let dead = uploads::dead_objects(&mut tx, at(1801), 10).await.unwrap();
        assert!(dead.is_empty());
        let dead = uploads::dead_objects(&mut tx, at(1802), 10).await.unwrap();
        assert_eq!(dead.iter().map(|d| d.id).collect::<Vec<_>>(), [upload.id]);
        assert_eq!(uploads::named(&mut tx, &[upload.object_key.clone(), "x".to_owned()]).await.unwrap(), [upload.object_key]);
        uploads::object_deleted(&mut tx, upload.id, at(1803)).await.unwrap();
        assert!(uploads::dead_objects(&mut tx, at(9000), 10).await.unwrap().is_empty());
    }

    async fn a_hundred_concurrent_artifacts_get_versions_one_to_a_hundred(db) {
        let db = migrated(&db).await;
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let db = db.clone();
                tokio::spawn(async move { record(&db, OwnerId(1), "jsonl", at(10)).await.1 })
            })
            .collect();
        let mut versions = Vec::new();
        for task in tasks {
            versions.push(task.await.unwrap());
        }
        versions.sort_unstable();
        assert_eq!(versions, (1..=100).collect::<Vec<_>>());
        let mut conn = db.read().await.unwrap();
        let shown = artifacts::shown(&mut conn, OwnerId(1), &Resource::job(JobSeq(7))).await.unwrap();
        assert_eq!(shown.iter().map(|a| a.version).collect::<Vec<_>>(), [100, 99, 98, 97, 96, 95]);
        assert!(shown.iter().all(|a| a.latest == 100));
    }

    async fn a_rolled_back_artifact_gives_its_version_back(db) {
        let db = migrated(&db).await;
        assert_eq!(record(&db, OwnerId(1), "csv", at(10)).await.1, 1);
        let mut tx = db.begin().await.unwrap();
        let resource = Resource::job(JobSeq(7));
        let id = ArtifactId::new(&*clock());
        let new = NewArtifact { id, owner: OwnerId(1), job: JobSeq(7), job_id: JobId::new(&*clock()), resource: &resource,
            kind: "csv", filename: "f", content_type: "text/csv", size: 1, sha256: "00", object_key: "k",
            created_at: at(0), expires_at: at(10) };
        assert_eq!(artifacts::record(&mut tx, &new).await.unwrap(), 2);
        tx.rollback().await.unwrap();
        assert_eq!(record(&db, OwnerId(1), "csv", at(10)).await.1, 2);
        assert_eq!(record(&db, OwnerId(2), "csv", at(10)).await.1, 1);
    }

    async fn only_expired_artifacts_that_are_not_the_latest_are_removed(db) {
        let db = migrated(&db).await;
        let (first, _) = record(&db, OwnerId(1), "csv", at(10)).await;
        let (second, _) = record(&db, OwnerId(1), "csv", at(10)).await;
        let mut tx = db.begin().await.unwrap();
        assert!(artifacts::expired(&mut tx, at(9), 10).await.unwrap().is_empty());
        let expired = artifacts::expired(&mut tx, at(10), 10).await.unwrap();
        assert_eq!(expired.iter().map(|a| a.id).collect::<Vec<_>>(), [first]);
        assert!(!artifacts::delete(&mut tx, second).await.unwrap());
        assert!(artifacts::delete(&mut tx, first).await.unwrap());
        assert!(artifacts::get(&mut tx, OwnerId(2), second).await.unwrap().is_none());
        let left = artifacts::list(&mut tx, OwnerId(1), None, None, 10).await.unwrap();
        assert_eq!(left.iter().map(|a| a.id).collect::<Vec<_>>(), [second]);
    }
}
