//! What this crate's tests share.

use windrow_core::{Clock, TestClock, Timestamp};
use windrow_store::migrate::{self, PLATFORM};
use windrow_store::{Db, DbOptions};
use windrow_test_support::TestDb;

/// An open database without tables.
pub async fn open(test: &TestDb) -> Db {
    Db::connect(test.url(), DbOptions::default()).await.expect("the test database opens")
}

/// An open database with the platform's tables.
pub async fn migrated(test: &TestDb) -> Db {
    let db = open(test).await;
    migrate::up(&db, &[PLATFORM], TestClock::shared().now()).await.expect("the platform's migrations apply");
    db
}

/// 2026-01-01T00:00:00Z, where a test clock starts.
pub const CLOCK: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// The owners of tests' jobs, where somebody looks for them: 1, 2 and 3.
pub const USERS: &str = "INSERT INTO users (id, sub, role, status, created_at, updated_at)
    VALUES (1, 'a', 'consumer', 'active', 0, 0), (2, 'b', 'consumer', 'active', 0, 0), (3, 'c', 'consumer', 'active', 0, 0)";
