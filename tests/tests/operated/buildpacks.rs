//! Buildpacks of one's own: of a git repository, of an archive at an address, and uploaded for everybody. The
//! server that hands out the first two is an app of the cluster, which has nothing but files.

use anyhow::{Context, ensure};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::Cluster;
use tests::apps::*;
use zip::write::SimpleFileOptions;

const SOURCE: &str = "packs-source";
const SMALL: [&str; 4] = ["--memory", "64M", "--disk", "128M"];

const RELEASE: &str = "#!/bin/sh\nprintf -- '---\\ndefault_process_types:\\n  web: exec python3 -m http.server $PORT\\n'\n";

/// The scripts of a buildpack that takes apps with a `notes.txt`, and says in them who made them.
fn scripts(maker: &str) -> [(&'static str, String); 3] {
    [
        (
            "bin/detect",
            "#!/bin/sh\ntest -f \"$1/notes.txt\" && echo Notes\n".to_string(),
        ),
        (
            "bin/compile",
            format!(
                "#!/bin/sh\necho 'made by {maker}' > \"$1/made.txt\"\necho '-----> {maker} at work'\n"
            ),
        ),
        ("bin/release", RELEASE.to_string()),
    ]
}

fn git(folder: &Path, words: &[&str]) -> anyhow::Result<()> {
    let done = Command::new("git")
        .args(["-c", "user.name=x", "-c", "user.email=x@example.org"])
        .args(words)
        .current_dir(folder)
        .output()
        .context("run git")?;
    ensure!(done.status.success(), "git {words:?}: {done:?}");
    Ok(())
}

fn write_pack(folder: &Path, maker: &str) -> anyhow::Result<()> {
    fs::create_dir_all(folder.join("bin"))?;
    for (name, text) in scripts(maker) {
        let path = folder.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// A folder with `pack.git`, as files that a web server can hand out, whose branch `ready` holds the buildpack,
/// and `pack.zip`.
fn served(cluster: &Cluster) -> anyhow::Result<PathBuf> {
    let work = cluster.root().join("packs-work");
    fs::create_dir_all(&work)?;
    git(&work, &["init", "--quiet", "--initial-branch", "main"])?;
    git(
        &work,
        &["commit", "--quiet", "--allow-empty", "-m", "nothing yet"],
    )?;
    git(&work, &["checkout", "--quiet", "-b", "ready"])?;
    write_pack(&work, "a repository")?;
    git(&work, &["add", "."])?;
    git(&work, &["commit", "--quiet", "-m", "a buildpack"])?;
    git(&work, &["checkout", "--quiet", "main"])?;
    let folder = app(cluster, SOURCE, &[("index.html", "packs\n")]);
    let bare = folder.join("pack.git").display().to_string();
    git(&work, &["clone", "--quiet", "--bare", ".", &bare])?;
    git(Path::new(&bare), &["update-server-info"])?;
    let mut archive = zip::ZipWriter::new(fs::File::create(folder.join("pack.zip"))?);
    for (name, text) in scripts("an archive") {
        let options = SimpleFileOptions::default().unix_permissions(0o755);
        archive.start_file(format!("pack-1.0/{name}"), options)?;
        archive.write_all(text.as_bytes())?;
    }
    archive.finish()?;
    Ok(folder)
}

/// Pushes an app that no buildpack of the cluster takes; it answers who made it.
async fn is_made(cluster: &Cluster, name: &str, more: &[&str], maker: &str) -> anyhow::Result<()> {
    let folder = app(cluster, name, &[("notes.txt", "no app by itself\n")]);
    let words: Vec<&str> = SMALL.iter().chain(more).copied().collect();
    let pushed = push(cluster, name, &folder, &words).await?;
    ensure!(
        pushed.status == 0 && pushed.stdout.contains(&format!("{maker} at work")),
        "status {}\n{}\n{}",
        pushed.status,
        pushed.stdout,
        pushed.stderr
    );
    let made = cluster.body(&cluster.host(name), "/made.txt").await?;
    ensure!(made == format!("made by {maker}\n"), "{made}");
    Ok(())
}

/// A push that ends with this status and these words.
async fn fails(cluster: &Cluster, more: &[&str], status: i32, words: &str) -> anyhow::Result<()> {
    let folder = app(cluster, "no-pack", &[("notes.txt", "no app by itself\n")]);
    let failed = push(cluster, "no-pack", &folder, more).await?;
    ensure!(
        failed.status == status && failed.stderr.contains(words),
        "status {}: {}",
        failed.status,
        failed.stderr
    );
    Ok(())
}

pub async fn apps_bring_their_buildpacks_and_operators_upload_them(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let folder = served(cluster)?;
    let disk = "staging/disk";
    cluster.ok(["config", "set", disk, "256MiB"]).await?;
    let words = [SMALL.as_slice(), &["--buildpack", "staticfile"]].concat();
    push(cluster, SOURCE, &folder, &words).await?.success()?;
    let base = format!("http://{}:{}", cluster.host(SOURCE), cluster.port);
    let (branch, archive) = (format!("{base}/pack.git#ready"), format!("{base}/pack.zip"));
    is_made(cluster, "of-git", &["-b", &branch], "a repository").await?;
    is_made(cluster, "of-zip", &["-b", &archive], "an archive").await?;
    let shown = cluster.ok(["app", "of-git", "--json"]).await?.json()?;
    ensure!(shown["buildpacks"][0] == branch.as_str(), "{shown:#}");

    let missing = format!("{base}/none.git");
    fails(
        cluster,
        &["-b", &missing],
        6,
        "none.git could not be fetched",
    )
    .await?;
    fails(cluster, &["-b", "git@example.org:x/y.git"], 1, "https://").await?;
    let schemes = "staging/buildpacks/schemes";
    cluster.ok(["config", "set", schemes, "https"]).await?;
    fails(cluster, &["-b", &archive], 1, "the operator allows https").await?;
    cluster.ok(["config", "unset", schemes]).await?;
    fails(cluster, &["-b", "default"], 6, "not successfully detected").await?;

    let pack = cluster.root().join("notes-pack");
    write_pack(&pack, "an upload")?;
    let path = pack.display().to_string();
    let words = [
        "buildpack",
        "create",
        "notes",
        &path,
        "--position",
        "2",
        "--json",
    ];
    let made = cluster.ok(words).await?.json()?;
    ensure!(
        made["position"] == 2 && made["state"] == "READY" && made["filename"] == "notes-pack.zip",
        "{made:#}"
    );
    is_made(cluster, "detected", &[], "an upload").await?;
    write_pack(&pack, "a second upload")?;
    cluster
        .ok(["buildpack", "update", "notes", "--path", &path])
        .await?;
    is_made(cluster, "named", &["-b", "notes"], "a second upload").await?;
    cluster
        .ok(["buildpack", "update", "notes", "--disable"])
        .await?;
    fails(cluster, &["-b", "notes"], 1, "is disabled").await?;
    fails(cluster, &["-b", "default"], 6, "not successfully detected").await?;
    let none = folder.display().to_string();
    let refused = cluster
        .yard(["buildpack", "create", "empty", &none])
        .await?;
    ensure!(
        refused.status == 1 && refused.stderr.contains("none of bin/detect"),
        "{refused:?}"
    );
    cluster.ok(["buildpack", "delete", "notes", "-f"]).await?;
    let listed = cluster.ok(["buildpack", "list", "--json"]).await?.json()?;
    let names: Vec<&str> = listed
        .as_array()
        .context("a list")?
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    ensure!(
        names == ["staticfile", "nodejs", "python", "binary"],
        "{listed:#}"
    );
    cluster.ok(["config", "unset", disk]).await?;
    for name in ["of-git", "of-zip", "detected", "named", "no-pack", SOURCE] {
        cluster.ok(["delete", name, "--force"]).await?;
    }
    Ok(())
}
