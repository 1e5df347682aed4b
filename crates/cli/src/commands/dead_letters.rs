//! `windrow dead-letters …`

use serde_json::json;
use windrow_api_types::{DeadLetter, DeadLetterFilter, DeadLettersChanged, Job, Page};
use windrow_plugin::{CommandError, ExitCode, Host};

use crate::args;
use crate::commands::encode;
use crate::output;

pub(crate) async fn run(command: args::DeadLetters, host: &dyn Host) -> Result<ExitCode, CommandError> {
    let client = host.connect().await?;
    let console = host.console();
    let changed: DeadLettersChanged = match command {
        args::DeadLetters::List { workload, limit } => {
            let filter = workload.map(|name| format!("&workload={}", encode(&name))).unwrap_or_default();
            let page: Page<DeadLetter> =
                client.get(&format!("/v1/dead-letters?limit={limit}{filter}")).await?;
            output::result(console, &page, |out| output::dead_letter_table(out, &page.items))?;
            return Ok(ExitCode::Ok);
        }
        args::DeadLetters::Retry { id: Some(id), .. } => {
            let job: Job = client.post(&format!("/v1/dead-letters/{id}/retry"), &json!({})).await?;
            output::result(console, &job, |out| writeln!(out, "{} {}", job.id, job.status))?;
            return Ok(ExitCode::Ok);
        }
        args::DeadLetters::Retry { id: None, workload, .. } => {
            let filter = DeadLetterFilter { workload, ..DeadLetterFilter::default() };
            client.post("/v1/dead-letters/retry", &filter).await?
        }
        args::DeadLetters::Discard { id } => {
            let job: Job = client.post(&format!("/v1/dead-letters/{id}/discard"), &json!({})).await?;
            output::result(console, &job, |out| writeln!(out, "{} {}", job.id, job.status))?;
            return Ok(ExitCode::Ok);
        }
        args::DeadLetters::Purge { workload, all: _ } => {
            let filter = DeadLetterFilter { workload, ..DeadLetterFilter::default() };
            client.post("/v1/dead-letters/purge", &filter).await?
        }
    };
    output::result(console, &changed, |out| writeln!(out, "{} changed", changed.changed))?;
    Ok(ExitCode::Ok)
}
