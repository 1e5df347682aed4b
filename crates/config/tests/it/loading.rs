use std::path::Path;
use std::time::Duration;

use windrow_config::{
    AppEnv, AuthMode, Config, DatabaseTarget, Input, LogFormat, Secret, check, parse_env_file,
};
use windrow_core::RetryPolicy;

fn load(env: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    load_input(&Input::from_env(env.iter().copied()))
}

fn load_input(input: &Input) -> Result<Config, Vec<String>> {
    Config::load(input).map_err(|error| error.0.iter().map(ToString::to_string).collect())
}

fn load_toml(text: &str, env: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("windrow.toml");
    std::fs::write(&file, text).unwrap();
    load_input(&Input::from_env(env.iter().copied()).with_file(file))
}

/// The environment of a deployed installation, to which a test adds.
const DEPLOYED: [(&str, &str); 6] = [
    ("APP_ENV", "prod"),
    ("WINDROW_PUBLIC_URL", "https://windrow.example.com"),
    ("WINDROW_SECRET_KEY", "0123456789abcdef0123456789abcdef"),
    ("DATABASE_URL", "postgres://windrow:pw@db/windrow"),
    ("WINDROW_AUTH_ISSUER", "https://login.example.com"),
    ("WINDROW_AUTH_AUDIENCE", "windrow"),
];

#[test]
fn the_defaults_are_the_platforms() {
    let config = load(&[]).unwrap();
    assert_eq!(config.app_env, AppEnv::Local);
    assert_eq!(config.retry.policy(), RetryPolicy::default());
    let worker = &config.worker;
    assert_eq!((worker.beat, worker.lapse), (Duration::from_secs(2), Duration::from_secs(7)));
    assert_eq!((worker.grace, worker.remote_lapse), (Duration::from_secs(100), Duration::from_secs(30)));
    assert_eq!(config.limits.upload_max, 100 << 20);
    assert_eq!(config.retention.artifacts, Duration::from_secs(90 * 86_400));
    assert_eq!(config.auth.mode, AuthMode::Local);
    assert_eq!(config.log_format(), LogFormat::Pretty);
    assert_eq!(config.public_url(8081).as_str(), "http://127.0.0.1:8081/");
    assert_eq!(config.storage_dir(), Path::new("windrow-data/objects"));
    assert_eq!(config.database(), DatabaseTarget::Sqlite { path: "windrow-data/windrow.db".into() });
}

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("windrow.toml");
    std::fs::write(&file, "[server]\nport = 1\nmax_body = \"2MiB\"\n[worker]\nbeat = \"1s\"\n").unwrap();
    let input =
        Input::from_env([("PORT", "2"), ("WINDROW_BEAT", "500ms")]).with_file(&file).with_flag("PORT", "3");
    let config = load_input(&input).unwrap();
    assert_eq!((config.server.port, config.server.max_body), (3, 2 << 20));
    assert_eq!(config.worker.beat, Duration::from_millis(500));

    let rows = check(&input).rows;
    let row = |name: &str| rows.iter().find(|row| row.name == name).unwrap();
    assert_eq!((row("PORT").source.as_str(), row("PORT").value.as_deref()), ("command line", Some("3")));
    assert_eq!(row("WINDROW_BEAT").source, "environment");
    assert_eq!(row("WINDROW_MAX_BODY").source, file.display().to_string());
    assert_eq!(
        (row("WINDROW_GRACE").source.as_str(), row("WINDROW_GRACE").value.as_deref()),
        ("default", Some("100s"))
    );
    assert_eq!(
        (row("WINDROW_PRICES_FILE").source.as_str(), &row("WINDROW_PRICES_FILE").value),
        ("not set", &None)
    );

    // The file may also be named by the environment.
    let named = Input::from_env([("WINDROW_CONFIG", file.display().to_string())]);
    let config = load_input(&named).unwrap();
    assert_eq!((config.server.port, config.config_file), (1, Some(file)));
}

