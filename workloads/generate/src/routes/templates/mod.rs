//! `/v1/templates`: versioned prompt templates.

mod add_version;
mod change;
mod create;
mod delete;
mod diff;
mod export;
mod fork;
mod import;
mod list;
mod preview;
mod show;
mod versions;

use serde_json::Value;
use windrow_core::{FieldError, OwnerId};
use windrow_rest::{ApiError, ApiRouter, routes};
use windrow_store::StoreError;

use crate::store::templates::Template;
use crate::template::{Fragments, TemplateDocument, analyse};
use crate::use_cases::templates::Found;
use crate::wire::{TemplateAnalysis, TemplateBody, TemplateHead, Visibility};

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(create::create, list::list))
        .routes(routes!(import::import))
        .routes(routes!(show::show, change::change, delete::delete))
        .routes(routes!(add_version::add_version, versions::versions))
        .routes(routes!(diff::diff))
        .routes(routes!(fork::fork))
        .routes(routes!(export::export))
        .routes(routes!(preview::preview))
}

/// The text of a document that came as a text or as JSON.
fn text_of(document: Value) -> Result<String, ApiError> {
    match document {
        Value::String(text) => Ok(text),
        object @ Value::Object(_) => Ok(object.to_string()),
        _ => {
            let fault =
                FieldError::new("/document", "give the template as a text (YAML or JSON) or as an object");
            Err(ApiError::invalid("the template is not valid", vec![fault]))
        }
    }
}

fn head(template: Template, owner: OwnerId) -> TemplateHead {
    TemplateHead {
        id: template.id,
        name: template.name,
        mine: template.owner_id == owner,
        visibility: if template.visibility == "public" { Visibility::Public } else { Visibility::Private },
        description: template.description,
        category: template.category,
        latest: template.latest,
        forked_from: template.forked_from,
        created_at: template.created_at,
        updated_at: template.updated_at,
    }
}

fn body(found: Found, owner: OwnerId) -> Result<TemplateBody, ApiError> {
    let Found { template, version } = found;
    let document = TemplateDocument::parse(&version.document).map_err(|faults| {
        let first = faults.first().map(ToString::to_string).unwrap_or_default();
        let broken = StoreError::invariant("generate_template_versions", "document", template.id, first);
        windrow_app::AppError::from(broken)
    })?;
    let analysis = analyse(&document, &Fragments::new());
    let texts = |paths: Vec<crate::seed::FieldPath>| paths.iter().map(ToString::to_string).collect();
    let analysis = TemplateAnalysis {
        paths: texts(analysis.paths),
        undeclared: texts(analysis.undeclared),
        unused: texts(analysis.unused),
        includes: analysis.includes.into_iter().map(|include| include.name).collect(),
        models: analysis.models,
    };
    Ok(TemplateBody {
        version: version.version,
        document: version.document,
        sha256: version.sha256,
        analysis,
        template: head(template, owner),
    })
}
