//! `windrow template push | list | show | diff | export | import`: templates on a server.

use std::path::Path;

use futures::StreamExt as _;
use serde_json::json;
use windrow_api_types::Page;
use windrow_client::Client;
use windrow_plugin::{CommandError, Console, ExitCode, Host};

use super::args::TemplateCommand;
use super::local::read_text;
use super::push::{self, Pushed, encode, find, refused};
use super::report;
use crate::spec::TemplateRef;
use crate::wire::{TemplateBody, TemplateDiff, TemplateHead};

pub(super) async fn run(command: TemplateCommand, host: &dyn Host) -> Result<ExitCode, CommandError> {
    let console = host.console();
    // a file that can't be read needs no server to be refused
    let text = match &command {
        TemplateCommand::Push { file } | TemplateCommand::Import { file, .. } => read_text(file)?,
        _ => String::new(),
    };
    let client = host.connect().await?;
    match command {
        TemplateCommand::Push { .. } => push_file(&client, &text, console).await?,
        TemplateCommand::Import { name, .. } => import(&client, &text, name.as_deref(), console).await?,
        TemplateCommand::List { text, category, mine } => {
            list(&client, text.as_deref(), category.as_deref(), mine, console).await?;
        }
        TemplateCommand::Show { template } => show(&client, &template, console).await?,
        TemplateCommand::Diff { template, from, to } => diff(&client, &template, from, to, console).await?,
        TemplateCommand::Export { template, out } => {
            export(&client, &template, out.as_deref(), console).await?;
        }
        TemplateCommand::Preview(_) => unreachable!("needs no server"),
    }
    Ok(ExitCode::Ok)
}

async fn push_file(client: &Client, text: &str, console: Console) -> Result<(), CommandError> {
    let (template, pushed) = push::push(client, text).await?;
    for path in &template.analysis.undeclared {
        report::note(console, format_args!("warning: {path} is used, but not in schema_requirements"));
    }
    let what = match pushed {
        Pushed::Created => "created",
        Pushed::NewVersion => "new version of",
        Pushed::Unchanged => "unchanged:",
    };
    let name = &template.template.name;
    report::result(console, &template, |out| writeln!(out, "{what} {name}@{}", template.version))
}

async fn import(
    client: &Client,
    text: &str,
    name: Option<&str>,
    console: Console,
) -> Result<(), CommandError> {
    let query = name.map(|name| format!("?name={}", encode(name))).unwrap_or_default();
    let path = format!("/v1/templates/import{query}");
    let request = client.request(axum::http::Method::POST, &path);
    let request = request.header("content-type", "application/yaml").body(text.to_owned());
    let answer = client.send(request).await.map_err(refused)?;
    let template: TemplateBody = serde_json::from_slice(&answer.bytes().await?)?;
    let name = &template.template.name;
    report::result(console, &template, |out| writeln!(out, "created {name}@{}", template.version))
}

async fn list(
    client: &Client,
    text: Option<&str>,
    category: Option<&str>,
    mine: bool,
    console: Console,
) -> Result<(), CommandError> {
    let mut filter = format!("/v1/templates?limit=200&mine={mine}");
    for (name, value) in [("text", text), ("category", category)] {
        if let Some(value) = value {
            filter.push_str(&format!("&{name}={}", encode(value)));
        }
    }
    let mut templates: Vec<TemplateHead> = Vec::new();
    let mut cursor = Some(String::new());
    while let Some(after) = cursor {
        let after = if after.is_empty() { after } else { format!("&cursor={after}") };
        let page: Page<TemplateHead> = client.get(&format!("{filter}{after}")).await?;
        templates.extend(page.items);
        cursor = page.next_cursor;
    }
    report::result(console, &json!({ "items": templates }), |out| {
        writeln!(out, "{:40} {:8} {:16} DESCRIPTION", "TEMPLATE", "SEEN BY", "CATEGORY")?;
        for template in &templates {
            let name = format!("{}@{}", template.name, template.latest);
            let seen = match (template.mine, template.visibility) {
                (_, crate::wire::Visibility::Public) => "all",
                _ => "you",
            };
            writeln!(out, "{name:40} {seen:8} {:16} {}", template.category, template.description)?;
        }
        Ok(())
    })
}

async fn show(client: &Client, template: &str, console: Console) -> Result<(), CommandError> {
    let (head, query) = named(client, template).await?;
    let body: TemplateBody = client.get(&format!("/v1/templates/{}{query}", head.id)).await?;
    report::result(console, &body, |out| {
        let list = |items: &[String]| if items.is_empty() { "-".to_owned() } else { items.join(", ") };
        writeln!(out, "template     {}@{} of {}", body.template.name, body.version, body.template.latest)?;
        writeln!(out, "id           {}", body.template.id)?;
        writeln!(out, "models       {}", list(&body.analysis.models))?;
        writeln!(out, "uses         {}", list(&body.analysis.paths))?;
        writeln!(out, "undeclared   {}", list(&body.analysis.undeclared))?;
        writeln!(out, "includes     {}", list(&body.analysis.includes))?;
        writeln!(out, "\n{}", body.document.trim_end())
    })
}

async fn diff(
    client: &Client,
    template: &str,
    from: u32,
    to: Option<u32>,
    console: Console,
) -> Result<(), CommandError> {
    let (head, _) = named(client, template).await?;
    let to = to.map(|to| format!("&to={to}")).unwrap_or_default();
    let diff: TemplateDiff = client.get(&format!("/v1/templates/{}/diff?from={from}{to}", head.id)).await?;
    report::result(console, &diff, |out| write!(out, "{}", diff.diff))
}

async fn export(
    client: &Client,
    template: &str,
    out: Option<&Path>,
    console: Console,
) -> Result<(), CommandError> {
    let (head, query) = named(client, template).await?;
    let path = format!("/v1/templates/{}/export{query}", head.id);
    if let Some(file) = out {
        client.download_to(&path, file).await?;
        return report::result(console, &json!({ "file": file }), |out| writeln!(out, "{}", file.display()));
    }
    let mut document = Vec::new();
    let mut stream = std::pin::pin!(client.download(&path).await?);
    while let Some(chunk) = stream.next().await {
        document.extend_from_slice(&chunk?);
    }
    let document = String::from_utf8_lossy(&document);
    report::result(console, &json!({ "document": document }), |out| write!(out, "{document}"))
}

/// The template that a reference means, and the query that picks its version.
async fn named(client: &Client, text: &str) -> Result<(TemplateHead, String), CommandError> {
    let reference: TemplateRef = text.parse().map_err(|error| CommandError::usage(format!("{error}")))?;
    let head = find(client, &reference, false).await?;
    let query = reference.version.map(|version| format!("?version={version}")).unwrap_or_default();
    Ok((head, query))
}
