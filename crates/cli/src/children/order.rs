//! What a parent writes to its children's standard input.

use std::io::{BufRead as _, Write as _};
use std::time::Duration;

use tokio::sync::oneshot;

const DRAIN: &str = "drain";

/// The exit code of a child whose parent is gone: nothing that it has could be kept.
const ORPHANED: i32 = 1;

/// The order to stop within `grace`.
pub(super) fn drain(grace: Duration) -> String {
    format!("{DRAIN} {}\n", grace.as_millis())
}

/// Hears the order, with its grace. When standard input ends without one, this process ends at once.
pub(super) fn heard() -> std::io::Result<oneshot::Receiver<Duration>> {
    let (tell, heard) = oneshot::channel();
    // A thread of its own: reading blocks, and must not keep the runtime from shutting down.
    std::thread::Builder::new().name("windrow-orders".to_owned()).spawn(move || {
        let mut tell = Some(tell);
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if let Some(grace) = parse(&line)
                && let Some(tell) = tell.take()
            {
                let _already_ending = tell.send(grace);
            }
        }
        let _nobody_reads_it = writeln!(std::io::stderr(), "the parent process is gone; this worker ends");
        std::process::exit(ORPHANED);
    })?;
    Ok(heard)
}

fn parse(line: &str) -> Option<Duration> {
    let millis = line.strip_prefix(DRAIN)?.trim().parse().ok()?;
    Some(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_read_as_it_was_written() {
        let grace = Duration::from_millis(90_500);
        assert_eq!(parse(drain(grace).trim_end()), Some(grace));
        assert_eq!(parse("drain soon"), None);
        assert_eq!(parse("stop 5"), None);
    }
}
