//! The composition root: from a configuration to an installation whose parts know each other.

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use sha2::{Digest as _, Sha256};
use url::Url;
use windrow_app::{App, AppParts, AppSettings, KeptLines, Reach, StoredKeys, Webhooks};
use windrow_auth::{Authenticator, JwksSettings, LocalIssuer, TokenMode};
use windrow_blob::{BlobSettings, BlobStore, InstallationSalt, LocalSettings, SigningKey};
use windrow_config::{AuthMode, Config, DatabaseTarget};
use windrow_core::{SharedClock, SystemClock};
use windrow_engine::{LocalEngine, UnrunCommits, WorkloadRegistry};
use windrow_models::Models;
use windrow_plugin::Plugin;
use windrow_rest::{ApiRouter, ApiState, HttpLimits};
use windrow_store::migrate;
use windrow_store::{Db, DbOptions, Store, StoreOptions, WorkPrices};

use crate::datadir::DataDir;
use crate::logging::kept::KeptFiles;
use crate::owner::{self, Owned};
use crate::{logging, models, random, workloads};

/// An installation, opened by this process.
pub(crate) struct Platform {
    pub(crate) config: Config,
    pub(crate) clock: SharedClock,
    pub(crate) dir: DataDir,
    pub(crate) store: Store,
    pub(crate) blob: BlobStore,
    pub(crate) salt: InstallationSalt,
    pub(crate) models: Arc<Models>,
    pub(crate) registry: WorkloadRegistry,
    pub(crate) app: App,
    pub(crate) issuer: Option<Arc<LocalIssuer>>,
    routes: Vec<ApiRouter>,
    /// Held for as long as an embedded database is open.
    _owned: Option<Owned>,
}

/// Whether pending migrations are applied or refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Migrations {
    Apply,
    Refuse,
}

pub(crate) fn clock() -> SharedClock {
    SystemClock::shared()
}

/// Opens the database alone, for commands about its schema.
pub(crate) async fn open_database_alone(config: &Config) -> anyhow::Result<(Db, Option<Owned>)> {
    let dir = DataDir::open(&config.data_dir)?;
    let owned = owner::own(config, &dir, "windrow db")?;
    Ok((connect(config).await?, owned))
}

async fn connect(config: &Config) -> anyhow::Result<Db> {
    let section = &config.database;
    let mut options = DbOptions {
        max_connections: section.max_connections,
        min_connections: section.min_connections,
        acquire_timeout: section.acquire_timeout,
        application_name: "windrow".to_owned(),
        prices: WorkPrices {
            compute_hour: config.worker.compute_usd_per_hour,
            puts_1000: config.storage.put_usd_per_1000,
            gets_1000: config.storage.get_usd_per_1000,
        },
        ..DbOptions::default()
    };
    let url = match config.database() {
        DatabaseTarget::Sqlite { path } => format!("sqlite:{}", path.display()),
        DatabaseTarget::Postgres { listen_url, .. } => {
            options.listen_url = Some(listen_url.expose().to_owned());
            section.url.as_ref().map(|url| url.expose().to_owned()).unwrap_or_default()
        }
    };
    Db::connect(&url, options).await.context("can't open the database")
}

/// How people know the database.
pub(crate) fn name_of(config: &Config) -> String {
    match config.database() {
        DatabaseTarget::Sqlite { path } => format!("the database {}", path.display()),
        DatabaseTarget::Postgres { .. } => "the database of DATABASE_URL".to_owned(),
    }
}

