//! Templates: create, version, find, compare, fork, publish, delete, resolve.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use uuid::Uuid;
use windrow_core::{FieldError, JobId, OwnerId, Timestamp};
use windrow_store::{Conn, StoreError, Tx};

use crate::spec::{PinnedInclude, PinnedTemplate, TemplateRef};
use crate::store::templates::{self, NewVersion, Search, Template, TemplateVersion};
use crate::template::{Analysis, Fragments, IncludeUse, TemplateDocument, analyse};

/// Why something can't be done with a template.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("no such template")]
    NotFound,
    #[error("the template has no version {0}")]
    NoVersion(u32),
    #[error("the template is not valid")]
    Invalid(Vec<FieldError>),
    /// The owner has a template of that name already.
    #[error("you have a template named {0} already; add a version to it, or choose another name")]
    NameTaken(String),
    /// A new version may not rename its template: includes and jobs name it.
    #[error("this template is named {expected}, the document says {found}; fork it to give it another name")]
    Renamed { expected: String, found: String },
    #[error("job {0} uses this template and has not ended; cancel it or wait for its end")]
    InUse(JobId),
    #[error(
        "somebody else's job uses this template and has not ended; make it private, and wait for its end"
    )]
    InUseByOthers,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A template at one version, with its text.
#[derive(Clone, Debug)]
pub struct Found {
    pub template: Template,
    pub version: TemplateVersion,
}

/// A document that has passed every check that needs no database.
struct Checked<'a> {
    document: TemplateDocument,
    text: &'a str,
    sha256: String,
}

impl<'a> Checked<'a> {
    fn new(text: &'a str) -> Result<Self, TemplateError> {
        let document = TemplateDocument::parse(text).map_err(TemplateError::Invalid)?;
        // what is missing may come before the first job; everything else is wrong for good
        let analysis = analyse(&document, &Fragments::new());
        if !analysis.problems.is_empty() {
            return Err(TemplateError::Invalid(analysis.problems));
        }
        Ok(Self { document, text, sha256: hex::encode(Sha256::digest(text)) })
    }

    fn version(&self) -> NewVersion<'_> {
        NewVersion {
            document: self.text,
            sha256: &self.sha256,
            description: self.document.description.as_deref().unwrap_or(""),
            category: self.document.category.as_deref().unwrap_or(""),
        }
    }
}

/// Stores a new template, private, as version 1. Includes are looked up when a job is submitted, so that a fragment may
/// come later.
pub async fn create(
    tx: &mut Tx,
    owner: OwnerId,
    id: Uuid,
    text: &str,
    now: Timestamp,
) -> Result<Found, TemplateError> {
    let checked = Checked::new(text)?;
    insert(tx, owner, id, &checked, None, now).await
}

async fn insert(
    tx: &mut Tx,
    owner: OwnerId,
    id: Uuid,
    checked: &Checked<'_>,
    forked_from: Option<&str>,
    now: Timestamp,
) -> Result<Found, TemplateError> {
    let name = &checked.document.name;
    match templates::create(tx, id, owner, name, forked_from, checked.version(), now).await {
        Err(error) if error.is_conflict() => Err(TemplateError::NameTaken(name.clone())),
        Err(error) => Err(error.into()),
        Ok(()) => get(tx, owner, id, Some(1)).await,
    }
}

/// Adds a version to the caller's own template.
pub async fn add_version(
    tx: &mut Tx,
    owner: OwnerId,
    id: Uuid,
    text: &str,
    now: Timestamp,
) -> Result<Found, TemplateError> {
    let current = own(tx, owner, id).await?;
    let checked = Checked::new(text)?;
    if checked.document.name != current.name {
        return Err(TemplateError::Renamed { expected: current.name, found: checked.document.name });
    }
    let version = templates::add_version(tx, id, owner, checked.version(), now)
        .await?
        .ok_or(TemplateError::NotFound)?;
    get(tx, owner, id, Some(version)).await
}

/// A template that the caller may see, at one version or the latest.
pub async fn get(
    conn: &mut Conn,
    owner: OwnerId,
    id: Uuid,
    version: Option<u32>,
) -> Result<Found, TemplateError> {
    let template = templates::get(conn, id, owner).await?.ok_or(TemplateError::NotFound)?;
    at_version(conn, template, version).await
}

async fn at_version(
    conn: &mut Conn,
    template: Template,
    version: Option<u32>,
) -> Result<Found, TemplateError> {
    let wanted = version.unwrap_or(template.latest);
    let version =
        templates::version(conn, template.id, wanted).await?.ok_or(TemplateError::NoVersion(wanted))?;
    Ok(Found { template, version })
}

