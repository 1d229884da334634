//! Users and roles of the cluster store.
//!
//! Done again at every start and idempotent: agents may have been added, and a first start may
//! have died halfway. Before authentication is on, everything is allowed, so the switch comes last.

use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error, Permission};

use crate::domain::servers::StoreRole;

/// One user of the store.
pub struct StoreUser {
    pub name: String,
    pub password: String,
    pub role: StoreRole,
    /// A key that only this user may write, of those that are not of all.
    pub key: Option<String>,
}

/// The role that only this user has.
fn own_role(user: &str) -> String {
    format!("stackyard-of-{user}")
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot connect to the cluster store")]
    Connect(#[source] Error),
    #[error("the cluster store did not answer within {0:?}")]
    Silent(Duration),
    #[error("cannot {operation} {object} in the cluster store")]
    Operation {
        operation: &'static str,
        object: String,
        #[source]
        source: Error,
    },
}

const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for the store, then sees to it that every user exists and that authentication is on.
pub async fn prepare(
    endpoint: &str,
    root_password: &str,
    users: &[StoreUser],
) -> Result<(), StoreError> {
    let preparing = async {
        let (mut client, authenticated) = connect(endpoint, root_password).await?;
        for role in StoreRole::ALL {
            done(
                "create the role",
                role.name(),
                client.role_add(role.name()).await,
            )?;
            for (prefix, write) in role.grants() {
                let permission = if *write {
                    Permission::read_write(*prefix)
                } else {
                    Permission::read(*prefix)
                };
                done(
                    "grant to",
                    role.name(),
                    client
                        .role_grant_permission(role.name(), permission.with_prefix())
                        .await,
                )?;
            }
        }
        for user in users {
            done(
                "create the user",
                &user.name,
                client
                    .user_add(user.name.as_str(), user.password.as_str(), None)
                    .await,
            )?;
            done(
                "grant a role to",
                &user.name,
                client
                    .user_grant_role(user.name.as_str(), user.role.name())
                    .await,
            )?;
            if let Some(key) = &user.key {
                let role = own_role(&user.name);
                done(
                    "create the role",
                    &role,
                    client.role_add(role.as_str()).await,
                )?;
                let permission = Permission::read_write(key.as_str());
                done(
                    "grant to",
                    &role,
                    client
                        .role_grant_permission(role.as_str(), permission)
                        .await,
                )?;
                done(
                    "grant a role to",
                    &user.name,
                    client
                        .user_grant_role(user.name.as_str(), role.as_str())
                        .await,
                )?;
            }
        }
        if !authenticated {
            done("create the role", "root", client.role_add("root").await)?;
            done(
                "create the user",
                "root",
                client.user_add("root", root_password, None).await,
            )?;
            // A first start that died before the switch may have left another password.
            done(
                "set the password of",
                "root",
                client.user_change_password("root", root_password).await,
            )?;
            done(
                "grant a role to",
                "root",
                client.user_grant_role("root", "root").await,
            )?;
            done("switch on", "authentication", client.auth_enable().await)?;
        }
        Ok(())
    };
    in_time(preparing).await
}

/// Takes these users out of the store; those that are not there are as good as gone.
pub async fn dismiss(
    endpoint: &str,
    root_password: &str,
    users: &[String],
) -> Result<(), StoreError> {
    let dismissing = async {
        let (mut client, _) = connect(endpoint, root_password).await?;
        for user in users {
            gone(
                "remove the user",
                user,
                client.user_delete(user.as_str()).await,
            )?;
            let role = own_role(user);
            gone(
                "remove the role",
                &role,
                client.role_delete(role.as_str()).await,
            )?;
        }
        Ok(())
    };
    in_time(dismissing).await
}

async fn in_time(work: impl Future<Output = Result<(), StoreError>>) -> Result<(), StoreError> {
    tokio::time::timeout(DEADLINE, work)
        .await
        .unwrap_or(Err(StoreError::Silent(DEADLINE)))
}

/// Connects as root, or as nobody while authentication is off; waits for the store to be up.
async fn connect(endpoint: &str, root_password: &str) -> Result<(Client, bool), StoreError> {
    let base = ConnectOptions::new()
        .with_connect_timeout(Duration::from_secs(1))
        .with_timeout(Duration::from_secs(5));
    loop {
        let as_root = base.clone().with_user("root", root_password);
        match Client::connect([endpoint], Some(as_root)).await {
            Ok(client) => return Ok((client, true)),
            Err(error) if says(&error, "authentication is not enabled") => {
                return Client::connect([endpoint], Some(base))
                    .await
                    .map(|client| (client, false))
                    .map_err(StoreError::Connect);
            }
            Err(error) if says(&error, "authentication failed") => {
                return Err(StoreError::Connect(error));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn says(error: &Error, text: &str) -> bool {
    matches!(error, Error::GRpcStatus(status) if status.message().contains(text))
}

fn gone<T>(
    operation: &'static str,
    object: &str,
    result: Result<T, Error>,
) -> Result<(), StoreError> {
    match result {
        Err(error) if says(&error, "not found") => Ok(()),
        other => done(operation, object, other),
    }
}

/// What exists already is as good as created.
fn done<T>(
    operation: &'static str,
    object: &str,
    result: Result<T, Error>,
) -> Result<(), StoreError> {
    match result {
        Ok(_) => Ok(()),
        Err(error) if says(&error, "already exists") || says(&error, "already granted") => Ok(()),
        Err(source) => Err(StoreError::Operation {
            operation,
            object: object.to_string(),
            source,
        }),
    }
}
