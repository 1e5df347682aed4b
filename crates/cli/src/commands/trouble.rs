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
        Ok(())
    })?;
    Ok(ExitCode::Ok)
}
