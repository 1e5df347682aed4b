//! Jobs around calls: of a model server on the loopback with and without latency, and of a model in this process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use windrow_core::{PicoUsd, SystemClock};
use windrow_models::{
    FinishReason, Limits, ModelError, ModelProvider, ModelRequest, ModelResponse, Models, ModelsSettings,
    Price, ProviderSettings, Usage,
};

use crate::house::{CONCURRENCY, House, Ran};
use crate::stub::{ANSWER, Server};
use crate::table::{Figure, short};
use windrow_bench_gauge as gauge;

/// How long the slow server takes.
const LATENCY: Duration = Duration::from_millis(200);

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calls<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) times: usize,
    pub(crate) quick: bool,
}

impl Calls<'_> {
    fn records(&self, full: u64) -> u64 {
        if self.quick { full / 5 } else { full }
    }

    /// A server that takes 200 ms: the share of what 64 calls at once could do if nothing else took time.
    pub(crate) async fn slow(&self) -> Result<Vec<Figure>> {
        let records = self.records(64 * 100);
        let served = Served::open(self.dir, LATENCY).await?;
        served.run(u64::from(CONCURRENCY) * 4).await?;
        let (mut whole, mut making, mut most) = (Vec::new(), Vec::new(), 0);
        for _ in 0..self.times {
            let (ran, counts) = served.run(records).await?;
            let ideal = records as f64 / f64::from(CONCURRENCY) * LATENCY.as_secs_f64();
            whole.push(100.0 * ideal / ran.whole.as_secs_f64());
            making.push(100.0 * ideal / ran.making.as_secs_f64());
            most = most.max(counts);
        }
        served.close().await?;
        let of = format!("{} calls of 200 ms, at most {most} at once, budget on", short(records as f64));
        Ok(vec![
            Figure::new("share of the ideal rate, whole job", "%", whole).at_least(97.0).note(of),
            Figure::new("the same without the assembly", "%", making),
        ])
    }

    /// A server that answers at once: what everything around a call costs.
    pub(crate) async fn fast(&self) -> Result<Vec<Figure>> {
        let records = self.records(20_000);
        let served = Served::open(self.dir, Duration::ZERO).await?;
        served.run(records / 10).await?;
        let (mut whole, mut making, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.times {
            let (us, them) = (gauge::cpu_seconds("self")?, served.server.cpu_seconds()?);
            let (ran, _) = served.run(records).await?;
            whole.push(records as f64 / ran.whole.as_secs_f64());
            making.push(records as f64 / ran.making.as_secs_f64());
            ours.push((gauge::cpu_seconds("self")? - us) / records as f64 * 1e6);
            theirs.push((served.server.cpu_seconds()? - them) / records as f64 * 1e6);
        }
        served.close().await?;
        let of = format!("{} calls, 64 at once, budget and checkpoints on", short(records as f64));
        Ok(vec![
            Figure::new("calls/s at 0 ms, whole job", "", whole).at_least(4_000.0).note(of),
            Figure::new("the same without the assembly", "", making),
            Figure::new("processor time a call, Windrow", "µs", ours),
            Figure::new("processor time a call, the server", "µs", theirs),
        ])
    }

    /// A model in this process that costs nothing: what a record costs.
    pub(crate) async fn inside(&self) -> Result<Vec<Figure>> {
        let records = self.records(100_000);
        let dir = tempfile::tempdir_in(self.dir)?;
        let models = Models::new(ModelsSettings::default(), SystemClock::shared())?;
        let house =
            House::open(dir.path(), models.with_provider(Arc::new(Instant), Some(Price::FREE))?).await?;
        house.run(records / 10, "instant:m", None).await?;
        let (mut whole, mut making, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.times {
            let before = gauge::cpu_seconds("self")?;
            let ran = house.run(records, "instant:m", None).await?;
            whole.push(records as f64 / ran.whole.as_secs_f64());
            making.push(records as f64 / ran.making.as_secs_f64());
            cpu.push((gauge::cpu_seconds("self")? - before) / records as f64 * 1e6);
        }
        house.close().await?;
        let of = format!("{} records of one step, exported as JSONL", short(records as f64));
        Ok(vec![
            Figure::new("records/s, model in process, whole job", "", whole).at_least(20_000.0).note(of),
            Figure::new("the same without the assembly", "", making),
            Figure::new("processor time a record", "µs", cpu),
        ])
    }
}

/// A house and the server that its model is.
struct Served {
    server: Server,
    house: House,
    _dir: tempfile::TempDir,
}

impl Served {
    async fn open(dir: &Path, latency: Duration) -> Result<Self> {
        let server = Server::start(latency).await?;
        let price = Price::per_million(PicoUsd::from_usd(1), PicoUsd::from_usd(10));
        let provider =
            ProviderSettings { base_url: server.url().parse()?, api_key: None, price: Some(price) };
        let limits = Limits { concurrency: CONCURRENCY, ..Limits::default() };
        let settings = ModelsSettings {
            providers: [("stub".to_owned(), provider)].into(),
            limits: [("stub:m".to_owned(), limits)].into(),
            ..ModelsSettings::default()
        };
        let dir = tempfile::tempdir_in(dir)?;
        let house = House::open(dir.path(), Models::new(settings, SystemClock::shared())?).await?;
        Ok(Self { server, house, _dir: dir })
    }

    /// Runs a job, and holds its bill against the server's own count. Gives the most calls at once too.
    async fn run(&self, calls: u64) -> Result<(Ran, u64)> {
        self.server.counts().await?;
        let ran = self.house.run(calls, "stub:m", Some(PicoUsd::from_usd(1_000))).await?;
        let counts = self.server.counts().await?;
        ensure!(counts.calls == calls, "the server answered {} calls of {calls}", counts.calls);
        ensure!(counts.most <= u64::from(CONCURRENCY), "{} calls were made at once", counts.most);
        // 180 tokens at 1 and 70 at 10 USD a million
        let bill = PicoUsd::from_pico(880_000_000).saturating_mul(calls);
        ensure!(ran.spent == bill, "{} USD were booked, and {bill} billed", ran.spent);
        Ok((ran, counts.most))
    }

    async fn close(self) -> Result<()> {
        self.house.close().await
    }
}

/// Says the same at once.
#[derive(Debug)]
struct Instant;

#[async_trait]
impl ModelProvider for Instant {
    fn name(&self) -> &str {
        "instant"
    }

    async fn complete(&self, _request: &ModelRequest) -> Result<ModelResponse, ModelError> {
        Ok(ModelResponse {
            text: ANSWER.to_owned(),
            usage: Usage { input_tokens: 180, output_tokens: 70, ..Usage::default() },
            finish_reason: FinishReason::Stop,
            provider_request_id: None,
            latency: Duration::ZERO,
        })
    }
}
