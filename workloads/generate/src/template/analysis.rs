//! What a template uses, without running it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use windrow_core::FieldError;

use super::compiled::Fragments;
use super::document::TemplateDocument;
use super::environment::{Names, environment};
use super::parse::escape;
use super::walk::{Usage, Walk};
use crate::seed::FieldPath;

/// What a template uses, and what is wrong with that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// The paths into the seed record that its texts look up, included fragments too.
    pub paths: Vec<FieldPath>,
    /// The ones of `paths` that `schema_requirements` doesn't promise, and that the template doesn't provide for
    /// (`default`, `is defined`). Records without them will be rejected.
    pub undeclared: Vec<FieldPath>,
    /// The requirements that no text uses.
    pub unused: Vec<FieldPath>,
    /// The fragments it includes, directly or by way of others.
    pub includes: Vec<IncludeUse>,
    /// The models or aliases that its steps name.
    pub models: Vec<String>,
    /// What is wrong with the texts themselves, by JSON pointer: no such template can ever run.
    pub problems: Vec<FieldError>,
    /// A problem for each include that may not be missing and is. It ends when somebody makes the fragment.
    pub unresolved: Vec<FieldError>,
}

impl Analysis {
    /// All that keeps the template from running now.
    pub fn into_problems(self) -> Vec<FieldError> {
        self.problems.into_iter().chain(self.unresolved).collect()
    }
}

/// A fragment that a template includes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncludeUse {
    /// As it stands in the include: `name@version`.
    pub name: String,
    /// Every include of it has `ignore missing`.
    pub optional: bool,
    /// It isn't among the fragments given. Fragments can include further ones, so a caller that looks fragments up
    /// gives the missing ones and asks again, until none is missing or one isn't to be had.
    pub missing: bool,
}

/// A text of a document with its place.
struct Part<'d> {
    pub(super) pointer: String,
    pub(super) text: &'d str,
    /// How many of the first steps it may use.
    pub(super) steps: usize,
}

/// Analyses a template together with the fragments it includes, by the name in the include.
pub fn analyse(document: &TemplateDocument, fragments: &Fragments) -> Analysis {
    analyse_usage(document, fragments).0
}

/// Also says which functions the template calls.
pub(super) fn analyse_usage(document: &TemplateDocument, fragments: &Fragments) -> (Analysis, Usage) {
    let env = environment();
    let ids: Vec<&str> = document.steps.iter().map(|step| step.id.as_str()).collect();
    let mut usage = Usage::default();
    for part in parts(document) {
        let known = document.fragment.is_none().then(|| &ids[..part.steps]);
        Walk::new(Names(&env), fragments, known, &part.pointer, &mut usage).text(part.text);
    }
    let problems: Vec<FieldError> =
        usage.problems.iter().map(|(pointer, message)| FieldError::new(pointer, message)).collect();
    let includes: Vec<IncludeUse> = usage
        .includes
        .iter()
        .map(|(name, optional)| IncludeUse {
            name: name.clone(),
            optional: *optional,
            missing: !fragments.contains_key(name),
        })
        .collect();
    let needed = includes.iter().filter(|include| include.missing && !include.optional);
    let unresolved = needed.map(|include| {
        let message =
            format!("the fragment {} was not found among your own and the public templates", include.name);
        FieldError::new("/template", message)
    });
    let unresolved = unresolved.collect();
    let requirements = &document.schema_requirements;
    let undeclared = usage
        .paths
        .keys()
        .filter(|path| !requirements.iter().any(|required| required.implies(path)))
        .filter(|path| !usage.optional.iter().any(|optional| path.implies(optional)))
        .cloned()
        .collect();
    let unused = requirements
        .iter()
        .filter(|required| !usage.paths.keys().any(|p| required.implies(p) || p.implies(required)))
        .cloned()
        .collect();
    let analysis = Analysis {
        paths: usage.paths.keys().cloned().collect(),
        undeclared,
        unused,
        includes,
        models: document.models().into_iter().map(str::to_owned).collect(),
        problems,
        unresolved,
    };
    (analysis, usage)
}

/// All texts of a document that are templates.
fn parts(document: &TemplateDocument) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    for (i, step) in document.steps.iter().enumerate() {
        let texts = [
            ("when", step.when.as_deref()),
            ("system", step.system.as_deref()),
            ("prompt", Some(step.prompt.as_str())),
        ];
        for (field, text) in texts {
            let pointer = format!("/template/steps/{i}/{field}");
            parts.extend(text.map(|text| Part { pointer, text, steps: i }));
        }
    }
    if let Some(text) = document.fragment.as_deref() {
        parts.push(Part { pointer: "/template/fragment".to_owned(), text, steps: 0 });
    }
    for (field, value) in document.output.iter().flatten() {
        let pointer = format!("/template/output/{}", escape(field));
        output_parts(value, pointer, document.steps.len(), &mut parts);
    }
    parts
}

