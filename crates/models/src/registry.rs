//! Names of models, and what they stand for.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock};

use windrow_core::{JobError, SharedClock};

use crate::breaker::Breaker;
use crate::limits::Gate;
use crate::model::Model;
use crate::offline::{self, Offline};
use crate::openai::OpenAi;
use crate::price::{self, Price};
use crate::provider::ModelProvider;
use crate::settings::{Limits, ModelsSettings};
use crate::tokens::Tokenizer;

/// The aliases' second names.
const TIERS: [(&str, &str); 3] = [("tier-1", "cheap"), ("tier-2", "balanced"), ("tier-3", "premium")];

/// So many resolved models are kept; past it those that nobody holds are forgotten. Users can invent names.
const KEPT: usize = 512;

/// Why the settings of the models can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("the model provider name {0:?} is not [a-z][a-z0-9_-]*, or is `offline`, which is built in")]
    ProviderName(String),
    #[error("the model provider {name}: {reason}")]
    Provider { name: String, reason: String },
    #[error("the alias {0:?} stands for another alias; name a model")]
    AliasOfAlias(String),
}

/// Why a name does not lead to a model.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error(
        "there is no model {name:?}. Known are {known}; a name that is not in the price table is written PROVIDER:NAME.{hint}"
    )]
    Unknown { name: String, known: String, hint: String },
    #[error(
        "{name} is to be run by the provider {provider:?}, which is not configured: give its base URL, \
         or use `offline`, which needs none"
    )]
    NoProvider { name: String, provider: String },
    #[error("{id} has no known price: set one for it, or allow unpriced models")]
    Unpriced { id: String },
}

impl ResolveError {
    /// Stable, snake_case.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "model_unknown",
            Self::NoProvider { .. } => "model_provider_missing",
            Self::Unpriced { .. } => "model_unpriced",
        }
    }
}

impl From<ResolveError> for JobError {
    fn from(error: ResolveError) -> Self {
        Self::user(error.code(), error)
    }
}

/// All models that this process may call.
#[derive(Debug)]
pub struct Models {
    settings: ModelsSettings,
    clock: SharedClock,
    providers: BTreeMap<String, Served>,
    offline: Served,
    resolved: Mutex<HashMap<String, Arc<Model>>>,
}

#[derive(Clone, Debug)]
struct Served {
    provider: Arc<dyn ModelProvider>,
    breaker: Arc<Breaker>,
    price: Option<Price>,
}

