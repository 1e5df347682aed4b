//! The columns' types, as Parquet has them.

use std::sync::Arc;

use indexmap::IndexSet;
use parquet::basic::{ConvertedType, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::errors::ParquetError;
use parquet::schema::types::{Type, TypePtr};

use super::leaf::{MONEY_BYTES, MONEY_PRECISION, MONEY_SCALE};
use crate::export::shape::Shape;

/// The schema of a file: what each record has, the output's columns by their names, `meta`.
pub(in crate::export) fn schema<'a>(
    output: impl IntoIterator<Item = (&'a str, &'a Shape)>,
    steps: &IndexSet<String>,
) -> Result<TypePtr, ParquetError> {
    let created_at = Type::primitive_type_builder("created_at", Physical::INT64)
        .with_repetition(Repetition::REQUIRED)
        .with_logical_type(Some(LogicalType::timestamp(true, TimeUnit::MICROS)))
        .build()?;
    let mut fields = vec![
        text("id", Repetition::REQUIRED)?,
        text("job_id", Repetition::REQUIRED)?,
        number("index", Physical::INT64, Repetition::REQUIRED)?,
        Arc::new(created_at),
        text("seed_data_id", Repetition::REQUIRED)?,
    ];
    for (name, shape) in output {
        fields.push(field(name, shape)?);
    }
    fields.push(meta(steps)?);
    Ok(Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?))
}

/// A nullable field that holds a shape.
fn field(name: &str, shape: &Shape) -> Result<TypePtr, ParquetError> {
    match shape {
        Shape::Null | Shape::Text | Shape::Json => text(name, Repetition::OPTIONAL),
        Shape::Bool => number(name, Physical::BOOLEAN, Repetition::OPTIONAL),
        Shape::Int | Shape::BigInt => number(name, Physical::INT64, Repetition::OPTIONAL),
        Shape::Float => number(name, Physical::DOUBLE, Repetition::OPTIONAL),
        Shape::List(item) => list(name, item),
        // Parquet has no struct without fields
        Shape::Object(fields) if fields.is_empty() => text(name, Repetition::OPTIONAL),
        Shape::Object(fields) => {
            let fields = fields.iter().map(|(name, shape)| field(name, shape));
            group(name, fields.collect::<Result<_, _>>()?)
        }
    }
}

/// The names and levels of `LogicalTypes.md`, "Lists", of the Parquet format.
fn list(name: &str, item: &Shape) -> Result<TypePtr, ParquetError> {
    let items = Type::group_type_builder("list")
        .with_repetition(Repetition::REPEATED)
        .with_fields(vec![field("element", item)?])
        .build()?;
    let list = Type::group_type_builder(name)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(Some(LogicalType::List))
        .with_converted_type(ConvertedType::LIST)
        .with_fields(vec![Arc::new(items)])
        .build()?;
    Ok(Arc::new(list))
}

/// A struct per step.
fn meta(steps: &IndexSet<String>) -> Result<TypePtr, ParquetError> {
    if steps.is_empty() {
        return field("meta", &Shape::Json);
    }
    let usage = |step: &String| {
        let cost = Type::primitive_type_builder("cost_usd", Physical::FIXED_LEN_BYTE_ARRAY)
            .with_repetition(Repetition::OPTIONAL)
            .with_length(MONEY_BYTES)
            .with_logical_type(Some(LogicalType::decimal(MONEY_SCALE, MONEY_PRECISION)))
            .with_precision(MONEY_PRECISION)
            .with_scale(MONEY_SCALE)
            .build()?;
        let fields = vec![
            field("model", &Shape::Text)?,
            field("input_tokens", &Shape::Int)?,
            field("output_tokens", &Shape::Int)?,
            Arc::new(cost),
        ];
        group(step, fields)
    };
    group("meta", steps.iter().map(usage).collect::<Result<_, _>>()?)
}

fn text(name: &str, repetition: Repetition) -> Result<TypePtr, ParquetError> {
    let text = Type::primitive_type_builder(name, Physical::BYTE_ARRAY)
        .with_repetition(repetition)
        .with_logical_type(Some(LogicalType::String));
    Ok(Arc::new(text.build()?))
}

fn number(name: &str, physical: Physical, repetition: Repetition) -> Result<TypePtr, ParquetError> {
    Ok(Arc::new(Type::primitive_type_builder(name, physical).with_repetition(repetition).build()?))
}

fn group(name: &str, fields: Vec<TypePtr>) -> Result<TypePtr, ParquetError> {
    let group = Type::group_type_builder(name).with_repetition(Repetition::OPTIONAL).with_fields(fields);
    Ok(Arc::new(group.build()?))
}
