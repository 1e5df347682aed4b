//! What tests of one engine share.

use tempfile::TempDir;
use windrow_engine::LocalSettings;
use windrow_engine::testing::{Bench, Scripted};
use windrow_store::{execute, sqlx};
use windrow_test_support::TestDb;

pub async fn bench(db: &TestDb) -> (Bench, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let settings = LocalSettings::default();
    let bench = Bench::local(db.url(), &dir.path().join("objects"), Scripted::echo(), settings).await;
    (bench, dir)
}

/// Does to the database what no code of this program does.
pub async fn write(bench: &Bench, sql: &'static str) {
    let written = bench
        .store
        .alone(move |tx| Box::pin(async move { execute!(tx, sqlx::AssertSqlSafe(sql)).map(drop) }));
    written.await.unwrap();
}
