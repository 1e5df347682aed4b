use proptest::prelude::*;
use serde_json::json;

use super::*;

fn job() -> JobId {
    "01980000-0000-7000-8000-000000000001".parse().unwrap()
}

fn record(index: u64, output: Value) -> Record {
    let Value::Object(output) = output else { panic!("an object") };
    let usage = StepMeta {
        model: "stub".to_owned(),
        input_tokens: 12,
        output_tokens: 34,
        cost_usd: PicoUsd::from_pico(125_000_000),
    };
    Record {
        id: record_id(job(), index),
        job_id: job(),
        index,
        created_at: Timestamp::from_micros(1_767_225_600_123_000),
        seed_data_id: "7".to_owned(),
        output,
        meta: IndexMap::from([("ask".to_owned(), usage)]),
    }
}

fn reject(index: u64) -> Reject {
    let error = JobError::transient("model_timeout", "no answer after 60 s").into();
    Reject { index, step: "ask".to_owned(), model: Some("stub".to_owned()), error, attempts: 3 }
}

#[test]
fn a_record_is_one_flat_line_in_a_fixed_order() {
    let record = record(3, json!({"zeta": "ä\n", "alpha": {"b": 1, "a": [true, null]}}));
    let line = serde_json::to_string(&record).unwrap();
    assert_eq!(
        line,
        format!(
            r#"{{"id":"{}","job_id":"01980000-0000-7000-8000-000000000001","index":3,"created_at":"2026-01-01T00:00:00.123Z","seed_data_id":"7","zeta":"ä\n","alpha":{{"b":1,"a":[true,null]}},"meta":{{"ask":{{"model":"stub","input_tokens":12,"output_tokens":34,"cost_usd":"0.000125"}}}}}}"#,
            record.id
        )
    );
    assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
    let raw = RawRecord::parse(&line).unwrap();
    assert_eq!((raw.index, &*raw.seed_data_id, raw.line), (3, "7", &*line));
    assert_eq!(raw.field("alpha").unwrap().get(), r#"{"b":1,"a":[true,null]}"#);
}

/// The ids of datasets that are out there must not change.
#[test]
fn a_record_s_id_is_a_function_of_job_and_index() {
    assert_eq!(record_id(job(), 0).to_string(), "aba5220b-7971-8aaf-b144-e5620d5c6f54");
    assert_eq!(record_id(job(), 0).get_version_num(), 8);
    assert_ne!(record_id(job(), 0), record_id(job(), 1));
    let other = JobId(Uuid::from_u128(7));
    assert_ne!(record_id(job(), 0), record_id(other, 0));
}

#[test]
fn a_line_that_is_no_record_says_what_is_wrong() {
    let whole = serde_json::to_string(&record(0, json!({"a": 1}))).unwrap();
    for (line, reason) in [
        (whole.replace("\"index\":0,", ""), "missing field `index`"),
        (whole.replace("\"index\":0,", "\"index\":0,\"index\":0,"), "duplicate field `index`"),
        (whole.replace("\"index\":0", "\"index\":-1"), "invalid value"),
        ("[1]".to_owned(), "a record (a JSON object)"),
        (whole[..whole.len() - 1].to_owned(), "EOF"),
    ] {
        let error = RawRecord::parse(&line).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn a_part_gives_back_records_then_rejects() {
    let mut builder = PartBuilder::new(10);
    assert!(builder.finish().is_none());
    builder.push_record(&record(10, json!({"a": 1}))).unwrap();
    builder.push_reject(&reject(11)).unwrap();
    builder.push_record(&record(12, json!({"a": 2.5, "b": null}))).unwrap();
    let part = builder.finish().unwrap();
    assert_eq!(
        (part.header.first, part.header.last, part.header.records, part.header.rejects),
        (10, 12, 2, 1)
    );
    assert_eq!(part.columns.output.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert!(part.columns.steps.contains("ask"));

    let mut reader = PartReader::open(&*part.bytes).unwrap();
    let mut indices = Vec::new();
    while let Some(line) = reader.next().unwrap() {
        indices.push(match line {
            PartLine::Record(record) => (record.index, true),
            PartLine::Reject(found) => {
                assert_eq!(found, reject(11));
                (found.index, false)
            }
        });
    }
    assert_eq!(indices, [(10, true), (12, true), (11, false)]);

    // the dataset's lines are one range of bytes
    let lines = std::str::from_utf8(record_lines(&part.bytes).unwrap()).unwrap();
    let indices: Vec<u64> = lines.lines().map(|line| RawRecord::parse(line).unwrap().index).collect();
    assert_eq!(indices, [10, 12]);
    assert!(lines.ends_with('\n'));
    assert!(record_lines(&part.bytes[..150]).is_err());

    // the builder goes on where the part ends
    assert!(matches!(
        builder.push_record(&record(12, json!({}))),
        Err(RecordError::OutOfOrder { expected: 13, found: 12 })
    ));
    builder.push_record(&record(13, json!({}))).unwrap();
}

#[test]
fn an_output_field_may_not_hide_a_record_s_own() {
    let mut builder = PartBuilder::new(0);
    for name in RESERVED_FIELDS {
        let error = builder.push_record(&record(0, json!({"fine": 1, name: 1}))).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
    assert!(builder.is_empty());
    assert_eq!(builder.bytes(), 0);
}

fn part_of_five() -> Part {
    let mut builder = PartBuilder::new(0);
    for index in 0..5 {
        if index == 1 {
            builder.push_reject(&reject(index)).unwrap();
        } else {
            builder.push_record(&record(index, json!({"a": "x".repeat(20)}))).unwrap();
        }
    }
    builder.finish().unwrap()
}

fn read_all(bytes: &[u8]) -> Result<u64, RecordError> {
    let mut reader = PartReader::open(bytes)?;
    let mut lines = 0;
    while reader.next()?.is_some() {
        lines += 1;
    }
    Ok(lines)
}

#[test]
fn a_part_that_was_cut_off_anywhere_is_an_error() {
    let part = part_of_five();
    assert_eq!(read_all(&part.bytes).unwrap(), 5);
    for length in 0..part.bytes.len() {
        assert!(read_all(&part.bytes[..length]).is_err(), "{length} of {} bytes", part.bytes.len());
    }
}

#[test]
fn a_part_with_lines_doubled_swapped_or_added_is_an_error() {
    let part = part_of_five();
    let text = String::from_utf8(part.bytes).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for order in [[0, 1, 1, 3, 4, 5], [0, 2, 1, 3, 4, 5], [0, 1, 2, 3, 5, 4]] {
        let changed: String = order.iter().map(|i| format!("{}\n", lines[*i])).collect();
        assert!(read_all(changed.as_bytes()).is_err(), "{order:?}");
    }
    assert!(matches!(read_all(format!("{text}{{}}\n").as_bytes()), Err(RecordError::TooLong)));
    let wrong = text.replacen("\"windrow_part\":1", "\"windrow_part\":2", 1);
    assert!(matches!(read_all(wrong.as_bytes()), Err(RecordError::Header { .. })));
    let wrong = text.replacen("\"last\":4", "\"last\":5", 1);
    assert!(matches!(read_all(wrong.as_bytes()), Err(RecordError::Header { .. })));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(
        first in any::<u64>(), last in any::<u64>(), records in any::<u64>(), rejects in 0u64..3,
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let header = PartHeader { windrow_part: 1, first, last, records, records_bytes: 0, rejects };
        let mut bytes = serde_json::to_vec(&header).unwrap();
        bytes.push(b'\n');
        bytes.extend(rest);
        let _ = read_all(&bytes);
    }
}
