//! Roles of users in automation.

use crate::store::row;

row! {
    pub struct RoleAssignment in "automation_roles", key id {
        id: String,
        role: String,
        username: String,
        source: String,
        description: String,
        created_at: i64,
    }
}
