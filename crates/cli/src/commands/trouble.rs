//! `windrow smoke` and `windrow trace`.

use serde_json::json;
use windrow_api_types::{CheckState, SmokeReport, Trace};
use windrow_plugin::{CommandError, ExitCode, Host};

use crate::args;
use crate::commands::encode;
use crate::output;

pub(crate) async fn smoke(what: args::Smoke, host: &dyn Host) -> Result<ExitCode, CommandError> {
    let path = match what {
        args::Smoke::Storage => "/v1/smoke/storage",
        args::Smoke::Queue => "/v1/smoke/queue",
    };
    let report: SmokeReport = host.connect().await?.post(path, &json!({})).await?;
    output::result(host.console(), &report, |out| {
        for step in &report.steps {
            let state = if step.state == CheckState::Ok { "ok" } else { "FAILED" };
            writeln!(
                out,
                "{:10} {state:6} {:>6} ms  {}",
                step.step,
                step.millis,
                step.detail.as_deref().unwrap_or("")
            )?;
        }
        Ok(())
    })?;
    Ok(if report.ok { ExitCode::Ok } else { ExitCode::Failed })
}

pub(crate) async fn trace(request_id: &str, host: &dyn Host) -> Result<ExitCode, CommandError> {
    let trace: Trace = host.connect().await?.get(&format!("/v1/trace/{}", encode(request_id))).await?;
    output::result(host.console(), &trace, |out| {
        for job in &trace.jobs {
            writeln!(out, "job {}  {}  {}  {}", job.id, job.workload, job.status, job.created_at)?;
            for run in &job.runs {
                let outcome = run.outcome.map_or("running", windrow_core::RunOutcome::as_str);
                let worker = run.worker.as_deref().unwrap_or("-");
                writeln!(out, "  run {:<4} {outcome:16} {worker}", run.run)?;
                if let Some(error) = &run.error {
                    writeln!(out, "           {}: {}", error.code, error.message)?;
                }
            }
        }
        for line in &trace.audit {
            writeln!(
                out,
                "audit {}  {} {} {}: {}",
                line.at, line.actor, line.action, line.target, line.reason
            )?;
        }
        log(out, &trace)?;
        Ok(())
    })?;
    Ok(ExitCode::Ok)
}

/// What stands at the beginning of a line, or for all of them.
const KNOWN: &[&str] = &["ts", "level", "service", "target", "message", "request_id", "trace_id"];

fn log(out: &mut dyn std::io::Write, trace: &Trace) -> std::io::Result<()> {
    let Some(lines) = &trace.log else {
        return writeln!(
            out,
            "log: not kept by this installation; look for request_id {} in what collects the standard error of its processes",
            trace.request_id
        );
    };
    if lines.is_empty() {
        return writeln!(out, "log: no line of it is kept, or none any more (WINDROW_LOG_KEEP)");
    }
    for line in lines {
        let text = |name| line[name].as_str().unwrap_or_default();
        write!(out, "log   {}  {:5} {}", text("ts"), text("level"), text("message"))?;
        for (name, value) in line.as_object().into_iter().flatten() {
            if !KNOWN.contains(&name.as_str()) {
                write!(out, "  {name}={value}")?;
            }
        }
        writeln!(out)?;
    }
    Ok(())
}
