//! What the machine says to all benchmark programs: the disk's syncs, processor time, memory, load; and a PostgreSQL cluster on it.
//! Linux only; knows nothing of Windrow.

mod cluster;

pub use cluster::Cluster;

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// How often a second the disk under `dir` keeps an append of 4 KiB. Takes two seconds.
pub fn syncs(dir: &Path) -> Result<f64> {
    let mut file = std::fs::File::create(dir.join("sync"))?;
    let (page, started, mut count) = ([7u8; 4096], Instant::now(), 0u32);
    while started.elapsed() < Duration::from_secs(2) {
        file.write_all(&page)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}

/// The load average of the last minute (`proc_loadavg(5)`): whether others used the machine meanwhile.
pub fn load() -> Result<String> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().context("a load")?.to_owned())
}

/// This process's peak resident memory in KiB (`VmHWM`, `proc_pid_status(5)`).
pub fn peak_rss() -> Result<u64> {
    number_after(&std::fs::read_to_string("/proc/self/status")?, "VmHWM:")
}

/// A process's resident memory in KiB (`VmRSS`, `proc_pid_status(5)`).
pub fn rss(process: u32) -> Result<u64> {
    number_after(&std::fs::read_to_string(format!("/proc/{process}/status"))?, "VmRSS:")
}

/// Bytes that this process has handed to the system to write (`wchar`, `proc_pid_io(5)`).
pub fn written() -> Result<u64> {
    number_after(&std::fs::read_to_string("/proc/self/io")?, "wchar:")
}

/// A process's processor time in seconds, all threads, user and system (`proc_pid_stat(5)`, fields 14 and 15, in ticks of
/// 10 ms on Linux): what counts when others use the machine too. `who` is a process id, or `self`.
pub fn cpu_seconds(who: &str) -> Result<f64> {
    ticks(&std::fs::read_to_string(format!("/proc/{who}/stat"))?, 2)
}

/// The same of a process and all its children, those that it has reaped too (fields 16 and 17).
pub fn cpu_seconds_of_family(parent: u32) -> Result<f64> {
    let mut sum = ticks(&std::fs::read_to_string(format!("/proc/{parent}/stat"))?, 4)?;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        // one that ends meanwhile is counted by its parent the next time
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((_, after_name)) = stat.rsplit_once(')') else { continue };
        if after_name.split_whitespace().nth(1).is_some_and(|of| of.parse() == Ok(parent)) {
            sum += ticks(&stat, 2)?;
        }
    }
    Ok(sum)
}

/// The sum of so many fields from the 14th on, in seconds.
fn ticks(stat: &str, fields: usize) -> Result<f64> {
    let (_, after_name) = stat.rsplit_once(')').context("the name is absent")?;
    let ticks = after_name.split_whitespace().skip(11).take(fields).map(str::parse::<u32>);
    Ok(f64::from(ticks.sum::<Result<u32, _>>()?) / 100.0)
}

/// This thread's time on a processor (Documentation/scheduler/sched-stats.rst of Linux: first field, in nanoseconds).
pub fn thread_time() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(Duration::from_nanos(text.split(' ').next().context("a number")?.parse()?))
}

fn number_after(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|line| line.split_whitespace().next());
    word.with_context(|| format!("this system tells {name}"))?.parse().context("a number")
}
