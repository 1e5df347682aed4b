//! Whole exports, into memory.

mod formats;
mod layouts;
mod read_back;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use indexmap::IndexMap;
use serde_json::Value;
use windrow_core::{JobId, PicoUsd, Timestamp};

use super::*;
use crate::record::{Record, StepMeta, record_id};

/// Files in memory.
#[derive(Clone, Default)]
pub(super) struct Memory {
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    open: Arc<Mutex<(usize, usize)>>,
}

struct MemoryFile {
    memory: Memory,
    path: String,
    bytes: Vec<u8>,
    parked: bool,
}

impl Memory {
    pub(super) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.files.lock().unwrap().clone()
    }

    pub(super) fn text(&self, path: &str) -> String {
        String::from_utf8(self.files()[path].clone()).unwrap()
    }

    fn count_open(&self) {
        let mut open = self.open.lock().unwrap();
        open.0 += 1;
        open.1 = open.1.max(open.0);
    }

    /// The most files that were open at once, those that were parked not counted.
    pub(super) fn most_open(&self) -> usize {
        self.open.lock().unwrap().1
    }
}

impl Sink for Memory {
    fn create(&mut self, path: &str) -> io::Result<Box<dyn SinkFile>> {
        self.count_open();
        Ok(Box::new(MemoryFile {
            memory: self.clone(),
            path: path.to_owned(),
            bytes: Vec::new(),
            parked: false,
        }))
    }
}

impl Write for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if std::mem::take(&mut self.parked) {
            self.memory.count_open();
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SinkFile for MemoryFile {
    fn park(&mut self) -> io::Result<()> {
        // a file that buffers what it is given may be parked again before it was written to
        if !std::mem::replace(&mut self.parked, true) {
            self.memory.open.lock().unwrap().0 -= 1;
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> io::Result<()> {
        if !self.parked {
            self.memory.open.lock().unwrap().0 -= 1;
        }
        let earlier = self.memory.files.lock().unwrap().insert(self.path.clone(), self.bytes);
        assert!(earlier.is_none(), "{} was written twice", self.path);
        Ok(())
    }
}

pub(super) fn job() -> JobId {
    "01980000-0000-7000-8000-000000000001".parse().unwrap()
}

/// 2026-01-01T00:00:00.123Z, and a minute more for each index.
pub(super) fn record(index: u64, output: Value) -> Record {
    let Value::Object(output) = output else { panic!("an object") };
    let usage = StepMeta {
        model: "stub".to_owned(),
        input_tokens: 12,
        output_tokens: 34,
        cost_usd: PicoUsd::from_pico(125_000_001),
    };
    Record {
        id: record_id(job(), index),
        job_id: job(),
        index,
        created_at: Timestamp::from_micros(
            1_767_225_600_123_000 + 60_000_000 * i64::try_from(index).unwrap(),
        ),
        seed_data_id: format!("seed {index}"),
        output,
        meta: IndexMap::from([("ask".to_owned(), usage)]),
    }
}

pub(super) fn columns(records: &[Record]) -> Columns {
    let mut columns = Columns::default();
    records.iter().for_each(|record| columns.observe(record));
    columns
}

/// Exports all records, in memory.
pub(super) fn export(records: &[Record], options: Options) -> Result<(Memory, Exported), ExportError> {
    let memory = Memory::default();
    let mut exporter = Exporter::start(Box::new(memory.clone()), options)?;
    for record in records {
        exporter.push_line(&serde_json::to_string(record).unwrap())?;
    }
    let (_, exported) = exporter.finish()?;
    Ok((memory, exported))
}
