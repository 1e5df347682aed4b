//! Records that stand in the dataset already.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// What counts as a duplicate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DedupMode {
    #[default]
    None,
    /// The same fields with the same values, byte for byte.
    Exact,
    /// Texts that share about four fifths of their runs of three words ([`NEAR_SIMILARITY`]).
    Near,
}

/// The Jaccard similarity of word shingles from which two records are near duplicates.
pub const NEAR_SIMILARITY: f64 = 0.8;
/// How many records back exact duplicates are found; takes about 50 bytes each.
const EXACT_WINDOW: usize = 4_000_000;
/// How many records back near duplicates are found; takes about 600 bytes each.
const NEAR_WINDOW: usize = 100_000;

/// Words a shingle.
const SHINGLE: usize = 3;
/// MinHash values a record: an estimate of similarity has a standard error of 0.05 at 0.8.
const HASHES: usize = 64;
/// Values a band: records that agree in any whole band are compared. With 16 bands of 4, a pair of similarity 0.8 is
/// compared with probability 1 - (1 - 0.8⁴)¹⁶ > 0.999 (Leskovec et al., Mining of Massive Datasets, section 3.4).
const BAND: usize = 4;

type Signature = [u32; HASHES];

/// Finds duplicates in a stream of records, in order. Memory is bounded: what lies further back than a window (four
/// million records for exact duplicates, a hundred thousand for near ones) is forgotten. The same stream gives the
/// same answers.
#[derive(Debug)]
pub struct Dedup {
    seen: Seen,
    window: usize,
}

#[derive(Debug)]
enum Seen {
    None,
    Exact { hashes: HashMap<u128, u64>, order: VecDeque<u128> },
    Near { bands: HashMap<u64, Vec<u64>>, signatures: VecDeque<(u64, Box<Signature>)>, first: u64 },
}

impl Dedup {
    pub fn new(mode: DedupMode) -> Self {
        let window = match mode {
            DedupMode::Near => NEAR_WINDOW,
            _ => EXACT_WINDOW,
        };
        Self::with_window(mode, window)
    }

    fn with_window(mode: DedupMode, window: usize) -> Self {
        let seen = match mode {
            DedupMode::None => Seen::None,
            DedupMode::Exact => Seen::Exact { hashes: HashMap::new(), order: VecDeque::new() },
            DedupMode::Near => Seen::Near { bands: HashMap::new(), signatures: VecDeque::new(), first: 0 },
        };
        Self { seen, window }
    }

    /// Takes the next record's own fields. When it is a duplicate, says of which index, and forgets it; else
    /// remembers it.
    pub fn duplicate_of(&mut self, index: u64, output: &Map<String, Value>) -> Option<u64> {
        let window = self.window;
        match &mut self.seen {
            Seen::None => None,
            Seen::Exact { hashes, order } => {
                let hash = exact_hash(output);
                if let Some(first) = hashes.get(&hash) {
                    return Some(*first);
                }
                if order.len() >= window
                    && let Some(oldest) = order.pop_front()
                {
                    hashes.remove(&oldest);
                }
                hashes.insert(hash, index);
                order.push_back(hash);
                None
            }
            Seen::Near { bands, signatures, first } => {
                let signature = signature(output);
                let keys = band_keys(&signature);
                let near = keys
                    .iter()
                    .flat_map(|key| bands.get(key).into_iter().flatten())
                    .filter_map(|number| signatures.get(usize::try_from(number - *first).ok()?))
                    .find(|(_, other)| agreement(&signature, other) >= NEAR_SIMILARITY)
                    .map(|(index, _)| *index);
                if near.is_some() {
                    return near;
                }
                if signatures.len() >= window
                    && let Some((_, oldest)) = signatures.pop_front()
                {
                    forget(bands, &oldest, *first);
                    *first += 1;
                }
                let number = *first + signatures.len() as u64;
                for key in keys {
                    bands.entry(key).or_default().push(number);
                }
                signatures.push_back((index, Box::new(signature)));
                None
            }
        }
    }
}

fn forget(bands: &mut HashMap<u64, Vec<u64>>, signature: &Signature, number: u64) {
    for key in band_keys(signature) {
        if let Some(numbers) = bands.get_mut(&key) {
            numbers.retain(|n| *n != number);
            if numbers.is_empty() {
                bands.remove(&key);
            }
        }
    }
}

fn exact_hash(output: &Map<String, Value>) -> u128 {
    let mut hasher = Sha256::new();
    for (name, value) in output {
        // A field's JSON has no raw NUL, so the two can't run into each other.
        hasher.update(name.as_bytes());
        hasher.update([0]);
        hasher.update(value.to_string().as_bytes());
        hasher.update([0]);
    }
    let digest = hasher.finalize();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    u128::from_le_bytes(half)
}

/// The lower-case words of all texts, in order.
fn words(value: &Value, words: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            let split = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
            words.extend(split.map(str::to_lowercase));
        }
        Value::Array(items) => items.iter().for_each(|item| self::words(item, words)),
        Value::Object(fields) => fields.values().for_each(|field| self::words(field, words)),
        Value::Number(number) => words.push(number.to_string()),
        Value::Null | Value::Bool(_) => {}
    }
}

