//! The bundled sample datasets: shared, read-only seed data that a job names as `sample:NAME`.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};
use windrow_plugin::SampleObject;

/// A sample dataset.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub name: &'static str,
    /// JSONL.
    pub bytes: &'static [u8],
}

/// All of them; invented.
pub const ALL: &[Sample] = &[
    Sample { name: "poems", bytes: include_bytes!("../../../examples/seed/poems-1000.jsonl") },
    Sample { name: "scenes", bytes: include_bytes!("../../../examples/seed/scenes-10.jsonl") },
];

/// The keys, in the order of [`ALL`].
static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    ALL.iter()
        .map(|sample| {
            // the bytes are in the name: objects never change, and a later build may bring other ones
            let digest = hex::encode(Sha256::digest(sample.bytes));
            format!("sample-datasets/{}-{}.jsonl", sample.name, &digest[..8])
        })
        .collect()
});

/// The key in storage of the sample with this name, where every server puts it at its start.
pub fn key(name: &str) -> Option<&'static str> {
    let at = ALL.iter().position(|sample| sample.name == name)?;
    KEYS.get(at).map(String::as_str)
}

/// What every server puts in storage.
pub fn objects() -> Vec<SampleObject> {
    let objects = ALL.iter().zip(KEYS.iter());
    objects
        .map(|(sample, key)| SampleObject {
            key: key.clone(),
            content_type: "application/x-ndjson",
            bytes: sample.bytes,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{SeedLimits, SeedReader, validate};

    #[test]
    fn each_sample_is_seed_data_without_a_fault() {
        for sample in ALL {
            let reader = SeedReader::open(sample.bytes, SeedLimits::default()).unwrap();
            let report = validate(reader, &[]).unwrap();
            assert!(report.valid >= 10 && report.invalid == 0, "{}: {report:?}", sample.name);
            assert!(key(sample.name).unwrap().starts_with("sample-datasets/"));
        }
        assert_eq!(key("nothing"), None);
    }
}
