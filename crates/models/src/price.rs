//! Prices as data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use windrow_core::PicoUsd;

use crate::response::Usage;

/// The version of the built-in tables, stamped on ledger rows: the day they were taken.
pub const TABLE_VERSION: &str = "2026-11-21";

/// What a token costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// One prompt token.
    pub input: PicoUsd,
    /// One token of the answer.
    pub output: PicoUsd,
    /// One prompt token read from the provider's cache; `input` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<PicoUsd>,
}

impl Price {
    /// Costs nothing.
    pub const FREE: Self = Self { input: PicoUsd::ZERO, output: PicoUsd::ZERO, cached_input: None };

    /// From what price lists show: USD per million tokens. A fraction of a pico-USD is rounded up.
    pub const fn per_million(input: PicoUsd, output: PicoUsd) -> Self {
        Self { input: millionth(input), output: millionth(output), cached_input: None }
    }

    pub fn is_free(&self) -> bool {
        *self == Self::FREE || (self.dearest_input().is_zero() && self.output.is_zero())
    }

    /// What a call with this usage costs, saturating.
    pub fn cost(&self, usage: &Usage) -> PicoUsd {
        let cached = usage.cached_input_tokens.min(usage.input_tokens);
        let fresh = usage.input_tokens - cached;
        [
            self.input.saturating_mul(fresh),
            self.cached_input.unwrap_or(self.input).saturating_mul(cached),
            self.output.saturating_mul(usage.output_tokens),
        ]
        .into_iter()
        .sum()
    }

    /// The most that so many prompt and answer tokens can cost, however many the provider reads from its cache.
    pub fn worst_case(&self, input_tokens: u64, output_tokens: u64) -> PicoUsd {
        let input = self.dearest_input().saturating_mul(input_tokens);
        input.saturating_add(self.output.saturating_mul(output_tokens))
    }

    /// Stands on ledger rows that were priced by an operator's own price instead of the tables: `own-` and the first eight
    /// hexadecimal digits of a SHA-256 of the price, so that rows of one price can be told from those of another.
    pub fn own_version(&self) -> String {
        let cached = self.cached_input.map_or("-".to_owned(), |price| price.as_pico().to_string());
        let text = format!("{}:{}:{cached}", self.input.as_pico(), self.output.as_pico());
        format!("own-{}", hex::encode(&Sha256::digest(text)[..4]))
    }

    fn dearest_input(&self) -> PicoUsd {
        self.cached_input.map_or(self.input, |cached| cached.max(self.input))
    }
}

const fn millionth(per_million: PicoUsd) -> PicoUsd {
    let pico = per_million.as_pico();
    PicoUsd::from_pico(pico / 1_000_000 + if pico % 1_000_000 > 0 { 1 } else { 0 })
}

/// One line of a price table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PricedModel {
    pub model: String,
    /// Who sells it at this price (`house`: the prices that stand above the table).
    pub provider: String,
    input_pico_usd_per_token: i64,
    output_pico_usd_per_token: i64,
    cache_read_pico_usd_per_token: Option<i64>,
    /// Windrow never asks a provider to write its cache, so this is not part of a price.
    #[serde(rename = "cache_write_pico_usd_per_token")]
    _cache_write: Option<i64>,
    /// The context window, in tokens.
    pub max_input_tokens: Option<u64>,
    /// The longest answer, in tokens.
    pub max_output_tokens: Option<u64>,
}

impl PricedModel {
    pub fn price(&self) -> Price {
        Price {
            input: PicoUsd::from_pico(self.input_pico_usd_per_token),
            output: PicoUsd::from_pico(self.output_pico_usd_per_token),
            cached_input: self.cache_read_pico_usd_per_token.map(PicoUsd::from_pico),
        }
    }
}

const HOUSE: &str = include_str!("../data/house-prices.jsonl");
const MARKET: &str = include_str!("../data/chat-models.jsonl");

/// The line of `model` in the built-in tables: the house's own prices first, then the market's.
///
/// The text is searched where it lies in the binary and only the found line is parsed, so the tables cost no memory
/// and no start time; models keep their price once they are resolved.
pub fn lookup(model: &str) -> Option<PricedModel> {
    let key = serde_json::to_string(model).ok()?;
    let prefix = format!("{{\"model\": {key}, ");
    let line = [HOUSE, MARKET].into_iter().flat_map(str::lines).find(|line| line.starts_with(&prefix))?;
    Some(serde_json::from_str(line).expect("a test reads every line of the built-in tables"))
}

/// Reads a table of the operator's own, in the form of the built-in ones: one JSON object a line.
///
/// # Errors
/// The number of the first bad line, and what is wrong with it.
pub fn read_table(text: &str) -> Result<BTreeMap<String, Price>, String> {
    let mut table = BTreeMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let read: PricedModel =
            serde_json::from_str(line).map_err(|error| format!("line {}: {error}", number + 1))?;
        if read.input_pico_usd_per_token < 0
            || read.output_pico_usd_per_token < 0
            || read.cache_read_pico_usd_per_token.is_some_and(|price| price < 0)
        {
            return Err(format!("line {}: the price of {} is negative", number + 1, read.model));
        }
        table.insert(read.model.clone(), read.price());
    }
    Ok(table)
}

