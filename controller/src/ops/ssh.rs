//! Going inside instances: codes, permits, tickets.
//!
//! ```text
//! user ── token ──▶ code (once, minutes) ──▶ ssh-proxy ── code ──▶ permit (a connection's, hours)
//!                                            ssh-proxy ── permit ──▶ ticket (a session's, once, seconds)
//! ```
//! A permit only says who asked for what: the right itself is looked up again for every session, so that a role
//! that was taken away, or a switch, counts for the connections that are open too.

use super::apps::app_for;
use super::processes::process_for;
use super::tokens::{Denied, actor_of, hash_of};
use super::{Ops, Refusal, by, now, on, space_for};
use crate::domain::access::{Action, Actor};
use crate::domain::ssh::{Wanted, switched_off};
use crate::store::apps::App;
use crate::store::authorization_codes::{self, AuthorizationCode};
use crate::store::spaces::Space;
use crate::store::users::User;
use crate::store::{audit_events, roles};
use base64::Engine;
use proto::ids::ProcessGuid;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;

/// The client that codes are given for.
pub const CLIENT: &str = "ssh-proxy";
const CODE_LIFETIME: Duration = Duration::from_secs(300);
/// No connection asks for sessions longer than this.
const PERMIT_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// What a user name of SSH means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub process: String,
    /// None: the newest crashed one.
    pub index: Option<u32>,
    pub crashed: bool,
}

impl Target {
    fn wanted(&self) -> Option<Wanted> {
        match (self.crashed, self.index) {
            (true, index) => Some(Wanted::Crashed { index }),
            (false, Some(index)) => Some(Wanted::Live { index }),
            (false, None) => None,
        }
    }
}

/// What a permit says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Permit {
    user: String,
    #[serde(flatten)]
    target: Target,
    aud: String,
    exp: i64,
}

/// Where a session is opened, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// None: the agent calls the proxy.
    pub address: Option<SocketAddr>,
    pub ticket: String,
}

/// What the running half is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entering {
    pub process: ProcessGuid,
    pub wanted: Wanted,
    pub ticket: String,
}

