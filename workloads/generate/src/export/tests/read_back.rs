//! Parquet, read back by the crate's own reader.

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;

fn read(bytes: &[u8]) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::copy_from_slice(bytes)).unwrap();
    let batches = reader.build().unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    assert!(batches.iter().all(|batch| batch.schema().fields().len() == batch.num_columns()));
    batches
}

/// One cell as JSON.
fn cell(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).into(),
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::Decimal128(19, 12) => {
            let pico = array.as_primitive::<Decimal128Type>().value(row);
            PicoUsd::from_pico(i64::try_from(pico).unwrap()).to_string().into()
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) => {
            assert_eq!(&**zone, "UTC");
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            Timestamp::from_micros(micros).to_string().into()
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            (0..items.len()).map(|item| cell(&items, item)).collect()
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            fields.iter().zip(columns).map(|(f, column)| (f.name().clone(), cell(column, row))).collect()
        }
        other => panic!("unexpected type {other}"),
    }
}

/// A column of texts.
pub(super) fn column(bytes: &[u8], name: &str) -> Vec<String> {
    rows(bytes).iter().map(|row| row[name].as_str().expect("a text").to_owned()).collect()
}

fn rows(bytes: &[u8]) -> Vec<Map<String, Value>> {
    let mut rows = Vec::new();
    for batch in read(bytes) {
        for row in 0..batch.num_rows() {
            let cells = batch
                .schema()
                .fields()
                .iter()
                .zip(batch.columns())
                .map(|(field, column)| (field.name().clone(), cell(column, row)))
                .collect();
            rows.push(cells);
        }
    }
    rows
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
    let bytes = Bytes::from(memory.files()["data.parquet"].clone());
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let schema = reader.schema().clone();
    let types: Vec<String> =
        schema.fields().iter().map(|f| format!("{}: {}", f.name(), f.data_type())).skip(2).collect();
    assert_eq!(
        types[..7],
        [
            "index: Int64",
            "created_at: Timestamp(µs, \"UTC\")",
            "seed_data_id: Utf8",
            "q: Utf8",
            "n: Int64",
            "x: Float64",
            "ok: Boolean",
        ]
    );
    assert_eq!(schema.field_with_name("mixed").unwrap().metadata()["windrow.encoding"], "json");
    let chunk = reader.metadata().row_group(0).column(5);
    assert!(matches!(chunk.compression(), ::parquet::basic::Compression::ZSTD(_)));
}

#[test]
fn row_groups_are_bounded() {
    let records: Vec<Record> = (0..40_000).map(|index| record(index, json!({"n": index}))).collect();
    let (memory, _) = export(&records, Options::new([Format::Parquet], columns(&records))).unwrap();
    let bytes = Bytes::from(memory.files()["data.parquet"].clone());
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let groups: Vec<i64> = reader
        .metadata()
        .row_groups()
        .iter()
        .map(::parquet::file::metadata::RowGroupMetaData::num_rows)
        .collect();
    assert_eq!(groups, [16_384, 16_384, 7_232]);
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
        let bytes = Bytes::from(memory.files()["data.parquet"].clone());
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        let types: Vec<String> = reader.schema().fields().iter().map(|f| f.data_type().to_string()).collect();
        assert_eq!(types[5..7], ["Utf8", "Struct(\"score\": Float64)"]);
        assert!(types[7].contains("cost_usd") && types[7].contains("Decimal128(19, 12)"), "{}", types[7]);
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
