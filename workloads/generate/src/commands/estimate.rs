//! `windrow generate estimate`

use windrow_core::SystemClock;
use windrow_core::ids::uuid_v7;
use windrow_plugin::{CommandError, ExitCode, Host};

use super::args::EstimateArgs;
use super::local::{LocalSeed, LocalTemplate};
use super::push::refused;
use super::{report, run};
use crate::wire::Estimate;

pub(super) async fn run(args: EstimateArgs, host: &dyn Host) -> Result<ExitCode, CommandError> {
    let template = LocalTemplate::read(&args.dataset.template, &args.dataset.include)?;
    let seed = LocalSeed::find(&args.dataset.seed)?;
    // an engine for a moment: it has the models, their prices and their tokenizers
    let scratch = Scratch::new();
    let engine = host.embedded(&scratch.0, args.dataset.models.overrides()).await?;
    let estimated = async {
        let wish = run::wish(engine.client(), &args.dataset, &template, &seed).await?;
        let estimate: Result<Estimate, _> =
            engine.client().post("/v1/generate/estimate", &wish.estimate).await;
        estimate.map_err(refused)
    };
    let estimated = estimated.await;
    engine.stop().await?;
    let estimate = estimated?;
    report::result(host.console(), &estimate, |out| report::estimate(out, &estimate))?;
    Ok(ExitCode::Ok)
}

/// A directory that is gone afterwards.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> Self {
        let name = format!("windrow-estimate-{}", uuid_v7(&*SystemClock::shared()));
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // what can't be removed is only untidy
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
