//! Names, prices and what is said about unknown ones.

use std::fmt::Write;

use windrow_core::{PicoUsd, SystemClock};
use windrow_models::{Limits, Models, ModelsSettings, Price, ProviderSettings, ResolveError, SettingsError};

fn server(price: Option<Price>) -> ProviderSettings {
    ProviderSettings { base_url: "http://127.0.0.1:9/v1".parse().unwrap(), api_key: None, price }
}

fn settings() -> ModelsSettings {
    let providers = [("openai".to_owned(), server(None)), ("local".to_owned(), server(Some(Price::FREE)))];
    ModelsSettings { providers: providers.into(), ..ModelsSettings::default() }
}

fn models(settings: ModelsSettings) -> Models {
    Models::new(settings, SystemClock::shared()).unwrap()
}

#[test]
fn prices_of_well_known_models() {
    let models = models(settings());
    let mut table = String::new();
    for name in [
        "cheap",
        "tier-1",
        "tier-2",
        "tier-3",
        "mistral-7b",
        "gpt-4o",
        "openai:gpt-4o-mini",
        "gpt-4.1",
        "gpt-5",
        "o1",
        "claude-sonnet",
        "anthropic.claude-3-5-sonnet-20241022-v2:0",
        "groq/llama-3.1-8b-instant",
        "offline",
    ] {
        let model = models.resolve(name).unwrap();
        let price = model.price().unwrap();
        let million = |price: PicoUsd| price.saturating_mul(1_000_000).to_string();
        let cached = price.cached_input.map_or("-".to_owned(), million);
        writeln!(
            table,
            "{name} = {} in {} out {} cached {cached}",
            model.id(),
            million(price.input),
            million(price.output)
        )
        .unwrap();
    }
    insta::assert_snapshot!(table, @r"
    cheap = openai:meta.llama3-1-8b-instruct-v1:0 in 0.30 out 0.60 cached -
    tier-1 = openai:meta.llama3-1-8b-instruct-v1:0 in 0.30 out 0.60 cached -
    tier-2 = openai:meta.llama3-1-70b-instruct-v1:0 in 0.99 out 0.99 cached -
    tier-3 = openai:anthropic.claude-sonnet-4-5-20250929-v1:0 in 3.00 out 15.00 cached 0.30
    mistral-7b = openai:mistral-7b in 0.15 out 0.20 cached -
    gpt-4o = openai:gpt-4o in 2.50 out 10.00 cached 1.25
    openai:gpt-4o-mini = openai:gpt-4o-mini in 0.15 out 0.60 cached 0.075
    gpt-4.1 = openai:gpt-4.1 in 2.00 out 8.00 cached 0.50
    gpt-5 = openai:gpt-5 in 1.25 out 10.00 cached 0.125
    o1 = openai:o1 in 15.00 out 60.00 cached 7.50
    claude-sonnet = openai:claude-sonnet in 3.00 out 15.00 cached 0.30
    anthropic.claude-3-5-sonnet-20241022-v2:0 = openai:anthropic.claude-3-5-sonnet-20241022-v2:0 in 3.00 out 15.00 cached 0.30
    groq/llama-3.1-8b-instant = openai:groq/llama-3.1-8b-instant in 0.05 out 0.08 cached -
    offline = offline/ngram-v1 in 0.00 out 0.00 cached -
    ");
}

#[test]
fn every_name_of_a_model_leads_to_the_same_one() {
    let models = models(settings());
    let balanced = models.resolve("balanced").unwrap();
    for name in ["tier-2", "meta.llama3-1-70b-instruct-v1:0", balanced.id()] {
        assert!(std::sync::Arc::ptr_eq(&models.resolve(name).unwrap(), &balanced), "{name}");
    }
    let offline = models.resolve("offline").unwrap();
    assert_eq!((offline.id(), offline.is_priced()), ("offline/ngram-v1", false));
    assert!(std::sync::Arc::ptr_eq(&models.resolve("offline/ngram-v1").unwrap(), &offline));
    assert_eq!(models.resolve("local:llama3:8b").unwrap().id(), "local:llama3:8b");
}

#[test]
fn settings_stand_above_the_table() {
    let own = Price::per_million(PicoUsd::from_usd(1), PicoUsd::from_usd(2));
    let slow = Limits { concurrency: 2, ..Limits::default() };
    let mut settings = settings();
    settings.aliases.insert("cheap".into(), "offline".into());
    settings.aliases.insert("tier-3".into(), "local:mine".into());
    settings.prices.insert("openai:gpt-4o".into(), own);
    settings.prices.insert("house-model".into(), own);
    settings.limits.insert("gpt-4o".into(), slow);
    let models = models(settings);
    assert_eq!(models.resolve("tier-1").unwrap().id(), "offline/ngram-v1");
    assert_eq!(models.resolve("tier-3").unwrap().id(), "local:mine");
    assert_ne!(models.resolve("premium").unwrap().id(), "local:mine");
    assert_eq!(models.resolve("gpt-4o").unwrap().price(), Some(&own));
    assert_eq!(models.resolve("gpt-4o").unwrap().limits(), slow);
    assert_eq!(models.resolve("house-model").unwrap().price(), Some(&own));
    assert_eq!(models.resolve("local:gpt-4o").unwrap().price(), Some(&Price::FREE), "one's own machine");
}

#[test]
fn a_models_price_says_where_it_comes_from() {
    let price = |pico| Price {
        input: PicoUsd::from_pico(pico),
        output: PicoUsd::from_pico(pico),
        cached_input: None,
    };
    let own = [("gpt-4o".to_owned(), price(7)), ("openai:gpt-5".to_owned(), price(8))];
    let settings = ModelsSettings { prices: own.into(), allow_unpriced: true, ..settings() };
    let models = models(settings);
    let version = |name| models.resolve(name).unwrap().price_version().to_owned();
    assert_eq!(version("gpt-4o-mini"), windrow_models::price::TABLE_VERSION);
    assert_eq!(version("offline"), windrow_models::price::TABLE_VERSION);
    assert_eq!(version("openai:nobody-knows-it"), "unpriced");
    assert_eq!(version("gpt-4o"), price(7).own_version());
    assert_eq!(version("openai:gpt-5"), price(8).own_version());
    assert_eq!(version("local:gpt-5"), Price::FREE.own_version(), "a provider's own price");
    assert_ne!(version("gpt-4o"), version("openai:gpt-5"));
}

#[test]
fn an_unknown_name_is_told_what_is_known() {
    let models = models(settings());
    let error = models.resolve("gpt-4o-mni").unwrap_err();
    let text = error.to_string();
    assert_eq!(error.code(), "model_unknown");
    for known in ["cheap", "tier-1", "offline", "openai:NAME", "local:NAME", "gpt-4o-mini"] {
        assert!(text.contains(known), "{known} is not in: {text}");
    }
    for nothing in ["", ":", "openai:", "tier-9", "nowhere:gpt-4o"] {
        assert_eq!(models.resolve(nothing).unwrap_err().code(), "model_unknown", "{nothing:?}");
    }
}

#[test]
fn a_model_without_a_server_or_a_price_says_so() {
    let alone = models(ModelsSettings::default());
    let error = alone.resolve("cheap").unwrap_err();
    assert!(matches!(&error, ResolveError::NoProvider { provider, .. } if provider == "openai"), "{error}");
    assert!(error.to_string().contains("cheap (meta.llama3-1-8b-instruct-v1:0)"), "{error}");
    assert_eq!(alone.resolve("openai:x").unwrap_err().code(), "model_provider_missing");
    assert!(alone.resolve("offline").is_ok());

    let error = models(settings()).resolve("openai:unheard-of").unwrap_err();
    assert_eq!(error, ResolveError::Unpriced { id: "openai:unheard-of".into() });
    let lenient = models(ModelsSettings { allow_unpriced: true, ..settings() });
    let model = lenient.resolve("openai:unheard-of").unwrap();
    assert_eq!((model.price(), model.is_priced()), (None, false));
}

#[test]
fn bad_settings_are_refused_by_name() {
    let with = |change: fn(&mut ModelsSettings)| {
        let mut settings = settings();
        change(&mut settings);
        Models::new(settings, SystemClock::shared()).unwrap_err()
    };
    let error = with(|s| drop(s.aliases.insert("fast".into(), "tier-1".into())));
    assert!(matches!(error, SettingsError::AliasOfAlias(alias) if alias == "tier-1"));
    let error = with(|s| drop(s.providers.insert("offline".into(), server(None))));
    assert!(matches!(error, SettingsError::ProviderName(_)));
    let ftp = ProviderSettings { base_url: "ftp://host".parse().unwrap(), ..server(None) };
    let mut settings = settings();
    settings.providers.insert("files".into(), ftp);
    let error = Models::new(settings, SystemClock::shared()).unwrap_err().to_string();
    assert!(error.contains("files") && error.contains("ftp://host"), "{error}");
}

#[test]
fn names_that_users_invent_do_not_pile_up() {
    let models = models(settings());
    let kept = models.resolve("local:kept").unwrap();
    for number in 0..2_000 {
        models.resolve(&format!("local:{number}")).unwrap();
    }
    assert!(std::sync::Arc::ptr_eq(&models.resolve("local:kept").unwrap(), &kept));
}

#[test]
fn invented_names_do_not_make_a_configured_model_forget_what_it_counted() {
    let limits = [("openai:mine".to_owned(), Limits { requests_per_minute: Some(1), ..Limits::default() })];
    let models = models(ModelsSettings { limits: limits.into(), allow_unpriced: true, ..settings() });
    let counted = ["openai:mine", "gpt-4o", "cheap"]
        .map(|name| std::sync::Arc::downgrade(&models.resolve(name).unwrap()));
    let invented = std::sync::Arc::downgrade(&models.resolve("openai:invented").unwrap());
    for n in 0..2000 {
        models.resolve(&format!("openai:invented-{n}")).unwrap();
    }
    assert!(counted.iter().all(|model| model.upgrade().is_some()));
    assert!(invented.upgrade().is_none(), "names that mean nothing are not kept for ever");
}
