//! Where apps live and how they are reached: routes, organizations, users, services.

use crate::World;
use anyhow::ensure;
use std::time::Duration;
use tests::eventually;

const SOON: Duration = Duration::from_secs(30);

pub async fn routes_and_domains(world: &World) -> anyhow::Result<()> {
    let cf = &world.cf;
    let domain = world.cluster.domain.as_str();
    let folder = world.page("led", "led to");
    cf.ok(&["push", "led", "-p", &folder, "-m", "64M", "--no-route"])
        .await?;
    cf.ok(&["create-route", domain, "--hostname", "one"])
        .await?;
    cf.ok(&["check-route", domain, "--hostname", "one"])
        .await?
        .has(&["does exist"])?;
    cf.ok(&["map-route", "led", domain, "--hostname", "one"])
        .await?;
    eventually("the route leads there", SOON, || {
        world.answers("one", "led to")
    })
    .await?;
    let words = [
        "update-route",
        domain,
        "--hostname",
        "one",
        "-o",
        "loadbalancing=least-connection",
    ];
    cf.ok(&words).await?;
    cf.ok(&["routes"])
        .await?
        .has(&["loadbalancing=least-connection"])?;
    cf.ok(&["route", domain, "--hostname", "one"])
        .await?
        .has(&["led", "web"])?;
    cf.ok(&["create-space", "other"]).await?;
    let mover = ["move-route", domain, "--hostname", "one", "-s", "other"];
    cf.refused(&mover, "unmap it first").await?;
    cf.refused(
        &["share-route", domain, "--hostname", "one", "-s", "other"],
        "Feature Disabled: route_sharing",
    )
    .await?;
    cf.ok(&["unmap-route", "led", domain, "--hostname", "one"])
        .await?;
    cf.ok(&mover).await?;
    let here = cf.ok(&["routes"]).await?;
    ensure!(!here.text.contains("one"), "{}", here.text);
    cf.ok(&["delete-space", "other", "-f"]).await?;

    cf.ok(&[
        "create-shared-domain",
        "tcp.example.com",
        "--router-group",
        "default-tcp",
    ])
    .await?;
    cf.ok(&["map-route", "led", "tcp.example.com"]).await?;
    cf.ok(&["routes"]).await?.has(&["tcp.example.com"])?;
    cf.ok(&["delete-shared-domain", "tcp.example.com", "-f"])
        .await?;
    let left = cf.ok(&["routes"]).await?;
    ensure!(
        !left.text.contains("tcp.example.com"),
        "its routes went with it: {}",
        left.text
    );
    cf.ok(&["create-private-domain", "default", "mine.example.com"])
        .await?;
    cf.ok(&["domains"])
        .await?
        .has(&["mine.example.com", "private"])?;
    cf.ok(&[
        "create-route",
        "mine.example.com",
        "--hostname",
        "x",
        "--path",
        "y",
    ])
    .await?;
    cf.ok(&["delete-orphaned-routes", "-f"]).await?;
    cf.ok(&["delete-private-domain", "mine.example.com", "-f"])
        .await?;
    cf.ok(&["router-groups"]).await?.has(&["default-tcp"])
}

pub async fn organizations_spaces_users_and_quotas(world: &World) -> anyhow::Result<()> {
    let cf = &world.cf;
    cf.ok(&["create-org", "acme"]).await?;
    cf.ok(&["create-space", "dev", "-o", "acme"]).await?;
    cf.ok(&["rename-org", "acme", "umbrella"]).await?;
    cf.ok(&["org", "umbrella"]).await?.has(&["dev"])?;
    cf.ok(&["create-user", "bob", "a-long-password-1"]).await?;
    cf.ok(&["set-org-role", "bob", "umbrella", "OrgManager"])
        .await?;
    cf.ok(&["set-space-role", "bob", "umbrella", "dev", "SpaceDeveloper"])
        .await?;
    cf.ok(&["org-users", "umbrella"])
        .await?
        .has(&["bob (uaa)"])?;
    cf.ok(&["space-users", "umbrella", "dev"])
        .await?
        .has(&["bob (uaa)"])?;
    cf.ok(&[
        "unset-space-role",
        "bob",
        "umbrella",
        "dev",
        "SpaceDeveloper",
    ])
    .await?;
    cf.ok(&["unset-org-role", "bob", "umbrella", "OrgManager"])
        .await?;
    cf.ok(&["delete-user", "bob", "-f"]).await?;
    let words = [
        "create-org-quota",
        "small",
        "-m",
        "1G",
        "-i",
        "512M",
        "-r",
        "10",
        "-a",
        "10",
    ];
    cf.ok(&words).await?;
    cf.ok(&["org-quota", "small"])
        .await?
        .has(&["total memory:            1G"])?;
    cf.ok(&["set-org-quota", "umbrella", "small"]).await?;
    cf.ok(&["org", "umbrella"]).await?.has(&["small"])?;
    cf.ok(&["set-org-quota", "umbrella", "default"]).await?;
    cf.ok(&["delete-org-quota", "small", "-f"]).await?;
    cf.ok(&["create-space-quota", "tiny", "-m", "1G"]).await?;
    cf.ok(&["set-space-quota", "default", "tiny"]).await?;
    cf.ok(&["space", "default"]).await?.has(&["tiny"])?;
    cf.ok(&["unset-space-quota", "default", "tiny"]).await?;
    cf.ok(&["delete-space-quota", "tiny", "-f"]).await?;
    cf.ok(&["disallow-space-ssh", "default"]).await?;
    cf.ok(&["allow-space-ssh", "default"]).await?;
    cf.ok(&["delete-org", "umbrella", "-f"]).await?;
    let orgs = cf.ok(&["orgs"]).await?;
    ensure!(!orgs.text.contains("umbrella"), "{}", orgs.text);
    Ok(())
}

