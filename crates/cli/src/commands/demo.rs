//! `windrow demo`: the whole of it in an empty folder, with no account and no network. The server runs jobs in a worker
//! process, which the demo kills in the middle.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use windrow_api_types::{ArtifactGroup, CreateUpload, CreatedUpload, Job, Submitted};
use windrow_client::{Client, Endpoint};
use windrow_config::{Config, Input};
use windrow_core::{JobId, Role};
use windrow_plugin::{CommandError, Console, ExitCode};

use crate::args::{Demo, Global};
use crate::datadir::DataDir;
use crate::host::{mint, socket_client};
use crate::local_door::{self, Grant};
use crate::{output, settings, signals};

/// Where the demo puts everything, in the working directory.
const FOLDER: &str = "windrow-demo";
const USER: &str = "demo";
const TEMPLATE: &str = include_str!("../../../../examples/templates/brainstorm.yaml");
const SEED: &[u8] = include_bytes!("../../../../examples/seed/topics-10.csv");
/// The worker process is killed when about this share of the records is made.
const KILL_AT: f64 = 0.4;
const LIMIT: Duration = Duration::from_secs(120);

pub(crate) async fn run(global: &Global, demo: Demo, console: Console) -> Result<ExitCode, CommandError> {
    let root = global.data_dir.clone().unwrap_or_else(|| PathBuf::from(FOLDER));
    let input = settings::embedded(settings::input(global), &root);
    let config = settings::loaded(&input)?;
    // from here on a Ctrl-C ends the server too
    let mut interrupted = std::pin::pin!(signals::asked_to_stop());
    let mut server = Server::start(&root, &input).await?;
    let shown = tokio::select! {
        shown = show_all(&config, &server, &demo, console) => shown,
        () = &mut interrupted => Err(anyhow::Error::msg("the demo was stopped before its end")),
    };
    let summary = match shown {
        Ok(summary) => summary,
        Err(error) => {
            // what went wrong first is what there is to say; a server that can't be stopped may be a part of that
            if let Err(besides) = server.terminate().await {
                output::note(console, format_args!("the demo's server did not end well either: {besides:#}"));
            }
            return Err(error.into());
        }
    };
    if console.json {
        output::line(&summary)?;
    }
    if demo.keep {
        tokio::select! {
            () = &mut interrupted => {}
            ended = server.ended() => {
                return Err(anyhow::anyhow!("the server ended by itself, with {}", ended?).into());
            }
        }
    }
    server.terminate().await?;
    Ok(ExitCode::Ok)
}

/// All that there is to see; gives what `--json` prints of it.
async fn show_all(config: &Config, server: &Server, demo: &Demo, console: Console) -> anyhow::Result<Value> {
    let began = Instant::now();
    let mut show = Show { console, steps: 0 };
    show.step(format_args!(
        "started Windrow on {} (process {}, with the worker process {})",
        server.url,
        server.pid(),
        server.worker
    ));
    let dir = DataDir::open(&config.data_dir)?;
    let role = Some(Role::Contributor);
    let wish = Grant { sub: USER.to_owned(), role, reason: "windrow demo".to_owned() };
    local_door::ask(&socket_client(config, &dir, None).await?, &wish).await?;
    let token = mint(config, &dir, USER, Duration::from_secs(24 * 3600))?;
    let client =
        Client::new(Endpoint::Url(server.url.parse().context("the server's URL")?), Some(token.clone()))?;
    show.step(format_args!("logged in as {USER:?} with a token of the server's own issuer"));
    let job = submit(&client, demo.records, &mut show).await?;
    kill_the_worker(server.worker, &client, job, demo.records, &mut show).await?;
    let job = finished(&client, job).await?;
    let files = download(&client, &job, &config.data_dir.join("dataset")).await?;
    report(&job, &files, began.elapsed(), &mut show)?;
    if demo.keep {
        show.note(format_args!(
            "\nThe server stays up at {} (viewer: {}/docs) until you stop it with Ctrl-C. In another terminal:",
            server.url, server.url
        ));
        show.note(format_args!("export WINDROW_SERVER={} WINDROW_TOKEN={token}", server.url));
    }
    Ok(json!({
        "job": job, "files": files, "seconds": began.elapsed().as_secs_f64(),
        "url": demo.keep.then_some(&server.url), "token": demo.keep.then_some(&token),
    }))
}

/// Numbered lines that tell what happens.
struct Show {
    console: Console,
    steps: u32,
}