impl Platform {
    /// Opens all of it. `description` tells others who owns an embedded directory; `public_url` is what signed links
    /// begin with.
    pub(crate) async fn open(
        config: Config,
        public_url: Url,
        description: &str,
        migrations: Migrations,
    ) -> anyhow::Result<Self> {
        let clock = clock();
        let plugins = workloads::plugins();
        let sets = workloads::migrations(&plugins);
        let dir = DataDir::open(&config.data_dir)?;
        let owned = owner::own(&config, &dir, description)?;
        let registry = workloads::registered(&plugins, &config)?;
        let commits = UnrunCommits::new(registry.clone(), None);
        let db = connect(&config).await?.with_end_hook(Arc::new(commits));
        match migrations {
            Migrations::Apply => {
                let done = migrate::up(&db, &sets, clock.now()).await;
                done.with_context(|| format!("can't migrate {}", name_of(&config)))?;
            }
            Migrations::Refuse => {
                migrate::check(&db, &sets).await.context("run `windrow db migrate` first")?;
            }
        }
        let options = StoreOptions { random: random::number(), ..StoreOptions::default() };
        let unusable = || format!("can't use {}", name_of(&config));
        let store = Store::open(db.clone(), Arc::clone(&clock), options).await.with_context(unusable)?;
        let salt = salt(&store).await.with_context(unusable)?;
        let secret = secret_key(&config, &dir)?;
        let blob = open_storage(&config, &secret, public_url, salt, Arc::clone(&clock))?;
        let models = Arc::new(models::registry(&config, Arc::clone(&clock))?);
        let issuer = (config.auth.mode == AuthMode::Local).then(|| kept_issuer(&config, &dir)).transpose()?;
        let authenticator = authenticator(&config, issuer.as_ref(), &db, &clock)?;
        let parts = AppParts {
            store: store.clone(),
            migrations: sets,
            blob: blob.clone(),
            salt,
            authenticator,
            models: Arc::clone(&models),
            workloads: registry.clone(),
            webhooks: Webhooks::new(&secret, webhook_reach(&config)),
            log: logging::kept_in(&config).map(|dir| Arc::new(KeptFiles(dir)) as Arc<dyn KeptLines>),
            clock: Arc::clone(&clock),
            settings: AppSettings::of(&config),
        };
        let app = App::new(parts)?;
        put_samples(&blob, &plugins).await?;
        let routes = plugins.into_iter().map(|plugin| plugin.routes).collect();
        Ok(Self {
            config,
            clock,
            dir,
            store,
            blob,
            salt,
            models,
            registry,
            app,
            issuer,
            routes,
            _owned: owned,
        })
    }

    /// The API over this installation.
    pub(crate) fn router(
        &mut self,
        engine: Option<LocalEngine>,
        metrics: Option<PrometheusHandle>,
    ) -> Router {
        let section = &self.config.server;
        let limits = HttpLimits {
            max_body_bytes: usize::try_from(section.max_body).unwrap_or(usize::MAX),
            max_batch_bytes: usize::try_from(section.max_batch_body).unwrap_or(usize::MAX),
            timeout: section.request_timeout,
            cors_origins: section.cors_origins.clone(),
        };
        let jwks = self.issuer.as_ref().map(|issuer| Arc::new(issuer.jwks()));
        let state = ApiState { app: self.app.clone(), jwks, engine, metrics };
        windrow_rest::router(state, std::mem::take(&mut self.routes), &limits)
    }

    pub(crate) async fn close(&self) {
        self.store.close().await;
    }
}

/// Bundled sample data that is not there yet.
async fn put_samples(blob: &BlobStore, plugins: &[Plugin]) -> anyhow::Result<()> {
    for sample in plugins.iter().flat_map(|plugin| &plugin.samples) {
        let key = sample.key.parse().with_context(|| format!("the sample {}", sample.key))?;
        let attributes = windrow_blob::ObjectAttributes::of_type(sample.content_type).from_source("sample");
        match blob.put_if_absent(&key, sample.bytes.into(), &attributes).await {
            Ok(_) | Err(windrow_blob::BlobError::AlreadyExists { .. }) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("can't store the sample {}", sample.key));
            }
        }
    }
    Ok(())
}

