//! What a request needs to know of the account that sends it, with one statement: who it is, its roles in
//! automation, its roles on the platform.

use crate::store::StoreError;
use crate::store::roles::Granted;
use crate::store::sql::{Connection, query};

/// An account and what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub guid: String,
    pub username: String,
    pub is_admin: bool,
    /// Roles of automation.
    pub roles: Vec<String>,
    /// Roles of the platform.
    pub granted: Vec<Granted>,
}

/// None: there is no such account.
pub async fn find(connection: &mut Connection, guid: &str) -> Result<Option<Account>, StoreError> {
    let operation = "read an account and its roles";
    // `kind` tells what a row is about, and what its three texts mean.
    let rows = query(
        "SELECT CAST(0 AS BIGINT) AS kind, username AS one, '' AS two, '' AS three, is_admin AS number FROM users WHERE guid = $1 \
         UNION ALL \
         SELECT 1, a.role, '', '', 0 FROM automation_roles a \
         JOIN users u ON u.username = a.username WHERE u.guid = $1 \
         UNION ALL \
         SELECT 2, r.type, COALESCE(r.space_guid, r.organization_guid), \
         COALESCE(s.organization_guid, r.organization_guid), 0 FROM roles r \
         LEFT JOIN spaces s ON s.guid = r.space_guid WHERE r.user_guid = $1",
    )
    .bind(guid.to_string())
    .fetch_all(connection)
    .await
    .map_err(StoreError::during(operation))?;
    let mut account: Option<Account> = None;
    let (mut roles, mut granted) = (Vec::new(), Vec::new());
    for row in rows {
        let text = |column: &str| {
            row.try_get::<String, _>(column)
                .map_err(StoreError::during(operation))
        };
        let number = |column: &str| {
            row.try_get::<i64, _>(column)
                .map_err(StoreError::during(operation))
        };
        match number("kind")? {
            0 => {
                account = Some(Account {
                    guid: guid.to_string(),
                    username: text("one")?,
                    is_admin: number("number")? != 0,
                    roles: Vec::new(),
                    granted: Vec::new(),
                });
            }
            1 => roles.push(text("one")?),
            _ => granted.push(Granted {
                kind: text("one")?,
                place: text("two")?,
                organization: text("three")?,
            }),
        }
    }
    Ok(account.map(|account| Account {
        roles,
        granted,
        ..account
    }))
}
