//! The contract: every setting there is, in the order in which it is shown.

use crate::contract::{Alias, Convert, Kind, Required, SetBy, Setting};

const fn setting(
    env: &'static str,
    path: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    Setting::new(env, path, kind, default, doc)
}

const fn same(name: &'static str) -> Alias {
    Alias { name, convert: Convert::Same }
}

const fn count(min: u64) -> Kind {
    Kind::Integer { min, max: 1_000_000 }
}

const PORT: Kind = Kind::Integer { min: 0, max: 65_535 };

/// Every setting. The environment's names are the same everywhere; only values differ.
#[rustfmt::skip]
pub const CONTRACT: &[Setting] = &[
    // ---- which installation this is
    setting("APP_ENV", "app_env", Kind::OneOf(&["local", "uat", "prod"]), "local",
        "Which kind of installation this is. Conveniences that skip a check exist in local only.")
        .by(SetBy::Operator).aliases(&[same("NODE_ENV")])
        .synonyms(&[("development", "local"), ("test", "local"), ("staging", "uat"), ("production", "prod")])
        .examples("local", "uat", "prod"),
    setting("WINDROW_DATA_DIR", "data_dir", Kind::Path, "windrow-data",
        "Where the embedded database, objects on the local disk, and generated keys stand. Made when absent.")
        .by(SetBy::Operator).examples("windrow-data", "/var/lib/windrow", "/var/lib/windrow"),
    setting("WINDROW_CONFIG", "config_file", Kind::Path, "",
        "The settings file. Without it, windrow.toml in the working directory is read when there is one.")
        .by(SetBy::Operator),
    // ---- server
    setting("PORT", "server.port", PORT, "8080",
        "The port that the API and the console listen on; 0 takes a free one.")
        .by(SetBy::Infrastructure).examples("8080", "8080", "8080"),
    setting("WINDROW_BIND", "server.bind", Kind::Ip, "127.0.0.1",
        "The address that is listened on. 0.0.0.0 in a container.")
        .by(SetBy::Infrastructure).examples("127.0.0.1", "0.0.0.0", "0.0.0.0"),
    setting("WINDROW_PUBLIC_URL", "server.public_url", Kind::Url, "",
        "How browsers and remote workers reach this installation. Signed links and redirects are built from it. Locally http://127.0.0.1:PORT.")
        .by(SetBy::Infrastructure).required(Required::Deployed)
        .examples("", "https://windrow.uat.example.com", "https://windrow.example.com"),
    setting("WINDROW_SECRET_KEY", "server.secret_key", Kind::Text, "",
        "Signs links to objects on the local disk, webhooks and, with WINDROW_AUTH=local, tokens; at least 32 characters, the same in every process. Locally one is made and kept in the data directory, as is the key of tokens (issuer.pk8). A new value ends all tokens and links.")
        .secret().required(Required::Deployed).examples("", "CHANGE_ME", "CHANGE_ME"),
    setting("WINDROW_CORS_ORIGINS", "server.cors_origins", Kind::Origins, "",
        "Origins whose pages may call the API. None by default.")
        .by(SetBy::Operator).examples("", "https://app.uat.example.com", "https://app.example.com"),
    setting("WINDROW_MAX_BODY", "server.max_body", Kind::Bytes, "1MiB",
        "The largest request body, but for uploads and batches."),
    setting("WINDROW_MAX_BATCH_BODY", "server.max_batch_body", Kind::Bytes, "64MiB",
        "The largest body of a batch of jobs."),
    setting("WINDROW_REQUEST_TIMEOUT", "server.request_timeout", Kind::Duration, "30s",
        "How long a request may take, but for uploads, downloads, event streams and long polls."),
    // ---- database
    setting("DATABASE_URL", "database.url", Kind::Database, "",
        "The database: sqlite:PATH, or PostgreSQL 15 and newer. A ?schema=NAME in a PostgreSQL URL is the schema to use. Locally sqlite:windrow.db in the data directory.")
        .secret().required(Required::Deployed)
        .examples("", "postgres://windrow:CHANGE_ME@db.uat.internal:5432/windrow", "postgres://windrow:CHANGE_ME@db.internal:5432/windrow"),
    setting("DATABASE_LISTEN_URL", "database.listen_url", Kind::Postgres, "",
        "A direct connection for LISTEN when DATABASE_URL leads through a pooler. Otherwise DATABASE_URL serves.")
        .secret(),
    setting("WINDROW_DATABASE_MAX_CONNECTIONS", "database.max_connections", count(2), "16",
        "The most connections that a process opens to PostgreSQL for writing, and as many again for reading; with SQLite the most readers.")
        .by(SetBy::Operator),
    setting("WINDROW_DATABASE_MIN_CONNECTIONS", "database.min_connections", count(0), "0",
        "So many of either kind are opened at the start and kept while idle."),
    setting("WINDROW_DATABASE_ACQUIRE_TIMEOUT", "database.acquire_timeout", Kind::Duration, "10s",
        "How long a request waits for a connection before it is answered with 503."),
    // ---- storage
    setting("WINDROW_STORAGE", "storage.mode", Kind::OneOf(&["local"]), "local",
        "Where objects stand. This version stores them on the local disk.")
        .by(SetBy::Infrastructure).aliases(&[same("STORAGE_ADAPTER_MODE")]).synonyms(&[("local_disk", "local")])
        .examples("local", "local", "local"),
    setting("WINDROW_STORAGE_DIR", "storage.dir", Kind::Path, "",
        "The directory of objects on the local disk. Otherwise objects in the data directory.")
        .by(SetBy::Infrastructure),
    setting("WINDROW_UPLOAD_LINK_TTL", "storage.upload_link_ttl", Kind::Duration, "15m",
        "How long a signed upload link lives; seven days at most."),
    setting("WINDROW_DOWNLOAD_LINK_TTL", "storage.download_link_ttl", Kind::Duration, "45m",
        "How long a signed download link lives; seven days at most."),
    setting("WINDROW_STORAGE_PUT_USD_PER_1000", "storage.put_usd_per_1000", Kind::Money, "0",
        "What a thousand puts of objects by runs cost, for the ledger; 0 books none.").by(SetBy::Operator),
    setting("WINDROW_STORAGE_GET_USD_PER_1000", "storage.get_usd_per_1000", Kind::Money, "0",
        "What a thousand gets of objects by runs cost, for the ledger; 0 books none.").by(SetBy::Operator),
    setting("S3_BUCKET", "storage.s3_bucket", Kind::Text, "",
        "The bucket, where storage is S3. This version has no S3 storage and does not use it.")
        .by(SetBy::Infrastructure),
    setting("AWS_REGION", "storage.aws_region", Kind::Text, "",
        "The region of AWS services; the issuer of a Cognito user pool is found by it.")
        .by(SetBy::Infrastructure),
    setting("AWS_ENDPOINT_URL", "storage.aws_endpoint_url", Kind::Url, "",
        "Where AWS services are reached instead of AWS itself. This version has none and does not use it.")
        .by(SetBy::Infrastructure).aliases(&[same("S3_ENDPOINT_OVERRIDE")]),
    // ---- queue
    setting("WINDROW_QUEUE", "queue.mode", Kind::OneOf(&["store"]), "store",
        "What rings for ready jobs: the database itself (store).")
        .by(SetBy::Infrastructure).aliases(&[same("QUEUE_ADAPTER_MODE")])
        .synonyms(&[("sqlite", "store"), ("postgres", "store")]).examples("store", "store", "store"),
    setting("SQS_QUEUE_URL", "queue.sqs_queue_url", Kind::Url, "",
        "The SQS queue, where the queue is sqs. This version has no SQS queue and does not use it.")
        .by(SetBy::Infrastructure),
    setting("SQS_DLQ_URL", "queue.sqs_dlq_url", Kind::Url, "",
        "Where dead letters are announced, where the queue is sqs. This version does not use it.")
        .by(SetBy::Infrastructure),
    // ---- login
    setting("WINDROW_AUTH", "auth.mode", Kind::OneOf(&["jwks", "local", "insecure"]), "local",
        "How tokens are checked: against an issuer's keys (jwks), against Windrow's own (local), or not at all (insecure; with APP_ENV=local only).")
        .by(SetBy::Operator).aliases(&[same("AUTH_JWT_VERIFICATION_MODE")]).synonyms(&[("cognito", "jwks")])
        .examples("local", "jwks", "jwks"),
    setting("WINDROW_AUTH_ISSUER", "auth.issuer", Kind::Url, "",
        "The issuer that tokens must name. Found from COGNITO_USER_POOL_ID when that is set.")
        .by(SetBy::Infrastructure).aliases(&[same("COGNITO_ISSUER")])
        .required(Required::When("with WINDROW_AUTH=jwks"))
        .examples("", "https://login.uat.example.com", "https://login.example.com"),
    setting("WINDROW_AUTH_AUDIENCE", "auth.audience", Kind::List, "",
        "Audiences of which a token must name one.")
        .by(SetBy::Infrastructure).aliases(&[same("COGNITO_AUDIENCE")])
        .required(Required::When("with WINDROW_AUTH=jwks, unless WINDROW_AUTH_CLIENT_ID is set"))
        .examples("", "windrow", "windrow"),
    setting("WINDROW_AUTH_CLIENT_ID", "auth.client_id", Kind::List, "",
        "Clients of which a token without audience must name one in client_id (Cognito's access tokens).")
        .by(SetBy::Infrastructure).aliases(&[same("COGNITO_CLIENT_ID")]),
    setting("COGNITO_USER_POOL_ID", "auth.cognito_user_pool_id", Kind::Text, "",
        "A Cognito user pool, such as eu-west-1_AbCdEf123; its issuer follows from it.")
        .by(SetBy::Infrastructure),
    setting("WINDROW_AUTH_JWKS_URL", "auth.jwks_url", Kind::Url, "",
        "Where the issuer's keys are. Otherwise /.well-known/jwks.json below the issuer.")
        .by(SetBy::Infrastructure),
    setting("WINDROW_AUTH_JWKS_CACHE", "auth.jwks_cache", Kind::Duration, "600s",
        "How long the issuer's keys are kept before they are fetched again.")
        .aliases(&[Alias { name: "AUTH_JWKS_CACHE_TTL_SEC", convert: Convert::Seconds }]),
    setting("WINDROW_DEFAULT_OWNER", "auth.default_owner", Kind::Text, "",
        "Whose the requests without a token are. With APP_ENV=local only.")
        .by(SetBy::Operator).aliases(&[same("DEFAULT_OWNER_USER_ID")]),
    // ---- webhooks
    setting("WINDROW_WEBHOOKS_ALLOW_PRIVATE", "webhooks.allow_private", Kind::Bool, "false",
        "Whether webhooks may go to private addresses and to this machine. With APP_ENV=local only.")
        .by(SetBy::Operator),
    // ---- worker
    setting("WINDROW_WORKER_CONCURRENCY", "worker.concurrency", count(1), "8",
        "How many runs a worker has at once, and each of its child processes.").by(SetBy::Operator),
    setting("WINDROW_WORKER_PROCESSES", "worker.processes", Kind::Integer { min: 0, max: 256 }, "0",
        "How many child processes run the jobs; 0 runs them in the process itself.").by(SetBy::Operator),
    setting("WINDROW_WORKER_WORKLOADS", "worker.workloads", Kind::List, "",
        "The workloads that a worker takes. All by default.").by(SetBy::Operator),
    setting("WINDROW_WORKER_NAME", "worker.name", Kind::Text, "",
        "The worker's name in runs and logs. Otherwise the ARN of the ECS task that it runs in, or host and process id.").by(SetBy::Infrastructure),
    setting("WINDROW_WORKER_HEALTH_PORT", "worker.health_port", PORT, "",
        "The port on which `windrow worker` answers /health and /ready, and, when it has a database, /metrics; 0 takes a free one. None by default.")
        .by(SetBy::Infrastructure),
    setting("WINDROW_GRACE", "worker.grace", Kind::Duration, "100s",
        "How long runs may go on to their next checkpoint after SIGTERM (spot machines give 120 s)."),
    setting("WINDROW_BEAT", "worker.beat", Kind::Duration, "2s",
        "How often a worker process says that it lives."),
    setting("WINDROW_LAPSE", "worker.lapse", Kind::Duration, "7s",
        "After how long without a beat a worker counts as dead; at least three beats."),
    setting("WINDROW_REMOTE_LAPSE", "worker.remote_lapse", Kind::Duration, "30s",
        "After how long without a heartbeat a remote worker's lease ends."),
    setting("WINDROW_POLL", "worker.poll", Kind::Duration, "1s",
        "How often ready jobs are looked for when no wake-up comes."),
    setting("WINDROW_CANCEL_POLL", "worker.cancel_poll", Kind::Duration, "500ms",
        "How often a worker looks whether one of its runs was cancelled."),
    setting("WINDROW_RUN_DEADLINE", "worker.run_deadline", Kind::Duration, "6h",
        "How long a run may take, where its workload says nothing else."),
    setting("WINDROW_STALL_LIMIT", "worker.stall_limit", Kind::Duration, "10m",
        "How long a run may go without progress, where its workload says nothing else."),
    setting("WINDROW_COMPUTE_USD_PER_HOUR", "worker.compute_usd_per_hour", Kind::Money, "0",
        "What an hour of one run costs, for the ledger; 0 books none.").by(SetBy::Operator),
    // ---- retries
    setting("WINDROW_RETRY_BASE", "retry.base", Kind::Duration, "2s",
        "The longest wait after a job's first transient error; it doubles with each further one.")
        .aliases(&[Alias { name: "SQS_RETRY_BASE_MS", convert: Convert::Millis }]),
    setting("WINDROW_RETRY_CAP", "retry.cap", Kind::Duration, "5m",
        "The longest wait between two runs."),
    setting("WINDROW_RETRY_MAX_ATTEMPTS", "retry.max_attempts", Kind::Integer { min: 1, max: 100 }, "5",
        "After how many transient errors a job is a dead letter.")
        .aliases(&[same("SQS_MAX_ATTEMPTS")]),
    // ---- models
    setting("WINDROW_MODEL_CHEAP", "models.aliases.cheap", Kind::Text, "offline",
        "The model behind cheap and tier-1: offline, or PROVIDER:NAME.")
        .by(SetBy::Operator).examples("offline", "openai:gpt-4o-mini", "openai:gpt-4o-mini"),
    setting("WINDROW_MODEL_BALANCED", "models.aliases.balanced", Kind::Text, "offline",
        "The model behind balanced and tier-2.")
        .by(SetBy::Operator).examples("offline", "openai:gpt-4.1-mini", "openai:gpt-4.1-mini"),
    setting("WINDROW_MODEL_PREMIUM", "models.aliases.premium", Kind::Text, "offline",
        "The model behind premium and tier-3.")
        .by(SetBy::Operator).examples("offline", "openai:gpt-4.1", "openai:gpt-4.1"),
    setting("OPENAI_API_KEY", "models.providers.openai.api_key", Kind::Text, "",
        "The key of the provider openai. A server of one's own may need none.")
        .secret().examples("", "CHANGE_ME", "CHANGE_ME"),
    setting("OPENAI_BASE_URL", "models.providers.openai.base_url", Kind::Url, "",
        "Where the provider openai is reached: any OpenAI-compatible server, with its /v1. Otherwise OpenAI itself.")
        .by(SetBy::Operator),
    setting("WINDROW_OPENAI_INPUT_USD_PER_MILLION", "models.providers.openai.input_usd_per_million", Kind::Money, "",
        "What a million input tokens cost at the provider openai, where models.prices says nothing else: for servers whose prices no table knows.")
        .by(SetBy::Operator),
    setting("WINDROW_OPENAI_OUTPUT_USD_PER_MILLION", "models.providers.openai.output_usd_per_million", Kind::Money, "",
        "What a million output tokens cost there.").by(SetBy::Operator),
    setting("WINDROW_DEFAULT_BUDGET_USD", "models.default_budget_usd", Kind::Money, "",
        "The budget of a job that names none. Without it, a job with a priced model must name one.")
        .by(SetBy::Operator),
    setting("WINDROW_ALLOW_UNPRICED", "models.allow_unpriced", Kind::Bool, "false",
        "Whether models without a known price may be used. Their calls are free in the ledger, and no budget holds them.")
        .by(SetBy::Operator),
    setting("WINDROW_PRICES_FILE", "models.prices_file", Kind::Path, "",
        "A price table of your own (JSONL, in the form of the bundled one), laid over the bundled one: its prices win, and models that it lacks keep theirs.").by(SetBy::Operator),
    setting("WINDROW_MODEL_TIMEOUT", "models.timeout", Kind::Duration, "120s",
        "How long a model call may take, each attempt by itself."),
    setting("WINDROW_MODEL_CONCURRENCY", "models.concurrency", count(1), "64",
        "How many calls of one model a process and its children together have in flight, where models.limits says nothing else.")
        .by(SetBy::Operator),
    setting("", "models.providers.*.kind", Kind::OneOf(&["openai"]), "openai",
        "What the provider speaks."),
    setting("", "models.providers.*.base_url", Kind::Url, "",
        "Where the provider is reached, with its /v1."),
    setting("", "models.providers.*.api_key", Kind::Text, "",
        "The provider's key.").secret(),
    setting("", "models.providers.*.input_usd_per_million", Kind::Money, "",
        "What a million input tokens cost there, where models.prices says nothing else. Without a price its models are refused, unless the table knows them or WINDROW_ALLOW_UNPRICED is set."),
    setting("", "models.providers.*.output_usd_per_million", Kind::Money, "",
        "What a million output tokens cost there; set with the price of input tokens."),
    setting("", "models.providers.*.cached_input_usd_per_million", Kind::Money, "",
        "What a million cached input tokens cost there; as input where absent."),
    setting("", "models.limits.*.concurrency", count(1), "",
        "Calls of this model in flight in one process and its children together. With more children than that, one in each."),
    setting("", "models.limits.*.requests_per_minute", count(1), "",
        "Calls of this model a minute and process, which its children share."),
    setting("", "models.limits.*.tokens_per_minute", Kind::Integer { min: 1, max: u64::MAX }, "",
        "Tokens of this model a minute and process, which its children share."),
    setting("", "models.prices.*.input_usd_per_million", Kind::Money, "",
        "What a million input tokens of this model cost; wins over the table."),
    setting("", "models.prices.*.output_usd_per_million", Kind::Money, "",
        "What a million output tokens of this model cost."),
    setting("", "models.prices.*.cached_input_usd_per_million", Kind::Money, "",
        "What a million cached input tokens of this model cost; as input where absent."),
    // ---- limits
    setting("WINDROW_UPLOAD_MAX", "limits.upload_max", Kind::Bytes, "100MiB",
        "The largest upload, where its workload says nothing else.").by(SetBy::Operator),
    setting("WINDROW_BATCH_MAX", "limits.batch_max", Kind::Integer { min: 1, max: 10_000 }, "10000",
        "The most jobs in one batch."),
    setting("WINDROW_MAX_RUNNING_PER_OWNER", "limits.max_running_per_owner", count(1), "",
        "The most runs that one owner has at once. No limit by default.").by(SetBy::Operator),
    setting("WINDROW_APPROVAL_ABOVE_USD", "limits.approval_above_usd", Kind::Money, "",
        "Jobs whose budget (without one: estimate) is above this wait for an admin's approval. None do by default.").by(SetBy::Operator),
    // ---- retention
    setting("WINDROW_RETAIN_JOBS", "retention.jobs", Kind::Duration, "90d",
        "How long after its end a job is kept; longer while an artifact of it lives or its dead letter is undecided."),
    setting("WINDROW_RETAIN_ARTIFACTS", "retention.artifacts", Kind::Duration, "90d",
        "How long an artifact that is not its kind's latest is kept."),
    setting("WINDROW_RETAIN_LEDGER", "retention.ledger", Kind::Duration, "90d",
        "How long the ledger's single lines are kept; their sums stay."),
    setting("WINDROW_RETAIN_DEAD_UPLOADS", "retention.dead_uploads", Kind::Duration, "24h",
        "How long the object of a rejected or expired upload is kept."),
    setting("WINDROW_RETAIN_ORPHANS", "retention.orphans", Kind::Duration, "48h",
        "How long an object that no row names is kept."),
    setting("WINDROW_RETAIN_UNAPPROVED", "retention.unapproved", Kind::Duration, "30d",
        "How long a job waits for approval before it is rejected."),
    // ---- logs
    setting("LOG_LEVEL", "log.level", Kind::Text, "info",
        "error, warn, info, debug or trace, or a filter such as info,windrow_runtime=debug.")
        .by(SetBy::Operator).examples("info", "info", "info"),
    setting("WINDROW_LOG_FORMAT", "log.format", Kind::OneOf(&["pretty", "json"]), "",
        "How logs are written. Otherwise pretty with APP_ENV=local and json elsewhere."),
    setting("WINDROW_LOG_KEEP", "log.keep", Kind::Bytes, "32MiB",
        "How much of the log is kept in the data directory beside an embedded database; windrow trace shows a request's lines from there. At least 256KiB; 0 keeps none.")
        .by(SetBy::Operator),
    // ---- traces
    setting("OTEL_EXPORTER_OTLP_ENDPOINT", "otlp.endpoint", Kind::Url, "",
        "The OpenTelemetry collector that spans are sent to, over HTTP with protobuf: its base URL, such as http://localhost:4318. None are sent otherwise. OTEL_TRACES_SAMPLER, OTEL_BSP_* and OTEL_RESOURCE_ATTRIBUTES of the standard are heeded, too.")
        .by(SetBy::Infrastructure),
    setting("OTEL_EXPORTER_OTLP_HEADERS", "otlp.headers", Kind::Text, "",
        "Headers for the collector: NAME=VALUE pairs separated by commas, percent-encoded.").secret(),
    setting("OTEL_SERVICE_NAME", "otlp.service_name", Kind::Text, "windrow",
        "What this installation is called in spans and in JSON log lines.").by(SetBy::Operator),
    // ---- the command line as a client
    setting("WINDROW_SERVER", "client.server", Kind::Url, "",
        "The server that client commands and remote workers speak to.").by(SetBy::Operator),
    setting("WINDROW_TOKEN", "client.token", Kind::Text, "",
        "The token or API key that client commands and remote workers show.").secret(),
    // ---- workloads
    setting("", "workloads.*.spec_schema", Kind::Text, "",
        "A JSON Schema of specs: a file's path, or the schema itself as JSON text. It registers a workload whose runs are all done by workers of the worker protocol."),
    setting("", "workloads.*.max_attempts", count(1), "",
        "How often a job of this workload is tried."),
    setting("", "workloads.*.priority", Kind::OneOf(&["high", "normal", "low"]), "",
        "The priority of jobs of this workload whose submit names none."),
    setting("", "workloads.*.max_running", count(1), "",
        "The most runs of this workload at once."),
    setting("", "workloads.*.run_deadline", Kind::Duration, "",
        "How long a run of this workload may take."),
    setting("", "workloads.*.stall_limit", Kind::Duration, "",
        "How long a run of this workload may go without progress."),
    setting("", "workloads.*.upload_max", Kind::Bytes, "",
        "The largest upload for this workload."),
    setting("", "workloads.*.approval_above_usd", Kind::Money, "",
        "For this workload, instead of limits.approval_above_usd."),
    setting("", "workloads.*.settings.*", Kind::Text, "",
        "What the workload itself reads. No workload of this version reads any: it does not use it."),
    setting("DEFAULT_STANDARD_MODEL_VERSION", "workloads.style.settings.default_standard_model_version", Kind::Text, "",
        "The version of the standard image model that the workload style assumes. This version has no such workload and does not use it."),
    setting("DEFAULT_NIJI_MODEL_VERSION", "workloads.style.settings.default_niji_model_version", Kind::Text, "",
        "The version of the Niji image model that the workload style assumes. This version has no such workload and does not use it."),
];
