//! What a job would cost, from its own template, seed data and models.

use windrow_blob::BlobStore;
use windrow_core::{FieldError, OwnerId, PicoUsd};
use windrow_engine::PrepareError;
use windrow_models::{Models, Usage};
use windrow_store::Conn;

use super::pinning::pin_spec;
use super::seeds::{self, SeedsError};
use crate::estimate::{Estimate, EstimateError, ModelFacts, estimate};
use crate::seed::SeedRecord;
use crate::spec::{JobSpec, PinnedSpec};
use crate::template::CompiledTemplate;

/// How many seed records are rendered.
pub const SAMPLE: usize = 100;

/// Why there is no estimate.
#[derive(Debug, thiserror::Error)]
pub enum EstimateFailure {
    /// The spec or its seed data has these faults, by JSON pointer into the spec.
    #[error("the spec is not valid")]
    Invalid(Vec<FieldError>),
    #[error(transparent)]
    Prepare(PrepareError),
    #[error(transparent)]
    Seeds(SeedsError),
}

impl From<PrepareError> for EstimateFailure {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::Invalid(faults) => Self::Invalid(faults),
            other => Self::Prepare(other),
        }
    }
}

/// A spec with what its job would be: first this, where the database is; then [`Planned::estimate`], without it.
#[derive(Debug)]
pub struct Planned {
    pinned: PinnedSpec,
    template: CompiledTemplate,
    seed_key: Option<String>,
}

/// Pins a spec as a submit would.
pub async fn plan(
    conn: &mut Conn,
    owner: OwnerId,
    models: &Models,
    spec: JobSpec,
) -> Result<Planned, EstimateFailure> {
    let (pinned, document) = pin_spec(conn, owner, models, spec, 0).await?;
    let fragments = pinned.template.fragments();
    let template = CompiledTemplate::compile(document, &fragments).map_err(EstimateFailure::Invalid)?;
    let seed_key = match &pinned.spec.make_seeds {
        Some(_) => None,
        None => Some(seeds::locate(conn, owner, &pinned.spec.seed).await.map_err(seed_fault)?),
    };
    Ok(Planned { pinned, template, seed_key })
}

impl Planned {
    pub fn spec(&self) -> &JobSpec {
        &self.pinned.spec
    }

    /// Renders a sample of the seed data and adds up what it would take.
    pub async fn estimate(&self, blob: &BlobStore, models: &Models) -> Result<Estimate, EstimateFailure> {
        let records = match (&self.seed_key, &self.pinned.spec.make_seeds) {
            (Some(key), _) => {
                let requirements = self.template.document().schema_requirements.clone();
                let (records, report) =
                    seeds::sample(blob, key, requirements, SAMPLE, false).await.map_err(seed_fault)?;
                if records.is_empty() {
                    return Err(EstimateFailure::Invalid(seeds::faults(&report, "/seed")));
                }
                records
            }
            // one record with other words drawn each time
            (None, Some(make)) => vec![make.seed_record(); 20],
            (None, None) => Vec::new(),
        };
        let sample: Vec<SeedRecord> =
            (0..).zip(&records).map(|(number, record)| SeedRecord::new(number, record)).collect();
        let spec = &self.pinned.spec;
        let (steps, seed) = (&self.pinned.steps, self.pinned.random_seed());
        estimate(&self.template, steps, &sample, spec.records, seed, &Facts(models)).map_err(|error| {
            let pointer = match &error {
                EstimateError::NoSample => "/seed",
                EstimateError::NothingRenders { .. } | EstimateError::Unpinned(_) => "/template",
            };
            EstimateFailure::Invalid(vec![FieldError::new(pointer, error)])
        })
    }
}

fn seed_fault(error: SeedsError) -> EstimateFailure {
    match error {
        fault @ (SeedsError::NotUsable(_) | SeedsError::Broken(_)) => {
            EstimateFailure::Invalid(vec![FieldError::new("/seed", fault)])
        }
        other => EstimateFailure::Seeds(other),
    }
}

/// What the configured models say of themselves.
struct Facts<'a>(&'a Models);

impl ModelFacts for Facts<'_> {
    fn count_tokens(&self, model: &str, text: &str) -> u64 {
        // an unknown model was refused when the spec was pinned
        self.0.resolve(model).map_or(0, |model| model.count_tokens(text))
    }

    fn cost(&self, model: &str, input_tokens: u64, output_tokens: u64) -> Option<PicoUsd> {
        let model = self.0.resolve(model).ok()?;
        model.price()?;
        Some(model.cost(&Usage { input_tokens, output_tokens, ..Usage::default() }))
    }
}
