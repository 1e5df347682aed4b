//! The templates and seed files of `examples/`.

use std::fs::{self, File};
use std::path::PathBuf;

use indexmap::IndexMap;
use windrow_core::PicoUsd;
use windrow_generate::estimate::{ModelFacts, estimate};
use windrow_generate::seed::{SeedFormat, SeedLimits, SeedReader, SeedRecord, validate};
use windrow_generate::spec::PinnedStep;
use windrow_generate::template::{CompiledTemplate, Fragments, TemplateDocument, analyse, estimate_tokens};

#[path = "../../examples/make_seed_files.rs"]
mod make_seed_files;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

fn document(name: &str) -> TemplateDocument {
    let text = fs::read_to_string(folder().join("templates").join(name)).unwrap();
    TemplateDocument::parse(&text).unwrap_or_else(|errors| panic!("{name}: {errors:?}"))
}

fn fragments() -> Fragments {
    Fragments::from([("house-style@1".to_owned(), document("house-style.yaml").fragment.unwrap())])
}

struct Free;

impl ModelFacts for Free {
    fn count_tokens(&self, _model: &str, text: &str) -> u64 {
        estimate_tokens(text)
    }

    fn cost(&self, _model: &str, _input_tokens: u64, _output_tokens: u64) -> Option<PicoUsd> {
        Some(PicoUsd::ZERO)
    }
}

const PAIRS: [(&str, &[&str]); 6] = [
    ("brainstorm.yaml", &["topics-10.csv", "topics-1000.csv"]),
    ("seasonal-poem.yaml", &["poems-10.json", "poems-1000.jsonl"]),
    ("dialogue.yaml", &["scenes-10.jsonl", "scenes-1000.json"]),
    ("story.yaml", &["poems-10.json", "poems-1000.jsonl"]),
    ("question-answer.yaml", &["poems-10.json", "poems-1000.jsonl"]),
    ("newsletter.yaml", &["topics-10.csv", "topics-1000.csv"]),
];

#[test]
fn every_template_renders_with_every_record_that_fits_it() {
    for (template, files) in PAIRS {
        let document = document(template);
        let analysis = analyse(&document, &fragments());
        assert_eq!(analysis.clone().into_problems(), [], "{template}");
        assert_eq!(analysis.undeclared, [], "{template}");
        assert_eq!(analysis.unused, [], "{template}");
        let requirements = document.schema_requirements.clone();
        let compiled = CompiledTemplate::compile(document, &fragments()).unwrap();
        let models: IndexMap<String, PinnedStep> = compiled
            .document()
            .steps
            .iter()
            .map(|step| {
                let model = step.model.clone().expect("an example names its models");
                (
                    step.id.clone(),
                    PinnedStep { model, temperature: step.temperature, max_tokens: step.max_tokens() },
                )
            })
            .collect();
        for name in files {
            let open = || {
                let file = File::open(folder().join("seed").join(name)).unwrap();
                SeedReader::open(file, SeedLimits::default()).unwrap()
            };
            let count = if name.contains("1000") { 1_000 } else { 10 };
            let report = validate(open(), &requirements).unwrap();
            assert_eq!((report.valid, report.invalid), (count, 0), "{template} {name}: {:?}", report.bad);
            let sample: Vec<SeedRecord> = (0..)
                .zip(open())
                .map(|(number, row)| SeedRecord::new(number, &row.unwrap().record))
                .collect();
            let estimate = estimate(&compiled, &models, &sample, count, 7, &Free).unwrap();
            assert_eq!(
                (estimate.sampled, estimate.failed),
                (count, 0),
                "{template} {name}: {:?}",
                estimate.failure
            );
        }
    }
}

#[test]
fn prompts_read_as_they_should() {
    let seed = |name: &str| {
        let file = File::open(folder().join("seed").join(name)).unwrap();
        let mut rows = SeedReader::open(file, SeedLimits::default()).unwrap();
        SeedRecord::new(0, &rows.next().unwrap().unwrap().record)
    };
    let prompts: Vec<String> = PAIRS
        .iter()
        .map(|(name, files)| {
            let template = CompiledTemplate::compile(document(name), &fragments()).unwrap();
            let record = windrow_generate::sampler::RecordSeed { random_seed: 7, index: 0 };
            let outputs = windrow_generate::template::StepOutputs::new();
            let step = template.render(0, &seed(files[0]), &outputs, record).unwrap().unwrap();
            format!("# {name}\n{}\n---\n{}", step.system.unwrap_or_default(), step.prompt)
        })
        .collect();
    insta::assert_snapshot!(prompts.join("\n"));
}

#[test]
fn the_seed_files_are_what_their_maker_makes() {
    for (name, text) in make_seed_files::files() {
        let stored = fs::read_to_string(folder().join("seed").join(name)).unwrap();
        assert!(stored == text, "{name} differs: run the example make_seed_files");
    }
}

#[test]
fn the_seed_files_are_of_all_formats() {
    for (name, format) in [
        ("poems-10.json", SeedFormat::Json),
        ("scenes-1000.json", SeedFormat::Json),
        ("poems-1000.jsonl", SeedFormat::Jsonl),
        ("topics-1000.csv", SeedFormat::Csv),
    ] {
        let file = File::open(folder().join("seed").join(name)).unwrap();
        assert_eq!(SeedReader::open(file, SeedLimits::default()).unwrap().format(), format, "{name}");
    }
}
