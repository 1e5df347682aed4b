//! From the configuration's models to the registry's settings.

use std::collections::BTreeMap;

use anyhow::Context as _;
use windrow_config::{Config, ModelLimits, ModelPrice, ProviderKind};
use windrow_core::SharedClock;
use windrow_models::{ApiKey, Limits, Models, ModelsSettings, Price, ProviderSettings, price};

/// The models that a process may call.
pub(crate) fn registry(config: &Config, clock: SharedClock) -> anyhow::Result<Models> {
    let section = &config.models;
    let aliases = &section.aliases;
    let mut prices = BTreeMap::new();
    if let Some(file) = &section.prices_file {
        let text = std::fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
        let table = price::read_table(&text)
            .map_err(|error| anyhow::anyhow!("the price file {}: {error}", file.display()))?;
        prices.extend(table);
    }
    prices.extend(section.prices.iter().map(|(model, price)| (model.clone(), price_of(price))));
    let mut providers = BTreeMap::new();
    for (name, provider) in &section.providers {
        let base_url = provider.base_url.clone().unwrap_or_else(|| base_url_of(provider.kind));
        let price = provider.price().as_ref().map(price_of);
        let api_key = provider.api_key.as_ref().map(|key| ApiKey::new(key.expose()));
        providers.insert(name.clone(), ProviderSettings { base_url, api_key, price });
    }
    let default_limits = Limits { concurrency: section.concurrency, ..Limits::default() };
    let limits =
        section.limits.iter().map(|(model, limits)| (model.clone(), limits_of(limits, default_limits)));
    let settings = ModelsSettings {
        aliases: BTreeMap::from([
            ("cheap".to_owned(), aliases.cheap.clone()),
            ("balanced".to_owned(), aliases.balanced.clone()),
            ("premium".to_owned(), aliases.premium.clone()),
        ]),
        providers,
        limits: limits.collect(),
        default_limits,
        timeout: section.timeout,
        prices,
        allow_unpriced: section.allow_unpriced,
        ..ModelsSettings::default()
    };
    Models::new(settings, clock).context("the models can't be set up")
}

/// Where a kind of provider is, unless the configuration names a server of one's own.
fn base_url_of(kind: ProviderKind) -> url::Url {
    match kind {
        // https://platform.openai.com/docs/api-reference/introduction
        ProviderKind::Openai => "https://api.openai.com/v1".parse().expect("a literal URL"),
    }
}

fn price_of(price: &ModelPrice) -> Price {
    let cached = price.cached_input_usd_per_million.map(|usd| Price::per_million(usd, usd).input);
    Price {
        cached_input: cached,
        ..Price::per_million(price.input_usd_per_million, price.output_usd_per_million)
    }
}

fn limits_of(limits: &ModelLimits, default: Limits) -> Limits {
    Limits {
        concurrency: limits.concurrency.unwrap_or(default.concurrency),
        requests_per_minute: limits.requests_per_minute,
        tokens_per_minute: limits.tokens_per_minute,
    }
}
