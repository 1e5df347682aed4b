//! How much a schema comes to when its references are followed. The library checks a value by following them anew in each
//! branch, so that a chain of definitions that each name the one before twice takes twice as long with each of them.

use serde_json::Value;
use windrow_core::FieldError;

/// The most schemas that one may unfold to.
const MOST: usize = 10_000;
/// The most references that may lead to each other: checking a value takes some of the stack for each.
const DEEPEST: usize = 100;

/// Keywords that hold a schema, or several in a list, for the value itself.
const HERE: [&str; 7] = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else"];
/// Keywords that hold a schema, or several in a list, for what is inside the value.
const INSIDE: [&str; 8] = [
    "items",
    "prefixItems",
    "additionalItems",
    "unevaluatedItems",
    "contains",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
];
/// Keywords that hold schemas by name, and whether they are for what is inside the value.
const NAMED: [(&str, bool); 4] =
    [("properties", true), ("patternProperties", true), ("dependentSchemas", false), ("dependencies", false)];
/// Documents that the library knows of itself.
const META: &str = "json-schema.org/";

/// What is still to be done.
enum Step<'a> {
    Visit(Place<'a>),
    /// Visit what a reference leads to.
    Follow(Place<'a>),
    /// All behind a reference was visited.
    Back,
}

#[derive(Clone)]
struct Place<'a> {
    schema: &'a Value,
    /// The nearest schema around it that has an `$id`: what its references say counts from there.
    resource: &'a Value,
    pointer: String,
    /// How many levels into the value it is.
    level: usize,
}

/// Refuses a schema that a value might be checked against for ever, or nearly so.
///
/// # Errors
/// By the pointer of the reference that goes too far.
pub(super) fn check(root: &Value) -> Result<(), FieldError> {
    let mut count = 0;
    // what is being followed, and at which level
    let mut path: Vec<(&Value, usize)> = Vec::new();
    let start = Place { schema: root, resource: root, pointer: String::new(), level: 0 };
    let mut steps = vec![Step::Visit(start)];
    while let Some(step) = steps.pop() {
        match step {
            Step::Back => drop(path.pop()),
            Step::Follow(place) => {
                let again = path.iter().find(|(target, _)| std::ptr::eq(*target, place.schema));
                match again {
                    Some((_, level)) if *level == place.level => {
                        let problem = "leads back to itself without going into the value, so that checking one would never end";
                        return Err(FieldError::new(place.pointer, problem));
                    }
                    // deeper in the value, which has an end
                    Some(_) => {}
                    None if path.len() >= DEEPEST => {
                        let problem =
                            format!("stands behind more than {DEEPEST} references that lead to each other");
                        return Err(FieldError::new(place.pointer, problem));
                    }
                    None => {
                        path.push((place.schema, place.level));
                        steps.extend([Step::Back, Step::Visit(place)]);
                    }
                }
            }
            Step::Visit(place) => {
                count += 1;
                if count > MOST {
                    let problem = format!(
                        "comes to more than {MOST} schemas when references are followed, so that checking a value could take very long: refer to definitions in fewer places"
                    );
                    return Err(FieldError::new(place.pointer, problem));
                }
                visit(root, place, &mut steps)?;
            }
        }
    }
    Ok(())
}

