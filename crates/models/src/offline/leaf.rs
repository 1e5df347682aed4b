//! Numbers and formatted texts for a JSON Schema.

use rand::{Rng, RngExt};
use serde_json::{Map, Value, json};

/// A number within its bounds; whole where it must be, else with two decimals where there is room for them.
pub(super) fn number<R: Rng>(
    members: &Map<String, Value>,
    whole: bool,
    rng: &mut R,
) -> Result<Value, String> {
    let bound = |key: &str| members.get(key).and_then(Value::as_f64);
    let step = bound("multipleOf").filter(|step| *step > 0.0).unwrap_or(if whole { 1.0 } else { 0.01 });
    let step = if whole && step.fract() != 0.0 { 1.0 } else { step };
    let above = bound("exclusiveMinimum");
    let below = bound("exclusiveMaximum");
    let least = [bound("minimum"), above].into_iter().flatten().reduce(f64::max);
    let most = [bound("maximum"), below].into_iter().flatten().reduce(f64::min);
    let span = step.max(1.0) * 100.0;
    let low = least.unwrap_or_else(|| most.map_or(0.0, |most| (most - span).min(0.0)));
    let high = most.unwrap_or(low.max(0.0) + span);
    let mut first = (low / step).ceil();
    let mut last = (high / step).floor();
    if above.is_some_and(|above| first * step <= above) {
        first += 1.0;
    }
    if below.is_some_and(|below| last * step >= below) {
        last -= 1.0;
    }
    if first > last {
        let between = low.midpoint(high);
        let fits = !whole && !members.contains_key("multipleOf") && low <= between && between <= high;
        return if fits { Ok(json!(between)) } else { Err("no number lies within the bounds".to_owned()) };
    }
    let drawn = first + (rng.random::<f64>() * (last - first + 1.0)).floor().min(last - first);
    Ok(if whole && step.fract() == 0.0 { integer(drawn * step) } else { json!(rounded(drawn, step)) })
}

/// `drawn · step` without the dirt of binary fractions: 0.07, not 0.07000000000000001.
fn rounded(drawn: f64, step: f64) -> f64 {
    let inverse = (1.0 / step).round();
    if inverse >= 1.0 && (inverse * step - 1.0).abs() < 1e-9 { drawn / inverse } else { drawn * step }
}

#[allow(clippy::cast_possible_truncation)] // The value is whole and within i64 by the first test.
fn integer(value: f64) -> Value {
    if value.abs() < 9e15 { json!(value as i64) } else { json!(value) }
}

/// Texts for the formats of JSON Schema 2020-12 (7.3) that models are asked for; `None` for the others.
pub(super) fn formatted<R: Rng>(format: &str, rng: &mut R) -> Option<String> {
    let mut between = |low: u32, high: u32| rng.random_range(low..=high);
    Some(match format {
        "date" => format!("20{:02}-{:02}-{:02}", between(10, 29), between(1, 12), between(1, 28)),
        "time" => format!("{:02}:{:02}:{:02}Z", between(0, 23), between(0, 59), between(0, 59)),
        "date-time" => format!(
            "20{:02}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            between(10, 29),
            between(1, 12),
            between(1, 28),
            between(0, 23),
            between(0, 59),
            between(0, 59)
        ),
        "duration" => format!("PT{}M", between(1, 90)),
        "email" | "idn-email" => format!("person{}@example.com", between(1, 9_999)),
        "hostname" | "idn-hostname" => format!("host{}.example.com", between(1, 9_999)),
        "uri" | "iri" | "uri-reference" | "iri-reference" => {
            format!("https://example.com/{}", between(1, 99_999))
        }
        "ipv4" => format!("192.0.2.{}", between(1, 254)),
        "ipv6" => format!("2001:db8::{:x}", between(1, 0xffff)),
        "uuid" => format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:08x}{:04x}",
            between(0, u32::MAX),
            between(0, 0xffff),
            between(0, 0xfff),
            between(0, 0xfff),
            between(0, u32::MAX),
            between(0, 0xffff)
        ),
        _ => return None,
    })
}
