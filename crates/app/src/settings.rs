//! What of the configuration the use cases need.

use std::collections::BTreeMap;
use std::time::Duration;

use windrow_config::Config;
use windrow_core::{PicoUsd, Priority};
use windrow_engine::Limits;

/// Limits and lifetimes.
#[derive(Clone, Debug, PartialEq)]
pub struct AppSettings {
    /// Of this program.
    pub version: String,
    /// How long an upload link works.
    pub upload_link: Duration,
    /// How long after its link's end an upload may still be completed: a slow PUT that began in time is not lost.
    pub complete_grace: Duration,
    /// How long a download link works.
    pub download_link: Duration,
    /// The largest upload in bytes, where the workload says nothing.
    pub upload_max: u64,
    /// By workload, where the configuration says something.
    pub upload_max_by_workload: BTreeMap<String, u64>,
    /// The most jobs of one batch.
    pub batch_max: usize,
    /// What a job may cost when its submit names no budget.
    pub default_budget: Option<PicoUsd>,
    /// Jobs with a larger budget (without one: estimate) wait for an admin's approval; none do when absent.
    pub approval_above: Option<PicoUsd>,
    /// By workload, where the configuration says something.
    pub approval_above_by_workload: BTreeMap<String, PicoUsd>,
    /// Of jobs whose submit names none, by workload, where the configuration says something.
    pub priority_by_workload: BTreeMap<String, Priority>,
    /// How long one run may take, where the operator set another time than the platform's usual; it stands above what workloads
    /// say themselves.
    pub run_deadline: Option<Duration>,
    /// By workload, where the configuration says something.
    pub run_deadline_by_workload: BTreeMap<String, Duration>,
}

impl Default for AppSettings {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            upload_link: Duration::from_secs(15 * 60),
            complete_grace: Duration::from_secs(15 * 60),
            download_link: Duration::from_secs(45 * 60),
            upload_max: 100 * 1024 * 1024,
            upload_max_by_workload: BTreeMap::new(),
            batch_max: 10_000,
            default_budget: None,
            approval_above: None,
            approval_above_by_workload: BTreeMap::new(),
            priority_by_workload: BTreeMap::new(),
            run_deadline: None,
            run_deadline_by_workload: BTreeMap::new(),
        }
    }
}

impl AppSettings {
    pub fn of(config: &Config) -> Self {
        let by_workload = |(name, section): (&String, &windrow_config::WorkloadSection)| {
            section.upload_max.map(|max| (name.clone(), max))
        };
        let approval = |(name, section): (&String, &windrow_config::WorkloadSection)| {
            section.approval_above_usd.map(|above| (name.clone(), above))
        };
        let priority = |(name, section): (&String, &windrow_config::WorkloadSection)| {
            section.priority.map(|priority| (name.clone(), priority))
        };
        let deadline = |(name, section): (&String, &windrow_config::WorkloadSection)| {
            section.run_deadline.map(|deadline| (name.clone(), deadline))
        };
        let usual = Limits::default().deadline;
        Self {
            run_deadline: Some(config.worker.run_deadline).filter(|set| *set != usual),
            run_deadline_by_workload: config.workloads.iter().filter_map(deadline).collect(),
            upload_link: config.storage.upload_link_ttl,
            download_link: config.storage.download_link_ttl,
            upload_max: config.limits.upload_max,
            upload_max_by_workload: config.workloads.iter().filter_map(by_workload).collect(),
            batch_max: usize::try_from(config.limits.batch_max).unwrap_or(usize::MAX),
            default_budget: config.models.default_budget_usd,
            approval_above: config.limits.approval_above_usd,
            approval_above_by_workload: config.workloads.iter().filter_map(approval).collect(),
            priority_by_workload: config.workloads.iter().filter_map(priority).collect(),
            ..Self::default()
        }
    }

    /// Above which amount a job of this workload waits for an admin's approval; none when it never does.
    pub fn approval_above(&self, workload: &str) -> Option<PicoUsd> {
        self.approval_above_by_workload.get(workload).copied().or(self.approval_above)
    }

    /// How long one run of this workload may take; none when that is for the workload to say.
    pub fn run_deadline(&self, workload: &str) -> Option<Duration> {
        self.run_deadline_by_workload.get(workload).copied().or(self.run_deadline)
    }

    /// Whether a job waits for an admin's approval. What counts is the most that it may cost; without a budget, what it is
    /// likely to cost; without either it can't make priced calls, and waits for nobody.
    pub fn needs_approval(&self, workload: &str, budget: Option<PicoUsd>, estimate: Option<PicoUsd>) -> bool {
        self.approval_above(workload).zip(budget.or(estimate)).is_some_and(|(above, most)| most > above)
    }
}
