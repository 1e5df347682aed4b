//! Where a benchmark's database is.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use tempfile::TempDir;
use windrow_bench_gauge as gauge;
use windrow_core::SystemClock;
use windrow_store::migrate::{self, PLATFORM};
use windrow_store::{Db, DbOptions, Store, StoreOptions};

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Database {
    Sqlite,
    Postgres,
}

/// The arguments that say what is measured where.
#[derive(Clone, Debug, clap::Args)]
pub struct Where {
    /// Only this database.
    #[arg(long)]
    only: Option<Database>,
    /// Where the databases are made; default: the system's temp directory.
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl Where {
    /// The databases that are asked for.
    pub fn databases(&self) -> impl Iterator<Item = Database> {
        let only = self.only;
        [Database::Sqlite, Database::Postgres]
            .into_iter()
            .filter(move |one| only.is_none_or(|only| only == *one))
    }

    /// A new place for one.
    pub fn place(&self, database: Database) -> Result<Place> {
        let dir = match &self.dir {
            Some(dir) => TempDir::new_in(dir),
            None => TempDir::new(),
        };
        Place::new(database, dir.context("a directory for the database")?)
    }
}

/// An empty database, with a PostgreSQL cluster of its own or as a file of SQLite. Gone when it is dropped.
pub struct Place {
    // stopped before its directory goes
    cluster: Option<gauge::Cluster>,
    url: String,
    dir: TempDir,
}

impl Place {
    fn new(database: Database, dir: TempDir) -> Result<Self> {
        let cluster = match database {
            Database::Sqlite => None,
            Database::Postgres => Some(gauge::Cluster::start(&dir.path().join("pg"))?),
        };
        let file = || format!("sqlite://{}", dir.path().join("bench.db").display());
        let url = cluster.as_ref().map_or_else(file, |cluster| cluster.url().to_owned());
        Ok(Self { cluster, url, dir })
    }

    /// For people.
    pub fn name(&self) -> &'static str {
        if self.cluster.is_some() { "PostgreSQL" } else { "SQLite" }
    }

    /// A directory on the same disk, for whatever else there is.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// For another process.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The file of SQLite.
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("bench.db")
    }

    /// Opens it, with all migrations.
    pub async fn open(&self) -> Result<Store> {
        let clock = SystemClock::shared();
        let db = self.connect(DbOptions::default()).await?;
        migrate::up(&db, &[PLATFORM], clock.now()).await?;
        Ok(Store::open(db, clock, StoreOptions::default()).await?)
    }

    /// Connections of their own.
    pub async fn connect(&self, options: DbOptions) -> Result<Db> {
        Db::connect(&self.url, options).await.context("the database opens")
    }

    /// Processor time so far in seconds: this process's, and the database server's where there is one.
    pub fn processor(&self) -> Result<(f64, f64)> {
        let server = self
            .cluster
            .as_ref()
            .map_or(Ok(0.0), |cluster| gauge::cpu_seconds_of_family(cluster.process()?))?;
        Ok((gauge::cpu_seconds("self")?, server))
    }
}