fn output_parts<'d>(value: &'d Value, pointer: String, steps: usize, parts: &mut Vec<Part<'d>>) {
    match value {
        Value::String(text) => parts.push(Part { pointer, text, steps }),
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                output_parts(item, format!("{pointer}/{i}"), steps, parts);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                output_parts(field, format!("{pointer}/{}", escape(name)), steps, parts);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(requirements: &[&str], prompt: &str) -> TemplateDocument {
        let text = json!({"template": {
            "name": "t", "schema_requirements": requirements, "steps": [{"id": "a", "model": "cheap", "prompt": prompt}]
        }});
        TemplateDocument::parse(&text.to_string()).unwrap()
    }

    fn paths(paths: &[FieldPath]) -> Vec<String> {
        paths.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn paths_are_found_in_full() {
        for (prompt, expected) in [
            ("{{ author.biography }}", vec!["author.biography"]),
            ("{{ poems[0].text }} {{ poems[0]['title'] }}", vec!["poems[0].text", "poems[0].title"]),
            ("{% for p in poems %}{{ p.text }} {{ loop.index }}{% endfor %}", vec!["poems"]),
            ("{% set x = a.b %}{{ x.c }}", vec!["a.b"]),
            ("{{ name.upper() }} {{ tags | join(sep) }}", vec!["name", "sep", "tags"]),
            ("{% if mood == 'x' %}{% set y = 1 %}{% else %}{% set y = 2 %}{% endif %}{{ y }}", vec!["mood"]),
            ("{% macro m(a, b=c.d) %}{{ a }}{{ b }}{% endmacro %}{{ m(e.f) }}", vec!["c.d", "e.f"]),
            ("{{ range(3) | list }} {{ choice(xs) }} {{ self }}", vec!["xs"]),
            ("{{ poems[i].text }} {{ poems[1:n] }}", vec!["i", "n", "poems"]),
            ("{# {{ comment }} #}{% raw %}{{ raw }}{% endraw %}", vec![]),
            ("{% with z = q.r %}{{ z }}{% endwith %}{{ z }}", vec!["q.r", "z"]),
            ("{% set x = x %}{{ x }}", vec!["x"]),
        ] {
            let analysis = analyse(&document(&[], prompt), &Fragments::new());
            assert_eq!(paths(&analysis.paths), expected, "{prompt}");
            assert_eq!(analysis.into_problems(), [], "{prompt}");
        }
    }

    #[test]
    fn what_is_used_is_compared_with_what_is_declared() {
        let prompt = "{{ author.name }} {{ author.born }} {{ poem }} {{ mood | default('calm') }} \
                      {% if era is defined %}{{ era.name }}{% endif %}";
        let declared = ["author.name", "poem.text", "unused.thing"];
        let analysis = analyse(&document(&declared, prompt), &Fragments::new());
        assert_eq!(paths(&analysis.undeclared), ["author.born"]);
        assert_eq!(paths(&analysis.unused), ["unused.thing"]);
        assert_eq!(analysis.models, ["cheap"]);
    }

    #[test]
    fn fragments_are_analysed_in_their_place() {
        let document = document(&[], "{% set tone = 'dry' %}{% include 'style@2' %}");
        let none = analyse(&document, &Fragments::new());
        assert_eq!(
            none.includes,
            [IncludeUse { name: "style@2".to_owned(), optional: false, missing: true }]
        );
        assert_eq!((none.problems.len(), none.unresolved.len()), (0, 1));
        let style = "{{ tone }} {{ genre }} {% include 'deeper@latest' ignore missing %}";
        let some = analyse(&document, &Fragments::from([("style@2".to_owned(), style.to_owned())]));
        assert_eq!(paths(&some.paths), ["genre"]);
        assert_eq!((&*some.problems, &*some.unresolved), (&[][..], &[][..]));
        let deeper = IncludeUse { name: "deeper@latest".to_owned(), optional: true, missing: true };
        assert!(some.includes.contains(&deeper), "{:?}", some.includes);
        let broken = analyse(&document, &Fragments::from([("style@2".to_owned(), "{{ x".to_owned())]));
        assert!(broken.problems[0].message.contains("fragment style@2"), "{:?}", broken.problems);
    }

    #[test]
    fn steps_are_used_after_they_ran() {
        let text = "
template:
  name: t
  steps:
    - {id: a, prompt: '{{ steps.b.output }}'}
    - {id: b, prompt: '{{ steps.a.output.x }} {{ steps.a.result }}', when: '{{ steps.a.skipped }}'}
  output: {c: '{{ steps.b.output }} {{ steps.z.output }}'}
";
        let analysis = analyse(&TemplateDocument::parse(text).unwrap(), &Fragments::new());
        let found: Vec<(&str, bool)> = analysis
            .problems
            .iter()
            .zip(["no step comes before", "no result", "no step before"])
            .map(|(problem, why)| (problem.pointer.as_str(), problem.message.contains(why)))
            .collect();
        assert_eq!(
            found,
            [
                ("/template/steps/0/prompt", true),
                ("/template/steps/1/prompt", true),
                ("/template/output/c", true)
            ]
        );
        assert_eq!(analysis.problems.len(), 3);
    }

    #[test]
    fn fragments_that_multiply_are_refused() {
        let mut fragments = Fragments::new();
        for level in 0..10 {
            let text = format!("{{% include 'f{}@1' %}}", level + 1).repeat(10);
            fragments.insert(format!("f{level}@1"), text);
        }
        fragments.insert("f10@1".to_owned(), "x".to_owned());
        let analysis = analyse(&document(&[], "{% include 'f0@1' %}"), &fragments);
        assert!(analysis.problems.iter().any(|p| p.message.contains("more than 500 includes")));
    }
}
