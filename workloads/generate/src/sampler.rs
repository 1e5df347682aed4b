//! Record `i` is a pure function of (random seed, `i`): which seed record it gets, and every random choice in it.
//!
//! # The algorithm, version 1
//! Part of the product's contract: the same seed gives the same prompts in every later version, and a golden test pins
//! it. A stream of random numbers is ChaCha with 8 rounds (stream 0, counter 0), keyed by 32 bytes:
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | `random_seed`, little-endian |
//! | 8..16 | the record's index, little-endian |
//! | 16..24 | the purpose ([`Purpose::code`]), little-endian |
//! | 24..32 | `windrow1` in ASCII, the version of the algorithm |
//!
//! Numbers are taken from it as little-endian 64-bit words. An integer below `n` is the high word of word × `n`, with
//! Lemire's rejection (<https://arxiv.org/abs/1805.10941>); a shuffle is Fisher and Yates's, from the last place down.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// How seed records are given to records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pairing {
    /// Each record draws a seed record, with replacement.
    #[default]
    Random,
    /// Record `i` gets seed record `i mod n`: the file is walked again and again.
    Sequential,
    /// The product of seed records × variants: with `r = ⌈records / n⌉` variants each, record `i` is variant `i mod r`
    /// of seed record `i / r`, so that all variants of one seed record stand next to each other.
    Product,
}

/// What a stream of random numbers is for. Each purpose has its own stream, so that one more choice in a prompt moves
/// no choice elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Which seed record a record gets.
    Pairing,
    /// The condition of a step.
    When { step: u32 },
    /// The system message of a step.
    System { step: u32 },
    /// The prompt of a step.
    Prompt { step: u32 },
    /// A field of the shaped output.
    Output { field: u32 },
    /// The model's own seed for a call of a step, where a provider takes one.
    Model { step: u32 },
}

impl Purpose {
    /// The number that stands in the key: a kind in the high half, a position in the low half.
    pub const fn code(self) -> u64 {
        let (kind, position) = match self {
            Self::Pairing => (1u64, 0),
            Self::When { step } => (2, step),
            Self::System { step } => (3, step),
            Self::Prompt { step } => (4, step),
            Self::Output { field } => (5, field),
            Self::Model { step } => (6, step),
        };
        kind << 32 | position as u64
    }
}

/// Where all randomness of one record comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordSeed {
    /// The job's `random_seed`.
    pub random_seed: u64,
    /// The record's index in the job, from 0.
    pub index: u64,
}

