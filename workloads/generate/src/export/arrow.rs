//! From JSON text to Arrow arrays of a known shape, without values in between.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Decimal128Builder, Float64Builder, Int64Builder, NullBufferBuilder, StringBuilder,
};
use arrow_array::{ArrayRef, ListArray, StructArray};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, Fields};
use indexmap::{IndexMap, IndexSet};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use windrow_core::PicoUsd;

use super::shape::Shape;

/// A signed 64-bit number of pico-USD has 19 digits, 12 of them after the point.
const MONEY: DataType = DataType::Decimal128(19, 12);

/// The column type that holds a shape.
pub(super) fn data_type(shape: &Shape) -> DataType {
    match shape {
        Shape::Null | Shape::Text | Shape::Json => DataType::Utf8,
        Shape::Bool => DataType::Boolean,
        Shape::Int | Shape::BigInt => DataType::Int64,
        Shape::Float => DataType::Float64,
        // "element" is what the Parquet format calls it (LogicalTypes.md, "Lists")
        Shape::List(item) => DataType::List(Arc::new(field("element", item))),
        // Parquet has no struct without fields
        Shape::Object(fields) if fields.is_empty() => DataType::Utf8,
        Shape::Object(fields) => DataType::Struct(fields.iter().map(|(n, shape)| field(n, shape)).collect()),
    }
}

/// A nullable field; a column of JSON text says so in its metadata.
pub(super) fn field(name: &str, shape: &Shape) -> Field {
    let field = Field::new(name, data_type(shape), true);
    if is_json_text(shape) {
        field.with_metadata(HashMap::from([("windrow.encoding".to_owned(), "json".to_owned())]))
    } else {
        field
    }
}

fn is_json_text(shape: &Shape) -> bool {
    match shape {
        Shape::Json => true,
        Shape::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// The type of `meta`: a struct per step.
pub(super) fn meta_field(steps: &IndexSet<String>) -> Field {
    if steps.is_empty() {
        return field("meta", &Shape::Json);
    }
    let usage: Fields = vec![
        Field::new("model", DataType::Utf8, true),
        Field::new("input_tokens", DataType::Int64, true),
        Field::new("output_tokens", DataType::Int64, true),
        Field::new("cost_usd", MONEY, true),
    ]
    .into();
    let steps: Fields =
        steps.iter().map(|step| Field::new(step, DataType::Struct(usage.clone()), true)).collect();
    Field::new("meta", DataType::Struct(steps), true)
}

/// Collects the values of one column.
#[derive(Debug)]
pub(super) enum Column {
    /// Nothing but nulls was observed.
    Null(StringBuilder),
    Bool(BooleanBuilder),
    Int(Int64Builder),
    Float(Float64Builder),
    Text(StringBuilder),
    Json(StringBuilder),
    Money(Decimal128Builder),
    List {
        item: Box<Column>,
        offsets: Vec<i32>,
        valid: NullBufferBuilder,
    },
    Struct {
        fields: IndexMap<String, Column>,
        valid: NullBufferBuilder,
    },
}

impl Column {
    pub(super) fn new(shape: &Shape) -> Self {
        match shape {
            shape if is_json_text(shape) => Self::Json(StringBuilder::new()),
            Shape::Null => Self::Null(StringBuilder::new()),
            Shape::Bool => Self::Bool(BooleanBuilder::new()),
            Shape::Int | Shape::BigInt => Self::Int(Int64Builder::new()),
            Shape::Float => Self::Float(Float64Builder::new()),
            Shape::Text | Shape::Json => Self::Text(StringBuilder::new()),
            Shape::List(item) => Self::List {
                item: Box::new(Self::new(item)),
                offsets: vec![0],
                valid: NullBufferBuilder::new(0),
            },
            Shape::Object(fields) => {
                Self::structure(fields.iter().map(|(name, shape)| (name.clone(), Self::new(shape))))
            }
        }
    }

    fn structure(fields: impl IntoIterator<Item = (String, Self)>) -> Self {
        Self::Struct { fields: fields.into_iter().collect(), valid: NullBufferBuilder::new(0) }
    }

    /// The column of [`meta_field`].
    pub(super) fn meta(steps: &IndexSet<String>) -> Self {
        if steps.is_empty() {
            return Self::new(&Shape::Json);
        }
        let usage = || {
            let cost = Decimal128Builder::new().with_data_type(MONEY);
            Self::structure([
                ("model".to_owned(), Self::new(&Shape::Text)),
                ("input_tokens".to_owned(), Self::new(&Shape::Int)),
                ("output_tokens".to_owned(), Self::new(&Shape::Int)),
                ("cost_usd".to_owned(), Self::Money(cost)),
            ])
        };
        Self::structure(steps.iter().map(|step| (step.clone(), usage())))
    }

    /// Appends one value.
    ///
    /// # Errors
    /// When it doesn't fit; the column can't be used any more then.
    pub(super) fn append(&mut self, value: &RawValue) -> Result<(), serde_json::Error> {
        Append(self).deserialize(value)
    }

    pub(super) fn append_null(&mut self) {
        match self {
            Self::Null(column) | Self::Text(column) | Self::Json(column) => column.append_null(),
            Self::Bool(column) => column.append_null(),
            Self::Int(column) => column.append_null(),
            Self::Float(column) => column.append_null(),
            Self::Money(column) => column.append_null(),
            Self::List { offsets, valid, .. } => {
                offsets.push(offsets.last().copied().unwrap_or(0));
                valid.append_null();
            }
            Self::Struct { fields, valid } => {
                fields.values_mut().for_each(Self::append_null);
                valid.append_null();
            }
        }
    }

    fn len(&self) -> usize {
        use arrow_array::builder::ArrayBuilder;
        match self {
            Self::Null(column) | Self::Text(column) | Self::Json(column) => column.len(),
            Self::Bool(column) => column.len(),
            Self::Int(column) => column.len(),
            Self::Float(column) => column.len(),
            Self::Money(column) => column.len(),
            Self::List { valid, .. } | Self::Struct { valid, .. } => valid.len(),
        }
    }

    /// The array of all values, whose type is `data_type`.
    pub(super) fn finish(self, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
        Ok(match (self, data_type) {
            (Self::Null(mut column) | Self::Text(mut column) | Self::Json(mut column), _) => {
                Arc::new(column.finish())
            }
            (Self::Bool(mut column), _) => Arc::new(column.finish()),
            (Self::Int(mut column), _) => Arc::new(column.finish()),
            (Self::Float(mut column), _) => Arc::new(column.finish()),
            (Self::Money(mut column), _) => Arc::new(column.finish()),
            (Self::List { item, offsets, mut valid }, DataType::List(element)) => {
                let items = item.finish(element.data_type())?;
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                Arc::new(ListArray::try_new(element.clone(), offsets, items, valid.finish())?)
            }
            (Self::Struct { fields, mut valid }, DataType::Struct(types)) => {
                let arrays =
                    fields.into_values().zip(types).map(|(column, field)| column.finish(field.data_type()));
                let arrays = arrays.collect::<Result<Vec<_>, _>>()?;
                let length = valid.len();
                Arc::new(StructArray::try_new_with_length(types.clone(), arrays, valid.finish(), length)?)
            }
            (_, other) => {
                return Err(ArrowError::SchemaError(format!("a nested column can't be of type {other}")));
            }
        })
    }

    const fn holds(&self) -> &'static str {
        match self {
            Self::Null(_) => "only nulls",
            Self::Bool(_) => "booleans",
            Self::Int(_) => "integers",
            Self::Float(_) => "numbers",
            Self::Text(_) => "texts",
            Self::Json(_) => "any JSON",
            Self::Money(_) => "amounts of USD",
            Self::List { .. } => "lists",
            Self::Struct { .. } => "objects",
        }
    }
}

struct Append<'c>(&'c mut Column);

