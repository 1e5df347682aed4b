//! From JSON text to columns of a known shape, without values in between.

use std::fmt;

use indexmap::{IndexMap, IndexSet};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use windrow_core::PicoUsd;

use super::leaf::{Depth, Leaf, Texts, Values};
use crate::export::shape::Shape;

/// Collects the values of one nullable column, with those of the columns below it.
#[derive(Debug)]
pub(super) enum Column {
    Leaf(Leaf),
    List {
        /// Of the list; its items are two definition levels below (the item's place, the item).
        depth: Depth,
        item: Box<Column>,
    },
    Struct {
        depth: Depth,
        fields: IndexMap<String, Field>,
        /// How many objects there were.
        objects: u64,
    },
}

#[derive(Debug)]
pub(super) struct Field {
    column: Column,
    /// The number of the last object that it has a value of, from 1.
    object: u64,
}

impl Column {
    pub(super) fn new(shape: &Shape) -> Self {
        Self::below(Depth::default(), shape)
    }

    /// The column of `meta`, a struct per step.
    pub(super) fn meta(steps: &IndexSet<String>) -> Self {
        if steps.is_empty() {
            return Self::new(&Shape::Json);
        }
        Self::structure(Depth::default(), steps, |depth, step| {
            let usage = ["model", "input_tokens", "output_tokens", "cost_usd"].map(str::to_owned);
            let usage = Self::structure(depth, &usage, |depth, name| {
                let column = match name.as_str() {
                    "model" => Self::below(depth, &Shape::Text),
                    "cost_usd" => Self::leaf(depth, Values::Money(Vec::new())),
                    _ => Self::below(depth, &Shape::Int),
                };
                (name.clone(), column)
            });
            (step.clone(), usage)
        })
    }

    /// A column in what is `above` deep.
    fn below(above: Depth, shape: &Shape) -> Self {
        let values = match shape {
            Shape::List(item) => {
                let depth = Depth { definition: above.definition + 1, ..above };
                let place = Depth { definition: depth.definition + 1, repetition: depth.repetition + 1 };
                return Self::List { depth, item: Box::new(Self::below(place, item)) };
            }
            Shape::Object(fields) if !fields.is_empty() => {
                return Self::structure(above, fields, |depth, (name, shape)| {
                    (name.clone(), Self::below(depth, shape))
                });
            }
            Shape::Null => Values::Null,
            Shape::Bool => Values::Bool(Vec::new()),
            Shape::Int | Shape::BigInt => Values::Int(Vec::new()),
            Shape::Float => Values::Float(Vec::new()),
            Shape::Text => Values::Text(Texts::default()),
            Shape::Json | Shape::Object(_) => Values::Json(Texts::default()),
        };
        Self::leaf(above, values)
    }

    fn leaf(above: Depth, values: Values) -> Self {
        Self::Leaf(Leaf::new(values, Depth { definition: above.definition + 1, ..above }))
    }

    fn structure<T>(
        above: Depth,
        fields: impl IntoIterator<Item = T>,
        column: impl Fn(Depth, T) -> (String, Self),
    ) -> Self {
        let depth = Depth { definition: above.definition + 1, ..above };
        let fields = fields.into_iter().map(|field| {
            let (name, column) = column(depth, field);
            (name, Field { column, object: 0 })
        });
        Self::Struct { depth, fields: fields.collect(), objects: 0 }
    }

    /// Appends one row's value.
    ///
    /// # Errors
    /// When it doesn't fit; the column can't be used any more then.
    pub(super) fn append(&mut self, value: &RawValue) -> Result<(), serde_json::Error> {
        Append { column: self, above: 0, repetition: 0 }.deserialize(value)
    }

    pub(super) fn append_null(&mut self) {
        self.missing(0, 0);
    }

    /// Notes that what is at a definition level holds nothing of this column.
    fn missing(&mut self, definition: i16, repetition: i16) {
        match self {
            Self::Leaf(leaf) => leaf.missing(definition, repetition),
            Self::List { item, .. } => item.missing(definition, repetition),
            Self::Struct { fields, .. } => {
                for field in fields.values_mut() {
                    field.column.missing(definition, repetition);
                }
            }
        }
    }

