//! Orders certificates, renews them, and lets the routers have them.
//!
//! ```text
//!  settings, routes, rows ─► domain::certificates ─► one order at a time ─► row, event ─► cluster store ─► routers
//! ```
//!
//! The leader alone orders, so that no two routers or controllers order the same; an attempt is on record with the time
//! of the next one *before* the authority is asked, so that a controller that dies over it again and again asks no more often than
//! one that fails. What is issued is a row first, sealed with the cluster's key, and then a document in the cluster store,
//! sealed with the key that only controllers and routers have; the store follows the rows, whoever leads.
//!
//! What a newcomer gets wrong: the cluster store is no record. A router that is away reads it when it is back, and
//! if it is lost, the next round writes it anew from the rows.

use super::acme::{AcmeError, Authority, Credentials, Directory, Issued};
use super::{LEADERSHIP, Shared, clock, routers};
use crate::domain::certificates::{self as plan, Known, Policy, Source, Standing};
use crate::domain::times::rfc3339;
use crate::store::audit_events::{self, By, On};
use crate::store::certificates::{AcmeAccount, Certificate, all, custom_hosts};
use crate::store::{StoreError, leadership, platform_events};
use crate::vault::VaultError;
use automation::triggers::yard::{CertificateFailed, CertificateIssued, PlatformEvent};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use daemon::cluster::LEADERS;
use daemon::seals::{NONCE_LEN, Seals};
use daemon::{ClusterError, Shutdown, Write};
use proto::api::{RouterCertificate, ToldCertificate};
use proto::certificates::{PREFIX, StoredCertificate};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often is looked for what is due.
const PERIOD: Duration = Duration::from_secs(2);
/// How often the cluster store is compared with the rows, if nothing changed.
const COMPARE: Duration = Duration::from_secs(60);
/// Bounds of how often an authority is asked when to renew a certificate.
const ADVICE_LEAST: Duration = Duration::from_secs(3600);
const ADVICE_MOST: Duration = Duration::from_secs(86_400);
/// Writes of one transaction of the cluster store, which bounds their number and size.
const AT_ONCE: usize = 16;

#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error("reading or writing what is on record of certificates")]
    Store(#[from] StoreError),
    #[error("telling the routers of certificates")]
    Cluster(#[from] ClusterError),
    #[error("opening the credentials of the account with {directory}")]
    Credentials {
        directory: String,
        #[source]
        source: VaultError,
    },
    #[error("sealing the key of the certificate of {0}")]
    Seal(String),
}

/// What a leader remembers. Nothing of it is needed.
#[derive(Default)]
struct Desk {
    authority: Option<Authority>,
    /// The authority had enough: nothing is ordered before.
    paused_until: Option<Instant>,
    compared: Option<Instant>,
}

pub(super) async fn watch(shared: Arc<Shared>, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut settings = shared.settings.clone();
    let mut desk: Option<(i64, Desk)> = None;
    let mut complained = false;
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            changed = settings.changed() => changed?,
            () = shutdown.cancelled() => return Ok(()),
        }
        let Some(epoch) = *shared.epoch.borrow() else {
            desk = None;
            continue;
        };
        let (of, memory) = desk.get_or_insert_with(|| (epoch, Desk::default()));
        if *of != epoch {
            (*of, *memory) = (epoch, Desk::default());
        }
        let done = tokio::select! {
            done = round(&shared, epoch, memory) => done,
            // An order that is under way is given up: it is on record when the next one may be made.
            () = shutdown.cancelled() => return Ok(()),
        };
        match done {
            Ok(()) => complained = false,
            Err(error) => {
                if !complained {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(
                        error,
                        "certificates were not looked after; it is tried again"
                    );
                }
                complained = true;
            }
        }
    }
}

