//! A real language model behind a real OpenAI-compatible server. Nothing is asserted about what it says.

use windrow_test_support::SmallModel;

use crate::harness::{Windrow, example};

#[tokio::test(flavor = "multi_thread")]
async fn twenty_records_from_a_real_model() {
    let model = SmallModel::start().await;
    let (base_url, name) = (model.base_url().to_string(), format!("openai:{}", model.model()));
    tokio::task::spawn_blocking(move || {
        let windrow = Windrow::new().with_env("WINDROW_ALLOW_UNPRICED", "true");
        let template = windrow.file(
            "t.yaml",
            "template:\n  name: short\n  steps:\n    - {id: line, max_tokens: 12, prompt: 'One short sentence about {{ topic }}.'}\n",
        );
        let (template, seed) = (template.display().to_string(), example("seed/topics-10.csv").display().to_string());
        let args = ["generate", "run", "--template", &template, "--seed", &seed, "--records", "20", "--model", &name];
        let args = [&args[..], &["--base-url", &base_url, "--out", "out", "--yes"]].concat();
        windrow.run(&args).ok();
        let text = std::fs::read_to_string(windrow.path("out/data.jsonl")).unwrap();
        assert_eq!(text.lines().count(), 20);
    })
    .await
    .unwrap();
}
