//! Instances of a JSON Schema, filled with the n-gram model's words.

use std::collections::HashSet;

use rand::{Rng, RngExt};
use serde_json::{Map, Value};

use super::budget::{Budget, Fault, Purse};
use super::leaf::{formatted, number};
use super::ngram::Prose;
use super::pattern;

/// Deeper than this only what is required is drawn, so that schemas that contain themselves come to an end.
const SPARSE_BELOW: usize = 5;

/// Deeper than this there is no end in sight.
const DEEPEST: usize = 48;

/// An array is not drawn longer.
const LONGEST_ARRAY: u64 = 10_000;

/// How much is drawn of what a schema leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// All properties, a few items, sentences.
    Usual,
    /// What is required, as short as it may be.
    Sparse,
}

/// Draws instances of one schema. What it does not aim at (`not`, `if`, `contains`, `dependent…`) its caller checks.
pub(super) struct Instances<'a> {
    root: &'a Value,
    prose: &'a Prose<'a>,
    style: Style,
    budget: Budget,
}

/// One instance being drawn.
struct Drawing<'a> {
    of: &'a Instances<'a>,
    purse: Purse,
}

impl<'a> Instances<'a> {
    /// No instance takes more than `budget`.
    pub(super) const fn new(root: &'a Value, prose: &'a Prose<'a>, style: Style, budget: Budget) -> Self {
        Self { root, prose, style, budget }
    }

    /// # Errors
    /// Why no instance can be drawn.
    pub(super) fn draw<R: Rng>(&self, rng: &mut R) -> Result<Value, Fault> {
        Drawing { of: self, purse: Purse::new(self.budget) }.value(self.root, "", 0, rng)
    }
}

