//! `windrow token`, `windrow key` and `windrow user`.

use std::time::Duration;

use serde_json::json;
use windrow_api_types::{ApiKey, CreateApiKey, CreatedApiKey, Page, User, WebhookSecret};
use windrow_config::{AuthMode, Config, DatabaseTarget};
use windrow_core::Role;
use windrow_plugin::{CommandError, ExitCode, Host};

use crate::args;
use crate::commands::pages;
use crate::compose::{Migrations, Platform};
use crate::datadir::DataDir;
use crate::host::{CommandHost, mint, socket_client};
use crate::local_door::{self, Grant};
use crate::output;

pub(crate) async fn key(command: args::Key, host: &dyn Host) -> Result<ExitCode, CommandError> {
    let client = host.connect().await?;
    let console = host.console();
    match command {
        args::Key::Create { name, scopes } => {
            let body = CreateApiKey { name, scopes, expires_at: None };
            let created: CreatedApiKey = client.post("/v1/keys", &body).await?;
            output::note(console, "shown once; keep it like a password:");
            output::result(console, &created, |out| writeln!(out, "{}", created.secret))?;
        }
        args::Key::List => {
            let keys: Vec<ApiKey> = client.get("/v1/keys").await?;
            output::result(console, &keys, |out| {
                for key in &keys {
                    let state = if key.revoked_at.is_some() { "revoked" } else { "live" };
                    writeln!(out, "{}  {:8} {}  {}", key.id, state, key.hint, key.name)?;
                }
                Ok(())
            })?;
        }
        args::Key::Revoke { id } => {
            client.delete(&format!("/v1/keys/{id}")).await?;
            output::result(console, &json!({ "revoked": id }), |out| writeln!(out, "revoked"))?;
        }
        args::Key::WebhookSecret => {
            let secret: WebhookSecret = client.get("/v1/me/webhook-secret").await?;
            output::result(console, &secret, |out| writeln!(out, "{}", secret.secret))?;
        }
    }
    Ok(ExitCode::Ok)
}

/// Makes a token in auth mode `local`, and the user with it.
pub(crate) async fn token(
    host: &CommandHost,
    sub: &str,
    role: Option<Role>,
    hours: u32,
) -> Result<ExitCode, CommandError> {
    let config = host.config()?;
    if config.auth.mode != AuthMode::Local {
        return Err(CommandError::usage(
            "tokens come from your issuer: `token create` works in auth mode local only",
        ));
    }
    let reason = "windrow token create".to_owned();
    give(&config, Grant { sub: sub.to_owned(), role, reason }).await?;
    let dir = DataDir::open(&config.data_dir)?;
    let token = mint(&config, &dir, sub, Duration::from_secs(u64::from(hours) * 3600))?;
    output::result(host.console(), &json!({ "sub": sub, "token": token }), |out| writeln!(out, "{token}"))?;
    Ok(ExitCode::Ok)
}

pub(crate) async fn grant(
    host: &CommandHost,
    sub: String,
    role: Role,
    reason: String,
) -> Result<ExitCode, CommandError> {
    let user = give(&host.config()?, Grant { sub, role: Some(role), reason }).await?;
    output::result(host.console(), &user, |out| writeln!(out, "{} is {}", user.sub, user.role))?;
    Ok(ExitCode::Ok)
}

/// As the operator of the installation: through the socket of the process that owns the data directory, else on the
/// database itself.
async fn give(config: &Config, wish: Grant) -> Result<User, CommandError> {
    if matches!(config.database(), DatabaseTarget::Sqlite { .. }) {
        let dir = DataDir::open(&config.data_dir)?;
        if dir.socket()?.exists() && dir.try_own("windrow token")?.is_none() {
            return Ok(local_door::ask(&socket_client(config, &dir, None).await?, &wish).await?);
        }
    }
    // a shared database is brought up to date by `db migrate`, when its operator says so
    let embedded = matches!(config.database(), DatabaseTarget::Sqlite { .. });
    let migrations = if embedded { Migrations::Apply } else { Migrations::Refuse };
    let description = format!("process {} (a command)", std::process::id());
    let platform = Platform::open(config.clone(), config.public_url(0), &description, migrations).await?;
    let given = local_door::give(&platform.app, wish).await;
    platform.close().await;
    Ok(given?)
}

/// At most `most`; all of them where that is none.
pub(crate) async fn list_users(host: &dyn Host, most: Option<u32>) -> Result<ExitCode, CommandError> {
    let client = host.connect().await?;
    let users: Page<User> = pages::collect(&client, "/v1/users?", most).await?;
    output::result(host.console(), &users, |out| {
        for user in &users.items {
            writeln!(out, "{:>6}  {:12} {:9} {}", user.id, user.role, user.status, user.sub)?;
        }
        Ok(())
    })?;
    pages::note_more(host.console(), &users, "a larger --limit, or none, shows them");
    Ok(ExitCode::Ok)
}
