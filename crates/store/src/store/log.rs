//! SQLite's write-ahead log. Its checkpoints are kept out of commits: PASSIVE ones run on another connection; when the
//! log is long, a RESTART between two batches lets the next commit write at its start again. (PASSIVE alone let it grow
//! to 1 GB in 20 s of full load; with RESTART it stays at 12 MB.)

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::{Conn, Db, StoreError, fetch_one};

/// Pages of 4 KiB from which a PASSIVE checkpoint is worth its fsync, and from which the log is restarted.
const PASSIVE_PAGES: i64 = 500;
const RESTART_PAGES: i64 = 2_000;

/// A long read lets the log grow beyond any restart; the first one after it cuts the file to this many bytes.
const LENGTH_KEPT: &str = "PRAGMA journal_size_limit = 33554432";

/// How often the log's length is looked at while there are commits.
const EVERY: Duration = Duration::from_millis(100);

/// Takes the checkpoints away from the commits of this process's writer.
#[derive(Debug)]
pub(super) struct WriteAheadLog {
    db: Db,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    committed: Notify,
    dirty: AtomicBool,
    /// Pages in the log at the last look.
    pages: AtomicI64,
}

impl Drop for WriteAheadLog {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl WriteAheadLog {
    pub(super) async fn take_over(db: &Db) -> Result<Self, StoreError> {
        let mut writer = db.writer().await?;
        writer.raw("PRAGMA wal_autocheckpoint = 0").await?;
        writer.raw(LENGTH_KEPT).await?;
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(passive(db.clone(), Arc::clone(&shared)));
        Ok(Self { db: db.clone(), shared, task })
    }

    /// Called by the batcher after each batch, when it holds no transaction.
    pub(super) async fn between_batches(&mut self) {
        self.shared.dirty.store(true, Ordering::Release);
        self.shared.committed.notify_one();
        if self.shared.pages.load(Ordering::Acquire) < RESTART_PAGES {
            return;
        }
        self.shared.pages.store(0, Ordering::Release);
        let restarted = async {
            let mut writer = self.db.writer().await?;
            // readers of old pages hold a restart up: they are waited for a moment only
            writer.raw("PRAGMA busy_timeout = 20").await?;
            let done = checkpoint(&mut writer, "PRAGMA wal_checkpoint(RESTART)").await;
            let wait = self.db.options().busy_timeout.as_millis();
            writer.raw(sqlx::AssertSqlSafe(format!("PRAGMA busy_timeout = {wait}"))).await?;
            done
        };
        if let Err(error) = restarted.await {
            tracing::debug!(%error, "the write-ahead log could not be restarted now");
        }
    }
}

/// (busy, pages in the log, pages copied into the database).
async fn checkpoint(conn: &mut Conn, sql: &'static str) -> Result<(i64, i64, i64), StoreError> {
    fetch_one!(conn, (i64, i64, i64), sql)
}

async fn passive(db: Db, shared: Arc<Shared>) {
    loop {
        shared.committed.notified().await;
        tokio::time::sleep(EVERY).await;
        if !shared.dirty.swap(false, Ordering::AcqRel) {
            continue;
        }
        let copied = async {
            let mut conn = db.aside().await?;
            let (_, pages, copied) = checkpoint(&mut conn, "PRAGMA wal_checkpoint(PASSIVE)").await?;
            Ok::<_, StoreError>((pages, copied))
        };
        match copied.await {
            Ok((pages, copied)) => {
                metrics::gauge!("windrow_store_log_pages")
                    .set(f64::from(i32::try_from(pages).unwrap_or(i32::MAX)));
                if copied >= PASSIVE_PAGES {
                    shared.pages.store(pages, Ordering::Release);
                }
            }
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, "a checkpoint of the write-ahead log failed"),
        }
    }
}
