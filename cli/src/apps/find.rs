//! From the names a user types to the things they mean.

use crate::client::{Client, item};
use crate::failure::{Code, Failure, Outcome};
use proto::api::{App, Domain, Process};

/// The app of this name in the chosen space.
pub async fn app(client: &Client, name: &str) -> Outcome<App> {
    let found = app_if_any(client, name).await?;
    found.ok_or_else(|| {
        let space = client
            .target()
            .space
            .as_ref()
            .map(|space| space.name.clone())
            .unwrap_or_default();
        Failure::new(
            Code::NotFound,
            format!("there is no app {name} in the space {space}"),
        )
        .fix("`yard apps` lists them, `yard target` shows the space")
    })
}

pub async fn app_if_any(client: &Client, name: &str) -> Outcome<Option<App>> {
    let space = client.space()?;
    let apps: Vec<App> = client
        .list(
            "/v3/apps",
            &[("names", &item(name)), ("space_guids", &space.guid)],
        )
        .await?;
    Ok(apps.into_iter().find(|app| app.name == name))
}

pub async fn processes(client: &Client, app: &App) -> Outcome<Vec<Process>> {
    client
        .list(&format!("/v3/apps/{}/processes", app.guid), &[])
        .await
}

/// The domain of this name.
pub async fn domain(client: &Client, name: &str) -> Outcome<Domain> {
    let domains: Vec<Domain> = client
        .list("/v3/domains", &[("names", &item(name))])
        .await?;
    domains
        .into_iter()
        .find(|domain| domain.name == name)
        .ok_or_else(|| Failure::new(Code::NotFound, format!("there is no domain {name}")))
}

/// The domain that routes get when nobody names one.
pub async fn default_domain(client: &Client) -> Outcome<Domain> {
    let org = client.org()?;
    client
        .get(
            &format!("/v3/organizations/{}/domains/default", org.guid),
            &[],
        )
        .await
}
