//! The records that the benchmark exports: the same for each run.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use indexmap::IndexMap;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use windrow_core::{JobId, PicoUsd, Timestamp};
use windrow_generate::export::Columns;
use windrow_generate::record::{PartBuilder, PartHeader, Record, StepMeta, record_id};

/// A shard's checkpoint.
const PART: u64 = 50;

/// Letters an answer; with all else a record is about 4.4 KB.
const ANSWER: usize = 3_670;

pub(crate) fn part_path(dir: &Path, part: u64) -> PathBuf {
    dir.join(format!("parts/{part:06}.jsonl"))
}

pub(crate) fn columns_path(dir: &Path) -> PathBuf {
    dir.join("columns.json")
}

/// Writes the parts, their columns, and `records.jsonl` for the comparison. Returns the records' bytes.
pub(crate) fn make(dir: &Path, rows: u64) -> Result<u64> {
    if dir.join("parts").exists() {
        fs::remove_dir_all(dir.join("parts"))?;
    }
    fs::create_dir_all(dir.join("parts"))?;
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let words = vocabulary(&mut rng);
    let job_id: JobId = "01980000-0000-7000-8000-000000000001".parse()?;
    let mut all = BufWriter::new(File::create(dir.join("records.jsonl"))?);
    let (mut builder, mut columns, mut bytes, mut part) = (PartBuilder::new(0), Columns::default(), 0, 0);
    for index in 0..rows {
        builder.push_record(&record(&mut rng, &words, job_id, index)?)?;
        if builder.len() < PART && index + 1 < rows {
            continue;
        }
        let Some(done) = builder.finish() else { continue };
        let PartHeader { records_bytes, .. } = done.header;
        all.write_all(&done.bytes[done.bytes.len() - usize::try_from(records_bytes)?..])?;
        fs::write(part_path(dir, part), &done.bytes)?;
        columns.merge(&done.columns);
        bytes += records_bytes;
        part += 1;
    }
    all.flush()?;
    fs::write(columns_path(dir), serde_json::to_vec(&columns)?)?;
    Ok(bytes)
}

/// 5,000 made-up words of two to eleven letters, some of them beyond ASCII.
fn vocabulary(rng: &mut ChaCha8Rng) -> Vec<String> {
    let letters: Vec<char> = "etaoinshrdlucmfwypvbgkéü".chars().collect();
    let word = |rng: &mut ChaCha8Rng| {
        let length = rng.random_range(2..12);
        (0..length).map(|_| letters[rng.random_range(0..letters.len())]).collect()
    };
    (0..5_000).map(|_| word(rng)).collect()
}

/// Prose as models write it: sentences with commas, quotes and paragraphs. Frequent words are frequent.
fn prose(rng: &mut ChaCha8Rng, words: &[String], length: usize) -> String {
    let mut text = String::with_capacity(length + 16);
    while text.len() < length {
        let rank = rng.random::<f64>().powi(3) * words.len() as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank among 5,000")]
        let word = &words[rank as usize];
        match rng.random_range(0..60) {
            0..4 => text.extend([word.as_str(), ", "]),
            4..7 => text.extend([word.as_str(), ". "]),
            7 => text.extend(["\"", word.as_str(), "\" "]),
            8 => text.extend([word.as_str(), ".\n\n"]),
            _ => text.extend([word.as_str(), " "]),
        }
    }
    text
}

fn record(rng: &mut ChaCha8Rng, words: &[String], job_id: JobId, index: u64) -> Result<Record> {
    let tags: Vec<&String> =
        (0..rng.random_range(0..5)).map(|_| &words[rng.random_range(0..words.len())]).collect();
    let output = json!({
        "question": prose(rng, words, 180),
        "answer": prose(rng, words, ANSWER),
        "score": f64::from(rng.random_range(0..1_000u32)) / 1_000.0,
        "length": rng.random_range(0..10_000u32),
        "good": rng.random::<bool>(),
        "tags": tags,
        "author": {"name": prose(rng, words, 12), "born": rng.random_range(1800..2000u32)},
    });
    let Value::Object(output) = output else { anyhow::bail!("an output is an object") };
    let mut step = |model: &str| StepMeta {
        model: model.to_owned(),
        input_tokens: rng.random_range(100..900),
        output_tokens: rng.random_range(100..900),
        cost_usd: PicoUsd::from_pico(rng.random_range(1..900_000_000)),
    };
    Ok(Record {
        id: record_id(job_id, index),
        job_id,
        index,
        created_at: Timestamp::from_micros(1_767_225_600_123_000 + i64::try_from(index)? * 7_000),
        seed_data_id: (index % 1_000).to_string(),
        meta: IndexMap::from([("outline".to_owned(), step("small")), ("answer".to_owned(), step("large"))]),
        output,
    })
}