/// One look: at most one order.
async fn round(shared: &Shared, epoch: i64, desk: &mut Desk) -> Result<(), RoundError> {
    let Some(seals) = shared.config.certificate_seals.clone() else {
        return Ok(());
    };
    let policy = Policy::read(&shared.settings());
    let mut seen = look(shared, &policy).await?;
    let now = clock::unix_micros();
    for domain in plan::forgotten(&seen.wanted, &seen.known, now) {
        forget(shared, epoch, domain).await?;
        desk.compared = None;
    }
    let is_paused = desk
        .paused_until
        .is_some_and(|until| until > Instant::now());
    if policy.on && !is_paused {
        let due = plan::next(&seen.wanted, &seen.known, &policy.directory, now);
        if let Some((domain, source)) = due.map(|(domain, source)| (domain.to_string(), source)) {
            attempt(shared, epoch, desk, &policy, &domain, source).await?;
            desk.compared = None;
            seen = look(shared, &policy).await?;
        } else if let Some(row) = seen.asks_for_advice(&policy, now).cloned() {
            ask_for_advice(shared, epoch, desk, &policy, row).await?;
        }
    }
    if desk.compared.is_none_or(|at| at.elapsed() > COMPARE) {
        tell_routers(shared, epoch, &seals, &seen.rows).await?;
        desk.compared = Some(Instant::now());
    }
    Ok(())
}

/// What is wanted and what is on record.
struct Seen {
    rows: Vec<Certificate>,
    wanted: BTreeMap<String, Source>,
    known: BTreeMap<String, Known>,
}

async fn look(shared: &Shared, policy: &Policy) -> Result<Seen, StoreError> {
    let mut reader = shared.store.read().await?;
    let rows = all(&mut reader).await?;
    let hosts = match policy.custom_domains {
        true => custom_hosts(&mut reader, &shared.config.domain).await?,
        false => Vec::new(),
    };
    drop(reader);
    let known = rows
        .iter()
        .map(|row| (row.domain.clone(), known_of(row)))
        .collect();
    Ok(Seen {
        wanted: plan::wanted(policy, &hosts),
        rows,
        known,
    })
}

impl Seen {
    /// A valid certificate whose authority was not asked for a while when to renew it.
    fn asks_for_advice(&self, policy: &Policy, now: i64) -> Option<&Certificate> {
        self.rows.iter().find(|row| {
            row.issued_by.as_deref() == Some(&*policy.directory)
                && self.wanted.contains_key(&row.domain)
                && row.advice_at.is_some_and(|at| at <= now)
        })
    }
}

fn known_of(row: &Certificate) -> Known {
    let issued = match (&row.issued_by, row.not_after, row.renew_at) {
        (Some(directory), Some(not_after), Some(renew_at)) => Some(plan::Issued {
            directory: directory.clone(),
            not_after,
            renew_at,
        }),
        _ => None,
    };
    Known {
        issued,
        directory: row.directory.clone(),
        failures: failures_of(row),
        next_attempt_at: row.next_attempt_at,
        last_error: row.last_error.clone(),
    }
}

fn after(now: i64, wait: Duration) -> i64 {
    now.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX))
}

/// Orders one certificate, and records how that went.
async fn attempt(
    shared: &Shared,
    epoch: i64,
    desk: &mut Desk,
    policy: &Policy,
    domain: &str,
    source: Source,
) -> Result<(), RoundError> {
    let row = claim(shared, epoch, policy, domain, source).await?;
    tracing::info!(
        domain,
        directory = policy.directory,
        "a certificate is ordered"
    );
    let ordered = match authority(shared, epoch, desk, policy).await? {
        Ok(authority) => authority.order(shared, domain).await,
        Err(error) => Err(error),
    };
    match ordered {
        Ok(issued) => record_issued(shared, epoch, row, issued).await,
        Err(error) => {
            let patience = desk.authority.as_ref().and_then(Authority::patience);
            let mut wait = plan::wait(failures_of(&row).saturating_add(1), policy.retry);
            if error.is_limit() {
                let limited = patience.unwrap_or(plan::LIMITED_WAIT);
                wait = wait.max(limited);
                desk.paused_until = Some(Instant::now() + limited);
            }
            if error.is_unknown_account() {
                drop_account(shared, epoch, &policy.directory).await?;
            }
            // The next attempt reads the authority and its trust anew.
            desk.authority = None;
            record_failed(shared, epoch, row, &error, wait).await
        }
    }
}

