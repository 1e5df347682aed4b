//! SIGTERM and Ctrl-C: the first asks for a graceful end, a second one ends the process at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code after a second signal: 128 + SIGINT, as shells count.
const INTERRUPTED: i32 = 130;

/// Cancelled at the first signal, whenever it comes from now on.
pub(crate) fn stop_token() -> CancellationToken {
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        asked_to_stop().await;
        stop.cancel();
    });
    token
}

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
