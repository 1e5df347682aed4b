//! What the machine says: the disk's syncs, processor time, memory, load.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// How often a second the disk under `dir` keeps an append of 4 KiB.
pub(crate) fn syncs(dir: &Path) -> Result<f64> {
    let mut file = std::fs::File::create(dir.join("sync"))?;
    let (page, started, mut count) = ([7u8; 4096], Instant::now(), 0u32);
    while started.elapsed() < Duration::from_secs(1) {
        file.write_all(&page)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}

/// The load average of the last minute (`proc_loadavg(5)`): whether others used the machine meanwhile.
pub(crate) fn load() -> Result<String> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().context("a load")?.to_owned())
}

/// This process's peak resident memory in KiB (`VmHWM`, `proc_pid_status(5)`).
pub(crate) fn peak_rss() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM is absent")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// A process's processor time in seconds, all threads, user and system (`proc_pid_stat(5)`, fields 14 and 15, in ticks of
/// 10 ms on Linux): what counts when others use the machine too. `who` is a process id, or `self`.
pub(crate) fn cpu_seconds(who: &str) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{who}/stat"))?;
    let (_, after_name) = stat.rsplit_once(')').context("the name is absent")?;
    let ticks = after_name.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
    Ok(f64::from(ticks.sum::<Result<u32, _>>()?) / 100.0)
}

/// This thread's time on a processor (Documentation/scheduler/sched-stats.rst of Linux: first field, in nanoseconds).
pub(crate) fn thread_time() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(Duration::from_nanos(text.split(' ').next().context("a number")?.parse()?))
}
