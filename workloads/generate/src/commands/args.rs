//! The arguments, as clap sees them.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};
use windrow_core::PicoUsd;

use crate::export::Format;

#[derive(Debug, Subcommand)]
pub(super) enum GenerateCommand {
    /// Make a dataset, with an engine of its own in the output directory. The same command again goes on where it was.
    Run(Box<RunArgs>),
    /// Say what a dataset would cost. Nothing is spent.
    Estimate(Box<EstimateArgs>),
    /// Have a model make seed records like an example.
    Seed(Box<SeedArgs>),
}

#[derive(Debug, Subcommand)]
pub(super) enum TemplateCommand {
    /// Show what a template makes of the first seed records. Needs no server and costs nothing.
    Preview(PreviewArgs),
    /// Create a template on the server, or add a version when its text has changed.
    Push {
        /// The template: YAML or JSON.
        file: PathBuf,
    },
    /// List templates on the server.
    List {
        /// Part of the name or the description.
        text: Option<String>,
        #[arg(long)]
        category: Option<String>,
        /// Only your own.
        #[arg(long)]
        mine: bool,
    },
    /// Show a template of the server, and what it uses.
    Show {
        /// `name`, `name@version` or an id.
        template: String,
    },
    /// Compare two versions of a template.
    Diff {
        /// The template's name or id.
        template: String,
        from: u32,
        /// The latest unless told.
        to: Option<u32>,
    },
    /// Write a template of the server to a file, or to standard output.
    Export {
        /// `name`, `name@version` or an id.
        template: String,
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Create a template of your own from an exported file.
    Import {
        file: PathBuf,
        /// Another name than the file says.
        #[arg(long)]
        name: Option<String>,
    },
}

/// Where models are, for engines that commands start themselves.
#[derive(Clone, Debug, Args)]
pub(super) struct ModelArgs {
    /// Asked in every step, instead of what the template says: `offline`, `openai:NAME`, an alias or a model id.
    #[arg(long, value_name = "MODEL")]
    pub(super) model: Option<String>,
    /// The OpenAI-compatible server behind `openai:NAME`, with its /v1.
    #[arg(long, value_name = "URL")]
    pub(super) base_url: Option<String>,
    /// What the models behind `openai:NAME` cost: USD for a million tokens in and for a million out, such as 0.15,0.60.
    #[arg(long, value_name = "IN,OUT", value_parser = prices)]
    pub(super) price_usd_per_mtok: Option<[PicoUsd; 2]>,
    /// Take models without a known price; their calls count as free.
    #[arg(long)]
    pub(super) allow_unpriced: bool,
    /// The most that the job may cost. A job that ended for want of more goes on when the same command names more.
    #[arg(long, value_name = "USD")]
    pub(super) budget_usd: Option<PicoUsd>,
}

impl ModelArgs {
    /// The settings that these arguments stand for.
    pub(super) fn overrides(&self) -> Vec<(String, String)> {
        let base_url = self.base_url.clone().map(|url| ("OPENAI_BASE_URL".to_owned(), url));
        let unpriced = self.allow_unpriced.then(|| ("WINDROW_ALLOW_UNPRICED".to_owned(), "true".to_owned()));
        let names = ["WINDROW_OPENAI_INPUT_USD_PER_MILLION", "WINDROW_OPENAI_OUTPUT_USD_PER_MILLION"];
        let prices = self.price_usd_per_mtok.iter().flatten();
        let prices = names.iter().zip(prices).map(|(name, price)| ((*name).to_owned(), price.to_string()));
        base_url.into_iter().chain(unpriced).chain(prices).collect()
    }
}

/// Two amounts with a comma between them.
fn prices(text: &str) -> Result<[PicoUsd; 2], String> {
    let (input, output) =
        text.split_once(',').ok_or("two amounts with a comma between them, such as 0.15,0.60")?;
    let price = |name: &str, text: &str| match text.trim().parse::<PicoUsd>() {
        Ok(price) if price >= PicoUsd::ZERO => Ok(price),
        Ok(_) => Err(format!("the price of tokens {name} must not be negative")),
        Err(error) => Err(format!("the price of tokens {name}: {error}")),
    };
    Ok([price("in", input)?, price("out", output)?])
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum PairingArg {
    Random,
    Sequential,
    Product,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum OnErrorArg {
    Skip,
    Fail,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum DedupArg {
    None,
    Exact,
    Near,
}

/// A dataset to be made.
#[derive(Clone, Debug, Args)]
pub(super) struct DatasetArgs {
    /// The template: YAML or JSON.
    #[arg(long, value_name = "FILE")]
    pub(super) template: PathBuf,
    /// A fragment that the template includes; those beside the template are found by themselves.
    #[arg(long, value_name = "FILE")]
    pub(super) include: Vec<PathBuf>,
    /// The seed records: JSON, JSONL or CSV, gzip or not; or sample:NAME.
    #[arg(long, value_name = "FILE")]
    pub(super) seed: String,
    /// How many records to make.
    #[arg(long, value_name = "N")]
    pub(super) records: u64,
    #[command(flatten)]
    pub(super) models: ModelArgs,
    /// What to write: jsonl, csv, parquet.
    #[arg(long = "format", value_name = "FORMAT", value_delimiter = ',', default_values = ["jsonl", "csv", "parquet"])]
    pub(super) formats: Vec<Format>,
    /// The same number gives the same prompts. Drawn when absent.
    #[arg(long, value_name = "N")]
    pub(super) random_seed: Option<u64>,
    /// How seed records are given to records [default: random].
    #[arg(long, value_enum)]
    pub(super) pairing: Option<PairingArg>,
    /// Records in flight in one shard [default: 16].
    #[arg(long, value_name = "N")]
    pub(super) concurrency: Option<u32>,
    /// Records a shard [default: 500].
    #[arg(long, value_name = "N")]
    pub(super) shard_size: Option<u32>,
    /// Instead of what the template says: 0 to 2.
    #[arg(long, value_name = "T")]
    pub(super) temperature: Option<f64>,
    /// What a failed record does to the job [default: skip].
    #[arg(long, value_enum)]
    pub(super) on_record_error: Option<OnErrorArg>,
    /// What an unusable seed record does to the job [default: skip].
    #[arg(long, value_enum)]
    pub(super) on_invalid: Option<OnErrorArg>,
    /// The share of failed records that ends the job [default: 0.2].
    #[arg(long, value_name = "SHARE")]
    pub(super) max_error_rate: Option<f64>,
    /// Drop records that are there already [default: none].
    #[arg(long, value_enum)]
    pub(super) dedup: Option<DedupArg>,
    /// Make further records until as many stand as were asked for.
    #[arg(long)]
    pub(super) refill: bool,
    /// A folder for each value: date, or a field of the records. Values that can't name a folder share FIELD=__OTHER__.
    #[arg(long, value_name = "FIELD")]
    pub(super) partition_by: Option<String>,
}

impl DatasetArgs {
    /// All of the job's spec but its template and seed data.
    pub(super) fn spec(&self) -> Map<String, Value> {
        let mut spec = Map::new();
        let mut set = |field: &str, value: Option<Value>| {
            if let Some(value) = value {
                spec.insert(field.to_owned(), value);
            }
        };
        set("records", Some(self.records.into()));
        set("formats", Some(json!(self.formats)));
        set("random_seed", self.random_seed.map(Into::into));
        set("pairing", self.pairing.map(named));
        set("concurrency", self.concurrency.map(Into::into));
        set("shard_size", self.shard_size.map(Into::into));
        set("on_record_error", self.on_record_error.map(named));
        set("on_invalid", self.on_invalid.map(named));
        set("max_error_rate", self.max_error_rate.map(Into::into));
        set("dedup", self.dedup.map(named));
        set("refill", self.refill.then(|| true.into()));
        set("partition_by", self.partition_by.clone().map(Into::into));
        let mut overrides = Map::new();
        if let Some(model) = &self.models.model {
            overrides.insert("model".to_owned(), model.clone().into());
        }
        if let Some(temperature) = self.temperature {
            overrides.insert("temperature".to_owned(), temperature.into());
        }
        set("overrides", (!overrides.is_empty()).then(|| overrides.into()));
        spec
    }
}

/// The API's word for a choice is the command line's.
#[expect(clippy::needless_pass_by_value, reason = "so that it can be mapped over an option")]
fn named(choice: impl ValueEnum) -> Value {
    let name = choice.to_possible_value().map(|value| value.get_name().to_owned());
    name.unwrap_or_default().into()
}

#[derive(Clone, Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) dataset: DatasetArgs,
    /// Where the dataset goes. The engine's own files stand in .windrow below it.
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
    /// Begin without asking.
    #[arg(long)]
    pub(super) yes: bool,
}

#[derive(Clone, Debug, Args)]
pub(super) struct EstimateArgs {
    #[command(flatten)]
    pub(super) dataset: DatasetArgs,
}

#[derive(Clone, Debug, Args)]
pub(super) struct SeedArgs {
    /// A JSON file with one record as they should be.
    #[arg(long, value_name = "FILE")]
    pub(super) example: PathBuf,
    /// What they should be about, and how they should differ.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(super) instructions: String,
    /// How many to make: 1 to 1,000.
    #[arg(long, value_name = "N")]
    pub(super) records: u64,
    #[command(flatten)]
    pub(super) models: ModelArgs,
    /// 0 to 2 [default: 1].
    #[arg(long, value_name = "T")]
    pub(super) temperature: Option<f64>,
    /// The same number gives the same prompts. Drawn when absent.
    #[arg(long, value_name = "N")]
    pub(super) random_seed: Option<u64>,
    /// Where seed.jsonl goes. The engine's own files stand in .windrow below it.
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
    /// Begin without asking.
    #[arg(long)]
    pub(super) yes: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum PreviewModeArg {
    /// Prompts only.
    #[default]
    Render,
    /// With answers of the built-in offline model.
    Offline,
}

#[derive(Clone, Debug, Args)]
pub(super) struct PreviewArgs {
    /// The template: YAML or JSON.
    pub(super) template: PathBuf,
    /// A fragment that the template includes; those beside the template are found by themselves.
    #[arg(long, value_name = "FILE")]
    pub(super) include: Vec<PathBuf>,
    /// The seed records: JSON, JSONL or CSV, gzip or not; or sample:NAME.
    #[arg(long, value_name = "FILE")]
    pub(super) seed: String,
    /// How many of the first usable seed records: 1 to 20.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(super) limit: u32,
    /// Where answers come from.
    #[arg(long, value_enum, default_value_t)]
    pub(super) mode: PreviewModeArg,
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) random_seed: u64,
}
