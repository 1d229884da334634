//! An etcd that asks for passwords.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use crate::servers::{Etcd, eventually};
use std::time::Duration;

/// Users `root` and `dea-1`, all with the password `secret`.
pub async fn enable_auth(etcd: &Etcd) {
    let mut client = eventually(Duration::from_secs(15), async || {
        let mut client = etcd_client::Client::connect([etcd.endpoint()], None)
            .await
            .map_err(|error| error.to_string())?;
        client
            .get("x", None)
            .await
            .map_err(|error| error.to_string())?;
        Ok(client)
    })
    .await;
    client.role_add("root").await.unwrap();
    client.user_add("root", "secret", None).await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.role_add("daemon").await.unwrap();
    let config = etcd_client::Permission::read("/stackyard/config/").with_prefix();
    client
        .role_grant_permission("daemon", config)
        .await
        .unwrap();
    let leaders = etcd_client::Permission::read_write("/stackyard/leaders/").with_prefix();
    client
        .role_grant_permission("daemon", leaders)
        .await
        .unwrap();
    for user in ["dea-1", "dea-2"] {
        client.user_add(user, "secret", None).await.unwrap();
        client.user_grant_role(user, "daemon").await.unwrap();
    }
    client.auth_enable().await.unwrap();
}