impl Ops {
    /// A code for one login at the SSH proxy.
    pub async fn authorization_code(&self, actor: &Actor) -> Result<String, Refusal> {
        let secret: [u8; 24] = rand::random();
        let code = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(secret);
        let now = now();
        let mut tx = self.store.write("give a code").await?;
        authorization_codes::delete_expired(&mut tx, now).await?;
        AuthorizationCode {
            code_hash: hash_of(&code),
            user_guid: actor.guid.clone(),
            client: CLIENT.to_string(),
            created_at: now,
            expires_at: now + CODE_LIFETIME.as_micros() as i64,
        }
        .insert(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(code)
    }

    /// Spends a code; who it was given to.
    async fn spend_code(&self, code: &str) -> Result<Actor, Denied> {
        let hash = hash_of(code);
        let invalid =
            || Denied::InvalidGrant("The code is invalid, spent or expired: ask for another");
        // Read first: whoever guesses must not keep writers waiting.
        let stored = AuthorizationCode::find(&mut *self.store.read().await?, &hash)
            .await?
            .ok_or_else(invalid)?;
        let mut tx = self.store.write("spend a code").await?;
        // Two may have read it; one of them takes it away.
        let taken = AuthorizationCode::delete(&mut tx, &hash).await?;
        tx.commit().await?;
        if !taken || stored.expires_at < now() || stored.client != CLIENT {
            return Err(invalid());
        }
        self.actor_with(&stored.user_guid)
            .await?
            .ok_or_else(invalid)
    }

    /// A user with its rights of now.
    async fn actor_with(&self, user: &str) -> Result<Option<Actor>, Refusal> {
        let mut connection = self.store.read().await?;
        let Some(user) = User::find(&mut connection, user).await? else {
            return Ok(None);
        };
        let grants = roles::granted_to(&mut connection, &user.guid).await?;
        Ok(Some(actor_of(&user, grants)))
    }

    /// Lets the holder of a code ask for sessions in one instance. Which user is let in, and which is not, is an
    /// audit event of the app. Somebody without a code is nobody: whoever knows a guid could fill the table.
    pub async fn ssh_permit(&self, code: &str, target: &Target) -> Result<String, Denied> {
        let actor = self.spend_code(code).await?;
        let may = self.may_enter(&actor, target).await;
        let why_not = may.as_ref().err().map(Refusal::to_string);
        self.record_ssh(&actor, target, why_not.as_deref()).await?;
        may?;
        let permit = Permit {
            user: actor.guid.clone(),
            target: target.clone(),
            aud: CLIENT.to_string(),
            exp: now() / 1_000_000 + PERMIT_LIFETIME.as_secs() as i64,
        };
        Ok(self.tokens.sign_permit(&permit)?)
    }

    async fn may_enter(&self, actor: &Actor, target: &Target) -> Result<(), Refusal> {
        if target.wanted().is_none() {
            return Refusal::unprocessable("An instance that runs has an index");
        }
        let mut connection = self.store.read().await?;
        let (_, app, space) =
            process_for(&mut connection, actor, Action::Develop, &target.process).await?;
        match switched_off(app.ssh_enabled, space.ssh_allowed) {
            None => Ok(()),
            Some(reason) => {
                Refusal::unprocessable(format!("SSH into the app {} is off: {reason}", app.name))
            }
        }
    }

    /// An attempt on what does not exist is nobody's event.
    async fn record_ssh(
        &self,
        actor: &Actor,
        target: &Target,
        why_not: Option<&str>,
    ) -> Result<(), Refusal> {
        use crate::store::processes::Process;
        let mut tx = self.store.write("record a login by SSH").await?;
        let Some(process) = Process::find(&mut tx, &target.process).await? else {
            return Ok(());
        };
        let Some(app) = App::find(&mut tx, &process.app_guid).await? else {
            return Ok(());
        };
        let Some(space) = Space::find(&mut tx, &app.space_guid).await? else {
            return Ok(());
        };
        let mut data =
            json!({"index": target.index, "crashed": target.crashed, "process": process.kind});
        let kind = match why_not {
            None => "audit.app.ssh-authorized",
            Some(reason) => {
                data["reason"] = json!(reason);
                "audit.app.ssh-unauthorized"
            }
        };
        let target = on("app", &app.guid, &app.name, &space);
        audit_events::record(&mut tx, kind, by(actor), target, data, now()).await?;
        tx.commit().await?;
        Ok(())
    }

    /// A way into the instance of a permit, for one session.
    pub async fn ssh_entry(&self, permit: &str) -> Result<Entry, Refusal> {
        let permit = self
            .tokens
            .verify_permit(permit)
            .ok_or(Refusal::InvalidToken)?;
        let actor = self
            .actor_with(&permit.user)
            .await?
            .ok_or(Refusal::InvalidToken)?;
        self.may_enter(&actor, &permit.target).await?;
        let (Some(wanted), Ok(process)) = (
            permit.target.wanted(),
            ProcessGuid::new(&permit.target.process),
        ) else {
            return Err(Refusal::NotFound("Process"));
        };
        let secret: [u8; 32] = rand::random();
        let entering = Entering {
            process,
            wanted,
            ticket: base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(secret),
        };
        let ticket = entering.ticket.clone();
        match (self.live.enter)(entering).await {
            Ok(address) => Ok(Entry { address, ticket }),
            Err(why) => Err(Refusal::Unavailable(why)),
        }
    }

    /// Why nobody may go inside an app; None: developers may.
    pub async fn ssh_switched_off(
        &self,
        actor: &Actor,
        app: &str,
    ) -> Result<Option<&'static str>, Refusal> {
        let mut connection = self.store.read().await?;
        let (app, space) = app_for(&mut connection, actor, Action::Read, app).await?;
        Ok(switched_off(app.ssh_enabled, space.ssh_allowed))
    }

    pub async fn switch_ssh_of_app(
        &self,
        actor: &Actor,
        app: &str,
        enabled: bool,
    ) -> Result<App, Refusal> {
        let mut tx = self.store.write("switch SSH of an app").await?;
        let (mut app, space) = app_for(&mut tx, actor, Action::Develop, app).await?;
        if app.ssh_enabled == enabled {
            return Ok(app);
        }
        app.ssh_enabled = enabled;
        let now = now();
        app.update(&mut tx, now).await?;
        let data = json!({"request": {"enable_ssh": enabled}});
        let target = on("app", &app.guid, &app.name, &space);
        audit_events::record(&mut tx, "audit.app.update", by(actor), target, data, now).await?;
        tx.commit().await?;
        Ok(app)
    }

    pub async fn switch_ssh_of_space(
        &self,
        actor: &Actor,
        space: &str,
        allowed: bool,
    ) -> Result<Space, Refusal> {
        let mut tx = self.store.write("switch SSH of a space").await?;
        let mut space = space_for(&mut tx, actor, Action::Manage, space, "Space").await?;
        if space.ssh_allowed == allowed {
            return Ok(space);
        }
        space.ssh_allowed = allowed;
        let now = now();
        space.update(&mut tx, now).await?;
        let data = json!({"request": {"allow_ssh": allowed}});
        let target = on("space", &space.guid, &space.name, &space);
        audit_events::record(&mut tx, "audit.space.update", by(actor), target, data, now).await?;
        tx.commit().await?;
        Ok(space)
    }
}
