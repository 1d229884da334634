//! A disk is full: first the controller's, with its database and its blobs, then the agent's, with its sandboxes.

use crate::world::{SOON, STEADY, World};
use anyhow::{Context, bail, ensure};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::Command;
use tests::apps::push;
use tests::{Load, eventually};

const CONTROLLER: &str = "controller";
const AGENT: &str = "dea-1";

/// Small filesystems, each mounted from a file.
pub struct Disks {
    root: tempfile::TempDir,
    /// Their names and megabytes.
    made: Vec<&'static str>,
}

impl Disks {
    pub fn make() -> anyhow::Result<Disks> {
        let root = tempfile::Builder::new().prefix("yard-disks-").tempdir()?;
        std::fs::set_permissions(
            root.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )?;
        let mut disks = Disks {
            root,
            made: Vec::new(),
        };
        for (name, megabytes) in [(CONTROLLER, 96), (AGENT, 512)] {
            disks.mount(name, megabytes)?;
        }
        Ok(disks)
    }

    fn mount(&mut self, name: &'static str, megabytes: u64) -> anyhow::Result<()> {
        let image = self.root.path().join(format!("{name}.ext4"));
        let folder = self.folder(name);
        std::fs::File::create(&image)?.set_len(megabytes << 20)?;
        std::fs::create_dir(&folder)?;
        // No room is kept for root, whom daemons run as.
        let make: [&std::ffi::OsStr; 4] = [
            "-q".as_ref(),
            "-m".as_ref(),
            "0".as_ref(),
            image.as_os_str(),
        ];
        run("mkfs.ext4", &make)?;
        let mount = [
            "-o".as_ref(),
            "loop".as_ref(),
            image.as_os_str(),
            folder.as_os_str(),
        ];
        run("mount", &mount)?;
        self.made.push(name);
        Ok(())
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// For [`tests::Options::elsewhere`].
    pub fn folders(&self) -> Vec<(&'static str, PathBuf)> {
        let made = self.made.iter();
        made.map(|name| (*name, self.folder(name))).collect()
    }

    fn filling(&self, name: &str) -> PathBuf {
        self.folder(name).join("filling")
    }

    /// Leaves not a byte, for the moment: what somebody removes is free again.
    fn fill(&self, name: &str) -> anyhow::Result<()> {
        let path = self.filling(name);
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)?;
        let mut piece = 1 << 20;
        while piece > 0 {
            match file.write(&vec![b'x'; piece]) {
                Ok(0) => bail!("{} takes nothing", path.display()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => piece /= 2,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("filling a disk"),
            }
        }
        Ok(file.sync_all()?)
    }

    fn free(&self, name: &str) -> anyhow::Result<()> {
        std::fs::remove_file(self.filling(name)).context("making room")
    }

    /// Also after a test that failed in between.
    pub fn make_room(&self) {
        for name in &self.made {
            let _ = std::fs::remove_file(self.filling(name));
        }
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for name in &self.made {
            let _ = run("umount", &[self.folder(name).as_os_str()]);
        }
    }
}

fn run(program: &str, arguments: &[&std::ffi::OsStr]) -> anyhow::Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("running {program}"))?;
    ensure!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

pub async fn a_controller_without_disk_refuses_what_is_new_and_tells_why(
    world: &World,
) -> anyhow::Result<()> {
    let cluster = &world.cluster;
    world.all_ready().await?;
    let before = world.processes()?;
    let load = Load::start(cluster, &cluster.host(STEADY), "/", 1);
    world.disks.fill(CONTROLLER)?;
    let told = async {
        refused(world, CONTROLLER, "refused", &["disk is full"]).await?;
        eventually("the status tells", SOON, || async {
            let status = world.status().await?;
            ensure!(status.contains("controller-1: little room in "), "{status}");
            Ok(())
        })
        .await
    };
    let told = told.await;
    world.disks.free(CONTROLLER)?;
    told?;
    world.pushes("afterwards", &["--memory", "32M"]).await?;
    recovered(world, "controller-1").await?;
    load.stop().await.without_failure(10)?;
    world.all_ready().await?;
    let after = world.processes()?;
    ensure!(before == after, "{before:?} {after:?}");
    let _ = cluster.yard(["delete", "refused", "--force"]).await?;
    Ok(())
}

/// Pushes until that is refused for want of room, in one of these words. What the tests before removed may go only
/// now, and what is free for a moment may be enough for a push.
async fn refused(world: &World, disk: &str, app: &str, words: &[&str]) -> anyhow::Result<()> {
    let folder = world.page(app, 1 << 20);
    eventually("a push is refused", SOON, || async {
        world.disks.fill(disk)?;
        let pushed = push(&world.cluster, app, &folder, &["--memory", "32M"]).await?;
        let told = words.iter().any(|words| pushed.stderr.contains(words));
        ensure!(pushed.status != 0 && told, "{pushed:?}");
        println!(
            "    told: {}",
            pushed.stderr.lines().next().unwrap_or_default()
        );
        Ok(())
    })
    .await
}

/// Both ends of the want of room were told, and there is no word of it any more.
async fn recovered(world: &World, component: &str) -> anyhow::Result<()> {
    let low = world.wait_told("yard.disk.low", component).await?;
    let over = world.wait_told("yard.disk.recovered", component).await?;
    ensure!(low["since"] == over["since"], "{low} {over}");
    let (free, total) = (low["free_bytes"].as_u64(), low["total_bytes"].as_u64());
    ensure!(
        free.zip(total)
            .is_some_and(|(free, total)| free < total / 10),
        "{low}"
    );
    eventually("the status is silent", SOON, || async {
        let status = world.status().await?;
        ensure!(!status.contains("little room"), "{status}");
        Ok(())
    })
    .await
}

pub async fn an_agent_without_disk_serves_on_and_tells_why(world: &World) -> anyhow::Result<()> {
    let cluster = &world.cluster;
    world.all_ready().await?;
    let before = world.processes()?;
    let load = Load::start(cluster, &cluster.host(STEADY), "/", 1);
    world.disks.fill(AGENT)?;
    let told = async {
        eventually("the status tells", SOON, || async {
            let status = world.status().await?;
            ensure!(status.contains("dea-1: little room in "), "{status}");
            Ok(())
        })
        .await?;
        world.wait_told("yard.disk.low", AGENT).await?;
        refused(
            world,
            AGENT,
            "cramped",
            &["No space left on device", " is full"],
        )
        .await
    };
    let told = told.await;
    world.disks.free(AGENT)?;
    told?;
    world.pushes("roomy", &["--memory", "32M"]).await?;
    recovered(world, AGENT).await?;
    load.stop().await.without_failure(10)?;
    world.all_ready().await?;
    let after = world.processes()?;
    ensure!(before == after, "{before:?} {after:?}");
    let _ = cluster.yard(["delete", "cramped", "--force"]).await?;
    Ok(())
}
