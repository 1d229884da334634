//! Logging in: passwords, access tokens, refresh tokens.
//!
//! Access tokens are JWTs (HS256) that every request carries; who the user is and may do is read
//! from the database each time, so a removed role or user counts at once. Refresh tokens are
//! random, kept as hashes and spent by use: each use gives a new one. What an execution of automation gets is a random
//! token too, good for both APIs.
//!
//! Hashing a password takes tens of milliseconds of a whole core by design: it runs outside the
//! async threads, few at once, and somebody who guesses waits longer after each failure.

use super::ssh::Permit;
use super::{Ops, Refusal, now};
use crate::domain::access::{Actor, Grant, RoleKind};
use crate::store::automation::tokens as execution_tokens;
use crate::store::refresh_tokens::{self, RefreshToken};
use crate::store::sql::Connection;
use crate::store::users::{self, User};
use crate::store::{StoreError, roles};
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use base64::Engine;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use proto::api::{Claims, TokenResponse};
use sha2::Digest;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Passwords hashed at once.
const HASHING: usize = 2;
/// Longest wait for one's turn: somebody who guesses must not make others wait for ever.
const TURN: Duration = Duration::from_secs(10);
/// Longest wait after failures.
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// Failures are forgotten after this.
const FORGET: Duration = Duration::from_secs(300);
/// Names remembered for their failures.
const REMEMBERED: usize = 10_000;
/// Longest password that is looked at.
const LONGEST_PASSWORD: usize = 1024;

pub const ORIGIN: &str = "uaa";

/// Keys and memory of the token endpoint.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    issuer: String,
    hashing: Semaphore,
    failures: Mutex<HashMap<String, (u32, Instant)>>,
}

impl Tokens {
    pub fn new(secret: &[u8], issuer: String) -> Tokens {
        Tokens {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
            issuer,
            hashing: Semaphore::new(HASHING),
            failures: Mutex::default(),
        }
    }

    /// The claims of a genuine token that has not expired.
    pub fn verify(&self, token: &str) -> Option<Claims> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.set_audience(&["cloud_controller"]);
        jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation)
            .ok()
            .map(|data| data.claims)
    }

    pub(super) fn sign_permit(&self, permit: &Permit) -> Result<String, Refusal> {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), permit, &self.encoding)
            .map_err(Refusal::internal("signing a permit"))
    }

    /// What a genuine permit that has not expired says.
    pub(super) fn verify_permit(&self, permit: &str) -> Option<Permit> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.set_audience(&[super::ssh::CLIENT]);
        jsonwebtoken::decode(permit, &self.decoding, &validation)
            .ok()
            .map(|data| data.claims)
    }

    /// Waits for a turn to hash.
    async fn turn(&self, within: Duration) -> Result<SemaphorePermit<'_>, Refusal> {
        match tokio::time::timeout(within, self.hashing.acquire()).await {
            Ok(permit) => permit.map_err(Refusal::internal("waiting to hash a password")),
            Err(_) => Err(Refusal::Unavailable(
                "Too many passwords are being checked: try again in a moment".into(),
            )),
        }
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, HashMap<String, (u32, Instant)>> {
        self.failures
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// How long the next answer for this name must wait.
    fn delay(&self, name: &str) -> Duration {
        match self.failures().get(name) {
            Some((count, since)) if since.elapsed() < FORGET => Duration::from_millis(50)
                .saturating_mul(1 << (*count).min(10))
                .min(LONGEST_DELAY),
            _ => Duration::ZERO,
        }
    }

    fn failed(&self, name: &str) {
        let mut failures = self.failures();
        if failures.len() >= REMEMBERED {
            failures.retain(|_, (_, since)| since.elapsed() < FORGET);
            if failures.len() >= REMEMBERED {
                failures.clear();
            }
        }
        let entry = failures
            .entry(name.to_string())
            .or_insert((0, Instant::now()));
        *entry = (entry.0.saturating_add(1), Instant::now());
    }

    fn succeeded(&self, name: &str) {
        self.failures().remove(name);
    }
}

