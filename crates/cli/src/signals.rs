//! SIGTERM and Ctrl-C: the first asks for a graceful end, a second one ends the process at once.

use tokio::signal::unix::{SignalKind, signal};

/// The exit code after a second signal: 128 + SIGINT, as shells count.
const INTERRUPTED: i32 = 130;

/// Resolves at the first signal; from then on a second one exits.
pub(crate) async fn asked_to_stop() {
    one().await;
    tokio::spawn(async {
        one().await;
        std::process::exit(INTERRUPTED);
    });
}

async fn one() {
    let handlers = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = handlers else {
        tracing::warn!("signals can't be heard; stop this process with SIGKILL");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
