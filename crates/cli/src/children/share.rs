//! A child's share of what its parent may ask of the models: the limits of all children together are the configured ones.

use std::fmt;
use std::str::FromStr;

use windrow_config::ModelsSection;

/// One place among so many. A limit of less than one for each counts as one for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    place: u32,
    of: u32,
}

impl Share {
    /// `place` counts from 0.
    pub(super) fn new(place: u32, of: u32) -> Self {
        Self { place, of: of.max(1) }
    }

    /// Leaves a child of the models' limits what is its own.
    pub(super) fn apply(self, models: &mut ModelsSection) {
        // Those that say nothing of it have the common one.
        models.concurrency = self.of_small(models.concurrency);
        for limits in models.limits.values_mut() {
            limits.concurrency = limits.concurrency.map(|limit| self.of_small(limit));
            limits.requests_per_minute = limits.requests_per_minute.map(|limit| self.of_small(limit));
            limits.tokens_per_minute = limits.tokens_per_minute.map(|limit| self.of_limit(limit));
        }
    }

    fn of_limit(self, limit: u64) -> u64 {
        let (place, of) = (u64::from(self.place), u64::from(self.of));
        (limit / of + u64::from(place < limit % of)).max(1)
    }

    fn of_small(self, limit: u32) -> u32 {
        u32::try_from(self.of_limit(u64::from(limit))).unwrap_or(limit)
    }
}

/// The limits that can't be shared out among so many processes, for people.
pub(crate) fn too_small(models: &ModelsSection, processes: u32) -> Vec<String> {
    let mut found = Vec::new();
    let mut look = |what: String, limit: Option<u64>| {
        if limit.is_some_and(|limit| limit < u64::from(processes)) {
            found.push(what);
        }
    };
    look("models.concurrency".to_owned(), Some(models.concurrency.into()));
    for (model, limits) in &models.limits {
        let named = |limit: &str| format!("models.limits.{model:?}.{limit}");
        look(named("concurrency"), limits.concurrency.map(u64::from));
        look(named("requests_per_minute"), limits.requests_per_minute.map(u64::from));
        look(named("tokens_per_minute"), limits.tokens_per_minute);
    }
    found
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.place, self.of)
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(place, of)| {
            let (place, of) = (place.parse().ok()?, of.parse().ok()?);
            (of > 0).then_some(Self { place, of })
        });
        parsed.ok_or_else(|| format!("{text:?} is no share such as 0/4"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits_of_all(limit: u64, of: u32) -> u64 {
        (0..of).map(|place| Share::new(place, of).of_limit(limit)).sum()
    }

    #[test]
    fn shares_add_up_to_the_whole() {
        for of in 1..20 {
            for limit in u64::from(of)..100 {
                assert_eq!(limits_of_all(limit, of), limit, "{limit} among {of}");
            }
        }
        assert_eq!(limits_of_all(2, 5), 5, "nobody is left without");
    }

    #[test]
    fn a_share_of_nobody_is_the_whole_and_the_text_comes_back() {
        assert_eq!(Share::new(0, 0).of_limit(7), 7);
        let share = Share::new(2, 4);
        assert_eq!(share.to_string().parse(), Ok(share));
        for text in ["", "1", "1/0", "a/2", "-1/2"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_limit_is_shared_and_those_too_small_are_named() {
        let mut models = windrow_config::Config::load(&windrow_config::Input::default()).unwrap().models;
        models.concurrency = 8;
        let limits = windrow_config::ModelLimits {
            concurrency: Some(2),
            requests_per_minute: Some(61),
            tokens_per_minute: Some(3),
        };
        models.limits.insert("m".to_owned(), limits);
        assert_eq!(
            too_small(&models, 4),
            ["models.limits.\"m\".concurrency", "models.limits.\"m\".tokens_per_minute"]
        );
        Share::new(0, 4).apply(&mut models);
        let shared = models.limits["m"];
        assert_eq!(models.concurrency, 2);
        assert_eq!(
            (shared.concurrency, shared.requests_per_minute, shared.tokens_per_minute),
            (Some(1), Some(16), Some(1))
        );
    }
}
