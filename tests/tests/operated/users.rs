//! A second user of the machine, who starts the cluster with sudo and then works as himself.

use anyhow::{Context, bail, ensure};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tests::Cluster;
use tests::cluster::programs;
use tests::runner::skipped;

const SUDO: &str = "/usr/bin/sudo";

/// A user that exists as long as this does.
struct TemporaryUser {
    name: String,
    uid: u32,
    gid: u32,
    home: PathBuf,
}

impl TemporaryUser {
    fn create(name: &str, folder: &Path) -> anyhow::Result<TemporaryUser> {
        let home = folder.join(name);
        let output = Command::new("useradd")
            .args(["--create-home", "--shell", "/bin/sh", "--home-dir"])
            .args([&home, Path::new(name)])
            .output()
            .context("useradd")?;
        ensure!(
            output.status.success(),
            "useradd: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let user = nix::unistd::User::from_name(name)?.context("the new user is known")?;
        Ok(TemporaryUser {
            name: name.to_string(),
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            home,
        })
    }

    /// A program as this user runs it.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .uid(self.uid)
            .gid(self.gid)
            .current_dir(&self.home)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", &self.home)
            .env("USER", &self.name);
        command
    }

    /// The one thing that this user may do as root.
    fn sudo_rule(&self) -> PathBuf {
        Path::new("/etc/sudoers.d").join(&self.name)
    }

    /// `sudo PROGRAM` as this user types it; where there is no sudo, with the environment that it
    /// would make.
    fn sudo(&self, program: &Path) -> anyhow::Result<Command> {
        if Path::new(SUDO).exists() {
            let rule = format!("{} ALL=(root) NOPASSWD: {}\n", self.name, program.display());
            std::fs::write(self.sudo_rule(), rule)?;
            std::fs::set_permissions(self.sudo_rule(), std::fs::Permissions::from_mode(0o440))?;
            let mut command = self.command(SUDO);
            command.arg("-n").arg(program);
            return Ok(command);
        }
        let mut command = Command::new(program);
        command
            .current_dir(&self.home)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", "/root")
            .env("USER", "root")
            .env("LOGNAME", "root")
            .env("SUDO_USER", &self.name)
            .env("SUDO_UID", self.uid.to_string())
            .env("SUDO_GID", self.gid.to_string())
            .env("SUDO_COMMAND", program);
        Ok(command)
    }
}

impl Drop for TemporaryUser {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.sudo_rule());
        let removed = Command::new("userdel").arg(&self.name).output();
        if !removed.is_ok_and(|output| output.status.success()) {
            eprintln!("the user {} could not be removed", self.name);
        }
    }
}

fn json(output: Output) -> anyhow::Result<serde_json::Value> {
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    if !output.status.success() {
        bail!("{}\n{stdout}\n{stderr}", output.status);
    }
    serde_json::from_str(&stdout).with_context(|| format!("{stdout}\n{stderr}"))
}

/// Everything in a folder, with itself.
fn all_below(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_path_buf()];
    if path.is_dir() && !path.is_symlink() {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            found.extend(all_below(&entry.path()));
        }
    }
    found
}

pub async fn a_second_user_is_logged_in_through_sudo(cluster: &Cluster) -> anyhow::Result<()> {
    let tool = Path::new("/usr/sbin/useradd");
    if !tool.exists() {
        skipped(
            "a_second_user_is_logged_in_through_sudo",
            "there is no useradd on this machine",
        );
        return Ok(());
    }
    if !Path::new(SUDO).exists() {
        skipped(
            "the_real_sudo",
            "there is none on this machine; the environment that it makes is used instead",
        );
    }
    // Where the second user can reach them: the source tree may be in somebody's home.
    let folder = cluster.root().join("programs");
    std::fs::create_dir_all(&folder)?;
    let yard = folder.join("yard");
    std::fs::copy(programs().join("yard"), &yard)?;
    symlink(programs().join("stackyard"), folder.join("stackyard"))?;
    let user = TemporaryUser::create(&format!("yard-{}", cluster.port), &cluster.root())?;

    let up = json(
        user.sudo(&yard)?
            .args(cluster.up_arguments())
            .arg("--json")
            .output()?,
    )?;
    ensure!(
        up["logged_in"] == true && up["cluster"] == cluster.cluster_file()?.id.as_str(),
        "{up}"
    );
    for (path, mode) in [
        (".yard", 0o700),
        (".yard/config.json", 0o600),
        (".yard/config.lock", 0o600),
    ] {
        let found = std::fs::metadata(user.home.join(path)).context(path)?;
        ensure!(
            (found.uid(), found.gid(), found.mode() & 0o777) == (user.uid, user.gid, mode),
            "{path} is of {}:{}, mode {:o}",
            found.uid(),
            found.gid(),
            found.mode()
        );
    }
    for path in all_below(&user.home) {
        let owner = std::fs::symlink_metadata(&path)?.uid();
        ensure!(owner == user.uid, "{} is of user {owner}", path.display());
    }
    // From here on he works as himself, and his commands change nothing of root's.
    let apps = json(user.command(&yard).args(["apps", "--json"]).output()?)?;
    ensure!(apps.is_array(), "{apps}");
    let target = json(user.command(&yard).args(["target", "--json"]).output()?)?;
    ensure!(
        target["user"] == "admin" && target["space"]["name"] == "default",
        "{target}"
    );
    let refused = user
        .command(&yard)
        .args(["down", "--home"])
        .arg(&cluster.home)
        .output()?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        refused.status.code() == Some(3) && said.contains("sudo"),
        "without sudo he may not stop the cluster: {said}"
    );
    let password = user
        .command("cat")
        .arg(cluster.home.join("admin-password"))
        .output()?;
    ensure!(
        !password.status.success(),
        "the admin's password is root's alone"
    );
    // Under sudo his login is used too, and stays his.
    let status = json(
        user.sudo(&yard)?
            .args(["status", "--json", "--home"])
            .arg(&cluster.home)
            .output()?,
    )?;
    ensure!(status["healthy"] == true, "{status}");
    let owner = std::fs::metadata(user.home.join(".yard/config.json"))?.uid();
    ensure!(owner == user.uid, "his login is of user {owner}");
    Ok(())
}
