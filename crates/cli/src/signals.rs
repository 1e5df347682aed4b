//! SIGTERM and Ctrl-C: the first asks for a graceful end, a second one ends the process at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
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
    let Some(mut signals) = Signals::heard() else {
        tracing::warn!("signals can't be heard; stop this process with SIGKILL");
        return std::future::pending().await;
    };
    signals.next().await;
    // The same ears as before: a second signal that comes at once is not missed, however busy this process is.
    tokio::spawn(async move {
        signals.next().await;
        std::process::exit(INTERRUPTED);
    });
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn heard() -> Option<Self> {
        let terminate = signal(SignalKind::terminate()).ok()?;
        let interrupt = signal(SignalKind::interrupt()).ok()?;
        Some(Self { terminate, interrupt })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
