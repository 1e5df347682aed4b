//! `windrow db …` and `windrow config check`, on both databases.

use serde_json::{Value, json};
use windrow_store::{Db, DbOptions};
use windrow_test_support::TestDb;

use super::text;
use crate::harness::Windrow;

/// The life of a schema by command: made, taken back, made anew.
fn up_and_down(windrow: &Windrow) {
    let db = |args: &[&str]| windrow.run(&[&["db"], args, &["--json"]].concat());
    let fresh = db(&["status"]).refused(1, &[]).json();
    let all = fresh["migrations"].as_array().unwrap().len();
    assert!(all >= 2, "{fresh}");
    assert_eq!(fresh["pending"], json!(all), "{fresh}");
    let applied = db(&["migrate"]).ok().json();
    assert_eq!((&applied["verb"], applied["migrations"].as_array().unwrap().len()), (&json!("applied"), all));
    assert_eq!(db(&["migrate"]).ok().json()["migrations"], json!([]), "a second time there is nothing to do");
    let status = db(&["status"]).ok().json();
    assert_eq!(status["pending"], 0, "{status}");
    assert!(status["migrations"].as_array().unwrap().iter().all(|row| row["state"] == "applied"), "{status}");

    let newest = applied["migrations"].as_array().unwrap().last().unwrap();
    let back = db(&["rollback"]).ok().json();
    assert_eq!((&back["verb"], &back["migrations"]), (&json!("taken back"), &json!([newest])), "{back}");
    assert_eq!(db(&["status"]).refused(1, &[]).json()["pending"], 1);
    db(&["rollback", "--steps", "100"]).ok();
    assert_eq!(db(&["status"]).refused(1, &[]).json()["pending"], json!(all));
    db(&["rollback", "--steps", "0"]).refused(2, &["--steps"]);

    db(&["reset"]).refused(2, &["all data would be lost", "--yes"]);
    let anew = db(&["reset", "--yes"]).ok().json();
    assert_eq!((&anew["verb"], &anew["migrations"]), (&json!("applied anew"), &applied["migrations"]));
    let human = windrow.run(&["db", "status"]).ok().stdout;
    assert!(human.ends_with("0 pending\n"), "{human}");
}

#[test]
fn an_embedded_schema_goes_up_and_down() {
    let windrow = Windrow::new().with_env("WINDROW_DATA_DIR", "data");
    up_and_down(&windrow);
    // a reset loses all data, and the server finds an empty installation
    windrow.run(&["user", "grant", "root", "--role", "admin", "--reason", "first"]).ok();
    windrow.run(&["db", "reset", "--yes"]).ok();
    let server = windrow.up();
    let token = windrow.token("someone", "admin");
    let users = windrow.run(&["user", "list", "--token", &token, "--json"]).ok().json();
    let subs: Vec<&Value> = users["items"].as_array().unwrap().iter().map(|user| &user["sub"]).collect();
    assert_eq!(subs, [&json!("someone")]);
    // whoever has the directory is named, with what to do
    let pid = server.pid().to_string();
    for args in [&["db", "status"][..], &["db", "reset", "--yes"]] {
        windrow.run(args).refused(1, &["in use by process", &pid]);
    }
    assert_eq!(users, windrow.run(&["user", "list", "--token", &token, "--json"]).ok().json());
}

