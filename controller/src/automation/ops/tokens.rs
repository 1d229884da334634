//! Tokens and API keys of the automation API. Only hashes are kept: what is given out is shown once.

use super::callers::{Permission, key_hash, token_hash};
use super::fault::Fault;
use crate::automation::Automation;
use crate::automation::api::extract::Caller;
use crate::automation::ids::new_id;
use crate::ops::now;
use crate::ops::tokens::Denied;
use crate::store::Json;
use crate::store::automation::api_keys::ApiKey;
use crate::store::automation::tokens::{self, Token};
use crate::store::query::Filter;
use crate::store::users::{self, User};
use base64::Engine as _;
use serde_json::{Value, json};

/// Longest life a user may ask for, and what he gets who asks for none: seconds.
pub const TOKEN_LIFETIME: i64 = 86_400;
/// Where accounts of our own come from.
const ORIGIN: &str = "uaa";

/// A token as given out: the text is nowhere else.
pub struct NewToken {
    pub row: Token,
    pub text: String,
}

/// 32 hexadecimal digits, as clients expect of a token.
fn new_token_text() -> String {
    crate::blobs::hex(&rand::random::<[u8; 16]>())
}

impl NewToken {
    /// A token for a user, not recorded yet; with `execution` it is gone when that ends.
    pub fn make(user_guid: &str, username: &str, ttl: i64, execution: Option<&str>) -> NewToken {
        let text = new_token_text();
        let now = now();
        let row = Token {
            token_hash: token_hash(&text),
            id: new_id(),
            user_guid: user_guid.to_string(),
            username: username.to_string(),
            metadata: Json(json!({})),
            execution_id: execution.map(str::to_string),
            expires_at: now.saturating_add(ttl.saturating_mul(1_000_000)),
            created_at: now,
        };
        NewToken { row, text }
    }
}

impl Automation {
    /// Logs in with a password.
    pub async fn log_in(
        &self,
        username: &str,
        password: &str,
        ttl: Option<i64>,
    ) -> Result<NewToken, Fault> {
        let ttl = ttl.unwrap_or(TOKEN_LIFETIME);
        if ttl > TOKEN_LIFETIME {
            return Err(Fault::Invalid(format!(
                "TTL specified {ttl} is greater than max allowed {TOKEN_LIFETIME}."
            )));
        }
        if ttl < 1 {
            return Err(Fault::Invalid(format!(
                "TTL specified {ttl} must be at least 1 second."
            )));
        }
        let user = match self.ops.check_password(username, password).await {
            Ok(user) => user,
            Err(Denied::BadCredentials | Denied::InvalidGrant(_)) => {
                return Err(Fault::BadCredentials(
                    "Invalid or missing credentials".into(),
                ));
            }
            Err(Denied::Refused(refusal)) => return Err(refusal.into()),
        };
        self.issue_token(&user.guid, &user.username, ttl, None)
            .await
    }

    /// As [`NewToken::make`], recorded.
    pub async fn issue_token(
        &self,
        user_guid: &str,
        username: &str,
        ttl: i64,
        execution: Option<&str>,
    ) -> Result<NewToken, Fault> {
        let token = NewToken::make(user_guid, username, ttl, execution);
        let mut tx = self.ops.store.write("issue a token of automation").await?;
        tokens::delete_expired(&mut tx, now()).await?;
        token.row.insert(&mut tx).await?;
        tx.commit().await?;
        Ok(token)
    }

    /// Makes a token good for this many seconds from when it was made.
    pub async fn prolong(&self, token: &NewToken, ttl: i64) -> Result<(), Fault> {
        let row = &token.row;
        let expires_at = row.created_at.saturating_add(ttl.saturating_mul(1_000_000));
        let mut tx = self
            .ops
            .store
            .write("prolong a token of automation")
            .await?;
        tokens::extend(&mut tx, &row.token_hash, expires_at).await?;
        Ok(tx.commit().await?)
    }

    /// Whether a token is good now.
    pub async fn token_is_valid(&self, token: &str) -> Result<bool, Fault> {
        let row = Token::find(&mut *self.ops.store.read().await?, &token_hash(token)).await?;
        Ok(row.is_some_and(|row| row.expires_at > now()))
    }

