//! SIGTERM and Ctrl-C: the first asks for a graceful end, a second one ends the process at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code after a second signal: 128 + SIGINT, as shells count.
const INTERRUPTED: i32 = 130;

/// Cancelled at the first signal, whenever it comes from now on.
pub(crate) fn stop_token() -> CancellationToken {
    let token = CancellationToken::new();
    let (stop, asked) = (token.clone(), asked_to_stop());
    tokio::spawn(async move {
        asked.await;
        stop.cancel();
    });
    token
}

/// Resolves at the first signal since this was called; from then on a second one exits. Signals are heard from the call on and
/// not from the first poll, which a busy process may be long in coming to: until then one would kill.
pub(crate) fn asked_to_stop() -> impl Future<Output = ()> + Send {
    let signals = Signals::heard();
    async move {
        let Some(mut signals) = signals else {
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