/// Keeps owners' names out of object keys; the same in every process of the installation, so it comes from the database.
async fn salt(store: &Store) -> anyhow::Result<InstallationSalt> {
    let id = store.installation(uuid::Uuid::from_bytes(random::bytes())).await?;
    let digest = Sha256::new().chain_update(b"windrow owner hashes\0").chain_update(id.as_bytes()).finalize();
    Ok(InstallationSalt::from_bytes(digest.into()))
}

/// What this installation signs with; the same in every process of it.
fn secret_key(config: &Config, dir: &DataDir) -> anyhow::Result<Vec<u8>> {
    match &config.server.secret_key {
        Some(secret) => Ok(secret.expose().as_bytes().to_vec()),
        None => Ok(dir.secret("secret")?.to_vec()),
    }
}

/// The configuration was refused if it allows private addresses anywhere but locally.
fn webhook_reach(config: &Config) -> Reach {
    if config.webhooks.allow_private { Reach::Anywhere } else { Reach::Internet }
}

fn open_storage(
    config: &Config,
    secret: &[u8],
    public_url: Url,
    salt: InstallationSalt,
    clock: SharedClock,
) -> anyhow::Result<BlobStore> {
    let signing_key = SigningKey::derive(secret);
    let settings = LocalSettings { root: config.storage_dir(), public_url, signing_key, salt };
    BlobStore::open(BlobSettings::Local(settings), clock).context("can't open the storage")
}

/// Where the key that signs local tokens is kept, as PKCS#8.
const ISSUER: &str = "issuer.pk8";

/// What signs local tokens: the same in every process that is given the same secret key; without one, a key of the data
/// directory's own, made at first use.
pub(crate) fn local_issuer(config: &Config, dir: &DataDir) -> anyhow::Result<Arc<LocalIssuer>> {
    if let Some(secret) = &config.server.secret_key {
        return Ok(Arc::new(LocalIssuer::derive(secret.expose().as_bytes())?));
    }
    let fresh = LocalIssuer::generate()?.to_pkcs8()?;
    let kept = dir.private_file(ISSUER, &fresh)?;
    let path = dir.root().join(ISSUER);
    Ok(Arc::new(LocalIssuer::load(&kept).with_context(|| format!("{} can't be used", path.display()))?))
}

/// The same for a server, which leaves it in the data directory: commands beside it are its user's, and need not be given the
/// secret key.
fn kept_issuer(config: &Config, dir: &DataDir) -> anyhow::Result<Arc<LocalIssuer>> {
    let issuer = local_issuer(config, dir)?;
    if config.server.secret_key.is_some() {
        dir.replace_private_file(ISSUER, &issuer.to_pkcs8()?)?;
    }
    Ok(issuer)
}

fn authenticator(
    config: &Config,
    issuer: Option<&Arc<LocalIssuer>>,
    db: &Db,
    clock: &SharedClock,
) -> anyhow::Result<Authenticator> {
    let mode = match (config.auth.mode, issuer) {
        (AuthMode::Local, Some(issuer)) => TokenMode::Local(Arc::clone(issuer)),
        (AuthMode::Local, None) => unreachable!("a local issuer is made for this mode"),
        (AuthMode::Insecure, _) => TokenMode::Insecure,
        (AuthMode::Jwks, _) => TokenMode::Jwks(JwksSettings {
            issuer: config.issuer().context("auth mode jwks needs an issuer")?,
            jwks_url: config.jwks_url().context("auth mode jwks needs the URL of its keys")?.to_string(),
            audiences: config.auth.audience.clone(),
            client_ids: config.auth.client_id.clone(),
            cache: config.auth.jwks_cache,
        }),
    };
    let keys = Arc::new(StoredKeys::new(db.clone()));
    let authenticator = Authenticator::new(mode, keys, Arc::clone(clock)).map_err(anyhow::Error::msg)?;
    let default_owner = config.auth.default_owner.clone().filter(|_| config.app_env.is_local());
    Ok(authenticator.with_default_owner(default_owner))
}
