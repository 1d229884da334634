//! Packages that try to get out of their folder, burst or lie about their size.

use crate::support::Yard;
use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;
use tests::eventually;
use zip::write::SimpleFileOptions;

/// A zip of (name, content); a content that begins with "->" is a symlink.
fn zip_of(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in entries {
        match content.strip_prefix("->") {
            Some(target) => writer
                .add_symlink(*name, target, SimpleFileOptions::default())
                .expect("memory"),
            None => {
                writer
                    .start_file(*name, SimpleFileOptions::default())
                    .expect("memory");
                writer.write_all(content.as_bytes()).expect("memory");
            }
        }
    }
    writer.finish().expect("memory").into_inner()
}

/// A zip whose headers say that its one entry is smaller than it is.
fn lying_zip(size: usize) -> Vec<u8> {
    let content = "0".repeat(size);
    let mut bytes = zip_of(&[("Procfile", "web: sleep 1\n"), ("bomb", &content)]);
    let wrong = 100_u32.to_le_bytes();
    let right = (size as u32).to_le_bytes();
    for at in 0..bytes.len() - 4 {
        if bytes[at..at + 4] == right {
            bytes[at..at + 4].copy_from_slice(&wrong);
        }
    }
    bytes
}

pub async fn packages_that_lead_out_are_refused(yard: &Yard) -> anyhow::Result<()> {
    let folder = yard.app("parcel", &[("Procfile", "web: sleep 600\n")]);
    yard.push("parcel", &folder, &["--buildpack", "binary", "--no-start"])
        .await?
        .success()?;
    let app = yard.cluster.ok(["app", "parcel", "--json"]).await?.json()?["guid"]
        .as_str()
        .context("a guid")?
        .to_string();
    let token = yard.token().await?;
    let many: Vec<(String, String)> = (0..3)
        .map(|number| (format!("zeros{number}"), "0".repeat(3 << 20)))
        .collect();
    let bomb: Vec<(&str, &str)> = many
        .iter()
        .map(|(name, content)| (name.as_str(), content.as_str()))
        .collect();
    yard.cluster
        .ok([
            "config",
            "set",
            "controller/packages/max_unpacked_size",
            "8MiB",
        ])
        .await?;
    let mut faults = Vec::new();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "a path that leads out",
            zip_of(&[("ok", "x"), ("../../evil", "x")]),
            "leads out",
        ),
        (
            "an absolute path",
            zip_of(&[("/etc/evil", "x")]),
            "absolute",
        ),
        (
            "a link to elsewhere",
            zip_of(&[("link", "->/etc/shadow")]),
            "leads out",
        ),
        (
            "a link upwards",
            zip_of(&[("a/link", "->../../etc")]),
            "leads out",
        ),
        (
            "a file beneath a link",
            zip_of(&[("a", "->b"), ("a/x", "x")]),
            "beneath",
        ),
        ("a backslash", zip_of(&[("..\\evil", "x")]), "backslash"),
        ("a bomb", zip_of(&bomb), "unpacks to more than"),
        ("no zip at all", b"hello".to_vec(), "zip"),
        ("half a zip", zip_of(&bomb)[..4000].to_vec(), "zip"),
        ("nothing", Vec::new(), "zip"),
        ("an empty zip", zip_of(&[]), "no files"),
    ];
    for (what, bytes, wanted) in cases {
        match upload(yard, &token, &app, bytes).await {
            Ok((_, text, state)) if state != "READY" && text.contains(wanted) => {}
            Ok((status, text, state)) => {
                faults.push(format!("{what}: status {status}, then {state}: {text}"));
            }
            Err(error) => faults.push(format!("{what}: {error:#}")),
        }
    }
    // One that lies about its size is found out at the latest by who unpacks it.
    let (_, text, state) = upload(yard, &token, &app, lying_zip(40 << 20)).await?;
    if state == "READY" {
        let package: Value = serde_json::from_str(&text)?;
        let built = build(yard, &token, package["guid"].as_str().context("guid")?).await?;
        let error = built["error"].to_string();
        if built["state"] != "FAILED" || !(error.contains("bomb") || error.contains("unpack")) {
            faults.push(format!("a lying zip: {} {error}", built["state"]));
        }
    }
    yard.cluster
        .ok(["config", "unset", "controller/packages/max_unpacked_size"])
        .await?;
    ensure!(
        !Path::new("/evil").exists() && !Path::new("/etc/evil").exists(),
        "a file got out"
    );
    ensure!(faults.is_empty(), "{}", faults.join("\n    "));
    yard.neighbour_is_well().await?;
    yard.delete("parcel").await
}

/// Uploads a package: status and text of the answer, and the package's state afterwards.
async fn upload(
    yard: &Yard,
    token: &str,
    app: &str,
    bytes: Vec<u8>,
) -> anyhow::Result<(u16, String, String)> {
    let (_, package) = yard
        .api(
            token,
            reqwest::Method::POST,
            "/v3/packages",
            Some(
                json!({ "type": "bits", "relationships": { "app": { "data": { "guid": app } } } }),
            ),
        )
        .await?;
    let guid = package["guid"]
        .as_str()
        .with_context(|| format!("no package: {package}"))?;
    let form = reqwest::multipart::Form::new().part(
        "bits",
        reqwest::multipart::Part::bytes(bytes).file_name("app.zip"),
    );
    let response = yard
        .api_request(
            reqwest::Method::POST,
            &format!("/v3/packages/{guid}/upload"),
        )?
        .bearer_auth(token)
        .multipart(form)
        .send()
        .await?;
    let status = response.status().as_u16();
    let mut text = response.text().await?;
    let (_, package) = yard
        .api(
            token,
            reqwest::Method::GET,
            &format!("/v3/packages/{guid}"),
            None,
        )
        .await?;
    if status >= 300 {
        text.push_str(&package["data"]["error"].to_string());
    } else {
        text = package.to_string();
    }
    Ok((
        status,
        text,
        package["state"].as_str().unwrap_or_default().to_string(),
    ))
}

async fn build(yard: &Yard, token: &str, package: &str) -> anyhow::Result<Value> {
    let (status, build) = yard
        .api(
            token,
            reqwest::Method::POST,
            "/v3/builds",
            Some(json!({ "package": { "guid": package } })),
        )
        .await?;
    let guid = build["guid"]
        .as_str()
        .with_context(|| format!("no build: {status} {build}"))?;
    eventually("the build ends", Duration::from_secs(30), || async {
        let (_, build) = yard
            .api(
                token,
                reqwest::Method::GET,
                &format!("/v3/builds/{guid}"),
                None,
            )
            .await?;
        if build["state"] == "STAGING" {
            bail!("{build}")
        }
        Ok(build)
    })
    .await
}
