//! The audit log: written with what it tells about, read by admins.

use serde_json::Value;
use windrow_api_types::{AuditEntry, AuditQuery, Page};
use windrow_store::audit::{self, AuditFilter, Entry, NewEntry};
use windrow_store::{StoreError, Tx};

use crate::{Actor, App, AppError, Authority, cursor};

/// The longest reason, in characters.
const MAX_REASON: usize = 1000;

impl App {
    /// Newest first.
    pub async fn list_audit(&self, actor: &Actor, query: &AuditQuery) -> Result<Page<AuditEntry>, AppError> {
        actor.may_administer()?;
        let before = cursor::decode(query.cursor.as_deref())?;
        let filter = AuditFilter {
            actor: query.actor.as_deref(),
            action: query.action.as_deref(),
            target: query.target.as_deref(),
            request_id: None,
        };
        let size = query.size();
        let rows = audit::list(&mut self.read().await?, &filter, before, size + 1).await?;
        let Page { items, next_cursor } = cursor::page(rows, size, |row| row.id, entry);
        Ok(Page { items: items.into_iter().collect::<Result<_, _>>()?, next_cursor })
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of an audit line")]
    pub(crate) async fn write_audit(
        &self,
        tx: &mut Tx,
        by: Authority<'_>,
        action: &str,
        target: &str,
        before: Option<Value>,
        after: Option<Value>,
        reason: &str,
    ) -> Result<(), AppError> {
        let entry = NewEntry {
            at: self.now(),
            actor: by.name(),
            action,
            target,
            before: before.map(|value| value.to_string()),
            after: after.map(|value| value.to_string()),
            reason,
            request_id: by.request_id(),
        };
        Ok(audit::append(tx, entry).await?)
    }
}

pub(crate) fn entry(row: Entry) -> Result<AuditEntry, AppError> {
    let json = |text: Option<String>| {
        text.map(|text| serde_json::from_str(&text)).transpose().map_err(|error| {
            AppError::internal(StoreError::invariant("audit_log", "state_before", row.id, error))
        })
    };
    Ok(AuditEntry {
        id: row.id,
        at: row.at,
        before: json(row.state_before)?,
        after: json(row.state_after)?,
        actor: row.actor,
        action: row.action,
        target: row.target,
        reason: row.reason,
        request_id: row.request_id,
    })
}

/// What is audited needs a reason that somebody can read later.
pub(crate) fn check_reason(reason: &str) -> Result<(), AppError> {
    let length = reason.trim().chars().count();
    if (1..=MAX_REASON).contains(&length) {
        Ok(())
    } else {
        Err(AppError::invalid(
            "/reason",
            format!("must have 1 to {MAX_REASON} characters; it is kept in the audit log"),
        ))
    }
}
