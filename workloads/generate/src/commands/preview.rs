//! `windrow template preview`

use std::sync::Arc;

use anyhow::Context as _;
use windrow_core::SystemClock;
use windrow_models::{Models, ModelsSettings};
use windrow_plugin::{CommandError, ExitCode, Host};

use super::args::{PreviewArgs, PreviewModeArg};
use super::local::{LocalSeed, LocalTemplate};
use super::report;
use crate::seed::{SeedLimits, SeedReader};
use crate::use_cases::preview::{Answers, preview};
use crate::use_cases::seeds::sample_of;

pub(super) async fn run(args: PreviewArgs, host: &dyn Host) -> Result<ExitCode, CommandError> {
    let template = LocalTemplate::read(&args.template, &args.include)?;
    let seed = LocalSeed::find(&args.seed)?;
    let broken = |error| CommandError::usage(format!("{}: {error}", args.seed));
    let reader = SeedReader::open(seed.open()?, SeedLimits::default()).map_err(broken)?;
    let requirements = template.compiled.document().schema_requirements.clone();
    let (records, found) = sample_of(reader, requirements, args.limit as usize, true).map_err(broken)?;
    for bad in &found.bad {
        report::note(host.console(), format_args!("warning: {}: {bad}", args.seed));
    }
    if records.is_empty() {
        return Err(CommandError::usage(format!("{}: no seed record can be used", args.seed)));
    }
    let models = Models::new(ModelsSettings::default(), SystemClock::shared());
    let models = Arc::new(models.context("the built-in model can't be set up")?);
    let answers = match args.mode {
        PreviewModeArg::Render => Answers::StandIns,
        PreviewModeArg::Offline => Answers::Offline(&models),
    };
    let shown = preview(&template.compiled, &records, args.random_seed, answers).await;
    report::result(host.console(), &shown, |out| report::preview(out, &shown))?;
    let failed = shown.iter().all(|record| record.error.is_some());
    Ok(if failed { ExitCode::Failed } else { ExitCode::Ok })
}
