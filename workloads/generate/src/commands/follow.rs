//! A job of an engine in this process, from its submit to its files. Each step is remembered before it is taken, so that
//! the same command goes on after any end of this one.

use std::collections::HashSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use windrow_api_types::{Artifact, ArtifactGroup, Job, RetryJob, Submitted};
use windrow_client::Client;
use windrow_core::{JobStatus, PicoUsd};
use windrow_plugin::{CommandError, Console, ExitCode, Host};

use super::place::{Finished, Place, RunState};
use super::push::refused;
use super::report;
use crate::wire::Estimate;

/// How often the job is looked at. It is in this process.
const POLL: Duration = Duration::from_millis(100);

/// A job to be made.
pub(super) struct Wish {
    pub(super) request: Value,
    /// As `/v1/generate/estimate` takes it.
    pub(super) estimate: Value,
}

/// Says how a run that has ended before went; none when there is anything left to do, which a larger budget can make.
pub(super) fn ended_before(
    place: &Place,
    state: Option<&RunState>,
    budget: Option<PicoUsd>,
    console: Console,
) -> Result<Option<ExitCode>, CommandError> {
    let Some(finished) = state.and_then(|state| state.finished.as_ref()).filter(|f| place.is_whole(f)) else {
        return Ok(None);
    };
    let mut summary = finished.summary.clone();
    if summary["status"] == JobStatus::BudgetExceeded.as_str() {
        let had: Option<PicoUsd> = serde_json::from_value(summary["budget_usd"].clone()).ok();
        if more(had, budget).is_some() {
            return Ok(None);
        }
    }
    summary["already_finished"] = true.into();
    report::note(console, "already finished: nothing was spent");
    print(console, place, &summary)?;
    Ok(Some(exit_code(&summary)))
}

/// The budget that was asked for, if it is above what the job has.
fn more(had: Option<PicoUsd>, asked: Option<PicoUsd>) -> Option<PicoUsd> {
    had.zip(asked).filter(|(had, asked)| asked > had).map(|(_, asked)| asked)
}

/// Submits the wish, unless that has been done, and follows the job to its end. A job that exceeded its budget goes on
/// with `budget` when that is more.
pub(super) async fn job(
    client: &Client,
    place: &Place,
    mut state: RunState,
    path: &str,
    budget: Option<PicoUsd>,
    host: &dyn Host,
) -> Result<ExitCode, CommandError> {
    let console = host.console();
    let resumed = state.job.is_some();
    let mut job: Job = match state.job {
        Some(id) => client.get(&format!("/v1/jobs/{id}")).await?,
        None => {
            let submitted: Submitted =
                client.post_idempotent(path, &state.key, &state.request).await.map_err(refused)?;
            state.job = Some(submitted.job.id);
            place.remember(&state)?;
            submitted.job
        }
    };
    not_lowered(&job, budget)?;
    if resumed && job.status == JobStatus::Failed {
        report::note(console, format_args!("job {} has failed before; it is tried again", job.id));
        job = retry(client, &job, more(job.budget_usd, budget)).await?;
    } else {
        let verb = if resumed { "goes on" } else { "begins" };
        report::note(console, format_args!("job {} {verb}", job.id));
    }
    loop {
        let ended = tokio::select! {
            ended = watch(client, job, console) => ended?,
            () = host.interrupted() => {
                report::note(console, "stopping at the next checkpoint; the same command goes on from there");
                return Ok(ExitCode::Failed);
            }
        };
        let exceeded = ended.status == JobStatus::BudgetExceeded;
        let Some(budget) = more(ended.budget_usd, budget).filter(|_| exceeded) else {
            return finish(client, place, state, &ended, console).await;
        };
        let had = ended.budget_usd.unwrap_or_default();
        report::note(
            console,
            format_args!("the budget is raised from {had} to {budget} USD; the job goes on where it stopped"),
        );
        job = retry(client, &ended, Some(budget)).await?;
    }
}

async fn retry(client: &Client, job: &Job, budget_usd: Option<PicoUsd>) -> Result<Job, CommandError> {
    let path = format!("/v1/jobs/{}/retry", job.id);
    client.post(&path, &RetryJob { budget_usd }).await.map_err(refused)
}

/// Whether a job has ended with a dataset, be it a part of one.
const fn has_files(status: JobStatus) -> bool {
    matches!(status, JobStatus::Completed | JobStatus::BudgetExceeded)
}

/// What is under way has the budget that it was begun with; a smaller one would not hold.
fn not_lowered(job: &Job, budget: Option<PicoUsd>) -> Result<(), CommandError> {
    match job.budget_usd.zip(budget) {
        Some((had, asked)) if asked < had && !has_files(job.status) => Err(CommandError::usage(format!(
            "the run was begun with a budget of {had} USD, which can be raised but not lowered: repeat the command with --budget-usd {had} or more, or choose another --out"
        ))),
        _ => Ok(()),
    }
}

