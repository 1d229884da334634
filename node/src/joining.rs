//! `stackyard join`: a machine becomes one of a cluster. It proves its token at the gate and writes down what it is
//! told; the node that is started then does the rest.

use std::io::Read;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use proto::join::{GateAnswer, GateRequest, JoinRequest, Joined, Token};
use proto::node::ClusterFile;

use crate::adapters::files;
use crate::adapters::gate::{source_towards, unix_now};
use crate::adapters::layout::{self, Layout, RUN};
use crate::adapters::link::Caller;

/// What was asked for besides the token.
pub struct Wish {
    pub home: PathBuf,
    pub address: Option<Ipv4Addr>,
    pub zone: Option<String>,
    pub roles: Vec<String>,
}

/// Reads the token from the standard input: an argument would be seen by everybody on the machine.
pub async fn join(wish: Wish) -> anyhow::Result<()> {
    let mut text = String::new();
    std::io::stdin()
        .take(4096)
        .read_to_string(&mut text)
        .context("the token cannot be read")?;
    let token: Token = text.parse()?;
    if let Some(zone) = &wish.zone {
        proto::ids::ComponentId::new(zone.as_str()).context("--zone takes a word")?;
    }
    let home = wish.home;
    if home.join("cluster.json").exists() {
        bail!(
            "{} has a cluster already: `yard destroy --home {}` removes it, or give another --home",
            home.display(),
            home.display()
        );
    }
    if token.expires <= unix_now() {
        bail!("this token has expired: `yard node token` on the first machine prints a new one");
    }
    let address = match wish.address {
        Some(address) => address,
        None => source_towards(*token.gate.ip())
            .with_context(|| format!("nothing leads from here to {}", token.gate.ip()))?,
    };
    if address.is_loopback() || address.is_unspecified() {
        bail!(
            "{address} is no address at which the cluster's routers reach this machine: give one with --address"
        );
    }
    let caller = Caller::new(token.gate, &token.fingerprint)?;
    let request = GateRequest::Join(JoinRequest {
        token: token.id.clone(),
        secret: token.secret.clone(),
        address,
        roles: wish.roles,
    });
    let (answer, _) = caller.ask(&request).await?;
    let GateAnswer::Joined {
        identity,
        cluster,
        standing,
    } = answer
    else {
        bail!("the gate's answer makes no sense: both machines need the same version");
    };
    let machine = identity.machine.to_string();
    let id = layout::new_id();
    let file = ClusterFile {
        run_folder: format!("{RUN}/{id}"),
        id,
        domain: cluster.domain,
        bind: Ipv4Addr::LOCALHOST.to_string(),
        port: cluster.port,
        tls_port: None,
        roles: standing.roles.clone(),
        hosts: false,
        advertise: None,
        joined: Some(Joined {
            cluster: cluster.id,
            gate: token.gate,
            fingerprint: token.fingerprint,
            address,
            zone: wish.zone.unwrap_or_else(|| machine.clone()),
            routers: standing.routers.clone(),
        }),
        machine,
    };
    keep(&home, &file, &identity, &standing).with_context(|| {
        format!("the cluster took this machine as {0}, but that could not be kept here: `yard node remove {0}` on the first machine, then join again", file.machine)
    })
}

fn keep(
    home: &Path,
    file: &ClusterFile,
    identity: &proto::join::Identity,
    standing: &proto::join::Standing,
) -> anyhow::Result<()> {
    files::folder(home, 0o755)?;
    let home =
        &std::fs::canonicalize(home).with_context(|| format!("cannot find {}", home.display()))?;
    let layout = Layout::new(home, file);
    files::folder(&layout.node(), 0o700)?;
    files::write_json(&layout.identity(), identity, 0o600)?;
    files::write_json(&layout.standing(), standing, 0o600)?;
    // Last: with it, the machine is one of the cluster.
    layout::keep_cluster_file(home, file)?;
    Ok(())
}
