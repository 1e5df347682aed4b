use super::*;

fn errors(text: &str) -> Vec<FieldError> {
    parse(text).expect_err(text)
}

const STEPS: &str = "  steps:\n    - id: a\n      prompt: p\n";

fn with(head: &str) -> String {
    format!("template:\n  name: t\n{head}{STEPS}")
}

#[test]
fn yaml_and_json_are_the_same_document() {
    let yaml = parse("template:\n  name: t\n  schema_requirements: [a.b, 'c[0]']\n  steps:\n    - id: s\n      prompt: |\n        two\n        lines\n      temperature: 0.5\n").unwrap();
    let json = parse(r#"{"template": {"name": "t", "schema_requirements": ["a.b", "c[0]"], "steps": [{"id": "s", "prompt": "two\nlines\n", "temperature": 0.5}]}}"#).unwrap();
    assert_eq!(yaml, json);
    let again = serde_json::to_string(&serde_json::json!({ "template": yaml })).unwrap();
    assert_eq!(parse(&again).unwrap(), yaml);
}

/// Each document is wrong in one way; the error names the place, its line, and why.
#[test]
fn errors_name_pointer_line_and_reason() {
    let eleven: String = (0..11).map(|i| format!("    - {{id: s{i}, prompt: p}}\n")).collect();
    for (text, pointer, line, why) in [
        (with("  colour: red\n"), "/template/colour", 3, "unknown field"),
        (with("  description: [a]\n"), "/template/description", 3, "string"),
        (with("  schema_requirements: ['a..b']\n"), "/template/schema_requirements/0", 3, "not a path"),
        (with("  schema_requirements: [steps.x]\n"), "/template/schema_requirements/0", 3, "rename"),
        (with("  output: {}\n"), "/template/output", 3, "at least one"),
        (with("  output:\n    index: x\n"), "/template/output/index", 4, "field of every record"),
        (with("  fragment: x\n"), "/template/fragment", 3, "not both"),
        ("template:\n  name: T t\n".to_owned() + STEPS, "/template/name", 2, "lower-case"),
        ("template:\n  name: t\n".to_owned(), "/template/steps", 2, "at least one step"),
        (format!("template:\n  name: t\n  steps:\n{eleven}"), "/template/steps", 4, "at most 10"),
        (with("") + "    - {id: a, prompt: q}\n", "/template/steps/1/id", 6, "unique"),
        (with("") + "    - {id: 1a, prompt: q}\n", "/template/steps/1/id", 6, "lower-case"),
        (with("") + "    - {id: meta, prompt: q}\n", "/template/steps/1/id", 6, "field of every record"),
        (with("") + "    - {id: b}\n", "/template/steps/1", 6, "missing field `prompt`"),
        (with("") + "    - {id: b, prompt: ' '}\n", "/template/steps/1/prompt", 6, "empty"),
        (
            with("") + "    - {id: b, prompt: q, temperature: 3}\n",
            "/template/steps/1/temperature",
            6,
            "0 to 2",
        ),
        (with("") + "    - {id: b, prompt: q, max_tokens: -1}\n", "/template/steps/1/max_tokens", 6, "u32"),
        (
            with("") + "    - {id: b, prompt: q, output: xml}\n",
            "/template/steps/1/output",
            6,
            "unknown variant",
        ),
        (with("") + "    - {id: b, prompt: q, schema: {}}\n", "/template/steps/1/schema", 6, "output: json"),
        (
            with("") + "    - {id: b, prompt: q, output: json, schema: {type: 5}}\n",
            "/template/steps/1/schema",
            6,
            "not a JSON Schema",
        ),
        (
            with("") + "    - {id: b, prompt: q, output: json, schema: {$ref: 'http://127.0.0.1/x'}}\n",
            "/template/steps/1/schema",
            6,
            "not a JSON Schema",
        ),
    ] {
        let errors = errors(&text);
        assert_eq!(errors[0].pointer, pointer, "{text}\n{errors:?}");
        assert!(errors[0].message.starts_with(&format!("line {line}: ")), "{text}\n{errors:?}");
        assert!(errors[0].message.contains(why), "{text}\n{errors:?}");
    }
}

#[test]
fn broken_documents_name_the_line() {
    for (text, why) in [
        ("template:\n  name: [t\n", "line "),
        ("template:\n  name: t\n name: u\n", "line "),
        ("template:\n  name: t\n  name: u\n", "line 3"),
        ("{\"template\": {\n\"name\": }}", "line 2"),
        ("", "mapping"),
        ("- a\n", "mapping"),
        ("name: t\n", "template is missing"),
        ("template: {}\nother: 1\n", "unknown field"),
        ("template: !!python/object x\n", "line 1"),
        ("template:\n  na\0me: t\n", "line 2: a NUL"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
    ] {
        let errors = errors(text);
        assert!(errors[0].message.contains(why), "{text:?}: {errors:?}");
    }
}

#[test]
fn several_problems_are_all_reported() {
    let text = "template:\n  name: ''\n  steps:\n    - {id: A, prompt: ''}\n    - {id: b, prompt: q, temperature: 9}\n";
    let pointers: Vec<String> = errors(text).into_iter().map(|e| e.pointer).collect();
    assert_eq!(
        pointers,
        [
            "/template/name",
            "/template/steps/0/id",
            "/template/steps/0/prompt",
            "/template/steps/1/temperature"
        ]
    );
}

#[test]
fn bombs_are_refused() {
    let mut laughs = String::from("a: &a [x,x,x,x,x,x,x,x,x,x]\n");
    for (name, before) in ["b", "c", "d", "e", "f", "g", "h"].iter().zip(["a", "b", "c", "d", "e", "f", "g"])
    {
        let many = vec![format!("*{before}"); 10].join(",");
        laughs.push_str(&format!("{name}: &{name} [{many}]\n"));
    }
    let long = "x".repeat(40_000);
    let repeated = format!("template:\n  name: &n {long}\n  a: [{}]\n", vec!["*n"; 90].join(", "));
    let deep_json = format!("{{\"template\": {}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    let shallower = format!("{{\"template\": {}1{}}}", "[".repeat(100), "]".repeat(100));
    let deep_yaml = format!("template: {}{}", "[".repeat(20_000), "]".repeat(20_000));
    let deep_block: String = (0..300).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    for text in [laughs, repeated, deep_json, shallower, deep_yaml, deep_block, "a".repeat(50_001)] {
        let errors = errors(&text);
        assert!(errors[0].message.len() < 2_000, "{errors:?}");
    }
}

#[test]
fn limits_are_inclusive() {
    let fill = |n: usize| {
        let head = "template: {name: t, steps: [{id: a, prompt: '";
        let tail = "'}]}";
        format!("{head}{}{tail}", "ü".repeat(n - head.len() - tail.len()))
    };
    assert!(parse(&fill(MAX_CHARS)).is_ok());
    assert!(errors(&fill(MAX_CHARS + 1))[0].message.contains("50001 characters"));
}
