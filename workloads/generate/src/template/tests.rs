//! Rendering, and what must not bring it down.

use super::*;
use crate::sampler::RecordSeed;
use crate::seed::SeedRecord;
use proptest::prelude::*;
use serde_json::{Value, json};

const RECORD: RecordSeed = RecordSeed { random_seed: 5, index: 2 };

fn compile(text: &str) -> CompiledTemplate {
    compile_with(text, &Fragments::new())
}

fn compile_with(text: &str, fragments: &Fragments) -> CompiledTemplate {
    let document = TemplateDocument::parse(text).unwrap_or_else(|e| panic!("{e:?}"));
    CompiledTemplate::compile(document, fragments).unwrap_or_else(|e| panic!("{e:?}"))
}

fn one_step(prompt: &str) -> CompiledTemplate {
    compile(&json!({"template": {"name": "t", "steps": [{"id": "a", "prompt": prompt}]}}).to_string())
}

fn compile_errors(prompt: &str) -> Vec<windrow_core::FieldError> {
    let text = json!({"template": {"name": "t", "steps": [{"id": "a", "prompt": prompt}]}}).to_string();
    let document = TemplateDocument::parse(&text).unwrap();
    CompiledTemplate::compile(document, &Fragments::new()).expect_err(prompt)
}

fn try_prompt(prompt: &str, seed: &Value) -> Result<String, RenderError> {
    let seed = SeedRecord::new(0, seed);
    one_step(prompt)
        .render(0, &seed, &StepOutputs::new(), RECORD)
        .map(|step| step.expect("a step without a condition").prompt)
}

fn prompt(text: &str, seed: &Value) -> String {
    try_prompt(text, seed).unwrap()
}

