//! The last table on disk, so that a router that restarts knows its routes before the bus has told
//! it anything. Written at most every few seconds, replaced as a whole: a reader sees the old or the new.

use crate::domain::announcement::Announcement;
use crate::domain::identity::Identity;
use crate::domain::route_rules::{GZIP, RouteRules};
use crate::domain::table::{Endpoint, Pool, Registry, Table};
use anyhow::Context;
use proto::bus::router::{Registration, RouteOptions};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Form of the file; another form is not read.
const FORM: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Document<R> {
    form: u32,
    /// One registration for each endpoint, as it could have come over the bus.
    registrations: R,
}

/// Writes one registration after the other: all at once would take several times the room of the table.
struct Each<'a>(&'a Table);

impl Serialize for Each<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(registrations(self.0))
    }
}

/// The table as registrations, ordered.
pub fn registrations(table: &Table) -> impl Iterator<Item = Registration> {
    let mut members: Vec<(&Pool, &Endpoint)> = Vec::new();
    for pool in table.iter() {
        let endpoints = pool.members.iter().map(|member| &*member.endpoint);
        members.extend(endpoints.map(|endpoint| (&**pool, endpoint)));
    }
    members.sort_by_key(|(_, endpoint)| endpoint.number);
    let mut rest = members.into_iter().peekable();
    std::iter::from_fn(move || {
        let (pool, endpoint) = rest.next()?;
        let mut uris = vec![pool.name.to_string()];
        while let Some((pool, _)) = rest.next_if(|(_, next)| next.number == endpoint.number) {
            uris.push(pool.name.to_string());
        }
        Some(registration(&endpoint.identity, uris))
    })
}

fn registration(identity: &Identity, uris: Vec<String>) -> Registration {
    let text = |value: Option<&str>| value.map(str::to_string);
    let tls = identity.tls();
    Registration {
        uris,
        host: identity.host().to_string(),
        port: tls.is_none().then_some(identity.port),
        tls_port: tls.is_some().then_some(identity.port),
        server_cert_domain_san: text(tls.and_then(|tls| tls.registered.as_deref())),
        app: text(identity.app()),
        private_instance_id: text(identity.instance_id()),
        private_instance_index: text(identity.instance_index()),
        tags: identity.tags().to_map(),
        availability_zone: text(identity.zone()),
        isolation_segment: text(identity.isolation_segment()),
        protocol: identity.http2.then(|| "http2".to_string()),
        route_service_url: text(identity.route_service()),
        stale_threshold_in_seconds: identity.stale_after().map(|millis| (millis / 1000) as i64),
        options: options(identity),
        ..Registration::default()
    }
}

fn options(identity: &Identity) -> Option<RouteOptions> {
    let rules = identity.rules();
    let options = RouteOptions {
        loadbalancing: identity
            .algorithm()
            .map(|algorithm| algorithm.name().to_string()),
        hash_header: identity.hash().map(|hash| hash.header.to_string()),
        hash_balance: identity.hash().map(|hash| hash.balance),
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
        registrations: Each(table),
    };
    let fresh = path.with_extension("json.new");
    let write = || {
        let mut file = BufWriter::new(Courteous(File::create(&fresh)?));
        serde_json::to_writer(&mut file, &document)?;
        file.flush()
    };
    write().with_context(|| format!("cannot write {}", fresh.display()))?;
    std::fs::rename(&fresh, path).with_context(|| format!("cannot replace {}", path.display()))
}

/// Gives way before each write: where all cores are busy, whoever has a request or a registration goes first.
struct Courteous(File);

impl Write for Courteous {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        std::thread::yield_now();
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
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
    // Read to its end first: what is broken further on is of no use from its beginning.
    let document: Document<Readable> = serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is no route table", path.display()))?;
    anyhow::ensure!(
        document.form == FORM,
        "{} has form {}, not {FORM}",
        path.display(),
        document.form
    );
    let mut count = 0;
    let mut take = |registration: Registration| {
        if let Ok(announcement) = Announcement::read(&registration, tls) {
            registry.register(&announcement, now);
            count += 1;
        }
    };
    Fill(&mut take)
        .deserialize(&mut serde_json::Deserializer::from_slice(&bytes))
        .with_context(|| format!("{} is no route table", path.display()))?;
    Ok(count)
}

/// Takes the registrations of a [`Document`] as they are read: all at once would take several times the room of the table.
struct Fill<'a>(&'a mut dyn FnMut(Registration));

/// Registrations that could be taken.
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Readable, D::Error> {
        Fill(&mut drop).deserialize(deserializer)?;
        Ok(Readable)
    }
}

impl<'de> DeserializeSeed<'de> for Fill<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Fill<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a route table")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut document: A) -> Result<(), A::Error> {
        while let Some(key) = document.next_key::<String>()? {
            match key.as_str() {
                "registrations" => document.next_value_seed(Fill(&mut *self.0))?,
                _ => _ = document.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut registrations: A) -> Result<(), A::Error> {
        while let Some(registration) = registrations.next_element()? {
            (self.0)(registration);
        }
        Ok(())
    }
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
        let mut actual: Vec<_> = registrations(loaded.table()).collect();
        actual[0].uris.sort();
        assert_eq!(actual, [expected, port]);
        assert_eq!(
            load(&folder.path().join("none"), &mut loaded, true, 0)
                .await
                .unwrap(),
            0
        );
        let whole = std::fs::read_to_string(&path).unwrap();
        let mut broken = Registry::default();
        for text in [
            "{",
            &whole[..whole.len() - 2],
            &whole.replace("\"form\":1", "\"form\":2"),
            // The last registration.
            &whole.replace("20001", "\"20001\""),
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(load(&path, &mut broken, true, 0).await.is_err(), "{text}");
        }
        assert_eq!(broken.table().count(), 0);
    }
}
