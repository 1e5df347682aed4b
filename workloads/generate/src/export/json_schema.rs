//! What a JSON Schema says about the shape of its values.

use indexmap::IndexMap;
use serde_json::Value;

use super::shape::{MAX_DEPTH, Shape};

/// How many schemas are looked at: references to references could otherwise multiply without end.
const MAX_SCHEMAS: usize = 10_000;

impl Shape {
    /// The shape that a JSON Schema (2020-12) declares. What it leaves open is `null`: the data will tell. It is only
    /// a start, since a shape widens to what the data holds; so keywords that don't tell a type are passed over.
    pub fn from_json_schema(schema: &Value) -> Self {
        Reader { root: schema, left: MAX_SCHEMAS }.declared(schema, 0)
    }
}

struct Reader<'s> {
    root: &'s Value,
    left: usize,
}

impl Reader<'_> {
    fn declared(&mut self, schema: &Value, depth: usize) -> Shape {
        let mut shape = Shape::Null;
        if depth > MAX_DEPTH || self.left == 0 {
            return shape;
        }
        self.left -= 1;
        let target = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
        if let Some(target) = target.and_then(|target| self.root.pointer(target)) {
            shape.merge(&self.declared(target, depth + 1));
        }
        match schema.get("type") {
            Some(Value::String(name)) => shape.merge(&self.typed(schema, name, depth)),
            Some(Value::Array(names)) => {
                for name in names.iter().filter_map(Value::as_str) {
                    shape.merge(&self.typed(schema, name, depth));
                }
            }
            _ if schema.get("properties").is_some() => shape.merge(&self.typed(schema, "object", depth)),
            _ => {}
        }
        for keyword in ["anyOf", "oneOf", "allOf"] {
            for branch in schema.get(keyword).and_then(Value::as_array).into_iter().flatten() {
                shape.merge(&self.declared(branch, depth + 1));
            }
        }
        let constants = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
        for constant in constants.chain(schema.get("const")) {
            shape.observe(constant).expect("a value in memory can always be read");
        }
        shape
    }

    fn typed(&mut self, schema: &Value, name: &str, depth: usize) -> Shape {
        match name {
            "boolean" => Shape::Bool,
            "integer" => Shape::Int,
            "number" => Shape::Float,
            "string" => Shape::Text,
            "array" | "object" if depth == MAX_DEPTH => Shape::Json,
            "array" => {
                let items = schema.get("items").map(|items| self.declared(items, depth + 1));
                Shape::List(Box::new(items.unwrap_or_default()))
            }
            "object" => {
                let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
                let fields: IndexMap<String, Shape> = properties
                    .map(|(name, property)| (name.clone(), self.declared(property, depth + 1)))
                    .collect();
                let mut shape = Shape::Object(IndexMap::new());
                shape.merge(&Shape::Object(fields));
                shape
            }
            _ => Shape::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_schema_gives_types_before_there_is_data() {
        let schema = json!({
            "type": "object",
            "$defs": {"tag": {"type": "string"}},
            "properties": {
                "question": {"type": "string"},
                "score": {"type": ["number", "null"]},
                "count": {"type": "integer"},
                "ok": {"type": "boolean"},
                "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
                "level": {"enum": ["easy", "hard"]},
                "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                "open": {}
            }
        });
        let Shape::Object(fields) = Shape::from_json_schema(&schema) else { panic!("an object") };
        let expected = [
            ("question", Shape::Text),
            ("score", Shape::Float),
            ("count", Shape::Int),
            ("ok", Shape::Bool),
            ("tags", Shape::List(Box::new(Shape::Text))),
            ("level", Shape::Text),
            ("either", Shape::Json),
            ("open", Shape::Null),
        ];
        assert_eq!(fields.into_iter().collect::<Vec<_>>(), expected.map(|(n, s)| (n.to_owned(), s)));
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({
            "type": "object",
            "properties": {"child": {"$ref": "#"}, "pair": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}
        });
        assert!(matches!(Shape::from_json_schema(&schema), Shape::Object(_)));
    }
}
