//! A database for one test.

use std::fmt;
use std::fs::File;
use std::path::Path;

use anyhow::Context as _;
use sqlx::Connection as _;
use tempfile::TempDir;
use windrow_core::{SystemClock, ids::uuid_v7};

use crate::Cluster;

/// Which database a test runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// A SQLite file.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        })
    }
}

/// An empty database that only one test sees. Dropping it removes it; a test that panics leaves the PostgreSQL one
/// behind, and its URL on stderr, for whoever looks into the failure.
pub struct TestDb {
    url: String,
    place: Place,
}

enum Place {
    File(TempDir),
    Schema(Cluster, String),
    Database(Cluster, String),
}

impl TestDb {
    /// A SQLite file in a temp directory of its own. The file exists and is empty.
    ///
    /// # Panics
    /// When the temp directory can't be written.
    #[expect(
        clippy::unused_async,
        reason = "the same shape as `postgres`, so that a test can be written for both"
    )]
    pub async fn sqlite() -> Self {
        let dir =
            tempfile::Builder::new().prefix("windrow-test-").tempdir().expect("a temp directory can be made");
        Self { url: sqlite_url(&dir), place: Place::File(dir) }
    }

    /// A schema of its own in the test run's PostgreSQL cluster. The URL sets it as the whole search path.
    ///
    /// Advisory locks and NOTIFY channels are per database, so tests in other schemas can hold and hear the same ones:
    /// a test that counts on being alone there takes [`TestDb::postgres_database`].
    ///
    /// # Panics
    /// When PostgreSQL isn't installed or doesn't start; the message names the command that installs it.
    pub async fn postgres() -> Self {
        let (cluster, name) = Self::create("CREATE SCHEMA").await;
        let url = format!("{}?options=-csearch_path%3D{name}", cluster.url("postgres"));
        Self { url, place: Place::Schema(cluster, name) }
    }

    /// A whole PostgreSQL database of its own: ten times slower to make than a schema, with locks and channels of its own.
    ///
    /// # Panics
    /// As [`TestDb::postgres`].
    pub async fn postgres_database() -> Self {
        let (cluster, name) = Self::create("CREATE DATABASE").await;
        Self { url: cluster.url(&name), place: Place::Database(cluster, name) }
    }

    async fn create(verb: &str) -> (Cluster, String) {
        let cluster = Cluster::shared().await.unwrap_or_else(|error| panic!("{error}"));
        let name = format!("t_{}", uuid_v7(&*SystemClock::shared()).simple());
        execute(&cluster, &format!("{verb} {name}")).await.expect("the test cluster takes DDL");
        (cluster, name)
    }

    /// What goes into `DATABASE_URL`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The directory that holds the SQLite file and nothing else of the test; none on PostgreSQL.
    #[must_use]
    pub fn dir(&self) -> Option<&Path> {
        match &self.place {
            Place::File(dir) => Some(dir.path()),
            Place::Schema(..) | Place::Database(..) => None,
        }
    }

    /// Which of the two it is.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self.place {
            Place::File(_) => Dialect::Sqlite,
            Place::Schema(..) | Place::Database(..) => Dialect::Postgres,
        }
    }
}

impl fmt::Debug for TestDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.dialect(), self.url)
    }
}

impl Drop for TestDb {
    #[expect(clippy::print_stderr, reason = "stderr is where a test's report is read")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this test failed on {self:?}");
            return;
        }
        let (cluster, sql) = match &self.place {
            Place::File(_) => return,
            Place::Schema(cluster, name) => (cluster.clone(), format!("DROP SCHEMA {name} CASCADE")),
            Place::Database(cluster, name) => (cluster.clone(), format!("DROP DATABASE {name} WITH (FORCE)")),
        };
        // Drop isn't async, and the test's own runtime may be gone or single-threaded.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(execute(&cluster, &sql))
        });
        // What stays behind is removed with the cluster; a test that still holds a lock here is no reason to fail it.
        if let Ok(Err(error)) = dropped.join() {
            eprintln!("{self:?} stays behind: {error:#}");
        }
    }
}

