//! Templates on a server: finding them by name, and bringing a file there.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::form_urlencoded::byte_serialize;
use uuid::Uuid;
use windrow_api_types::Page;
use windrow_client::{Client, ClientError};
use windrow_core::FieldError;
use windrow_plugin::{CommandError, ExitCode};

use super::local::LocalFragment;
use crate::spec::TemplateRef;
use crate::template::TemplateDocument;
use crate::wire::{TemplateBody, TemplateHead};

/// What became of a file on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Created,
    NewVersion,
    /// The latest version has this text already.
    Unchanged,
}

/// Creates the template that a file holds, or adds a version when its text has changed.
pub(super) async fn push(client: &Client, text: &str) -> Result<(TemplateBody, Pushed), CommandError> {
    let body = json!({ "document": text });
    match client.post("/v1/templates", &body).await {
        Ok(created) => return Ok((created, Pushed::Created)),
        Err(error) if error.code() == Some("template_name_taken") => {}
        Err(error) => return Err(refused(error)),
    }
    let name = TemplateDocument::parse(text).map_err(|errors| invalid(&errors))?.name;
    let head = find(client, &TemplateRef { id: name, version: None }, true).await?;
    let latest: TemplateBody = client.get(&format!("/v1/templates/{}", head.id)).await?;
    if latest.sha256 == hex::encode(Sha256::digest(text)) {
        return Ok((latest, Pushed::Unchanged));
    }
    Ok((add_version(client, head.id, text).await?, Pushed::NewVersion))
}

async fn add_version(client: &Client, id: Uuid, text: &str) -> Result<TemplateBody, CommandError> {
    let path = format!("/v1/templates/{id}/versions");
    client.post(&path, &json!({ "document": text })).await.map_err(refused)
}

/// Brings a fragment there, and as many versions of it as the includes that name it need.
pub(super) async fn push_fragment(client: &Client, fragment: &LocalFragment) -> Result<(), CommandError> {
    let (mut body, _) = push(client, &fragment.text).await?;
    while body.version < fragment.version {
        body = add_version(client, body.template.id, &fragment.text).await?;
    }
    Ok(())
}

/// The template that a name or an id means: one's own before a public one.
pub(super) async fn find(
    client: &Client,
    reference: &TemplateRef,
    mine: bool,
) -> Result<TemplateHead, CommandError> {
    if let Ok(id) = reference.id.parse::<Uuid>() {
        let body: TemplateBody = client.get(&format!("/v1/templates/{id}")).await?;
        return Ok(body.template);
    }
    let mut cursor: Option<String> = None;
    let mut public = None;
    loop {
        let after = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let path = format!("/v1/templates?mine={mine}&limit=200&text={}{after}", encode(&reference.id));
        let page: Page<TemplateHead> = client.get(&path).await?;
        for head in page.items.into_iter().filter(|head| head.name == reference.id) {
            if head.mine {
                return Ok(head);
            }
            public.get_or_insert(head);
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let missing = || {
        let message = format!("there is no template {}; `windrow template list` shows them", reference.id);
        CommandError::new(ExitCode::Failed, anyhow::Error::msg(message))
    };
    public.ok_or_else(missing)
}

/// A text in a query string.
pub(super) fn encode(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

/// A refusal of what the user wrote is a mistake in how the command was called.
pub(super) fn refused(error: ClientError) -> CommandError {
    match &error {
        ClientError::Problem(problem) if matches!(problem.status, 400 | 413 | 422) => {
            CommandError::new(ExitCode::Usage, error)
        }
        _ => error.into(),
    }
}

fn invalid(errors: &[FieldError]) -> CommandError {
    let lines: Vec<String> = errors.iter().map(|error| format!("\n  {error}")).collect();
    CommandError::usage(format!("the template is not valid{}", lines.concat()))
}

/// The spec's `overrides` and the rest, with a template and seed data.
pub(super) fn with_sources(mut spec: serde_json::Map<String, Value>, template: &str, seed: &str) -> Value {
    spec.insert("template".to_owned(), template.into());
    spec.insert("seed".to_owned(), seed.into());
    Value::Object(spec)
}
