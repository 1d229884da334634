//! Certificates from an ACME authority: real controllers, routers, bus, cluster store and database, and an authority that
//! looks for its challenges through a router ([`tests::authority`]). Where `pebble`, the authority that Let's Encrypt made for
//! tests, is installed, that one too.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

#[path = "../../controller/tests/world/mod.rs"]
mod world;

use controller::api::Api;
use controller::runtime::Runtime;
use controller::store::certificates::{self, AcmeAccount, Certificate};
use controller::store::{facts, platform_events};
use daemon::seals::Seals;
use daemon::{Cluster, Deps, Role, Running};
use proto::api::RouterCertificate;
use proto::bus::catalogue;
use proto::bus::router::Registration;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tests::authority::{Authority, summary};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use world::{World, eventually, has_servers};

const KEY: &str = "a key of controllers and routers";
const SHOP: &str = "shop.example.com";
/// How long a daemon may take to end.
const END: Duration = Duration::from_secs(10);

fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// A router with an entrance for TLS.
struct Gate {
    running: Running,
    plain: SocketAddr,
    tls: SocketAddr,
}

/// A controller that answers challenges.
struct Desk {
    runtime: Runtime,
    deps: Deps,
    serving: tokio::task::JoinHandle<()>,
}

impl Desk {
    async fn certificates(&self) -> Vec<RouterCertificate> {
        self.runtime.certificates().await.unwrap()
    }

    async fn certificate(&self, domain: &str) -> Option<RouterCertificate> {
        let mut all = self.certificates().await.into_iter();
        all.find(|one| one.domain == domain && one.source != "file")
    }

