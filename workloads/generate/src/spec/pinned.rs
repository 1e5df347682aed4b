//! What a job is pinned to at submit: nothing that happens later to a template, an alias or a configuration changes
//! what the job asks its models.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use windrow_core::FieldError;

use super::JobSpec;
use crate::export::PartitionBy;
use crate::template::{Fragments, TemplateDocument};

/// A spec with everything resolved that it names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedSpec {
    /// As it was submitted, with `template` and `random_seed` resolved.
    pub spec: JobSpec,
    pub template: PinnedTemplate,
    /// By step id, in the template's order.
    pub steps: IndexMap<String, PinnedStep>,
}

/// A template at one version, with the fragments that it includes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedTemplate {
    pub id: String,
    pub name: String,
    pub version: u32,
    /// The document as it was stored (YAML or JSON).
    pub text: String,
    /// By the name as it stands in the include. An absent optional include has no entry.
    #[serde(default)]
    pub includes: BTreeMap<String, PinnedInclude>,
}

/// A fragment at one version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedInclude {
    pub id: String,
    pub version: u32,
    /// The fragment's own text (not the document around it).
    pub text: String,
}

/// What a step asks of which model, overrides applied and aliases resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedStep {
    pub model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    pub max_tokens: u32,
}

impl PinnedTemplate {
    /// The fragments as [`crate::template::CompiledTemplate::compile`] takes them.
    pub fn fragments(&self) -> Fragments {
        self.includes.iter().map(|(name, include)| (name.clone(), include.text.clone())).collect()
    }
}

impl PinnedSpec {
    /// The job's `random_seed`, which is always set after pinning.
    pub fn random_seed(&self) -> u64 {
        self.spec.random_seed.unwrap_or(0)
    }
}