#[test]
fn the_names_of_others_are_accepted_as_they_are() {
    let config = load(&[
        ("NODE_ENV", "development"),
        ("COGNITO_USER_POOL_ID", "eu-west-1_AbC"),
        ("COGNITO_CLIENT_ID", "one, two"),
        ("COGNITO_AUDIENCE", "aud"),
        ("QUEUE_ADAPTER_MODE", "sqlite"),
        ("STORAGE_ADAPTER_MODE", "local_disk"),
        ("S3_ENDPOINT_OVERRIDE", "http://localhost:9000"),
        ("AUTH_JWT_VERIFICATION_MODE", "jwks"),
        ("AUTH_JWKS_CACHE_TTL_SEC", "300"),
        ("SQS_MAX_ATTEMPTS", "3"),
        ("SQS_RETRY_BASE_MS", "250"),
        ("DEFAULT_STANDARD_MODEL_VERSION", "7"),
        ("DEFAULT_NIJI_MODEL_VERSION", "6"),
        ("DEFAULT_OWNER_USER_ID", "u-1"),
        ("DATABASE_URL", "postgresql://u:p@h:5433/d?schema=app&sslmode=require"),
    ])
    .unwrap();
    assert_eq!(config.app_env, AppEnv::Local);
    assert_eq!(config.issuer().as_deref(), Some("https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbC"));
    assert_eq!(
        config.jwks_url().unwrap().as_str(),
        "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbC/.well-known/jwks.json"
    );
    assert_eq!(config.auth.client_id, ["one", "two"]);
    assert_eq!(config.auth.jwks_cache, Duration::from_secs(300));
    assert_eq!((config.retry.max_attempts, config.retry.base), (3, Duration::from_millis(250)));
    assert_eq!(config.auth.default_owner.as_deref(), Some("u-1"));
    assert_eq!(config.workload("style").settings["default_niji_model_version"], "6");
    let url = Secret::new("postgresql://u:p@h:5433/d?sslmode=require");
    let expected = DatabaseTarget::Postgres { url: url.clone(), schema: Some("app".into()), listen_url: url };
    assert_eq!(config.database(), expected);

    // COGNITO_ISSUER says it outright, letter by letter.
    let config = load(&[("COGNITO_ISSUER", "https://login.example.com")]).unwrap();
    assert_eq!(config.issuer().as_deref(), Some("https://login.example.com"));
}

#[test]
fn a_name_and_its_other_name_may_agree_and_may_not_differ() {
    load(&[("WINDROW_AUTH_JWKS_CACHE", "5m"), ("AUTH_JWKS_CACHE_TTL_SEC", "300")]).unwrap();
    load(&[("APP_ENV", "local"), ("NODE_ENV", "test")]).unwrap();
    let problems = load(&[("APP_ENV", "local"), ("NODE_ENV", "production")]).unwrap_err();
    assert_eq!(
        problems,
        ["APP_ENV: NODE_ENV is another name for it and has another value; keep one of the two"]
    );
    // A unit where a bare number belongs is not multiplied into another.
    let problems = load(&[("AUTH_JWKS_CACHE_TTL_SEC", "ten")]).unwrap_err();
    assert!(problems[0].starts_with("WINDROW_AUTH_JWKS_CACHE: \"ten\""), "{problems:?}");
}

#[test]
fn what_stands_in_a_broken_line_is_not_repeated() {
    let broken = [
        "[models.providers.openai]\napi_key = \"sk-verysecret\n",
        "[models.providers.openai]\napi_key = sk-verysecret\n",
        "[models.providers.openai]\napi_key = \"a\" sk-verysecret\n",
        "[models.providers.openai]\napi_key = 'sk-verysecret\\u{7}",
        "[models.providers.openai]\napi_key = \"sk-verysecret\\q\"\n",
    ];
    for text in broken {
        let problems = load_toml(text, &[]).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(!problems[0].contains("verysecret"), "{text}: {problems:?}");
        assert!(problems[0].contains("(line 2, column "), "{problems:?}");
    }
    for text in ["OPENAI_API_KEY=\"sk-\"verysecret", "MIIverysecret/=", "OPENAI_API_KEY='sk-verysecret"] {
        let problems = parse_env_file(text).unwrap_err();
        assert!(problems.iter().all(|p| !p.to_string().contains("verysecret")), "{problems:?}");
    }
}

