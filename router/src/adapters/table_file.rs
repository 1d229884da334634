//! The last table on disk, so that a router that restarts knows its routes before the bus has told
//! it anything. Written at most every few seconds, replaced as a whole: a reader sees the old or the new.

use crate::domain::announcement::{Announcement, Identity};
use crate::domain::route_rules::{GZIP, RouteRules};
use crate::domain::table::{Registry, Table};
use anyhow::Context;
use proto::bus::router::{Registration, RouteOptions};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Form of the file; another form is not read.
const FORM: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    form: u32,
    /// One registration for each endpoint, as it could have come over the bus.
    registrations: Vec<Registration>,
}

/// The table as registrations, ordered.
pub fn registrations(table: &Table) -> Vec<Registration> {
    let mut by_number: BTreeMap<u64, Registration> = BTreeMap::new();
    for pool in table.iter() {
        for member in &pool.members {
            let identity = &member.endpoint.identity;
            let text = |value: &Option<Box<str>>| value.as_deref().map(str::to_string);
            by_number
                .entry(member.endpoint.number)
                .or_insert_with(|| Registration {
                    uris: Vec::new(),
                    host: identity.address.host.to_string(),
                    port: identity.tls.is_none().then_some(identity.address.port),
                    tls_port: identity.tls.is_some().then_some(identity.address.port),
                    server_cert_domain_san: identity
                        .tls
                        .as_ref()
                        .and_then(|tls| text(&tls.registered)),
                    app: text(&identity.app),
                    private_instance_id: text(&identity.instance_id),
                    private_instance_index: text(&identity.instance_index),
                    tags: identity.tags.to_map(),
                    availability_zone: text(&identity.zone),
                    isolation_segment: text(&identity.isolation_segment),
                    protocol: identity.http2.then(|| "http2".to_string()),
                    route_service_url: text(&identity.route_service),
                    stale_threshold_in_seconds: identity
                        .stale_after
                        .map(|millis| (millis / 1000) as i64),
                    options: options(identity),
                    ..Registration::default()
                })
                .uris
                .push(pool.name.to_string());
        }
    }
    by_number.into_values().collect()
}

fn options(identity: &Identity) -> Option<RouteOptions> {
    let rules = identity.rules.as_deref();
    let options = RouteOptions {
        loadbalancing: identity
            .algorithm
            .map(|algorithm| algorithm.name().to_string()),
        hash_header: identity.hash.as_ref().map(|hash| hash.header.to_string()),
        hash_balance: identity.hash.as_ref().map(|hash| hash.balance),
        yard_limits: rules.and_then(RouteRules::limits),
        yard_compression: rules.filter(|rules| rules.gzip).map(|_| GZIP.to_string()),
    };
    (options != RouteOptions::default()).then_some(options)
}

/// Replaces the file, in a thread of its own: writing a large table down takes a while.
pub async fn save(path: &Path, table: Table) -> anyhow::Result<()> {
    let path = path.to_path_buf();
    tokio::task::spawn_blocking(move || replace(&path, &table))
        .await
        .context("the writer of the route table ended early")?
}

fn replace(path: &Path, table: &Table) -> anyhow::Result<()> {
    let document = Document {
        form: FORM,
        registrations: registrations(table),
    };
    let text = serde_json::to_vec(&document).context("cannot write the route table as JSON")?;
    let fresh = path.with_extension("json.new");
    std::fs::write(&fresh, text).with_context(|| format!("cannot write {}", fresh.display()))?;
    std::fs::rename(&fresh, path).with_context(|| format!("cannot replace {}", path.display()))
}

/// Reads the file into the registry (`tls`: endpoints over TLS too); returns the number of endpoints. A missing file is no error.
pub async fn load(
    path: &Path,
    registry: &mut Registry,
    tls: bool,
    now: u64,
) -> anyhow::Result<usize> {
    let bytes = match tokio::fs::read(path).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let document: Document = serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is no route table", path.display()))?;
    anyhow::ensure!(
        document.form == FORM,
        "{} has form {}, not {FORM}",
        path.display(),
        document.form
    );
    let mut count = 0;
    for registration in &document.registrations {
        if let Ok(announcement) = Announcement::read(registration, tls) {
            registry.register(&announcement, now);
            count += 1;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::bus::router::RouteLimits;

    #[tokio::test]
    async fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.json");
        let mut registry = Registry::default();
        let message = Registration {
            uris: vec!["a.example.com".into(), "*.b.example.com/x".into()],
            host: "10.0.0.1".into(),
            tls_port: Some(443),
            server_cert_domain_san: Some("i-1.internal".into()),
            protocol: Some("http2".into()),
            app: Some("app-1".into()),
            private_instance_id: Some("i-1".into()),
            private_instance_index: Some("3".into()),
            tags: [("process_id".to_string(), "p".to_string())].into(),
            stale_threshold_in_seconds: Some(40),
            options: Some(RouteOptions {
                loadbalancing: Some("hash".into()),
                hash_header: Some("x-user".into()),
                hash_balance: Some(1.5),
                yard_limits: Some(RouteLimits {
                    rate: Some(7),
                    rate_period_ms: Some(60_000),
                    body_bytes: Some(1 << 20),
                    time_ms: Some(2500),
                    concurrency: Some(9),
                }),
                yard_compression: Some("gzip".into()),
            }),
            ..Registration::default()
        };
        let port = Registration {
            uris: vec!["tcp://c.example.com:10101".into()],
            host: "10.0.0.1".into(),
            port: Some(20_001),
            ..Registration::default()
        };
        for message in [&message, &port] {
            registry.register(&Announcement::read(message, true).unwrap(), 0);
        }
        save(&path, registry.snapshot()).await.unwrap();
        let mut loaded = Registry::default();
        assert_eq!(load(&path, &mut loaded, true, 9).await.unwrap(), 2);
        let mut expected = message;
        expected.uris.sort();
        let mut actual = registrations(loaded.table());
        actual[0].uris.sort();
        assert_eq!(actual, [expected, port]);
        assert_eq!(
            load(&folder.path().join("none"), &mut loaded, true, 0)
                .await
                .unwrap(),
            0
        );
        std::fs::write(&path, "{").unwrap();
        assert!(load(&path, &mut loaded, true, 0).await.is_err());
    }
}
