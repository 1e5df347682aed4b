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
use crate::owner::InUse;
use crate::server::{Roles, Running};
use crate::{logging, settings, signals};

/// Who commands on the installation's own machine are, when they send no token.
pub(crate) const LOCAL_USER: &str = "local";
/// How long a command may take.
const TOKEN_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

pub(crate) struct CommandHost {
    pub(crate) input: Input,
    pub(crate) console: Console,
}

#[async_trait]
impl Host for CommandHost {
    fn console(&self) -> Console {
        self.console
    }

    async fn connect(&self) -> Result<Client, CommandError> {
        let config = self.config()?;
        let token = config.client.token.as_ref().map(|token| token.expose().to_owned());
        if let Some(server) = &config.client.server {
            return Ok(Client::new(Endpoint::Url(server.clone()), token)?);
        }
        through_socket(&config, token).await
    }

    async fn embedded(
        &self,
        dir: &Path,
        overrides: Vec<(String, String)>,
    ) -> Result<Box<dyn Embedded>, CommandError> {
        let mut input = settings::embedded(self.input.clone(), dir);
        input.env.extend(overrides);
        let config = settings::loaded(&input)?;
        logging::quiet(&config);
        let running = Running::start(config, &input, Roles::EMBEDDED).await.map_err(|error| {
            match error.downcast::<InUse>() {
                // commands with an engine of their own name its directory by --out
                Ok(in_use) => {
                    let advice = "wait until that is done, or name another directory with --out";
                    InUse { advice, ..in_use }.into()
                }
                Err(error) => error,
            }
        })?;
        let client = socket_client(&running.platform.config, &running.platform.dir, None).await?;
        Ok(Box::new(EmbeddedServer { running, client }))
    }

    async fn interrupted(&self) {
        signals::asked_to_stop().await;
    }
}

impl CommandHost {
    /// The settings of the installation that this machine is set up for. Not every command has to do with it: those that have
    /// not work whatever is wrong with them.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn config(&self) -> Result<Config, CommandError> {
        let config = settings::loaded(&self.input)?;
        logging::quiet(&config);
        Ok(config)
    }
}

/// The server that owns the data directory.
async fn through_socket(config: &Config, token: Option<String>) -> Result<Client, CommandError> {
    let root = &config.data_dir;
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
    if !dir.socket()?.exists() {
        return Err(advice());
    }
    Ok(socket_client(config, &dir, token).await?)
}

/// Speaks through a directory's socket, as the local user unless a token says otherwise.
pub(crate) async fn socket_client(
    config: &Config,
    dir: &DataDir,
    token: Option<String>,
) -> anyhow::Result<Client> {
    dir.check_listener().await?;
    let token = match token {
        Some(token) => token,
        None => mint(config, dir, LOCAL_USER, TOKEN_LIFE)?,
    };
    Ok(Client::new(Endpoint::Socket(dir.socket()?), Some(token))?)
}

/// A token of the installation's own issuer.
pub(crate) fn mint(config: &Config, dir: &DataDir, sub: &str, life: Duration) -> anyhow::Result<String> {
    let issuer = compose::local_issuer(config, dir)?;
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
