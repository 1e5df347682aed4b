//! Templates: a head a template, and versions that never change. Every query takes the owner who asks: a template is
//! visible to its owner, and to everybody when it is public.

use uuid::Uuid;
use windrow_core::{JobId, OwnerId, Timestamp};
use windrow_store::sqlx::AssertSqlSafe;
use windrow_store::{Conn, StoreError, Tx, execute, fetch_all, fetch_optional, row};

row! {
    /// A template without its text.
    pub struct Template {
        pub id: Uuid,
        pub owner_id: OwnerId,
        pub name: String,
        pub visibility: String,
        pub description: String,
        pub category: String,
        pub latest: u32,
        pub forked_from: Option<String>,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
    }
}

row! {
    /// One version of a template.
    pub struct TemplateVersion {
        pub template_id: Uuid,
        pub version: u32,
        pub document: String,
        pub sha256: String,
        pub created_at: Timestamp,
    }
}

/// What a new template or a new version says of itself.
#[derive(Clone, Copy, Debug)]
pub struct NewVersion<'a> {
    pub document: &'a str,
    pub sha256: &'a str,
    pub description: &'a str,
    pub category: &'a str,
}

const COLUMNS: &str =
    "id, owner_id, name, visibility, description, category, latest, forked_from, created_at, updated_at";

/// Makes a template with version 1, private.
///
/// # Errors
/// [`StoreError::Conflict`] when the owner has a template of that name.
pub async fn create(
    tx: &mut Tx,
    id: Uuid,
    owner: OwnerId,
    name: &str,
    forked_from: Option<&str>,
    first: NewVersion<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        tx,
        "INSERT INTO generate_templates
             (id, owner_id, name, visibility, description, category, latest, forked_from, created_at, updated_at)
         VALUES ($1, $2, $3, 'private', $4, $5, 1, $6, $7, $7)",
        id,
        owner,
        name,
        first.description,
        first.category,
        forked_from,
        now,
    )?;
    insert_version(tx, id, 1, first, now).await
}

/// Adds a version to the owner's own template; gives its number, or none when there is no such template.
pub async fn add_version(
    tx: &mut Tx,
    id: Uuid,
    owner: OwnerId,
    new: NewVersion<'_>,
    now: Timestamp,
) -> Result<Option<u32>, StoreError> {
    let version = fetch_optional!(
        tx,
        scalar i64,
        "UPDATE generate_templates
         SET latest = latest + 1, description = $3, category = $4, updated_at = $5
         WHERE id = $1 AND owner_id = $2 AND deleted_at IS NULL
         RETURNING latest",
        id,
        owner,
        new.description,
        new.category,
        now,
    )?;
    let Some(version) = version else { return Ok(None) };
    let version = u32::try_from(version).map_err(|_| {
        StoreError::invariant("generate_templates", "latest", id, format!("{version} is no version"))
    })?;
    insert_version(tx, id, version, new, now).await?;
    Ok(Some(version))
}

async fn insert_version(
    tx: &mut Tx,
    id: Uuid,
    version: u32,
    new: NewVersion<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        tx,
        "INSERT INTO generate_template_versions (template_id, version, document, sha256, created_at)
         VALUES ($1, $2, $3, $4, $5)",
        id,
        version,
        new.document,
        new.sha256,
        now,
    )?;
    Ok(())
}

/// A template that `owner` may see.
pub async fn get(conn: &mut Conn, id: Uuid, owner: OwnerId) -> Result<Option<Template>, StoreError> {
    fetch_optional!(
        conn,
        Template,
        AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM generate_templates
             WHERE id = $1 AND deleted_at IS NULL AND (owner_id = $2 OR visibility = 'public')"
        )),
        id,
        owner,
    )
}

/// The template that a name means to `owner`: the owner's own, else the public one that was made first.
pub async fn by_name(conn: &mut Conn, name: &str, owner: OwnerId) -> Result<Option<Template>, StoreError> {
    fetch_optional!(
        conn,
        Template,
        AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM generate_templates
             WHERE name = $1 AND deleted_at IS NULL AND (owner_id = $2 OR visibility = 'public')
             ORDER BY CASE WHEN owner_id = $2 THEN 0 ELSE 1 END, created_at, id LIMIT 1"
        )),
        name,
        owner,
    )
}

/// A version of a template that the caller has been found to see.
pub async fn version(
    conn: &mut Conn,
    template: Uuid,
    version: u32,
) -> Result<Option<TemplateVersion>, StoreError> {
    fetch_optional!(
        conn,
        TemplateVersion,
        "SELECT template_id, version, document, sha256, created_at FROM generate_template_versions
         WHERE template_id = $1 AND version = $2",
        template,
        version,
    )
}