fn failures_of(row: &Certificate) -> u32 {
    u32::try_from(row.failures).unwrap_or(u32::MAX)
}

/// Puts on record that it is being ordered, and when it may be again if nobody hears of it any more.
async fn claim(
    shared: &Shared,
    epoch: i64,
    policy: &Policy,
    domain: &str,
    source: Source,
) -> Result<Certificate, RoundError> {
    let now = clock::unix_micros();
    let mut tx = shared
        .write_as_leader("begin to order a certificate", epoch)
        .await?;
    let known = Certificate::find(&mut tx, domain).await?;
    let is_new = known.is_none();
    let mut row = known.unwrap_or_else(|| Certificate {
        domain: domain.to_string(),
        source: String::new(),
        directory: String::new(),
        chain: None,
        sealed_key: None,
        issued_by: None,
        not_before: None,
        not_after: None,
        renew_at: None,
        advice_at: None,
        failures: 0,
        next_attempt_at: 0,
        last_error: None,
        last_error_at: None,
        created_at: now,
        updated_at: now,
        row_version: 1,
    });
    row.source = source.name().to_string();
    row.directory = policy.directory.clone();
    row.next_attempt_at = after(
        now,
        plan::wait(failures_of(&row).saturating_add(1), policy.retry),
    );
    match is_new {
        true => row.insert(&mut tx).await?,
        false => row.update(&mut tx, now).await?,
    }
    tx.commit().await?;
    Ok(row)
}

/// The authority as the settings have it, with the cluster's account; the inner error is the authority's.
async fn authority<'a>(
    shared: &Shared,
    epoch: i64,
    desk: &'a mut Desk,
    policy: &Policy,
) -> Result<Result<&'a Authority, AcmeError>, RoundError> {
    let directory = Directory {
        url: policy.directory.clone(),
        trust_file: policy.trust_file.clone(),
        email: policy.email.clone(),
    };
    if let Some(open) = desk.authority.take_if(|open| open.directory == directory) {
        return Ok(Ok(desk.authority.insert(open)));
    }
    let row = {
        let mut reader = shared.store.read().await?;
        AcmeAccount::find(&mut reader, &directory.url).await?
    };
    let known = match &row {
        None => None,
        Some(row) => {
            let opened = shared.config.vault.open(&row.sealed_credentials);
            let credentials = opened.map_err(|source| RoundError::Credentials {
                directory: directory.url.clone(),
                source,
            })?;
            Some((credentials, row.email.clone()))
        }
    };
    match Authority::open(directory, known).await {
        Ok((open, made)) => {
            keep_account(shared, epoch, &open.directory, row, made).await?;
            Ok(Ok(desk.authority.insert(open)))
        }
        Err(error) => Ok(Err(error)),
    }
}

async fn keep_account(
    shared: &Shared,
    epoch: i64,
    directory: &Directory,
    known: Option<AcmeAccount>,
    made: Option<Credentials>,
) -> Result<(), StoreError> {
    let now = clock::unix_micros();
    let mut tx = shared.write_as_leader("keep an account", epoch).await?;
    match (known, made) {
        (Some(mut row), None) if row.email != directory.email => {
            row.email.clone_from(&directory.email);
            row.update(&mut tx, now).await?;
        }
        (_, Some(Credentials(credentials))) => {
            let row = AcmeAccount {
                directory: directory.url.clone(),
                email: directory.email.clone(),
                sealed_credentials: shared.config.vault.seal(&credentials),
                created_at: now,
                updated_at: now,
                row_version: 1,
            };
            row.insert(&mut tx).await?;
        }
        (Some(_) | None, None) => return Ok(()),
    }
    tx.commit().await
}

