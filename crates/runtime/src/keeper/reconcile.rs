//! The reconciler compares objects and rows, both ways.
//!
//! An object goes when no row names it and nothing can name it any more: its job's tree has ended, or was deleted, and both
//! that and the object are older than 48 h. It only looks where runs write, and only at objects below the hashes of this
//! installation's owners: never at seed data, samples, references, backups, or what belongs to others in the same storage.
//!
//! A row whose object is gone is reported: what was lost is for a person to find out.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::StreamExt as _;
use windrow_blob::{BlobError, BlobStore, InstallationSalt, ObjectKey, ObjectPrefix, OwnerHash, Prefix};
use windrow_core::{ArtifactId, JobId, OwnerId, Timestamp, UploadId};
use windrow_engine::{RUN_PREFIXES, WorkloadRegistry};
use windrow_store::objects::{self, Putter};
use windrow_store::users::{self, UserFilter};
use windrow_store::{Conn, Store, artifacts, uploads};

use super::chore::{Chore, Next};
use super::{KeeperError, KeeperParts, PAGE, is_full};

/// How many rows one turn looks up in storage: a large installation is walked in several turns.
const ROWS_A_TURN: usize = 10_000;

pub(super) struct Reconciler {
    store: Store,
    blob: BlobStore,
    salt: InstallationSalt,
    registry: WorkloadRegistry,
    unnamed_for: Duration,
    keep_unfinished: Duration,
    uploads: Walk<UploadId>,
    artifacts: Walk<ArtifactId>,
}

/// How far the walk over a table has come, and what it found on its way.
#[derive(Debug)]
struct Walk<Id> {
    after: Option<Id>,
    missing: u32,
}

impl<Id: Copy> Walk<Id> {
    const fn new() -> Self {
        Self { after: None, missing: 0 }
    }

    /// Goes on after a page; at the end of the table it tells what it found, and begins anew.
    fn advance(&mut self, table: &'static str, last: Option<Id>, full: bool) -> bool {
        self.after = last.filter(|_| full);
        if self.after.is_none() {
            metrics::gauge!("windrow_missing_objects", "table" => table).set(f64::from(self.missing));
            self.missing = 0;
        }
        self.after.is_some()
    }
}

impl Reconciler {
    pub(super) fn new(parts: &KeeperParts) -> Self {
        Self {
            store: parts.store.clone(),
            blob: parts.blob.clone(),
            salt: parts.salt,
            registry: parts.registry.clone(),
            unnamed_for: parts.settings.unnamed_for,
            keep_unfinished: parts.settings.keep_unfinished,
            uploads: Walk::new(),
            artifacts: Walk::new(),
        }
    }

    async fn owners(&self) -> Result<HashSet<OwnerHash>, KeeperError> {
        let (mut owners, mut after): (_, Option<OwnerId>) = (HashSet::new(), None);
        loop {
            let mut conn = self.store.read().await?;
            let page = users::list(&mut conn, &UserFilter::default(), after, PAGE).await?;
            owners.extend(page.iter().map(|user| OwnerHash::new(user.id, &self.salt)));
            after = page.last().map(|user| user.id);
            if !is_full(page.len()) {
                return Ok(owners);
            }
        }
    }

    /// Removes what nothing can need any more under one prefix; gives how many objects that were.
    async fn remove_unnamed(
        &self,
        prefix: Prefix,
        owners: &HashSet<OwnerHash>,
        before: Timestamp,
    ) -> Result<usize, KeeperError> {
        let (mut removed, mut batch) = (0, Vec::new());
        let mut listed = self.blob.list(&ObjectPrefix::all(prefix));
        while let Some(object) = listed.next().await {
            let object = object?;
            let ours = object.key.owner().is_some_and(|owner| owners.contains(&owner));
            if !ours || object.created >= before {
                continue;
            }
            batch.push(object.key);
            if is_full(batch.len()) {
                removed += self.remove_unneeded(std::mem::take(&mut batch), before).await?;
            }
        }
        Ok(removed + self.remove_unneeded(batch, before).await?)
    }

    async fn remove_unneeded(&self, keys: Vec<ObjectKey>, before: Timestamp) -> Result<usize, KeeperError> {
        if keys.is_empty() {
            return Ok(0);
        }
        let mut conn = self.store.read().await?;
        let unneeded = self.unneeded(&mut conn, keys, before).await?;
        drop(conn);
        for key in &unneeded {
            self.blob.delete(key).await?;
            tracing::info!(%key, "an object that no row named was removed");
        }
        Ok(unneeded.len())
    }