#[test]
fn all_problems_come_at_once_and_name_the_nearest() {
    let problems = load_toml(
        "[sevrer]\nport = 1\n[worker]\nbaet = 1\nconcurrency = 0\n[models]\nallow_unpriced = \"maybe\"\n",
        &[
            ("PORT", "99999"),
            ("WINDROW_BEET", "1s"),
            ("WINDROW_LOG_FORMAT", "xml"),
            ("WINDROW_LAPSE", "5s"),
            ("WINDROW_LOG_KEEP", "255KiB"),
            ("WINDROW_MODEL_TIMEOUT", "0s"),
        ],
    )
    .unwrap_err();
    for expected in [
        "WINDROW_BEET: there is no such setting; did you mean WINDROW_BEAT?",
        "did you mean server?",
        "did you mean beat?",
        "PORT: \"99999\"",
        "WINDROW_WORKER_CONCURRENCY: \"0\"",
        "WINDROW_ALLOW_UNPRICED: \"maybe\"",
        "it is one of pretty | json (from environment)",
        "WINDROW_LAPSE: it must be at least three times WINDROW_BEAT",
        "WINDROW_LOG_KEEP: it must be at least 256KiB, or 0 to keep none",
        "WINDROW_MODEL_TIMEOUT: it must be longer than zero",
    ] {
        assert!(problems.iter().any(|p| p.contains(expected)), "{expected}: {problems:#?}");
    }
    assert_eq!(problems.len(), 10, "{problems:#?}");
}

#[test]
fn what_tests_are_told_is_no_setting() {
    load(&[("WINDROW_TEST_PYTHON", "/usr/bin/python3")]).unwrap();
    load(&[("WINDROW_TESTS", "1")]).unwrap_err();
}

#[test]
fn what_a_deployment_needs_is_asked_for() {
    let problems = load(&[("APP_ENV", "prod"), ("WINDROW_AUTH", "jwks")]).unwrap_err();
    for name in [
        "WINDROW_PUBLIC_URL",
        "WINDROW_SECRET_KEY",
        "DATABASE_URL",
        "WINDROW_AUTH_ISSUER",
        "WINDROW_AUTH_AUDIENCE",
    ] {
        assert!(
            problems.iter().any(|p| p.starts_with(&format!("{name}: it must be set"))),
            "{name}: {problems:#?}"
        );
    }
    assert_eq!(problems.len(), 5);
    let report = check(&Input::from_env([("APP_ENV", "prod")]));
    let missing: Vec<_> = report.rows.iter().filter(|row| row.missing).map(|row| row.name.as_str()).collect();
    assert_eq!(missing, ["WINDROW_PUBLIC_URL", "WINDROW_SECRET_KEY", "DATABASE_URL"]);

    let config = load(&DEPLOYED).unwrap();
    assert_eq!(config.log_format(), LogFormat::Json);
    assert_eq!(config.public_url(1).as_str(), "https://windrow.example.com/");
}

#[test]
fn what_skips_a_check_is_for_local_only() {
    for extra in [("WINDROW_AUTH", "insecure"), ("WINDROW_DEFAULT_OWNER", "me")] {
        load(&[extra]).unwrap();
        let env: Vec<_> = DEPLOYED.into_iter().chain([extra]).collect();
        let problems = load(&env).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("APP_ENV=local only"), "{problems:?}");
    }
}

#[test]
fn secrets_are_never_shown() {
    let secret = "very-secret-value-0123456789abcdef";
    let env: Vec<_> =
        DEPLOYED.into_iter().map(|(k, v)| (k, if k == "WINDROW_SECRET_KEY" { secret } else { v })).collect();
    let report = check(&Input::from_env(env.clone()));
    assert!(!format!("{report:?}").contains(secret));
    let row = report.rows.iter().find(|row| row.name == "WINDROW_SECRET_KEY").unwrap();
    assert_eq!(row.value.as_deref(), Some("(hidden)"));
    assert!(!format!("{:?}", load(&env).unwrap()).contains(secret));
    // Not even a malformed one.
    let problems = load(&[("DATABASE_URL", "mysql://root:hunter2@db")]).unwrap_err();
    assert!(problems[0].starts_with("DATABASE_URL: its value (hidden)"), "{problems:?}");
    assert!(!problems[0].contains("hunter2"));
}