/// All versions of a template that the caller has been found to see, newest first.
pub async fn versions(
    conn: &mut Conn,
    template: Uuid,
    limit: u32,
) -> Result<Vec<TemplateVersion>, StoreError> {
    fetch_all!(
        conn,
        TemplateVersion,
        "SELECT template_id, version, document, sha256, created_at FROM generate_template_versions
         WHERE template_id = $1 ORDER BY version DESC LIMIT $2",
        template,
        limit,
    )
}

/// Which templates to list.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Part of the name or description, in any case.
    pub text: Option<String>,
    pub category: Option<String>,
    /// Only the owner's own.
    pub mine: bool,
    /// Names after this one (and ids, where names are equal).
    pub after: Option<(String, Uuid)>,
    pub limit: u32,
}

/// Templates that `owner` may see, by name.
pub async fn search(conn: &mut Conn, owner: OwnerId, search: &Search) -> Result<Vec<Template>, StoreError> {
    let pattern = search.text.as_deref().map(like_pattern);
    let (after_name, after_id) = match &search.after {
        Some((name, id)) => (name.as_str(), *id),
        None => ("", Uuid::nil()),
    };
    fetch_all!(
        conn,
        Template,
        AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM generate_templates
             WHERE deleted_at IS NULL AND (owner_id = $1 OR (visibility = 'public' AND NOT $2))
               AND (CAST($3 AS TEXT) IS NULL OR lower(name) LIKE $3 ESCAPE '!' OR lower(description) LIKE $3 ESCAPE '!')
               AND (CAST($4 AS TEXT) IS NULL OR category = $4)
               AND (name > $5 OR (name = $5 AND id > $6))
             ORDER BY name, id LIMIT $7"
        )),
        owner,
        search.mine,
        pattern.as_deref(),
        search.category.as_deref(),
        after_name,
        after_id,
        search.limit,
    )
}

/// `text` anywhere, its own `%` and `_` taken as they are.
fn like_pattern(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.to_lowercase().chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// Shows the owner's own template to everybody, or to nobody else. False when there is no such template.
pub async fn set_visibility(
    tx: &mut Tx,
    id: Uuid,
    owner: OwnerId,
    visibility: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let changed = execute!(
        tx,
        "UPDATE generate_templates SET visibility = $3, updated_at = $4
         WHERE id = $1 AND owner_id = $2 AND deleted_at IS NULL",
        id,
        owner,
        visibility,
        now,
    )?;
    Ok(changed == 1)
}

row! {
    /// A job that uses a template.
    pub struct OpenJob {
        pub id: JobId,
        pub owner_id: OwnerId,
    }
}

/// A job that is pinned to the template and has not ended, one of `owner`'s before others'. Open jobs stand in the engine's narrow
/// tables, so the wide one is looked up by key only.
pub async fn open_job(
    conn: &mut Conn,
    template: Uuid,
    owner: OwnerId,
) -> Result<Option<OpenJob>, StoreError> {
    let pinned = conn.dialect().json_text("j.spec", &["template", "id"]);
    fetch_optional!(
        conn,
        OpenJob,
        AssertSqlSafe(format!(
            "SELECT j.id, j.owner_id FROM jobs j
             WHERE j.parent_seq IS NULL AND {pinned} = $1 AND j.seq IN (
                 SELECT job_seq FROM running WHERE workload = 'generate'
                 UNION SELECT job_seq FROM ready WHERE workload = 'generate'
                 UNION SELECT job_seq FROM scheduled WHERE workload = 'generate'
                 UNION SELECT p.job_seq FROM parents p JOIN jobs w ON w.seq = p.job_seq AND w.workload = 'generate'
                 UNION SELECT w.seq FROM jobs w JOIN job_status s ON s.job_seq = w.seq
                     WHERE w.needs_approval AND w.approved_at IS NULL AND w.workload = 'generate'
                       AND s.status = 'pending_approval')
             ORDER BY CASE WHEN j.owner_id = $2 THEN 0 ELSE 1 END LIMIT 1"
        )),
        template.to_string(),
        owner,
    )
}

/// Removes the owner's own template; its versions stay for the jobs that were made from them. False when there is no
/// such template.
pub async fn delete(tx: &mut Tx, id: Uuid, owner: OwnerId, now: Timestamp) -> Result<bool, StoreError> {
    let changed = execute!(
        tx,
        "UPDATE generate_templates SET deleted_at = $3, updated_at = $3
         WHERE id = $1 AND owner_id = $2 AND deleted_at IS NULL",
        id,
        owner,
        now,
    )?;
    Ok(changed == 1)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_pattern_takes_its_own_wildcards_as_they_are() {
        assert_eq!(super::like_pattern("50% Off_!"), "%50!% off!_!!%");
    }
}