/// The caller's own template; somebody else's public one is not found here, because it can't be changed.
async fn own(conn: &mut Conn, owner: OwnerId, id: Uuid) -> Result<Template, TemplateError> {
    let template = templates::get(conn, id, owner).await?.filter(|template| template.owner_id == owner);
    template.ok_or(TemplateError::NotFound)
}

/// All versions of a template that the caller may see, newest first.
pub async fn versions(
    conn: &mut Conn,
    owner: OwnerId,
    id: Uuid,
) -> Result<Vec<TemplateVersion>, TemplateError> {
    let template = templates::get(conn, id, owner).await?.ok_or(TemplateError::NotFound)?;
    Ok(templates::versions(conn, template.id, 1000).await?)
}

/// Templates that the caller may see, by name.
pub async fn search(
    conn: &mut Conn,
    owner: OwnerId,
    search: &Search,
) -> Result<Vec<Template>, TemplateError> {
    Ok(templates::search(conn, owner, search).await?)
}

/// A copy of a version as the caller's own template, private. Without a new name it keeps its own.
pub async fn fork(
    tx: &mut Tx,
    owner: OwnerId,
    source: &Found,
    id: Uuid,
    name: Option<&str>,
    now: Timestamp,
) -> Result<Found, TemplateError> {
    let text = match name {
        None => source.version.document.clone(),
        Some(name) => renamed(&source.version.document, name)?,
    };
    let checked = Checked::new(&text)?;
    let origin = format!("{}@{}", source.template.name, source.version.version);
    insert(tx, owner, id, &checked, Some(&origin), now).await
}

/// Stores a file as the caller's own template, private, under another name when one is given.
pub async fn import(
    tx: &mut Tx,
    owner: OwnerId,
    id: Uuid,
    text: &str,
    name: Option<&str>,
    now: Timestamp,
) -> Result<Found, TemplateError> {
    let text = match name {
        None => text.to_owned(),
        Some(name) => renamed(text, name)?,
    };
    create(tx, owner, id, &text, now).await
}

/// How two versions differ, as a unified diff; empty when they don't.
pub fn diff(from: &Found, to: &Found) -> String {
    let name = |found: &Found| format!("{}@{}", found.template.name, found.version.version);
    similar::TextDiff::from_lines(&from.version.document, &to.version.document)
        .unified_diff()
        .header(&name(from), &name(to))
        .to_string()
}

/// A document as YAML: as it was written, or converted when that was JSON.
///
/// # Errors
/// [`TemplateError::Invalid`] when it is no template.
pub fn yaml(document: &str) -> Result<String, TemplateError> {
    if !document.trim_start().starts_with('{') {
        return Ok(document.to_owned());
    }
    let document = TemplateDocument::parse(document).map_err(TemplateError::Invalid)?;
    to_yaml(&document)
}

fn to_yaml(document: &TemplateDocument) -> Result<String, TemplateError> {
    let value = serde_json::json!({ "template": document });
    serde_saphyr::to_string(&value).map_err(|error| TemplateError::Invalid(vec![FieldError::new("", error)]))
}

/// A document under another name. Its comments are lost: it is written anew.
fn renamed(text: &str, name: &str) -> Result<String, TemplateError> {
    let mut document = TemplateDocument::parse(text).map_err(TemplateError::Invalid)?;
    name.clone_into(&mut document.name);
    to_yaml(&document)
}

/// Shows a template to everybody, or to its owner alone.
pub async fn publish(
    tx: &mut Tx,
    owner: OwnerId,
    id: Uuid,
    public: bool,
    now: Timestamp,
) -> Result<Template, TemplateError> {
    let visibility = if public { "public" } else { "private" };
    if !templates::set_visibility(tx, id, owner, visibility, now).await? {
        return Err(TemplateError::NotFound);
    }
    own(tx, owner, id).await
}

/// Deletes the caller's own template, unless a job that has not ended is pinned to it.
pub async fn delete(tx: &mut Tx, owner: OwnerId, id: Uuid, now: Timestamp) -> Result<(), TemplateError> {
    own(tx, owner, id).await?;
    match templates::open_job(tx, id, owner).await? {
        Some(job) if job.owner_id == owner => return Err(TemplateError::InUse(job.id)),
        // whose, and which, is nobody else's business
        Some(_) => return Err(TemplateError::InUseByOthers),
        None => {}
    }
    templates::delete(tx, id, owner, now).await?;
    Ok(())
}

