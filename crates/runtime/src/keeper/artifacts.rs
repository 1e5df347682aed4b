//! Expired artifacts go, row and object, but never the latest of its kind.

use windrow_blob::BlobStore;
use windrow_store::artifacts::{self, Held};
use windrow_store::{Store, objects};

use super::chore::{Chore, Next};
use super::{KeeperError, KeeperParts, PAGE, is_full, remove};

pub(super) struct Artifacts {
    store: Store,
    blob: BlobStore,
}

impl Artifacts {
    pub(super) fn new(parts: &KeeperParts) -> Self {
        Self { store: parts.store.clone(), blob: parts.blob.clone() }
    }

    /// The object goes first: a row without an object is found again by the next sweep.
    async fn expire(&self, artifact: &Held) -> Result<(), KeeperError> {
        let key = &artifact.object_key;
        let shared = objects::shared(&mut self.store.read().await?, artifact.id, key).await?;
        if !shared {
            remove(&self.blob, key).await?;
        }
        let id = artifact.id;
        self.store.unit(move |tx| Box::pin(artifacts::delete(tx, id))).await?;
        Ok(())
    }
}

impl Chore for Artifacts {
    const NAME: &'static str = "artifacts";

    async fn turn(&mut self) -> Result<Next, KeeperError> {
        let mut problem = None;
        loop {
            let now = self.store.now();
            let expired = artifacts::expired(&mut self.store.read().await?, now, PAGE).await?;
            let mut gone = 0;
            for artifact in &expired {
                match self.expire(artifact).await {
                    Ok(()) => gone += 1,
                    Err(error) => drop(problem.get_or_insert(error)),
                }
            }
            if gone == 0 || !is_full(expired.len()) {
                return problem.map_or(Ok(Next::Usual), Err);
            }
        }
    }
}
