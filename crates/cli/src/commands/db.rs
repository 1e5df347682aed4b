//! `windrow db …`: the schema, by hand.

use std::path::Path;

use anyhow::Context as _;
use serde_json::json;
use windrow_config::Config;
use windrow_plugin::{CommandError, Console, ExitCode};
use windrow_store::integrity::{self, Checked, Finding};
use windrow_store::migrate::{self, State};
use windrow_store::{Db, MigrationSet};

use crate::args;
use crate::compose;
use crate::output;

pub(crate) async fn run(
    command: args::Db,
    config: &Config,
    console: Console,
) -> Result<ExitCode, CommandError> {
    if let args::Db::Create { name, dir } = &command {
        if !is_snake_case(name) {
            return Err(CommandError::usage("a migration's name is in snake_case, such as add_labels"));
        }
        let files = create(name, dir)?;
        output::result(console, &files, |out| files.iter().try_for_each(|file| writeln!(out, "{file}")))?;
        return Ok(ExitCode::Ok);
    }
    if let args::Db::Reset { yes: false } = command {
        return Err(CommandError::usage("all data would be lost; say --yes if you mean it"));
    }
    let plugins = crate::workloads::plugins();
    let sets = crate::workloads::migrations(&plugins);
    let (db, _owned) = compose::open_database_alone(config).await?;
    let done = steps(command, &db, &sets, console).await;
    db.close().await;
    done
}

async fn steps(
    command: args::Db,
    db: &Db,
    sets: &[MigrationSet],
    console: Console,
) -> Result<ExitCode, CommandError> {
    let now = compose::clock().now();
    let (verb, steps) = match command {
        args::Db::Status => return status(db, sets, console).await,
        args::Db::Check => return check(db, sets, console).await,
        args::Db::Migrate => ("applied", migrate::up(db, sets, now).await?),
        args::Db::Rollback { steps } => ("taken back", migrate::rollback(db, sets, steps as usize).await?),
        args::Db::Reset { yes: _ } => ("applied anew", migrate::reset(db, sets, now).await?),
        args::Db::Create { .. } => unreachable!("needs no database and was handled before"),
    };
    let lines: Vec<String> = steps.iter().map(ToString::to_string).collect();
    output::result(console, &json!({ "verb": verb, "migrations": lines }), |out| {
        if lines.is_empty() {
            return writeln!(out, "nothing to do");
        }
        lines.iter().try_for_each(|line| writeln!(out, "{verb} {line}"))
    })?;
    Ok(ExitCode::Ok)
}

/// Exit code 1 when something is pending, so that scripts can ask.
async fn status(db: &Db, sets: &[MigrationSet], console: Console) -> Result<ExitCode, CommandError> {
    let status = migrate::status(db, sets).await?;
    let pending = status.iter().filter(|migration| migration.state == State::Pending).count();
    let rows: Vec<_> = status
        .iter()
        .map(
            |migration| json!({ "migration": migration.step.to_string(), "state": migration.state.as_str() }),
        )
        .collect();
    output::result(console, &json!({ "pending": pending, "migrations": rows }), |out| {
        for migration in &status {
            writeln!(out, "{:8}  {}", migration.state.as_str(), migration.step)?;
        }
        writeln!(out, "{pending} pending")
    })?;
    Ok(if pending == 0 { ExitCode::Ok } else { ExitCode::Failed })
}

fn is_snake_case(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Exit code 1 when something is found, so that scripts can ask.
async fn check(db: &Db, sets: &[MigrationSet], console: Console) -> Result<ExitCode, CommandError> {
    migrate::check(db, sets).await.context("run `windrow db migrate` first")?;
    let mut findings: Vec<Finding> = Vec::new();
    let Checked { rows, .. } = integrity::check(db, &mut |finding| findings.push(finding)).await?;
    let rows_of =
        |f: &Finding| json!({ "table": f.table, "column": f.column, "id": f.id, "problem": f.problem });
    let told: Vec<_> = findings.iter().map(rows_of).collect();
    output::result(console, &json!({ "rows": rows, "findings": told }), |out| {
        for Finding { table, column, id, problem } in &findings {
            writeln!(out, "{table}.{column}  {id}  {problem}")?;
        }
        writeln!(out, "{} findings in {rows} rows", findings.len())
    })?;
    Ok(if findings.is_empty() { ExitCode::Ok } else { ExitCode::Failed })
}

/// Four files with the next number, for both databases.
fn create(name: &str, dir: &Path) -> anyhow::Result<Vec<String>> {
    let mut highest = 0;
    for dialect in ["sqlite", "postgres"] {
        let folder = dir.join(dialect);
        std::fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
        for entry in std::fs::read_dir(&folder).with_context(|| format!("can't read {}", folder.display()))? {
            let file = entry?.file_name();
            let number = file.to_string_lossy().split('_').next().and_then(|n| n.parse::<u32>().ok());
            highest = highest.max(number.unwrap_or(0));
        }
    }
    let mut files = Vec::new();
    for dialect in ["sqlite", "postgres"] {
        for direction in ["up", "down"] {
            let path = dir.join(dialect).join(format!("{:04}_{name}.{direction}.sql", highest + 1));
            std::fs::write(&path, "").with_context(|| format!("can't write {}", path.display()))?;
            files.push(path.display().to_string());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_migration_gets_the_next_number_in_both_dialects() {
        let dir = tempfile::tempdir().unwrap();
        let first = create("first", dir.path()).unwrap();
        let second = create("second", dir.path()).unwrap();
        assert_eq!((first.len(), second.len()), (4, 4));
        assert!(dir.path().join("sqlite/0002_second.up.sql").exists());
        assert!(dir.path().join("postgres/0002_second.down.sql").exists());
        assert!(is_snake_case("add_labels_2") && !is_snake_case("Not Good") && !is_snake_case(""));
    }
}
