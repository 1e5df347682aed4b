//! The pools of one database.

use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use rusqlite::OpenFlags;
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{PgPool, Pool, SqlitePool};

use crate::conn::{Link, Means};
use crate::fault::SharedFaultHook;
use crate::migrate::{self, MigrationError};
use crate::{Conn, Dialect, SharedEndHook, StoreError, Tx, WorkPrices};

/// How a database is opened.
#[derive(Clone, Debug)]
pub struct DbOptions {
    /// PostgreSQL: connections for writers, and as many again for readers. SQLite: readers beside the one writer.
    pub max_connections: u32,
    /// Of these, so many are opened at once and kept while idle; at most `max_connections`.
    pub min_connections: u32,
    /// How long to wait for a free connection before [`StoreError::Busy`].
    pub acquire_timeout: Duration,
    /// SQLite: how long to wait for another process's lock.
    pub busy_timeout: Duration,
    /// How long one read (SQLite: one use of a reader; PostgreSQL: one statement) may take.
    pub read_limit: Duration,
    /// Shown by PostgreSQL in `pg_stat_activity`.
    pub application_name: String,
    /// Where LISTEN connects to, for those behind a pooler; default: the database's own URL.
    pub listen_url: Option<String>,
    /// What the work of runs is booked at.
    pub prices: WorkPrices,
}

impl Default for DbOptions {
    fn default() -> Self {
        Self {
            max_connections: 8,
            min_connections: 0,
            acquire_timeout: Duration::from_secs(10),
            busy_timeout: Duration::from_secs(5),
            read_limit: Duration::from_secs(20),
            application_name: "windrow".to_owned(),
            listen_url: None,
            prices: WorkPrices::default(),
        }
    }
}

/// One database, of either kind. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    pools: Pools,
    options: DbOptions,
    faults: Option<SharedFaultHook>,
    ends: Option<SharedEndHook>,
}

#[derive(Clone, Debug)]
enum Pools {
    Sqlite {
        writer: SqlitePool,
        readers: SqlitePool,
        aside: SqlitePool,
    },
    Postgres {
        writers: PgPool,
        readers: PgPool,
        aside: PgPool,
        schema: Option<String>,
        listen: Box<PgConnectOptions>,
    },
}