impl Show {
    fn step(&mut self, line: impl std::fmt::Display) {
        self.steps += 1;
        output::note(self.console, format_args!("{}. {line}", self.steps));
    }

    fn note(&self, line: impl std::fmt::Display) {
        output::note(self.console, line);
    }
}

/// Uploads the seed, creates the template, shows the estimate, submits.
async fn submit(client: &Client, records: u64, show: &mut Show) -> anyhow::Result<JobId> {
    let wish = CreateUpload {
        filename: "topics-10.csv".to_owned(),
        content_type: "text/csv".to_owned(),
        size: SEED.len() as u64,
        sha256: None,
        purpose: Some("seed_data".to_owned()),
        workload: None,
    };
    let created: CreatedUpload = client.post("/v1/uploads", &wish).await?;
    client.put_bytes(&created.url, created.headers, bytes::Bytes::from_static(SEED)).await?;
    client.post_long::<Value>(&format!("/v1/uploads/{}/complete", created.id), &json!({})).await?;
    show.step(format_args!(
        "uploaded {} bytes of seed records through a signed URL, checked on arrival",
        SEED.len()
    ));
    let template = template(client).await?;
    show.step(format_args!(
        "created the template {}@{}",
        template["name"].as_str().unwrap_or("?"),
        template["version"]
    ));
    let spec = json!({
        "template": template["id"], "seed": created.id, "records": records,
        "formats": ["jsonl", "csv", "parquet"], "shard_size": 10, "concurrency": 1,
        "overrides": { "model": "offline" }, "random_seed": 7,
    });
    let estimate: Value =
        client.post("/v1/generate/estimate", &json!({ "spec": spec, "budget_usd": "1.00" })).await?;
    let tokens = |kind: &str| estimate[kind]["likely"].as_u64().unwrap_or_default();
    show.step(format_args!(
        "estimate for {records} records: about {} tokens in and {} out, {} USD of a budget of 1.00 USD (the offline model is free)",
        tokens("input_tokens"),
        tokens("output_tokens"),
        estimate["cost_usd"]["likely"].as_str().unwrap_or("0.00"),
    ));
    let body = json!({ "workload": "generate", "spec": spec, "budget_usd": "1.00" });
    let submitted: Submitted = client.post("/v1/jobs", &body).await?;
    show.step(format_args!("submitted job {} in shards of 10", submitted.job.id));
    Ok(submitted.job.id)
}

