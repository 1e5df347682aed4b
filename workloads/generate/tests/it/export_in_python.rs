//! Exports open without options in the programs that people use.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use indexmap::IndexMap;
use serde_json::{Value, json};
use windrow_core::{JobId, PicoUsd, Timestamp};
use windrow_generate::export::{
    Columns, Directory, Exporter, Folders, Format, Manifest, ModelUsage, Options, TemplateRef,
    write_documents,
};
use windrow_generate::record::{RawRecord, Record, StepMeta, record_id};

const RECORDS: u64 = 2_500;

fn job() -> JobId {
    "01980000-0000-7000-8000-000000000001".parse().unwrap()
}

/// The script knows this rule too: it checks that it reads back what is written here.
fn record(index: u64) -> Record {
    let languages = ["en", "de", "a/b=c d"];
    let output = json!({
        "question": format!("Question {index}, with \"quotes\", commas,\r\nbreaks, =formula and 日本\u{1F600}"),
        "score": if index.is_multiple_of(3) { json!(index) } else { json!(0.5) },
        "count": index,
        "even": index.is_multiple_of(2),
        "maybe": if index.is_multiple_of(5) { Value::Null } else { json!("") },
        "tags": (0..index % 4).map(|n| format!("t{n}")).collect::<Vec<_>>(),
        "author": {"name": format!("N{index}"), "born": 1900 + index % 100},
        "language": languages[usize::try_from(index % 3).unwrap()],
        "topic": if index.is_multiple_of(7) { json!(["a", "list"]) } else { json!("tea") },
    });
    let Value::Object(output) = output else { unreachable!("it is an object") };
    let usage = StepMeta {
        model: "stub".to_owned(),
        input_tokens: index,
        output_tokens: 34,
        cost_usd: PicoUsd::from_pico(125_000_001),
    };
    Record {
        id: record_id(job(), index),
        job_id: job(),
        index,
        // 100 records a day
        created_at: Timestamp::from_micros(
            1_767_225_600_123_000 + 864_000_000 * i64::try_from(index).unwrap(),
        ),
        seed_data_id: (index % 10).to_string(),
        output,
        meta: IndexMap::from([("ask".to_owned(), usage)]),
    }
}

fn columns(records: u64) -> Columns {
    let mut columns =
        Columns::declare([("question", None), ("score", Some(&json!({"type": "number"})))], ["ask"]);
    (0..records).for_each(|index| columns.observe(&record(index)));
    columns
}

/// As a job writes it, down to the names of the files.
fn export(folder: &Path, records: u64, partition: &str) {
    let mut options = Options::new(Format::ALL, columns(records));
    options.partition = partition.parse().unwrap();
    let mut folders = Folders::default();
    for index in 0..records {
        let line = serde_json::to_string(&record(index)).unwrap();
        folders.observe(&options.partition, &RawRecord::parse(&line).unwrap()).unwrap();
    }
    options.folders = folders.clone();
    let mut exporter = Exporter::start(Box::new(Directory::new(folder)), options).unwrap();
    for index in 0..records {
        exporter.push_line(&serde_json::to_string(&record(index)).unwrap()).unwrap();
    }
    let (mut sink, exported) = exporter.finish().unwrap();
    let template = TemplateRef { id: "qa".to_owned(), version: 1, name: "Q&A".to_owned() };
    let models = IndexMap::from([("stub".to_owned(), ModelUsage::default())]);
    let mut manifest = Manifest::new((job(), Timestamp::default()), template, 7, records, models, exported);
    manifest.partition_by = partition.parse().unwrap();
    manifest.partition_fallback = folders.fallback().clone();
    write_documents(&mut *sink, &manifest, &columns(records)).unwrap();
}

#[test]
fn pandas_pyarrow_and_duckdb_open_all_files() {
    let folder = tempfile::tempdir().unwrap();
    export(&folder.path().join("none"), RECORDS, "none");
    export(&folder.path().join("date"), RECORDS, "date");
    export(&folder.path().join("language"), RECORDS, "language");
    export(&folder.path().join("topic"), RECORDS, "topic");
    export(&folder.path().join("empty"), 0, "none");

    let python = std::env::var_os("WINDROW_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/python/open_exports.py");
    let output = Command::new(&python)
        .arg(script)
        .arg(folder.path())
        .arg(RECORDS.to_string())
        .output()
        .unwrap_or_else(|error| {
            panic!("{} doesn't start ({error}): set WINDROW_TEST_PYTHON to a Python 3", python.display())
        });
    std::io::stderr().write_all(&output.stderr).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
