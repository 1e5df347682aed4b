//! What a job is submitted with ([`JobSpec`]), and what it is pinned to at submit ([`PinnedSpec`]).

mod make_seeds;
mod pinned;
mod reference;
mod schema;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use windrow_core::{FieldError, PicoUsd};

use crate::dedup::DedupMode;
use crate::export::{Format, PartitionBy};
use crate::sampler::Pairing;
use crate::template::pointer_of;

pub(crate) use make_seeds::SEED_FIELD;
pub use make_seeds::{MAX_SEEDS, MakeSeeds};
pub use pinned::{PinnedInclude, PinnedSpec, PinnedStep, PinnedTemplate, pin};
pub(crate) use reference::is_name;
pub use reference::{SeedRef, TemplateRef};
pub use schema::json_schema;

/// The version of the spec's schema that this build writes and reads.
pub const SCHEMA_VERSION: u32 = 1;
/// The most records of a job.
pub const MAX_RECORDS: u64 = 10_000_000;
/// The largest `random_seed`: the largest integer that every JSON reader keeps exact (RFC 8259, section 6).
pub const MAX_RANDOM_SEED: u64 = (1 << 53) - 1;

/// What a job is submitted with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    #[serde(default = "schema_version")]
    pub schema_version: u32,
    /// Absent when the job makes seed records.
    #[serde(default = "TemplateRef::none")]
    pub template: TemplateRef,
    /// Absent when the job makes seed records.
    #[serde(default = "SeedRef::none")]
    pub seed: SeedRef,
    /// Makes seed records from an example instead of a dataset from seed records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub make_seeds: Option<MakeSeeds>,
    /// How many indices are attempted, 1 to [`MAX_RECORDS`].
    pub records: u64,
    /// The most that the job may cost. A priced model needs one: this, or the configured default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_usd: Option<PicoUsd>,
    #[serde(default = "formats")]
    pub formats: Vec<Format>,
    #[serde(default)]
    pub pairing: Pairing,
    /// Pinned to a random number at submit when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random_seed: Option<u64>,
    /// Records a child job, 1 to 10,000.
    #[serde(default = "shard_size")]
    pub shard_size: u32,
    /// Records in flight in one shard, 1 to 1,024.
    #[serde(default = "concurrency")]
    pub concurrency: u32,
    /// What an invalid seed record does to the submit.
    #[serde(default)]
    pub on_invalid: OnError,
    /// What a failed record does to the job.
    #[serde(default)]
    pub on_record_error: OnError,
    /// The share of failed records above which the job fails, 0 to 1; looked at after 50 records.
    #[serde(default = "max_error_rate")]
    pub max_error_rate: f64,
    /// Draw further indices until `records` records stand.
    #[serde(default)]
    pub refill: bool,
    #[serde(default, skip_serializing_if = "Overrides::is_empty")]
    pub overrides: Overrides,
    #[serde(default)]
    pub partition_by: PartitionBy,
    #[serde(default)]
    pub dedup: DedupMode,
}

const fn schema_version() -> u32 {
    SCHEMA_VERSION
}

fn formats() -> Vec<Format> {
    vec![Format::Jsonl]
}

const fn shard_size() -> u32 {
    500
}

const fn concurrency() -> u32 {
    16
}

const fn max_error_rate() -> f64 {
    0.2
}

/// Whether something bad is left out, or ends the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    #[default]
    Skip,
    Fail,
}

/// What a job changes in its template. An override beats the template; one of a step beats one of the job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overrides {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub steps: BTreeMap<String, StepOverrides>,
}

/// What a job changes in one step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepOverrides {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
}

impl Overrides {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl JobSpec {
    /// Reads a spec, and checks its ranges.
    ///
    /// # Errors
    /// Everything that is wrong with it, by JSON pointer. A wrong type or an unknown field hides what comes after it.
    pub fn from_value(value: serde_json::Value) -> Result<Self, Vec<FieldError>> {
        let spec: Self = serde_path_to_error::deserialize(value)
            .map_err(|e| vec![FieldError::new(pointer_of(e.path()), e.inner())])?;
        let errors = spec.problems();
        if errors.is_empty() { Ok(spec) } else { Err(errors) }
    }

