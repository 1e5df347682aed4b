//! `windrow job …`

use std::time::Duration;

use serde_json::{Value, json};

use super::{Desk, FREE, text};
use crate::harness::{Ran, Windrow};
use crate::provider::Provider;

const NOBODYS: &str = "0199d0a8-5f6c-7000-8000-000000000001";

/// The spec of a small job that costs nothing, as an argument.
fn spec(desk: &Desk, records: u32) -> String {
    let template =
        desk.template(&FREE.replace("{{ title }}", "{{ poem.title }}").replace("{{ kind }}", "any"));
    json!({ "template": template, "seed": "sample:poems", "records": records, "formats": ["jsonl"] })
        .to_string()
}

fn submit<'a>(spec: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["job", "submit", "--workload", "generate", "--spec", spec], more].concat()
}

#[test]
fn a_job_is_submitted_watched_listed_and_shown() {
    let desk = Desk::new();
    let spec = spec(&desk, 5);
    let watched = desk.run(&submit(&spec, &["--watch"])).ok();
    for part in ["submitted", "started", "ended"] {
        assert!(watched.stderr.contains(part), "the history lacks {part}: {}", watched.stderr);
    }
    assert!(watched.stdout.contains("status    completed"), "{}", watched.stdout);
    assert!(watched.stdout.contains("progress  5/5"), "{}", watched.stdout);
    // for scripts: one document, the job as it ended
    let ended = desk.json(&submit(&spec, &["--watch", "--priority", "high"]));
    assert_eq!((&ended["status"], &ended["priority"]), (&json!("completed"), &json!("high")), "{ended}");
    let id = text(&ended["id"]);
    for command in ["show", "watch"] {
        assert_eq!(desk.json(&["job", command, &id]), ended, "job {command}");
    }
    let human = desk.run(&["job", "show", &id]).ok().stdout;
    assert!(human.contains(&id) && human.contains("tokens"), "{human}");

    // what is submitted for later is listed by its status
    let later = desk.json(&submit(&spec, &["--run-at", "2126-01-01T00:00:00Z"]));
    assert_eq!((&later["status"], &later["reused"]), (&json!("queued"), &json!(false)), "{later}");
    let ids = |args: &[&str]| -> Vec<Value> {
        let page = desk.json(&[&["job", "list"], args].concat());
        page["items"].as_array().unwrap().iter().map(|job| job["id"].clone()).collect()
    };
    assert_eq!(ids(&[]).len(), 3);
    assert_eq!(ids(&["--limit", "1"]), [later["id"].clone()], "the newest comes first");
    assert_eq!(ids(&["--status", "queued"]), [later["id"].clone()]);
    assert_eq!(ids(&["--workload", "generate", "--status", "completed"]).len(), 2);
    assert_eq!(ids(&["--since", "2126-01-01T00:00:00Z"]), [] as [Value; 0]);
    let table = desk.run(&["job", "list"]).ok().stdout;
    assert_eq!(table.lines().count(), 4, "{table}");

    let id = text(&later["id"]);
    assert_eq!(desk.json(&["job", "cancel", &id])["status"], "cancelled");
    desk.run(&["job", "watch", &id]).refused(1, &[]);
    desk.run(&["job", "cancel", &id]).refused(1, &["the job has ended as cancelled"]);
    // a retry is for now, whenever the job was to run first
    let retried = text(&desk.json(&["job", "retry", &id])["status"]);
    assert!(["queued", "running", "completed"].contains(&retried.as_str()), "{retried}");
}

#[test]
fn a_key_makes_one_job_and_a_spec_comes_from_a_file_or_standard_input() {
    let desk = Desk::new();
    let spec = spec(&desk, 2);
    desk.windrow.file("spec.json", &spec);
    let first = desk.json(&submit("spec.json", &["--idempotency-key", "k1"]));
    let again = desk.json(&submit(&spec, &["--idempotency-key", "k1"]));
    assert_eq!((&again["id"], &again["reused"]), (&first["id"], &json!(true)), "{again}");
    let said = desk.run(&submit(&spec, &["--idempotency-key", "k1"])).ok().stdout;
    assert!(said.contains("(already there)"), "{said}");
    let other = spec.replace("\"records\":2", "\"records\":3");
    desk.run(&submit(&other, &["--idempotency-key", "k1"]))
        .refused(1, &["this idempotency key was used for another request"]);

    let args = submit("-", &["--data-dir", "data", "--token", &desk.token, "--json", "--watch"]);
    let mut piped = desk.windrow.command(&args);
    piped.stdin(std::fs::File::open(desk.windrow.path("spec.json")).unwrap());
    let piped = Ran::of(&piped.output().unwrap()).ok().json();
    assert_eq!(piped["status"], "completed", "{piped}");
}