pub async fn services_buildpacks_and_labels(world: &World) -> anyhow::Result<()> {
    let cf = &world.cf;
    let folder = world.page("bound", "x");
    cf.ok(&["push", "bound", "-p", &folder, "-m", "64M"])
        .await?;
    cf.ok(&[
        "create-user-provided-service",
        "db",
        "-p",
        r#"{"uri":"postgres://x"}"#,
    ])
    .await?;
    cf.ok(&["bind-service", "bound", "db"]).await?;
    cf.ok(&["services"])
        .await?
        .has(&["db", "user-provided", "bound"])?;
    cf.ok(&["env", "bound"]).await?.has(&["postgres://x"])?;
    cf.ok(&["unbind-service", "bound", "db"]).await?;
    cf.ok(&["delete-service", "db", "-f"]).await?;

    let scripts = tests::apps::app(
        &world.cluster,
        "pack",
        &[
            ("bin/detect", "#!/bin/sh\nexit 1\n"),
            ("bin/finalize", "#!/bin/sh\n"),
            ("bin/release", "#!/bin/sh\n"),
        ],
    );
    let scripts = scripts.display().to_string();
    cf.ok(&["create-buildpack", "mine", &scripts, "3"]).await?;
    cf.ok(&["update-buildpack", "mine", "--disable"]).await?;
    let row = cf.ok(&["buildpacks"]).await?.row("3")?;
    ensure!(row[1] == "mine" && row[3] == "false", "{row:?}");
    cf.ok(&["delete-buildpack", "mine", "-f"]).await?;

    cf.ok(&["set-label", "app", "bound", "env=prod", "team=a"])
        .await?;
    cf.ok(&["labels", "app", "bound"])
        .await?
        .has(&["env", "prod"])?;
    cf.ok(&["apps", "--labels", "env=prod,team in (a,b)"])
        .await?
        .row("bound")?;
    let none = cf.ok(&["apps", "--labels", "env!=prod,team"]).await?;
    ensure!(none.row("bound").is_err(), "{}", none.text);
    let refused = "Metadata label value error: 'b=c!'";
    cf.refused(&["set-label", "app", "bound", "team=b=c!"], refused)
        .await?;
    cf.ok(&["unset-label", "app", "bound", "team"]).await?;
    cf.ok(&["feature-flags"]).await?.has(&["task_creation"])?;
    cf.ok(&["stacks"]).await?.has(&["host"])?;
    cf.ok(&["curl", "/v3/info"]).await?.has(&["stackyard"])?;
    cf.ok(&["oauth-token"]).await?.has(&["bearer "])
}

pub async fn what_is_not_there_is_refused_with_the_reason(world: &World) -> anyhow::Result<()> {
    let cf = &world.cf;
    let folder = world.page("image", "x");
    let docker = ["push", "image", "-p", &folder, "--docker-image", "nginx"];
    let said = cf.run(std::path::Path::new(&folder), &docker).await?;
    ensure!(said.status != 0, "{}", said.text);
    cf.refused(
        &["push", "image", "--docker-image", "nginx"],
        "'docker' is not supported",
    )
    .await?;
    let group = cf.file("group.json");
    std::fs::write(
        &group,
        r#"[{"protocol":"tcp","destination":"10.0.11.0/24","ports":"80"}]"#,
    )?;
    let group = group.display().to_string();
    cf.refused(
        &["create-security-group", "sg", &group],
        "not supported by this platform",
    )
    .await?;
    cf.refused(
        &["create-isolation-segment", "iso"],
        "not supported by this platform",
    )
    .await?;
    let broker = [
        "create-service-broker",
        "b",
        "u",
        "p",
        "https://example.com",
    ];
    cf.refused(&broker, "not supported by this platform")
        .await?;
    cf.refused(
        &["update-stack", "host", "--state", "restricted"],
        "cannot be changed",
    )
    .await?;
    cf.refused(
        &["enable-feature-flag", "diego_docker"],
        "cannot be changed",
    )
    .await?;
    cf.refused(&["app", "nobody"], "App 'nobody' not found")
        .await
}