    fn problems(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut check = |ok: bool, pointer: &str, message: &str| {
            if !ok {
                errors.push(FieldError::new(pointer, message));
            }
        };
        check(self.schema_version == SCHEMA_VERSION, "/schema_version", "this build knows version 1 only");
        check((1..=MAX_RECORDS).contains(&self.records), "/records", "must be from 1 to 10,000,000");
        check(
            self.budget_usd.is_none_or(|b| b > PicoUsd::ZERO),
            "/budget_usd",
            "must be more than 0; leave it out for a free model",
        );
        check(!self.formats.is_empty(), "/formats", "name at least one of jsonl, csv, parquet");
        let mut distinct = self.formats.clone();
        distinct.sort_unstable();
        distinct.dedup();
        check(distinct.len() == self.formats.len(), "/formats", "names a format twice");
        check(
            self.random_seed.is_none_or(|s| s <= MAX_RANDOM_SEED),
            "/random_seed",
            "must be at most 9007199254740991 (2^53 - 1)",
        );
        check((1..=10_000).contains(&self.shard_size), "/shard_size", "must be from 1 to 10,000");
        check((1..=1_024).contains(&self.concurrency), "/concurrency", "must be from 1 to 1,024");
        check((0.0..=1.0).contains(&self.max_error_rate), "/max_error_rate", "must be from 0 to 1");
        let unnamed = matches!(&self.partition_by, PartitionBy::Field(field) if field.trim().is_empty());
        check(!unnamed, "/partition_by", "must be none, date, or a field of the output");
        errors.extend(self.source_problems());
        errors.extend(self.overrides.problems());
        errors
    }

