use serde_json::json;

use super::*;
use crate::export::partition::escape;
use crate::record::RawRecord;

fn partitioned(
    records: &[Record],
    formats: &[Format],
    by: &str,
    max_open: usize,
) -> Result<(Memory, Exported), ExportError> {
    let mut options = Options::new(formats, columns(records));
    options.partition = by.parse().unwrap();
    options.folders = folders(records, &options.partition);
    options.max_open_files = max_open;
    export(records, options)
}

pub(super) fn folders(records: &[Record], by: &PartitionBy) -> Folders {
    let mut folders = Folders::default();
    for record in records {
        let line = serde_json::to_string(record).unwrap();
        folders.observe(by, &RawRecord::parse(&line).unwrap()).unwrap();
    }
    folders
}

#[test]
fn values_become_folders_as_hive_names_them() {
    let records: Vec<Record> =
        [json!("en"), json!("a/b=c"), json!(null), json!(""), json!("../é x"), json!("en")]
            .into_iter()
            .enumerate()
            .map(|(index, language)| record(index as u64, json!({"language": language, "n": index})))
            .collect();
    let (memory, exported) = partitioned(&records, &[Format::Jsonl, Format::Csv], "language", 64).unwrap();
    let folders = [
        "language=..%2Fé x",
        "language=",
        "language=__HIVE_DEFAULT_PARTITION__",
        "language=a%2Fb%3Dc",
        "language=en",
    ];
    let paths: Vec<String> = ["jsonl", "csv"]
        .iter()
        .flat_map(|ext| folders.iter().map(move |folder| format!("{ext}/{folder}/part-00000.{ext}")))
        .collect();
    assert_eq!(exported.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), paths);
    let english = memory.text("jsonl/language=en/part-00000.jsonl");
    let indices: Vec<u64> =
        english.lines().map(|line| serde_json::from_str::<Record>(line).unwrap().index).collect();
    assert_eq!(indices, [0, 5]);
}

#[test]
fn escaping_is_hive_s() {
    assert_eq!(escape("a b-c_d.é"), "a b-c_d.é");
    assert_eq!(escape("\u{0}\n\u{7f}%:"), "%00%0A%7F%25%3A");
    assert_eq!(escape("\"#'*/=?\\{[]^"), "%22%23%27%2A%2F%3D%3F%5C%7B%5B%5D%5E");
}

#[test]
fn a_folder_a_day_in_utc() {
    // a minute an index: 1,440 a day
    let records: Vec<Record> = (0..3).map(|day| record(day * 1_440, json!({"n": day}))).collect();
    let (memory, _) = partitioned(&records, &[Format::Csv], "date", 64).unwrap();
    let paths: Vec<String> = memory.files().into_keys().collect();
    assert_eq!(paths, ["01", "02", "03"].map(|day| format!("csv/date=2026-01-{day}/part-00000.csv")));
}

#[test]
fn few_files_are_open_at_once_and_no_row_is_lost() {
    // two blocks, each with all values
    let records: Vec<Record> = (0..1_000)
        .map(|index| record(index, json!({"group": index % 10, "text": "x".repeat(4_000)})))
        .collect();
    for format in Format::ALL {
        let (memory, exported) = partitioned(&records, &[format], "group", 4).unwrap();
        assert!(memory.most_open() <= 4, "{} were open", memory.most_open());
        assert_eq!(exported.records, 1_000);
        assert_eq!(exported.files.iter().map(|file| file.rows).sum::<u64>(), 1_000);
        assert_eq!(exported.files.len(), 10, "a folder's file is gone on with");
        assert_eq!(memory.files().len(), exported.files.len());
    }
}

