//! Users: one account for the platform's API and for logging in.

use super::list::{Columns, ListQuery, Listing};
use super::tokens::ORIGIN;
use super::{Ops, Refusal, authorize, by, new_guid, now};
use crate::domain::access::{self, Action, Actor, Object};
use crate::domain::names;
use crate::store::audit_events::{self, On};
use crate::store::query::Filter;
use crate::store::users::{self, User};
use crate::store::{StoreError, refresh_tokens};
use serde_json::json;

const COLUMNS: Columns = Columns {
    filters: &[
        ("guids", "guid"),
        ("usernames", "username"),
        ("origins", "origin"),
    ],
    others: &[],
    orders: &[],
};

const SHORTEST_PASSWORD: usize = 8;

/// Users with a role in an organization or in one of its spaces: each ends before `IN`.
const MEMBERS: [&str; 2] = [
    "SELECT user_guid FROM roles WHERE organization_guid",
    "SELECT r.user_guid FROM roles r JOIN spaces s ON s.guid = r.space_guid WHERE s.organization_guid",
];

/// Organizations whose users the actor sees: who gives roles must find whom to give them. Others see
/// themselves; names of others come with the roles of a place.
fn visible(actor: &Actor) -> Vec<String> {
    access::gives_roles_in(actor).into_iter().collect()
}

fn on(user: &User) -> On<'_> {
    On {
        guid: &user.guid,
        kind: "user",
        name: &user.username,
        space: None,
        organization: None,
    }
}

fn check_password(password: &str) -> Result<(), Refusal> {
    if password.len() < SHORTEST_PASSWORD || password.len() > 1024 {
        return Refusal::unprocessable(format!(
            "Password must have {SHORTEST_PASSWORD} to 1024 characters"
        ));
    }
    Ok(())
}

impl Ops {
    pub async fn list_users(
        &self,
        actor: &Actor,
        query: &ListQuery,
    ) -> Result<Listing<User>, Refusal> {
        let mut connection = self.store.read().await?;
        let mut filter = query.filter(&COLUMNS)?;
        if !actor.is_admin {
            filter = filter.own_or_any_in(&actor.guid, MEMBERS, &visible(actor));
        }
        Ok(User::page(
            &mut connection,
            filter,
            query.window.limit(),
            query.window.offset(),
        )
        .await?
        .into())
    }

    pub async fn user(&self, actor: &Actor, guid: &str) -> Result<User, Refusal> {
        let mut connection = self.store.read().await?;
        if actor.is_admin || actor.guid == guid {
            return User::find(&mut connection, guid)
                .await?
                .ok_or(Refusal::NotFound("User"));
        }
        let filter =
            Filter::new()
                .equals("guid", guid)
                .own_or_any_in(&actor.guid, MEMBERS, &visible(actor));
        User::fetch(&mut connection, filter, "find user")
            .await?
            .pop()
            .ok_or(Refusal::NotFound("User"))
    }

    /// Makes an account; `Refusal::Conflict` if the name is taken.
    pub async fn create_account(
        &self,
        actor: &Actor,
        username: &str,
        password: &str,
        origin: &str,
    ) -> Result<User, Refusal> {
        authorize(actor, Action::Administer, &Object::Platform, "User")?;
        names::check_name(username)?;
        if origin != ORIGIN {
            return Refusal::unprocessable(format!(
                "Origin {origin:?} is not supported; supported: {ORIGIN}"
            ));
        }
        check_password(password)?;
        let password_hash = self.hash_password(password).await?;
        let mut tx = self.store.write("create user").await?;
        let taken = || Refusal::Conflict(format!("Username already in use: {username}"));
        if users::by_name(&mut tx, username, origin).await?.is_some() {
            return Err(taken());
        }
        let now = now();
        let user = User {
            guid: new_guid(),
            username: username.to_string(),
            origin: origin.to_string(),
            password_hash,
            is_admin: false,
            created_at: now,
            updated_at: now,
            row_version: 1,
        };
        user.insert(&mut tx).await.map_err(|error| match error {
            StoreError::Taken { .. } => taken(),
            error => error.into(),
        })?;
        audit_events::record(
            &mut tx,
            "audit.user.create",
            by(actor),
            on(&user),
            json!({}),
            now,
        )
        .await?;
        tx.commit().await?;
        Ok(user)
    }

    pub async fn delete_user(&self, actor: &Actor, guid: &str) -> Result<(), Refusal> {
        authorize(actor, Action::Administer, &Object::Platform, "User")?;
        let mut tx = self.store.write("delete user").await?;
        let user = User::find(&mut tx, guid)
            .await?
            .ok_or(Refusal::NotFound("User"))?;
        if user.guid == actor.guid {
            return Refusal::unprocessable("Nobody can delete himself");
        }
        User::delete(&mut tx, guid).await?;
        audit_events::record(
            &mut tx,
            "audit.user.delete-request",
            by(actor),
            on(&user),
            json!({}),
            now(),
        )
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Changes a password and ends the user's sessions. Without `old` only an administrator may.
    pub async fn change_password(
        &self,
        actor: &Actor,
        guid: &str,
        old: Option<&str>,
        new: &str,
    ) -> Result<(), Refusal> {
        authorize(actor, Action::Manage, &Object::User(guid), "User")?;
        check_password(new)?;
        let user = User::find(&mut *self.store.read().await?, guid)
            .await?
            .ok_or(Refusal::NotFound("User"))?;
        match old {
            Some(old) => {
                self.check_password(&user.username, old)
                    .await
                    .map_err(|_| Refusal::Unprocessable("The old password is wrong".into()))?;
            }
            None if actor.is_admin && actor.guid != guid => {}
            None => return Refusal::unprocessable("The old password is needed"),
        }
        let password_hash = self.hash_password(new).await?;
        let mut tx = self.store.write("change a password").await?;
        let mut user = User::find(&mut tx, guid)
            .await?
            .ok_or(Refusal::NotFound("User"))?;
        user.password_hash = password_hash;
        let now = now();
        user.update(&mut tx, now).await?;
        refresh_tokens::delete_of_user(&mut tx, guid).await?;
        audit_events::record(
            &mut tx,
            "audit.user.password_change",
            by(actor),
            on(&user),
            json!({}),
            now,
        )
        .await?;
        tx.commit().await?;
        Ok(())
    }
}
