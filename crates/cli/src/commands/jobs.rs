//! `windrow job …`

use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use windrow_api_types::{Decision, Event, Job, Page, RetryJob, SCHEMA_VERSION, SubmitJob, Submitted};
use windrow_client::{Client, ClientError};
use windrow_core::{JobId, JobStatus};
use windrow_plugin::{CommandError, Console, ExitCode, Host};

use crate::args;
use crate::commands::pages;
use crate::output;

pub(crate) async fn run(command: args::Job, host: &dyn Host) -> Result<ExitCode, CommandError> {
    let client = host.connect().await?;
    let console = host.console();
    match command {
        args::Job::Submit(submit) => return self::submit(&client, console, submit).await,
        args::Job::List(filter) => list(&client, console, &filter).await?,
        args::Job::Show { id } => {
            let job: Job = client.get(&format!("/v1/jobs/{id}")).await?;
            output::result(console, &job, |out| output::job_details(out, &job))?;
        }
        args::Job::Watch { id } => return watch(&client, console, id).await,
        args::Job::Cancel { id } => change(&client, console, id, "cancel", json!({})).await?,
        args::Job::Retry { id, budget_usd } => {
            change(&client, console, id, "retry", json!(RetryJob { budget_usd })).await?;
        }
        args::Job::Approve(decide) => self::decide(&client, console, decide, "approve").await?,
        args::Job::Reject(decide) => self::decide(&client, console, decide, "reject").await?,
    }
    Ok(ExitCode::Ok)
}

async fn submit(client: &Client, console: Console, submit: args::Submit) -> Result<ExitCode, CommandError> {
    let body = SubmitJob {
        workload: submit.workload,
        spec: read_spec(&submit.spec)?,
        priority: submit.priority,
        run_at: submit.run_at,
        budget_usd: submit.budget_usd,
        budget_counts: submit.budget_counts,
        webhook_url: submit.webhook_url,
        schema_version: None,
        idempotency_key: None,
    };
    let submitted: Submitted = match &submit.idempotency_key {
        Some(key) => client.post_idempotent("/v1/jobs", key, &body).await?,
        None => client.post("/v1/jobs", &body).await?,
    };
    if submit.watch {
        return watch(client, console, submitted.job.id).await;
    }
    output::result(console, &submitted, |out| {
        let status = if submitted.reused { "(already there)" } else { submitted.job.status.as_str() };
        writeln!(out, "{} {status}", submitted.job.id)
    })?;
    Ok(ExitCode::Ok)
}

async fn list(client: &Client, console: Console, filter: &args::JobFilter) -> Result<(), CommandError> {
    let mut path = "/v1/jobs?".to_owned();
    if let Some(status) = filter.status {
        path.push_str(&format!("&status={status}"));
    }
    if let Some(workload) = &filter.workload {
        path.push_str(&format!("&workload={}", crate::commands::encode(workload)));
    }
    if let Some(since) = filter.since {
        path.push_str(&format!("&since={since}"));
    }
    let page: Page<Job> = pages::collect(client, &path, (!filter.all).then_some(filter.limit)).await?;
    output::result(console, &page, |out| output::job_table(out, &page.items))?;
    pages::note_more(console, &page, "--limit N or --all shows them");
    Ok(())
}

async fn decide(
    client: &Client,
    console: Console,
    decide: args::Decide,
    verb: &str,
) -> Result<(), CommandError> {
    change(client, console, decide.id, verb, json!(Decision { reason: decide.reason })).await
}

async fn change(
    client: &Client,
    console: Console,
    id: JobId,
    verb: &str,
    body: Value,
) -> Result<(), CommandError> {
    let job: Job = client.post(&format!("/v1/jobs/{id}/{verb}"), &body).await?;
    output::result(console, &job, |out| writeln!(out, "{} {}", job.id, job.status))?;
    Ok(())
}

/// A JSON file, `-` for standard input, or the JSON itself.
fn read_spec(argument: &str) -> Result<Value, CommandError> {
    let text = if argument == "-" {
        std::io::read_to_string(std::io::stdin()).context("can't read the spec from standard input")?
    } else if argument.trim_start().starts_with('{') {
        argument.to_owned()
    } else {
        let unreadable = |error| CommandError::usage(format!("can't read the spec file {argument}: {error}"));
        std::fs::read_to_string(argument).map_err(unreadable)?
    };
    serde_json::from_str(&text)
        .map_err(|error| CommandError::usage(format!("the spec is not valid JSON: {error}")))
}

/// Follows a job to its end; the exit code tells how it ended. A cut connection is taken up again where it was cut.
pub(crate) async fn watch(client: &Client, console: Console, id: JobId) -> Result<ExitCode, CommandError> {
    let bar = progress_bar(console);
    let mut last: Option<String> = None;
    let mut failures = 0;
    loop {
        let followed = async {
            follow(client, console, id, &mut last, &bar).await?;
            client.get::<Job>(&format!("/v1/jobs/{id}")).await
        };
        let job = match followed.await {
            Ok(job) => job,
            Err(error) if error.is_transient() && failures < 30 => {
                failures += 1;
                tokio::time::sleep(Duration::from_millis(500)).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        failures = 0;
        if job.status.is_final() {
            bar.finish_and_clear();
            output::result(console, &job, |out| output::job_details(out, &job))?;
            return Ok(exit_code(job.status));
        }
    }
}

/// Shows events until the server ends the stream, which it does when the job has ended.
async fn follow(
    client: &Client,
    console: Console,
    id: JobId,
    last: &mut Option<String>,
    bar: &ProgressBar,
) -> Result<(), ClientError> {
    let mut events = client.events(&format!("/v1/jobs/{id}/events"), last.as_deref()).await?;
    while let Some(event) = events.next::<Event>().await? {
        if event.schema_version != SCHEMA_VERSION {
            let known = format!(
                "the event's schema_version is {}; this program knows {SCHEMA_VERSION}",
                event.schema_version
            );
            return Err(ClientError::Unexpected { endpoint: format!("/v1/jobs/{id}/events"), reason: known });
        }
        if event.kind == "progress" {
            show_progress(bar, &event.payload);
        } else {
            bar.suspend(|| output::note(console, output::event_line(&event)));
        }
        *last = events.last_id().map(str::to_owned);
    }
    Ok(())
}

fn progress_bar(console: Console) -> ProgressBar {
    if !console.interactive {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg:12} {bar:32} {pos}/{len} {per_sec} {eta}")
        .expect("the template is a literal");
    ProgressBar::new(0).with_style(style)
}

fn show_progress(bar: &ProgressBar, payload: &Value) {
    if let Some(total) = payload.get("total").and_then(Value::as_u64) {
        bar.set_length(total);
    }
    if let Some(done) = payload.get("done").and_then(Value::as_u64) {
        bar.set_position(done);
    }
    if let Some(stage) = payload.get("stage").and_then(Value::as_str) {
        bar.set_message(stage.to_owned());
    }
}

const fn exit_code(status: JobStatus) -> ExitCode {
    match status {
        JobStatus::Completed => ExitCode::Ok,
        JobStatus::BudgetExceeded => ExitCode::BudgetExceeded,
        _ => ExitCode::Failed,
    }
}