    /// API keys: all for an administrator, else the caller's own.
    pub async fn list_api_keys(
        &self,
        caller: &Caller,
        user: Option<&str>,
        limit: i64,
        offset: i64,
    ) -> Result<(Vec<ApiKey>, u64), Fault> {
        caller.allow_person("api_key_list")?;
        let mut filter = Filter::new();
        match user {
            Some(user) if user != caller.actor.name => {
                caller.allow(Permission::Administer, "api_key_list")?;
                filter = filter.equals("username", user);
            }
            None if caller.is_admin() => {}
            _ => filter = filter.equals("username", &caller.actor.name),
        }
        let mut connection = self.ops.store.read().await?;
        Ok(ApiKey::page(
            &mut connection,
            filter.order_by("created_at", "id", false),
            limit,
            offset,
        )
        .await?)
    }

    /// By id, or by the key itself.
    pub async fn api_key(&self, caller: &Caller, id_or_key: &str) -> Result<ApiKey, Fault> {
        caller.allow_person("api_key_view")?;
        let missing = || {
            Fault::NotFound(format!(
                "ApiKey with key_hash or id \"{id_or_key}\" not found."
            ))
        };
        let mut connection = self.ops.store.read().await?;
        let row = match ApiKey::find(&mut connection, id_or_key).await? {
            Some(row) => Some(row),
            None => {
                let filter = Filter::new().equals("key_hash", &key_hash(id_or_key));
                ApiKey::fetch(&mut connection, filter, "find an API key")
                    .await?
                    .pop()
            }
        };
        let row = row.ok_or_else(missing)?;
        if row.username != caller.actor.name && !caller.is_admin() {
            return Err(missing());
        }
        Ok(row)
    }

    /// A new key of a user; the text is shown this once.
    pub async fn create_api_key(
        &self,
        caller: &Caller,
        username: Option<&str>,
        metadata: Value,
        enabled: bool,
    ) -> Result<(ApiKey, String), Fault> {
        caller.allow_person("api_key_create")?;
        let username = username.unwrap_or(&caller.actor.name);
        if username != caller.actor.name {
            caller.allow(Permission::Administer, "api_key_create")?;
        }
        let text =
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(rand::random::<[u8; 64]>());
        let now = now();
        let mut tx = self.ops.store.write("create an API key").await?;
        let user: User = users::by_name(&mut tx, username, ORIGIN).await?.ok_or_else(|| {
            Fault::Invalid(format!(
                "User \"{username}\" does not exist: accounts are made with \"yard create-user\" or the platform's API."
            ))
        })?;
        let row = ApiKey {
            id: new_id(),
            key_hash: key_hash(&text),
            user_guid: user.guid,
            username: user.username,
            metadata: Json(metadata),
            enabled,
            created_at: now,
            updated_at: now,
            row_version: 1,
        };
        row.insert(&mut tx).await?;
        tx.commit().await?;
        Ok((row, text))
    }

    /// What may change of a key: its metadata, and whether it works.
    pub async fn update_api_key(
        &self,
        caller: &Caller,
        id_or_key: &str,
        metadata: Option<Value>,
        enabled: Option<bool>,
    ) -> Result<ApiKey, Fault> {
        let mut row = self.api_key(caller, id_or_key).await?;
        let mut tx = self.ops.store.write("update an API key").await?;
        if let Some(metadata) = metadata {
            row.metadata = Json(metadata);
        }
        if let Some(enabled) = enabled {
            row.enabled = enabled;
        }
        row.update(&mut tx, now()).await?;
        tx.commit().await?;
        Ok(row)
    }

    pub async fn delete_api_key(&self, caller: &Caller, id_or_key: &str) -> Result<(), Fault> {
        let row = self.api_key(caller, id_or_key).await?;
        let mut tx = self.ops.store.write("delete an API key").await?;
        ApiKey::delete(&mut tx, &row.id).await?;
        tx.commit().await?;
        Ok(())
    }
}
