//! Users: who may log in.

use super::query::Filter;
use super::{StoreError, row};
use crate::store::sql::Connection;

row! {
    pub struct User in "users", key guid, versioned {
        guid: String,
        username: String,
        /// `uaa` for accounts of our own.
        origin: String,
        /// argon2, in its text form. Empty: cannot log in with a password.
        password_hash: String,
        is_admin: bool,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

pub async fn by_name(
    connection: &mut Connection,
    username: &str,
    origin: &str,
) -> Result<Option<User>, StoreError> {
    let filter = Filter::new()
        .equals("username", username)
        .equals("origin", origin);
    Ok(User::fetch(connection, filter, "find user").await?.pop())
}
