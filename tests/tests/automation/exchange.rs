//! Packs of the StackStorm Exchange, unmodified: their own unit tests through our `st2tests`, then
//! installed by `st2`.
//!
//! They come from the folder in `$STACKYARD_TEST_PACKS` (one folder a pack, named like it), else by
//! git from where they are published. A machine that reaches neither skips them by name; with
//! packs at hand, fewer than three that ran are a failure.

use crate::World;
use crate::client::{copy, output};
use crate::packs::repository;
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::runner::Tally;

/// A pack whose tests need no outside service, and an action of it that needs none either.
struct Pack {
    name: &'static str,
    try_out: Option<(&'static [&'static str], &'static str)>,
}

const PACKS: &[Pack] = &[
    Pack {
        name: "csv",
        try_out: Some((&["run", "csv.parse", "data=a,b\n1,2"], "succeeded")),
    },
    Pack {
        name: "sensu",
        try_out: None,
    },
    Pack {
        name: "github",
        try_out: None,
    },
    Pack {
        name: "st2",
        try_out: None,
    },
];

/// Fewer are not enough.
const AT_LEAST: usize = 3;

fn published(name: &str) -> String {
    format!("https://github.com/StackStorm-Exchange/stackstorm-{name}.git")
}

enum Source {
    Found(PathBuf),
    Unreachable(String),
}

/// Brings a pack into a folder of this run.
fn fetch(root: &Path, name: &str) -> anyhow::Result<Source> {
    let folder = root.join("packs").join(name);
    std::fs::create_dir_all(root.join("packs"))?;
    if let Some(given) = std::env::var_os("STACKYARD_TEST_PACKS") {
        let given = PathBuf::from(given).join(name);
        if !given.join("pack.yaml").exists() {
            return Ok(Source::Unreachable(format!(
                "STACKYARD_TEST_PACKS has no {name}"
            )));
        }
        copy(&given, &folder)?;
        if !folder.join(".git").exists() {
            repository(&folder)?;
        }
        return Ok(Source::Found(folder));
    }
    let cloned = output(
        Command::new("git")
            .args(["clone", "-q", "--depth", "1", &published(name)])
            .arg(&folder)
            .env("GIT_TERMINAL_PROMPT", "0"),
    )?;
    Ok(match cloned.status {
        0 => Source::Found(folder),
        _ => Source::Unreachable(format!(
            "git clone {}: {}",
            published(name),
            cloned.stderr.lines().last().unwrap_or_default()
        )),
    })
}

/// An environment with what the pack requires, kept between runs.
fn environment(world: &World, name: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    let source = tests::cluster::source_root();
    let environment = source.join("target/exchange").join(name);
    let complete = environment.join("complete");
    if complete.exists() {
        return Ok(environment);
    }
    let _ = std::fs::remove_dir_all(&environment);
    output(world.client.python().args(["-m", "venv"]).arg(&environment))?.success()?;
    let mut install = Command::new(environment.join("bin/pip"));
    install
        .args(["install", "-q", "--disable-pip-version-check", "-r"])
        .arg(source.join("python/requirements.txt"));
    output(&mut install)?
        .success()
        .context("the base environment")?;
    for file in ["requirements.txt", "requirements-tests.txt"] {
        if folder.join(file).exists() {
            let mut install = Command::new(environment.join("bin/pip"));
            install
                .args(["install", "-q", "--disable-pip-version-check", "-r"])
                .arg(folder.join(file));
            output(&mut install)?
                .success()
                .with_context(|| format!("the {file} of {name}"))?;
        }
    }
    std::fs::write(&complete, "")?;
    Ok(environment)
}

fn unit_tests(world: &World, name: &str, folder: &Path) -> anyhow::Result<()> {
    let environment = environment(world, name, folder)?;
    let source = tests::cluster::source_root();
    let ran = output(
        Command::new(environment.join("bin/python"))
            .args(["-m", "st2tests.run"])
            .arg(folder)
            // A folder named like a module must not be found before it.
            .current_dir(source.join("python"))
            .env("PYTHONPATH", source.join("python"))
            .env("PYTHONDONTWRITEBYTECODE", "1"),
    )?
    .success()?;
    let passed: usize = ran
        .stdout
        .lines()
        .rev()
        .find_map(|line| line.split(" passed").next()?.trim().parse().ok())
        .with_context(|| format!("a summary: {}", ran.stdout))?;
    ensure!(passed > 0, "no test ran: {}", ran.stdout);
    Ok(())
}

async fn installed(world: &World, pack: &Pack, folder: &Path) -> anyhow::Result<()> {
    let source = format!("file://{}", folder.display());
    world.client.ok(&["pack", "install", &source]).await?;
    let actions = world
        .client
        .json(&["action", "list", "-p", pack.name])
        .await?;
    let wanted = std::fs::read_dir(folder.join("actions"))?
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|end| end == "yaml"))
        .count();
    let have = actions.as_array().map_or(0, Vec::len);
    ensure!(have == wanted, "{have} of {wanted} actions are registered");
    if let Some((words, status)) = pack.try_out {
        let execution = world.client.json(words).await?;
        ensure!(execution["status"] == status, "{execution:#}");
    }
    world
        .client
        .ok(&["pack", "remove", pack.name])
        .await
        .map(drop)
}

pub async fn all(world: &World, tally: &mut Tally) {
    if !tests::runner::filters().is_empty()
        && !tests::runner::filters()
            .iter()
            .any(|word| word.contains("exchange"))
    {
        return;
    }
    let (mut ran, mut skipped) = (0, 0);
    for pack in PACKS {
        let folder = match fetch(&world.cluster.root(), pack.name) {
            Ok(Source::Found(folder)) => folder,
            Ok(Source::Unreachable(why)) => {
                skipped += 1;
                println!("SKIPPED exchange_pack_{}: {why}", pack.name);
                continue;
            }
            Err(error) => {
                tally.note(
                    &format!("exchange_pack_{}_is_fetched", pack.name),
                    Err(error),
                );
                continue;
            }
        };
        let tested = tally.note(
            &format!("exchange_pack_{}_passes_its_own_tests", pack.name),
            unit_tests(world, pack.name, &folder),
        );
        let works = tally.note(
            &format!("exchange_pack_{}_installs_unmodified", pack.name),
            installed(world, pack, &folder).await,
        );
        if tested && works {
            ran += 1;
        }
    }
    if skipped == 0 {
        let enough = match ran >= AT_LEAST {
            true => Ok(()),
            false => Err(anyhow::anyhow!("{ran} packs ran, {AT_LEAST} must")),
        };
        tally.note("exchange_packs_are_enough", enough);
    }
}