#[test]
fn the_language_is_jinja() {
    let seed = json!({"author": {"name": "Ida"}, "poems": [{"text": "one"}, {"text": "two"}], "n": 3});
    for (text, rendered) in [
        ("{{ author.name }} & <b>", "Ida & <b>"),
        ("{{ poems[1].text }}", "two"),
        ("{{ poems[:1] | length }}", "1"),
        ("{% for p in poems %}\n  {{ p.text }}\n{% endfor %}", "  one\n  two\n"),
        ("  {% if n > 2 %}\nmany\n  {% else %}\nfew\n  {% endif %}", "many\n"),
        ("{% set x = n * 2 %}{{ x }}", "6"),
        ("{% macro hi(who) %}Hi {{ who }}{% endmacro %}{{ hi(author.name) }}", "Hi Ida"),
        ("{{ author.name.upper() }} {{ 'a b'.split() | length }}", "IDA 2"),
        ("{{ author.born | default('unknown') }}", "unknown"),
        ("{% if author.born is defined %}x{% endif %}", ""),
        ("{{ poems[0] }}", r#"{"text":"one"}"#),
        ("{{ author | tojson }}", r#"{"name": "Ida"}"#),
        ("{% for k, v in author | items %}{{ k }}={{ v }}{% endfor %}", "name=Ida"),
    ] {
        assert_eq!(prompt(text, &seed), rendered, "{text}");
    }
}

#[test]
fn our_own_functions() {
    let seed =
        json!({"t": "Blue whales sing. Blue whales dive! Do they dream?", "l": ["x", "y", "z"], "empty": ""});
    assert_eq!(prompt("{{ t | truncate_tokens(3) }}", &seed), "Blue whales sing");
    assert_eq!(prompt("{{ t | extract_keywords(2) | join(', ') }}", &seed), "blue, whales");
    assert_eq!(prompt("{{ 'élan' | capitalize_first }}", &seed), "Élan");
    assert_eq!(prompt("{{ '**b**' | remove_markdown }}", &seed), "b");
    let sentence = prompt("{{ t | random_sentence }}", &seed);
    assert!(["Blue whales sing.", "Blue whales dive!", "Do they dream?"].contains(&sentence.as_str()));
    assert!(["x", "y", "z"].contains(&prompt("{{ choice(l) }}", &seed).as_str()));
    let mut shuffled: Vec<String> =
        prompt("{{ l | shuffle | join(' ') }}", &seed).split(' ').map(str::to_owned).collect();
    shuffled.sort();
    assert_eq!(shuffled, ["x", "y", "z"]);
    assert!(!prompt("{{ writing_style() }}", &seed).is_empty());
    for bad in ["{{ empty | random_word }}", "{{ [] | choice }}", "{{ t | choice }}", "{{ l | random_word }}"]
    {
        assert!(matches!(try_prompt(bad, &seed), Err(RenderError::Other { .. })), "{bad}");
    }
}

#[test]
fn randomness_belongs_to_the_record_and_the_step() {
    let seed = SeedRecord::new(0, &json!({"l": (0..1000).collect::<Vec<_>>()}));
    let template = compile(
        "template: {name: t, steps: [{id: a, prompt: '{{ l | choice }} {{ l | choice }}'}, {id: b, prompt: '{{ l | choice }} {{ l | choice }}'}]}",
    );
    let ask = |step, index| {
        let mut outputs = StepOutputs::new();
        if step == 1 {
            outputs.push(&template, StepOutput::Text(String::new()));
        }
        let record = RecordSeed { random_seed: 5, index };
        template.render(step, &seed, &outputs, record).unwrap().unwrap().prompt
    };
    assert_eq!(ask(0, 1), ask(0, 1));
    assert_ne!(ask(0, 1), ask(0, 2));
    assert_ne!(ask(0, 1), ask(1, 1));
    let (first, second) = (ask(0, 1), ask(0, 1));
    let parts: Vec<&str> = first.split(' ').collect();
    assert_ne!(parts[0], parts[1], "one stream for a whole text: {first} {second}");
}

/// Draws go on through macros and includes instead of starting again in each.
#[test]
fn one_stream_runs_through_macros_and_fragments() {
    let fragments = Fragments::from([("f@1".to_owned(), "{{ l | choice }}".to_owned())]);
    let template = compile_with(
        "template: {name: t, steps: [{id: a, prompt: \"{% macro m() %}{{ l | choice }}{% endmacro %}{{ m() }} {{ m() }} {% include 'f@1' %} {{ l | choice }}\"}]}",
        &fragments,
    );
    let seed = SeedRecord::new(0, &json!({"l": (0..100_000).collect::<Vec<_>>()}));
    let text = template.render(0, &seed, &StepOutputs::new(), RECORD).unwrap().unwrap().prompt;
    let distinct: std::collections::BTreeSet<&str> = text.split(' ').collect();
    assert_eq!(distinct.len(), 4, "{text}");
}

#[test]
fn a_seed_field_does_not_hide_a_function_that_is_called() {
    let seed = json!({"choice": "b", "range": 5});
    assert_eq!(prompt("{{ choice }} {{ range }}", &seed), "b 5");
    assert_eq!(prompt("{{ choice(['q']) }} {{ range }}", &seed), "q 5");
}

#[test]
fn absent_things_are_named() {
    let error = try_prompt("line\n{{ author.name }}", &json!({"author": {}})).unwrap_err();
    let RenderError::Undefined { place, line, message } = &error else { panic!("{error}") };
    assert_eq!((place.as_str(), *line), ("step a, prompt", 2));
    assert!(message.contains("name"), "{message}");
    assert!(error.to_string().contains("schema_requirements"));
    assert!(matches!(try_prompt("{{ a.b.c }}", &json!({"a": 1})), Err(RenderError::Undefined { .. })));
}

#[test]
fn a_template_that_runs_for_ever_runs_out_of_fuel() {
    for text in [
        "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}",
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    ] {
        let error = try_prompt(text, &json!({})).unwrap_err();
        assert!(matches!(error, RenderError::Fuel { .. }), "{error}");
        assert!(error.to_string().contains("loop"), "{error}");
    }
    let error = try_prompt("{% for a in range(50000) %}{{ t }}{% endfor %}", &json!({"t": "x".repeat(1000)}));
    assert!(matches!(error, Err(RenderError::TooLarge { .. })), "{error:?}");
}

#[test]
fn endless_recursion_is_an_error() {
    let macro_itself = "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}";
    let error = try_prompt(macro_itself, &json!({})).unwrap_err();
    assert!(matches!(error, RenderError::Other { .. }), "{error}");
    let fragments = Fragments::from([
        ("a@1".to_owned(), "{% include 'b@1' %}".to_owned()),
        ("b@1".to_owned(), "{% include 'a@1' %}".to_owned()),
    ]);
    let document =
        TemplateDocument::parse("template: {name: t, steps: [{id: s, prompt: \"{% include 'a@1' %}\"}]}")
            .unwrap();
    let errors = CompiledTemplate::compile(document, &fragments).unwrap_err();
    assert!(errors[0].message.contains("includes itself"), "{errors:?}");
}

/// Each of these would take a deep stack to compile or to run.
#[test]
fn deep_expressions_are_refused() {
    for text in [
        format!("{{{{ {}1 }}}}", "1+".repeat(12_000)),
        format!("{{{{ x{} }}}}", ".y".repeat(12_000)),
        format!("{{{{ x{} }}}}", "|upper".repeat(7_000)),
        format!("{{{{ {}1{} }}}}", "(".repeat(20_000), ")".repeat(20_000)),
        format!("{{{{ {}1{} }}}}", "[".repeat(20_000), "]".repeat(20_000)),
        format!("{{{{ {}1 }}}}", "not ".repeat(10_000)),
        format!("{{{{ {}1 }}}}", "-".repeat(20_000)),
        format!("{{{{ x{} }}}}", "[0]".repeat(10_000)),
        format!("{{{{ x{} }}}}", "()".repeat(10_000)),
        format!("{{{{ 1 {} }}}}", "if 1 else 1 ".repeat(3_000)),
        format!("{{{{ {}1{} }}}}", "{1:".repeat(10_000), "}".repeat(10_000)),
        format!("{{{{ 1{} }}}}", " is odd".repeat(6_000)),
        format!("{{{{ 1{} }}}}", " < 1".repeat(10_000)),
        format!("{}{}", "{% if 1 %}".repeat(2_000), "{% endif %}".repeat(2_000)),
        format!("{}{}", "{% for a in [1] %}".repeat(1_500), "{% endfor %}".repeat(1_500)),
        format!("{{% if 1 %}}{}{{% endif %}}", "{% elif 1 %}".repeat(3_000)),
        format!("{}{}", "{% set a %}".repeat(1_500), "{% endset %}".repeat(1_500)),
        format!("{}{}", "{%- with a = 1 -%}".repeat(1_500), "{% endwith %}".repeat(1_500)),
        format!("{}{}", "{% filter upper %}".repeat(900), "{% endfilter %}".repeat(900)),
        format!("{}{}", "{% call f() %}".repeat(1_500), "{% endcall %}".repeat(1_500)),
        format!("{}{}", "{% macro f() %}".repeat(1_500), "{% endmacro %}".repeat(1_500)),
        format!("{}{}", "{% autoescape true %}".repeat(900), "{% endautoescape %}".repeat(900)),
    ] {
        let errors = compile_errors(&text);
        assert!(!errors[0].message.is_empty());
        assert_eq!(errors[0].pointer, "/template/steps/0/prompt");
    }
}

/// What is allowed fits a test's stack of 2 MiB, which is a worker thread's too.
#[test]
fn the_deepest_allowed_expressions_run() {
    for (text, rendered) in [
        (format!("{{{{ {}1 }}}}", "1+".repeat(199)), "200"),
        (format!("{{{{ {}1{} }}}}", "(".repeat(99), ")".repeat(99)), "1"),
        (format!("{{{{ x{} }}}}", "|upper".repeat(99)), "A"),
        (format!("{}x{}", "{% if 1 %}".repeat(50), "{% endif %}".repeat(50)), "x"),
        (format!("{{% if 0 %}}{}{{% else %}}x{{% endif %}}", "{% elif 0 %}".repeat(49)), "x"),
        (format!("{}x{}", "{% for a in [1] %}".repeat(50), "{% endfor %}".repeat(50)), "x"),
    ] {
        // The interpreter's own parser stops earlier at brackets, with an error of its own.
        let seed = SeedRecord::new(0, &json!({"x": "a"}));
        let source = json!({"template": {"name": "t", "steps": [{"id": "a", "prompt": text}]}}).to_string();
        match CompiledTemplate::compile(TemplateDocument::parse(&source).unwrap(), &Fragments::new()) {
            Ok(template) => {
                let step = template.render(0, &seed, &StepOutputs::new(), RECORD).unwrap().unwrap();
                assert_eq!(step.prompt, rendered, "{text}");
            }
            Err(errors) => assert!(errors[0].message.contains("recursion"), "{text}: {errors:?}"),
        }
    }
}

#[test]
fn conditions() {
    let template = compile(
        "
template:
  name: t
  steps:
    - {id: a, prompt: p}
    - {id: b, prompt: q, when: '{{ steps.a.output | length > 3 }}'}
    - {id: c, prompt: r, when: '{% if steps.b.skipped %}no{% endif %}'}
    - {id: d, prompt: s, when: 'false'}
",
    );
    let seed = SeedRecord::new(0, &json!({}));
    for (answer, b_runs) in [("long enough", true), ("no", false)] {
        let mut outputs = StepOutputs::new();
        outputs.push(&template, StepOutput::Text(answer.to_owned()));
        let b = template.render(1, &seed, &outputs, RECORD).unwrap();
        assert_eq!(b.is_some(), b_runs);
        outputs.push(&template, if b_runs { StepOutput::Text("b".to_owned()) } else { StepOutput::Skipped });
        assert_eq!(template.render(2, &seed, &outputs, RECORD).unwrap().is_some(), !b_runs);
        outputs.push(&template, StepOutput::Skipped);
        assert_eq!(template.render(3, &seed, &outputs, RECORD).unwrap(), None);
        outputs.push(&template, StepOutput::Skipped);
        let fields = template.shape(&seed, &outputs, RECORD).unwrap();
        let expected =
            json!({"a": answer, "b": if b_runs { json!("b") } else { Value::Null }, "c": null, "d": null});
        assert_eq!(Value::Object(fields), expected);
    }
}

#[test]
fn shaped_outputs_keep_their_types() {
    let template = compile(
        "
template:
  name: t
  steps:
    - {id: a, prompt: p, output: json}
  output:
    question: '{{ steps.a.output.question }}'
    tags: '{{ steps.a.output.tags }}'
    first: '{{- steps.a.output.tags[0] -}}'
    n: '{{ steps.a.output.n + 1 }}'
    line: '{{ word }}: {{ steps.a.output.n }}'
    nested: {source: '{{ word }}', always: 7, list: ['{{ word | upper }}']}
",
    );
    let seed = SeedRecord::new(0, &json!({"word": "w"}));
    let mut outputs = StepOutputs::new();
    outputs.push(&template, StepOutput::Json(json!({"question": "why?", "tags": ["x", "y"], "n": 4})));
    let fields = template.shape(&seed, &outputs, RECORD).unwrap();
    assert_eq!(
        Value::Object(fields),
        json!({
            "question": "why?", "tags": ["x", "y"], "first": "x", "n": 5, "line": "w: 4",
            "nested": {"source": "w", "always": 7, "list": ["W"]}
        })
    );
    let mut lacking = StepOutputs::new();
    lacking.push(&template, StepOutput::Json(json!({"tags": [], "n": 4})));
    let error = template.shape(&seed, &lacking, RECORD).unwrap_err();
    assert!(error.to_string().contains("question"), "{error}");
}

#[test]
fn answers_are_read_and_checked() {
    let template = compile(
        "
template:
  name: t
  steps:
    - {id: a, prompt: p}
    - id: b
      prompt: q
      output: json
      schema: {type: object, required: [n], properties: {n: {type: integer}}}
",
    );
    assert_eq!(template.read_answer(0, " hello\n"), Ok(StepOutput::Text("hello".to_owned())));
    assert_eq!(template.read_answer(0, " \n"), Err(AnswerError::Empty));
    for answer in ["{\"n\": 1}", "```json\n{\"n\": 1}\n```", "```\n{\"n\": 1}```", "``` {\"n\": 1} ```"] {
        assert_eq!(template.read_answer(1, answer), Ok(StepOutput::Json(json!({"n": 1}))), "{answer}");
    }
    assert!(matches!(template.read_answer(1, "Sure! {\"n\": 1}"), Err(AnswerError::Json(_))));
    let error = template.read_answer(1, "{\"n\": \"one\"}").unwrap_err();
    assert!(matches!(&error, AnswerError::Schema(why) if why.contains("/n")), "{error}");
    assert!(error.instruction().contains("integer"), "{}", error.instruction());
}

#[test]
fn what_can_not_run_does_not_compile() {
    for (text, why) in [
        ("{{ a", "end of"),
        ("{% if x %}", "end of"),
        ("{{ x | shout }}", "no filter shout"),
        ("{{ shout(x) }}", "no function shout"),
        ("{{ x is loud }}", "no test loud"),
        ("{{ steps.a.output }}", "no step comes before"),
        ("{% include 'nowhere@1' %}", "nowhere@1 was not found"),
        ("{% include '../../etc/passwd' %}", "names no fragment"),
        ("{% include which %}", "names one fragment"),
        ("{% extends 'nowhere@1' %}", "nowhere@1 was not found"),
        ("{% import 'nowhere@1' as n %}", "nowhere@1 was not found"),
    ] {
        let errors = compile_errors(text);
        assert!(errors[0].message.contains(why), "{text}: {errors:?}");
    }
    let when = "template: {name: t, steps: [{id: a, prompt: p, when: 'x > 1'}]}";
    let errors =
        CompiledTemplate::compile(TemplateDocument::parse(when).unwrap(), &Fragments::new()).unwrap_err();
    assert_eq!(errors[0].pointer, "/template/steps/0/when");
}

#[test]
fn an_optional_include_may_be_missing() {
    assert_eq!(prompt("a{% include 'nowhere@1' ignore missing %}b", &json!({})), "ab");
}

proptest! {
    #[test]
    fn documents_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = TemplateDocument::parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn yaml_like_documents_never_panic(text in "(template:|\\{|\\[|&a |\\*a|- |name: x|steps:|\n|  |'|\"|!!x |<<: |\\||>|#|\\?|:|,|\\}|\\]){0,40}") {
        let _ = TemplateDocument::parse(&text);
    }

    #[test]
    fn templates_never_panic(text in "(\\{\\{|\\}\\}|\\{%|%\\}|\\{#|#\\}|-|for|in|if|endif|endfor|set|macro|include|x|'a@1'| |\\.|\\||\\(|\\)|\\[|\\]|1|\"|~|\n|steps|loop|é|choice|range|\\*){0,40}") {
        let source = json!({"template": {"name": "t", "steps": [{"id": "a", "prompt": text}]}}).to_string();
        if let Ok(document) = TemplateDocument::parse(&source)
            && let Ok(template) = CompiledTemplate::compile(document, &Fragments::new())
        {
            let _ = template.render(0, &SeedRecord::new(0, &json!({"x": [1, "a"]})), &StepOutputs::new(), RECORD);
        }
    }
}
