//! What can be done: one file per noun, knowing neither HTTP nor the bus.
//!
//! An operation authorizes ([`crate::domain::access`]), reads, decides, writes, leaves an audit
//! event and the facts of the change, all in one transaction, and nudges the runtime after the commit.

pub mod admin_commands;
pub mod agents;
pub mod apps;
pub mod audit_events;
pub mod buildpacks;
pub mod builds;
pub mod config;
pub mod deployments;
pub mod domains;
pub mod droplets;
pub mod first_start;
pub mod jobs;
pub mod list;
pub mod log_access;
pub mod manifest;
pub mod nodes;
pub mod organizations;
pub mod packages;
pub mod processes;
pub mod quotas;
mod refusal;
pub mod resource_matches;
pub mod revisions;
pub mod roles;
pub mod route_bindings;
pub mod route_places;
pub mod routers;
pub mod routes;
pub mod service_bindings;
pub mod service_instances;
pub mod spaces;
pub mod ssh;
pub mod sweep;
pub mod tasks;
pub mod tokens;
pub mod upload;
pub mod users;
pub mod waiting;
pub mod why;

use crate::blobs::Blobs;
use crate::domain::access::{self, Action, Actor, Object, Sight};
use crate::domain::observed::IndexStats;
use crate::domain::placement::PlacementRequest;
use crate::runtime::NotTold;
use crate::store::audit_events::{By, On};
use crate::store::processes::Process;
use crate::store::query::Filter;
use crate::store::spaces::Space;
use crate::store::sql::Connection;
use crate::store::{Store, StoreError};
use crate::vault::Vault;
use daemon::Supervisor;
use futures_util::future::BoxFuture;
use proto::api::{RouterCertificate, RouterTable};
use proto::bus::dea::Drain;
use proto::bus::stream::TaskExited;
use proto::config::Settings;
use proto::ids::DeaId;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

pub use refusal::Refusal;

/// The stacks apps may run on.
pub const STACKS: &[&str] = &["host"];

/// Everything operations need. Cheap to clone.
#[derive(Clone)]
pub struct Ops {
    pub store: Store,
    pub blobs: Blobs,
    pub live: Live,
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Where uploads are looked at; emptied at start.
    pub scratch: PathBuf,
    /// `http://api.<domain>:<port>`
    pub public_url: Arc<str>,
    pub tokens: Arc<tokens::Tokens>,
    pub vault: Vault,
    pub tasks: Supervisor,
}

/// What is seen of each index of a process.
pub type AskStats = dyn Fn(&Process) -> Vec<IndexStats> + Send + Sync;
/// The cluster as this controller sees it.
pub type AskStatus = dyn Fn() -> BoxFuture<'static, serde_json::Value> + Send + Sync;
/// Why no agent could ever hold an instance; None: one could, or nobody knows yet.
pub type AskRoom = dyn Fn(&PlacementRequest) -> Option<String> + Send + Sync;
/// Where an agent lets the holder of a ticket into an instance, or a sentence why none does.
pub type AskEnter =
    dyn Fn(ssh::Entering) -> BoxFuture<'static, Result<Option<SocketAddr>, String>> + Send + Sync;
/// An agent tells how a task of an app ended. Once this is done it is on disk, or there is no such
/// task (false).
pub type TellTaskEnd =
    dyn Fn(TaskExited) -> BoxFuture<'static, Result<bool, StoreError>> + Send + Sync;
/// A line into the log of an app.
pub type TellLog = dyn Fn(&str, String) + Send + Sync;

/// What each router knows of the routes of a host (none: of all), at most so many.
pub type AskRouters =
    dyn Fn(Option<String>, usize) -> BoxFuture<'static, Vec<RouterTable>> + Send + Sync;
/// The certificates of the routers' entrances, those that are wanted too.
pub type AskCertificates =
    dyn Fn() -> BoxFuture<'static, Result<Vec<RouterCertificate>, StoreError>> + Send + Sync;
/// What an authority that asks for this token is answered.
pub type AskChallenge = dyn Fn(&str) -> Option<String> + Send + Sync;
/// Tells an agent to be emptied (true) or to take work again; how far it is then.
pub type TellDrain =
    dyn Fn(DeaId, bool) -> BoxFuture<'static, Result<Option<Drain>, NotTold>> + Send + Sync;

/// What the API asks of the running half, and tells it.
#[derive(Clone)]
pub struct Live {
    pub drain: Arc<TellDrain>,
    pub stats: Arc<AskStats>,
    pub room: Arc<AskRoom>,
    /// Facts were committed.
    pub nudge: Arc<dyn Fn() + Send + Sync>,
    pub status: Arc<AskStatus>,
    pub routers: Arc<AskRouters>,
    pub certificates: Arc<AskCertificates>,
    pub challenge: Arc<AskChallenge>,
    pub log: Arc<TellLog>,
    pub enter: Arc<AskEnter>,
    pub task_ended: Arc<TellTaskEnd>,
}

impl Live {
    /// Sees nothing and tells nobody: an API without a cluster behind it.
    pub fn none() -> Live {
        Live {
            drain: Arc::new(|_, _| Box::pin(async { Err(NotTold::Unknown) })),
            stats: Arc::new(|_| Vec::new()),
            room: Arc::new(|_| None),
            nudge: Arc::new(|| {}),
            status: Arc::new(|| Box::pin(async { serde_json::json!({}) })),
            routers: Arc::new(|_, _| Box::pin(async { Vec::new() })),
            certificates: Arc::new(|| Box::pin(async { Ok(Vec::new()) })),
            challenge: Arc::new(|_| None),
            log: Arc::new(|_, _| {}),
            enter: Arc::new(|_| Box::pin(async { Err("There is no cluster".to_string()) })),
            task_ended: Arc::new(|_| Box::pin(async { Ok(false) })),
        }
    }
}