#[test]
fn what_the_template_would_have_told_is_refused() {
    let records = [record(0, json!({"list": [1], "date": "x"}))];
    for (field, reason) in [("absent", "only: list, date"), ("date", "a field of that name already")] {
        let error = partitioned(&records, &[Format::Jsonl], field, 64).err().expect("an error").to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn values_that_can_t_name_a_folder_share_one() {
    let values = [json!("en"), json!(["en"]), json!({"a": 1}), json!("x".repeat(300)), json!(7), json!(null)];
    let records: Vec<Record> =
        (0..).zip(&values).map(|(i, value)| record(i, json!({"v": value, "v_value": 1}))).collect();
    let by = PartitionBy::Field("v".to_owned());
    let counts = BTreeMap::from([(FallbackReason::ListOrObject, 2), (FallbackReason::TooLong, 1)]);
    assert_eq!(*folders(&records, &by).fallback(), counts);
    let (memory, exported) = partitioned(&records, &Format::ALL, "v", 64).unwrap();
    assert_eq!(exported.records, 6);
    let other = memory.text("jsonl/v=__OTHER__/part-00000.jsonl");
    let found: Vec<Value> =
        other.lines().map(|line| serde_json::from_str::<Record>(line).unwrap().output["v"].clone()).collect();
    assert_eq!(found, values[1..4]);
    // the folder doesn't tell the value, so Parquet keeps it, by a name that nothing else has
    let parquet = read_back::column(&memory.files()["parquet/v=__OTHER__/part-00000.parquet"], "v_value_");
    assert_eq!(parquet, values[1..4].iter().map(Value::to_string).collect::<Vec<_>>());
    let mut manifest = manifest(exported);
    (manifest.partition_by, manifest.partition_fallback) = (by, counts);
    let card = dataset_card(&manifest, &columns(&records));
    let said = "3 records stand in the folder `v=__OTHER__` because their value can't name one (2 list_or_object, 1 too_long). \
                In Parquet, every record's value is in the column `v_value_`.";
    assert!(card.contains(said), "{card}");
}

#[test]
fn past_so_many_values_the_rest_share_a_folder() {
    let most = u64::try_from(MAX_FOLDERS).unwrap();
    let records: Vec<Record> =
        (0..most + 40).map(|index| record(index, json!({"n": index % (most + 20)}))).collect();
    let (memory, exported) = partitioned(&records, &[Format::Jsonl], "n", 4).unwrap();
    assert_eq!((exported.records, exported.files.len()), (most + 40, MAX_FOLDERS + 1));
    // 20 values came too late; those that came again after them still go to their own folders
    assert_eq!(memory.text("jsonl/n=__OTHER__/part-00000.jsonl").lines().count(), 20);
    assert_eq!(memory.text("jsonl/n=7/part-00000.jsonl").lines().count(), 2);
}

fn manifest(exported: Exported) -> Manifest {
    let usage =
        ModelUsage { calls: 3, input_tokens: 30, output_tokens: 70, cost_usd: PicoUsd::from_pico(5_000_000) };
    let models = IndexMap::from([("stub|a".to_owned(), usage), ("b".to_owned(), usage)]);
    let template = TemplateRef { id: "poem".to_owned(), version: 2, name: "Poem: \"Q&A\"\n---".to_owned() };
    Manifest::new((job(), Timestamp::from_micros(0)), template, 42, 5, models, exported)
}

#[test]
fn a_manifest_tells_all_and_reads_back() {
    let records: Vec<Record> = (0..3).map(|index| record(index, json!({"n": index}))).collect();
    let (_, exported) = export(&records, Options::new(Format::ALL, columns(&records))).unwrap();
    let files = exported.files.clone();
    let mut manifest = manifest(exported);
    manifest.partial = true;
    manifest.shortfall.insert(ShortfallReason::BudgetExceeded, 2);
    assert_eq!((manifest.input_tokens, manifest.output_tokens), (60, 140));
    assert_eq!(manifest.cost_usd, PicoUsd::from_pico(10_000_000));
    let json: Value = serde_json::from_str(&manifest.to_json()).unwrap();
    assert_eq!(json["shortfall"], json!({"budget_exceeded": 2}));
    assert_eq!(json["cost_usd"], json!("0.00001"));
    assert_eq!(json["partition_by"], json!("none"));
    assert_eq!(json["files"][0]["sha256"], json!(files[0].sha256));
    assert_eq!(serde_json::from_value::<Manifest>(json).unwrap(), manifest);
}

#[test]
fn a_card_points_datasets_at_one_format() {
    let records: Vec<Record> = (0..3).map(|index| record(index, json!({"n": index, "lang": "en"}))).collect();
    let mixed: Vec<Record> = (0..3)
        .map(|n| record(n, json!({"lang": "en", "n": [{"a": if n == 0 { json!(1) } else { json!("b") }}]})))
        .collect();
    let listed = [record(0, json!({"lang": ["en"]})), record(1, json!({"lang": "de"}))];
    for (records, by, path) in [
        // JSON readers want one type a column
        (&mixed[..], "lang", "csv/**/*.csv"),
        // here the folders' names don't tell all, and Parquet does
        (&listed[..], "lang", "parquet/**/*.parquet"),
    ] {
        let (_, exported) = partitioned(records, &Format::ALL, by, 64).unwrap();
        let mut manifest = manifest(exported);
        manifest.partition_by = by.parse().unwrap();
        manifest.partition_fallback = folders(records, &manifest.partition_by).fallback().clone();
        let card = dataset_card(&manifest, &columns(records));
        assert!(card.contains(&format!("    path: \"{path}\"\n---\n")), "{card}");
    }
    for (formats, by, path) in [
        (&Format::ALL[..], "none", "data.parquet"),
        (&[Format::Csv, Format::Jsonl], "none", "data.jsonl"),
        (&Format::ALL[..], "date", "parquet/**/*.parquet"),
        (&Format::ALL[..], "lang", "jsonl/**/*.jsonl"),
    ] {
        let (_, exported) = partitioned(&records, formats, by, 64).unwrap();
        let mut manifest = manifest(exported);
        manifest.partition_by = by.parse().unwrap();
        let card = dataset_card(&manifest, &columns(&records));
        assert!(card.contains(&format!("    path: \"{path}\"\n---\n")), "{card}");
        let (front, _) = card.strip_prefix("---\n").and_then(|card| card.split_once("\n---\n")).unwrap();
        assert_eq!(front.lines().next(), Some(r#"pretty_name: "Poem: \"Q&A\"\n---""#), "{card}");
        assert!(card.contains("| stub\\|a | 3 | 30 | 70 | 0.000005 |"), "{card}");
        assert!(card.contains("| n | integer |"), "{card}");
    }
}