async fn drop_account(shared: &Shared, epoch: i64, directory: &str) -> Result<(), StoreError> {
    let mut tx = shared.write_as_leader("forget an account", epoch).await?;
    AcmeAccount::delete(&mut tx, directory).await?;
    tx.commit().await
}

async fn record_issued(
    shared: &Shared,
    epoch: i64,
    mut row: Certificate,
    issued: Issued,
) -> Result<(), RoundError> {
    let now = clock::unix_micros();
    let is_renewed = row.chain.is_some();
    row.chain = Some(issued.chain);
    row.sealed_key = Some(shared.config.vault.seal(&issued.key.into()));
    row.issued_by = Some(row.directory.clone());
    row.not_before = Some(issued.not_before);
    row.not_after = Some(issued.not_after);
    row.renew_at = Some(plan::renewal(issued.not_before, issued.not_after));
    row.advice_at = Some(after(now, ADVICE_LEAST));
    row.failures = 0;
    row.next_attempt_at = 0;
    row.last_error = None;
    row.last_error_at = None;
    let event = CertificateIssued {
        at: rfc3339(now),
        domain: row.domain.clone(),
        source: row.source.clone(),
        directory: row.directory.clone(),
        not_after: rfc3339(issued.not_after),
        renewed: is_renewed,
    };
    tracing::info!(domain = row.domain, "a certificate was issued");
    record(shared, epoch, row, "certificate.issued", event.into(), now).await
}

async fn record_failed(
    shared: &Shared,
    epoch: i64,
    mut row: Certificate,
    error: &AcmeError,
    wait: Duration,
) -> Result<(), RoundError> {
    let now = clock::unix_micros();
    let told = error.told();
    row.failures = row.failures.saturating_add(1);
    row.next_attempt_at = after(now, wait);
    row.last_error = Some(told.clone());
    row.last_error_at = Some(now);
    let event = CertificateFailed {
        at: rfc3339(now),
        domain: row.domain.clone(),
        source: row.source.clone(),
        directory: row.directory.clone(),
        reason: told.clone(),
        failures: failures_of(&row),
        next_attempt_at: rfc3339(row.next_attempt_at),
        not_after: row.not_after.map(rfc3339),
    };
    tracing::warn!(
        domain = row.domain,
        error = told,
        "a certificate was not issued"
    );
    record(shared, epoch, row, "certificate.failed", event.into(), now).await
}

async fn record(
    shared: &Shared,
    epoch: i64,
    mut row: Certificate,
    kind: &str,
    event: PlatformEvent,
    now: i64,
) -> Result<(), RoundError> {
    let mut tx = shared
        .write_as_leader("record how an order went", epoch)
        .await?;
    row.update(&mut tx, now).await?;
    let domain = row.domain.as_str();
    let on = On::certificate(domain);
    audit_events::record(&mut tx, kind, By::SYSTEM, on, event.payload(), now).await?;
    platform_events::tell(&mut tx, event, domain, now).await?;
    tx.commit().await?;
    shared.committed.notify_one();
    Ok(())
}

async fn forget(shared: &Shared, epoch: i64, domain: &str) -> Result<(), StoreError> {
    let mut tx = shared
        .write_as_leader("forget a certificate", epoch)
        .await?;
    Certificate::delete(&mut tx, domain).await?;
    tx.commit().await
}

async fn ask_for_advice(
    shared: &Shared,
    epoch: i64,
    desk: &mut Desk,
    policy: &Policy,
    mut row: Certificate,
) -> Result<(), RoundError> {
    let advice = match authority(shared, epoch, desk, policy).await? {
        Ok(authority) => {
            let chain = row.chain.as_deref().unwrap_or_default();
            authority.advice(&row.domain, chain).await
        }
        Err(error) => Err(error),
    };
    let mut again = ADVICE_MOST;
    match advice {
        Ok(Some((start, end, asked))) => {
            again = asked.clamp(ADVICE_LEAST, ADVICE_MOST);
            row.renew_at = row
                .renew_at
                .map(|at| plan::advised(at, start, end, rand::random()));
        }
        Ok(None) => {}
        Err(error) => tracing::debug!(
            domain = row.domain,
            error = error.told(),
            "the authority did not tell when to renew a certificate"
        ),
    }
    let now = clock::unix_micros();
    row.advice_at = Some(after(now, again));
    let mut tx = shared
        .store
        .write("note when to renew a certificate")
        .await?;
    leadership::fence(&mut tx, LEADERSHIP, epoch).await?;
    row.update(&mut tx, now).await?;
    tx.commit().await?;
    Ok(())
}

