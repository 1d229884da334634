//! Routes that are taken, malformed or somebody else's.

use crate::support::{Yard, shown};
use anyhow::ensure;
use serde_json::json;
use std::time::Duration;
use tests::Output;

pub async fn taken_and_invalid_routes_are_refused(yard: &Yard) -> anyhow::Result<()> {
    let token = yard.token().await?;
    let post = reqwest::Method::POST;
    let get = reqwest::Method::GET;
    let (_, organizations) = yard
        .api(&token, get.clone(), "/v3/organizations", None)
        .await?;
    let organization = &organizations["resources"][0]["guid"];
    let (status, space) = yard
        .api(
            &token,
            post.clone(),
            "/v3/spaces",
            Some(json!({ "name": "other", "relationships": { "organization": { "data": { "guid": organization } } } })),
        )
        .await?;
    ensure!(status == 201, "{status} {space}");
    let (_, domains) = yard.api(&token, get, "/v3/domains", None).await?;
    let domain = &domains["resources"][0]["guid"];
    let (status, taken) = yard
        .api(
            &token,
            post,
            "/v3/routes",
            Some(json!({ "host": "neighbour", "relationships": {
                "space": { "data": { "guid": space["guid"] } },
                "domain": { "data": { "guid": domain } } } })),
        )
        .await?;
    ensure!(
        status == 422 && taken.to_string().contains("neighbour"),
        "{status} {taken}"
    );
    // The same as its owner sees it, who pushes there.
    let login = yard.cluster.root().join("login");
    let elsewhere = yard.cluster.root().join("login-other");
    std::fs::create_dir_all(&elsewhere)?;
    for entry in std::fs::read_dir(&login)?.flatten() {
        if entry.path().is_file() {
            std::fs::copy(entry.path(), elsewhere.join(entry.file_name()))?;
        }
    }
    let folder = yard.app("rival", &[("Procfile", "web: sleep 600\n")]);
    let mut faults = Vec::new();
    let other = async |arguments: &[&str]| {
        let mut command = yard.cluster.command(&yard.cluster.root());
        command.env("YARD_CONFIG_HOME", &elsewhere).args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        anyhow::Ok(Output {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: Duration::ZERO,
        })
    };
    other(&["target", "--space", "other"]).await?.success()?;
    let path = folder.display().to_string();
    let refused = other(&[
        "push",
        "rival",
        "--path",
        &path,
        "--hostname",
        "neighbour",
        "-b",
        "binary",
    ])
    .await?;
    if refused.status == 0 || !shown(&refused).contains("neighbour") {
        faults.push(format!("a taken route: {}", shown(&refused)));
    }
    let domain = yard.cluster.domain.as_str();
    for (what, arguments, wanted) in [
        (
            "an invalid host",
            ["map-route", "neighbour", domain, "--hostname", "bad_host!"],
            "bad_host!",
        ),
        (
            "a host that is too long",
            [
                "map-route",
                "neighbour",
                domain,
                "--hostname",
                &"a".repeat(64),
            ],
            "63",
        ),
        (
            "an unknown domain",
            [
                "map-route",
                "neighbour",
                "nowhere.example",
                "--hostname",
                "x",
            ],
            "nowhere.example",
        ),
    ] {
        let refused = yard.cluster.yard(arguments).await?;
        if refused.status == 0 || !shown(&refused).contains(wanted) {
            faults.push(format!("{what}: {}", shown(&refused)));
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n    "));
    yard.neighbour_is_well().await
}
