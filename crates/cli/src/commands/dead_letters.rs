//! `windrow dead-letters …`

use serde_json::json;
use windrow_api_types::{
    DeadLetter, DeadLetterDecision, DeadLetterFilter, DeadLettersChanged, Decision, Job, Page,
};
use windrow_client::Client;
use windrow_core::JobId;
use windrow_plugin::{CommandError, Console, ExitCode, Host};

use crate::args;
use crate::commands::{encode, pages};
use crate::output;

pub(crate) async fn run(command: args::DeadLetters, host: &dyn Host) -> Result<ExitCode, CommandError> {
    let client = host.connect().await?;
    let console = host.console();
    match command {
        args::DeadLetters::List { workload, limit, all, everybody } => {
            let filter = workload.map(|name| format!("&workload={}", encode(&name))).unwrap_or_default();
            let path = format!("{}?{filter}", under(everybody));
            let page: Page<DeadLetter> = pages::collect(&client, &path, (!all).then_some(limit)).await?;
            output::result(console, &page, |out| output::dead_letter_table(out, &page.items))?;
            pages::note_more(console, &page, "--limit N or --all shows them");
        }
        args::DeadLetters::Retry { id: Some(id), whose, .. } => {
            decide(&client, console, id, "retry", whose).await?;
        }
        args::DeadLetters::Retry { id: None, workload, whose, .. } => {
            change(&client, console, "retry", workload, whose).await?;
        }
        args::DeadLetters::Discard { id, whose } => decide(&client, console, id, "discard", whose).await?,
        args::DeadLetters::Purge { workload, whose, all: _ } => {
            change(&client, console, "purge", workload, whose).await?;
        }
    }
    Ok(ExitCode::Ok)
}

/// Others' dead letters are for admins, at endpoints of their own.
const fn under(everybody: bool) -> &'static str {
    if everybody { "/v1/admin/dead-letters" } else { "/v1/dead-letters" }
}

async fn decide(
    client: &Client,
    console: Console,
    id: JobId,
    act: &str,
    whose: args::Whose,
) -> Result<(), CommandError> {
    let path = format!("{}/{id}/{act}", under(whose.everybody));
    let job: Job = match whose.reason {
        Some(reason) => client.post(&path, &Decision { reason }).await?,
        None => client.post(&path, &json!({})).await?,
    };
    output::result(console, &job, |out| writeln!(out, "{} {}", job.id, job.status))?;
    Ok(())
}

async fn change(
    client: &Client,
    console: Console,
    act: &str,
    workload: Option<String>,
    whose: args::Whose,
) -> Result<(), CommandError> {
    let path = format!("{}/{act}", under(whose.everybody));
    let filter = DeadLetterFilter { workload, ..DeadLetterFilter::default() };
    let changed: DeadLettersChanged = match whose.reason {
        Some(reason) => client.post(&path, &DeadLetterDecision { filter, reason }).await?,
        None => client.post(&path, &filter).await?,
    };
    output::result(console, &changed, |out| writeln!(out, "{} changed", changed.changed))?;
    Ok(())
}
