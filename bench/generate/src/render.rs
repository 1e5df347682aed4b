//! Rendering the prompts of the templates in `examples/`, against Jinja2 in Python on the same templates and records:
//! processor time of one thread, with everything parsed and compiled beforehand on both sides.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use windrow_generate::sampler::RecordSeed;
use windrow_generate::seed::{SeedLimits, SeedReader, SeedRecord};
use windrow_generate::template::{CompiledTemplate, Fragments, StepOutput, StepOutputs, TemplateDocument};

use crate::table::{Figure, median, short};
use windrow_bench_gauge as gauge;

/// Each with a thousand records that fit it.
const PAIRS: [(&str, &str); 6] = [
    ("brainstorm", "topics-1000.csv"),
    ("seasonal-poem", "poems-1000.jsonl"),
    ("dialogue", "scenes-1000.json"),
    ("story", "poems-1000.jsonl"),
    ("question-answer", "poems-1000.jsonl"),
    ("newsletter", "topics-1000.csv"),
];

/// Processor time of one measured round of ours: many times the thousand records.
const ROUND: Duration = Duration::from_millis(400);

/// Ten times as fast as Jinja2.
const BAR: f64 = 10.0;

/// What both sides render, as `render.py` reads it.
#[derive(Serialize)]
struct Task {
    name: &'static str,
    fragments: Fragments,
    steps: Vec<Step>,
    records: Vec<Value>,
    rounds: usize,
}

#[derive(Serialize)]
struct Step {
    id: String,
    when: Option<String>,
    system: Option<String>,
    prompt: String,
    /// What the step is taken to give.
    output: Value,
}

/// What a side says of one template.
#[derive(Debug, Deserialize)]
struct Took {
    /// Processor time of each round.
    seconds: Vec<f64>,
    /// Characters of all that one round rendered.
    characters: f64,
}

/// Renders on both sides, a template at a time; `python` has Jinja2.
pub(crate) fn compare(dir: &Path, python: &Path, rounds: usize) -> Result<Vec<Figure>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("render.py");
    let (mut figures, mut sums) = (Vec::new(), (0.0, 0.0));
    for (name, seeds) in PAIRS {
        let (task, template, records) = task(name, seeds, rounds)?;
        let ours = ours(&task, &template, &records)?;
        let file = dir.join("render.json");
        fs::write(&file, serde_json::to_vec(&task)?)?;
        let output = Command::new(python).arg(&script).arg(&file).output();
        let output = output.with_context(|| format!("{} doesn't start", python.display()))?;
        ensure!(output.status.success(), "render.py: {}", String::from_utf8_lossy(&output.stderr));
        let theirs: Took = serde_json::from_slice(&output.stdout).context("what render.py says")?;
        // the random choices differ, and the texts with them, but not by much
        let share = ours.characters / theirs.characters;
        ensure!(
            (0.9..1.1).contains(&share),
            "{name}: {} and {} characters",
            ours.characters,
            theirs.characters
        );
        let usual = |took: &Took| median(&took.seconds);
        sums = (sums.0 + usual(&ours), sums.1 + usual(&theirs));
        let ratios = theirs.seconds.iter().zip(&ours.seconds).map(|(theirs, ours)| theirs / ours).collect();
        let each = |took: &Took| short(usual(took) / task.records.len() as f64 * 1e6);
        let note = format!("{} µs a record, Jinja2 {} µs", each(&ours), each(&theirs));
        figures.push(Figure::new(format!("rendering, {name}"), "×", ratios).at_least(BAR).note(note));
    }
    figures.push(Figure::new("rendering, all six together", "×", vec![sums.1 / sums.0]).at_least(BAR));
    Ok(figures)
}

fn task(name: &'static str, seeds: &str, rounds: usize) -> Result<(Task, CompiledTemplate, Vec<SeedRecord>)> {
    let document = document(name)?;
    let house_style = self::document("house-style")?.fragment.context("a fragment")?;
    let fragments = Fragments::from([("house-style@1".to_owned(), house_style)]);
    let file = File::open(examples().join("seed").join(seeds))?;
    let rows = SeedReader::open(file, SeedLimits::default()).map_err(|error| anyhow!("{seeds}: {error}"))?;
    let rows = rows.map(|row| row.map(|row| row.record)).collect::<Result<Vec<Value>, _>>();
    let rows = rows.map_err(|error| anyhow!("{seeds}: {error}"))?;
    let steps = document.steps.iter().map(|step| Step {
        id: step.id.clone(),
        when: step.when.clone(),
        system: step.system.clone(),
        prompt: step.prompt.clone(),
        output: output_of(&step.id),
    });
    let steps = steps.collect();
    let template = CompiledTemplate::compile(document, &fragments).map_err(|errors| anyhow!("{errors:?}"))?;
    let records = (0..).zip(&rows).map(|(number, row)| SeedRecord::new(number, row)).collect();
    Ok((Task { name, fragments, steps, records: rows, rounds }, template, records))
}

/// What a model may have answered to a step of the chained templates.
fn output_of(step: &str) -> Value {
    match step {
        "question" => json!({"question": "Which line says where the road ends?", "line": 3}),
        "outline" => json!(
            "A **keeper** loses a key.\n\nShe looks for it by the sea, and finds a letter.\n- It is her own."
        ),
        "story" => json!("The keeper went down to the shore and looked under every stone. ".repeat(16)),
        _ => json!("fine"),
    }
}

fn ours(task: &Task, template: &CompiledTemplate, records: &[SeedRecord]) -> Result<Took> {
    let mut took = Took { seconds: Vec::new(), characters: 0.0 };
    // one round to warm up
    for round in 0..=task.rounds {
        let (mut characters, mut passes, started) = (0usize, 0u32, gauge::thread_time()?);
        // the system counts in steps of some milliseconds
        let time = loop {
            for record in records {
                characters += render(task, template, record)?;
            }
            passes += 1;
            let time = gauge::thread_time()?.saturating_sub(started);
            if time >= ROUND {
                break time;
            }
        };
        if round > 0 {
            took.seconds.push(time.as_secs_f64() / f64::from(passes));
            took.characters = characters as f64 / f64::from(passes);
        }
    }
    Ok(took)
}

/// All prompts of one record; gives their length.
fn render(task: &Task, template: &CompiledTemplate, record: &SeedRecord) -> Result<usize> {
    let seed = RecordSeed { random_seed: 7, index: record.number() };
    let (mut outputs, mut length) = (StepOutputs::new(), 0);
    for (place, step) in task.steps.iter().enumerate() {
        let rendered = template
            .render(place, record, &outputs, seed)
            .map_err(|error| anyhow!("{}: {error}", task.name))?;
        let Some(rendered) = rendered else {
            outputs.push(template, StepOutput::Skipped);
            continue;
        };
        length += rendered.prompt.len() + rendered.system.map_or(0, |system| system.len());
        if place + 1 < task.steps.len() {
            let output = match &step.output {
                Value::String(text) => StepOutput::Text(text.clone()),
                value => StepOutput::Json(value.clone()),
            };
            outputs.push(template, output);
        }
    }
    Ok(length)
}

fn document(name: &str) -> Result<TemplateDocument> {
    let text = fs::read_to_string(examples().join("templates").join(format!("{name}.yaml")))?;
    TemplateDocument::parse(&text).map_err(|errors| anyhow!("{name}: {errors:?}"))
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}
