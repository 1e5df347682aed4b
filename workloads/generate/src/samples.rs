//! The bundled sample datasets: shared, read-only seed data that a job names as `sample:NAME`.

/// A sample dataset.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub name: &'static str,
    /// JSONL.
    pub bytes: &'static [u8],
}

impl Sample {
    /// Its key in storage, where every server puts it at its start.
    pub fn key(&self) -> String {
        format!("sample-datasets/{}.jsonl", self.name)
    }
}

/// All of them; invented.
pub const ALL: &[Sample] = &[];