#[test]
fn models_and_workloads_have_sections_under_names_of_their_own() {
    let config = load_toml(
        r#"
        [models]
        aliases.cheap = "mine:smol"
        default_budget_usd = 2.5
        [models.providers.mine]
        base_url = "http://127.0.0.1:9/v1"
        [models.limits."openai:gpt-4.1"]
        requests_per_minute = 60
        [models.prices."mine:smol"]
        input_usd_per_million = "0.30"
        output_usd_per_million = "0.60"
        [workloads.translate]
        spec_schema = "translate.schema.json"
        run_deadline = "1h"
        settings.tone = "formal"
        "#,
        &[("OPENAI_API_KEY", "sk-x")],
    )
    .unwrap();
    assert_eq!(config.models.aliases.cheap, "mine:smol");
    assert_eq!(config.models.default_budget_usd, Some("2.5".parse().unwrap()));
    assert!(config.models.providers.contains_key("mine"));
    assert_eq!(config.models.providers["openai"].api_key, Some(Secret::new("sk-x")));
    assert_eq!(config.models.limits["openai:gpt-4.1"].requests_per_minute, Some(60));
    assert_eq!(config.models.prices["mine:smol"].input_usd_per_million, "0.3".parse().unwrap());
    let workload = config.workload("translate");
    assert_eq!(workload.spec_schema, Some("translate.schema.json".to_owned()));
    assert_eq!(
        (workload.run_deadline, workload.settings["tone"].as_str()),
        (Some(Duration::from_secs(3600)), "formal")
    );
}

#[test]
fn broken_sections_say_where() {
    for (text, expected) in [
        ("port = ", "it is no valid TOML"),
        ("server = 1", "expected a section, [server]"),
        ("[models.providers]\nmine = 1", "expected a section, [models.providers.mine]"),
        ("[models.providers.mine]\nurl = \"x\"", "models.providers.mine.url: in "),
        ("[models.limits.\"a.b\"]\nrpm = 1", "models.limits.\"a.b\".rpm: in "),
        (
            "[models.prices.m]\ninput_usd_per_million = 1",
            "models.prices.m: missing field `output_usd_per_million`",
        ),
        ("[server]\nport = [1]", "PORT: expected whole number, 0 to 65535, not a list"),
        ("[auth]\naudience = [1]", "expected a list of texts"),
        ("[models.aliases]\ncheap = \"mine:x\"", "WINDROW_MODEL_CHEAP: \"mine:x\" is no model"),
        ("[storage]\nmode = \"s3\"", "This version does not have it yet"),
        ("[database]\nurl = \"sqlite::memory:\"", "must be a file"),
        ("[database]\nurl = \"postgres://h/d?schema=a-b\"", "is no plain name"),
        ("[database]\nlisten_url = \"postgres://h/d\"", "the database is SQLite"),
    ] {
        let problems = load_toml(text, &[]).unwrap_err();
        assert_eq!(problems.len(), 1, "{text}: {problems:#?}");
        assert!(problems[0].contains(expected), "{text}: {problems:#?}");
    }
    let problems = load_input(&Input::default().with_file("/no/such/windrow.toml")).unwrap_err();
    assert!(problems[0].contains("can't be read"), "{problems:?}");
}

#[test]
fn sqlite_urls_name_files() {
    for (url, path) in [
        ("sqlite:data/w.db", "data/w.db"),
        ("sqlite://w.db?mode=rwc", "w.db"),
        ("sqlite:///var/lib/w.db", "/var/lib/w.db"),
    ] {
        let config = load(&[("DATABASE_URL", url)]).unwrap();
        assert_eq!(config.database(), DatabaseTarget::Sqlite { path: path.into() }, "{url}");
    }
}

proptest::proptest! {
    #[test]
    fn any_environment_gives_a_config_or_reasons(
        values in proptest::collection::btree_map(
            proptest::sample::select(windrow_config::CONTRACT.iter().filter_map(|s| s.env).filter(|n| *n != "WINDROW_CONFIG").collect::<Vec<_>>()),
            r"\PC{0,20}|[0-9]{1,20}(ms|s|d|MiB)?|postgres://\PC{0,10}|https?://\PC{0,10}",
            0..8,
        )
    ) {
        if let Err(problems) = load_input(&Input::from_env(values)) {
            assert!(!problems.is_empty());
        }
    }

    #[test]
    fn any_file_gives_a_config_or_reasons(
        text in r#"\PC{0,80}|(\[(server|database|worker|workloads\.x|models\.providers\.y|limits|a)\]\n|(port|url|beat|processes|base_url|schema|max_running) = |[0-9]{1,20}|"\PC{0,8}"|"[0-9]{1,9}(ms|s|d)"|true|\[|\]|\{|\}|,|\n){0,20}"#
    ) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("windrow.toml");
        std::fs::write(&file, text).unwrap();
        if let Err(problems) = load_input(&Input::default().with_file(file)) {
            assert!(!problems.is_empty());
        }
    }
}