impl Drawing<'_> {
    /// An instance of `schema`; `name` is the property it is for, which tells a title from a text.
    fn value<R: Rng>(&self, schema: &Value, name: &str, depth: usize, rng: &mut R) -> Result<Value, Fault> {
        self.purse.spend(1, 0)?;
        if depth > DEEPEST {
            return Err("the schema contains itself without an end".to_owned().into());
        }
        let Value::Object(members) = schema else {
            return match schema {
                Value::Bool(false) => Err("a part of the schema allows nothing".to_owned().into()),
                _ => self.text(members_of(&Value::Null), name, depth, rng),
            };
        };
        if let Some(constant) = members.get("const") {
            return self.purse.copy(constant);
        }
        if let Some(Value::Array(options)) = members.get("enum") {
            let option = pick(options, rng).ok_or_else(|| "an enum is empty".to_owned())?;
            return self.purse.copy(option);
        }
        if let Some(merged) = self.combined(members, depth, rng)? {
            return self.value(&merged, name, depth + 1, rng);
        }
        match self.kind(members, depth, rng) {
            "object" => self.object(members, depth, rng),
            "array" => self.array(members, name, depth, rng),
            "integer" => Ok(number(members, true, rng)?),
            "number" => Ok(number(members, false, rng)?),
            "boolean" => Ok(Value::Bool(rng.random_bool(0.5))),
            "null" => Ok(Value::Null),
            _ => self.text(members, name, depth, rng),
        }
    }

    /// The schema with one of its `$ref`, `allOf`, `anyOf`, `oneOf` worked into it, if it has any.
    fn combined<R: Rng>(
        &self,
        members: &Map<String, Value>,
        depth: usize,
        rng: &mut R,
    ) -> Result<Option<Value>, Fault> {
        let alternatives =
            || ["anyOf", "oneOf"].into_iter().find_map(|key| Some((key, members.get(key)?.as_array()?)));
        let (taken, parts): (&str, Vec<&Value>) = if let Some(Value::String(reference)) = members.get("$ref")
        {
            ("$ref", vec![self.referenced(reference)?])
        } else if let Some(Value::Array(parts)) = members.get("allOf") {
            ("allOf", parts.iter().collect())
        } else if let Some((key, options)) = alternatives() {
            let simple = || options.iter().find(|option| !is_compound(option));
            let chosen = if self.is_sparse(depth) { simple() } else { None };
            (key, chosen.or_else(|| pick(options, rng)).into_iter().collect())
        } else {
            return Ok(None);
        };
        let mut merged = Map::new();
        for (key, member) in members.iter().filter(|(key, _)| *key != taken) {
            merged.insert(key.clone(), self.purse.copy(member)?);
        }
        let mut merged = Value::Object(merged);
        for part in parts {
            merge(&mut merged, self.purse.copy(part)?);
        }
        Ok(Some(merged))
    }

    fn referenced(&self, reference: &str) -> Result<&Value, String> {
        let pointer = reference.strip_prefix('#');
        let found = pointer.and_then(|pointer| self.of.root.pointer(pointer));
        found.ok_or_else(|| format!("the reference {reference:?} leads nowhere within the schema"))
    }

    fn kind<'m, R: Rng>(&self, members: &'m Map<String, Value>, depth: usize, rng: &mut R) -> &'m str {
        match members.get("type") {
            Some(Value::String(kind)) => kind,
            Some(Value::Array(kinds)) => {
                let simple = kinds.iter().find(|kind| !matches!(kind.as_str(), Some("object" | "array")));
                let chosen = if self.is_sparse(depth) { simple } else { None };
                chosen.or_else(|| pick(kinds, rng)).and_then(Value::as_str).unwrap_or("string")
            }
            _ => implied(members),
        }
    }

    fn is_sparse(&self, depth: usize) -> bool {
        self.of.style == Style::Sparse || depth > SPARSE_BELOW
    }

    fn object<R: Rng>(
        &self,
        members: &Map<String, Value>,
        depth: usize,
        rng: &mut R,
    ) -> Result<Value, Fault> {
        let empty = Map::new();
        let properties = members.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let required = strings(members.get("required"));
        // looking at what is left out takes time, too
        self.purse.spend(properties.len() + required.len(), 0)?;
        let must: HashSet<&str> = required.iter().copied().collect();
        let least = count(members, "minProperties").unwrap_or(0);
        let most = count(members, "maxProperties").unwrap_or(u64::MAX);
        let mut object = Map::new();
        for (name, schema) in properties {
            let is_required = must.contains(name.as_str());
            let full = length(object.len()) + length(required.len()) >= most;
            let wanted = !self.is_sparse(depth) && !full || length(object.len()) < least;
            if is_required || (wanted && *schema != Value::Bool(false)) {
                self.purse.spend(0, name.len())?;
                object.insert(name.clone(), self.value(schema, name, depth + 1, rng)?);
            }
        }
        let others = members.get("additionalProperties").unwrap_or(&Value::Bool(true));
        for name in required {
            if !object.contains_key(name) {
                self.purse.spend(0, name.len())?;
                object.insert(name.to_owned(), self.value(others, name, depth + 1, rng)?);
            }
        }
        // A map: its keys are words.
        let is_map = properties.is_empty() && others.is_object() && !self.is_sparse(depth);
        let wanted = least.max(if is_map { 2 } else { 0 }).min(most);
        for attempt in 0..wanted.saturating_mul(4) {
            if length(object.len()) >= wanted {
                break;
            }
            let mut key = String::new();
            self.of.prose.phrase(rng, 1, &mut key);
            let key = if attempt < wanted {
                key.to_lowercase()
            } else {
                format!("{}_{attempt}", key.to_lowercase())
            };
            self.purse.spend(0, key.len())?;
            object.insert(key.clone(), self.value(others, &key, depth + 1, rng)?);
        }
        Ok(Value::Object(object))
    }

    fn array<R: Rng>(
        &self,
        members: &Map<String, Value>,
        name: &str,
        depth: usize,
        rng: &mut R,
    ) -> Result<Value, Fault> {
        let firsts = members.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let schema = members.get("items").unwrap_or(&Value::Bool(true));
        let least = count(members, "minItems").unwrap_or(0);
        if least > LONGEST_ARRAY {
            return Err(format!("an array of {least} items is too long").into());
        }
        let most = count(members, "maxItems").unwrap_or(u64::MAX).max(least);
        let spare = if self.is_sparse(depth) { 0 } else { rng.random_range(1..=2) };
        let open = if *schema == Value::Bool(false) { length(firsts.len()) } else { least + spare };
        let wanted =
            open.max(if self.is_sparse(depth) { 0 } else { length(firsts.len()) }).clamp(least, most);
        let unique = members.get("uniqueItems") == Some(&Value::Bool(true));
        let mut items: Vec<Value> = Vec::new();
        let mut seen: HashSet<String> = HashSet::new();
        for _ in 0..wanted.saturating_mul(4) {
            if length(items.len()) >= wanted {
                break;
            }
            let item =
                self.value(firsts.get(items.len()).unwrap_or(schema), singular(name), depth + 1, rng)?;
            if !unique || seen.insert(item.to_string()) {
                items.push(item);
            }
        }
        Ok(Value::Array(items))
    }

    fn text<R: Rng>(
        &self,
        members: &Map<String, Value>,
        name: &str,
        depth: usize,
        rng: &mut R,
    ) -> Result<Value, Fault> {
        let format = |rng: &mut R| formatted(members.get("format")?.as_str()?, rng);
        let text = if let Some(Value::String(pattern)) = members.get("pattern") {
            pattern::draw(pattern, rng)?
        } else if let Some(text) = format(rng) {
            text
        } else {
            self.prose(members, name, depth, rng)?
        };
        self.purse.spend(0, text.len())?;
        Ok(Value::String(text))
    }

    fn prose<R: Rng>(
        &self,
        members: &Map<String, Value>,
        name: &str,
        depth: usize,
        rng: &mut R,
    ) -> Result<String, Fault> {
        let least = count(members, "minLength").unwrap_or(0);
        let most = count(members, "maxLength").unwrap_or(u64::MAX);
        if least > LONGEST_ARRAY * 10 {
            return Err(format!("a text of {least} characters is too long").into());
        }
        let mut text = String::new();
        let brief = ["title", "name", "label", "topic", "category", "tag", "keyword", "author", "id"];
        if self.is_sparse(depth) {
            self.of.prose.phrase(rng, 2, &mut text);
        } else if most < 40 || brief.iter().any(|word| name.to_lowercase().ends_with(word)) {
            self.of.prose.phrase(rng, 4, &mut text);
        } else {
            self.of.prose.write(rng, 14, 40, &mut text);
        }
        while length(text.chars().count()) < least {
            self.of.prose.write(rng, 14, 40, &mut text);
        }
        if let Some((end, _)) = text.char_indices().nth(usize::try_from(most).unwrap_or(usize::MAX)) {
            text.truncate(end);
        }
        Ok(text)
    }
}