impl Db {
    /// Opens `sqlite:PATH` (made if absent; its folder must exist) or `postgres://…`, with `?schema=NAME` or not.
    pub async fn connect(url: &str, options: DbOptions) -> Result<Self, StoreError> {
        let pools = match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => open_sqlite(url, &options).await?,
            Some("postgres" | "postgresql") => open_postgres(url, &options).await?,
            scheme => {
                let problem = format!("its scheme is {:?}", scheme.unwrap_or_default());
                return Err(StoreError::BadUrl { problem });
            }
        };
        Ok(Self { pools, options, faults: None, ends: None })
    }

    /// The same database through connections of its own, at most so many, opened by whoever uses them first: for a thread
    /// with a runtime of its own. An embedded database has one owner and one writer: those are shared.
    #[must_use]
    pub fn reconnect(&self, max_connections: u32) -> Self {
        let pools = match &self.pools {
            Pools::Sqlite { .. } => self.pools.clone(),
            Pools::Postgres { writers, readers, aside, schema, listen } => {
                let pool = |shared: &PgPool| {
                    PgPoolOptions::new()
                        .max_connections(max_connections)
                        .acquire_timeout(self.options.acquire_timeout)
                        .connect_lazy_with((*shared.connect_options()).clone())
                };
                Pools::Postgres {
                    writers: pool(writers),
                    readers: pool(readers),
                    aside: pool(aside),
                    schema: schema.clone(),
                    listen: listen.clone(),
                }
            }
        };
        Self { pools, options: self.options.clone(), faults: self.faults.clone(), ends: self.ends.clone() }
    }

    /// The same pools, with a test's hook in every transaction.
    #[must_use]
    pub fn with_faults(mut self, hook: SharedFaultHook) -> Self {
        self.faults = Some(hook);
        self
    }

    /// The same pools, with somebody who has a say whenever a job ends without a run.
    #[must_use]
    pub fn with_end_hook(mut self, hook: SharedEndHook) -> Self {
        self.ends = Some(hook);
        self
    }

    fn means(&self) -> Means {
        Means { prices: self.options.prices, ends: self.ends.clone() }
    }

    pub const fn dialect(&self) -> Dialect {
        match self.pools {
            Pools::Sqlite { .. } => Dialect::Sqlite,
            Pools::Postgres { .. } => Dialect::Postgres,
        }
    }

    pub const fn options(&self) -> &DbOptions {
        &self.options
    }

    /// The PostgreSQL schema that the URL named.
    pub fn schema(&self) -> Option<&str> {
        match &self.pools {
            Pools::Postgres { schema, .. } => schema.as_deref(),
            Pools::Sqlite { .. } => None,
        }
    }

    /// Starts a transaction that may write. On SQLite it waits until it is the one writer.
    pub fn begin(&self) -> BoxFuture<'_, Result<Tx, StoreError>> {
        Box::pin(async move {
            let link = match &self.pools {
                Pools::Sqlite { writer, .. } => {
                    Link::SqliteTx(sql("BEGIN", writer.begin_with("BEGIN IMMEDIATE").await)?)
                }
                Pools::Postgres { writers, .. } => Link::PostgresTx(sql("BEGIN", writers.begin().await)?),
            };
            Ok(Tx::new(link, self.faults.clone(), self.means()))
        })
    }

    /// PostgreSQL: a transaction without BEGIN and COMMIT, for work that is one statement: that is durable when it is answered.
    /// None on SQLite, and where a test's hook wants to strike before the commit.
    pub(crate) fn begin_single(&self) -> BoxFuture<'_, Result<Option<Tx>, StoreError>> {
        Box::pin(async move {
            let (Pools::Postgres { writers, .. }, None) = (&self.pools, &self.faults) else {
                return Ok(None);
            };
            let link = Link::Postgres(sql("acquire", writers.acquire().await)?);
            Ok(Some(Tx::new(link, None, self.means())))
        })
    }

    /// A connection for reads; on SQLite it can't write. It fails with [`StoreError::TimeLimit`] past the read limit.
    pub fn read(&self) -> BoxFuture<'_, Result<Conn, StoreError>> {
        Box::pin(async move {
            let link = match &self.pools {
                Pools::Sqlite { readers, .. } => {
                    let mut conn = sql("acquire", readers.acquire().await)?;
                    let deadline = Instant::now() + self.options.read_limit;
                    let mut handle = sql("acquire", conn.lock_handle().await)?;
                    // asked every 10,000 virtual machine steps, some 100 µs
                    handle.set_progress_handler(10_000, move || Instant::now() < deadline);
                    drop(handle);
                    Link::Sqlite(conn)
                }
                Pools::Postgres { readers, .. } => Link::Postgres(sql("acquire", readers.acquire().await)?),
            };
            Ok(Conn::new(link, None))
        })
    }

    /// A snapshot for reads that must agree with each other. Drop it, or roll it back, when done.
    pub fn snapshot(&self) -> BoxFuture<'_, Result<Tx, StoreError>> {
        Box::pin(async move {
            let link = match &self.pools {
                Pools::Sqlite { readers, .. } => Link::SqliteTx(sql("BEGIN", readers.begin().await)?),
                Pools::Postgres { readers, .. } => {
                    let begin = readers.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await;
                    Link::PostgresTx(sql("BEGIN", begin)?)
                }
            };
            Ok(Tx::new(link, None, Means::default()))
        })
    }

    /// The SQLite writer outside a transaction, for PRAGMAs and checkpoints of the log; PostgreSQL: any connection.
    pub fn writer(&self) -> BoxFuture<'_, Result<Conn, StoreError>> {
        Box::pin(async move {
            let link = match &self.pools {
                Pools::Sqlite { writer, .. } => Link::Sqlite(sql("acquire", writer.acquire().await)?),
                Pools::Postgres { writers, .. } => Link::Postgres(sql("acquire", writers.acquire().await)?),
            };
            Ok(Conn::new(link, None))
        })
    }

    /// A connection that neither jobs nor readers use: for beats and NOTIFY on PostgreSQL, for checkpoints of the log on
    /// SQLite.
    pub fn aside(&self) -> BoxFuture<'_, Result<Conn, StoreError>> {
        Box::pin(async move {
            let link = match &self.pools {
                Pools::Sqlite { aside, .. } => Link::Sqlite(sql("acquire", aside.acquire().await)?),
                Pools::Postgres { aside, .. } => Link::Postgres(sql("acquire", aside.acquire().await)?),
            };
            Ok(Conn::new(link, None))
        })
    }

    /// A PostgreSQL connection outside the pool, on the LISTEN URL: for LISTEN, NOTIFY and beats. None on SQLite.
    pub async fn listener(&self) -> Result<Option<sqlx::postgres::PgListener>, StoreError> {
        match &self.pools {
            Pools::Sqlite { .. } => Ok(None),
            Pools::Postgres { listen, .. } => {
                let pool = PgPoolOptions::new()
                    .max_connections(1)
                    .acquire_timeout(self.options.acquire_timeout)
                    .idle_timeout(None)
                    .max_lifetime(None)
                    .connect_lazy_with((**listen).clone());
                let listener = sqlx::postgres::PgListener::connect_with(&pool).await;
                sql("LISTEN", listener).map(Some)
            }
        }
    }

    /// How many connections are open now, in use or not, those for single errands aside.
    pub fn open_connections(&self) -> u32 {
        match &self.pools {
            Pools::Sqlite { writer, readers, .. } => writer.size() + readers.size(),
            Pools::Postgres { writers, readers, .. } => writers.size() + readers.size(),
        }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let mut conn = self.read().await?;
        crate::fetch_one!(&mut conn, scalar i64, "SELECT CAST(1 AS bigint)").map(drop)
    }

    /// Closes all connections; SQLite folds its log into the file.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { writer, readers, aside } => {
                aside.close().await;
                readers.close().await;
                writer.close().await;
            }
            Pools::Postgres { writers, readers, aside, .. } => {
                aside.close().await;
                readers.close().await;
                writers.close().await;
            }
        }
    }
}