fn visit<'a>(root: &'a Value, mut place: Place<'a>, steps: &mut Vec<Step<'a>>) -> Result<(), FieldError> {
    let Value::Object(keywords) = place.schema else { return Ok(()) };
    if id_of(place.schema).is_some() {
        place.resource = place.schema;
    }
    for (keyword, value) in keywords {
        let named = NAMED.iter().find(|(name, _)| name == keyword);
        let inside = INSIDE.contains(&keyword.as_str()) || named.is_some_and(|(_, inside)| *inside);
        let level = place.level + usize::from(inside);
        let pointer = format!("{}/{}", place.pointer, super::escape(keyword));
        let at = |schema, name: &str| {
            let pointer = format!("{pointer}/{}", super::escape(name));
            Step::Visit(Place { schema, resource: place.resource, pointer, level })
        };
        match (keyword.as_str(), value) {
            ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(reference)) => {
                let targets = targets(root, place.resource, keyword, reference);
                let targets = targets.map_err(|problem| FieldError::new(&*pointer, problem))?;
                for (schema, resource) in targets {
                    steps.push(Step::Follow(Place { schema, resource, pointer: pointer.clone(), level }));
                }
            }
            (_, Value::Object(schemas)) if named.is_some() => {
                steps.extend(schemas.iter().map(|(name, schema)| at(schema, name)));
            }
            (_, Value::Array(schemas)) if inside || HERE.contains(&keyword.as_str()) => {
                steps.extend(schemas.iter().enumerate().map(|(n, schema)| at(schema, &n.to_string())));
            }
            (_, schema) if inside || HERE.contains(&keyword.as_str()) => {
                let pointer = pointer.clone();
                steps.push(Step::Visit(Place { schema, resource: place.resource, pointer, level }));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The name that a schema gives itself as a document of its own. `#name` was an anchor in early drafts.
fn id_of(schema: &Value) -> Option<&str> {
    schema.get("$id").and_then(Value::as_str).filter(|id| !id.starts_with('#'))
}

/// What a reference may lead to, with the document that it stands in: several where that depends on how it was come to.
fn targets<'a>(
    root: &'a Value,
    resource: &'a Value,
    keyword: &str,
    reference: &str,
) -> Result<Vec<(&'a Value, &'a Value)>, String> {
    let (document, fragment) = reference.split_once('#').unwrap_or((reference, ""));
    if document.contains(META) {
        return Ok(Vec::new());
    }
    let unknown =
        || format!("{reference} can't be followed: refer to a definition of this schema, as in #/$defs/name");
    let resource = if document.is_empty() {
        resource
    } else {
        let last = |name: &str| name.trim_end_matches('#').rsplit('/').next().unwrap_or_default().to_owned();
        let mut named = Vec::new();
        walk(root, &mut |schema| {
            if id_of(schema).is_some_and(|id| last(id) == last(document)) {
                named.push(schema);
            }
        });
        // where several have that name, which is meant depends on more than this looks at
        named.pop().filter(|_| named.is_empty()).ok_or_else(unknown)?
    };
    if fragment.is_empty() {
        return Ok(vec![(resource, resource)]);
    }
    if fragment.starts_with('/') {
        let pointer = unescape_percent(fragment);
        let found = [resource, root].into_iter().find_map(|from| Some((from.pointer(&pointer)?, from)));
        let (target, from) = found.ok_or_else(unknown)?;
        return Ok(vec![(target, from)]);
    }
    let anchors: &[&str] = if keyword == "$ref" {
        &["$anchor", "$dynamicAnchor", "$id"]
    } else {
        &["$dynamicAnchor", "$anchor"]
    };
    let mut found = Vec::new();
    walk(root, &mut |schema| {
        let is = |key: &&str| {
            let name = schema.get(*key).and_then(Value::as_str);
            name.is_some_and(|name| {
                if *key == "$id" { name.strip_prefix('#') == Some(fragment) } else { name == fragment }
            })
        };
        if anchors.iter().any(is) {
            found.push((schema, resource));
        }
    });
    if found.is_empty() { Err(unknown()) } else { Ok(found) }
}

/// Shows each object in a document, however deep.
fn walk<'a>(root: &'a Value, show: &mut impl FnMut(&'a Value)) {
    let mut rest = vec![root];
    while let Some(value) = rest.pop() {
        match value {
            Value::Object(members) => {
                show(value);
                rest.extend(members.values());
            }
            Value::Array(items) => rest.extend(items),
            _ => {}
        }
    }
}

/// RFC 3986, section 2.1. What is no such escape stays as it is.
fn unescape_percent(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).filter(|_| *first == b'%');
        let code = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    /// Definitions that each name the one before twice.
    fn chain(length: usize, twice: impl Fn(&str) -> Value) -> Value {
        let mut defs = Map::from_iter([("d0".to_owned(), json!({"type": "string"}))]);
        for n in 1..=length {
            defs.insert(format!("d{n}"), twice(&format!("#/$defs/d{}", n - 1)));
        }
        json!({"$ref": format!("#/$defs/d{length}"), "$defs": defs})
    }

    #[test]
    fn a_chain_that_doubles_at_each_link_is_refused() {
        let branches = |to: &str| json!({"anyOf": [{"$ref": to}, {"$ref": to}]});
        let members = |to: &str| json!({"properties": {"a": {"$ref": to}, "b": {"$ref": to}}});
        let dynamic = |to: &str| json!({"oneOf": [{"$dynamicRef": to}, {"not": {"$ref": to}}]});
        let anchors = json!({
            "$defs": {
                "a": {"$anchor": "a", "type": "string"},
                "b": {"$anchor": "b", "allOf": vec![json!({"$ref": "#a"}); 200]},
                "c": {"$id": "urn:x/c", "allOf": vec![json!({"$ref": "#b"}); 200]},
            },
            "items": {"$ref": "urn:x/c"},
        });
        for schema in [chain(20, branches), chain(20, members), chain(20, dynamic), anchors] {
            let refused = check(&schema).unwrap_err();
            assert!(refused.message.contains("10000 schemas"), "{refused}");
            assert!(refused.pointer.contains("$ref") || refused.pointer.contains("$dynamicRef"), "{refused}");
        }
        check(&chain(8, branches)).unwrap();
        let once = |to: &str| json!({"allOf": [{"$ref": to}]});
        check(&chain(90, once)).unwrap();
        assert!(check(&chain(150, once)).unwrap_err().message.contains("100 references"));
    }

    #[test]
    fn a_recursion_must_go_into_the_value() {
        let tree = json!({"$defs": {"node": {"properties": {"left": {"$ref": "#/$defs/node"}, "right": {"$ref": "#/$defs/node"}}}},
            "items": {"$ref": "#/$defs/node"}, "additionalProperties": {"$ref": "#"}});
        check(&tree).unwrap();
        check(&json!({"$dynamicAnchor": "me", "items": {"$dynamicRef": "#me"}})).unwrap();
        for ring in [
            json!({"$ref": "#"}),
            json!({"anyOf": [{"type": "string"}, {"$ref": "#"}]}),
            json!({"$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}}, "items": {"$ref": "#/$defs/a"}}),
        ] {
            assert!(check(&ring).unwrap_err().message.contains("never end"), "{ring}");
        }
    }

    #[test]
    fn what_names_keywords_is_not_taken_for_them() {
        check(&json!({"properties": {"$ref": {"type": "string"}, "items": {"$ref": "#/$defs/a~1b%25"}},
            "$defs": {"a/b%": {"const": {"$ref": "nowhere"}}}}))
        .unwrap();
        let lost = check(&json!({"properties": {"a": {"$ref": "#/$defs/lost"}}})).unwrap_err();
        assert_eq!(lost.pointer, "/properties/a/$ref");
    }
}
