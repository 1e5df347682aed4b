//! What somebody at a terminal sees, which a test's pipes don't show.

use std::time::Duration;

use crate::harness::{Ran, Windrow, example};
use crate::provider::Provider;

/// What begins a line anew: a carriage return, or the sequence that erases it (ECMA-48, EL).
const ERASE: &str = "\x1b[2K";

#[test]
fn a_run_draws_a_bar_that_gives_way_to_the_end_line() {
    // answers that take a while, so that there is something to be drawn
    let provider = Provider::start(Duration::from_millis(20));
    let windrow = Windrow::new().with_env("OPENAI_API_KEY", "a key of the test");
    let template =
        "template:\n  name: t\n  steps:\n    - {id: a, max_tokens: 20, prompt: 'About {{ topic }}.'}\n";
    windrow.file("t.yaml", template);
    let seed = example("seed/topics-10.csv").display().to_string();
    let args =
        ["generate", "run", "--template", "t.yaml", "--seed", &seed, "--records", "60", "--out", "out"];
    let more = ["--model", "openai:gpt-4o-mini", "--base-url", &provider.url, "--budget-usd", "1", "--yes"];
    let args = [&args[..], &more, &["--concurrency", "2"]].concat();
    let ran = Ran::of(&windrow.at_a_terminal(&args).output().unwrap()).ok();
    let seen = &ran.stdout;
    let drawn = |line: &str| line.contains("/60") && line.contains("to go") && line.contains('░');
    assert!(seen.split(ERASE).any(drawn), "no bar was drawn: {seen:?}");
    assert!(seen.split(ERASE).filter(|line| drawn(line)).count() > 1, "the bar never moved: {seen:?}");
    // whatever was drawn is erased before the last words
    let last = seen.rsplit(ERASE).next().unwrap();
    assert!(last.contains("60 records for 0.00") && last.contains("out/data.jsonl"), "{last:?} in {seen:?}");
    assert!(!seen[seen.find("60 records for").unwrap()..].contains("to go"), "{seen:?}");

    // the same without a terminal, and for scripts: no bar
    for more in [&[][..], &["--json"]] {
        let again = windrow.run(&[&args[..], more].concat()).ok();
        assert!(!again.stderr.contains(ERASE) && !again.stdout.contains(ERASE), "{again:?}");
    }
}
