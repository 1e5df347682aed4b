//! Uploads that nobody completed expire, and the objects of dead ones go a day later.

use std::time::Duration;

use windrow_blob::BlobStore;
use windrow_store::{Store, uploads};

use super::chore::{Chore, Next};
use super::{KeeperError, KeeperParts, PAGE, is_full, remove};

pub(super) struct Uploads {
    store: Store,
    blob: BlobStore,
    keep: Duration,
}

impl Uploads {
    pub(super) fn new(parts: &KeeperParts) -> Self {
        Self { store: parts.store.clone(), blob: parts.blob.clone(), keep: parts.settings.keep_dead_objects }
    }

    async fn remove_objects(&self) -> Result<(), KeeperError> {
        let mut problem = None;
        loop {
            let now = self.store.now();
            let before = now.minus(self.keep);
            let dead = uploads::dead_objects(&mut self.store.read().await?, before, PAGE).await?;
            let mut removed = 0;
            for upload in &dead {
                if let Err(error) = remove(&self.blob, &upload.object_key).await {
                    problem.get_or_insert(error);
                    continue;
                }
                let id = upload.id;
                self.store.unit(move |tx| Box::pin(uploads::object_deleted(tx, id, now))).await?;
                removed += 1;
            }
            // A page of which nothing could be removed would come again.
            if removed == 0 || !is_full(dead.len()) {
                return problem.map_or(Ok(()), Err);
            }
        }
    }
}

impl Chore for Uploads {
    const NAME: &'static str = "uploads";

    async fn turn(&mut self) -> Result<Next, KeeperError> {
        let now = self.store.now();
        while self.store.unit(move |tx| Box::pin(uploads::expire(tx, now, PAGE))).await? >= u64::from(PAGE) {}
        self.remove_objects().await?;
        Ok(Next::Usual)
    }
}
