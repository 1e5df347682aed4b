//! `windrow generate …`, with no server.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Windrow, example};
use crate::provider::Provider;

fn path(name: &str) -> String {
    example(name).display().to_string()
}

#[test]
fn an_estimate_tells_the_price_and_spends_nothing() {
    let provider = Provider::start(Duration::ZERO);
    let windrow = Windrow::new().with_env("OPENAI_API_KEY", "a key of the test");
    let (template, seed) = (path("templates/brainstorm.yaml"), path("seed/topics-10.csv"));
    let estimate = |more: &[&str]| {
        let args =
            ["generate", "estimate", "--template", &template, "--seed", &seed, "--base-url", &provider.url];
        windrow.run(&[&args, more].concat())
    };
    let priced =
        estimate(&["--records", "50", "--model", "openai:gpt-4o-mini", "--budget-usd", "0.0001", "--json"]);
    let priced = priced.ok().json();
    assert_eq!((&priced["records"], &priced["within_budget"]), (&json!(50), &json!(false)), "{priced}");
    let usd = |name: &str| priced["cost_usd"][name].as_str().unwrap().parse::<f64>().unwrap();
    assert!(0.0 < usd("low") && usd("low") <= usd("likely") && usd("likely") <= usd("high"), "{priced}");
    let human = estimate(&["--records", "50", "--model", "offline"]).ok().stdout;
    assert!(human.contains("50 records, from rendering 10 seed records"), "{human}");
    assert!(provider.bill().is_empty());
    assert_eq!(std::fs::read_dir(windrow.dir.path()).unwrap().count(), 0, "it leaves nothing behind");

    estimate(&["--records", "5", "--model", "openai:house"]).refused(2, &["openai:house has no known price"]);
    let unpriced = estimate(&["--records", "5", "--model", "openai:house", "--allow-unpriced"]);
    assert!(
        unpriced.code == 0 && unpriced.stdout.contains("no price is known for openai:house"),
        "{unpriced:?}"
    );
    for (args, code, part) in [
        (&["--records", "0", "--model", "offline"][..], 2, "/spec/records"),
        (&["--records", "many"], 2, "many"),
        (&["--records", "5", "--model", "no-such"], 2, "no-such"),
        (&["--records", "5", "--model", "offline", "--temperature", "9"], 2, "temperature"),
        (&["--records", "5", "--model", "offline", "--format", "xlsx"], 2, "xlsx"),
    ] {
        estimate(args).refused(code, &[part]);
    }
    let absent = ["generate", "estimate", "--template", "t.yaml", "--seed", &seed, "--records", "5"];
    windrow.run(&absent).refused(2, &["t.yaml"]);
    let absent = ["generate", "estimate", "--template", &template, "--seed", "s.csv", "--records", "5"];
    windrow.run(&absent).refused(2, &["s.csv"]);
    let absent = ["generate", "estimate", "--template", &template, "--seed", "sample:none", "--records", "5"];
    windrow.run(&absent).refused(2, &["sample named none", "poems"]);
}

#[test]
fn seed_records_are_made_like_an_example() {
    let windrow = Windrow::new();
    windrow.file("example.json", r#"{"title": "The gate", "mood": "calm", "lines": 4}"#);
    let make = |more: &[&str]| {
        let args =
            ["generate", "seed", "--example", "example.json", "--model", "offline", "--out", "out", "--yes"];
        windrow.run(&[&args, more].concat())
    };
    let args = ["--records", "12", "--instructions", "About harbours.", "--random-seed", "7", "--json"];
    let made = make(&args).ok().json();
    assert_eq!((&made["status"], &made["records"]), (&json!("completed"), &json!(12)), "{made}");
    let files: BTreeSet<&str> =
        made["files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
    assert!(files.contains("seed.jsonl"), "{made}");
    let seeds = std::fs::read_to_string(windrow.path("out/seed.jsonl")).unwrap();
    let seeds: Vec<Value> = seeds.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(seeds.len(), 12);
    for seed in &seeds {
        assert!(seed["title"].is_string() && seed["mood"].is_string() && seed["lines"].is_number(), "{seed}");
    }
    assert_eq!(make(&args).ok().json()["already_finished"], true);
    // what was made is seed data as any other
    windrow.file(
        "t.yaml",
        "template:\n  name: t\n  schema_requirements: [title, mood]\n  steps:\n    - {id: a, model: offline, max_tokens: 20, prompt: '{{ title }} {{ mood }}'}\n",
    );
    let run = [
        "generate",
        "run",
        "--template",
        "t.yaml",
        "--seed",
        "out/seed.jsonl",
        "--records",
        "12",
        "--out",
        "data",
        "--yes",
        "--json",
    ];
    assert_eq!(windrow.run(&run).ok().json()["records"], 12);

    make(&["--records", "13", "--json"]).refused(2, &["other arguments", "--out"]);
    let fresh = |more: &[&str]| {
        let args = ["generate", "seed", "--out", "other", "--yes"];
        windrow.run(&[&args, more].concat())
    };
    windrow.file("list.json", "[1]");
    for (args, part) in [
        (&["--records", "5", "--example", "example.json"][..], "--model"),
        (&["--records", "5", "--example", "absent.json", "--model", "offline"], "absent.json"),
        (&["--records", "5", "--example", "list.json", "--model", "offline"], "is not one JSON object"),
        (&["--records", "5", "--example", "example.json", "--model", "no-such"], "no-such"),
        (&["--example", "example.json", "--model", "offline", "--records", "1001"], "/records"),
    ] {
        fresh(args).refused(2, &[part]);
    }
}

#[test]
fn a_run_that_nobody_can_be_asked_about_is_not_begun() {
    let windrow = Windrow::new();
    let (template, seed) = (path("templates/brainstorm.yaml"), path("seed/topics-10.csv"));
    let args = [
        "generate",
        "run",
        "--template",
        &template,
        "--seed",
        &seed,
        "--records",
        "5",
        "--model",
        "offline",
        "--out",
        "out",
    ];
    windrow.run(&args).refused(2, &["--yes"]);
    assert!(!windrow.path("out/data.jsonl").exists());
}