/// The members of an object schema; none for anything else.
fn members_of(schema: &Value) -> &Map<String, Value> {
    static NONE: std::sync::OnceLock<Map<String, Value>> = std::sync::OnceLock::new();
    schema.as_object().unwrap_or_else(|| NONE.get_or_init(Map::new))
}

/// The type that a schema without one speaks of.
fn implied(members: &Map<String, Value>) -> &'static str {
    let any = |keys: &[&str]| keys.iter().any(|key| members.contains_key(*key));
    if any(&["properties", "required", "minProperties", "additionalProperties"]) {
        "object"
    } else if any(&["items", "prefixItems", "minItems", "uniqueItems"]) {
        "array"
    } else if any(&["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]) {
        "number"
    } else {
        "string"
    }
}

fn is_compound(schema: &Value) -> bool {
    let Some(members) = schema.as_object() else { return false };
    let kind = members.get("type").and_then(Value::as_str).unwrap_or_else(|| implied(members));
    members.contains_key("$ref") || matches!(kind, "object" | "array")
}

/// Works `part` into `whole`: properties and required names are joined, of anything else the part's word is the last.
fn merge(whole: &mut Value, part: Value) {
    let (Value::Object(whole), Value::Object(part)) = (whole, part) else { return };
    for (key, value) in part {
        match (key.as_str(), whole.get_mut(&key), value) {
            ("properties" | "$defs" | "definitions", Some(Value::Object(old)), Value::Object(new)) => {
                old.extend(new);
            }

            ("required" | "allOf", Some(Value::Array(old)), Value::Array(new)) => {
                old.extend(new);
            }

            (_, _, value) => {
                whole.insert(key, value);
            }
        }
    }
}

fn pick<'a, T, R: Rng>(options: &'a [T], rng: &mut R) -> Option<&'a T> {
    (!options.is_empty()).then(|| &options[rng.random_range(0..options.len())])
}

fn strings(value: Option<&Value>) -> Vec<&str> {
    value
        .and_then(Value::as_array)
        .map_or_else(Vec::new, |list| list.iter().filter_map(Value::as_str).collect())
}

