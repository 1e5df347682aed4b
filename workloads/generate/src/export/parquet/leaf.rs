//! A column without columns below it: its values and their levels.

use bytes::Bytes;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::ParquetError;

/// A signed 64-bit number of pico-USD has at most 19 digits, 12 of them after the point; they take 9 bytes.
pub(super) const MONEY_PRECISION: i32 = 19;
pub(super) const MONEY_SCALE: i32 = 12;
pub(super) const MONEY_BYTES: i32 = 9;

/// How deep a place in the schema is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Depth {
    /// How many of the fields on the way to it may be missing: the definition level of a value that is there.
    pub(super) definition: i16,
    /// How many lists are around it.
    pub(super) repetition: i16,
}

/// Values in order, nulls left out, with the levels that say where they belong.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) values: Values,
    depth: Depth,
    /// Empty for a column that is in every row.
    definitions: Vec<i16>,
    /// Empty for a column that is in no list.
    repetitions: Vec<i16>,
}

#[derive(Debug)]
pub(super) enum Values {
    /// Nothing but nulls was observed.
    Null,
    Bool(Vec<bool>),
    Int(Vec<i64>),
    Float(Vec<f64>),
    Text(Texts),
    /// Any value, as JSON text.
    Json(Texts),
    /// Pico-USD.
    Money(Vec<i64>),
}

/// Texts, one after another.
#[derive(Debug, Default)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    pub(super) fn push(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
        self.ends.push(self.bytes.len());
    }

    fn into_values(self) -> Vec<ByteArray> {
        let bytes = Bytes::from(self.bytes);
        let mut start = 0;
        self.ends
            .into_iter()
            .map(|end| ByteArray::from(bytes.slice(std::mem::replace(&mut start, end)..end)))
            .collect()
    }
}

impl Leaf {
    pub(super) fn new(values: Values, depth: Depth) -> Self {
        Self { values, depth, definitions: Vec::new(), repetitions: Vec::new() }
    }

    /// Notes that the value which was pushed on `values` begins at a repetition level.
    pub(super) fn defined(&mut self, repetition: i16) {
        self.level(self.depth.definition, repetition);
    }

    /// A place without a value: something on the way to it is missing.
    pub(super) fn missing(&mut self, definition: i16, repetition: i16) {
        debug_assert!(definition < self.depth.definition, "a required value is never missing");
        self.level(definition, repetition);
    }

    fn level(&mut self, definition: i16, repetition: i16) {
        if self.depth.definition > 0 {
            self.definitions.push(definition);
        }
        if self.depth.repetition > 0 {
            self.repetitions.push(repetition);
        }
    }

    /// About what it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        let values = match &self.values {
            Values::Null => 0,
            Values::Bool(values) => values.len(),
            Values::Int(values) | Values::Money(values) => size_of_val(values.as_slice()),
            Values::Float(values) => size_of_val(values.as_slice()),
            Values::Text(texts) | Values::Json(texts) => {
                texts.bytes.len() + size_of_val(texts.ends.as_slice())
            }
        };
        let levels = [&self.definitions, &self.repetitions].map(|levels| size_of_val(levels.as_slice()));
        values + levels.iter().sum::<usize>()
    }

    /// Writes all of it to the column of the same place in the schema.
    pub(super) fn write(self, column: &mut ColumnWriter<'_>) -> Result<(), ParquetError> {
        let levels = (
            (self.depth.definition > 0).then_some(self.definitions.as_slice()),
            (self.depth.repetition > 0).then_some(self.repetitions.as_slice()),
        );
        match (self.values, column) {
            (Values::Bool(values), ColumnWriter::BoolColumnWriter(to)) => {
                to.write_batch(&values, levels.0, levels.1)
            }
            (Values::Int(values), ColumnWriter::Int64ColumnWriter(to)) => {
                to.write_batch(&values, levels.0, levels.1)
            }
            (Values::Float(values), ColumnWriter::DoubleColumnWriter(to)) => {
                to.write_batch(&values, levels.0, levels.1)
            }
            (Values::Null, ColumnWriter::ByteArrayColumnWriter(to)) => {
                to.write_batch(&[], levels.0, levels.1)
            }
            (Values::Text(texts) | Values::Json(texts), ColumnWriter::ByteArrayColumnWriter(to)) => {
                to.write_batch(&texts.into_values(), levels.0, levels.1)
            }
            (Values::Money(amounts), ColumnWriter::FixedLenByteArrayColumnWriter(to)) => {
                let values: Vec<FixedLenByteArray> = amounts.into_iter().map(fixed).collect();
                to.write_batch(&values, levels.0, levels.1)
            }
            (values, _) => unreachable!("the schema's column is of another type than {values:?}"),
        }
        .map(drop)
    }
}

/// Two's complement, big-endian, in [`MONEY_BYTES`] (`LogicalTypes.md`, "DECIMAL", of the Parquet format).
fn fixed(amount: i64) -> FixedLenByteArray {
    let wide = i128::from(amount).to_be_bytes();
    let kept = wide.len() - MONEY_BYTES as usize;
    FixedLenByteArray::from(wide[kept..].to_vec())
}