/// Why no token was given; in OAuth's words.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    #[error("Bad credentials")]
    BadCredentials,
    #[error("{0}")]
    InvalidGrant(&'static str),
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl From<StoreError> for Denied {
    fn from(error: StoreError) -> Denied {
        Denied::Refused(error.into())
    }
}

impl Ops {
    /// argon2's text form of a password.
    pub async fn hash_password(&self, password: &str) -> Result<String, Refusal> {
        let _permit = self.tokens.turn(TURN).await?;
        let password = password.to_string();
        tokio::task::spawn_blocking(move || {
            let salt = SaltString::encode_b64(uuid::Uuid::new_v4().as_bytes())?;
            argon2::Argon2::default()
                .hash_password(password.as_bytes(), &salt)
                .map(|hash| hash.to_string())
        })
        .await
        .map_err(Refusal::internal("hashing a password"))?
        .map_err(|error| Refusal::Internal {
            operation: "hashing a password",
            source: error.to_string().into(),
        })
    }

    async fn password_fits(&self, hash: String, password: &str) -> Result<bool, Refusal> {
        if password.len() > LONGEST_PASSWORD {
            return Ok(false);
        }
        let _permit = self.tokens.turn(TURN).await?;
        let password = password.to_string();
        tokio::task::spawn_blocking(move || match PasswordHash::new(&hash) {
            Ok(parsed) => argon2::Argon2::default()
                .verify_password(password.as_bytes(), &parsed)
                .is_ok(),
            Err(_) => false,
        })
        .await
        .map_err(Refusal::internal("checking a password"))
    }

    /// Whether this is the user's password; slow for names that failed before.
    pub async fn check_password(&self, username: &str, password: &str) -> Result<User, Denied> {
        tokio::time::sleep(self.tokens.delay(username)).await;
        let user = users::by_name(&mut *self.store.read().await?, username, ORIGIN).await?;
        // An unknown name costs the same time as a wrong password: names cannot be tried out.
        const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c3RhY2t5YXJkLW5vYm9keQ$xkEtpIm/mhwKqUHQj9IzTGyXXgDUWg8Kak1+Dj3DG00";
        let hash = user
            .as_ref()
            .map_or_else(|| NOBODY.to_string(), |user| user.password_hash.clone());
        let fits = self.password_fits(hash, password).await?;
        match user {
            Some(user) if fits => {
                self.tokens.succeeded(username);
                Ok(user)
            }
            _ => {
                self.tokens.failed(username);
                Err(Denied::BadCredentials)
            }
        }
    }

    pub async fn password_grant(
        &self,
        client: &str,
        username: &str,
        password: &str,
    ) -> Result<TokenResponse, Denied> {
        let user = self.check_password(username, password).await?;
        let mut tx = self.store.write("log in").await?;
        let response = self.issue(&mut tx, &user, client, "password").await?;
        tx.commit().await?;
        tracing::info!(user = %user.username, "logged in");
        Ok(response)
    }

    pub async fn refresh_grant(&self, client: &str, token: &str) -> Result<TokenResponse, Denied> {
        let hash = hash_of(token);
        let mut tx = self.store.write("refresh a token").await?;
        let invalid =
            || Denied::InvalidGrant("The refresh token is invalid, spent or expired: log in again");
        let stored = RefreshToken::find(&mut tx, &hash)
            .await?
            .ok_or_else(invalid)?;
        // PostgreSQL lets two read it; one of them takes it away.
        if !RefreshToken::delete(&mut tx, &hash).await? {
            return Err(invalid());
        }
        if stored.expires_at < now() {
            tx.commit().await?;
            return Err(invalid());
        }
        let user = User::find(&mut tx, &stored.user_guid)
            .await?
            .ok_or_else(invalid)?;
        let response = self.issue(&mut tx, &user, client, "refresh_token").await?;
        tx.commit().await?;
        Ok(response)
    }

    async fn issue(
        &self,
        connection: &mut Connection,
        user: &User,
        client: &str,
        grant_type: &str,
    ) -> Result<TokenResponse, Denied> {
        let settings = self.settings();
        let (lifetime, refresh_lifetime) = (
            settings.duration("controller/tokens/access_lifetime"),
            settings.duration("controller/tokens/refresh_lifetime"),
        );
        let now_micros = now();
        let iat = now_micros / 1_000_000;
        let expires_in = lifetime.as_secs();
        let claims = Claims {
            jti: super::new_guid(),
            sub: user.guid.clone(),
            user_id: user.guid.clone(),
            user_name: user.username.clone(),
            origin: user.origin.clone(),
            email: user.username.clone(),
            client_id: client.to_string(),
            cid: client.to_string(),
            scope: scopes(user.is_admin),
            iss: self.tokens.issuer.clone(),
            aud: vec!["cloud_controller".to_string(), client.to_string()],
            grant_type: grant_type.to_string(),
            revocable: false,
            iat,
            exp: iat + expires_in as i64,
        };
        let access_token = jsonwebtoken::encode(
            &Header::new(Algorithm::HS256),
            &claims,
            &self.tokens.encoding,
        )
        .map_err(Refusal::internal("signing a token"))?;
        let secret: [u8; 32] = rand::random();
        let refresh_token = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(secret);
        refresh_tokens::delete_expired(connection, now_micros).await?;
        RefreshToken {
            token_hash: hash_of(&refresh_token),
            user_guid: user.guid.clone(),
            client: client.to_string(),
            created_at: now_micros,
            expires_at: now_micros + refresh_lifetime.as_micros() as i64,
        }
        .insert(connection)
        .await?;
        Ok(TokenResponse {
            access_token,
            refresh_token: Some(refresh_token),
            token_type: "bearer".to_string(),
            expires_in,
            scope: claims.scope.join(" "),
            jti: claims.jti,
        })
    }

    /// Who sent this token, with what it may do right now. The token of an execution stands for the user in
    /// whose name it runs, until it ends.
    pub async fn actor(&self, token: &str) -> Result<Actor, Refusal> {
        let mut connection = self.store.read().await?;
        let user_guid = match self.tokens.verify(token) {
            Some(claims) => claims.user_id,
            None => execution_tokens::Token::find(&mut connection, &hash_of(token))
                .await?
                .filter(|token| token.execution_id.is_some() && token.expires_at > now())
                .map(|token| token.user_guid)
                .ok_or(Refusal::InvalidToken)?,
        };
        let user = User::find(&mut connection, &user_guid)
            .await?
            .ok_or(Refusal::InvalidToken)?;
        let grants = roles::granted_to(&mut connection, &user.guid).await?;
        Ok(actor_of(&user, grants))
    }
}

pub fn actor_of(user: &User, granted: Vec<roles::Granted>) -> Actor {
    Actor {
        guid: user.guid.clone(),
        name: user.username.clone(),
        is_admin: user.is_admin,
        grants: grants_of(granted),
    }
}

/// Those of the roles that are known.
pub fn grants_of(granted: Vec<roles::Granted>) -> Vec<Grant> {
    granted
        .into_iter()
        .filter_map(|granted| {
            Some(Grant {
                role: RoleKind::parse(&granted.kind)?,
                place: granted.place,
                organization: granted.organization,
            })
        })
        .collect()
}

fn scopes(is_admin: bool) -> Vec<String> {
    let mut scopes = vec![
        "openid",
        "cloud_controller.read",
        "cloud_controller.write",
        "password.write",
    ];
    if is_admin {
        scopes.extend(["cloud_controller.admin", "scim.read", "scim.write"]);
    }
    scopes.into_iter().map(str::to_string).collect()
}

pub(super) fn hash_of(token: &str) -> String {
    crate::blobs::hex(&sha2::Sha256::digest(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_too_long_to_be_checked_is_told_to_come_back() {
        let tokens = Tokens::new(b"a key of thirty-two characters!!", "issuer".into());
        let mut busy = Vec::new();
        for _ in 0..HASHING {
            busy.push(tokens.turn(TURN).await.unwrap());
        }
        let refused = tokens.turn(Duration::from_millis(1)).await;
        assert!(matches!(refused, Err(Refusal::Unavailable(_))));
        busy.pop();
        assert!(tokens.turn(TURN).await.is_ok());
    }
}
