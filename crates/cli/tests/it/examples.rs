//! The templates of `examples/` as jobs, with every seed file beside them: what a newcomer tries first.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Windrow, example};

/// Each template with seed files that fit it; each file is there once. The last stands for a file that was gzipped.
const JOBS: [(&str, &str); 8] = [
    ("brainstorm", "topics-10.csv"),
    ("seasonal-poem", "poems-10.json"),
    ("dialogue", "scenes-10.jsonl"),
    ("story", "poems-1000.jsonl"),
    ("question-answer", "poems-10.json"),
    ("newsletter", "topics-1000.csv"),
    ("dialogue", "scenes-1000.json"),
    ("brainstorm", "topics-1000.csv.gz"),
];
const RECORDS: usize = 20;

/// The file in the test's own directory.
fn seed_file(windrow: &Windrow, name: &str) {
    let Some(plain) = name.strip_suffix(".gz") else {
        std::fs::copy(example("seed").join(name), windrow.path(name)).unwrap();
        return;
    };
    let plain = std::fs::File::open(example("seed").join(plain)).unwrap();
    let gzipped = Command::new("gzip").arg("-c").stdin(Stdio::from(plain)).output().unwrap();
    assert!(gzipped.status.success(), "{gzipped:?}");
    windrow.file(name, gzipped.stdout);
}

#[test]
fn every_example_runs_as_a_job() {
    let windrow = Windrow::new();
    let _server = windrow.up();
    let json = |args: &[&str]| windrow.run(&[args, &["--data-dir", "data", "--json"]].concat()).ok().json();
    let push = |name: &str| {
        json(&["template", "push", &example(&format!("templates/{name}.yaml")).display().to_string()])
    };
    // what the newsletter includes
    push("house-style");
    let on_disk = |folder: &str| std::fs::read_dir(example(folder)).unwrap().count();
    let distinct =
        |names: Vec<&str>| names.into_iter().map(|name| (name, ())).collect::<BTreeMap<_, _>>().len();
    assert_eq!(
        distinct(JOBS.map(|(template, _)| template).to_vec()) + 1,
        on_disk("templates"),
        "a new template?"
    );
    assert_eq!(distinct(JOBS.map(|(_, seed)| seed).to_vec()) - 1, on_disk("seed"), "a new seed file?");

    for (template, seed) in JOBS {
        let pushed = push(template);
        seed_file(&windrow, seed);
        let upload = json(&["upload", seed]);
        let spec = json!({
            "template": format!("{}@1", pushed["id"].as_str().unwrap()), "seed": upload["id"], "records": RECORDS,
            "overrides": { "model": "offline" }, "random_seed": 7, "shard_size": 8,
            "formats": ["jsonl", "csv", "parquet"],
        });
        let spec = spec.to_string();
        let job = json(&["job", "submit", "--workload", "generate", "--spec", &spec, "--watch"]);
        let result = &job["result"];
        assert_eq!(
            (&job["status"], &result["rejects"]),
            (&json!("completed"), &json!(0)),
            "{template} {seed}: {job}"
        );
        assert_eq!(result["records"], RECORDS, "{template} {seed}: {job}");
        let out = format!("out-{template}-{seed}");
        json(&["download", job["id"].as_str().unwrap(), "--out", &out]);
        let records = std::fs::read_to_string(windrow.path(&out).join("data.jsonl")).unwrap();
        let fields = assert_made(template, &records);
        let csv = std::fs::read_to_string(windrow.path(&out).join("data.csv")).unwrap();
        for field in fields {
            assert!(
                csv.lines().next().unwrap().split(',').any(|column| column == field),
                "{template}: {csv}"
            );
        }
        assert!(windrow.path(&out).join("data.parquet").exists(), "{template}");
    }
}

/// Every index in order, and something in the record that the template makes; gives the output's fields.
fn assert_made(template: &str, records: &str) -> Vec<String> {
    let mut fields = Vec::new();
    for (index, line) in records.lines().enumerate() {
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["index"], index, "{template}");
        let known = ["id", "job_id", "index", "created_at", "seed_data_id", "meta"];
        let output = record.as_object().unwrap().iter().filter(|(name, _)| !known.contains(&name.as_str()));
        let output: Vec<(&String, &Value)> = output.collect();
        assert!(!output.is_empty(), "{template}: {line}");
        let said = |value: &Value| value.as_str().map_or(!value.is_null(), |text| !text.trim().is_empty());
        assert!(output.iter().any(|(_, value)| said(value)), "{template}: {line}");
        let answered = record["meta"].as_object().unwrap().values();
        assert!(
            answered.clone().count() > 0 && answered.clone().all(|step| step["cost_usd"] == "0.00"),
            "{line}"
        );
        fields = output.iter().map(|(name, _)| (*name).clone()).collect();
    }
    assert_eq!(records.lines().count(), RECORDS, "{template}");
    fields
}
