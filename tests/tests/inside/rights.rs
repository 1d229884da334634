//! Who may go inside, what is written down of it, and what stays of a crashed instance.

use crate::APP;
use crate::openssh::Way;
use crate::yard::{WITHIN, inside};
use anyhow::{bail, ensure};
use reqwest::Method;
use serde_json::json;
use tests::apps::wait_running;
use tests::{Cluster, eventually};

pub async fn a_crashed_instance_can_be_looked_into(cluster: &Cluster) -> anyhow::Result<()> {
    inside(cluster, "echo last words > /tmp/left")
        .await?
        .success()?;
    // From inside: which instance a request reaches is the router's choice. The session dies with the app.
    inside(
        cluster,
        "exec 3<>/dev/tcp/localhost/8080; printf 'GET /crash HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3",
    )
    .await?;
    eventually("what was kept of the crashed instance", WITHIN, || async {
        let output = cluster
            .yard(["ssh", APP, "--crashed", "-c", "cat /tmp/left; id -u"])
            .await?;
        if output.status != 0 || output.stdout != "last words\n2000\n" {
            bail!("{output:?}");
        }
        Ok(())
    })
    .await?;
    let kept = async || -> anyhow::Result<()> {
        let output = cluster
            .yard(["files", APP, "--crashed", "/tmp/left"])
            .await?;
        ensure!(output.stdout == "last words\n", "{output:?}");
        Ok(())
    };
    kept().await?;
    // It is the machine's, not the agent's: another agent finds it.
    let old = cluster.kill("dea-1")?;
    cluster.wait_restarted("dea-1", old).await?;
    eventually("the same after the agent's death", WITHIN, kept).await?;
    wait_running(cluster, APP, 2, WITHIN).await?;
    let fresh = inside(cluster, "test -e /tmp/left").await?;
    ensure!(fresh.status == 1, "{fresh:?}");
    Ok(())
}

pub async fn a_switch_and_a_role_decide(cluster: &Cluster) -> anyhow::Result<()> {
    let way = Way::of(cluster).await?;
    let events = cluster.ok(["events", APP, "--json"]).await?;
    ensure!(
        events.stdout.contains("audit.app.ssh-authorized"),
        "{events:?}"
    );
    let feature = format!("/v3/apps/{}/features/ssh", way.process);
    let switch = async |enabled: bool| -> anyhow::Result<()> {
        let body = json!({"enabled": enabled});
        let answer = way.call(Method::PATCH, &feature, &body).await?;
        ensure!(answer["enabled"] == enabled, "{answer}");
        Ok(())
    };
    switch(false).await?;
    let output = inside(cluster, "id").await?;
    ensure!(
        output.status == 3 && output.stderr.contains("Disabled for app"),
        "{output:?}"
    );
    // Who does not ask first is refused by the proxy.
    let folder = tempfile::tempdir()?;
    let mut ssh = way.ssh(folder.path(), &way.code().await?, &way.user(0))?;
    ssh.arg("true");
    let ended = tokio::task::spawn_blocking(move || ssh.output()).await??;
    ensure!(ended.status.code() == Some(255), "{ended:?}");
    let events = cluster.ok(["events", APP, "--json"]).await?;
    ensure!(
        events.stdout.contains("audit.app.ssh-unauthorized"),
        "{events:?}"
    );
    switch(true).await?;
    inside(cluster, "true").await?.success()?;
    Ok(())
}
