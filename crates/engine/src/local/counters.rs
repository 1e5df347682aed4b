//! What the local engine counts of runs and their calls.

use metrics::counter;
use windrow_core::PicoUsd;

use crate::WorkloadRegistry;

/// Shows these counters as zero: one is unknown until it is first counted, and an alert on what is unknown is silent.
pub fn count_from_zero(registry: &WorkloadRegistry) {
    registry.names().for_each(|workload| count_retries(workload, 0));
    count_lost_with_process(0);
}

pub(super) fn count_retries(workload: &str, retries: u64) {
    counter!("windrow_retries_total", "workload" => workload.to_owned()).increment(retries);
}

/// In pico-USD (1e-12), which a counter can hold exactly. A model that costs nothing is counted as that.
pub(super) fn count_cost(model: &str, cost: PicoUsd) {
    let cost = u64::try_from(cost.as_pico()).unwrap_or(0);
    counter!("windrow_model_cost_picousd_total", "model" => model.to_owned()).increment(cost);
}

/// Runs that were lost because a process of this engine's ended.
pub(super) fn count_lost_with_process(runs: u64) {
    counter!("windrow_lost_leases_total", "by" => "exit").increment(runs);
}