/// Instead of a start command: in lists, and for who may not see what may hold passwords.
pub const HIDDEN_IN_LISTS: &str = "[PRIVATE DATA HIDDEN IN LISTS]";
pub const HIDDEN: &str = "[PRIVATE DATA HIDDEN]";

/// Unix microseconds: the only clock of this crate's operations.
pub fn now() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

pub fn new_guid() -> String {
    uuid::Uuid::new_v4().to_string()
}

impl Ops {
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.borrow().clone()
    }

    pub fn nudge(&self) {
        (self.live.nudge)();
    }
}

/// Refuses like something that does not exist what the actor may not even see, and with 403 what it
/// sees but may not do.
pub fn authorize(
    actor: &Actor,
    action: Action,
    object: &Object<'_>,
    noun: &'static str,
) -> Result<(), Refusal> {
    if !access::decide(actor, Action::Read, object).allowed {
        return Err(Refusal::NotFound(noun));
    }
    let decision = access::decide(actor, action, object);
    if decision.allowed {
        return Ok(());
    }
    tracing::debug!(actor = %actor.name, ?action, because = decision.because, "refused");
    Err(Refusal::NotAuthorized)
}

/// The space of something, with the right to do `action` in it; `noun` is what is missing if not.
pub async fn space_for(
    connection: &mut Connection,
    actor: &Actor,
    action: Action,
    space: &str,
    noun: &'static str,
) -> Result<Space, Refusal> {
    let space = Space::find(connection, space)
        .await?
        .ok_or(Refusal::NotFound(noun))?;
    authorize(
        actor,
        action,
        &Object::Space {
            guid: &space.guid,
            organization: &space.organization_guid,
        },
        noun,
    )?;
    Ok(space)
}

/// The space that something new is to be in: named in a document, so what is missing or hidden is no 404.
pub async fn space_to_fill(
    connection: &mut Connection,
    actor: &Actor,
    space: &str,
) -> Result<Space, Refusal> {
    space_for(connection, actor, Action::Develop, space, "Space")
        .await
        .map_err(|refusal| match refusal {
            Refusal::NotFound(_) => Refusal::Unprocessable(
                "Invalid space. Ensure that the space exists and you have access to it.".into(),
            ),
            refusal => refusal,
        })
}

/// Whether an actor may see what may hold passwords in a space.
pub fn sees_secrets(actor: &Actor, space: &Space) -> bool {
    let object = Object::Space {
        guid: &space.guid,
        organization: &space.organization_guid,
    };
    access::decide(actor, Action::ReadSecrets, &object).allowed
}

/// Guids of the spaces an actor sees; None: all.
pub async fn visible_spaces(
    connection: &mut Connection,
    actor: &Actor,
) -> Result<Option<Vec<String>>, StoreError> {
    let Sight::Only {
        mut spaces,
        managed,
        ..
    } = access::sight(actor)
    else {
        return Ok(None);
    };
    for organization in managed {
        spaces.extend(
            crate::store::spaces::of_organization(connection, &organization)
                .await?
                .into_iter()
                .map(|space| space.guid),
        );
    }
    Ok(Some(spaces.into_iter().collect()))
}

/// Narrows a list of what belongs to spaces to the organizations that are asked for and to what the actor sees.
pub async fn of_spaces_in_sight(
    connection: &mut Connection,
    actor: &Actor,
    query: &list::ListQuery,
    mut filter: Filter,
) -> Result<Filter, StoreError> {
    const IN_ORGANIZATIONS: &str = "SELECT guid FROM spaces WHERE organization_guid";
    if let Some(organizations) = query.list("organization_guids") {
        filter = filter.any_in("space_guid", IN_ORGANIZATIONS, organizations);
    }
    if let Some(visible) = visible_spaces(connection, actor).await? {
        filter = filter.any("space_guid", &visible);
    }
    Ok(filter)
}

/// Narrows a list of what belongs to apps to the places that are asked for and to those that the actor sees.
pub async fn of_apps_in_sight(
    connection: &mut Connection,
    actor: &Actor,
    query: &list::ListQuery,
    mut filter: Filter,
) -> Result<Filter, StoreError> {
    const IN_SPACES: &str = "SELECT guid FROM apps WHERE space_guid";
    const IN_ORGANIZATIONS: &str = "SELECT a.guid FROM apps a JOIN spaces s ON s.guid = a.space_guid WHERE s.organization_guid";
    if let Some(spaces) = query.list("space_guids") {
        filter = filter.any_in("app_guid", IN_SPACES, spaces);
    }
    if let Some(organizations) = query.list("organization_guids") {
        filter = filter.any_in("app_guid", IN_ORGANIZATIONS, organizations);
    }
    if let Some(visible) = visible_spaces(connection, actor).await? {
        filter = filter.any_in("app_guid", IN_SPACES, &visible);
    }
    Ok(filter)
}

/// The actor of an audit event.
/// The same guid on every controller and after every start.
pub fn guid_of(kind: &str, name: &str) -> String {
    let digest = <sha2::Sha256 as sha2::Digest>::digest(format!("{kind}/{name}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes)
        .into_uuid()
        .to_string()
}

pub fn by(actor: &Actor) -> By<'_> {
    By {
        guid: &actor.guid,
        kind: "user",
        name: &actor.name,
    }
}

/// The target of an audit event in a space.
pub fn on<'a>(kind: &'a str, guid: &'a str, name: &'a str, space: &'a Space) -> On<'a> {
    On {
        guid,
        kind,
        name,
        space: Some(&space.guid),
        organization: Some(&space.organization_guid),
    }
}
