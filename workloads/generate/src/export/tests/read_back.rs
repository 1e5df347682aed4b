//! Parquet, read back by the crate's own reader.

use ::parquet::data_type::AsBytes as _;
use ::parquet::file::metadata::RowGroupMetaData;
use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
use ::parquet::record::{Field, Row};
use ::parquet::schema::printer::print_schema;
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;

fn read(bytes: &[u8]) -> SerializedFileReader<Bytes> {
    SerializedFileReader::new(Bytes::copy_from_slice(bytes)).unwrap()
}

/// The columns, a line each, as Parquet writes schemas down.
fn types(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    print_schema(&mut text, read(bytes).metadata().file_metadata().schema());
    String::from_utf8(text).unwrap()
}

/// One cell as JSON.
fn cell(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => (*value).into(),
        Field::Long(value) => (*value).into(),
        Field::Double(value) => (*value).into(),
        Field::Str(value) => value.as_str().into(),
        Field::Decimal(value) => {
            assert_eq!((value.precision(), value.scale()), (19, 12));
            let bytes: [u8; 9] = value.data().as_bytes().try_into().unwrap();
            assert_eq!(bytes[0], if bytes[1] < 0x80 { 0 } else { 0xff }, "more than 64 bits");
            let pico = i64::from_be_bytes(bytes[1..].try_into().unwrap());
            PicoUsd::from_pico(pico).to_string().into()
        }
        Field::TimestampMicros(micros) => Timestamp::from_micros(*micros).to_string().into(),
        Field::Group(row) => cells(row).into(),
        Field::ListInternal(list) => list.elements().iter().map(cell).collect(),
        other => panic!("unexpected field {other}"),
    }
}

fn cells(row: &Row) -> Map<String, Value> {
    row.get_column_iter().map(|(name, field)| (name.clone(), cell(field))).collect()
}

/// A column of texts.
pub(super) fn column(bytes: &[u8], name: &str) -> Vec<String> {
    rows(bytes).iter().map(|row| row[name].as_str().expect("a text").to_owned()).collect()
}

fn rows(bytes: &[u8]) -> Vec<Map<String, Value>> {
    read(bytes).get_row_iter(None).unwrap().map(|row| cells(&row.unwrap())).collect()
}

/// What a column of that shape gives for a value: absent is null, an integer among doubles is a double, and what fits
/// no type is its JSON text.
fn stored(value: Option<&Value>, shape: &Shape) -> Value {
    match (value.unwrap_or(&Value::Null), shape) {
        (Value::Null, _) => Value::Null,
        (value, Shape::Json) => value.to_string().into(),
        (value, Shape::Float) => value.as_f64().unwrap().into(),
        (Value::Array(items), Shape::List(item)) => {
            items.iter().map(|value| stored(Some(value), item)).collect()
        }
        (value, Shape::Object(fields)) if fields.is_empty() => value.to_string().into(),
        (Value::Object(object), Shape::Object(fields)) => {
            fields.iter().map(|(name, shape)| (name.clone(), stored(object.get(name), shape))).collect()
        }
        (value, _) => value.clone(),
    }
}

fn check(records: &[Record]) {
    let columns = columns(records);
    let (memory, exported) = export(records, Options::new([Format::Parquet], columns.clone())).unwrap();
    assert_eq!(exported.records, records.len() as u64);
    let rows = rows(&memory.files()["data.parquet"]);
    assert_eq!(rows.len(), records.len());
    for (row, record) in rows.iter().zip(records) {
        let mut expected = Map::new();
        expected.insert("id".to_owned(), record.id.to_string().into());
        expected.insert("job_id".to_owned(), record.job_id.to_string().into());
        expected.insert("index".to_owned(), record.index.into());
        expected.insert("created_at".to_owned(), record.created_at.to_string().into());
        expected.insert("seed_data_id".to_owned(), record.seed_data_id.clone().into());
        for (name, shape) in &columns.output {
            expected.insert(name.clone(), stored(record.output.get(name), shape));
        }
        expected.insert("meta".to_owned(), serde_json::to_value(&record.meta).unwrap());
        assert_eq!(row, &expected);
    }
}

