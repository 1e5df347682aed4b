use super::*;
use crate::template::{Fragments, TemplateDocument, estimate_tokens};
use serde_json::json;

/// A token a microdollar in, two out; "free" has no price.
struct Facts;

impl ModelFacts for Facts {
    fn count_tokens(&self, _model: &str, text: &str) -> u64 {
        estimate_tokens(text)
    }

    fn cost(&self, model: &str, input_tokens: u64, output_tokens: u64) -> Option<PicoUsd> {
        let micro = PicoUsd::from_pico(1_000_000);
        (model != "free").then(|| micro.saturating_mul(input_tokens + 2 * output_tokens))
    }
}

fn template(text: &str) -> CompiledTemplate {
    let document = TemplateDocument::parse(text).unwrap();
    CompiledTemplate::compile(document, &Fragments::new()).unwrap()
}

fn models(steps: &[(&str, &str, u32)]) -> IndexMap<String, PinnedStep> {
    steps
        .iter()
        .map(|(id, model, max_tokens)| {
            let step = PinnedStep { model: (*model).to_owned(), temperature: None, max_tokens: *max_tokens };
            ((*id).to_owned(), step)
        })
        .collect()
}

fn seeds(records: &[Value]) -> Vec<SeedRecord> {
    (0..).zip(records).map(|(i, r)| SeedRecord::new(i, r)).collect()
}

#[test]
fn one_step_is_measured_and_scaled() {
    let template = template("template: {name: t, steps: [{id: a, prompt: 'Say {{ word }}'}]}");
    let sample = seeds(&[json!({"word": "one"}), json!({"word": "one two three"})]);
    let e = estimate(&template, &models(&[("a", "m", 100)]), &sample, 1000, 1, &Facts).unwrap();
    // 2 and 4 tokens of prompt, 8 around the message.
    assert_eq!(e.input_tokens, Range { low: 10_000, likely: 11_000, high: 12_000 });
    assert_eq!(e.output_tokens, Range { low: 25_000, likely: 50_000, high: 100_000 });
    assert_eq!(e.cost_usd.likely, PicoUsd::from_pico(111_000 * 1_000_000));
    assert_eq!((e.sampled, e.failed, e.unpriced.len()), (2, 0, 0));
}

#[test]
fn later_steps_see_stand_ins_of_the_likely_length() {
    let text = "
template:
  name: t
  steps:
    - {id: a, prompt: p}
    - id: b
      prompt: '{{ steps.a.output }}'
";
    let e = estimate(
        &template(text),
        &models(&[("a", "m", 400), ("b", "m", 100)]),
        &seeds(&[json!({})]),
        10,
        1,
        &Facts,
    )
    .unwrap();
    assert_eq!(e.steps[1].input_tokens.likely, 10 * (200 + 8));
}

#[test]
fn answers_in_json_stand_in_by_their_schema_or_as_anything() {
    let text = "
template:
  name: t
  steps:
    - id: a
      prompt: p
      output: json
      schema:
        type: object
        properties:
          title: {type: string}
          tags: {type: array, items: {$ref: '#/$defs/tag'}}
        $defs: {tag: {enum: [red, blue]}}
    - {id: b, prompt: '{{ steps.a.output.title }}: {{ steps.a.output.tags | join(\",\") }}', output: json}
    - {id: c, prompt: '{{ steps.b.output.any.thing }}'}
";
    let models = models(&[("a", "m", 100), ("b", "m", 100), ("c", "m", 100)]);
    let e = estimate(&template(text), &models, &seeds(&[json!({})]), 1, 1, &Facts).unwrap();
    assert_eq!(e.failed, 0);
    assert_eq!(e.steps[1].input_tokens.likely, 15 + 4 + 8);
    assert_eq!(e.steps[2].input_tokens.likely, 50 + 8);
}

#[test]
fn what_does_not_render_is_counted_and_all_of_it_is_an_error() {
    let template = template("template: {name: t, steps: [{id: a, prompt: '{{ word }}'}]}");
    let models = models(&[("a", "free", 10)]);
    let sample = seeds(&[json!({"word": "x"}), json!({})]);
    let e = estimate(&template, &models, &sample, 10, 1, &Facts).unwrap();
    assert_eq!((e.sampled, e.failed), (2, 1));
    assert!(e.failure.unwrap().contains("word"));
    assert_eq!(e.unpriced, ["free"]);
    assert_eq!(e.cost_usd, Range::default());
    let error = estimate(&template, &models, &seeds(&[json!({})]), 10, 1, &Facts).unwrap_err();
    assert!(matches!(error, EstimateError::NothingRenders { sampled: 1, .. }), "{error}");
    assert_eq!(estimate(&template, &models, &[], 10, 1, &Facts), Err(EstimateError::NoSample));
}

#[test]
fn a_conditional_step_is_counted_by_its_share_and_at_most_for_all() {
    let template = template("template: {name: t, steps: [{id: a, prompt: p, when: '{{ n > 1 }}'}]}");
    let sample = seeds(&[json!({"n": 1}), json!({"n": 2}), json!({"n": 1}), json!({"n": 1})]);
    let e = estimate(&template, &models(&[("a", "m", 8)]), &sample, 100, 1, &Facts).unwrap();
    assert_eq!(e.steps[0].calls, Range { low: 25, likely: 25, high: 100 });
}