/// Makes the documents in the cluster store those of the rows.
async fn tell_routers(
    shared: &Shared,
    epoch: i64,
    seals: &Seals,
    rows: &[Certificate],
) -> Result<(), RoundError> {
    let told = shared.cluster.list(PREFIX).await?;
    let told: BTreeMap<&str, StoredCertificate> = told
        .iter()
        .filter_map(|(key, stored)| {
            let domain = key.strip_prefix(PREFIX)?;
            // One that cannot be read is written anew, or deleted.
            let told = serde_json::from_str(&stored.value).unwrap_or(StoredCertificate {
                chain: String::new(),
                sealed_key: String::new(),
                nonce: String::new(),
            });
            Some((domain, told))
        })
        .collect();
    let mut writes = Vec::new();
    let mut kept = BTreeSet::new();
    for row in rows {
        let (Some(chain), Some(sealed)) = (&row.chain, &row.sealed_key) else {
            continue;
        };
        kept.insert(row.domain.as_str());
        if told
            .get(row.domain.as_str())
            .is_some_and(|told| told.chain == *chain && opens(seals, &row.domain, told))
        {
            continue;
        }
        let key = match shared.config.vault.open::<String>(sealed) {
            Ok(key) => key,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    domain = row.domain,
                    error,
                    "the key of a certificate is of no use"
                );
                continue;
            }
        };
        let nonce: [u8; NONCE_LEN] = rand::random();
        let sealed_key = seals
            .seal(key.as_bytes(), row.domain.as_bytes(), nonce)
            .ok_or_else(|| RoundError::Seal(row.domain.clone()))?;
        let document = StoredCertificate {
            chain: chain.clone(),
            sealed_key: STANDARD.encode(sealed_key),
            nonce: STANDARD.encode(nonce),
        };
        writes.push(Write::Put {
            key: format!("{PREFIX}{}", row.domain),
            value: serde_json::to_string(&document).expect("texts are JSON"),
        });
    }
    writes.extend(
        told.keys()
            .filter(|domain| !kept.contains(**domain))
            .map(|domain| Write::Delete {
                key: format!("{PREFIX}{domain}"),
            }),
    );
    // Only while this controller leads: the key of its leadership is written once in a term.
    let leads = [(format!("{LEADERS}{LEADERSHIP}"), Some(epoch))];
    for writes in writes.chunks(AT_ONCE) {
        if shared.cluster.transact(&leads, writes).await?.is_none() {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether routers can read it.
fn opens(seals: &Seals, domain: &str, told: &StoredCertificate) -> bool {
    let nonce = STANDARD
        .decode(&told.nonce)
        .ok()
        .and_then(|nonce| nonce.try_into().ok());
    let sealed = STANDARD.decode(&told.sealed_key).ok();
    nonce
        .zip(sealed)
        .is_some_and(|(nonce, sealed)| seals.open(&sealed, domain.as_bytes(), nonce).is_some())
}

/// What there is of certificates, with what the routers have of them.
pub(super) async fn list(shared: &Shared) -> Result<Vec<RouterCertificate>, StoreError> {
    let policy = Policy::read(&shared.settings());
    let seen = look(shared, &policy).await?;
    let told = routers::certificates(shared).await;
    let now = clock::unix_micros();
    let rows: BTreeMap<&str, &Certificate> = seen
        .rows
        .iter()
        .map(|row| (row.domain.as_str(), row))
        .collect();
    let domains: BTreeSet<&str> = rows
        .keys()
        .copied()
        .chain(seen.wanted.keys().map(String::as_str))
        .collect();
    let nothing = Known::default();
    let ordered = domains.into_iter().map(|domain| {
        let known = seen.known.get(domain).unwrap_or(&nothing);
        let source = seen.wanted.get(domain);
        let standing = plan::standing(
            domain,
            source.is_some() && policy.on,
            known,
            &policy.directory,
            now,
        );
        let row = rows.get(domain).copied();
        RouterCertificate {
            domain: domain.to_string(),
            source: source
                .map(|source| source.name().to_string())
                .or_else(|| row.map(|row| row.source.clone()))
                .unwrap_or_default(),
            not_after: known
                .issued
                .as_ref()
                .map(|issued| rfc3339(issued.not_after)),
            failures: u64::from(known.failures),
            last_error: known.last_error.clone(),
            last_error_at: row.and_then(|row| row.last_error_at).map(rfc3339),
            directory: row.map(|row| row.directory.clone()),
            routers: having(&told, domain),
            ..presented(standing, known, policy.on, now)
        }
    });
    Ok(ordered.chain(files(&told, now)).collect())
}

/// State, reason and the next time.
fn presented(standing: Standing, known: &Known, is_on: bool, now: i64) -> RouterCertificate {
    let has_ended = known
        .issued
        .as_ref()
        .is_some_and(|issued| issued.not_after <= now);
    let (state, because, next) = match standing {
        Standing::Refused(reason) => ("refused", Some(reason), None),
        Standing::Due(why) => ("due", Some(why), Some(now)),
        Standing::Waiting { until } if known.last_error.is_some() => {
            ("waiting", Some("the last attempt failed"), Some(until))
        }
        Standing::Waiting { until } => ("waiting", Some("it is being ordered"), Some(until)),
        Standing::Valid { renew_at } => ("valid", None, Some(renew_at)),
        Standing::Unwanted if !is_on => {
            ("unwanted", Some("router/acme/terms_agreed is false"), None)
        }
        Standing::Unwanted => (
            "unwanted",
            Some("no route has it and no operator lists it"),
            None,
        ),
    };
    RouterCertificate {
        state: if has_ended { "expired" } else { state }.to_string(),
        because: because.map(str::to_string),
        next_attempt_at: next.map(rfc3339),
        ..RouterCertificate::default()
    }
}

type Told = [(String, BTreeMap<String, ToldCertificate>)];

/// The routers that have the certificate that was ordered for a domain.
fn having(told: &Told, domain: &str) -> Vec<String> {
    let has = |all: &BTreeMap<String, ToldCertificate>| {
        all.values()
            .any(|one| one.source == "ordered" && one.names.iter().any(|name| name == domain))
    };
    told.iter()
        .filter(|(_, all)| has(all))
        .map(|(router, _)| router.clone())
        .collect()
}

/// Those that operators put in place, each once.
fn files(told: &Told, now: i64) -> Vec<RouterCertificate> {
    let mut files: BTreeMap<(&str, &[String]), RouterCertificate> = BTreeMap::new();
    for (router, all) in told {
        for (file, one) in all.iter().filter(|(_, one)| one.source == "file") {
            let not_after = one.not_after.map(|at| at.saturating_mul(1_000_000));
            let state = match (&one.problem, not_after) {
                (Some(_), _) => "unusable",
                (None, Some(at)) if at <= now => "expired",
                (None, Some(_) | None) => "valid",
            };
            let shown = files
                .entry((file.as_str(), one.names.as_slice()))
                .or_insert_with(|| RouterCertificate {
                    domain: one.names.first().cloned().unwrap_or_default(),
                    source: "file".to_string(),
                    state: state.to_string(),
                    not_after: not_after.map(rfc3339),
                    last_error: one.problem.clone(),
                    file: Some(file.clone()),
                    ..RouterCertificate::default()
                });
            shown.routers.push(router.clone());
        }
    }
    files.into_values().collect()
}
