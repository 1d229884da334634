//! Certificates that the cluster orders, and its accounts with the authorities. Keys are sealed.

use super::query::Filter;
use super::{StoreError, row};
use crate::store::sql::{Connection, query};

row! {
    /// One domain that has a certificate, or was tried to get one.
    pub struct Certificate in "certificates", key domain, versioned {
        domain: String,
        /// `listed` or `route`
        source: String,
        /// Whom the newest attempt asked.
        directory: String,
        /// PEM. None: there is none yet.
        chain: Option<String>,
        sealed_key: Option<String>,
        /// The directory it is from.
        issued_by: Option<String>,
        /// Unix microseconds, like all times here.
        not_before: Option<i64>,
        not_after: Option<i64>,
        renew_at: Option<i64>,
        /// When its authority is next asked when to renew it.
        advice_at: Option<i64>,
        /// In a row.
        failures: i64,
        next_attempt_at: i64,
        last_error: Option<String>,
        last_error_at: Option<i64>,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

row! {
    /// The cluster's account with an authority.
    pub struct AcmeAccount in "acme_accounts", key directory, versioned {
        directory: String,
        /// Empty: none was told.
        email: String,
        sealed_credentials: String,
        created_at: i64,
        updated_at: i64,
        row_version: i64,
    }
}

pub async fn all(connection: &mut Connection) -> Result<Vec<Certificate>, StoreError> {
    let filter = Filter::new().order_by("domain", "domain", false);
    Certificate::fetch(connection, filter, "list certificates").await
}

/// Those whose last attempt failed, at most so many.
pub async fn failing(
    connection: &mut Connection,
    most: i64,
) -> Result<Vec<Certificate>, StoreError> {
    let filter = Filter::new()
        .only("last_error IS NOT NULL")
        .order_by("domain", "domain", false)
        .window(most, 0);
    Certificate::fetch(connection, filter, "list certificates that failed").await
}

/// The hosts of routes that lead to an app, on domains other than the cluster's own; `*.<domain>` for those that stand
/// for every host of it.
pub async fn custom_hosts(
    connection: &mut Connection,
    own_domain: &str,
) -> Result<Vec<String>, StoreError> {
    let rows = query(
        "SELECT DISTINCT routes.host AS host, domains.name AS name FROM routes \
         JOIN domains ON domains.guid = routes.domain_guid \
         JOIN destinations ON destinations.route_guid = routes.guid \
         WHERE domains.internal = 0 AND domains.name <> $1 AND routes.protocol = 'http'",
    )
    .bind(own_domain.to_string())
    .fetch_all(connection)
    .await
    .map_err(StoreError::during("list hosts on domains of organizations"))?;
    rows.iter()
        .map(|row| {
            let host: String = row.try_get("host")?;
            let name: String = row.try_get("name")?;
            Ok(match host.is_empty() {
                true => name,
                false => format!("{host}.{name}"),
            })
        })
        .collect::<Result<_, _>>()
        .map_err(StoreError::during("list hosts on domains of organizations"))
}
