//! The OpenSSH client, as anybody has it: the user name names the instance, the password is a code.

use crate::APP;
use crate::yard::WITHIN;
use anyhow::{Context, ensure};
use serde_json::Value;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use tests::{Cluster, eventually};

/// What a client must know.
pub struct Way {
    port: String,
    pub process: String,
    token: String,
    login: String,
    host: String,
}

impl Way {
    pub async fn of(cluster: &Cluster) -> anyhow::Result<Way> {
        // Renews the token if it must be.
        let shown = cluster.ok(["app", APP, "--json"]).await?.json()?;
        let guid = shown["app"]["guid"]
            .as_str()
            .or_else(|| shown["guid"].as_str())
            .context("the guid of the app")?
            .to_string();
        let file = std::fs::read(cluster.root().join("login/config.json"))?;
        let targets: Value = serde_json::from_slice(&file)?;
        let current = targets["current"].as_str().context("a login")?;
        let token = targets["targets"][current]["access_token"]
            .as_str()
            .context("a token")?;
        let root = cluster.body(&cluster.host("api"), "/").await?;
        let root: Value = serde_json::from_str(&root)?;
        let link = &root["links"]["app_ssh"];
        ensure!(link["meta"]["oauth_client"] == "ssh-proxy", "{link}");
        let fingerprint = link["meta"]["host_key_fingerprint"].as_str();
        ensure!(fingerprint.is_some_and(|text| text.len() == 43), "{link}");
        let href = link["href"].as_str().context("the address of the proxy")?;
        let (_, port) = href.rsplit_once(':').context("a port")?;
        Ok(Way {
            port: port.to_string(),
            // The web process of an app has its guid.
            process: guid,
            token: token.to_string(),
            login: format!("http://127.0.0.1:{}", cluster.port),
            host: cluster.host("login"),
        })
    }

    /// As `cf ssh-code` gets one.
    pub async fn code(&self) -> anyhow::Result<String> {
        let answer = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?
            .get(format!(
                "{}/oauth/authorize?response_type=code&client_id=ssh-proxy&grant_type=authorization_code",
                self.login
            ))
            .header("host", &self.host)
            .bearer_auth(&self.token)
            .send()
            .await?;
        ensure!(answer.status() == 302, "{answer:?}");
        let location = answer.headers()["location"].to_str()?;
        let (_, code) = location.split_once("code=").context("a code")?;
        Ok(code.to_string())
    }

    /// `ssh`; what follows is its command.
    pub fn ssh(&self, folder: &Path, code: &str, user: &str) -> anyhow::Result<Command> {
        let mut command = self.client("ssh", folder, code, user)?;
        command.arg("127.0.0.1");
        Ok(command)
    }

    /// A program of OpenSSH, which asks for the password by a program that says the code.
    fn client(
        &self,
        program: &str,
        folder: &Path,
        code: &str,
        user: &str,
    ) -> anyhow::Result<Command> {
        let asked = folder.join("askpass");
        std::fs::write(&asked, format!("#!/bin/sh\necho '{code}'\n"))?;
        std::fs::set_permissions(&asked, std::fs::Permissions::from_mode(0o700))?;
        let mut command = Command::new(program);
        command
            .args(["-F", "none"])
            .args(["-o", &format!("Port={}", self.port)])
            .args(["-o", &format!("User={user}")])
            .args(["-o", "StrictHostKeyChecking=no"])
            .args(["-o", "UserKnownHostsFile=/dev/null"])
            .args(["-o", "PreferredAuthentications=password"])
            .args(["-o", "NumberOfPasswordPrompts=1"])
            .args(["-o", "LogLevel=ERROR"])
            .env("SSH_ASKPASS", asked)
            .env("SSH_ASKPASS_REQUIRE", "force")
            .stdin(Stdio::null());
        Ok(command)
    }

    /// A request of the API.
    pub async fn call(
        &self,
        method: reqwest::Method,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<Value> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let answer = client
            .request(method, format!("{}{path}", self.login))
            .header("host", self.host.replacen("login.", "api.", 1))
            .bearer_auth(&self.token)
            .json(body)
            .send()
            .await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    pub fn user(&self, index: u32) -> String {
        format!("cf:{}/{index}", self.process)
    }
}

/// Runs a program with this input to its end.
pub async fn output(mut command: Command, input: Vec<u8>) -> anyhow::Result<Output> {
    let work = move || -> anyhow::Result<Output> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().context("its input")?;
        let feeding = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output()?;
        let _ = feeding.join();
        Ok(output)
    };
    let done = tokio::time::timeout(WITHIN, tokio::task::spawn_blocking(work));
    done.await.context("ssh did not end in time")??
}

