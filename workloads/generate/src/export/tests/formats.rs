use serde_json::json;
use sha2::{Digest, Sha256};

use super::*;
use crate::record::{PartBuilder, Reject};
use windrow_core::JobError;

#[test]
fn csv_is_rfc_4180_to_the_byte() {
    let records = [
        record(0, json!({"text": "plain", "nested": {"a": ["x", 1]}, "n": 1.50, "ok": true})),
        record(1, json!({"text": "a,b", "nested": [], "n": -3, "ok": null})),
        record(2, json!({"text": "say \"hi\"\r\nnow", "n": 1e300})),
        record(3, json!({"text": "", "nested": "β\u{1F600}", "n": null})),
        record(4, json!({"text": "tab\tand \\ slash", "nested": "=1+1", "n": 0})),
    ];
    let (memory, _) = export(&records, Options::new([Format::Csv], columns(&records))).unwrap();
    let meta = r#""{""ask"":{""model"":""stub"",""input_tokens"":12,""output_tokens"":34,""cost_usd"":""0.000125000001""}}""#;
    let lead = |index: usize| {
        let id = records[index].id;
        format!("{id},{},{index},2026-01-01T00:0{index}:00.123Z,seed {index},", job())
    };
    let expected = [
        "id,job_id,index,created_at,seed_data_id,text,nested,n,ok,meta".to_owned(),
        lead(0) + r#"plain,"{""a"":[""x"",1]}",1.5,true,"# + meta,
        lead(1) + r#""a,b","[]",-3,,"# + meta,
        lead(2) + "\"say \"\"hi\"\"\r\nnow\",,1e+300,," + meta,
        lead(3) + "\"\",β\u{1F600},,," + meta,
        lead(4) + "tab\tand \\ slash,=1+1,0,," + meta,
    ];
    assert_eq!(memory.text("data.csv"), expected.join("\r\n") + "\r\n");
}

#[test]
fn csv_reads_back_with_another_reader() {
    let texts = ["", " lead", "a\rb", "\"", "\"\"", ",", "\n", "x\u{0}y", "'", "né,\"\n\"e"];
    let records: Vec<Record> =
        texts.iter().enumerate().map(|(i, text)| record(i as u64, json!({"t,\"x": text}))).collect();
    let (memory, _) = export(&records, Options::new([Format::Csv], columns(&records))).unwrap();
    let bytes = &memory.files()["data.csv"];
    let mut reader = ::csv::Reader::from_reader(bytes.as_slice());
    assert_eq!(reader.headers().unwrap().get(5), Some("t,\"x"));
    let read: Vec<String> = reader.records().map(|row| row.unwrap()[5].to_owned()).collect();
    assert_eq!(read, texts);
}

#[test]
fn jsonl_is_the_lines_themselves_in_order() {
    // enough for many blocks on several threads
    let records: Vec<Record> =
        (0..3_000).map(|index| record(index * 2, json!({"text": "x".repeat(4_000), "n": index}))).collect();
    let (memory, exported) = export(&records, Options::new([Format::Jsonl], columns(&records))).unwrap();
    let expected: String = records.iter().map(|r| serde_json::to_string(r).unwrap() + "\n").collect();
    assert!(memory.text("data.jsonl") == expected);
    assert_eq!((exported.records, exported.files[0].rows), (3_000, 3_000));
}

#[test]
fn parts_go_in_as_they_are_and_rejects_have_their_own_file() {
    let reject = |index| Reject {
        index,
        step: "ask".to_owned(),
        model: None,
        error: JobError::permanent("render", "undefined").into(),
        attempts: 1,
    };
    let mut builder = PartBuilder::new(0);
    builder.push_record(&record(0, json!({"a": 1}))).unwrap();
    builder.push_reject(&reject(1)).unwrap();
    let first = builder.finish().unwrap();
    builder.push_record(&record(2, json!({"a": "x"}))).unwrap();
    let second = builder.finish().unwrap();
    let mut columns = first.columns.clone();
    columns.merge(&second.columns);
    assert_eq!(columns.output["a"], Shape::Json);

    let memory = Memory::default();
    let options = Options::new([Format::Jsonl, Format::Csv, Format::Parquet], columns);
    let mut exporter = Exporter::start(Box::new(memory.clone()), options).unwrap();
    for part in [&first, &second] {
        exporter.push_part(&*part.bytes).unwrap();
    }
    let (_, exported) = exporter.finish().unwrap();
    assert_eq!((exported.records, exported.rejects), (2, 1));
    let paths: Vec<&str> = exported.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["data.jsonl", "data.csv", "data.parquet", "rejects.jsonl"]);
    assert_eq!(memory.text("rejects.jsonl"), serde_json::to_string(&reject(1)).unwrap() + "\n");
    // the hashes and sizes are the files'
    for file in &exported.files {
        let bytes = &memory.files()[&file.path];
        assert_eq!(file.sha256, hex::encode(Sha256::digest(bytes)), "{}", file.path);
        assert_eq!(file.bytes, bytes.len() as u64);
    }
}

