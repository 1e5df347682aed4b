//! What a template uses, without running it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use windrow_core::FieldError;

use super::compiled::Fragments;
use super::document::TemplateDocument;
use super::environment::{Names, environment};
use super::parse::escape;
use super::walk::{Usage, Walk};
use crate::seed::FieldPath;

/// What a template uses, and what is wrong with that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// The paths into the seed record that its texts look up, included fragments too.
    pub paths: Vec<FieldPath>,
    /// The ones of `paths` that `schema_requirements` doesn't promise, and that the template doesn't provide for
    /// (`default`, `is defined`). Records without them will be rejected.
    pub undeclared: Vec<FieldPath>,
    /// The requirements that no text uses.
    pub unused: Vec<FieldPath>,
    /// The fragments it includes, directly or by way of others.
    pub includes: Vec<IncludeUse>,
    /// The models or aliases that its steps name.
    pub models: Vec<String>,
    /// What is wrong, by JSON pointer: no such template can run. An include that is missing is among it.
    pub problems: Vec<FieldError>,
}

/// A fragment that a template includes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncludeUse {
    /// As it stands in the include: `name@version`.
    pub name: String,
    /// Every include of it has `ignore missing`.
    pub optional: bool,
    /// It isn't among the fragments given. Fragments can include further ones, so a caller that looks fragments up
    /// gives the missing ones and asks again, until none is missing or one isn't to be had.
    pub missing: bool,
}

/// A text of a document with its place.
pub(super) struct Part<'d> {
    pub(super) pointer: String,
    pub(super) text: &'d str,
    /// How many of the first steps it may use.
    pub(super) steps: usize,
}

/// Analyses a template together with the fragments it includes, by the name in the include.
pub fn analyse(document: &TemplateDocument, fragments: &Fragments) -> Analysis {
    analyse_usage(document, fragments).0
}

/// Also says which functions the template calls.
pub(super) fn analyse_usage(document: &TemplateDocument, fragments: &Fragments) -> (Analysis, Usage) {
    let env = environment();
    let ids: Vec<&str> = document.steps.iter().map(|step| step.id.as_str()).collect();
    let mut usage = Usage::default();
    for part in parts(document) {
        let known = document.fragment.is_none().then(|| &ids[..part.steps]);
        Walk::new(Names(&env), fragments, known, &part.pointer, &mut usage).text(part.text);
    }
    let mut problems: Vec<FieldError> =
        usage.problems.iter().map(|(pointer, message)| FieldError::new(pointer, message)).collect();
    let includes: Vec<IncludeUse> = usage
        .includes
        .iter()
        .map(|(name, optional)| IncludeUse {
            name: name.clone(),
            optional: *optional,
            missing: !fragments.contains_key(name),
        })
        .collect();
    for include in includes.iter().filter(|include| include.missing && !include.optional) {
        let message =
            format!("the fragment {} was not found among your own and the public templates", include.name);
        problems.push(FieldError::new("/template", message));
    }
    let requirements = &document.schema_requirements;
    let undeclared = usage
        .paths
        .keys()
        .filter(|path| !requirements.iter().any(|required| required.implies(path)))
        .filter(|path| !usage.optional.iter().any(|optional| path.implies(optional)))
        .cloned()
        .collect();
    let unused = requirements
        .iter()
        .filter(|required| !usage.paths.keys().any(|p| required.implies(p) || p.implies(required)))
        .cloned()
        .collect();
    let analysis = Analysis {
        paths: usage.paths.keys().cloned().collect(),
        undeclared,
        unused,
        includes,
        models: document.models().into_iter().map(str::to_owned).collect(),
        problems,
    };
    (analysis, usage)
}

/// All texts of a document that are templates.
pub(super) fn parts(document: &TemplateDocument) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    for (i, step) in document.steps.iter().enumerate() {
        let texts = [
            ("when", step.when.as_deref()),
            ("system", step.system.as_deref()),
            ("prompt", Some(step.prompt.as_str())),
        ];
        for (field, text) in texts {
            let pointer = format!("/template/steps/{i}/{field}");
            parts.extend(text.map(|text| Part { pointer, text, steps: i }));
        }
    }
    if let Some(text) = document.fragment.as_deref() {
        parts.push(Part { pointer: "/template/fragment".to_owned(), text, steps: 0 });
    }
    for (field, value) in document.output.iter().flatten() {
        let pointer = format!("/template/output/{}", escape(field));
        output_parts(value, pointer, document.steps.len(), &mut parts);
    }
    parts
}

fn output_parts<'d>(value: &'d Value, pointer: String, steps: usize, parts: &mut Vec<Part<'d>>) {
    match value {
        Value::String(text) => parts.push(Part { pointer, text, steps }),
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                output_parts(item, format!("{pointer}/{i}"), steps, parts);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                output_parts(field, format!("{pointer}/{}", escape(name)), steps, parts);
            }
        }
        _ => {}
    }
}