/// Ids of the built-in tables that resemble `model`, for an error message: at most five.
pub fn similar(model: &str) -> Vec<String> {
    let wanted = model.to_lowercase();
    let names = [HOUSE, MARKET].into_iter().flat_map(str::lines).filter_map(|line| line.split('"').nth(3));
    let mut found: Vec<&str> = names.filter(|name| shares_stem(&name.to_lowercase(), &wanted)).collect();
    found.sort_by_key(|name| (name.len().abs_diff(model.len()), *name));
    found.dedup();
    found.into_iter().take(5).map(str::to_owned).collect()
}

/// Whether one contains the other, or both begin with the same six characters.
fn shares_stem(name: &str, wanted: &str) -> bool {
    let common = name.chars().zip(wanted.chars()).take_while(|(a, b)| a == b).count();
    wanted.len() >= 3 && (name.contains(wanted) || wanted.contains(name) || common >= 6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_line_of_the_tables_reads_and_is_found_by_its_name() {
        for table in [HOUSE, MARKET] {
            for line in table.lines() {
                let read: PricedModel = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
                let price = read.price();
                assert!(price.input >= PicoUsd::ZERO && price.output >= PicoUsd::ZERO, "{line}");
                let found = lookup(&read.model).unwrap();
                assert!(found == read || found.provider == "house", "{line}");
            }
        }
        assert_eq!(MARKET.lines().count(), 1216);
        assert_eq!(lookup("no-such-model"), None);
        assert_eq!(lookup("gpt-4o\", \"provider"), None);
    }

    #[test]
    fn a_table_of_ones_own_is_read_or_its_bad_line_named() {
        let line = |model: &str, price: &str| {
            format!(
                r#"{{"model": "{model}", "provider": "me", "input_pico_usd_per_token": {price}, "output_pico_usd_per_token": 2}}"#
            )
        };
        let table = read_table(&format!("{}\n\n{}\n", line("a", "1"), line("b", "3"))).unwrap();
        assert_eq!(table["b"].input.as_pico(), 3);
        for (bad, said) in [("-1", "negative"), ("0.5", "invalid type"), ("null", "invalid type")] {
            let error = read_table(&format!("{}\n{}", line("a", "1"), line("b", bad))).unwrap_err();
            assert!(error.starts_with("line 2: ") && error.contains(said), "{error}");
        }
        assert_eq!(read_table(MARKET).unwrap().len(), 1216);
    }

    #[test]
    fn the_worst_case_is_reached_and_not_passed() {
        let full = Usage { input_tokens: 10, output_tokens: 4, cached_input_tokens: 0, estimated: false };
        let cached = Usage { cached_input_tokens: 10, ..full };
        let price = |cached_input: i64| Price {
            input: PicoUsd::from_pico(100),
            output: PicoUsd::from_pico(500),
            cached_input: Some(PicoUsd::from_pico(cached_input)),
        };
        assert_eq!(
            (price(10).cost(&full), price(10).worst_case(10, 4).as_pico()),
            (PicoUsd::from_pico(3_000), 3_000)
        );
        assert_eq!((price(10).cost(&cached).as_pico(), price(300).cost(&cached).as_pico()), (2_100, 5_000));
        assert_eq!(price(300).worst_case(10, 4).as_pico(), 5_000, "a cache dearer than fresh tokens");
    }

    #[test]
    fn each_price_of_ones_own_has_a_version_of_its_own() {
        let price = |input, output, cached: Option<i64>| Price {
            input: PicoUsd::from_pico(input),
            output: PicoUsd::from_pico(output),
            cached_input: cached.map(PicoUsd::from_pico),
        };
        let versions = [
            price(1, 2, None),
            price(2, 1, None),
            price(1, 2, Some(0)),
            price(12, 3, None),
            price(1, 23, None),
        ];
        let versions: Vec<String> = versions.iter().map(Price::own_version).collect();
        assert_eq!(versions[0], price(1, 2, None).own_version());
        assert_eq!(versions.iter().collect::<std::collections::BTreeSet<_>>().len(), 5, "{versions:?}");
        assert!(versions.iter().all(|version| version.len() == 12), "{versions:?}");
    }

    #[test]
    fn list_prices_become_prices_a_token() {
        let price = Price::per_million("3.00".parse().unwrap(), "0.0000015".parse().unwrap());
        assert_eq!((price.input.as_pico(), price.output.as_pico()), (3_000_000, 2));
    }

    #[test]
    fn a_typo_is_met_with_what_resembles_it() {
        assert!(similar("gpt-4o-mni").contains(&"gpt-4o-mini".to_owned()));
        assert!(similar("").is_empty());
    }

    proptest! {
        #[test]
        fn the_worst_case_covers_every_usage_within_it(
            input in 0i64..1 << 40, output in 0i64..1 << 40, cached_price in proptest::option::of(0i64..1 << 40),
            bound in (0u64..1 << 32, 0u64..1 << 32), share in (0.0..=1.0f64, 0.0..=1.0f64, 0.0..=2.0f64),
        ) {
            let price = Price {
                input: PicoUsd::from_pico(input),
                output: PicoUsd::from_pico(output),
                cached_input: cached_price.map(PicoUsd::from_pico),
            };
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let part = |of: u64, share: f64| (of as f64 * share) as u64;
            let used = part(bound.0, share.0).min(bound.0);
            let usage = Usage {
                input_tokens: used,
                output_tokens: part(bound.1, share.1).min(bound.1),
                cached_input_tokens: part(used, share.2),
                estimated: false,
            };
            prop_assert!(price.cost(&usage) <= price.worst_case(bound.0, bound.1));
        }
    }
}