#[test]
fn parquet_has_typed_columns() {
    let records = [
        record(
            0,
            json!({"q": "a", "n": 1, "x": 0.5, "ok": true, "tags": ["p", "q"], "o": {"k": 1, "l": [{"m": null}]}, "e": {}}),
        ),
        record(1, json!({"q": null, "n": -9, "x": 3, "tags": [], "o": null})),
        record(
            2,
            json!({"q": "\u{1F600}\u{0}", "tags": [null, "r"], "o": {"l": [{"m": "z"}, null]}, "mixed": 1}),
        ),
        record(3, json!({"mixed": "1", "n": i64::MIN, "ok": false})),
    ];
    check(&records);
    let (memory, _) = export(&records, Options::new([Format::Parquet], columns(&records))).unwrap();
    let bytes = &memory.files()["data.parquet"];
    insta::assert_snapshot!(types(bytes));
    let reader = read(bytes);
    let chunk = reader.metadata().row_group(0).column(5);
    assert!(matches!(chunk.compression(), ::parquet::basic::Compression::ZSTD(_)));
}

#[test]
fn row_groups_are_bounded() {
    let text = "x".repeat(10_000);
    let records: Vec<Record> = (0..8_000).map(|index| record(index, json!({"text": text}))).collect();
    let (memory, _) = export(&records, Options::new([Format::Parquet], columns(&records))).unwrap();
    let reader = read(&memory.files()["data.parquet"]);
    let groups = reader.metadata().row_groups();
    assert_eq!(groups.iter().map(RowGroupMetaData::num_rows).sum::<i64>(), 8_000);
    // 32 MiB, and what the block that filled it was more
    assert_eq!(groups.len(), 3);
    assert!(groups.iter().all(|group| group.total_byte_size() < 40 << 20), "{groups:?}");
}

#[test]
fn a_dataset_without_records_still_has_its_columns() {
    let schema = json!({"type": "object", "properties": {"score": {"type": "number"}}});
    let columns = Columns::declare([("question", None), ("grade", Some(&schema))], ["ask", "grade"]);
    for by in ["none", "date"] {
        let mut options = Options::new(Format::ALL, columns.clone());
        options.partition = by.parse().unwrap();
        let (memory, exported) = export(&[], options).unwrap();
        assert_eq!(exported.records, 0);
        assert_eq!(memory.text("data.jsonl"), "");
        assert_eq!(
            memory.text("data.csv"),
            "id,job_id,index,created_at,seed_data_id,question,grade,meta\r\n"
        );
        let types = types(&memory.files()["data.parquet"]);
        assert!(types.contains("OPTIONAL BYTE_ARRAY question (STRING);"), "{types}");
        assert!(types.contains("OPTIONAL group grade {\n    OPTIONAL DOUBLE score;\n"), "{types}");
        assert!(types.contains("cost_usd (DECIMAL(19,12));"), "{types}");
    }
}

#[test]
fn the_field_that_names_the_folders_is_left_out_of_parquet_only() {
    let records = [record(0, json!({"lang": "en", "n": 1})), record(1, json!({"lang": "de", "n": 2}))];
    let mut options = Options::new(Format::ALL, columns(&records));
    options.partition = "lang".parse().unwrap();
    options.folders = layouts::folders(&records, &options.partition);
    let (memory, _) = export(&records, options).unwrap();
    let rows = rows(&memory.files()["parquet/lang=de/part-00000.parquet"]);
    assert_eq!((rows.len(), &rows[0]["n"], rows[0].get("lang")), (1, &json!(2), None));
    assert!(memory.text("jsonl/lang=de/part-00000.jsonl").contains("\"lang\":\"de\""));
    assert!(memory.text("csv/lang=de/part-00000.csv").contains(",de,2,"));
}

fn output() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-9i64..9).prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        "[\\\\\"\n,a]{0,6}".prop_map(Value::from),
    ];
    let value = scalar.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c]|é\"", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    prop::collection::btree_map("[a-d]|ü,", value, 0..5)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn parquet_gives_back_what_was_put_in(outputs in prop::collection::vec(output(), 1..8)) {
        let records: Vec<Record> =
            outputs.into_iter().enumerate().map(|(index, output)| record(index as u64, output)).collect();
        check(&records);
    }
}