#[test]
fn the_exit_code_tells_how_a_job_ended() {
    let provider = Provider::start(Duration::from_millis(1));
    let windrow = Windrow::new()
        .with_env("OPENAI_BASE_URL", provider.url.as_str())
        .with_env("OPENAI_API_KEY", "a key of the test");
    let desk = Desk::of(windrow);
    let paid = "template:\n  name: paid\n  steps:\n    - {id: a, model: 'openai:gpt-4o-mini', max_tokens: 20, prompt: 'Write about {{ poem.title }}.'}\n";
    let spec = json!({
        "template": desk.template(paid), "seed": "sample:poems", "records": 10, "formats": ["jsonl"],
    })
    .to_string();
    // less than the worst case of one call
    let poor =
        desk.run(&submit(&spec, &["--budget-usd", "0.000001", "--watch", "--json"])).refused(3, &[]).json();
    assert_eq!(poor["status"], "budget_exceeded", "{poor}");
    let id = text(&poor["id"]);
    desk.run(&["job", "watch", &id]).refused(3, &[]);
    desk.run(&["job", "retry", &id, "--budget-usd", "0.0000005"]).refused(1, &["budget"]);
    assert_eq!(desk.json(&["job", "retry", &id, "--budget-usd", "1"])["budget_usd"], "1.00");
    assert_eq!(desk.json(&["job", "watch", &id])["status"], "completed");
    desk.run(&["job", "retry", &id]).refused(1, &["the job is completed", "can be retried"]);

    // every record fails: what the prompt needs is in none of them
    let broken = "template:\n  name: broken\n  schema_requirements: []\n  steps:\n    - {id: a, model: offline, prompt: '{{ nowhere.at.all }}'}\n";
    let spec = json!({
        "template": desk.template(broken), "seed": "sample:poems", "records": 60, "formats": ["jsonl"],
        "on_record_error": "fail",
    })
    .to_string();
    let failed = desk.run(&submit(&spec, &["--watch", "--json"])).refused(1, &[]).json();
    assert_eq!(failed["status"], "failed", "{failed}");
    let id = text(&failed["id"]);
    let shown = desk.run(&["job", "show", &id]).ok().stdout;
    assert!(shown.contains("error     ") && shown.contains("nowhere"), "{shown}");
    // once more and it fails again, however its shard's end and its own next run meet
    for _ in 0..5 {
        desk.run(&["job", "retry", &id]).ok();
        let again = desk.run(&["job", "watch", &id, "--json"]).refused(1, &[]).json();
        assert_eq!(again["status"], "failed", "{again}");
    }
}

#[test]
fn a_wrong_job_command_says_what_is_wrong() {
    let desk = Desk::new();
    let mistakes: &[(&[&str], i32, &[&str])] = &[
        (&["job", "submit", "--workload", "generate", "--spec", "{"], 2, &["the spec is not valid JSON"]),
        (&["job", "submit", "--workload", "generate", "--spec", "no.json"], 2, &["no.json", "No such file"]),
        (
            &["job", "submit", "--workload", "generate", "--spec", "{}", "--priority", "urgent"],
            2,
            &["urgent"],
        ),
        (&["job", "submit", "--workload", "generate", "--spec", "{}", "--run-at", "soon"], 2, &["soon"]),
        (&["job", "submit", "--workload", "generate", "--spec", "{}", "--budget-usd", "-1"], 2, &["-1"]),
        (&["job", "submit", "--workload", "knit", "--spec", "{}"], 1, &["knit", "generate"]),
        (&["job", "submit", "--workload", "generate", "--spec", "{}"], 1, &["/spec/template"]),
        (&["job", "list", "--status", "sleeping"], 2, &["sleeping"]),
        (&["job", "list", "--limit", "0"], 2, &["--limit"]),
        (&["job", "show", NOBODYS], 1, &["job"]),
        (&["job", "watch", NOBODYS], 1, &["job"]),
        (&["job", "cancel", NOBODYS], 1, &["job"]),
        (&["job", "retry", NOBODYS], 1, &["job"]),
        (&["job", "retry", NOBODYS, "--budget-usd", "much"], 2, &["much"]),
    ];
    for (args, code, parts) in mistakes {
        desk.run(args).refused(*code, parts);
    }
    // scripts read the reason, too
    let told = desk.run(&["job", "show", NOBODYS, "--json"]).refused(1, &[]);
    let told: Value = serde_json::from_str(&told.stderr).unwrap();
    assert!(text(&told["error"]).contains("job"), "{told}");
    desk.run_as("wr_wrong", &["job", "list"]).refused(1, &["API key"]);
}
