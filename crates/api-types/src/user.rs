//! Users, their roles and status.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use windrow_core::{OwnerId, Role, Timestamp, UserStatus};

use crate::key::ApiKey;
use crate::page::{CommaList, page_size};
use crate::schema::{RoleSchema, UserStatusSchema};

/// A person or service that owns rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    #[schema(value_type = i64)]
    pub id: OwnerId,
    /// The token's subject.
    pub sub: String,
    #[schema(value_type = RoleSchema)]
    pub role: Role,
    #[schema(value_type = UserStatusSchema)]
    pub status: UserStatus,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// A change of a user's role, status or both. Works on the user's very next request; written to the audit log.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeUser {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<RoleSchema>)]
    pub role: Option<Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<UserStatusSchema>)]
    pub status: Option<UserStatus>,
    pub reason: String,
}

/// Which users.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UserQuery {
    /// Roles, with commas between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, example = "admin,contributor")]
    pub role: Option<CommaList<Role>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub status: Option<UserStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// 1 to 200; 50 unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl UserQuery {
    /// The page size within its bounds.
    pub fn size(&self) -> u32 {
        page_size(self.limit)
    }
}

/// Who is asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Me {
    #[serde(flatten)]
    pub user: User,
    /// `token`, `api_key` or `default_owner`: how the request was let in.
    pub login: String,
    /// What the credential allows; absent when it allows all that the role does.
    #[schema(value_type = Option<Vec<String>>)]
    pub scopes: Option<Vec<windrow_core::Scope>>,
    pub keys: Vec<ApiKey>,
}
