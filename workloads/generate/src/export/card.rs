//! The dataset card, for people and for Hugging Face's `datasets`.
//!
//! The YAML front matter is what `load_dataset(FOLDER)` reads
//! (<https://huggingface.co/docs/hub/datasets-manual-configuration>): which files are the dataset, since the same
//! records stand in several formats. It looks for it in `README.md`, so the card is written under that name as well.

use std::fmt::Write;

use super::plan::value_column;
use super::{Columns, ExportError, FALLBACK, Format, Manifest, PartitionBy, Shape, Sink, write_document};

/// The card's file name.
pub const DATASET_CARD: &str = "dataset_card.md";

/// The name under which `datasets` looks for the card; the same text.
pub const README: &str = "README.md";

/// Writes what goes with every export: the manifest, and the card under both of its names.
///
/// # Errors
/// When the sink can't take one of them.
pub fn write_documents(
    sink: &mut dyn Sink,
    manifest: &Manifest,
    columns: &Columns,
) -> Result<(), ExportError> {
    manifest.write(sink)?;
    let card = dataset_card(manifest, columns);
    for name in [DATASET_CARD, README] {
        write_document(sink, name, &card)?;
    }
    Ok(())
}

/// The card's text.
pub fn dataset_card(manifest: &Manifest, columns: &Columns) -> String {
    let mut card = front_matter(manifest, columns);
    // writing to a String can't fail
    let _ = overview(&mut card, manifest);
    let _ = column_table(&mut card, columns);
    let _ = fallback(&mut card, manifest, columns);
    let _ = provenance(&mut card, manifest);
    let _ = files(&mut card, manifest);
    card
}

fn front_matter(manifest: &Manifest, columns: &Columns) -> String {
    let name = serde_json::Value::from(manifest.template.name.as_str());
    let mut text = format!(
        "---\npretty_name: {name}\ntags:\n- synthetic\n- windrow\nsize_categories:\n- {}\n",
        size_category(manifest.records)
    );
    if let Some(format) = default_format(manifest, columns) {
        let path = match manifest.partition_by {
            _ if manifest.files.iter().any(|file| file.path == format!("data.{format}")) => {
                format!("data.{format}")
            }
            _ => format!("{format}/**/*.{format}"),
        };
        text.push_str("configs:\n- config_name: default\n  data_files:\n  - split: train\n");
        text.push_str(&format!("    path: \"{path}\"\n"));
    }
    text.push_str("---\n\n");
    text
}

/// The format that `datasets` should load: typed columns if there are. Where the folders' names hold a field, which
/// `datasets` doesn't read, it is JSONL, or CSV when a column has values of several types, which its JSON reader refuses.
fn default_format(manifest: &Manifest, columns: &Columns) -> Option<Format> {
    let in_folders = matches!(manifest.partition_by, PartitionBy::Field(_));
    let order = if !in_folders || !manifest.partition_fallback.is_empty() {
        [Format::Parquet, Format::Jsonl, Format::Csv]
    } else if columns.output.values().any(Shape::is_mixed) {
        [Format::Csv, Format::Parquet, Format::Jsonl]
    } else {
        [Format::Jsonl, Format::Csv, Format::Parquet]
    };
    let has = |format: &Format| {
        manifest
            .files
            .iter()
            .any(|file| file.path == format!("data.{format}") || file.path.starts_with(&format!("{format}/")))
    };
    order.into_iter().find(has)
}

/// The Hub's own categories of size.
fn size_category(records: u64) -> &'static str {
    match records {
        0..1_000 => "n<1K",
        1_000..10_000 => "1K<n<10K",
        10_000..100_000 => "10K<n<100K",
        100_000..1_000_000 => "100K<n<1M",
        1_000_000..10_000_000 => "1M<n<10M",
        _ => "10M<n<100M",
    }
}

fn overview(card: &mut String, manifest: &Manifest) -> std::fmt::Result {
    let Manifest { template, records, requested, rejects, .. } = manifest;
    writeln!(card, "# {}\n", one_line(&template.name))?;
    writeln!(
        card,
        "A synthetic dataset of {records} records, made by language models from seed records with the template \
         `{}@{}`.\n",
        template.id, template.version
    )?;
    if manifest.partial {
        writeln!(card, "**It is partial: the job ended before all records were made.**\n")?;
    }
    writeln!(card, "| | |\n|---|---|")?;
    writeln!(card, "| records asked for | {requested} |\n| records | {records} |\n| rejects | {rejects} |")?;
    for (reason, count) in &manifest.shortfall {
        writeln!(card, "| missing: {} | {count} |", reason.as_str())?;
    }
    writeln!(card, "| tokens in, out | {}, {} |", manifest.input_tokens, manifest.output_tokens)?;
    writeln!(card, "| cost | {} USD |\n", manifest.cost_usd)
}

