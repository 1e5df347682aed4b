//! What the commands print: results on standard output, everything else on standard error.

use std::io::{self, IsTerminal as _, Write};

use serde::Serialize;
use windrow_core::PicoUsd;
use windrow_plugin::{CommandError, Console};

use crate::use_cases::preview::PreviewRecord;
use crate::wire::{CountRange, Estimate, UsdRange};

/// Prints a result: JSON when asked for, else what `human` writes.
pub(super) fn result<T: Serialize>(
    console: Console,
    value: &T,
    human: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    if console.json {
        serde_json::to_writer_pretty(&mut out, value)?;
        writeln!(out)?;
    } else {
        human(&mut out)?;
    }
    out.flush()?;
    Ok(())
}

/// One line for people; silent with `--json`.
pub(super) fn note(console: Console, line: impl std::fmt::Display) {
    if !console.json {
        // nobody reads it when standard error is closed
        let _ = writeln!(io::stderr(), "{line}");
    }
}

/// Asks on the terminal.
///
/// # Errors
/// When there is nobody to ask.
pub(super) fn confirm(console: Console, question: &str) -> Result<bool, CommandError> {
    if console.json || !io::stdin().is_terminal() {
        return Err(CommandError::usage("there is nobody to ask: add --yes to begin without asking"));
    }
    write!(io::stderr(), "{question} [y/N] ")?;
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

pub(super) fn estimate(out: &mut dyn Write, estimate: &Estimate) -> io::Result<()> {
    let range = |range: UsdRange| [usd(range.low), usd(range.likely), usd(range.high)];
    let count = |range: CountRange| [range.low, range.likely, range.high].map(|n| n.to_string());
    let mut lines = vec![
        (String::new(), ["low", "likely", "high"].map(str::to_owned)),
        ("input tokens".to_owned(), count(estimate.input_tokens)),
        ("output tokens".to_owned(), count(estimate.output_tokens)),
    ];
    let priced = estimate.steps.iter().filter_map(|step| Some((step, step.cost_usd?)));
    lines.extend(priced.map(|(step, cost)| (format!("{} ({}), USD", step.step, step.model), range(cost))));
    lines.push(("cost, USD".to_owned(), range(estimate.cost_usd)));
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    writeln!(out, "{} records, from rendering {} seed records:", estimate.records, estimate.sampled)?;
    for (name, [low, likely, high]) in &lines {
        writeln!(out, "  {name:width$} {low:>14} {likely:>14} {high:>14}")?;
    }
    if !estimate.unpriced.is_empty() {
        writeln!(out, "  no price is known for {}: not in the cost", estimate.unpriced.join(", "))?;
    }
    if estimate.failed > 0 {
        let first = estimate.failure.as_deref().unwrap_or("unknown");
        writeln!(
            out,
            "  {} of {} seed records can't be rendered and would be rejected: {first}",
            estimate.failed, estimate.sampled
        )?;
    }
    match (estimate.budget_usd, estimate.within_budget) {
        (Some(budget), Some(true)) => writeln!(out, "  budget: {budget} USD"),
        (Some(budget), _) => {
            writeln!(out, "  budget: {budget} USD, less than the likely cost: the dataset will be partial")
        }
        (None, _) => writeln!(out, "  no budget"),
    }
}

/// Six decimals are enough to look at.
fn usd(amount: PicoUsd) -> String {
    let text = amount.to_string();
    match text.split_once('.') {
        Some((whole, fraction)) if fraction.len() > 6 => format!("{whole}.{}", &fraction[..6]),
        _ => text,
    }
}

pub(super) fn preview(out: &mut dyn Write, records: &[PreviewRecord]) -> io::Result<()> {
    for record in records {
        writeln!(out, "=== record {} ===", record.index)?;
        for step in &record.steps {
            let model = step.model.as_deref().map(|model| format!(" ({model})")).unwrap_or_default();
            if step.skipped {
                writeln!(out, "--- {}: skipped, its condition is false", step.id)?;
                continue;
            }
            writeln!(out, "--- {}{model}", step.id)?;
            if let Some(system) = &step.system {
                writeln!(out, "[system] {system}")?;
            }
            writeln!(out, "{}", step.prompt.as_deref().unwrap_or_default())?;
            match &step.answer {
                Some(serde_json::Value::String(text)) => writeln!(out, "→ {text}")?,
                Some(value) => writeln!(out, "→ {value}")?,
                None => {}
            }
        }
        if let Some(output) = &record.output {
            writeln!(out, "--- the record\n{}", serde_json::to_string_pretty(output)?)?;
        }
        if let Some(error) = &record.error {
            writeln!(out, "--- this record would be rejected: {error}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}
