//! The shapes of values, and how they widen.
//!
//! A shape is what a column must be able to hold. Shapes only ever widen, and widening is associative and commutative
//! but for the order of an object's fields, so shards may be observed apart and merged:
//!
//! | one | other | both |
//! |---|---|---|
//! | anything | `null` | the one |
//! | `int` (to ± 2^53) | `big_int` | `big_int` |
//! | `int` | `float` | `float`: a double holds each of these integers exactly |
//! | `big_int` | `float` | `json`: a double would lose digits |
//! | list | list | a list of what both lists' items need |
//! | object | object | an object with the fields of both |
//! | anything else | | `json`: each value as its JSON text, so nothing is lost |
//!
//! Integers beyond 64 bits signed, objects with more than [`MAX_FIELDS`] fields, and lists and objects below
//! [`MAX_DEPTH`] levels are `json` as well.

use std::fmt;

use indexmap::IndexMap;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// How many levels of lists and objects become columns of their own.
pub const MAX_DEPTH: usize = 8;

/// How many fields an object may have and still be a struct; one with more is a map with invented keys.
pub const MAX_FIELDS: usize = 200;

/// Doubles hold each integer up to this exactly.
const EXACT_IN_DOUBLE: u64 = 1 << 53;

/// What a column must be able to hold. All of them may be null.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Only nulls so far.
    #[default]
    Null,
    Bool,
    /// Integers within ± 2^53.
    Int,
    /// Integers of 64 bits.
    BigInt,
    Float,
    Text,
    List(Box<Shape>),
    Object(IndexMap<String, Shape>),
    /// Any value, as JSON text.
    Json,
}

impl Shape {
    /// Widens to hold all that `other` holds.
    pub fn merge(&mut self, other: &Self) {
        match (&mut *self, other) {
            (_, Self::Null) | (Self::Json, _) => {}
            (Self::List(item), Self::List(more)) => item.merge(more),
            (Self::Object(fields), Self::Object(more)) => {
                for (name, shape) in more {
                    fields.entry(name.clone()).or_default().merge(shape);
                }
                if fields.len() > MAX_FIELDS {
                    *self = Self::Json;
                }
            }
            (Self::Null, other) => *self = other.clone(),
            (Self::List(_) | Self::Object(_), _) => *self = Self::Json,
            (_, scalar) => self.widen(scalar),
        }
    }

    /// Widens to hold a scalar (or list or object, which no scalar can).
    fn widen(&mut self, scalar: &Self) {
        let wider = match (&*self, scalar) {
            (one, other) if one == other => return,
            (Self::Null, other) => other.clone(),
            (Self::Int, Self::BigInt) | (Self::BigInt, Self::Int) => Self::BigInt,
            (Self::Int, Self::Float) | (Self::Float, Self::Int) => Self::Float,
            _ => Self::Json,
        };
        *self = wider;
    }

    /// Whether some value in it has several types.
    pub fn is_mixed(&self) -> bool {
        match self {
            Self::Json => true,
            Self::List(item) => item.is_mixed(),
            Self::Object(fields) => fields.values().any(Self::is_mixed),
            _ => false,
        }
    }

    /// Widens to hold one value.
    ///
    /// # Errors
    /// When the value can't be read.
    pub fn observe<'de, D: Deserializer<'de>>(&mut self, value: D) -> Result<(), D::Error> {
        Observe { shape: self, depth: 0 }.deserialize(value)
    }
}