fn signature(output: &Map<String, Value>) -> Signature {
    let mut all = Vec::new();
    output.values().for_each(|value| words(value, &mut all));
    let hashes: Vec<u64> = all.iter().map(|word| fnv(word.as_bytes())).collect();
    let mut signature = [u32::MAX; HASHES];
    let size = SHINGLE.min(hashes.len()).max(1);
    for shingle in hashes.windows(size) {
        let hash = shingle.iter().fold(0, |hash, word| mix(hash ^ word));
        for (minimum, salt) in signature.iter_mut().zip(1u64..) {
            // The high half of a well mixed number is as good as the whole, at half the memory.
            let value = (mix(hash.wrapping_add(salt.wrapping_mul(0x9e37_79b9_7f4a_7c15))) >> 32) as u32;
            *minimum = value.min(*minimum);
        }
    }
    signature
}

fn band_keys(signature: &Signature) -> [u64; HASHES / BAND] {
    let mut keys = [0; HASHES / BAND];
    for ((key, band), number) in keys.iter_mut().zip(signature.chunks(BAND)).zip(0u64..) {
        *key = band.iter().fold(mix(number), |hash, value| mix(hash ^ u64::from(*value)));
    }
    keys
}

/// The share of values that agree, which estimates the Jaccard similarity.
fn agreement(a: &Signature, b: &Signature) -> f64 {
    let equal = a.iter().zip(b).filter(|(a, b)| a == b).count();
    f64::from(u32::try_from(equal).unwrap_or(0)) / f64::from(u32::try_from(HASHES).unwrap_or(1))
}

/// FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>): the same in every process, unlike the standard hasher.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The finaliser of SplitMix64 (Steele et al., 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(fields) => fields,
            _ => panic!("an object"),
        }
    }

    fn text(text: &str) -> Map<String, Value> {
        fields(json!({ "text": text }))
    }

    const TALE: &str = "the old keeper climbed the winding stair each evening to light the great lamp above the \
                        restless grey sea while gulls cried and the wind sang in the iron railings of the gallery";

    #[test]
    fn none_finds_nothing() {
        let mut dedup = Dedup::new(DedupMode::None);
        assert_eq!(dedup.duplicate_of(0, &text("a")), None);
        assert_eq!(dedup.duplicate_of(1, &text("a")), None);
    }

    #[test]
    fn exact_finds_equals_only() {
        let mut dedup = Dedup::new(DedupMode::Exact);
        assert_eq!(dedup.duplicate_of(0, &text("a b c")), None);
        assert_eq!(dedup.duplicate_of(1, &text("a b  c")), None);
        assert_eq!(dedup.duplicate_of(2, &text("a b c")), Some(0));
        assert_eq!(dedup.duplicate_of(3, &fields(json!({"text": "a b c", "n": 1}))), None);
        assert_eq!(dedup.duplicate_of(4, &fields(json!({"other": "a b c"}))), None);
    }

    #[test]
    fn near_finds_small_changes_and_leaves_other_texts() {
        let mut dedup = Dedup::new(DedupMode::Near);
        assert_eq!(dedup.duplicate_of(7, &text(TALE)), None);
        assert_eq!(dedup.duplicate_of(8, &text(&TALE.to_uppercase().replace(' ', ",  "))), Some(7));
        assert_eq!(dedup.duplicate_of(9, &text(&format!("{TALE} indeed"))), Some(7));
        let half = TALE.replace("the", "a").replace("and", "or");
        assert_eq!(dedup.duplicate_of(10, &text(&half)), None);
        // Three words changed: 23 of 41 shingles are shared, which is alike but no duplicate.
        let alike = TALE.replace("winding", "narrow").replace("restless", "quiet").replace("sang", "sighed");
        assert_eq!(dedup.duplicate_of(14, &text(&alike)), None);
        assert_eq!(dedup.duplicate_of(11, &text("something else entirely about bread and butter")), None);
        assert_eq!(dedup.duplicate_of(12, &text("two words")), None);
        assert_eq!(dedup.duplicate_of(13, &text("two words")), Some(12));
    }

    #[test]
    fn what_lies_beyond_the_window_is_forgotten() {
        for mode in [DedupMode::Exact, DedupMode::Near] {
            let mut dedup = Dedup::with_window(mode, 2);
            for index in 0..5 {
                let unlike = format!("alpha{index} beta{index} gamma{index} delta{index}");
                assert_eq!(dedup.duplicate_of(index, &text(&unlike)), None);
            }
            assert_eq!(dedup.duplicate_of(5, &text("alpha4 beta4 gamma4 delta4")), Some(4), "{mode:?}");
            assert_eq!(dedup.duplicate_of(6, &text("alpha0 beta0 gamma0 delta0")), None, "{mode:?}");
            if let Seen::Near { bands, signatures, .. } = &dedup.seen {
                assert_eq!(signatures.len(), 2);
                assert!(bands.len() <= 2 * HASHES / BAND);
            }
        }
    }
}
