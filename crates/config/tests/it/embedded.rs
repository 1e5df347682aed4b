//! What an engine of a command's own takes from the settings of the installation that the machine is set up for.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use windrow_config::{AppEnv, AuthMode, CONTRACT, Config, DatabaseTarget, Input, check};

/// All that ties a process to an installation of a team, in a file.
const TEAMS: &str = r#"
app_env = "prod"
data_dir = "/srv/windrow"
[server]
port = 80
bind = "0.0.0.0"
public_url = "https://windrow.example.com"
secret_key = "0123456789abcdef0123456789abcdef"
[database]
url = "postgres://windrow:pw@db/windrow"
listen_url = "postgres://windrow:pw@db/windrow"
[storage]
dir = "/srv/objects"
[auth]
mode = "jwks"
issuer = "https://login.example.com"
client_id = ["windrow"]
[limits]
approval_above_usd = "1"
max_running_per_owner = 1
upload_max = "1GiB"
[client]
server = "https://windrow.example.com"
[otlp]
endpoint = "http://collector:4318"
[worker]
workloads = ["resume"]
concurrency = 3
[log]
level = "debug"
[models.providers.ours]
base_url = "http://models:8000/v1"
input_usd_per_million = "1"
output_usd_per_million = "2"
[models.prices."ours:small"]
input_usd_per_million = "0.1"
output_usd_per_million = "0.2"
[workloads.generate]
approval_above_usd = "2"
max_attempts = 7
"#;

/// The same in the environment, under names of others where there are such.
const ENVIRONMENT: [(&str, &str); 14] = [
    ("NODE_ENV", "production"),
    ("WINDROW_DATA_DIR", "/srv/windrow"),
    ("PORT", "80"),
    ("WINDROW_PUBLIC_URL", "https://windrow.example.com"),
    ("WINDROW_SECRET_KEY", "0123456789abcdef0123456789abcdef"),
    ("DATABASE_URL", "postgres://windrow:pw@db/windrow"),
    ("DATABASE_LISTEN_URL", "postgres://windrow:pw@db/windrow"),
    ("WINDROW_STORAGE_DIR", "/srv/objects"),
    ("AUTH_JWT_VERIFICATION_MODE", "cognito"),
    ("COGNITO_USER_POOL_ID", "eu-west-1_AbC"),
    ("COGNITO_CLIENT_ID", "windrow"),
    ("WINDROW_APPROVAL_ABOVE_USD", "1"),
    ("OPENAI_API_KEY", "a key"),
    ("WINDROW_WORKER_CONCURRENCY", "5"),
];

#[track_caller]
fn assert_alone(config: &Config) {
    let bare = Config::load(&Input::default().with_flag("WINDROW_DATA_DIR", "here")).unwrap();
    assert_eq!((config.app_env, config.auth.mode), (AppEnv::Local, AuthMode::Local));
    assert_eq!(config.database(), DatabaseTarget::Sqlite { path: "here/windrow.db".into() });
    assert_eq!(config.storage_dir(), std::path::Path::new("here/objects"));
    for (ours, bare) in [
        (format!("{:?}", config.server), format!("{:?}", bare.server)),
        (format!("{:?}", config.database), format!("{:?}", bare.database)),
        (format!("{:?}", config.storage), format!("{:?}", bare.storage)),
        (format!("{:?}", config.auth), format!("{:?}", bare.auth)),
        (format!("{:?}", config.client), format!("{:?}", bare.client)),
        (format!("{:?}", config.otlp), format!("{:?}", bare.otlp)),
    ] {
        assert_eq!(ours, bare);
    }
    assert!(config.limits.approval_above_usd.is_none() && config.limits.max_running_per_owner.is_none());
    assert!(config.worker.workloads.is_empty());
}

#[test]
fn an_embedded_engine_is_alone_whatever_the_file_says() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("windrow.toml");
    std::fs::write(&file, TEAMS).unwrap();
    let teams = Input::default().with_file(&file);
    assert_eq!(Config::load(&teams).unwrap().app_env, AppEnv::Prod, "what is to be ignored is valid");
    let config = Config::load(&teams.embedded().with_flag("WINDROW_DATA_DIR", "here")).unwrap();
    assert_alone(&config);
    // how work is done and logged holds
    let provider = &config.models.providers["ours"];
    assert_eq!(provider.base_url.as_ref().unwrap().as_str(), "http://models:8000/v1");
    assert!(provider.price().is_some() && config.models.prices.contains_key("ours:small"));
    assert_eq!((config.log.level.as_str(), config.worker.concurrency), ("debug", 3));
    assert_eq!((config.limits.upload_max, config.workload("generate").max_attempts), (1 << 30, Some(7)));
    assert_eq!(config.workload("generate").approval_above_usd, None);
}

#[test]
fn an_embedded_engine_is_alone_whatever_the_environment_says() {
    let teams = Input::from_env(ENVIRONMENT);
    assert_eq!(Config::load(&teams).unwrap().app_env, AppEnv::Prod, "what is to be ignored is valid");
    let config = Config::load(&teams.embedded().with_flag("WINDROW_DATA_DIR", "here")).unwrap();
    assert_alone(&config);
    assert_eq!(config.models.providers["openai"].api_key.as_ref().unwrap().expose(), "a key");
    assert_eq!(config.worker.concurrency, 5);
}

#[test]
fn an_embedded_engines_environment_names_no_installation() {
    let all = CONTRACT.iter().flat_map(|setting| setting.env);
    let input = Input::from_env(all.map(|name| (name, "x")).chain([("PATH", "/bin")])).embedded();
    let left: Vec<&str> = input.env.keys().map(String::as_str).collect();
    for name in ["PATH", "WINDROW_PRICES_FILE", "OPENAI_API_KEY", "LOG_LEVEL", "WINDROW_DATA_DIR"] {
        assert!(left.contains(&name), "{name} is gone: {left:?}");
    }
    for name in left {
        let of_installation = ["DATABASE", "STORAGE", "AUTH", "COGNITO", "SECRET", "URL", "S3", "APP_ENV"];
        let of_installation = of_installation.iter().any(|part| name.contains(part));
        // where models are is no matter of the installation's
        assert!(!of_installation || name == "OPENAI_BASE_URL", "{name} is left");
    }
}

#[test]
fn what_is_no_text_is_a_problem_where_it_is_a_setting() {
    let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let input = Input::from_os_env([
        (text(b"LS_COLORS"), text(b"\xff")),
        (text(b"\xff"), text(b"x")),
        (text(b"PORT"), text(b"80\xff")),
        (text(b"COGNITO_CLIENT_ID"), text(b"\xff")),
        (text(b"WINDROW_\xff"), text(b"x")),
        (text(b"WINDROW_BEAT"), text(b"1s")),
    ]);
    assert_eq!(input.env.keys().collect::<Vec<_>>(), ["WINDROW_BEAT"]);
    let problems = check(&input).problems;
    let names: Vec<&str> = problems.iter().map(|problem| problem.name.as_str()).collect();
    assert_eq!(names, ["PORT", "COGNITO_CLIENT_ID", "WINDROW_\u{fffd}"]);
    assert!(problems.iter().all(|problem| problem.message.contains("UTF-8")), "{problems:?}");
    assert_eq!(check(&input.embedded()).problems.len(), 1, "the others are no matter of its own");
}
