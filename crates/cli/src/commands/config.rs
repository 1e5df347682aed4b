//! `windrow config check`.

use serde_json::json;
use windrow_config::{CheckReport, Input};
use windrow_plugin::{CommandError, Console, ExitCode};

use crate::output;

/// Exit code 1 when a process would refuse to start.
pub(crate) fn check(input: &Input, console: Console) -> Result<ExitCode, CommandError> {
    let CheckReport { rows, problems } = windrow_config::check(input);
    let json_rows: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "name": row.name, "path": row.path, "value": row.value, "source": row.source, "set_by": row.set_by,
                "format": row.format, "required": row.required, "missing": row.missing,
            })
        })
        .collect();
    let json_problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    output::result(console, &json!({ "settings": json_rows, "problems": json_problems }), |out| {
        writeln!(out, "{:34} {:34} {:14} {:14} FORMAT", "NAME", "VALUE", "SOURCE", "SET BY")?;
        for row in &rows {
            let name = if row.name.is_empty() { &row.path } else { &row.name };
            let value = match (&row.value, row.missing) {
                (Some(value), _) => value.as_str(),
                (None, true) => "MISSING",
                (None, false) => "-",
            };
            writeln!(out, "{name:34} {value:34} {:14} {:14} {}", row.source, row.set_by, row.format)?;
        }
        match problems.len() {
            0 => writeln!(out, "\neverything that must be set is set"),
            n => {
                writeln!(out, "\n{n} to mend:")?;
                problems.iter().try_for_each(|problem| writeln!(out, "  {problem}"))
            }
        }
    })?;
    Ok(if problems.is_empty() { ExitCode::Ok } else { ExitCode::Failed })
}