/// Pins a spec. `random_seed` is used when the spec has none; `resolve_model` turns an alias or a model id into a
/// model id, or says why it can't. What the spec says of the output's fields is checked here too.
///
/// # Errors
/// What doesn't fit, by JSON pointer into the spec: a step without any model, an unknown model, an override of a step
/// that the template doesn't have, a partition by a field that the output doesn't have.
pub fn pin(
    mut spec: JobSpec,
    template: PinnedTemplate,
    document: &TemplateDocument,
    random_seed: u64,
    mut resolve_model: impl FnMut(&str) -> Result<String, String>,
) -> Result<PinnedSpec, Vec<FieldError>> {
    let mut errors = Vec::new();
    for id in spec.overrides.steps.keys() {
        if !document.steps.iter().any(|step| step.id == *id) {
            let known: Vec<&str> = document.steps.iter().map(|step| step.id.as_str()).collect();
            let message = format!("the template has no such step; its steps are {}", known.join(", "));
            errors.push(FieldError::new(format!("/overrides/steps/{id}"), message));
        }
    }
    if let Some(message) = unfit_partition(&spec.partition_by, document) {
        errors.push(FieldError::new("/partition_by", message));
    }
    let mut steps = IndexMap::new();
    for step in &document.steps {
        let own = spec.overrides.steps.get(&step.id);
        let from_step = own
            .and_then(|o| o.model.as_deref())
            .map(|model| (model, format!("/overrides/steps/{}/model", step.id)));
        let from_job = || spec.overrides.model.as_deref().map(|model| (model, "/overrides/model".to_owned()));
        let from_template = || step.model.as_deref().map(|model| (model, "/template".to_owned()));
        let Some((model, pointer)) = from_step.or_else(from_job).or_else(from_template) else {
            let message = format!("step {} names no model; set overrides.model", step.id);
            errors.push(FieldError::new("/template", message));
            continue;
        };
        match resolve_model(model) {
            Ok(model) => {
                let temperature =
                    own.and_then(|o| o.temperature).or(spec.overrides.temperature).or(step.temperature);
                let max_tokens = own.and_then(|o| o.max_tokens).unwrap_or_else(|| step.max_tokens());
                steps.insert(step.id.clone(), PinnedStep { model, temperature, max_tokens });
            }
            Err(why) => errors.push(FieldError::new(pointer, format!("step {}: {why}", step.id))),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    spec.template.id.clone_from(&template.id);
    spec.template.version = Some(template.version);
    spec.random_seed.get_or_insert(random_seed);
    Ok(PinnedSpec { spec, template, steps })
}

/// What makes a partition impossible or useless, as far as the template tells. What only the records tell never fails
/// the job: see [`crate::export::FALLBACK`].
fn unfit_partition(by: &PartitionBy, document: &TemplateDocument) -> Option<String> {
    let fields = document.output_fields();
    match by {
        PartitionBy::None => None,
        PartitionBy::Date if fields.contains(&"date") => {
            let why = "the output has a field named date, which the folders' names would stand for; partition by another field, or name it otherwise";
            Some(why.to_owned())
        }
        PartitionBy::Date => None,
        PartitionBy::Field(field) if !fields.contains(&field.as_str()) => {
            Some(format!("{field} is no field of the output; there are {}", fields.join(", ")))
        }
        PartitionBy::Field(field) if document.is_composite(field) => {
            Some(format!("{field} is a list or an object, which can't name a folder; choose another field"))
        }
        PartitionBy::Field(_) => by.check().err(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template() -> (PinnedTemplate, TemplateDocument) {
        let text = "template:\n  name: two\n  steps:\n    - {id: a, model: tier-1, prompt: p, temperature: 0.5}\n    \
                    - {id: b, model: tier-3, prompt: q, max_tokens: 9}\n";
        let document = TemplateDocument::parse(text).unwrap();
        let pinned = PinnedTemplate {
            id: "two".to_owned(),
            name: "two".to_owned(),
            version: 4,
            text: text.to_owned(),
            includes: BTreeMap::new(),
        };
        (pinned, document)
    }

    fn spec(overrides: &serde_json::Value) -> JobSpec {
        JobSpec::from_value(
            json!({"template": "two", "seed": "sample:poems", "records": 1, "overrides": overrides}),
        )
        .unwrap()
    }

    fn known(model: &str) -> Result<String, String> {
        match model {
            "tier-1" => Ok("small".to_owned()),
            "tier-3" => Ok("large".to_owned()),
            "free" => Ok("free".to_owned()),
            other => Err(format!("no model {other}")),
        }
    }

    #[test]
    fn the_template_is_pinned_with_its_models() {
        let (template, document) = template();
        let pinned = pin(spec(&json!({})), template, &document, 77, known).unwrap();
        assert_eq!(pinned.spec.template.to_string(), "two@4");
        assert_eq!(pinned.random_seed(), 77);
        assert_eq!(
            pinned.steps["a"],
            PinnedStep { model: "small".to_owned(), temperature: Some(0.5), max_tokens: 1024 }
        );
        assert_eq!(
            pinned.steps["b"],
            PinnedStep { model: "large".to_owned(), temperature: None, max_tokens: 9 }
        );
    }

    #[test]
    fn a_step_override_beats_a_job_override_beats_the_template() {
        let (template, document) = template();
        let overrides = json!({"model": "free", "temperature": 0.1, "steps": {"b": {"model": "tier-1", "temperature": 1, "max_tokens": 3}}});
        let pinned = pin(spec(&overrides), template, &document, 0, known).unwrap();
        assert_eq!(
            pinned.steps["a"],
            PinnedStep { model: "free".to_owned(), temperature: Some(0.1), max_tokens: 1024 }
        );
        assert_eq!(
            pinned.steps["b"],
            PinnedStep { model: "small".to_owned(), temperature: Some(1.0), max_tokens: 3 }
        );
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let (template, document) = template();
        let overrides = json!({"model": "tier-9", "steps": {"c": {"temperature": 1}}});
        let mut spec = spec(&overrides);
        spec.partition_by = PartitionBy::Field("language".to_owned());
        let errors = pin(spec, template, &document, 0, known).unwrap_err();
        let pointers: Vec<&str> = errors.iter().map(|e| e.pointer.as_str()).collect();
        assert_eq!(pointers, ["/overrides/steps/c", "/partition_by", "/overrides/model", "/overrides/model"]);
        assert!(errors[0].message.contains("a, b"), "{errors:?}");
    }

    #[test]
    fn a_partition_that_can_t_be_is_refused_as_far_as_the_template_tells() {
        let long = "ü".repeat(61);
        let text = format!(
            "template:\n  name: t\n  steps:\n    - {{id: a, model: free, prompt: p, output: json, schema: {{type: array}}}}\n  \
             output: {{date: x, kind: '{{{{ steps.a.output[0] }}}}', list: [1], {long}: y}}\n"
        );
        let shaped = TemplateDocument::parse(&text).unwrap();
        let plain = "template:\n  name: t\n  steps:\n    - {id: a, model: free, prompt: p, output: json, schema: {type: array}}\n";
        let plain = TemplateDocument::parse(plain).unwrap();
        for (document, by, said) in [
            (&shaped, "date", "a field named date"),
            (&shaped, "list", "a list or an object"),
            (&shaped, long.as_str(), "122 bytes"),
            (&shaped, "kind", ""),
            (&plain, "a", "a list or an object"),
            (&plain, "date", ""),
        ] {
            let why = unfit_partition(&by.parse().unwrap(), document);
            assert_eq!(why.is_none(), said.is_empty(), "{by}: {why:?}");
            assert!(why.unwrap_or_default().contains(said), "{by}");
        }
    }
}