    /// A job has a template and seed data, or neither when it makes seed records.
    fn source_problems(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut check = |ok: bool, pointer: &str, message: &str| {
            if !ok {
                errors.push(FieldError::new(pointer, message));
            }
        };
        let Some(make) = &self.make_seeds else {
            check(!self.template.is_none(), "/template", "is missing: name a template, such as poem-qa@3");
            check(!self.seed.is_none(), "/seed", "is missing: give the id of an upload, or sample:NAME");
            return errors;
        };
        let brought = "make_seeds brings its own; leave this out";
        check(self.template.is_none(), "/template", brought);
        check(self.seed.is_none(), "/seed", brought);
        check(self.records <= MAX_SEEDS, "/records", "at most 1,000 seed records are made");
        errors.extend(make.problems());
        errors
    }
}

impl Overrides {
    fn problems(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut check =
            |place: &str, model: Option<&str>, temperature: Option<f64>, max_tokens: Option<u32>| {
                if model.is_some_and(|m| m.trim().is_empty()) {
                    errors.push(FieldError::new(format!("{place}/model"), "must not be empty"));
                }
                if temperature.is_some_and(|t| !(0.0..=2.0).contains(&t)) {
                    errors.push(FieldError::new(format!("{place}/temperature"), "must be from 0 to 2"));
                }
                if max_tokens == Some(0) {
                    errors.push(FieldError::new(format!("{place}/max_tokens"), "must be at least 1"));
                }
            };
        check("/overrides", self.model.as_deref(), self.temperature, None);
        for (id, step) in &self.steps {
            let place = format!("/overrides/steps/{id}");
            check(&place, step.model.as_deref(), step.temperature, step.max_tokens);
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use windrow_json_schema::{Formats, Schema};

    fn minimal() -> Value {
        json!({"template": "poem-qa@3", "seed": "0199d0a8-5f6c-7000-8000-000000000001", "records": 10})
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut spec = minimal();
        spec[pointer] = value;
        spec
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let spec = JobSpec::from_value(minimal()).unwrap();
        assert_eq!(spec.formats, [Format::Jsonl]);
        assert_eq!((spec.shard_size, spec.concurrency), (500, 16));
        assert!((spec.max_error_rate - 0.2).abs() < f64::EPSILON);
        assert_eq!(spec.pairing, Pairing::Random);
        assert_eq!((spec.on_invalid, spec.on_record_error), (OnError::Skip, OnError::Skip));
        assert_eq!((spec.partition_by, spec.dedup), (PartitionBy::None, DedupMode::None));
        assert!(!spec.refill);
    }

    #[test]
    fn a_spec_survives_its_json() {
        let mut value = minimal();
        value["overrides"] = json!({"model": "offline", "steps": {"a": {"max_tokens": 5}}});
        value["partition_by"] = json!("topic");
        value["budget_usd"] = json!("2.50");
        let spec = JobSpec::from_value(value).unwrap();
        assert_eq!(JobSpec::from_value(serde_json::to_value(&spec).unwrap()).unwrap(), spec);
    }

    /// Each of these is refused by the struct at that pointer, and by the published schema too.
    #[test]
    fn bad_specs_name_the_field_and_the_schema_agrees() {
        let schema = Schema::compile(&json_schema(), Formats::Ignored).unwrap();
        assert!(schema.accepts(&minimal()));
        for (field, value, pointer) in [
            ("records", json!(0), "/records"),
            ("records", json!(10_000_001), "/records"),
            ("records", json!("ten"), "/records"),
            ("budget_usd", json!(true), "/budget_usd"),
            ("formats", json!([]), "/formats"),
            ("formats", json!(["jsonl", "jsonl"]), "/formats"),
            ("formats", json!(["xlsx"]), "/formats/0"),
            ("pairing", json!("zip"), "/pairing"),
            ("random_seed", json!(1u64 << 53), "/random_seed"),
            ("random_seed", json!(-1), "/random_seed"),
            ("shard_size", json!(0), "/shard_size"),
            ("concurrency", json!(2000), "/concurrency"),
            ("on_record_error", json!("ignore"), "/on_record_error"),
            ("max_error_rate", json!(1.5), "/max_error_rate"),
            ("overrides", json!({"modle": "x"}), "/overrides/modle"),
            ("overrides", json!({"temperature": 3}), "/overrides/temperature"),
            ("overrides", json!({"steps": {"a": {"max_tokens": 0}}}), "/overrides/steps/a/max_tokens"),
            ("partition_by", json!(""), "/partition_by"),
            ("dedup", json!("fuzzy"), "/dedup"),
            ("template", json!("@1"), "/template"),
            ("seed", json!("../etc/passwd"), "/seed"),
            ("schema_version", json!(2), "/schema_version"),
            ("recrods", json!(1), "/recrods"),
        ] {
            let spec = with(field, value.clone());
            assert!(!schema.accepts(&spec), "the schema takes {field}: {value}");
            let errors = JobSpec::from_value(spec).expect_err(&format!("{field}: {value}"));
            assert_eq!(errors[0].pointer, pointer, "{field}: {value}: {errors:?}");
            assert!(!errors[0].message.is_empty());
        }
    }

    #[test]
    fn several_bad_ranges_are_all_reported() {
        let mut spec = minimal();
        spec["records"] = json!(0);
        spec["shard_size"] = json!(0);
        spec["max_error_rate"] = json!(-1);
        let pointers: Vec<String> =
            JobSpec::from_value(spec).unwrap_err().into_iter().map(|e| e.pointer).collect();
        assert_eq!(pointers, ["/records", "/shard_size", "/max_error_rate"]);
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(|number| json!(number)),
            ".{0,12}".prop_map(Value::from),
            "none|date|random|skip|exact|poem-qa@[0-9]{0,11}|sample:[a-z]{0,4}".prop_map(Value::from),
            proptest::collection::vec("jsonl|csv|parquet|x", 0..4).prop_map(Value::from),
            Just(json!({"temperature": 1, "steps": {"a": {"max_tokens": 1}}})),
            Just(json!({"a": [[[[]]]]})),
        ]
    }

    proptest! {
        #[test]
        fn any_spec_is_read_or_refused_and_what_is_read_is_told_as_it_was_read(
            fields in proptest::collection::btree_map(proptest::sample::select(&[
                "template", "seed", "records", "budget_usd", "formats", "pairing", "random_seed", "shard_size", "concurrency",
                "on_record_error", "on_invalid", "max_error_rate", "overrides", "partition_by", "dedup", "refill", "schema_version",
            ][..]), value(), 0..5)
        ) {
            let mut spec = minimal();
            for (name, value) in fields {
                spec[name] = value;
            }
            match JobSpec::from_value(spec) {
                Ok(read) => {
                    let told = serde_json::to_value(&read).unwrap();
                    prop_assert_eq!(JobSpec::from_value(told), Ok(read));
                }
                Err(errors) => prop_assert!(!errors.is_empty()),
            }
        }
    }
}