/// Runs one statement on a connection of its own, and gives up after two seconds of waiting for a lock.
async fn execute(cluster: &Cluster, sql: &str) -> anyhow::Result<()> {
    let mut connection = cluster.connect().await.context("the test cluster answers")?;
    sqlx::raw_sql("SET lock_timeout = '2s'; SET client_min_messages = 'warning'")
        .execute(&mut connection)
        .await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.with_context(|| sql.to_owned())?;
    Ok(connection.close().await?)
}

fn sqlite_url(dir: &TempDir) -> String {
    let path = dir.path().join("windrow.db");
    File::create(&path).expect("a fresh temp directory is writable");
    format!("sqlite://{}", path.display())
}

/// Runs a test on SQLite, then on PostgreSQL. When it panics, the last line on stderr names the database.
///
/// Prefer [`on_both!`](crate::on_both), which makes two tests that run and fail on their own; this is for property tests
/// and for tests that compare the two.
pub async fn for_both<Test, Run>(test: Test)
where
    Test: Fn(TestDb) -> Run,
    Run: Future<Output = ()>,
{
    test(TestDb::sqlite().await).await;
    test(TestDb::postgres().await).await;
}

/// Makes of one async function two tests, `NAME::sqlite` and `NAME::postgres`, each with an empty database.
///
/// ```
/// windrow_test_support::on_both! {
///     /// A doc comment or another attribute goes to both.
///     async fn starts_empty(db) {
///         assert!(!db.url().is_empty());
///     }
/// }
/// ```
#[macro_export]
macro_rules! on_both {
    ($($(#[$meta:meta])* async fn $name:ident($db:ident) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports, reason = "the body sees what its module sees")]
            use super::*;

            async fn body($db: $crate::TestDb) $body

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                body($crate::TestDb::sqlite().await).await;
            }

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                body($crate::TestDb::postgres().await).await;
            }
        }
    )*};
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::{PgConnection, SqliteConnection};

    async fn tables_after_making_one(db: &TestDb) -> Vec<String> {
        match db.dialect() {
            Dialect::Sqlite => {
                let mut connection = SqliteConnection::connect(db.url()).await.unwrap();
                sqlx::raw_sql("CREATE TABLE made_here (id INTEGER)").execute(&mut connection).await.unwrap();
                sqlx::query_scalar("SELECT name FROM sqlite_master").fetch_all(&mut connection).await.unwrap()
            }
            Dialect::Postgres => {
                let mut connection = PgConnection::connect(db.url()).await.unwrap();
                sqlx::raw_sql("CREATE TABLE made_here (id INTEGER)").execute(&mut connection).await.unwrap();
                sqlx::query_scalar(
                    "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()",
                )
                .fetch_all(&mut connection)
                .await
                .unwrap()
            }
        }
    }

    #[tokio::test]
    async fn two_tests_do_not_see_each_other() {
        for_both(|first| async move {
            let second = match first.dialect() {
                Dialect::Sqlite => TestDb::sqlite().await,
                Dialect::Postgres => TestDb::postgres().await,
            };
            assert_eq!(tables_after_making_one(&first).await, ["made_here"]);
            assert_eq!(tables_after_making_one(&second).await, ["made_here"]);
        })
        .await;
    }

    #[tokio::test]
    async fn dropping_removes_the_schema_and_the_database() {
        let (schema, database) = (TestDb::postgres().await, TestDb::postgres_database().await);
        let cluster = Cluster::shared().await.unwrap();
        let (Place::Schema(_, schema_name), Place::Database(_, database_name)) =
            (&schema.place, &database.place)
        else {
            panic!("a schema and a database");
        };
        let (schema_name, database_name) = (schema_name.clone(), database_name.clone());
        let still_there = "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = $1) \
                         + (SELECT count(*) FROM pg_database WHERE datname = $2)";
        let mut connection = cluster.connect().await.unwrap();
        let mut count = async || -> i64 {
            let query = sqlx::query_scalar(still_there).bind(&schema_name).bind(&database_name);
            query.fetch_one(&mut connection).await.unwrap()
        };
        assert_eq!(count().await, 2);
        drop((schema, database));
        assert_eq!(count().await, 0);
    }

    on_both! {
        async fn a_test_for_both_gets_an_empty_database(db) {
            assert_eq!(tables_after_making_one(&db).await, ["made_here"]);
        }
    }
}