impl Append<'_> {
    fn unfit<E: de::Error>(&self, found: impl fmt::Display) -> E {
        E::custom(format_args!("found {found} where the column holds {}", self.0.holds()))
    }
}

impl<'de> DeserializeSeed<'de> for Append<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        let Column::Json(column) = self.0 else { return value.deserialize_any(self) };
        match <&RawValue>::deserialize(value)?.get() {
            "null" => column.append_null(),
            text => column.append_value(text),
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Append<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.holds())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.0.append_null();
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        match self.0 {
            Column::Bool(column) => column.append_value(value),
            _ => return Err(self.unfit(value)),
        }
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        match self.0 {
            Column::Int(column) => column.append_value(value),
            // exact: the column's shape has seen that no integer is beyond 2^53
            Column::Float(column) if value.unsigned_abs() <= 1 << 53 => column.append_value(value as f64),
            _ => return Err(self.unfit(value)),
        }
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => Err(self.unfit(value)),
        }
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        match self.0 {
            Column::Float(column) => column.append_value(value),
            _ => return Err(self.unfit(value)),
        }
        Ok(())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        match self.0 {
            Column::Text(column) => column.append_value(text),
            Column::Money(column) => {
                let amount: PicoUsd = text.parse().map_err(E::custom)?;
                column.append_value(i128::from(amount.as_pico()));
            }
            _ => return Err(self.unfit("a text")),
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Column::List { item, offsets, valid } = self.0 else { return Err(self.unfit("a list")) };
        while items.next_element_seed(Append(item))?.is_some() {}
        let end = i32::try_from(item.len()).map_err(|_| de::Error::custom("more than 2^31 items"))?;
        offsets.push(end);
        valid.append_non_null();
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Column::Struct { fields, valid } = self.0 else { return Err(self.unfit("an object")) };
        let before = valid.len();
        while let Some(crate::record::Text(name)) = entries.next_key()? {
            let Some(column) = fields.get_mut(&*name) else {
                return Err(de::Error::custom(format_args!("the column has no field {name:?}")));
            };
            if column.len() != before {
                return Err(de::Error::custom(format_args!("the field {name:?} stands twice in an object")));
            }
            entries.next_value_seed(Append(column))?;
        }
        for column in fields.values_mut().filter(|column| column.len() == before) {
            column.append_null();
        }
        valid.append_non_null();
        Ok(())
    }
}