    async fn unneeded(
        &self,
        conn: &mut Conn,
        mut keys: Vec<ObjectKey>,
        before: Timestamp,
    ) -> Result<Vec<ObjectKey>, KeeperError> {
        let texts: Vec<String> = keys.iter().map(ObjectKey::to_string).collect();
        let named = objects::named(conn, &texts).await?;
        keys.retain(|key| !named.contains(key.as_str()));
        let named = self.named_by_workloads(conn, &keys).await?;
        keys.retain(|key| !named.contains(key.as_str()));
        let mut putters: HashMap<JobId, Option<Putter>> = HashMap::new();
        let mut unneeded = Vec::new();
        for key in keys {
            let Some(job) = job_of(&key) else { continue };
            let putter = match putters.entry(job) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(objects::putter(conn, job).await?),
            };
            if !self.may_be_needed(&key, putter.as_ref(), before) {
                unneeded.push(key);
            }
        }
        Ok(unneeded)
    }

    async fn named_by_workloads(
        &self,
        conn: &mut Conn,
        keys: &[ObjectKey],
    ) -> Result<HashSet<String>, KeeperError> {
        let mut named = HashSet::new();
        let keys: Vec<String> = keys.iter().map(ObjectKey::to_string).collect();
        for workload in self.registry.names().filter_map(|name| self.registry.get(name)) {
            let names = workload.names_objects(conn, &keys).await;
            named.extend(names.map_err(|error| KeeperError::Workload {
                workload: workload.name().to_owned(),
                what: "say which objects it names",
                error,
            })?);
        }
        Ok(named)
    }

    /// Whether something could still come to need an object that no row names.
    fn may_be_needed(&self, key: &ObjectKey, putter: Option<&Putter>, before: Timestamp) -> bool {
        // The job is gone, and its rows with it.
        let Some(putter) = putter else { return false };
        let mentions = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains(key.as_str()));
        !putter.root_status.is_final()
            || putter.root_ended_at.is_none_or(|ended_at| ended_at >= before)
            || self.registry.get(&putter.workload).is_none()
            || mentions(&putter.checkpoint)
            || mentions(&putter.output)
    }

    async fn report_missing_uploads(&mut self) -> Result<(), KeeperError> {
        for _ in 0..pages() {
            let mut conn = self.store.read().await?;
            let page = uploads::stored_after(&mut conn, self.uploads.after, PAGE).await?;
            drop(conn);
            for upload in &page {
                if self.is_missing("uploads", upload.id.to_string(), &upload.object_key).await? {
                    self.uploads.missing += 1;
                }
            }
            let last = page.last().map(|upload| upload.id);
            if !self.uploads.advance("uploads", last, is_full(page.len())) {
                break;
            }
        }
        Ok(())
    }

    async fn report_missing_artifacts(&mut self) -> Result<(), KeeperError> {
        for _ in 0..pages() {
            let mut conn = self.store.read().await?;
            let page = artifacts::after(&mut conn, self.artifacts.after, PAGE).await?;
            drop(conn);
            for artifact in &page {
                if self.is_missing("artifacts", artifact.id.to_string(), &artifact.object_key).await? {
                    self.artifacts.missing += 1;
                }
            }
            let last = page.last().map(|artifact| artifact.id);
            if !self.artifacts.advance("artifacts", last, is_full(page.len())) {
                break;
            }
        }
        Ok(())
    }

    /// Whether a row's object is gone; says so when it is.
    pub(super) async fn is_missing(
        &self,
        table: &'static str,
        id: String,
        key: &str,
    ) -> Result<bool, KeeperError> {
        let found = match key.parse::<ObjectKey>() {
            Ok(parsed) => self.blob.head(&parsed).await.map(drop),
            Err(error) => Err(error.into()),
        };
        match found {
            Ok(()) => return Ok(false),
            Err(BlobError::NotFound { .. } | BlobError::InvalidKey(_)) => {}
            Err(error) => return Err(error.into()),
        }
        // The sweeper may have removed both meanwhile.
        let named = objects::named(&mut self.store.read().await?, &[key.to_owned()]).await?;
        let missing = named.contains(key);
        if missing {
            tracing::error!(table, id, key, "the object of a row is gone; restore it from a backup");
        }
        Ok(missing)
    }
}

fn pages() -> usize {
    ROWS_A_TURN / usize::try_from(PAGE).unwrap_or(ROWS_A_TURN)
}

/// The job that put an object, of keys as runs have them: `{prefix}/{owner}/{job}/run-{run}/…`.
fn job_of(key: &ObjectKey) -> Option<JobId> {
    let mut segments = key.as_str().split('/').skip(2);
    let job = segments.next()?.parse().ok()?;
    segments.next()?.strip_prefix("run-")?.parse::<u64>().ok()?;
    segments.next().map(|_name| job)
}

impl Chore for Reconciler {
    const NAME: &'static str = "reconcile";

    async fn turn(&mut self) -> Result<Next, KeeperError> {
        let unfinished = self.blob.sweep_unfinished(self.keep_unfinished).await?;
        let before = self.store.now().minus(self.unnamed_for);
        let owners = self.owners().await?;
        let mut removed = 0;
        for prefix in RUN_PREFIXES {
            let prefix = prefix.parse().map_err(BlobError::from)?;
            removed += self.remove_unnamed(prefix, &owners, before).await?;
        }
        metrics::counter!("windrow_unnamed_objects_removed_total").increment(removed as u64);
        tracing::debug!(removed, unfinished, "objects were compared with rows");
        self.report_missing_uploads().await?;
        self.report_missing_artifacts().await?;
        Ok(Next::Usual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_as_runs_have_them_name_a_job() {
        let owner = "0123456789abcdef0123456789abcdef";
        let job = "0198c0de-0000-7000-8000-000000000001";
        let of = |text: String| job_of(&text.parse().unwrap()).map(|job| job.to_string());
        assert_eq!(of(format!("outputs/{owner}/{job}/run-3/part-1")).as_deref(), Some(job));
        for other in ["3/part-1", "run-x/part-1", "run-3"] {
            assert_eq!(of(format!("outputs/{owner}/{job}/{other}")), None, "{other}");
        }
        assert_eq!(of(format!("outputs/{owner}/notes/run-3/part-1")), None);
    }
}