fn column_table(card: &mut String, columns: &Columns) -> std::fmt::Result {
    writeln!(card, "## Columns\n\n| column | type |\n|---|---|")?;
    writeln!(card, "| id | text (UUID) |\n| job_id | text (UUID) |\n| index | integer |")?;
    writeln!(card, "| created_at | time (UTC) |\n| seed_data_id | text |")?;
    for (name, shape) in &columns.output {
        writeln!(card, "| {} | {} |", cell(name), describe(shape))?;
    }
    writeln!(card, "| meta | object: model, tokens and cost of each step |\n")?;
    writeln!(
        card,
        "In CSV, lists and objects are JSON texts, an empty field is null and `\"\"` the empty text. Texts are never \
         changed: one that begins with `=`, `+`, `-` or `@` may be taken for a formula by a spreadsheet.\n"
    )
}

/// Which records stand in the folder for those that can't have their own.
fn fallback(card: &mut String, manifest: &Manifest, columns: &Columns) -> std::fmt::Result {
    let Some(key) = manifest.partition_by.key().filter(|_| !manifest.partition_fallback.is_empty()) else {
        return Ok(());
    };
    let count: u64 = manifest.partition_fallback.values().sum();
    let reasons =
        manifest.partition_fallback.iter().map(|(reason, count)| format!("{count} {}", reason.as_str()));
    let reasons: Vec<String> = reasons.collect();
    write!(
        card,
        "{count} records stand in the folder `{}={FALLBACK}` because their value can't name one ({}).",
        one_line(key),
        reasons.join(", ")
    )?;
    match manifest.partition_by {
        PartitionBy::Field(_) => {
            writeln!(
                card,
                " In Parquet, every record's value is in the column `{}`.\n",
                value_column(columns, key)
            )
        }
        _ => writeln!(card, "\n"),
    }
}

fn describe(shape: &Shape) -> String {
    match shape {
        Shape::Null => "always null".to_owned(),
        Shape::Bool => "boolean".to_owned(),
        Shape::Int | Shape::BigInt => "integer".to_owned(),
        Shape::Float => "number".to_owned(),
        Shape::Text => "text".to_owned(),
        Shape::Json => "mixed (JSON text in Parquet)".to_owned(),
        Shape::List(item) => format!("list of {}", describe(item)),
        Shape::Object(fields) => {
            let names: Vec<String> = fields.keys().map(|name| cell(name)).collect();
            format!("object: {}", names.join(", "))
        }
    }
}

fn provenance(card: &mut String, manifest: &Manifest) -> std::fmt::Result {
    writeln!(card, "## How it was made\n")?;
    writeln!(card, "Job `{}`, exported {}.", manifest.job_id, manifest.created_at)?;
    writeln!(
        card,
        "All random choices come from the seed {}: the same template, seed records and seed ask the same prompts.\n",
        manifest.random_seed
    )?;
    writeln!(card, "| model | calls | tokens in | tokens out | cost (USD) |\n|---|---|---|---|---|")?;
    for (model, usage) in &manifest.models {
        let (calls, cost) = (usage.calls, usage.cost_usd);
        writeln!(
            card,
            "| {} | {calls} | {} | {} | {cost} |",
            cell(model),
            usage.input_tokens,
            usage.output_tokens
        )?;
    }
    card.push('\n');
    Ok(())
}

fn files(card: &mut String, manifest: &Manifest) -> std::fmt::Result {
    /// A partitioned dataset may have thousands.
    const SHOWN: usize = 50;
    writeln!(card, "## Files\n\n| file | rows | bytes | SHA-256 |\n|---|---|---|---|")?;
    for file in manifest.files.iter().take(SHOWN) {
        writeln!(card, "| {} | {} | {} | `{}` |", cell(&file.path), file.rows, file.bytes, file.sha256)?;
    }
    if manifest.files.len() > SHOWN {
        writeln!(card, "\n… and {} more: see `manifest.json`.", manifest.files.len() - SHOWN)?;
    }
    Ok(())
}

/// A text that can't end its line or its cell.
fn cell(text: &str) -> String {
    one_line(text).replace('|', "\\|")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
