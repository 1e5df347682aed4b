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
        let listener = bind(path).with_context(|| format!("can't listen on {}", path.display()))?;
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        tasks.spawn(async move { serving.await });
    }
    Ok(Served { stop, tasks, socket: path })
}

/// A socket that its user alone may open. It gets its name when it listens, so that nobody who finds it closed takes it for one
/// that a dead process left; such a one, under this name, goes: a lock or a process id says that nobody else is there.
fn bind(path: &Path) -> std::io::Result<UnixListener> {
    let unnamed = path.with_extension("new");
    match std::fs::remove_file(&unnamed) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&unnamed)?;
    std::fs::set_permissions(&unnamed, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&unnamed, path)?;
    Ok(listener)
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::datadir::DataDir;

    #[tokio::test]
    async fn a_socket_is_never_found_closed_by_those_who_clear_up_after_the_dead() {
        let root = tempfile::tempdir().unwrap();
        let path = DataDir::open(root.path()).unwrap().children_socket().unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // another process that starts beside this one
                while !done.load(Ordering::Relaxed) {
                    DataDir::open(root.path()).unwrap().children_socket().unwrap();
                }
            });
            for round in 0..300 {
                let _listener = bind(&path).unwrap();
                assert!(UnixStream::connect(&path).is_ok(), "in round {round} it was taken for a dead one's");
                assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
                // a process that is killed leaves its socket; that it goes now is another round's matter
                std::fs::remove_file(&path).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