#[test]
fn rows_that_contradict_each_other_are_shown_and_are_exit_code_1() {
    let windrow = Windrow::new().with_env("WINDROW_DATA_DIR", "data");
    windrow.run(&["db", "check"]).refused(1, &["windrow db migrate"]);
    windrow.run(&["db", "migrate"]).ok();
    assert_eq!(windrow.run(&["db", "check", "--json"]).ok().json(), json!({ "rows": 0, "findings": [] }));
    let url = format!("sqlite:{}", windrow.path("data/windrow.db").display());
    let stray = async {
        let db = Db::connect(&url, DbOptions::default()).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        tx.raw("INSERT INTO results (job_seq, run, schema_version, output) VALUES (999, 1, 1, '{}')")
            .await
            .unwrap();
        tx.commit().await.unwrap();
        db.close().await;
    };
    tokio::runtime::Runtime::new().unwrap().block_on(stray);
    let found = windrow.run(&["db", "check"]).refused(1, &[]).stdout;
    assert!(found.contains("results.job_seq  999  there is no such row in jobs"), "{found}");
    assert!(found.ends_with("1 findings in 1 rows\n"), "{found}");
    let found = windrow.run(&["db", "check", "--json"]).refused(1, &[]).json();
    assert_eq!(found["findings"][0]["id"], "999");
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_on_postgresql_refuse_what_is_pending_and_say_how_to_mend_it() {
    let db = TestDb::postgres().await;
    let url = db.url().to_owned();
    tokio::task::spawn_blocking(move || {
        let windrow = Windrow::new().with_env("DATABASE_URL", url).with_env("WINDROW_DATA_DIR", "data");
        let starts: &[&[&str]] = &[
            &["api", "--port", "0"],
            &["worker"],
            &["token", "create", "--sub", "ada"],
            &["user", "grant", "ada", "--role", "admin", "--reason", "first"],
        ];
        let refuse = |what: &str| {
            for args in starts {
                let ran = windrow.run(args);
                assert_eq!(ran.code, 1, "{what}: {args:?}: {ran:?}");
                assert!(ran.stderr.contains("windrow db migrate"), "{what}: {args:?}: {ran:?}");
            }
        };
        refuse("an empty schema");
        up_and_down(&windrow);
        windrow.run(&["db", "rollback"]).ok();
        refuse("one pending");
        // `up` brings it up to date by itself
        let server = windrow.start(&["up", "--port", "0", "--json"]);
        assert_eq!(windrow.run(&["db", "status", "--json"]).ok().json()["pending"], 0);
        let token = windrow.run(&["token", "create", "--sub", "ada", "--role", "contributor"]).ok().stdout;
        server.api(token.trim()).get("/v1/me").expect(200);
    })
    .await
    .unwrap();
}

#[test]
fn a_new_migration_has_four_files() {
    let windrow = Windrow::new();
    let create = |name: &str| windrow.run(&["db", "create", name, "--dir", "migrations", "--json"]);
    let files = create("add_labels").ok().json();
    let names: Vec<String> = files.as_array().unwrap().iter().map(text).collect();
    assert_eq!(
        names,
        [
            "migrations/sqlite/0001_add_labels.up.sql",
            "migrations/sqlite/0001_add_labels.down.sql",
            "migrations/postgres/0001_add_labels.up.sql",
            "migrations/postgres/0001_add_labels.down.sql",
        ]
    );
    assert!(names.iter().all(|name| windrow.path(name).exists()));
    create("Add labels").refused(2, &["snake_case"]);
    assert!(!windrow.path("windrow-data").exists(), "it needs no database");
}

#[test]
fn a_database_that_is_not_there_is_said_without_its_password() {
    let windrow = Windrow::new()
        .with_env("DATABASE_URL", "postgres://windrow:hush@127.0.0.1:9/windrow")
        .with_env("WINDROW_DATABASE_ACQUIRE_TIMEOUT", "1s");
    for args in [&["db", "status"][..], &["up", "--port", "0"], &["api", "--port", "0"], &["worker"]] {
        let ran = windrow.run(args);
        assert_eq!(ran.code, 4, "{args:?}: {ran:?}");
        assert!(ran.stderr.contains("127.0.0.1:9"), "{args:?}: {ran:?}");
        assert!(!ran.stderr.contains("hush"), "{args:?}: {ran:?}");
    }
}

#[test]
fn the_configuration_is_shown_with_its_sources_and_without_its_secrets() {
    let secret = "0123456789abcdef0123456789abcdef";
    let windrow = Windrow::new().with_env("WINDROW_SECRET_KEY", secret).with_env("WINDROW_LOG_KEEP", "1MiB");
    windrow.file("windrow.toml", "[worker]\nconcurrency = 3\n");
    let check = |args: &[&str]| windrow.run(&[&["config", "check"], args].concat());
    let ran = check(&["--json", "--data-dir", "elsewhere"]).ok();
    assert!(!ran.stdout.contains(secret), "{}", ran.stdout);
    let report = ran.json();
    assert_eq!(report["problems"], json!([]), "{report}");
    let of = |name: &str| {
        let rows = report["settings"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name}: {report}")).clone()
    };
    for (name, value) in
        [("WINDROW_WORKER_CONCURRENCY", "3"), ("WINDROW_DATA_DIR", "elsewhere"), ("PORT", "8080")]
    {
        assert_eq!(of(name)["value"], value, "{name}");
    }
    let sources: Vec<String> =
        ["WINDROW_SECRET_KEY", "WINDROW_WORKER_CONCURRENCY", "WINDROW_DATA_DIR", "PORT"]
            .iter()
            .map(|name| text(&of(name)["source"]))
            .collect();
    assert_eq!(sources.iter().collect::<std::collections::BTreeSet<_>>().len(), 4, "{sources:?}");
    let table = check(&[]).ok().stdout;
    assert!(table.contains("everything that must be set is set"), "{table}");

    let wrong = Windrow::new().with_env("PORT", "many");
    let report = wrong.run(&["config", "check", "--json"]).refused(1, &[]).json();
    assert!(report["problems"][0].as_str().unwrap().contains("PORT"), "{report}");
    // in production there is more that must be set
    let prod = Windrow::new().with_env("APP_ENV", "prod");
    let missing = prod.run(&["config", "check"]);
    assert_eq!(missing.code, 1, "{missing:?}");
    assert!(missing.stdout.contains("MISSING"), "{}", missing.stdout);
    windrow.file("windrow.toml", "[worker\n");
    let broken = check(&[]);
    assert_eq!(broken.code, 1, "{broken:?}");
    assert!(broken.stdout.contains("windrow.toml"), "{broken:?}");
    check(&["--config", "absent.toml"]).refused(1, &[]);
}
