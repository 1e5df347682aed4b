//! What is looked at every ten seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Result;
use windrow_bench_gauge as gauge;
use windrow_bench_rig::{Pickups, Place, quantile};
use windrow_store::{Dialect, Store, fetch_one};

const MIB: f64 = 1024.0 * 1024.0;

/// One line of the figures.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub seconds: f64,
    /// Whether somebody's snapshot was open.
    pub reading: bool,
    executed: f64,
    p50: f64,
    p99: f64,
    waiting: f64,
    dead_tuples: f64,
    wal_mib: f64,
    database_mib: f64,
    rss_mib: f64,
}

/// A name for people, and the figure.
type Series = (&'static str, fn(&Sample) -> f64);

impl Sample {
    pub const HEAD: &'static str = "seconds,reading,executed_per_second,pickup_p50_ms,pickup_p99_ms,waiting_jobs,\
                                    dead_tuples,wal_mib,database_mib,rss_mib";

    /// Dead tuples are those of `ready`, `running` and `scheduled`, as PostgreSQL counts them; SQLite has none.
    pub const SERIES: [Series; 8] = [
        ("executed/s", |sample| sample.executed),
        ("pickup p50, ms", |sample| sample.p50),
        ("pickup p99, ms", |sample| sample.p99),
        ("jobs that wait", |sample| sample.waiting),
        ("dead tuples, hot tables", |sample| sample.dead_tuples),
        ("log, MiB", |sample| sample.wal_mib),
        ("database, MiB", |sample| sample.database_mib),
        ("resident memory, MiB", |sample| sample.rss_mib),
    ];

    pub fn line(&self) -> String {
        let figures = Self::SERIES.map(|(_, of)| format!("{:.2}", of(self)));
        format!("{:.0},{},{}", self.seconds, u8::from(self.reading), figures.join(","))
    }
}

pub struct Sampler<'a> {
    pub place: &'a Place,
    pub store: Store,
    pub pickups: Arc<Pickups>,
    pub reading: Arc<AtomicBool>,
    pub started: Instant,
}

impl Sampler<'_> {
    pub async fn sample(&mut self, executed: f64) -> Result<Sample> {
        let took = self.pickups.take();
        let at = |share| quantile(&took, share).as_secs_f64() * 1e3;
        let (dead_tuples, wal, database) = match self.store.db().dialect() {
            Dialect::Postgres => self.postgres().await?,
            Dialect::Sqlite => self.sqlite()?,
        };
        Ok(Sample {
            seconds: self.started.elapsed().as_secs_f64(),
            reading: self.reading.load(Ordering::Relaxed),
            executed,
            p50: at(50),
            p99: at(99),
            waiting: self.pickups.waiting() as f64,
            dead_tuples,
            wal_mib: wal / MIB,
            database_mib: database / MIB,
            rss_mib: gauge::rss(std::process::id())? as f64 / 1024.0,
        })
    }

    async fn postgres(&self) -> Result<(f64, f64, f64)> {
        let sql = "SELECT (SELECT CAST(sum(n_dead_tup) AS bigint) FROM pg_stat_user_tables
                           WHERE relname IN ('ready', 'running', 'scheduled')),
                          (SELECT CAST(sum(size) AS bigint) FROM pg_ls_waldir()),
                          pg_database_size(current_database())";
        let (dead, wal, database) = fetch_one!(&mut self.store.read().await?, (i64, i64, i64), sql)?;
        Ok((dead as f64, wal as f64, database as f64))
    }

    fn sqlite(&self) -> Result<(f64, f64, f64)> {
        let file = self.place.file();
        let mut log = file.clone().into_os_string();
        log.push("-wal");
        let size = |path: &std::path::Path| Ok::<_, anyhow::Error>(std::fs::metadata(path)?.len() as f64);
        Ok((0.0, size(log.as_ref())?, size(&file)?))
    }
}