/// The demo's template; a second demo in the same folder finds the first one's.
async fn template(client: &Client) -> anyhow::Result<Value> {
    match client.post::<Value>("/v1/templates", &json!({ "document": TEMPLATE })).await {
        Ok(template) => Ok(template),
        Err(error) if error.code() == Some("template_name_taken") => {
            let page: Value = client.get("/v1/templates?mine=true&text=brainstorm").await?;
            let id = page["items"][0]["id"].as_str().context("the template is there under its name")?;
            Ok(client.get(&format!("/v1/templates/{id}")).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// SIGKILL in the middle of the job, and proof that another process goes on.
async fn kill_the_worker(
    worker: Pid,
    client: &Client,
    job: JobId,
    records: u64,
    show: &mut Show,
) -> anyhow::Result<()> {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a small number"
    )]
    let enough = (records as f64 * KILL_AT) as u64;
    let made = progress_beyond(client, job, enough.saturating_sub(1)).await?;
    kill_process(worker, Signal::KILL)
        .with_context(|| format!("the worker process {worker} can't be killed"))?;
    show.step(format_args!(
        "killed the worker process {worker} with SIGKILL, with {made} of {records} records made"
    ));
    gone(worker).await?;
    // What it had still told before its end is not the next one's work.
    let made = progress_beyond(client, job, 0).await?.max(made);
    let made = progress_beyond(client, job, made).await?;
    show.step(format_args!(
        "a new worker process goes on from the last checkpoint: {made} of {records} records made"
    ));
    Ok(())
}

/// Waits until the server has seen the process's end.
async fn gone(process: Pid) -> anyhow::Result<()> {
    let began = Instant::now();
    while test_kill_process(process).is_ok() {
        if began.elapsed() > LIMIT {
            bail!("the killed process {process} is still there after {LIMIT:?}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Waits until the job has made more records than `before`, or is over; gives how many it has made.
async fn progress_beyond(client: &Client, job: JobId, before: u64) -> anyhow::Result<u64> {
    let began = Instant::now();
    loop {
        let now: Job = client.get(&format!("/v1/jobs/{job}")).await?;
        if now.status.is_final() || now.progress.done > before {
            return Ok(now.progress.done);
        }
        if began.elapsed() > LIMIT {
            bail!("the job made no progress in {LIMIT:?}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn finished(client: &Client, job: JobId) -> anyhow::Result<Job> {
    let began = Instant::now();
    loop {
        let now: Job = client.get(&format!("/v1/jobs/{job}")).await?;
        if now.status.is_final() {
            return Ok(now);
        }
        if began.elapsed() > LIMIT {
            bail!("the job is still {} after {LIMIT:?}", now.status);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn download(client: &Client, job: &Job, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    let groups: Vec<ArtifactGroup> = client.get(&format!("/v1/jobs/{}/artifacts", job.id)).await?;
    let mut files = Vec::new();
    for group in groups {
        let name = Path::new(&group.latest.filename).file_name().context("an artifact has a name")?;
        let file = folder.join(name);
        client.download_to(&group.latest.download, &file).await?;
        files.push(file);
    }
    Ok(files)
}

fn report(job: &Job, files: &[PathBuf], took: Duration, show: &mut Show) -> anyhow::Result<()> {
    if job.status != windrow_core::JobStatus::Completed {
        let why = job.error.as_ref().map(|error| error.message.clone()).unwrap_or_default();
        bail!("the job is {}: {why}", job.status);
    }
    let jsonl = files
        .iter()
        .find(|file| file.extension().is_some_and(|e| e == "jsonl") && !file.ends_with("rejects.jsonl"));
    let text = std::fs::read_to_string(jsonl.context("the dataset has a JSONL file")?)?;
    show.step(format_args!(
        "{} records, each index exactly once; cost {} USD; {:.1} s in all",
        text.lines().count(),
        job.cost.actual,
        took.as_secs_f64()
    ));
    show.note("\nThree of them:");
    for line in text.lines().take(3) {
        let record: Value = serde_json::from_str(line)?;
        let ideas = record["ideas"].as_str().unwrap_or_default().replace('\n', " ");
        let short: String = ideas.chars().take(96).collect();
        show.note(format_args!(
            "  #{} from seed record {}: {short}…",
            record["index"], record["seed_data_id"]
        ));
    }
    show.note("\nThe dataset:");
    for file in files {
        show.note(format_args!("  {}", file.display()));
    }
    Ok(())
}

/// A `windrow up` in a process of its own.
struct Server {
    child: Child,
    url: String,
    worker: Pid,
}

impl Server {
    /// `input` is an embedded installation's on `root`: nothing else of the environment reaches the server.
    async fn start(root: &Path, input: &Input) -> anyhow::Result<Self> {
        let binary = std::env::current_exe().context("can't find this program's own file")?;
        let mut command = Command::new(&binary);
        command
            .args(["up", "--embedded", "--json", "--port", "0", "--worker-processes", "1", "--data-dir"])
            .arg(root);
        if let Some(file) = &input.file {
            command.arg("--config").arg(file);
        }
        let mut child = command
            .env_clear()
            .envs(&input.env)
            .env("LOG_LEVEL", "error")
            // one shard after another, so that there is a middle to be killed in
            .env("WINDROW_WORKER_CONCURRENCY", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("can't start a server ({})", binary.display()))?;
        let stdout = child.stdout.take().context("the server has an output")?;
        let line = BufReader::new(stdout)
            .lines()
            .next_line()
            .await?
            .context("the server ended before it listened")?;
        let hello: Value = serde_json::from_str(&line).context("the server's first line")?;
        let url = hello["url"].as_str().context("the server says where it listens")?.to_owned();
        let worker = hello["worker_pids"][0].as_i64().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let worker = worker.context("the server names its worker process")?;
        Ok(Self { child, url, worker })
    }

    fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        self.child.wait().await.context("the server can't be waited for")
    }

    /// SIGTERM, and waits for a clean end.
    async fn terminate(&mut self) -> anyhow::Result<()> {
        // none once it has been waited for: nobody else's process can have its id before that
        let process = self.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        if let Some(process) = process {
            kill_process(process, Signal::TERM).context("the server can't be told to stop")?;
        }
        let ended = tokio::time::timeout(LIMIT, self.ended()).await.context("the server did not stop")??;
        if !ended.success() {
            bail!("the server ended with {ended}");
        }
        Ok(())
    }
}
