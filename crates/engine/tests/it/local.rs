//! What every engine must do, done by the one beside the database.

use tempfile::TempDir;
use windrow_engine::LocalSettings;
use windrow_engine::testing::{Bench, Scripted};
use windrow_test_support::TestDb;

async fn bench(db: TestDb) -> (Bench, (TestDb, TempDir)) {
    let dir = tempfile::tempdir().unwrap();
    let workload = Scripted::echo().with_commit();
    let bench = Bench::local(db.url(), &dir.path().join("objects"), workload, LocalSettings::default()).await;
    (bench, (db, dir))
}

mod sqlite {
    use super::*;

    windrow_engine::conformance!(bench(TestDb::sqlite().await).await);
}

mod postgres {
    use super::*;

    windrow_engine::conformance!(bench(TestDb::postgres().await).await);
}