impl Models {
    /// Connects to nobody yet: a provider's connection pool is made by its first call.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn new(settings: ModelsSettings, clock: SharedClock) -> Result<Self, SettingsError> {
        for target in settings.aliases.values() {
            if settings.aliases.contains_key(target) || TIERS.iter().any(|(tier, _)| tier == target) {
                return Err(SettingsError::AliasOfAlias(target.clone()));
            }
        }
        let offline = Arc::new(Offline::new(clock.clone()));
        let mut models = Self {
            offline: Self::serve(offline, Some(Price::FREE), &settings, &clock),
            clock,
            providers: BTreeMap::new(),
            resolved: Mutex::default(),
            settings,
        };
        for (name, provider) in models.settings.providers.clone() {
            let openai = OpenAi::new(&name, &provider, models.clock.clone())
                .map_err(|reason| SettingsError::Provider { name: name.clone(), reason })?;
            models = models.with_provider(Arc::new(openai), provider.price)?;
        }
        Ok(models)
    }

    /// Adds a provider of the caller's own, under its name; its models are `NAME:MODEL`. `price` is that of all its
    /// models which have none of their own in the settings.
    ///
    /// # Errors
    /// The name is not a provider's name.
    pub fn with_provider(
        mut self,
        provider: Arc<dyn ModelProvider>,
        price: Option<Price>,
    ) -> Result<Self, SettingsError> {
        let name = provider.name().to_owned();
        let mut chars = name.chars();
        let starts_well = chars.next().is_some_and(|c| c.is_ascii_lowercase());
        if !starts_well
            || !chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c))
            || name == offline::PROVIDER
        {
            return Err(SettingsError::ProviderName(name));
        }
        let served = Self::serve(provider, price, &self.settings, &self.clock);
        self.providers.insert(name, served);
        Ok(self)
    }

    fn serve(
        provider: Arc<dyn ModelProvider>,
        price: Option<Price>,
        settings: &ModelsSettings,
        clock: &SharedClock,
    ) -> Served {
        let breaker = Breaker::new(provider.name(), settings.breaker, clock.clone());
        Served { provider, breaker: Arc::new(breaker), price }
    }

    /// The model that an alias (`cheap`, `tier-1`), a model id (`gpt-4o-mini`), an id with its provider (`openai:NAME`) or
    /// `offline` stands for.
    ///
    /// # Errors
    /// See [`ResolveError`]; each says what would be right.
    pub fn resolve(&self, name: &str) -> Result<Arc<Model>, ResolveError> {
        let target = self.alias(name).unwrap_or(name);
        let (served, id, bare) = self.locate(name, target)?;
        let mut resolved = self.resolved.lock().expect("nothing panics while the resolved models are locked");
        if let Some(model) = resolved.get(&id) {
            return Ok(Arc::clone(model));
        }
        let model = Arc::new(self.build(served, &id, bare)?);
        if resolved.len() >= KEPT {
            // What a model's limits count must outlive a flood of invented names.
            resolved.retain(|id, kept| Arc::strong_count(kept) > 1 || self.is_configured(id));
        }
        resolved.insert(id, Arc::clone(&model));
        Ok(model)
    }

    /// What each alias stands for, the tiers included.
    pub fn aliases(&self) -> BTreeMap<String, String> {
        let tiers =
            TIERS.iter().filter_map(|(tier, _)| Some(((*tier).to_owned(), self.alias(tier)?.to_owned())));
        tiers.chain(self.settings.aliases.clone()).collect()
    }

    fn alias(&self, name: &str) -> Option<&str> {
        let second = TIERS.iter().find(|(tier, _)| *tier == name).map(|(_, alias)| *alias);
        let aliases = &self.settings.aliases;
        aliases.get(name).or_else(|| aliases.get(second?)).map(String::as_str)
    }

    /// Who runs `target`, its full id, and its name there. `asked` is what the caller said, for the error.
    fn locate<'a>(
        &'a self,
        asked: &str,
        target: &'a str,
    ) -> Result<(&'a Served, String, &'a str), ResolveError> {
        if target == offline::PROVIDER || target == offline::MODEL_ID {
            return Ok((&self.offline, offline::MODEL_ID.to_owned(), offline::MODEL_ID));
        }
        let default = &self.settings.default_provider;
        let (provider, bare) = match target.split_once(':') {
            Some((provider, bare))
                if !bare.is_empty() && (provider == default || self.providers.contains_key(provider)) =>
            {
                (provider, bare)
            }
            _ if self.is_known(target) => (default.as_str(), target),
            _ => return Err(self.unknown(target)),
        };
        let served = self.providers.get(provider).ok_or_else(|| ResolveError::NoProvider {
            name: if asked == target { target.to_owned() } else { format!("{asked} ({target})") },
            provider: provider.to_owned(),
        })?;
        Ok((served, format!("{provider}:{bare}"), bare))
    }

    /// A bare name must stand in the settings or the price table: a misspelt alias must not reach a provider.
    fn is_known(&self, name: &str) -> bool {
        self.settings.prices.contains_key(name)
            || self.settings.limits.contains_key(name)
            || price::lookup(name).is_some()
    }

    /// Whether the settings or the price table name the model of this full id: there are only so many.
    fn is_configured(&self, id: &str) -> bool {
        let bare = id.split_once(':').map_or(id, |(_, bare)| bare);
        let is_alias = |target: &String| target == id || target == bare;
        self.is_known(id) || self.is_known(bare) || self.settings.aliases.values().any(is_alias)
    }

    fn unknown(&self, name: &str) -> ResolveError {
        let providers = self.providers.keys().map(|provider| format!("{provider}:NAME"));
        let names = self.aliases().into_keys().chain([offline::PROVIDER.to_owned()]).chain(providers);
        let similar = price::similar(name);
        let hint = match similar.as_slice() {
            [] => String::new(),
            similar => format!(" Similar: {}.", similar.join(", ")),
        };
        ResolveError::Unknown { name: name.to_owned(), known: names.collect::<Vec<_>>().join(", "), hint }
    }

    fn build(&self, served: &Served, id: &str, bare: &str) -> Result<Model, ResolveError> {
        let own = |by_id: &BTreeMap<String, Price>| by_id.get(id).or_else(|| by_id.get(bare)).copied();
        let listed = price::lookup(bare);
        let set = own(&self.settings.prices).or(served.price.filter(|_| id != offline::MODEL_ID));
        let (price, price_version) = match (set, &listed) {
            (Some(set), _) => (Some(set), set.own_version()),
            (None, Some(listed)) => (Some(listed.price()), price::TABLE_VERSION.to_owned()),
            // free of itself
            (None, None) if id == offline::MODEL_ID => (served.price, price::TABLE_VERSION.to_owned()),
            (None, None) => (None, "unpriced".to_owned()),
        };
        if price.is_none() && !self.settings.allow_unpriced {
            return Err(ResolveError::Unpriced { id: id.to_owned() });
        }
        let limits: Limits = *[id, bare]
            .iter()
            .find_map(|name| self.settings.limits.get(*name))
            .unwrap_or(&self.settings.default_limits);
        let tokenizer = if id == offline::MODEL_ID { Tokenizer::Words } else { Tokenizer::for_model(bare) };
        Ok(Model {
            id: id.to_owned(),
            provider: Arc::clone(&served.provider),
            price,
            price_version,
            max_output_tokens: listed.and_then(|line| line.max_output_tokens),
            tokenizer,
            limits,
            timeout: self.settings.timeout,
            gate: Gate::new(limits, self.clock.clone()),
            breaker: Arc::clone(&served.breaker),
            clock: self.clock.clone(),
            meters: OnceLock::new(),
        })
    }
}
