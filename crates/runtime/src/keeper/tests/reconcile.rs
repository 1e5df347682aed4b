//! Objects without rows, and rows without objects.

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use windrow_blob::{InstallationSalt, ObjectAttributes, ObjectKey, OwnerHash, Prefix};
use windrow_core::{JobError, SystemClock};
use windrow_engine::{JobContext, Outcome, RunError};
use windrow_store::Conn;
use windrow_store::hot::Output;
use windrow_test_support::on_both;

use super::*;
use crate::keeper::reconcile::Reconciler;

/// Keeps a table of its own in which it names objects: those whose name begins so.
struct Archivist;

#[async_trait]
impl Workload for Archivist {
    fn name(&self) -> &'static str {
        "archivist"
    }

    fn spec_schema(&self) -> Value {
        json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"})
    }

    async fn run(&self, _ctx: JobContext, _input: Value) -> Result<Outcome, RunError> {
        unreachable!("no worker runs it")
    }

    async fn names_objects(&self, _conn: &mut Conn, keys: &[String]) -> Result<Vec<String>, JobError> {
        Ok(keys.iter().filter(|key| key.ends_with("/archived")).cloned().collect())
    }
}

impl Kept {
    /// Storage tells the machine's time, so the installation goes by it, too.
    fn set_clock_to_the_machines(&self) {
        let machines = SystemClock::shared().now();
        self.app.clock.jump(machines.as_micros() - self.now().as_micros());
    }

    async fn object(&self, prefix: Prefix, run: &Claimed, name: &str) -> ObjectKey {
        let owner = OwnerHash::new(self.owner, &self.parts.salt);
        let key = ObjectKey::of_job(prefix, owner, run.id, &["run-1", name]).unwrap();
        self.put_at(&key).await;
        key
    }

    async fn put_at(&self, key: &ObjectKey) {
        self.parts.blob.put(key, Bytes::from_static(b"x"), &ObjectAttributes::default()).await.unwrap();
    }

    async fn there(&self, keys: &[ObjectKey]) -> Vec<bool> {
        let mut there = Vec::new();
        for key in keys {
            there.push(self.parts.blob.head(key).await.is_ok());
        }
        there
    }
}

on_both! {
    async fn only_what_nothing_can_need_is_removed(db) {
        let kept = Kept::with(db, vec![Arc::new(Archivist)]).await;
        kept.set_clock_to_the_machines();
        kept.submit(kept.job("archivist")).await;
        let run = kept.claim_one().await;
        let orphan = kept.object(Prefix::Outputs, &run, "orphan").await;
        let mentioned = kept.object(Prefix::Outputs, &run, "mentioned").await;
        let output = Output { schema_version: 1, json: json!({"file": mentioned.to_string()}).to_string() };
        kept.end(&run, End::Complete(Some(output))).await;
        let artifact = kept.app.artifact(run.id, "csv", Bytes::from_static(b"a,b")).await;
        kept.submit(kept.job("archivist")).await;
        let open = kept.claim_one().await;

        let owner = OwnerHash::new(kept.owner, &kept.parts.salt);
        let others = OwnerHash::new(kept.owner, &InstallationSalt::from_bytes([9; 32]));
        let seed = ObjectKey::of_job(Prefix::SeedData, owner, run.id, &["run-1", "seed"]).unwrap();
        let foreign = ObjectKey::of_job(Prefix::Outputs, others, run.id, &["run-1", "orphan"]).unwrap();
        let no_runs = ObjectKey::of_job(Prefix::Outputs, owner, run.id, &["by-hand"]).unwrap();
        for key in [&seed, &foreign, &no_runs] {
            kept.put_at(key).await;
        }
        let keep = [
            mentioned,
            kept.object(Prefix::Checkpoints, &open, "of-an-open-job").await,
            kept.object(Prefix::Generated, &run, "archived").await,
            seed,
            foreign,
            no_runs,
        ];
        // Of a job that was deleted.
        let gone = Claimed { id: JobId::new(&*kept.app.clock), ..run.clone() };
        let remove = [orphan, kept.object(Prefix::Checkpoints, &gone, "of-a-deleted-job").await];

        let mut reconciler = Reconciler::new(&kept.parts);
        kept.advance(47 * HOUR);
        turn(&mut reconciler).await;
        assert_eq!(kept.there(&remove).await, [true; 2], "younger than 48 h");
        kept.advance(2 * HOUR);
        turn(&mut reconciler).await;
        assert_eq!(kept.there(&remove).await, [false; 2]);
        assert_eq!(kept.there(&keep).await, [true; 6]);

        let mut conn = kept.store().read().await.unwrap();
        let held = windrow_store::artifacts::get(&mut conn, kept.owner, artifact).await.unwrap().unwrap();
        drop(conn);
        let key: ObjectKey = held.object_key.parse().unwrap();
        assert_eq!(kept.there(std::slice::from_ref(&key)).await, [true], "a row names it");
        assert!(!reconciler.is_missing("artifacts", "1".to_owned(), key.as_str()).await.unwrap());
        kept.parts.blob.delete(&key).await.unwrap();
        assert!(reconciler.is_missing("artifacts", "1".to_owned(), key.as_str()).await.unwrap());
        turn(&mut reconciler).await;
        kept.end(&open, End::Complete(None)).await;
        kept.app.finish().await;
    }

    async fn an_object_outlives_the_end_of_its_tree_by_two_days(db) {
        let kept = Kept::new(db).await;
        kept.set_clock_to_the_machines();
        kept.submit(kept.job("echo")).await;
        let run = kept.claim_one().await;
        let orphan = [kept.object(Prefix::Outputs, &run, "orphan").await];
        let mut reconciler = Reconciler::new(&kept.parts);
        kept.advance(30 * DAY);
        turn(&mut reconciler).await;
        assert_eq!(kept.there(&orphan).await, [true], "its job runs");
        kept.end(&run, End::Complete(None)).await;
        kept.advance(47 * HOUR);
        turn(&mut reconciler).await;
        assert_eq!(kept.there(&orphan).await, [true], "its job ended 47 h ago");
        kept.advance(2 * HOUR);
        turn(&mut reconciler).await;
        assert_eq!(kept.there(&orphan).await, [false]);
        kept.app.finish().await;
    }
}
