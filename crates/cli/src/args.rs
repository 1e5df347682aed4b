//! The command line, as clap sees it. Workloads add their own groups.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use windrow_core::{ApiKeyId, JobId, JobStatus, LedgerKind, PicoUsd, Priority, Role, Scope, Timestamp};

use crate::children::Share;

/// The longest life of a token that is made by hand, in hours: ten years.
const MAX_TTL: i64 = 10 * 366 * 24;

/// Self-hosted AI content jobs: a file or a prompt goes in, metered model work runs durably, versioned artifacts come
/// out.
#[derive(Debug, Parser)]
#[command(name = "windrow", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// One JSON document on standard output, no progress bars.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The directory that holds an embedded database, its objects and its socket.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The server to speak to, instead of the data directory's own.
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) server: Option<url::Url>,
    /// A JWT or an API key for that server.
    #[arg(long, global = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything in one process: API, worker, scheduler, sweeper. On an empty directory it just works.
    Up(Up),
    /// Run the API alone, on the database of DATABASE_URL.
    Api(Listen),
    /// Run a worker: on DATABASE_URL, on a server's API, or through a data directory's socket.
    Worker(Worker),
    /// Show the whole of it in twenty seconds: upload, template, estimate, a run that survives a kill, exports.
    Demo(Demo),
    /// Create, upgrade and inspect the database.
    #[command(subcommand)]
    Db(Db),
    /// Inspect the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make tokens (auth mode `local`).
    #[command(subcommand)]
    Token(Token),
    /// Manage API keys.
    #[command(subcommand)]
    Key(Key),
    /// Submit, list, watch, cancel and retry jobs.
    #[command(subcommand)]
    Job(Job),
    /// Look after jobs that failed for good.
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Upload a file; prints the upload's id.
    Upload(Upload),
    /// Download an artifact, or all of a job's latest ones.
    Download(Download),
    /// Manage users (admin).
    #[command(subcommand)]
    User(User),
    /// Try the configured environment out: put, head, get, delete; submit, claim, complete.
    #[command(subcommand)]
    Smoke(Smoke),
    /// Show what a request led to: its jobs, their runs, and what the log has of them.
    Trace {
        /// The `x-request-id` of the request.
        request_id: String,
    },
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Listen {
    /// The port to listen on; 0 takes a free one.
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// The address to listen on.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) bind: Option<std::net::IpAddr>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) listen: Listen,
    /// Run handlers in this many child processes instead of in this one.
    #[arg(long, value_name = "N")]
    pub(crate) worker_processes: Option<u32>,
    /// Leave out what ties the settings to an installation; how a command starts one of its own.
    #[arg(long, hide = true)]
    pub(crate) embedded: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Worker {
    /// How many runs at once.
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<usize>,
    /// Only these workloads.
    #[arg(long = "workload", value_name = "NAME")]
    pub(crate) workloads: Vec<String>,
    /// Run handlers in this many child processes instead of in this one.
    #[arg(long, value_name = "N")]
    pub(crate) worker_processes: Option<u32>,
    /// Speak the worker protocol through this socket; how a supervisor starts its children.
    #[arg(long, hide = true, value_name = "SOCKET", requires = "child_name")]
    pub(crate) child: Option<PathBuf>,
    /// The name under which the supervisor lets the child claim.
    #[arg(long, hide = true, value_name = "NAME", requires = "child")]
    pub(crate) child_name: Option<String>,
    /// Which part of the models' limits is the child's: its place and how many there are.
    #[arg(long, hide = true, value_name = "PLACE/OF", requires = "child")]
    pub(crate) child_share: Option<Share>,
    /// Run one suspect, alone, and end.
    #[arg(long, hide = true, requires = "child")]
    pub(crate) suspect: bool,
    /// The parent's installation is a command's own.
    #[arg(long, hide = true, requires = "child")]
    pub(crate) embedded: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Demo {
    /// Leave the server up until Ctrl-C, with a URL and a token.
    #[arg(long)]
    pub(crate) keep: bool,
    /// How many records to make.
    #[arg(long, default_value_t = 200)]
    pub(crate) records: u64,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Db {
    /// Apply what is pending.
    Migrate,
    /// Show what is applied and what is pending.
    Status,
    /// Look for rows that contradict each other. Exit code 1 when there are some.
    Check,
    /// Take back the newest migrations.
    Rollback {
        /// How many.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        steps: u32,
    },
    /// Take back every migration and apply them again. All data is lost.
    Reset {
        /// Say that you mean it.
        #[arg(long)]
        yes: bool,
    },
    /// Write the four empty files of a new migration.
    Create {
        /// In snake_case.
        name: String,
        /// The folder that holds `sqlite/` and `postgres/`.
        #[arg(long, value_name = "DIR", default_value = "crates/store/migrations")]
        dir: PathBuf,
    },
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show each setting, its source, and what is missing or malformed.
    Check,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Token {
    /// Print a token for a user; the user is made when absent.
    Create {
        /// The user's subject.
        #[arg(long)]
        sub: String,
        /// Give the user this role.
        #[arg(long)]
        role: Option<Role>,
        /// How long it is good for, in hours.
        #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=MAX_TTL))]
        ttl: u32,
    },
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Key {
    /// Make an API key; it is shown once.
    Create {
        /// What it is for.
        #[arg(long, default_value = "command line")]
        name: String,
        /// What it may do, within its owner's role: `read`, `write` (and read), `admin`, `worker:*` or `worker:WORKLOAD`. May
        /// be given more than once.
        #[arg(long = "scope", default_value = "write")]
        scopes: Vec<Scope>,
    },
    /// List your keys.
    List,
    /// Revoke a key at once.
    Revoke { id: ApiKeyId },
    /// Show what your webhooks are signed with, for their receivers to check.
    WebhookSecret,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct JobFilter {
    #[arg(long)]
    pub(crate) status: Option<JobStatus>,
    #[arg(long)]
    pub(crate) workload: Option<String>,
    /// Submitted at or after this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Timestamp>,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// However many there are.
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Submit {
    #[arg(long)]
    pub(crate) workload: String,
    /// The spec: a JSON file, `-` for standard input, or the JSON itself.
    #[arg(long, value_name = "JSON")]
    pub(crate) spec: String,
    /// low, normal or high; the workload's own where absent.
    #[arg(long)]
    pub(crate) priority: Option<Priority>,
    /// Not before this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(crate) run_at: Option<Timestamp>,
    #[arg(long, value_name = "USD")]
    pub(crate) budget_usd: Option<PicoUsd>,
    /// What counts against the budget: model, and compute or storage too.
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    pub(crate) budget_counts: Option<Vec<LedgerKind>>,
    /// Posts with the same key make one job.
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Where a signed POST is sent when the job has ended.
    #[arg(long, value_name = "URL")]
    pub(crate) webhook_url: Option<String>,
    /// Watch it until it ends.
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Job {
    /// Submit a job.
    Submit(Submit),
    /// List your jobs, newest first.
    List(JobFilter),
    /// Show one job.
    Show { id: JobId },
    /// Follow a job until it ends.
    Watch { id: JobId },
    /// Cancel a job.
    Cancel { id: JobId },
    /// Put a failed job back into the queue; with a larger budget, one that exceeded its own.
    Retry {
        id: JobId,
        /// The most that the job may cost, what it has cost so far included.
        #[arg(long, value_name = "USD")]
        budget_usd: Option<PicoUsd>,
    },
    /// Let a job run that waits for approval (admin).
    Approve(Decide),
    /// End a job that waits for approval (admin).
    Reject(Decide),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Decide {
    pub(crate) id: JobId,
    /// Why; it stands in the audit log.
    #[arg(long)]
    pub(crate) reason: String,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum DeadLetters {
    /// List yours.
    List {
        #[arg(long)]
        workload: Option<String>,
        /// How many at most.
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// However many there are.
        #[arg(long, conflicts_with = "limit")]
        all: bool,
        /// Everybody's (admin).
        #[arg(long)]
        everybody: bool,
    },
    /// Put one, or all of a filter, back into the queue.
    Retry {
        #[arg(required_unless_present = "all")]
        id: Option<JobId>,
        #[arg(long, conflicts_with = "id")]
        all: bool,
        #[arg(long, requires = "all")]
        workload: Option<String>,
        #[command(flatten)]
        whose: Whose,
    },
    /// Decide that one needs no further attention.
    Discard {
        id: JobId,
        #[command(flatten)]
        whose: Whose,
    },
    /// Discard all that wait, or those of one workload.
    Purge {
        #[arg(long, required_unless_present = "workload")]
        all: bool,
        #[arg(long)]
        workload: Option<String>,
        #[command(flatten)]
        whose: Whose,
    },
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Whose {
    /// Whosever it is (admin); needs --reason.
    #[arg(long, requires = "reason")]
    pub(crate) everybody: bool,
    /// Written to the audit log.
    #[arg(long, value_name = "TEXT", requires = "everybody")]
    pub(crate) reason: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Upload {
    pub(crate) file: PathBuf,
    /// What it is for; decides where it is stored.
    #[arg(long, default_value = "seed_data")]
    pub(crate) purpose: String,
    /// Guessed from the name when absent.
    #[arg(long)]
    pub(crate) content_type: Option<String>,
    /// The workload that it is for: its limit of size holds.
    #[arg(long)]
    pub(crate) workload: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Download {
    /// An artifact's id, or a job's.
    pub(crate) id: uuid::Uuid,
    /// Where to put it. A file that is there already is left alone.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) out: PathBuf,
    /// Overwrite files that are there already.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum User {
    /// Give a user a role. Makes the first admin when run where the database is.
    Grant {
        sub: String,
        #[arg(long)]
        role: Role,
        /// Why; it stands in the audit log.
        #[arg(long)]
        reason: String,
    },
    /// List users.
    List {
        /// How many at most; all unless told.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        limit: Option<u32>,
    },
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Smoke {
    /// Put, head, get and delete an object.
    Storage,
    /// Submit, claim and complete a job that does nothing, then remove it.
    Queue,
}