struct Observe<'s> {
    shape: &'s mut Shape,
    /// How many lists and objects are around the value.
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Observe<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        if matches!(self.shape, Shape::Json) {
            return IgnoredAny::deserialize(value).map(drop);
        }
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Observe<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        self.shape.widen(&Shape::Bool);
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        let exact = value.unsigned_abs() <= EXACT_IN_DOUBLE;
        self.shape.widen(if exact { &Shape::Int } else { &Shape::BigInt });
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => {
                *self.shape = Shape::Json;
                Ok(())
            }
        }
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        self.shape.widen(&Shape::Float);
        Ok(())
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        self.shape.widen(&Shape::Text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        if self.depth < MAX_DEPTH && matches!(self.shape, Shape::Null) {
            *self.shape = Shape::List(Box::default());
        }
        match self.shape {
            Shape::List(item) if self.depth < MAX_DEPTH => {
                while items.next_element_seed(Observe { shape: item, depth: self.depth + 1 })?.is_some() {}
            }
            other => {
                *other = Shape::Json;
                while items.next_element::<IgnoredAny>()?.is_some() {}
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        if self.depth < MAX_DEPTH && matches!(self.shape, Shape::Null) {
            *self.shape = Shape::Object(IndexMap::new());
        }
        if let Shape::Object(fields) = &mut *self.shape
            && self.depth < MAX_DEPTH
        {
            while fields.len() <= MAX_FIELDS {
                let Some(name) = entries.next_key::<String>()? else { return Ok(()) };
                let shape = fields.entry(name).or_default();
                entries.next_value_seed(Observe { shape, depth: self.depth + 1 })?;
            }
        }
        *self.shape = Shape::Json;
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn shape_of(values: &[Value]) -> Shape {
        let mut shape = Shape::Null;
        for value in values {
            shape.observe(value).unwrap();
        }
        shape
    }

    #[test]
    fn shapes_widen_by_the_table() {
        let object = |fields: &[(&str, Shape)]| {
            Shape::Object(fields.iter().map(|(n, s)| ((*n).to_owned(), s.clone())).collect())
        };
        let exact = 1i64 << 53;
        for (values, shape) in [
            (vec![json!(null)], Shape::Null),
            (vec![json!(null), json!("a")], Shape::Text),
            (vec![json!(1), json!(-exact)], Shape::Int),
            (vec![json!(1), json!(exact + 1)], Shape::BigInt),
            (vec![json!(1), json!(0.5)], Shape::Float),
            (vec![json!(exact + 1), json!(0.5)], Shape::Json),
            (vec![json!(u64::MAX)], Shape::Json),
            (vec![json!(1), json!("1")], Shape::Json),
            (vec![json!(true), json!(1)], Shape::Json),
            (vec![json!([]), json!([1]), json!([0.5])], Shape::List(Box::new(Shape::Float))),
            (vec![json!([1]), json!({})], Shape::Json),
            (vec![json!([1]), json!("a")], Shape::Json),
            (
                vec![json!({"a": 1}), json!({"b": [null], "a": "x"})],
                object(&[("a", Shape::Json), ("b", Shape::List(Box::new(Shape::Null)))]),
            ),
        ] {
            assert_eq!(shape_of(&values), shape, "{values:?}");
        }
    }

    #[test]
    fn invented_keys_and_deep_nests_become_text() {
        let many: serde_json::Map<String, Value> =
            (0..=MAX_FIELDS).map(|n| (format!("k{n}"), json!(n))).collect();
        assert_eq!(shape_of(&[Value::Object(many)]), Shape::Json);
        let mut deep = json!(1);
        for _ in 0..=MAX_DEPTH {
            deep = json!([deep]);
        }
        let mut shape = shape_of(&[deep]);
        for _ in 0..MAX_DEPTH {
            let Shape::List(item) = shape else { panic!("a list") };
            shape = *item;
        }
        assert_eq!(shape, Shape::Json);
    }

    fn values() -> impl Strategy<Value = Vec<Value>> {
        let scalar = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-9i64..9).prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e9..1e9f64).prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
        ];
        let value = scalar.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-c]", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        });
        prop::collection::vec(value, 0..6)
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_values_are_split_among_observers(all in values(), cut in 0usize..6) {
            let cut = cut.min(all.len());
            let (mut left, right) = (shape_of(&all[..cut]), shape_of(&all[cut..]));
            let mut swapped = right.clone();
            swapped.merge(&left);
            left.merge(&right);
            prop_assert_eq!(&left, &shape_of(&all));
            // maps compare without regard to order
            prop_assert_eq!(&left, &swapped);
        }

        #[test]
        fn a_shape_survives_its_json(all in values()) {
            let shape = shape_of(&all);
            let text = serde_json::to_string(&shape).unwrap();
            prop_assert_eq!(serde_json::from_str::<Shape>(&text).unwrap(), shape);
        }
    }
}
