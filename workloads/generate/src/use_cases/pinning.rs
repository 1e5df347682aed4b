//! From a spec to all that it means just now: the template's version with its fragments, and the steps' models.

use windrow_core::{FieldError, OwnerId, PicoUsd};
use windrow_engine::PrepareError;
use windrow_models::Models;
use windrow_store::Conn;

use super::templates::{self, TemplateError};
use crate::spec::{JobSpec, PinnedSpec, PinnedTemplate, pin};
use crate::template::TemplateDocument;

/// Pins a spec for its owner. `drawn` becomes the random seed when the spec names none.
///
/// # Errors
/// [`PrepareError::Invalid`] names what doesn't fit by JSON pointer into the spec.
pub async fn pin_spec(
    conn: &mut Conn,
    owner: OwnerId,
    models: &Models,
    spec: JobSpec,
    drawn: u64,
) -> Result<(PinnedSpec, TemplateDocument), PrepareError> {
    let (template, document) = template_of(conn, owner, &spec).await?;
    let resolve = |model: &str| models.resolve(model).map(|m| m.id().to_owned()).map_err(|e| e.to_string());
    let pinned = pin(spec, template, &document, drawn, resolve).map_err(PrepareError::Invalid)?;
    Ok((pinned, document))
}

async fn template_of(
    conn: &mut Conn,
    owner: OwnerId,
    spec: &JobSpec,
) -> Result<(PinnedTemplate, TemplateDocument), PrepareError> {
    if let Some(make) = &spec.make_seeds {
        let template = make.template();
        let document = TemplateDocument::parse(&template.text).map_err(PrepareError::Invalid)?;
        return Ok((template, document));
    }
    let resolved = templates::resolve(conn, owner, &spec.template, "/template").await;
    let (template, document, _) = resolved.map_err(|error| match error {
        TemplateError::Invalid(errors) => PrepareError::Invalid(errors),
        TemplateError::Store(error) => PrepareError::Store(error),
        other => PrepareError::Invalid(vec![FieldError::new("/template", other)]),
    })?;
    if document.fragment.is_some() {
        let message = "this is a fragment: other templates can include it, but it can't be run";
        return Err(PrepareError::Invalid(vec![FieldError::new("/template", message)]));
    }
    Ok((template, document))
}

/// A model that costs money needs a budget, and a spec's own budget must be the one that counts.
///
/// # Errors
/// What is wrong, at `/budget_usd`.
pub fn check_budget(
    pinned: &PinnedSpec,
    models: &Models,
    budget: Option<PicoUsd>,
) -> Result<(), Vec<FieldError>> {
    let refuse = |message: String| Err(vec![FieldError::new("/budget_usd", message)]);
    match (pinned.spec.budget_usd, budget) {
        (Some(own), Some(counts)) if own != counts => {
            return refuse(format!("says {own} USD, but the job was submitted with {counts} USD; name one"));
        }
        (_, Some(_)) => return Ok(()),
        (_, None) => {}
    }
    let priced = pinned.steps.values().find(|step| models.resolve(&step.model).is_ok_and(|m| m.is_priced()));
    match priced {
        Some(step) => refuse(format!("{} costs money: say how much the job may cost", step.model)),
        None => Ok(()),
    }
}
