//! What the work of runs costs beside their models' calls.

use std::time::Duration;

use windrow_core::PicoUsd;

use crate::hot::StorageUse;

const HOUR_US: u128 = 3_600_000_000;

/// An operator's prices of work, for the ledger. What has no price is not booked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WorkPrices {
    /// Of an hour of one run.
    pub compute_hour: PicoUsd,
    /// Of a thousand puts of objects.
    pub puts_1000: PicoUsd,
    /// Of a thousand gets of objects, or of ranges of them.
    pub gets_1000: PicoUsd,
}

impl WorkPrices {
    pub const fn is_zero(&self) -> bool {
        self.compute_hour.is_zero() && !self.has_storage()
    }

    /// Whether puts or gets have a price.
    pub const fn has_storage(&self) -> bool {
        !(self.puts_1000.is_zero() && self.gets_1000.is_zero())
    }

    /// Of one run's time, rounded up to the next pico-USD.
    pub fn of_time(&self, took: Duration) -> PicoUsd {
        pico((price(self.compute_hour).saturating_mul(took.as_micros())).div_ceil(HOUR_US))
    }

    /// Of puts and gets, rounded up to the next pico-USD.
    pub fn of_storage(&self, used: StorageUse) -> PicoUsd {
        let puts = price(self.puts_1000).saturating_mul(used.puts.into());
        let gets = price(self.gets_1000).saturating_mul(used.gets.into());
        pico(puts.saturating_add(gets).div_ceil(1000))
    }

    /// What stands in the ledger as the version of the price: the price itself.
    pub fn compute_version(&self) -> String {
        format!("{} USD/hour", self.compute_hour)
    }

    /// As [`Self::compute_version`].
    pub fn storage_version(&self) -> String {
        format!("{} USD/1000 puts, {} USD/1000 gets", self.puts_1000, self.gets_1000)
    }
}

fn price(usd: PicoUsd) -> u128 {
    u128::try_from(usd.as_pico()).unwrap_or(0)
}

fn pico(amount: u128) -> PicoUsd {
    i64::try_from(amount).map_or(PicoUsd::MAX, PicoUsd::from_pico)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices(hour: &str, puts: &str, gets: &str) -> WorkPrices {
        let usd = |text: &str| text.parse().unwrap();
        WorkPrices { compute_hour: usd(hour), puts_1000: usd(puts), gets_1000: usd(gets) }
    }

    #[test]
    fn time_is_priced_by_the_microsecond_and_rounded_up() {
        let prices = prices("0.36", "0", "0");
        assert_eq!(prices.of_time(Duration::from_secs(1)), "0.0001".parse().unwrap());
        assert_eq!(prices.of_time(Duration::from_secs(3600)), "0.36".parse().unwrap());
        assert_eq!(prices.of_time(Duration::from_micros(1)).as_pico(), 100);
        assert_eq!(prices.of_time(Duration::ZERO), PicoUsd::ZERO);
        let odd = WorkPrices { compute_hour: PicoUsd::from_pico(1), ..WorkPrices::default() };
        assert_eq!(odd.of_time(Duration::from_micros(1)).as_pico(), 1, "never less than it costs");
        let dear = WorkPrices { compute_hour: PicoUsd::MAX, ..WorkPrices::default() };
        assert_eq!(dear.of_time(Duration::MAX), PicoUsd::MAX, "it does not wrap");
    }

    #[test]
    fn puts_and_gets_have_prices_of_their_own() {
        let prices = prices("0", "0.005", "0.0004");
        assert_eq!(prices.of_storage(StorageUse { puts: 3, gets: 10 }), "0.000019".parse().unwrap());
        assert_eq!(prices.of_storage(StorageUse::default()), PicoUsd::ZERO);
        assert!(prices.has_storage() && !prices.is_zero());
        assert!(WorkPrices::default().is_zero());
        assert_eq!(prices.storage_version(), "0.005 USD/1000 puts, 0.0004 USD/1000 gets");
    }
}
