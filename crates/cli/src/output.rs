//! What commands print: results on standard output, everything else on standard error.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::{IsTerminal, Write};

use serde::Serialize;
use windrow_api_types::{DeadLetter, Event, Job};
use windrow_plugin::Console;

/// Detects what standard error can show.
pub(crate) fn console(json: bool) -> Console {
    Console { json, interactive: !json && std::io::stderr().is_terminal() }
}

/// Prints a result: JSON when asked for, else what `human` writes.
pub(crate) fn result<T: Serialize>(
    console: Console,
    value: &T,
    human: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if console.json {
        serde_json::to_writer_pretty(&mut out, value)?;
        writeln!(out)?;
    } else {
        human(&mut out)?;
    }
    Ok(())
}

/// One line of JSON on standard output, at once: for whoever started this process and waits for it.
pub(crate) fn line<T: Serialize>(value: &T) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(value)?)?;
    out.flush()?;
    Ok(())
}

/// Whether nobody reads the output any more.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<std::io::Error>() {
        Some(error) => Some(error.kind()),
        None => cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind),
    };
    error.chain().any(|cause| kind(cause) == Some(std::io::ErrorKind::BrokenPipe))
}

/// Why a command failed, on standard error; with `--json` as JSON.
pub(crate) fn failure(console: Console, error: &anyhow::Error) {
    if console.json {
        eprintln!("{}", serde_json::json!({ "error": format!("{error:#}") }));
    } else {
        eprintln!("error: {error:#}");
    }
}

/// What a child process said on standard error, as it is.
pub(crate) fn relay(bytes: &[u8]) {
    let _nobody_reads_it = std::io::stderr().lock().write_all(bytes);
}

/// One line for people on standard error; silent with `--json`.
pub(crate) fn note(console: Console, line: impl std::fmt::Display) {
    if !console.json {
        eprintln!("{line}");
    }
}

pub(crate) fn job_table(out: &mut dyn Write, jobs: &[Job]) -> std::io::Result<()> {
    writeln!(
        out,
        "{:36}  {:12} {:16} {:>15} {:>12}  CREATED",
        "JOB", "WORKLOAD", "STATUS", "PROGRESS", "COST USD"
    )?;
    for job in jobs {
        writeln!(
            out,
            "{:36}  {:12} {:16} {:>15} {:>12}  {}",
            job.id,
            job.workload,
            job.status,
            progress(job),
            job.cost.actual,
            job.created_at
        )?;
    }
    Ok(())
}

pub(crate) fn job_details(out: &mut dyn Write, job: &Job) -> std::io::Result<()> {
    writeln!(out, "job       {}", job.id)?;
    writeln!(out, "workload  {}", job.workload)?;
    writeln!(
        out,
        "status    {}{}",
        job.status,
        job.stage.as_deref().map(|s| format!(" ({s})")).unwrap_or_default()
    )?;
    writeln!(out, "progress  {}", progress(job))?;
    writeln!(out, "records   {}", job.records)?;
    let budget = job.budget_usd.map(|b| format!(" of {b}")).unwrap_or_default();
    writeln!(out, "cost      {}{budget} USD ({} reserved)", job.cost.actual, job.cost.reserved)?;
    writeln!(out, "tokens    {} in, {} out", job.tokens.input, job.tokens.output)?;
    let failed = match job.attempts {
        0 => String::new(),
        1 => " (1 failed attempt)".to_owned(),
        failed => format!(" ({failed} failed attempts)"),
    };
    writeln!(out, "runs      {}{failed}", job.run)?;
    writeln!(out, "created   {}", job.created_at)?;
    if let Some(ended) = job.ended_at {
        writeln!(out, "ended     {ended}")?;
    }
    if let Some(error) = &job.error {
        writeln!(out, "error     {}: {}", error.code, error.message)?;
    }
    Ok(())
}

pub(crate) fn dead_letter_table(out: &mut dyn Write, letters: &[DeadLetter]) -> std::io::Result<()> {
    writeln!(out, "{:36}  {:12} {:>4}  {:24}  WHY", "JOB", "WORKLOAD", "RUNS", "DIED")?;
    for letter in letters {
        let why = letter.error.as_ref().map(|e| format!("{}: {}", e.code, e.message)).unwrap_or_default();
        let why = if letter.poison { format!("poison; {why}") } else { why };
        writeln!(
            out,
            "{:36}  {:12} {:>4}  {:24}  {why}",
            letter.job_id, letter.workload, letter.runs, letter.died_at
        )?;
    }
    Ok(())
}

pub(crate) fn event_line(event: &Event) -> String {
    format!("{}  {:12} {}", event.at, event.kind, event.payload)
}

fn progress(job: &Job) -> String {
    match job.progress.total {
        Some(total) => format!("{}/{total}", job.progress.done),
        None if job.progress.done == 0 => "-".to_owned(),
        None => job.progress.done.to_string(),
    }
}