/// The template that a reference means to the caller: by id or by name, own before public.
pub async fn find(conn: &mut Conn, owner: OwnerId, reference: &TemplateRef) -> Result<Found, TemplateError> {
    let template = match reference.id.parse::<Uuid>() {
        Ok(id) => templates::get(conn, id, owner).await?,
        Err(_) => templates::by_name(conn, &reference.id, owner).await?,
    };
    at_version(conn, template.ok_or(TemplateError::NotFound)?, reference.version).await
}

/// A template with all that it includes, at fixed versions, ready to be stored in a job.
///
/// # Errors
/// [`TemplateError::Invalid`] names an include that can't be found; `pointer` is where the reference stands.
pub async fn resolve(
    conn: &mut Conn,
    owner: OwnerId,
    reference: &TemplateRef,
    pointer: &str,
) -> Result<(PinnedTemplate, TemplateDocument, Analysis), TemplateError> {
    let found = match find(conn, owner, reference).await {
        Err(error @ (TemplateError::NotFound | TemplateError::NoVersion(_))) => {
            return Err(TemplateError::Invalid(vec![FieldError::new(
                pointer,
                format!("{reference}: {error}"),
            )]));
        }
        other => other?,
    };
    pin_found(conn, owner, found, pointer).await
}

/// The same for a template that has been found.
pub async fn resolve_found(
    conn: &mut Conn,
    owner: OwnerId,
    found: Found,
) -> Result<(PinnedTemplate, TemplateDocument, Analysis), TemplateError> {
    pin_found(conn, owner, found, "").await
}

async fn pin_found(
    conn: &mut Conn,
    owner: OwnerId,
    found: Found,
    pointer: &str,
) -> Result<(PinnedTemplate, TemplateDocument, Analysis), TemplateError> {
    let id = found.template.id.to_string();
    let name = found.template.name;
    pin_text(conn, owner, (id, name, found.version.version), found.version.document, pointer).await
}

/// The same for a document that is not stored, such as one that is being written.
pub async fn resolve_text(
    conn: &mut Conn,
    owner: OwnerId,
    text: String,
) -> Result<(PinnedTemplate, TemplateDocument, Analysis), TemplateError> {
    let name = TemplateDocument::parse(&text).map_err(TemplateError::Invalid)?.name;
    pin_text(conn, owner, (name.clone(), name, 1), text, "").await
}

/// Looks includes up until none is missing, own before public, each at a fixed version.
async fn pin_text(
    conn: &mut Conn,
    owner: OwnerId,
    (id, name, version): (String, String, u32),
    text: String,
    pointer: &str,
) -> Result<(PinnedTemplate, TemplateDocument, Analysis), TemplateError> {
    let document = TemplateDocument::parse(&text).map_err(TemplateError::Invalid)?;
    let mut pinned = PinnedTemplate { id, name, version, text, includes: BTreeMap::new() };
    loop {
        let analysis = analyse(&document, &pinned.fragments());
        let missing: Vec<IncludeUse> = analysis
            .includes
            .iter()
            .filter(|include| include.missing && !pinned.includes.contains_key(&include.name))
            .cloned()
            .collect();
        let mut found_any = false;
        for include in missing {
            if let Some(fragment) = fragment(conn, owner, &include.name).await? {
                pinned.includes.insert(include.name, fragment);
                found_any = true;
            }
        }
        if found_any {
            continue;
        }
        if analysis.problems.is_empty() && analysis.unresolved.is_empty() {
            return Ok((pinned, document, analysis));
        }
        let problems = analysis.into_problems().into_iter();
        let at =
            |problem: FieldError| FieldError::new(format!("{pointer}{}", problem.pointer), problem.message);
        return Err(TemplateError::Invalid(problems.map(at).collect()));
    }
}

/// The fragment that an include names, if there is one.
async fn fragment(
    conn: &mut Conn,
    owner: OwnerId,
    name: &str,
) -> Result<Option<PinnedInclude>, TemplateError> {
    let Ok(reference) = name.parse::<TemplateRef>() else { return Ok(None) };
    let found = match find(conn, owner, &reference).await {
        Err(TemplateError::NotFound | TemplateError::NoVersion(_)) => return Ok(None),
        other => other?,
    };
    let document = TemplateDocument::parse(&found.version.document).map_err(TemplateError::Invalid)?;
    let (id, version) = (found.template.id.to_string(), found.version.version);
    Ok(document.fragment.map(|text| PinnedInclude { id, version, text }))
}