#[test]
fn skipped_indices_are_in_no_format() {
    let records: Vec<Record> = (0..10).map(|index| record(index, json!({"n": index}))).collect();
    let mut options = Options::new(Format::ALL, columns(&records));
    options.skip = [3, 7].into();
    let (memory, exported) = export(&records, options).unwrap();
    assert_eq!(exported.records, 8);
    assert_eq!(memory.text("data.jsonl").lines().count(), 8);
    assert_eq!(memory.text("data.csv").lines().count(), 9);
    assert!(exported.files.iter().all(|file| file.rows == 8));
    assert!(!memory.text("data.jsonl").contains("\"index\":3,"));
}

#[test]
fn nothing_is_lost_without_a_word() {
    let fits = [record(0, json!({"a": 1}))];
    let known = columns(&fits);
    for (record, reason) in [
        (record(1, json!({"a": "x"})), "found a text where the column holds integers"),
        (record(1, json!({"a": 0.5})), "column holds integers"),
        (record(1, json!({"b": 1})), "\"b\""),
        (record(0, json!({"a": 1})), "came after record 0"),
    ] {
        let records = [fits[0].clone(), record];
        let result = export(&records, Options::new([Format::Parquet], known.clone()));
        let error = result.err().expect("an error").to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert!(matches!(export(&fits, Options::new([], known.clone())).err(), Some(ExportError::NoFormat)));
    let mut exporter =
        Exporter::start(Box::new(Memory::default()), Options::new([Format::Csv], known)).unwrap();
    exporter.push_line("{\"id\":").unwrap();
    assert!(matches!(exporter.finish(), Err(ExportError::Record(_))));
}

#[test]
fn blocks_that_overlap_are_refused() {
    let big = |index| record(index, json!({"text": "x".repeat(3 << 20)}));
    let records = [big(5), big(4)];
    let result = export(&records, Options::new([Format::Jsonl], columns(&records)));
    assert!(matches!(result.err(), Some(ExportError::OutOfOrder { last: 5, found: 4 })));
}

#[test]
fn an_export_that_is_given_up_leaves_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let records = [record(0, json!({"text": "x".repeat(3 << 20)}))];
    let options = Options::new(Format::ALL, columns(&records));
    let mut exporter = Exporter::start(Box::new(Directory::new(folder.path())), options.clone()).unwrap();
    exporter.push_line(&serde_json::to_string(&records[0]).unwrap()).unwrap();
    drop(exporter);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    let mut exporter = Exporter::start(Box::new(Directory::new(folder.path())), options).unwrap();
    exporter.push_line(&serde_json::to_string(&records[0]).unwrap()).unwrap();
    exporter.finish().unwrap();
    let mut names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["data.csv", "data.jsonl", "data.parquet"]);
}

#[test]
fn a_disk_that_fails_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data.csv.partial")).unwrap();
    let records = [record(0, json!({"a": 1}))];
    let options = Options::new([Format::Csv], columns(&records));
    let mut exporter = Exporter::start(Box::new(Directory::new(folder.path())), options).unwrap();
    exporter.push_line(&serde_json::to_string(&records[0]).unwrap()).unwrap();
    let error = exporter.finish().err().expect("an error").to_string();
    assert!(error.starts_with("data.csv can't be written"), "{error}");
}

#[tokio::test]
async fn chunks_add_up_to_the_files() {
    let records: Vec<Record> =
        (0..800).map(|index| record(index, json!({"text": "x".repeat(4_000)}))).collect();
    let options = Options::new(Format::ALL, columns(&records));
    let (expected, _) = export(&records, options.clone()).unwrap();
    let (sink, mut chunks) = ChunkSink::new(2);
    let exporting = tokio::task::spawn_blocking(move || {
        let mut exporter = Exporter::start(Box::new(sink), options).unwrap();
        for record in &records {
            exporter.push_line(&serde_json::to_string(record).unwrap()).unwrap();
        }
        exporter.finish().unwrap().1
    });
    let mut files: BTreeMap<usize, (String, Vec<u8>)> = BTreeMap::new();
    let mut closed = 0;
    while let Some(chunk) = chunks.recv().await {
        match chunk {
            Chunk::Create { file, path } => assert!(files.insert(file, (path, Vec::new())).is_none()),
            Chunk::Data { file, bytes } => files.get_mut(&file).unwrap().1.extend_from_slice(&bytes),
            Chunk::Close { .. } => closed += 1,
            Chunk::Abandon { file } => panic!("file {file} was abandoned"),
        }
    }
    assert_eq!(exporting.await.unwrap().records, 800);
    assert_eq!(closed, 3);
    assert!(files.into_values().collect::<BTreeMap<_, _>>() == expected.files());
}