    /// Waits until a certificate is in that state.
    async fn is(&self, domain: &str, state: &str) -> RouterCertificate {
        eventually(&format!("{domain} is {state}"), async || {
            let found = self.certificate(domain).await;
            match found {
                Some(found) if found.state == state => Ok(found),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    async fn end(self) {
        self.serving.abort();
        self.deps.tasks.stop(END).await;
    }
}

struct Site {
    world: World,
    authority: Authority,
    folder: tempfile::TempDir,
}

impl Site {
    /// Bus, store, database and an authority that looks for every name at `prove_at`.
    async fn new(prove_at: SocketAddr) -> Site {
        let authority = Authority::start(prove_at).await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("root.pem"), &authority.root).unwrap();
        std::fs::write(folder.path().join("key"), KEY).unwrap();
        Site {
            world: World::start().await,
            authority,
            folder,
        }
    }

    /// Says what an operator would to begin with.
    async fn configure(&self, domains: &str) {
        let trust = self.folder.path().join("root.pem");
        self.set(
            "router/acme/trust_file",
            &quoted(&trust.display().to_string()),
        )
        .await;
        self.set(
            "router/acme/directory",
            &quoted(&self.authority.directory()),
        )
        .await;
        self.set("router/acme/email", &quoted("ops@example.com"))
            .await;
        self.set("router/acme/retry", &quoted("1s")).await;
        self.set("router/acme/domains", &quoted(domains)).await;
        self.set("router/acme/terms_agreed", "true").await;
    }

    async fn cluster(&self) -> Cluster {
        Cluster::connect(&self.world.etcd[0].config(""))
            .await
            .unwrap()
    }

    /// Sets a value of the configuration, as JSON, whatever it was.
    async fn set(&self, path: &str, value: &str) {
        let cluster = self.cluster().await;
        let key = format!("{}{path}", proto::config::PREFIX);
        eventually("the setting is stored", async || {
            let known = cluster.get(&key).await.map_err(|error| error.to_string())?;
            let revision = known.map(|known| known.revision);
            let set = cluster.compare_and_set(&key, revision, value).await;
            set.map_err(|error| error.to_string())?
                .map_err(|error| error.to_string())
        })
        .await;
    }

    async fn router(&self, name: &str, plain: SocketAddr) -> Gate {
        let folder = self.folder.path().join(name);
        let certificates = folder.join("certificates");
        std::fs::create_dir_all(&certificates).unwrap();
        let own = rcgen::generate_simple_self_signed(vec!["*.yard.internal".into()]).unwrap();
        let text = format!("{}{}", own.signing_key.serialize_pem(), own.cert.pem());
        std::fs::write(certificates.join("default.pem"), text).unwrap();
        let deps = self.world.deps(Role::Router, name, &folder).await;
        let tls = free_address();
        let config = serde_json::json!({
            "address": plain,
            "tls": {
                "socket": "router-tls", "address": tls, "certificates": certificates,
                "certificate_key_file": self.folder.path().join("key"),
            },
        });
        let config = serde_json::from_value(config).unwrap();
        let running = router::start(config, deps).await.unwrap();
        Gate {
            running,
            plain,
            tls,
        }
    }

    async fn controller(&self, name: &str) -> Desk {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let advertise = listener.local_addr().unwrap().to_string();
        let store = self.world.store.clone();
        let (runtime, deps) = self
            .world
            .controller_with(name, store, |config| {
                config.advertise = advertise;
                config.certificate_seals = Seals::read(KEY).map(Arc::new);
            })
            .await;
        let api = Api {
            ops: self.world.ops(&runtime, &deps),
            cluster: None,
            domain: "yard.internal".into(),
            ssh: None,
        };
        let routes = controller::api::certificates::challenges(api);
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Desk {
            runtime,
            deps,
            serving,
        }
    }

    /// What rules were told, by trigger.
    async fn told(&self, trigger: &str) -> Vec<Value> {
        let mut reader = self.world.store.read().await.unwrap();
        let facts = facts::after(&mut reader, 0, 10_000).await.unwrap();
        facts
            .iter()
            .filter_map(|fact| platform_events::read(&fact.payload))
            .filter(|(name, _)| name == trigger)
            .map(|(_, payload)| payload)
            .collect()
    }

    async fn rows(&self) -> Vec<Certificate> {
        let mut reader = self.world.store.read().await.unwrap();
        certificates::all(&mut reader).await.unwrap()
    }

    /// Waits until an entrance shows a certificate of the authority for this name.
    async fn serves(&self, gate: &Gate, name: &str) {
        let root = CertificateDer::from_pem_slice(self.authority.root.as_bytes()).unwrap();
        eventually(&format!("{name} is served over TLS"), async || {
            let answer = ask(gate.tls, name, &root).await;
            let answer = answer
                .map_err(|error| format!("{error}; orders: {:?}", summary(&self.authority)))?;
            match answer.starts_with("HTTP/1.1 ") {
                true => Ok(()),
                false => Err(answer),
            }
        })
        .await;
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// A request over TLS that trusts this authority alone.
async fn ask(
    address: SocketAddr,
    name: &str,
    root: &CertificateDer<'static>,
) -> std::io::Result<String> {
    fetch(address, name, "/", root).await
}

async fn fetch(
    address: SocketAddr,
    name: &str,
    path: &str,
    root: &CertificateDer<'static>,
) -> std::io::Result<String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpStream::connect(address).await?;
    let server = ServerName::try_from(name.to_string()).unwrap();
    let mut socket = TlsConnector::from(Arc::new(config))
        .connect(server, socket)
        .await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

async fn plain(address: SocketAddr, host: &str, path: &str) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// An app that says which path it was asked for; it registers until the test ends.
async fn app(site: &Site, host: &'static str) {
    let routes = axum::Router::new()
        .fallback(|uri: http::Uri| async move { format!("the app at {}", uri.path()) });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let registration = Registration {
        uris: vec![host.into()],
        host: "127.0.0.1".into(),
        port: Some(listener.local_addr().unwrap().port()),
        app: Some("app".into()),
        ..Registration::default()
    };
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let bus = site.world.connect("dea-1").await;
    tokio::spawn(async move {
        loop {
            let _ = bus
                .publish(&catalogue::router_register(), &registration)
                .await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listed_domain_gets_one_certificate_on_every_router() {
    if !has_servers("a_listed_domain_gets_one_certificate_on_every_router") {
        return;
    }
    let at = free_address();
    let site = Site::new(at).await;
    let first = site.router("router-1", at).await;
    let second = site.router("router-2", free_address()).await;
    app(&site, SHOP).await;
    let desks = [
        site.controller("controller-1").await,
        site.controller("controller-2").await,
    ];
    site.configure(SHOP).await;
    site.serves(&first, SHOP).await;
    site.serves(&second, SHOP).await;
    // Whichever controller is asked: it is on record, and every router has it.
    for desk in &desks {
        let shown = eventually("both routers have it", async || {
            let shown = desk.is(SHOP, "valid").await;
            match shown.routers.len() {
                2 => Ok(shown),
                _ => Err(format!("{shown:?}")),
            }
        })
        .await;
        assert_eq!(shown.source, "listed");
        assert!(
            shown.not_after.is_some() && shown.last_error.is_none(),
            "{shown:?}"
        );
        let files = desk.certificates().await;
        assert!(
            files
                .iter()
                .any(|one| one.source == "file" && one.routers.len() == 2),
            "what operators put in place is shown too: {files:?}"
        );
    }
    assert_eq!(site.authority.asked(), [SHOP], "ordered once");
    assert_eq!(
        site.authority.contacts(),
        [serde_json::json!(["mailto:ops@example.com"])]
    );
    let told = site.told("yard.certificate.issued").await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (&told[0]["domain"], &told[0]["renewed"]),
        (&SHOP.into(), &false.into())
    );

    // The challenge is over: its folder is the app's again, as the rest always was.
    let path = "/.well-known/acme-challenge/something";
    eventually("the app has its paths", async || {
        let answer = plain(first.plain, SHOP, path)
            .await
            .map_err(|error| error.to_string())?;
        match answer.ends_with(&format!("the app at {path}")) {
            true => Ok(()),
            false => Err(answer),
        }
    })
    .await;

    // No key is anywhere it could be read.
    let stored = site.cluster().await.list("/stackyard/").await.unwrap();
    assert!(stored.iter().any(|(key, _)| key.ends_with(SHOP)));
    for (key, stored) in &stored {
        assert!(!stored.value.contains("PRIVATE KEY"), "{key}");
    }
    let row = site.rows().await.remove(0);
    let sealed = row.sealed_key.unwrap();
    assert!(!sealed.contains("PRIVATE KEY") && row.chain.unwrap().contains("CERTIFICATE"));

    // Another name, while everything runs.
    site.set(
        "router/acme/domains",
        &quoted(&format!("{SHOP},calls.example.com")),
    )
    .await;
    site.serves(&second, "calls.example.com").await;
    assert_eq!(site.authority.asked(), [SHOP, "calls.example.com"]);

    // One that nobody wants any more stays until it ends, and is not renewed.
    site.set("router/acme/domains", &quoted("calls.example.com"))
        .await;
    desks[0].is(SHOP, "unwanted").await;
    site.serves(&first, SHOP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_without_the_store_serves_what_it_had() {
    if !has_servers("a_router_without_the_store_serves_what_it_had") {
        return;
    }
    let at = free_address();
    let mut site = Site::new(at).await;
    let gate = site.router("router-1", at).await;
    let desk = site.controller("controller-1").await;
    site.configure(SHOP).await;
    site.serves(&gate, SHOP).await;
    desk.end().await;
    gate.running.stop(END).await;
    site.world.etcd[0].down();
    let gate = site.router("router-1", free_address()).await;
    site.serves(&gate, SHOP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_at_two_thirds_of_its_life_or_when_its_authority_advises() {
    if !has_servers(
        "a_certificate_is_renewed_at_two_thirds_of_its_life_or_when_its_authority_advises",
    ) {
        return;
    }
    let at = free_address();
    let site = Site::new(at).await;
    let _gate = site.router("router-1", at).await;
    let desk = site.controller("controller-1").await;
    site.authority
        .wish(|wishes| wishes.backdate = time::Duration::days(70));
    site.configure(SHOP).await;
    eventually(
        "it is renewed again and again while it comes old",
        async || match site.authority.asked().len() {
            count if count >= 2 => Ok(()),
            count => Err(format!("{count} orders")),
        },
    )
    .await;
    site.authority
        .wish(|wishes| wishes.backdate = time::Duration::hours(1));
    desk.is(SHOP, "valid").await;
    let orders = site.authority.asked().len();
    let told = site.told("yard.certificate.issued").await;
    assert_eq!(told.len(), orders, "{told:?}");
    assert_eq!(told[0]["renewed"], false);
    assert!(
        told[1..].iter().all(|one| one["renewed"] == true),
        "{told:?}"
    );

    // The authority wants it to be renewed now; asked an hour after it was issued.
    let now = time::OffsetDateTime::now_utc();
    site.authority.wish(|wishes| {
        wishes.advice = Some((
            now - time::Duration::hours(2),
            now - time::Duration::hours(1),
        ));
    });
    // Another account object reads the directory anew.
    site.set("router/acme/email", &quoted("other@example.com"))
        .await;
    let mut row = site.rows().await.remove(0);
    row.advice_at = Some(0);
    let mut tx = site.world.store.write("test").await.unwrap();
    row.update(&mut tx, world::now()).await.unwrap();
    tx.commit().await.unwrap();
    eventually("it is renewed as advised", async || {
        match site.authority.asked().len() {
            count if count > orders => Ok(()),
            count => Err(format!("{count} orders")),
        }
    })
    .await;
    assert_eq!(
        site.authority.contacts(),
        [serde_json::json!(["mailto:other@example.com"])],
        "one account, told of another address"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_told_and_tried_again_ever_more_seldom() {
    if !has_servers("what_fails_is_told_and_tried_again_ever_more_seldom") {
        return;
    }
    let at = free_address();
    let site = Site::new(at).await;
    let desk = site.controller("controller-1").await;
    // No router at all: the authority is not even told to look.
    site.configure(SHOP).await;
    let waiting = eventually("the first failure is told", async || {
        let shown = desk.certificate(SHOP).await;
        match shown {
            Some(shown) if shown.last_error.is_some() => Ok(shown),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let error = waiting.last_error.unwrap();
    assert!(error.contains("no router knows the challenge"), "{error}");
    assert!(
        summary(&site.authority)[SHOP]
            .iter()
            .all(|status| *status == "pending")
    );

    // A router that others do not reach.
    let gate = site.router("router-1", at).await;
    site.authority
        .wish(|wishes| wishes.prove_at = free_address());
    eventually("what the authority said is told", async || {
        let shown = desk.certificate(SHOP).await.unwrap_or_default();
        let told = shown.last_error.unwrap_or_default();
        match told.contains("cannot be reached") && shown.failures >= 2 {
            true => Ok(()),
            false => Err(told),
        }
    })
    .await;
    let failed = site.told("yard.certificate.failed").await;
    let counts: Vec<u64> = failed
        .iter()
        .map(|one| one["failures"].as_u64().unwrap())
        .collect();
    let expected: Vec<u64> = (1..=counts.len() as u64).collect();
    assert_eq!(counts, expected, "each attempt is told once");
    assert_eq!(failed[0]["not_after"], Value::Null);

    // It is reached again.
    site.authority.wish(|wishes| {
        wishes.prove_at = at;
        wishes.bad_nonces = 2;
    });
    let shown = desk.is(SHOP, "valid").await;
    assert_eq!((shown.failures, shown.last_error), (0, None));
    site.serves(&gate, SHOP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_had_enough_is_left_alone_for_as_long_as_it_says() {
    if !has_servers("an_authority_that_had_enough_is_left_alone_for_as_long_as_it_says") {
        return;
    }
    let at = free_address();
    let site = Site::new(at).await;
    let _gate = site.router("router-1", at).await;
    let desk = site.controller("controller-1").await;
    site.authority
        .wish(|wishes| (wishes.limited, wishes.limited_for) = (1, 86_400));
    site.configure("a.example.com,b.example.com").await;
    let first = eventually("the limit is told", async || {
        let shown = desk.certificate("a.example.com").await.unwrap_or_default();
        match shown.last_error {
            Some(_) => Ok(shown),
            None => Err(format!("{shown:?}")),
        }
    })
    .await;
    assert!(first.last_error.unwrap().contains("too many certificates"));
    // Retries come each second, but for the limit: neither of the two is asked for, though the second never failed.
    let until = first.next_attempt_at.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(site.authority.asked().is_empty());
    let row = site.rows().await.remove(0);
    let wait = row.next_attempt_at - row.last_error_at.unwrap();
    assert!(wait >= 86_399_000_000, "{until}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_of_routes_get_certificates_if_that_is_wanted_and_wildcards_never() {
    if !has_servers("hosts_of_routes_get_certificates_if_that_is_wanted_and_wildcards_never") {
        return;
    }
    let at = free_address();
    let site = Site::new(at).await;
    let gate = site.router("router-1", at).await;
    let desk = site.controller("controller-1").await;
    site.world.app("a", 1, 64).await;
    site.world
        .routes_on("example.org", &["www", "*", ""], "a")
        .await;
    site.configure("").await;
    site.set("router/acme/custom_domains", "true").await;
    site.serves(&gate, "www.example.org").await;
    site.serves(&gate, "example.org").await;
    let refused = desk.is("*.example.org", "refused").await;
    assert!(refused.because.unwrap().contains("wildcard"), "says why");
    let shown = desk.certificate("www.example.org").await.unwrap();
    assert_eq!(shown.source, "route");
    let mut asked = site.authority.asked();
    asked.sort();
    assert_eq!(asked, ["example.org", "www.example.org"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_the_authority_forgot_is_made_anew() {
    if !has_servers("an_account_that_the_authority_forgot_is_made_anew") {
        return;
    }
    let at = free_address();
    let site = Site::new(at).await;
    let _gate = site.router("router-1", at).await;
    let desk = site.controller("controller-1").await;
    site.configure(SHOP).await;
    desk.is(SHOP, "valid").await;
    let account = async || {
        let mut reader = site.world.store.read().await.unwrap();
        AcmeAccount::find(&mut reader, &site.authority.directory())
            .await
            .unwrap()
    };
    let before = account().await.unwrap().sealed_credentials;
    assert!(!before.contains("key_pkcs8"), "sealed");
    site.authority.forget_accounts();
    site.set("router/acme/domains", &quoted("calls.example.com"))
        .await;
    desk.is("calls.example.com", "valid").await;
    assert_ne!(account().await.unwrap().sealed_credentials, before);
    assert_eq!(site.authority.contacts().len(), 2);
}

/// Where `pebble` is installed: the same with an authority of others' making.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pebble_issues_a_certificate() {
    const TEST: &str = "pebble_issues_a_certificate";
    if !world::has(TEST, "pebble") || !has_servers(TEST) {
        return;
    }
    let at = free_address();
    let site = Site::new(at).await;
    let gate = site.router("router-1", at).await;
    let desk = site.controller("controller-1").await;
    let folder = site.folder.path();
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    let [certificate, key, config] =
        ["pebble.pem", "pebble.key", "pebble.json"].map(|name| folder.join(name));
    std::fs::write(&certificate, own.cert.pem()).unwrap();
    std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let (listens, manages) = (free_address(), free_address());
    let settings = serde_json::json!({"pebble": {
        "listenAddress": listens,
        "managementListenAddress": manages,
        "certificate": certificate,
        "privateKey": key,
        "httpPort": at.port(),
        "tlsPort": 1,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": false,
    }});
    std::fs::write(&config, settings.to_string()).unwrap();
    let log = std::fs::File::create(folder.join("pebble.log")).unwrap();
    let _pebble = tokio::process::Command::new("pebble")
        .arg("-config")
        .arg(&config)
        .arg("-dnsserver")
        .arg(name_server().await.to_string())
        .env("PEBBLE_VA_NOSLEEP", "1")
        // Some nonces are refused though they are good, to see whether clients try again.
        .env("PEBBLE_WFE_NONCEREJECT", "20")
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    site.set(
        "router/acme/trust_file",
        &quoted(&certificate.display().to_string()),
    )
    .await;
    site.set(
        "router/acme/directory",
        &quoted(&format!("https://{listens}/dir")),
    )
    .await;
    site.set("router/acme/retry", &quoted("1s")).await;
    site.set("router/acme/domains", &quoted(SHOP)).await;
    site.set("router/acme/terms_agreed", "true").await;
    let shown = eventually("pebble issues it", async || {
        let shown = desk.certificate(SHOP).await.unwrap_or_default();
        let log = std::fs::read_to_string(folder.join("pebble.log")).unwrap_or_default();
        match shown.state == "valid" {
            true => Ok(shown),
            false => Err(format!("{shown:?}\n{log}")),
        }
    })
    .await;
    assert!(shown.not_after.is_some(), "{shown:?}");
    // The authority that issued it is another one than that of its own certificate.
    let root = fetch(manages, "127.0.0.1", "/roots/0", own.cert.der())
        .await
        .unwrap();
    let root = root.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let root = CertificateDer::from_pem_slice(root.as_bytes()).unwrap();
    eventually("the router has it", async || {
        let answer = ask(gate.tls, SHOP, &root).await;
        answer.map_err(|error| error.to_string())
    })
    .await;
}

/// A name server to which every name is this machine, over TCP.
async fn name_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(answer_names(socket));
        }
    });
    address
}

async fn answer_names(mut socket: TcpStream) {
    while let Ok(length) = socket.read_u16().await {
        let mut asked = vec![0; usize::from(length)];
        if socket.read_exact(&mut asked).await.is_err() {
            return;
        }
        // The name ends with an empty label; its type and class follow.
        let Some(end) = asked.iter().skip(12).position(|byte| *byte == 0) else {
            return;
        };
        let end = 12 + end + 5;
        let wants_address = asked.get(end - 4..end - 2) == Some(&[0, 1]);
        let mut answer = asked[..end].to_vec();
        let answers = u8::from(wants_address);
        answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, answers, 0, 0, 0, 0]);
        if wants_address {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
        if socket
            .write_all(&[&length, &*answer].concat())
            .await
            .is_err()
        {
            return;
        }
    }
}
