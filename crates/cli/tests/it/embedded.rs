//! Commands that start an installation of their own, on a machine that is set up for a team's: they touch nothing of that.

use std::path::Path;

use serde_json::Value;

use crate::harness::{Ran, Windrow, example};

/// A server that nobody serves: whoever asks for it fails.
const DATABASE: &str = "postgres://windrow:pw@127.0.0.1:9/windrow";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A team's installation, in the settings file of the working directory.
fn by_file() -> Windrow {
    let windrow = Windrow::new();
    let text = format!(
        "app_env = \"prod\"\n\
         [server]\npublic_url = \"http://127.0.0.1:9\"\nsecret_key = \"{SECRET}\"\n\
         [database]\nurl = \"{DATABASE}\"\nlisten_url = \"{DATABASE}\"\n\
         [storage]\ndir = \"teams-objects\"\n\
         [auth]\nmode = \"jwks\"\nissuer = \"http://127.0.0.1:9\"\nclient_id = [\"windrow\"]\n\
         [limits]\napproval_above_usd = \"0\"\n\
         [worker]\nworkloads = [\"resume\"]\nprocesses = 1\n\
         [client]\nserver = \"http://127.0.0.1:9\"\n"
    );
    windrow.file("windrow.toml", text);
    // the harness says `local`; a value that is empty is none
    windrow.with_env("APP_ENV", "")
}

/// The same in the environment.
fn by_environment() -> Windrow {
    let settings = [
        ("APP_ENV", "prod"),
        ("WINDROW_PUBLIC_URL", "http://127.0.0.1:9"),
        ("WINDROW_SECRET_KEY", SECRET),
        ("DATABASE_URL", DATABASE),
        ("DATABASE_LISTEN_URL", DATABASE),
        ("WINDROW_STORAGE_DIR", "teams-objects"),
        ("WINDROW_DATA_DIR", "teams-data"),
        ("WINDROW_AUTH", "jwks"),
        ("WINDROW_AUTH_ISSUER", "http://127.0.0.1:9"),
        ("WINDROW_AUTH_CLIENT_ID", "windrow"),
        ("WINDROW_APPROVAL_ABOVE_USD", "0"),
        ("WINDROW_WORKER_WORKLOADS", "resume"),
        ("WINDROW_SERVER", "http://127.0.0.1:9"),
    ];
    settings.into_iter().fold(Windrow::new(), |windrow, (name, value)| windrow.with_env(name, value))
}

#[track_caller]
fn assert_untouched(windrow: &Windrow) {
    for name in ["teams-objects", "teams-data", "windrow-data"] {
        assert!(!windrow.path(name).exists(), "{name} was made");
    }
}

fn generate(windrow: &Windrow, command: &str, more: &[&str]) -> Ran {
    let template = example("templates/brainstorm.yaml").display().to_string();
    let seed = example("seed/topics-10.csv").display().to_string();
    let args = ["generate", command, "--template", &template, "--seed", &seed, "--records", "20"];
    let args = [&args[..], &["--model", "offline", "--budget-usd", "1", "--json"], more].concat();
    windrow.run(&args)
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap().lines().count()
}

#[test]
fn the_settings_are_a_teams() {
    for windrow in [by_file(), by_environment()] {
        let check = windrow.run(&["config", "check", "--json"]).ok().json();
        let settings = check["settings"].as_array().unwrap();
        let database = settings.iter().find(|row| row["name"] == "DATABASE_URL").unwrap();
        assert_ne!(database["source"], "not set", "{check}");
        windrow.run(&["db", "status"]).refused(4, &["127.0.0.1"]);
    }
}

#[test]
fn generate_works_on_its_own_directory_whatever_the_settings_are_for() {
    for windrow in [by_file(), by_environment()] {
        let estimate = generate(&windrow, "estimate", &[]).ok().json();
        assert_eq!(estimate["records"], 20, "{estimate}");
        let ended = generate(&windrow, "run", &["--out", "out", "--yes"]).ok().json();
        assert_eq!((&ended["status"], &ended["records"]), (&"completed".into(), &20.into()), "{ended}");
        assert_eq!(lines(&windrow.path("out/data.jsonl")), 20);
        assert!(windrow.path("out/.windrow/windrow.db").is_file());
        windrow.file("example.json", "{\"topic\": \"rivers\"}");
        let seed = ["generate", "seed", "--example", "example.json", "--model", "offline", "--records", "3"];
        windrow.run(&[&seed[..], &["--out", "seeds", "--yes", "--json"]].concat()).ok();
        assert_untouched(&windrow);
    }
}

#[test]
fn generate_heeds_what_the_settings_say_about_models() {
    let windrow = by_file();
    let text = std::fs::read_to_string(windrow.path("windrow.toml")).unwrap();
    let models = "[models.providers.ours]\nbase_url = \"http://127.0.0.1:9/v1\"\n\
                  input_usd_per_million = \"1000000\"\noutput_usd_per_million = \"1\"\n";
    windrow.file("team.toml", format!("{text}{models}"));
    std::fs::remove_file(windrow.path("windrow.toml")).unwrap();
    let windrow = windrow.with_env("WINDROW_CONFIG", "team.toml");
    let template = "template:\n  name: t\n  steps: [{id: a, model: 'ours:small', max_tokens: 9, prompt: '{{ topic }}'}]\n";
    windrow.file("t.yaml", template);
    let seed = example("seed/topics-10.csv").display().to_string();
    let args = ["generate", "estimate", "--template", "t.yaml", "--seed", &seed, "--records", "20", "--json"];
    let estimate = windrow.run(&args).ok().json();
    let likely: f64 = estimate["cost_usd"]["likely"].as_str().unwrap().parse().unwrap();
    assert!(likely >= 20.0, "a dollar a token: {estimate}");
}

#[test]
fn settings_that_are_wrong_hinder_no_command_that_has_nothing_to_do_with_them() {
    // deployed, and nothing else of it said
    let windrow = Windrow::new().with_env("APP_ENV", "prod");
    windrow.run(&["job", "list"]).refused(2, &["DATABASE_URL"]);
    let ended = generate(&windrow, "run", &["--out", "out", "--yes"]).ok().json();
    assert_eq!(ended["records"], 20, "{ended}");
    // but what it would heed must be right
    let windrow = windrow.with_env("WINDROW_LAPSE", "soon");
    generate(&windrow, "run", &["--out", "other", "--yes"]).refused(2, &["WINDROW_LAPSE"]);
}

#[test]
fn the_demo_is_alone_whatever_the_settings_are_for_and_needs_no_other_program() {
    for windrow in [by_file(), by_environment()] {
        let windrow = windrow.with_env("PATH", "");
        let told: Value = windrow.run(&["demo", "--records", "60", "--json"]).ok().json();
        assert_eq!(told["job"]["records"], 60, "{told}");
        assert!(windrow.path("windrow-demo/windrow.db").is_file());
        assert_untouched(&windrow);
    }
}
