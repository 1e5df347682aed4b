//! `windrow template …`

use serde_json::{Value, json};

use super::{Desk, FREE, SEED, text};
use crate::harness::{Windrow, example};

#[test]
fn templates_are_pushed_listed_shown_and_compared() {
    let desk = Desk::new();
    desk.windrow.file("t.yaml", FREE);
    let pushed = desk.json(&["template", "push", "t.yaml"]);
    assert_eq!((&pushed["name"], &pushed["version"]), (&json!("free"), &json!(1)), "{pushed}");
    assert!(desk.run(&["template", "push", "t.yaml"]).ok().stdout.contains("unchanged: free@1"));
    desk.windrow.file("t.yaml", FREE.replace("Write about", "Sing of"));
    let said = desk.run(&["template", "push", "t.yaml"]).ok();
    assert!(said.stdout.contains("new version of free@2"), "{said:?}");
    assert!(said.stderr.contains("title is used, but not in schema_requirements"), "{said:?}");

    let listed = desk.json(&["template", "list", "--mine"]);
    let names = |listed: &Value| -> Vec<String> {
        listed["items"].as_array().unwrap().iter().map(|head| text(&head["name"])).collect()
    };
    assert_eq!(names(&listed), ["free"], "{listed}");
    assert_eq!(names(&desk.json(&["template", "list", "fre"])), ["free"]);
    assert_eq!(names(&desk.json(&["template", "list", "nothing like it"])), [""; 0]);
    assert_eq!(names(&desk.json(&["template", "list", "--category", "none"])), [""; 0]);
    assert!(desk.run(&["template", "list"]).ok().stdout.contains("free@2"));

    let id = text(&pushed["id"]);
    for (reference, version, word) in [
        ("free", 2, "Sing of"),
        ("free@1", 1, "Write about"),
        (&id, 2, "Sing of"),
        (&format!("{id}@1"), 1, "Write"),
    ] {
        let shown = desk.json(&["template", "show", reference]);
        assert_eq!(shown["version"], version, "{reference}: {shown}");
        assert!(text(&shown["document"]).contains(word), "{reference}: {shown}");
    }
    assert!(desk.run(&["template", "show", "free"]).ok().stdout.contains("models       offline"));
    for args in [&["template", "diff", "free", "1"][..], &["template", "diff", "free", "1", "2"]] {
        let diff = text(&desk.json(args)["diff"]);
        assert!(diff.contains("-") && diff.contains("Sing of"), "{diff}");
        assert_eq!(desk.run(args).ok().stdout, diff);
    }
    for (args, code, part) in [
        (&["template", "show", "freedom"][..], 1, "there is no template freedom"),
        (&["template", "show", "free@9"], 1, "version"),
        (&["template", "show", "free@first"], 2, "first"),
        (&["template", "diff", "free", "1", "9"], 1, "version"),
        (&["template", "diff", "free", "one"], 2, "one"),
    ] {
        desk.run(args).refused(code, &[part]);
    }
}

#[test]
fn a_template_leaves_and_comes_back_as_a_file() {
    let desk = Desk::new();
    desk.windrow.file("t.yaml", FREE);
    desk.run(&["template", "push", "t.yaml"]).ok();
    let printed = desk.run(&["template", "export", "free"]).ok().stdout;
    let to_file = desk.json(&["template", "export", "free@1", "--out", "exported.yaml"]);
    assert_eq!(to_file, json!({ "file": "exported.yaml" }));
    assert_eq!(std::fs::read_to_string(desk.windrow.path("exported.yaml")).unwrap(), printed);
    assert_eq!(desk.json(&["template", "export", "free"]), json!({ "document": printed }));

    desk.run(&["template", "import", "exported.yaml"]).refused(1, &["free", "choose another name"]);
    let copy = desk.json(&["template", "import", "exported.yaml", "--name", "free-again"]);
    assert_eq!((&copy["name"], &copy["version"]), (&json!("free-again"), &json!(1)), "{copy}");
    let eve = desk.windrow.token("eve", "contributor");
    desk.run_as(&eve, &["template", "show", "free"]).refused(1, &["there is no template free"]);
    let theirs = desk.run_as(&eve, &["template", "import", "exported.yaml", "--json"]).ok().json();
    assert_eq!(theirs["name"], "free", "{theirs}");

    desk.windrow.file("broken.yaml", "template:\n  name: [\n");
    desk.windrow.file("empty.yaml", "template:\n  name: e\n  steps: []\n");
    for args in [&["template", "push"][..], &["template", "import"]] {
        for (file, part) in [("absent.yaml", "absent.yaml"), ("broken.yaml", "line"), ("empty.yaml", "steps")]
        {
            desk.run(&[args, &[file]].concat()).refused(2, &[part]);
        }
    }
    desk.run(&["template", "export", "free", "--out", "no/such/folder.yaml"])
        .refused(1, &["no/such/folder.yaml"]);
}

#[test]
fn a_preview_needs_no_server() {
    let windrow = Windrow::new();
    windrow.file("seed.jsonl", SEED);
    windrow.file("t.yaml", FREE);
    let preview = |more: &[&str]| {
        windrow.run(&[&["template", "preview", "t.yaml", "--seed", "seed.jsonl"], more].concat())
    };
    let shown = preview(&["--limit", "1", "--json"]).ok().json();
    assert_eq!(shown.as_array().unwrap().len(), 1, "{shown}");
    assert_eq!(shown[0]["steps"][0]["prompt"], "Write about rivers.", "{shown}");
    let answered = preview(&["--mode", "offline", "--json"]).ok().json();
    assert_eq!(answered.as_array().unwrap().len(), 2, "{answered}");
    assert!(
        answered[1]["steps"][0]["answer"].as_str().is_some_and(|answer| !answer.is_empty()),
        "{answered}"
    );
    assert!(preview(&[]).ok().stdout.contains("=== record 1 ==="));
    // fragments beside the template are found by themselves
    let newsletter = example("templates/newsletter.yaml").display().to_string();
    let topics = example("seed/topics-10.csv").display().to_string();
    windrow.run(&["template", "preview", &newsletter, "--seed", &topics, "--limit", "3"]).ok();

    windrow.file("missing.yaml", FREE.replace("Write about", "{% include ''nobody@1'' %}"));
    windrow.file("bad.jsonl", "{\"title\": }\n");
    for (args, part) in [
        (&["template", "preview", "missing.yaml", "--seed", "seed.jsonl"][..], "nobody@1"),
        (&["template", "preview", "t.yaml", "--seed", "bad.jsonl"], "bad.jsonl"),
        (&["template", "preview", "t.yaml", "--seed", "seed.jsonl", "--limit", "21"], "21"),
        (&["template", "preview", "t.yaml", "--seed", "seed.jsonl", "--mode", "dear"], "dear"),
        (&["template", "preview", "t.yaml"], "--seed"),
    ] {
        windrow.run(args).refused(2, &[part]);
    }
    // what can't be rendered is shown with its reason
    windrow.file("other.jsonl", "{\"name\": \"x\"}\n");
    let failed = windrow.run(&["template", "preview", "t.yaml", "--seed", "other.jsonl"]);
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.stdout.contains("would be rejected") && failed.stdout.contains("title"), "{failed:?}");
}