/// Shows what a wish would cost, and asks.
///
/// # Errors
/// When it can't be estimated, or nobody can be asked.
pub(super) async fn agree(
    client: &Client,
    wish: &Wish,
    yes: bool,
    console: Console,
) -> Result<bool, CommandError> {
    let estimate: Estimate = client.post("/v1/generate/estimate", &wish.estimate).await.map_err(refused)?;
    if !console.json {
        let mut shown = Vec::new();
        report::estimate(&mut shown, &estimate)?;
        std::io::stderr().write_all(&shown)?;
    }
    Ok(yes || report::confirm(console, "Begin?")?)
}

async fn watch(client: &Client, mut job: Job, console: Console) -> Result<Job, CommandError> {
    let bar = bar(console);
    let path = format!("/v1/jobs/{}", job.id);
    while !job.status.is_final() {
        bar.set_length(job.progress.total.unwrap_or(0));
        bar.set_position(job.progress.done);
        let stage = job.stage.as_deref().unwrap_or("waiting");
        bar.set_message(format!("{stage}, {} USD", job.cost.actual));
        tokio::time::sleep(POLL).await;
        job = client.get(&path).await?;
    }
    bar.finish_and_clear();
    Ok(job)
}

fn bar(console: Console) -> ProgressBar {
    if !console.interactive {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{bar:32} {pos}/{len}  {elapsed}, {eta} to go  {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

async fn finish(
    client: &Client,
    place: &Place,
    mut state: RunState,
    job: &Job,
    console: Console,
) -> Result<ExitCode, CommandError> {
    if !has_files(job.status) {
        let why = job.error.as_ref().map(|error| format!(": {}", error.message)).unwrap_or_default();
        let message = format!("job {} is {}{why}", job.id, job.status);
        return Err(CommandError::new(ExitCode::Failed, anyhow::Error::msg(message)));
    }
    let files = download(client, place, job).await?;
    let result = job.result.clone().unwrap_or(Value::Null);
    let summary = json!({
        "job_id": job.id,
        "status": job.status,
        "out": place.out(),
        "requested": result["requested"],
        "records": result["records"],
        "rejects": result["rejects"],
        "shortfall": result["shortfall"],
        "cost_usd": job.cost.actual,
        "budget_usd": job.budget_usd,
        "files": files,
        "already_finished": false,
    });
    // a job that went on has other files than at its first end
    let earlier = state.finished.take().map(|finished| finished.files).unwrap_or_default();
    place.remove(earlier.iter().filter(|file| !files.contains(file)))?;
    state.finished = Some(Finished { summary: summary.clone(), files });
    place.remember(&state)?;
    print(console, place, &summary)?;
    Ok(exit_code(&summary))
}

/// What stands beside the dataset's files; each assembly writes them all.
const DOCUMENTS: [&str; 4] = ["manifest", "card", "readme", "seed"];

/// Takes the files that the job's result names, and the documents. A job that went on after it had ended once has latest
/// artifacts from that end too, of kinds that its new end has none of.
async fn download(client: &Client, place: &Place, job: &Job) -> Result<Vec<PathBuf>, CommandError> {
    let groups: Vec<ArtifactGroup> = client.get(&format!("/v1/jobs/{}/artifacts", job.id)).await?;
    let named = job.result.as_ref().and_then(|result| result["files"].as_array()).into_iter().flatten();
    let named: HashSet<&str> = named.filter_map(|file| file["path"].as_str()).collect();
    let mut files = Vec::new();
    for Artifact { kind, filename, download, .. } in groups.into_iter().map(|group| group.latest) {
        // in a partitioned layout the kind is the path, which a download's suggested name can't be
        let name = if kind.contains('/') { kind.clone() } else { filename };
        if !DOCUMENTS.contains(&kind.as_str()) && !named.contains(name.as_str()) {
            continue;
        }
        let (relative, file) = place.file(&name)?;
        client.download_to(&download, &file).await?;
        files.push(relative);
    }
    Ok(files)
}

fn exit_code(summary: &Value) -> ExitCode {
    if summary["status"] == JobStatus::BudgetExceeded.as_str() {
        ExitCode::BudgetExceeded
    } else {
        ExitCode::Ok
    }
}

fn print(console: Console, place: &Place, summary: &Value) -> Result<(), CommandError> {
    let (records, requested) = (&summary["records"], &summary["requested"]);
    if summary["status"] == JobStatus::BudgetExceeded.as_str() {
        let line = format!(
            "warning: the budget was exceeded after {records} of {requested} records; they are kept, and the same command with a larger --budget-usd goes on from there"
        );
        report::note(console, line);
    }
    let shortfall = summary["shortfall"].as_object().filter(|shortfall| !shortfall.is_empty());
    if let Some(shortfall) = shortfall {
        let reasons: Vec<String> =
            shortfall.iter().map(|(reason, count)| format!("{count} {}", reason.replace('_', " "))).collect();
        let line = format!("warning: {records} of {requested} records stand: {}", reasons.join(", "));
        report::note(console, line);
    }
    report::result(console, summary, |out| {
        let cost = summary["cost_usd"].as_str().unwrap_or("0");
        writeln!(out, "{records} records for {cost} USD in {}", place.out().display())?;
        for file in summary["files"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            writeln!(out, "  {}", place.out().join(file).display())?;
        }
        Ok(())
    })
}
