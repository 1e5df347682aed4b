//! What the binary offers to commands: a server to speak to, or an engine of their own.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use windrow_client::{Client, Endpoint};
use windrow_config::{Config, Input};
use windrow_plugin::{CommandError, Console, Embedded, ExitCode, Host};

use crate::compose;
use crate::datadir::DataDir;
use crate::server::{Roles, Running};
use crate::signals;

/// Who commands on the installation's own machine are, when they send no token.
pub(crate) const LOCAL_USER: &str = "local";
/// How long a command may take.
const TOKEN_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

pub(crate) struct CommandHost {
    pub(crate) input: Input,
    pub(crate) config: Config,
    pub(crate) console: Console,
}

#[async_trait]
impl Host for CommandHost {
    fn console(&self) -> Console {
        self.console
    }

    async fn connect(&self) -> Result<Client, CommandError> {
        let client = &self.config.client;
        let token = client.token.as_ref().map(|token| token.expose().to_owned());
        if let Some(server) = &client.server {
            return Ok(Client::new(Endpoint::Url(server.clone()), token)?);
        }
        self.through_socket(token)
    }

    async fn embedded(
        &self,
        dir: &Path,
        overrides: Vec<(String, String)>,
    ) -> Result<Box<dyn Embedded>, CommandError> {
        let mut input = self.input.clone();
        // an embedded engine stands on its own directory, whatever server this machine is set up for
        for name in ["DATABASE_URL", "DATABASE_LISTEN_URL", "WINDROW_STORAGE_DIR"] {
            input.env.remove(name);
        }
        input.env.extend(overrides);
        input = input.with_flag("WINDROW_DATA_DIR", dir.display().to_string());
        let mut config = Config::load(&input).map_err(|error| CommandError::new(ExitCode::Usage, error))?;
        // its only user has nobody to ask
        config.limits.approval_above_usd = None;
        config.workloads.values_mut().for_each(|section| section.approval_above_usd = None);
        let running = Running::start(config, &input, Roles::EMBEDDED).await.map_err(|error| {
            match error.downcast::<compose::InUse>() {
                // commands with an engine of their own name its directory by --out
                Ok(in_use) => {
                    let advice = "wait until that is done, or name another directory with --out";
                    compose::InUse { advice, ..in_use }.into()
                }
                Err(error) => error,
            }
        })?;
        let client = socket_client(&running.platform.dir, None)?;
        Ok(Box::new(EmbeddedServer { running, client }))
    }

    async fn interrupted(&self) {
        signals::asked_to_stop().await;
    }
}

impl CommandHost {
    /// The server that owns the data directory.
    fn through_socket(&self, token: Option<String>) -> Result<Client, CommandError> {
        let root = &self.config.data_dir;
        let advice = || {
            let place = root.display();
            let message = format!(
                "no server owns {place}: start one with `windrow up --data-dir {place}`, or name one with --server"
            );
            CommandError::new(ExitCode::Unreachable, anyhow::Error::msg(message))
        };
        if !root.exists() {
            return Err(advice());
        }
        let dir = DataDir::open(root)?;
        if !dir.socket().exists() {
            return Err(advice());
        }
        Ok(socket_client(&dir, token)?)
    }
}

/// Speaks through a directory's socket, as the local user unless a token says otherwise.
pub(crate) fn socket_client(dir: &DataDir, token: Option<String>) -> anyhow::Result<Client> {
    let token = match token {
        Some(token) => token,
        None => mint(dir, LOCAL_USER, TOKEN_LIFE)?,
    };
    Ok(Client::new(Endpoint::Socket(dir.socket()), Some(token))?)
}

/// A token of a directory's own issuer.
pub(crate) fn mint(dir: &DataDir, sub: &str, life: Duration) -> anyhow::Result<String> {
    let issuer = compose::local_issuer(dir)?;
    issuer.mint(sub, life, compose::clock().now()).context("can't make a token")
}

struct EmbeddedServer {
    running: Running,
    client: Client,
}

#[async_trait]
impl Embedded for EmbeddedServer {
    fn client(&self) -> &Client {
        &self.client
    }

    async fn stop(self: Box<Self>) -> anyhow::Result<()> {
        self.running.stop().await;
        Ok(())
    }
}