    /// Hands over its leaves, in the schema's order.
    pub(super) fn into_leaves(self, leaves: &mut Vec<Leaf>) {
        match self {
            Self::Leaf(leaf) => leaves.push(leaf),
            Self::List { item, .. } => item.into_leaves(leaves),
            Self::Struct { fields, .. } => {
                for field in fields.into_values() {
                    field.column.into_leaves(leaves);
                }
            }
        }
    }

    const fn holds(&self) -> &'static str {
        match self {
            Self::Leaf(leaf) => match leaf.values {
                Values::Null => "only nulls",
                Values::Bool(_) => "booleans",
                Values::Int(_) => "integers",
                Values::Float(_) => "numbers",
                Values::Text(_) => "texts",
                Values::Json(_) => "any JSON",
                Values::Money(_) => "amounts of USD",
            },
            Self::List { .. } => "lists",
            Self::Struct { .. } => "objects",
        }
    }
}

/// Appends a value to a column.
struct Append<'c> {
    column: &'c mut Column,
    /// The definition level of what the value is in.
    above: i16,
    repetition: i16,
}

impl Append<'_> {
    fn unfit<E: de::Error>(&self, found: impl fmt::Display) -> E {
        E::custom(format_args!("found {found} where the column holds {}", self.column.holds()))
    }

    /// Puts a scalar in the column, if it is one that `put` finds room for.
    fn scalar<E: de::Error>(
        self,
        found: impl fmt::Display,
        put: impl FnOnce(&mut Values) -> Result<bool, E>,
    ) -> Result<(), E> {
        let repetition = self.repetition;
        if let Column::Leaf(leaf) = &mut *self.column
            && put(&mut leaf.values)?
        {
            leaf.defined(repetition);
            return Ok(());
        }
        Err(self.unfit(found))
    }
}

impl<'de> DeserializeSeed<'de> for Append<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        let Column::Leaf(leaf @ Leaf { values: Values::Json(_), .. }) = self.column else {
            return value.deserialize_any(self);
        };
        let text = <&RawValue>::deserialize(value)?.get();
        match &mut leaf.values {
            Values::Json(texts) if text != "null" => {
                texts.push(text);
                leaf.defined(self.repetition);
            }
            _ => leaf.missing(self.above, self.repetition),
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Append<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.column.holds())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.column.missing(self.above, self.repetition);
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.scalar(value, |values| match values {
            Values::Bool(values) => {
                values.push(value);
                Ok(true)
            }
            _ => Ok(false),
        })
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.scalar(value, |values| {
            match values {
                Values::Int(values) => values.push(value),
                // exact: the column's shape has seen that no integer is beyond 2^53
                Values::Float(values) if value.unsigned_abs() <= 1 << 53 => values.push(value as f64),
                _ => return Ok(false),
            }
            Ok(true)
        })
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => Err(self.unfit(value)),
        }
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.scalar(value, |values| match values {
            Values::Float(values) => {
                values.push(value);
                Ok(true)
            }
            _ => Ok(false),
        })
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.scalar("a text", |values| {
            match values {
                Values::Text(texts) => texts.push(text),
                Values::Money(amounts) => {
                    let amount: PicoUsd = text.parse().map_err(E::custom)?;
                    amounts.push(amount.as_pico());
                }
                _ => return Ok(false),
            }
            Ok(true)
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Column::List { depth, item } = self.column else { return Err(self.unfit("a list")) };
        let mut repetition = self.repetition;
        while items
            .next_element_seed(Append { column: item, above: depth.definition + 1, repetition })?
            .is_some()
        {
            repetition = depth.repetition + 1;
        }
        // No item was there to tell of the list.
        if repetition == self.repetition {
            item.missing(depth.definition, repetition);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Column::Struct { depth, fields, objects } = self.column else {
            return Err(self.unfit("an object"));
        };
        *objects += 1;
        while let Some(crate::record::Text(name)) = entries.next_key()? {
            let Some(field) = fields.get_mut(&*name) else {
                return Err(de::Error::custom(format_args!("the column has no field {name:?}")));
            };
            if std::mem::replace(&mut field.object, *objects) == *objects {
                return Err(de::Error::custom(format_args!("the field {name:?} stands twice in an object")));
            }
            let (column, above) = (&mut field.column, depth.definition);
            entries.next_value_seed(Append { column, above, repetition: self.repetition })?;
        }
        for field in fields.values_mut().filter(|field| field.object != *objects) {
            field.column.missing(depth.definition, self.repetition);
        }
        Ok(())
    }
}
