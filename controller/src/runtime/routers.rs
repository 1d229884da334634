//! What the routers know of routes and have of certificates: each is asked at its status server, as an operator on its machine would.
//!
//! A router asks nobody anything and tells the bus no more than it has to; whoever wants its table asks for it. One
//! that does not answer is a line in the answer, not a failure of it.

use super::Shared;
use futures_util::future::join_all;
use proto::api::{RouterTable, SeenComponent, ToldCertificate, ToldTable};
use proto::bus::Role;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// How long a router may take.
const ANSWER: Duration = Duration::from_secs(5);
/// Largest answer that is read.
const LARGEST: usize = 64 << 20;

/// Why a router told nothing.
#[derive(Debug, thiserror::Error)]
enum Unheard {
    #[error("it tells no address of its own: {0:?}")]
    Address(String),
    #[error("it does not answer at {address}")]
    Away {
        address: SocketAddr,
        #[source]
        source: reqwest::Error,
    },
    #[error("its answer is longer than {LARGEST} bytes: ask for fewer routes")]
    Long,
    #[error("its answer makes no sense")]
    Form(#[source] serde_json::Error),
}

async fn routers(shared: &Shared) -> impl Iterator<Item = SeenComponent> {
    let components = super::components::seen(shared).await;
    components
        .into_iter()
        .filter(|component| component.role == Role::Router.name())
}

/// The routes of `host` and of the hosts under it (none: all), at most so many of each router.
pub(super) async fn tables(shared: &Shared, host: Option<&str>, most: usize) -> Vec<RouterTable> {
    let routers = routers(shared).await;
    join_all(routers.map(|router| table(router, host, most))).await
}

/// The certificates of those routers that have an entrance for TLS, by file.
pub(super) async fn certificates(
    shared: &Shared,
) -> Vec<(String, BTreeMap<String, ToldCertificate>)> {
    let asked = routers(shared).await.map(|router| async move {
        match ask(&router.host, "/certificates", &[]).await {
            Ok(told) => Some((router.name, told)),
            Err(error) => {
                tracing::debug!(
                    router = router.name,
                    error = &error as &dyn std::error::Error,
                    "a router did not tell its certificates"
                );
                None
            }
        }
    });
    join_all(asked).await.into_iter().flatten().collect()
}

async fn table(router: SeenComponent, host: Option<&str>, most: usize) -> RouterTable {
    let mut query = vec![("most", most.to_string())];
    query.extend(host.map(|host| ("host", host.to_string())));
    match ask::<ToldTable>(&router.host, "/table", &query).await {
        Ok(told) => RouterTable {
            router: router.name,
            routes: told.routes,
            left_off: told.left_off,
            problem: None,
        },
        Err(error) => {
            tracing::debug!(
                router = router.name,
                error = &error as &dyn std::error::Error,
                "a router did not tell its routes"
            );
            RouterTable {
                router: router.name,
                problem: Some(error.to_string()),
                ..RouterTable::default()
            }
        }
    }
}

async fn ask<T: DeserializeOwned>(
    address: &str,
    path: &str,
    query: &[(&str, String)],
) -> Result<T, Unheard> {
    let address: SocketAddr = address
        .parse()
        .map_err(|_| Unheard::Address(address.to_string()))?;
    let away = |source| Unheard::Away { address, source };
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(ANSWER)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(away)?;
    let url = format!("http://{address}{path}");
    let asked = client.get(url).query(query).send().await;
    let mut answer = asked
        .and_then(reqwest::Response::error_for_status)
        .map_err(away)?;
    let mut text = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(away)? {
        if text.len() + piece.len() > LARGEST {
            return Err(Unheard::Long);
        }
        text.extend_from_slice(&piece);
    }
    serde_json::from_slice(&text).map_err(Unheard::Form)
}