fn sql<T>(what: &str, result: Result<T, sqlx::Error>) -> Result<T, StoreError> {
    result.map_err(|error| StoreError::from_sqlx(what, error))
}

async fn open_sqlite(url: &str, options: &DbOptions) -> Result<Pools, StoreError> {
    let base = SqliteConnectOptions::from_str(url)
        .map_err(|error| StoreError::BadUrl { problem: error.to_string() })?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(options.busy_timeout)
        .statement_cache_capacity(256)
        .pragma("temp_store", "memory");
    refuse_foreign(base.get_filename())?;
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(options.acquire_timeout)
        .connect_with(base.clone().pragma("cache_size", "-16000"))
        .await;
    let writer = writer.map_err(|error| match StoreError::from_sqlx("open", error) {
        StoreError::Unreachable(why) => StoreError::Unreachable(format!(
            "{url}: {why} (does the folder exist, and may this user write there?)"
        )),
        StoreError::Damaged(why) => StoreError::Damaged(format!("{url}: {why}")),
        StoreError::Disk(why) => StoreError::Disk(format!("{url}: {why}")),
        error => error,
    })?;
    let readers = SqlitePoolOptions::new()
        .max_connections(options.max_connections)
        .min_connections(options.min_connections)
        .test_before_acquire(false)
        .idle_timeout(Duration::from_secs(60))
        .acquire_timeout(options.acquire_timeout);
    let readers = open_or_wait(readers, base.clone().pragma("query_only", "on")).await?;
    let aside = SqlitePoolOptions::new()
        .max_connections(1)
        .test_before_acquire(false)
        .acquire_timeout(options.acquire_timeout)
        .connect_lazy_with(base.busy_timeout(Duration::ZERO));
    Ok(Pools::Sqlite { writer, readers, aside })
}

/// A SQLite file is one program's: that of another is left as it is, to its journal's mode. What can't be read so is told by
/// whoever opens it to write.
fn refuse_foreign(file: &Path) -> Result<(), StoreError> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name";
    let tables = || -> rusqlite::Result<Vec<String>> {
        let connection = rusqlite::Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.prepare(sql)?.query_map((), |row| row.get(0))?.collect()
    };
    let tables = if file.is_file() { tables().unwrap_or_default() } else { Vec::new() };
    if tables.is_empty() || tables.iter().any(|name| name == migrate::LEDGER) {
        return Ok(());
    }
    let file = file.display().to_string();
    Err(MigrationError::Foreign { file, tables: tables.join(", ") }.into())
}

/// A pool that opens its first connection when it is first used, unless some are to be kept open.
async fn open_or_wait<D: sqlx::Database>(
    pool: PoolOptions<D>,
    connect: <D::Connection as sqlx::Connection>::Options,
) -> Result<Pool<D>, StoreError> {
    match pool.get_min_connections() {
        0 => Ok(pool.connect_lazy_with(connect)),
        _ => sql("connect", pool.connect_with(connect).await),
    }
}