pub async fn openssh_runs_a_command_and_carries_much(cluster: &Cluster) -> anyhow::Result<()> {
    let (way, folder) = (Way::of(cluster).await?, tempfile::tempdir()?);
    let mut ssh = way.ssh(folder.path(), &way.code().await?, &way.user(1))?;
    ssh.arg("echo $CF_INSTANCE_INDEX; exit 3");
    let ended = output(ssh, Vec::new()).await?;
    ensure!(
        ended.status.code() == Some(3) && ended.stdout == b"1\n",
        "{ended:?}"
    );
    let much: Vec<u8> = (0..8_000_000u32)
        .map(|number| (number % 249) as u8)
        .collect();
    let mut ssh = way.ssh(folder.path(), &way.code().await?, &way.user(0))?;
    ssh.arg("cat");
    let ended = output(ssh, much.clone()).await?;
    ensure!(
        ended.stdout == much,
        "{} of {} bytes, {:?}",
        ended.stdout.len(),
        much.len(),
        String::from_utf8_lossy(&ended.stderr)
    );
    Ok(())
}

pub async fn openssh_has_a_terminal(cluster: &Cluster) -> anyhow::Result<()> {
    let (way, folder) = (Way::of(cluster).await?, tempfile::tempdir()?);
    let mut ssh = way.ssh(folder.path(), &way.code().await?, &way.user(0))?;
    ssh.args(["-tt"]).env("TERM", "vt220");
    let typed = b"tty; echo term=$TERM; exit 5\n".to_vec();
    let ended = output(ssh, typed).await?;
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    ensure!(
        ended.status.code() == Some(5) && text.contains("/dev/pts/") && text.contains("term=vt220"),
        "{ended:?}"
    );
    Ok(())
}

/// Ends with the test, whatever becomes of it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub async fn openssh_forwards_a_port(cluster: &Cluster) -> anyhow::Result<()> {
    let (way, folder) = (Way::of(cluster).await?, tempfile::tempdir()?);
    let mut ssh = way.ssh(folder.path(), &way.code().await?, &way.user(1))?;
    let port = tests::cluster::free_port()?;
    ssh.args(["-N", "-L", &format!("127.0.0.1:{port}:localhost:8080")]);
    let _ssh = Running(ssh.spawn()?);
    let client = reqwest::Client::builder().no_proxy().build()?;
    eventually("an answer through the forwarded port", WITHIN, || async {
        let answer = client
            .get(format!("http://127.0.0.1:{port}/"))
            .send()
            .await?;
        let text = answer.text().await?;
        ensure!(text == "one 1\n", "{text}");
        Ok(())
    })
    .await
}

pub async fn scp_copies_files_both_ways(cluster: &Cluster) -> anyhow::Result<()> {
    let (way, folder) = (Way::of(cluster).await?, tempfile::tempdir()?);
    let (here, back) = (folder.path().join("here"), folder.path().join("back"));
    let content: Vec<u8> = (0..1_000_000u32)
        .map(|number| (number % 247) as u8)
        .collect();
    std::fs::write(&here, &content)?;
    let there = "127.0.0.1:brought".to_string();
    let (here, back) = (here.display().to_string(), back.display().to_string());
    for (from, to) in [(&here, &there), (&there, &back)] {
        let mut scp = way.client("scp", folder.path(), &way.code().await?, &way.user(1))?;
        scp.args([from, to]);
        let ended = output(scp, Vec::new()).await?;
        ensure!(ended.status.success(), "{from} to {to}: {ended:?}");
    }
    ensure!(std::fs::read(&back)? == content, "other content");
    let listed = cluster
        .ok(["files", APP, "-i", "1", "--json"])
        .await?
        .json()?;
    let entries = listed["entries"].as_array().context("entries")?;
    let brought = entries.iter().find(|entry| entry["name"] == "brought");
    ensure!(
        brought.is_some_and(|entry| entry["size"] == content.len()),
        "{listed}"
    );
    Ok(())
}

pub async fn a_code_is_good_once(cluster: &Cluster) -> anyhow::Result<()> {
    let (way, folder) = (Way::of(cluster).await?, tempfile::tempdir()?);
    let code = way.code().await?;
    for expected in [true, false] {
        let mut ssh = way.ssh(folder.path(), &code, &way.user(0))?;
        ssh.arg("true");
        let ended = output(ssh, Vec::new()).await?;
        ensure!(ended.status.success() == expected, "{ended:?}");
    }
    for user in [
        "root".to_string(),
        format!("cf:{}", way.process),
        way.user(0),
    ] {
        let mut ssh = way.ssh(folder.path(), "no code", &user)?;
        ssh.arg("true");
        let ended = output(ssh, Vec::new()).await?;
        ensure!(ended.status.code() == Some(255), "{user}: {ended:?}");
    }
    Ok(())
}
