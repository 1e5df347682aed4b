//! Shared, immutable objects that many runs of a process read, kept in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::EngineError;

/// Objects by key, the least recently used dropped first once they are more than `capacity` bytes together.
#[derive(Debug)]
pub struct AssetCache {
    capacity: usize,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_key: HashMap<String, Entry>,
    uses: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    bytes: Arc<OnceCell<Bytes>>,
    last_use: u64,
}

impl AssetCache {
    /// `capacity` is in bytes.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, entries: Mutex::default() }
    }

    /// The object at `key`; `read` is asked once however many ask at the same time, and again after it failed.
    pub async fn get<F>(&self, key: &str, read: F) -> Result<Bytes, EngineError>
    where
        F: Future<Output = Result<Bytes, EngineError>>,
    {
        let cell = self.entry(key);
        let bytes = cell.get_or_try_init(|| read).await?.clone();
        self.evict(key);
        Ok(bytes)
    }

    fn entry(&self, key: &str) -> Arc<OnceCell<Bytes>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.uses += 1;
        let last_use = entries.uses;
        let entry =
            entries.by_key.entry(key.to_owned()).or_insert_with(|| Entry { bytes: Arc::default(), last_use });
        entry.last_use = last_use;
        Arc::clone(&entry.bytes)
    }

    /// Drops what does not fit, oldest use first; `just_read` itself when it is too large alone.
    fn evict(&self, just_read: &str) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let size = |entry: &Entry| entry.bytes.get().map_or(0, Bytes::len);
            let total: usize = entries.by_key.values().map(size).sum();
            if total <= self.capacity {
                return;
            }
            let loaded = entries.by_key.iter().filter(|(_, entry)| entry.bytes.initialized());
            let others = loaded.filter(|(key, _)| key.as_str() != just_read);
            let oldest = others.min_by_key(|(_, entry)| entry.last_use).map(|(key, _)| key.clone());
            entries.by_key.remove(oldest.as_deref().unwrap_or(just_read));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(cache: &AssetCache, key: &str, size: usize) -> bool {
        let mut asked = false;
        let read = async {
            asked = true;
            Ok(Bytes::from(vec![0; size]))
        };
        assert_eq!(cache.get(key, read).await.unwrap().len(), size);
        asked
    }

    #[tokio::test]
    async fn the_least_recently_used_goes_first() {
        let cache = AssetCache::new(10);
        assert!(read(&cache, "a", 4).await);
        assert!(read(&cache, "b", 4).await);
        assert!(!read(&cache, "a", 4).await);
        assert!(read(&cache, "c", 4).await);
        assert!(!read(&cache, "a", 4).await);
        assert!(read(&cache, "b", 4).await);
    }

    #[tokio::test]
    async fn what_is_too_large_alone_is_read_each_time_and_drops_nothing_it_need_not() {
        let cache = AssetCache::new(10);
        assert!(read(&cache, "large", 11).await);
        assert!(read(&cache, "large", 11).await);
    }

    #[tokio::test]
    async fn a_failed_read_is_tried_again() {
        let cache = AssetCache::new(10);
        let failed = cache.get("a", async { Err(EngineError::Unavailable("down".to_owned())) }).await;
        assert!(failed.is_err());
        assert!(read(&cache, "a", 1).await);
    }
}