async fn open_postgres(url: &str, options: &DbOptions) -> Result<Pools, StoreError> {
    let (base, schema) = postgres_options(url, options)?;
    let listen = match &options.listen_url {
        Some(url) => postgres_options(url, options)?.0,
        None => base.clone(),
    };
    let pool = |min_connections| {
        PgPoolOptions::new()
            .max_connections(options.max_connections)
            .min_connections(min_connections)
            .acquire_timeout(options.acquire_timeout)
    };
    let writers = pool(options.min_connections)
        .test_before_acquire(false)
        .connect_with(base.clone().options(WRITER_PLANS).options(WRITER_PATIENCE))
        .await;
    // the pool tries for as long as it may wait; that there never was a connection is no sign of being busy
    let place = format!("{}:{}", base.get_host(), base.get_port());
    let writers = sql("connect", writers).map_err(|error| match error {
        StoreError::Busy(_) => {
            let waited = options.acquire_timeout;
            StoreError::Unreachable(format!(
                "nothing answers at {place} in {waited:?}; does the server run there?"
            ))
        }
        StoreError::Unreachable(why) => StoreError::Unreachable(format!("{place}: {why}")),
        error => error,
    })?;
    let readers = open_or_wait(pool(options.min_connections), base.clone()).await?;
    let aside = pool(0).max_connections(2).connect_lazy_with(base);
    Ok(Pools::Postgres { writers, readers, aside, schema, listen: Box::new(listen) })
}

/// A process that stands still in the middle of a transaction keeps its locks, and with those of a budget all that its tree does.
/// Its transaction is undone before its lease of 7 s lapses, so that whoever retakes its runs finds their rows free.
const WRITER_PATIENCE: [(&str, &str); 1] = [("idle_in_transaction_session_timeout", "5s")];

/// What writes knows its rows by their keys, and what reads goes page by page. Tables go from empty to full and back between
/// two runs of ANALYZE, so that plans chosen by statistics, and kept, would scan or hash them whole just when it hurts:
/// asked twice a second for cancels, a server whose tables were empty when it first asked took 30 ms for 100,000 jobs. These
/// settings leave only walks along indexes.
const PLANS: [(&str, &str); 3] =
    [("enable_seqscan", "off"), ("enable_hashjoin", "off"), ("enable_mergejoin", "off")];

/// Then one plan serves all parameters of a hot statement.
const WRITER_PLANS: [(&str, &str); 1] = [("plan_cache_mode", "force_generic_plan")];

/// `schema` is Prisma's word for what PostgreSQL calls the search path; the driver would refuse it.
fn postgres_options(
    url: &str,
    options: &DbOptions,
) -> Result<(PgConnectOptions, Option<String>), StoreError> {
    let (url, schema) = take_schema(url)?;
    let limit = options.read_limit.as_millis().to_string();
    let mut base = PgConnectOptions::from_str(&url)
        .map_err(|error| StoreError::BadUrl { problem: error.to_string() })?
        .application_name(&options.application_name)
        .statement_cache_capacity(256)
        .options([("synchronous_commit", "on"), ("statement_timeout", limit.as_str())])
        .options([("idle_in_transaction_session_timeout", "30s"), ("jit", "off")])
        .options(PLANS);
    if let Some(schema) = &schema {
        base = base.options([("search_path", schema.as_str())]);
    }
    Ok((base, schema))
}

fn take_schema(url: &str) -> Result<(String, Option<String>), StoreError> {
    let Some((base, query)) = url.split_once('?') else { return Ok((url.to_owned(), None)) };
    let (schema, rest): (Vec<&str>, Vec<&str>) =
        query.split('&').partition(|pair| pair.starts_with("schema="));
    let schema = schema.first().map(|pair| pair["schema=".len()..].to_owned());
    if let Some(schema) = &schema {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if schema.is_empty() || schema.len() > 63 || !schema.chars().all(plain) {
            let problem = format!("schema={schema:?} must be 1 to 63 of a-z, 0-9 and _");
            return Err(StoreError::BadUrl { problem });
        }
    }
    let url = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
    Ok((url, schema))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_leaves_the_url() {
        let (url, schema) = take_schema("postgres://u@h/d?schema=team_a&sslmode=disable").unwrap();
        assert_eq!((url.as_str(), schema.as_deref()), ("postgres://u@h/d?sslmode=disable", Some("team_a")));
        assert_eq!(take_schema("postgres://u@h/d").unwrap(), ("postgres://u@h/d".to_owned(), None));
        assert!(take_schema("postgres://u@h/d?schema=a%20b").is_err());
    }
}
