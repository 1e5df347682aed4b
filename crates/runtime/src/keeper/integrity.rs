//! The nightly check of what no foreign key holds.

use std::time::Duration;

use windrow_store::integrity::{self, Checked, Finding};
use windrow_store::{Store, StoreError};

use super::chore::{Chore, Next};
use super::{KeeperError, KeeperParts};

/// The first check comes so long after the start: a start has more urgent things to do.
pub(super) const FIRST: Duration = Duration::from_secs(3600);

/// So many findings are told one by one; one mistake may have left its mark on many rows.
const TOLD: u64 = 100;

/// Holds the rows of the hot tables against each other, and sets `windrow_integrity_findings`. Each finding is an error in the
/// log; nothing is mended by itself.
pub(super) struct Integrity {
    store: Store,
}

impl Integrity {
    pub(super) fn new(parts: &KeeperParts) -> Self {
        Self { store: parts.store.clone() }
    }

    pub(super) async fn check(&self) -> Result<Checked, StoreError> {
        let mut told = 0;
        let mut tell = |finding: Finding| {
            told += 1;
            if told <= TOLD {
                let Finding { table, column, id, problem } = finding;
                tracing::error!(table, column, id, problem, "a row has no right to be as it is");
            }
        };
        let checked = integrity::check(self.store.db(), &mut tell).await?;
        #[expect(clippy::cast_precision_loss, reason = "counts of rows are far below 2^52")]
        metrics::gauge!("windrow_integrity_findings").set(checked.findings as f64);
        if checked.findings > TOLD {
            tracing::error!(
                findings = checked.findings,
                "more rows than were told have no right to be as they are"
            );
        }
        Ok(checked)
    }
}

impl Chore for Integrity {
    const NAME: &'static str = "integrity";

    async fn turn(&mut self) -> Result<Next, KeeperError> {
        let Checked { rows, findings } = self.check().await?;
        tracing::info!(rows, findings, "the rows were held against each other");
        Ok(Next::Usual)
    }
}