fn count(members: &Map<String, Value>, key: &str) -> Option<u64> {
    members.get(key).and_then(Value::as_u64)
}

fn length(items: usize) -> u64 {
    u64::try_from(items).unwrap_or(u64::MAX)
}

/// `titles` holds a title each.
fn singular(name: &str) -> &str {
    name.strip_suffix('s').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use serde_json::json;

    fn draw(schema: &Value, style: Style, budget: Budget, rng: &mut ChaCha8Rng) -> Result<Value, Fault> {
        let prose = Prose::new(["A sentence about nothing much."].into_iter());
        Instances::new(schema, &prose, style, budget).draw(rng)
    }

    fn drawn(schema: &Value, style: Style) -> Vec<Value> {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        (0..100).map(|_| draw(schema, style, Budget::USUAL, &mut rng).unwrap()).collect()
    }

    #[test]
    fn no_more_is_drawn_than_the_budget_holds() {
        let mut chain = json!({"a0": {"type": "integer"}});
        for level in 1..=10 {
            let below = json!({"$ref": format!("#/$defs/a{}", level - 1)});
            let twice =
                json!({"type": "object", "required": ["l", "r"], "properties": {"l": below, "r": below}});
            chain[format!("a{level}")] = twice;
        }
        let many: Vec<String> = (0..400).map(|i| format!("p{i}")).collect();
        let text = "x".repeat(200);
        for (why, schema) in [
            (
                "arrays in arrays",
                json!({"type": "array", "minItems": 100,
                "items": {"type": "array", "minItems": 100, "items": {"type": "integer"}}}),
            ),
            ("definitions used twice", json!({"$defs": chain, "$ref": "#/$defs/a10"})),
            ("constants", json!({"type": "array", "minItems": 10, "items": {"const": vec![0; 200]}})),
            ("options", json!({"type": "array", "minItems": 100, "items": {"enum": [text, text]}})),
            (
                "long texts",
                json!({"type": "array", "minItems": 10, "items": {"type": "string", "minLength": 2_000}}),
            ),
            (
                "patterns",
                json!({"type": "array", "minItems": 100, "items": {"type": "string", "pattern": "a{500}"}}),
            ),
            (
                "what is left out",
                json!({"type": "array", "minItems": 10, "items": {"type": "object",
                "properties": many.iter().map(|name| (name.clone(), json!({}))).collect::<Map<_, _>>()}}),
            ),
            ("what is not described", json!({"type": "object", "minProperties": 1_000_000})),
            ("names", json!({"type": "array", "minItems": 100, "items": {"required": [text]}})),
        ] {
            let budget = Budget { values: 1_000, bytes: 10_000 };
            let mut rng = ChaCha8Rng::seed_from_u64(3);
            let answer = draw(&schema, Style::Sparse, budget, &mut rng);
            assert_eq!(answer, Err(Fault::TooLarge), "{why}");
        }
    }

    #[test]
    fn bounds_are_met_at_the_first_draw() {
        for (schema, low, high) in [
            (json!({"type": "integer", "exclusiveMinimum": -2, "exclusiveMaximum": 1}), -1.0, 0.0),
            (json!({"type": "integer", "minimum": 5.5, "maximum": 7.5}), 6.0, 7.0),
            (json!({"type": "number", "exclusiveMinimum": 0.5, "maximum": 0.52}), 0.51, 0.52),
            (json!({"type": "integer", "multipleOf": 25, "minimum": 1, "maximum": 99}), 25.0, 75.0),
        ] {
            let seen: Vec<f64> = drawn(&schema, Style::Usual).iter().filter_map(Value::as_f64).collect();
            let edge = |of: fn(f64, f64) -> f64| seen.iter().copied().reduce(of).unwrap();
            assert_eq!((seen.len(), edge(f64::min), edge(f64::max)), (100, low, high), "{schema}");
        }
    }

    #[test]
    fn sparse_is_what_is_required_and_no_more() {
        let schema = json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}, "b": {},
            "c": {"type": "array", "items": {}}}});
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let sparse = drawn(&schema, Style::Sparse);
        assert!(sparse.iter().all(|value| keys(value) == ["a"] && value["a"].is_i64()), "{sparse:?}");
        assert!(drawn(&schema, Style::Usual).iter().all(|value| keys(value) == ["a", "b", "c"]));
    }
}