impl RecordSeed {
    /// The stream of random numbers for one purpose, from its beginning.
    pub fn draws(self, purpose: Purpose) -> Draws {
        let mut key = *b"________________________windrow1";
        key[0..8].copy_from_slice(&self.random_seed.to_le_bytes());
        key[8..16].copy_from_slice(&self.index.to_le_bytes());
        key[16..24].copy_from_slice(&purpose.code().to_le_bytes());
        Draws(ChaCha8Rng::from_seed(key))
    }
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Draws(ChaCha8Rng);

impl Draws {
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..n`, all equally likely; 0 when `n` is 0.
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of a product are taken on purpose")]
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// A position in a list of `len` things, or none when it is empty.
    pub fn pick(&mut self, len: usize) -> Option<usize> {
        let n = u64::try_from(len).ok().filter(|n| *n > 0)?;
        usize::try_from(self.below(n)).ok()
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            if let Some(other) = self.pick(last + 1) {
                items.swap(last, other);
            }
        }
    }
}

/// What a record is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The record's index in the job, from 0.
    pub index: u64,
    /// The number of its seed record among the valid ones, from 0.
    pub seed_record: u64,
}

/// Says what each record of a job is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    random_seed: u64,
    pairing: Pairing,
    seed_records: u64,
    variants: u64,
}

impl Sampler {
    /// A sampler over `seed_records` valid seed records for a job of `records` records. None when there is no seed
    /// record. Indices at and beyond `records` (a refill) go on in the same way.
    pub fn new(random_seed: u64, pairing: Pairing, seed_records: u64, records: u64) -> Option<Self> {
        if seed_records == 0 {
            return None;
        }
        let variants = records.div_ceil(seed_records).max(1);
        Some(Self { random_seed, pairing, seed_records, variants })
    }

    pub fn assign(&self, index: u64) -> Assignment {
        let seed_record = match self.pairing {
            Pairing::Random => self.seed(index).draws(Purpose::Pairing).below(self.seed_records),
            Pairing::Sequential => index % self.seed_records,
            Pairing::Product => index / self.variants % self.seed_records,
        };
        Assignment { index, seed_record }
    }

    /// The source of the random choices of record `index`.
    pub const fn seed(&self, index: u64) -> RecordSeed {
        RecordSeed { random_seed: self.random_seed, index }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seed_records(pairing: Pairing, n: u64, records: u64) -> Vec<u64> {
        let sampler = Sampler::new(42, pairing, n, records).unwrap();
        (0..records).map(|i| sampler.assign(i).seed_record).collect()
    }

    /// The values were computed by a second implementation, from the description above alone.
    #[test]
    fn the_algorithm_is_the_one_that_was_released() {
        assert_eq!(
            seed_records(Pairing::Random, 1000, 12),
            [997, 193, 387, 678, 524, 210, 215, 140, 244, 176, 572, 590],
            "changing these breaks the resumption of every running job"
        );
        let mut draws = RecordSeed { random_seed: 7, index: 3 }.draws(Purpose::Prompt { step: 1 });
        assert_eq!(
            [draws.next_u64(), draws.next_u64()],
            [787_210_093_425_249_710, 10_501_785_428_070_236_228]
        );
        let mut items: Vec<u8> = (0..10).collect();
        draws.shuffle(&mut items);
        assert_eq!(items, [2, 9, 3, 4, 0, 1, 5, 7, 6, 8]);
        assert_eq!(draws.below(6), 2);
    }

    #[test]
    fn pairings() {
        assert_eq!(seed_records(Pairing::Sequential, 3, 7), [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(seed_records(Pairing::Product, 3, 7), [0, 0, 0, 1, 1, 1, 2]);
        assert_eq!(seed_records(Pairing::Product, 5, 3), [0, 1, 2]);
        assert_eq!(Sampler::new(1, Pairing::Random, 0, 5), None);
    }

    #[test]
    fn a_random_pairing_reaches_every_seed_record_about_equally() {
        let mut counts = [0u32; 10];
        for k in seed_records(Pairing::Random, 10, 10_000) {
            counts[usize::try_from(k).unwrap()] += 1;
        }
        assert!(counts.iter().all(|c| (850..1150).contains(c)), "{counts:?}");
    }

    #[test]
    fn purposes_have_streams_of_their_own() {
        let seed = RecordSeed { random_seed: 1, index: 1 };
        let firsts = [
            Purpose::Pairing,
            Purpose::When { step: 0 },
            Purpose::System { step: 0 },
            Purpose::Prompt { step: 0 },
            Purpose::Prompt { step: 1 },
            Purpose::Output { field: 0 },
            Purpose::Model { step: 0 },
        ]
        .map(|purpose| seed.draws(purpose).next_u64());
        let distinct: std::collections::BTreeSet<u64> = firsts.into_iter().collect();
        assert_eq!(distinct.len(), firsts.len());
    }

    proptest! {
        #[test]
        fn a_draw_is_below_its_bound(seed: u64, index: u64, n in 1u64..) {
            let mut draws = RecordSeed { random_seed: seed, index }.draws(Purpose::Pairing);
            prop_assert!(draws.below(n) < n);
        }

        #[test]
        fn a_record_is_the_same_whoever_asks_and_when(seed: u64, index: u64, n in 1u64..1_000_000) {
            let one = Sampler::new(seed, Pairing::Random, n, 10).unwrap();
            let other = Sampler::new(seed, Pairing::Random, n, 9_999).unwrap();
            prop_assert_eq!(one.assign(index), other.assign(index));
        }
    }
}
