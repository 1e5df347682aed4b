//! Listening on a TCP port and on the data directory's socket, until told to stop.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use axum::Router;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Routers that are being served.
pub(crate) struct Served {
    stop: CancellationToken,
    tasks: JoinSet<std::io::Result<()>>,
    socket: Option<PathBuf>,
}

/// Opens a TCP port.
pub(crate) async fn listen(bind: IpAddr, port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((bind, port))
        .await
        .with_context(|| format!("can't listen on {bind} port {port}; choose another with --port"))
}

/// How to reach a port on this machine.
pub(crate) fn url(listener: &TcpListener) -> anyhow::Result<String> {
    Ok(format!("http://{}", listener.local_addr()?))
}

/// Serves a router on a port, and one on a socket that is the user's alone.
pub(crate) fn serve(
    tcp: Option<(TcpListener, Router)>,
    socket: Option<(&Path, Router)>,
) -> anyhow::Result<Served> {
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    if let Some((listener, router)) = tcp {
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        tasks.spawn(async move { serving.await });
    }
    let path = socket.as_ref().map(|(path, _)| path.to_path_buf());
    if let Some((path, router)) = socket {
        // of an owner that died: the lock says that there is no other
        let _ = std::fs::remove_file(path);
        let listener =
            UnixListener::bind(path).with_context(|| format!("can't listen on {}", path.display()))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        tasks.spawn(async move { serving.await });
    }
    Ok(Served { stop, tasks, socket: path })
}

impl Served {
    /// Accepts nothing more, and lets what is being answered finish; streams that go on for ever are cut after a second.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let finish = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), finish).await;
        self.tasks.abort_all();
        if let Some(path) = &self.socket {
            let _ = std::fs::remove_file(path);
        }
    }
}
