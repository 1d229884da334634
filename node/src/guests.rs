//! What the first machine does for machines that join.
//!
//! ```text
//! Join      ──► a name, a key, roles in the store ──► logins of bus and store for its daemons
//! Standing  ──► logins follow the roles: new ones are made, those of daemons that ended are withdrawn
//! Leave     ──► its roles are taken away; its node empties and stops what it has
//! Farewell, `yard node remove` ──► key and logins are withdrawn, its connections end
//! ```
//!
//! The record on the disk goes first each time: of two steps between which the node dies, the first is the one that
//! nobody can take advantage of.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use daemon::Write;
use proto::bus::Role;
use proto::ids::ComponentId;
use proto::join::{GateAnswer, Identity, JoinRequest, JoinedCluster, Refused, Standing};
use proto::roles::{self, FIRST_MACHINE, NODES, ROLES, Roles, Terms, Wish};
use tracing::{info, warn};

use crate::adapters::gate::{self, Gate};
use crate::adapters::{files, layout, neighbours, wire};
use crate::domain::cast;
use crate::domain::machines::{NotAllowed, joined_roles, offered};
use crate::plan::machine_secret;
use crate::recast::{ATTEMPTS, Guest, Place, Recast};

impl Recast<'_> {
    fn gate(&self) -> anyhow::Result<std::sync::Arc<Gate>> {
        match &self.place {
            Place::First(Some(gate)) => Ok(gate.clone()),
            Place::First(None) => bail!(gate::no_gate()),
            Place::Joined(_) => {
                bail!("this machine joined a cluster: ask on its first machine")
            }
        }
    }

    /// Whoever is at the gate was examined there.
    pub(crate) async fn receive(&mut self, guest: Guest) -> GateAnswer {
        let result = match guest {
            Guest::Join(request) => self.admit(request).await,
            Guest::Standing { machine, holds } => self
                .standing(&machine, &holds)
                .await
                .map(GateAnswer::Standing),
            Guest::Leave(machine) => self
                .write_roles(&machine, None)
                .await
                .map(|_| GateAnswer::Done),
            Guest::Farewell(machine) => self.withdraw(&machine).await.map(|()| GateAnswer::Done),
        };
        result.unwrap_or_else(|error| {
            let why = format!("{error:#}");
            warn!(%why, "a machine at the gate is refused");
            GateAnswer::Refused(Refused {
                why,
                withdrawn: false,
            })
        })
    }

    async fn admit(&mut self, request: JoinRequest) -> anyhow::Result<GateAnswer> {
        let gate = self.gate()?;
        let digest = wire::digest_of(request.secret.as_bytes());
        let allowed = gate
            .records
            .lock()
            .proven(&request.token, &digest, gate::unix_now())?;
        let wanted = chosen(&allowed, &request.roles)?;
        let stored = self.stored().await?;
        let name = gate
            .records
            .lock()
            .free_name(stored.machines.keys().map(String::as_str));
        let key = layout::secret();
        gate.records.change(|machines| {
            let digest = wire::digest_of(key.as_bytes());
            machines.admit(
                &request.token,
                &name,
                digest,
                request.address,
                gate::unix_now(),
            );
        })?;
        let entered = async {
            neighbours::keep_apart(&self.plan.file.id, &gate.records).await?;
            self.write_roles(&name, Some(&wanted)).await?;
            self.standing(&name, &Roles::default()).await
        };
        let standing = match entered.await {
            Ok(standing) => standing,
            Err(error) => {
                // Nobody has its key: it goes again. The token is used up, as if it had been lost on the way.
                if let Err(error) = self.withdraw(&name).await {
                    warn!(error = %format!("{error:#}"), machine = %name, "a machine that could not join stays on record: `yard node remove` takes it away");
                }
                return Err(error.context("the machine could not be entered"));
            }
        };
        info!(machine = %name, address = %request.address, "a machine joined the cluster");
        Ok(GateAnswer::Joined {
            identity: Identity {
                machine: ComponentId::new(name).context("the name of a machine")?,
                key,
            },
            cluster: JoinedCluster {
                id: self.plan.file.id.clone(),
                domain: self.plan.file.domain.clone(),
                port: self.plan.file.port,
            },
            standing,
        })
    }

    /// Which of these still run on a machine that joined: they are not started here before they have ended there.
    pub(crate) fn elsewhere(&self, parts: &[cast::Part]) -> Vec<cast::Part> {
        let Place::First(Some(gate)) = &self.place else {
            return Vec::new();
        };
        let guests: Vec<cast::Part> = cast::daemons(&gate.records.lock().guests()).collect();
        parts
            .iter()
            .filter(|part| guests.contains(part))
            .cloned()
            .collect()
    }

    /// How the machine stands, its logins made or withdrawn accordingly.
    async fn standing(&mut self, machine: &str, holds: &Roles) -> anyhow::Result<Standing> {
        let gate = self.gate()?;
        let stored = self.stored().await?;
        let roles = stored.machines.get(machine).cloned().unwrap_or_default();
        let (before, address) = {
            let records = gate.records.lock();
            let record = records.get(machine).context("the machine was removed")?;
            (record.daemons.clone(), record.address)
        };
        let changed = gate
            .records
            .change(|machines| machines.grant(machine, &roles, holds, &self.plan.file.roles))?;
        if changed {
            self.replan(self.plan.file.roles.clone())?;
        }
        let granted = gate
            .records
            .lock()
            .get(machine)
            .map(|record| record.daemons.clone())
            .unwrap_or_default();
        if self.prepared.get(machine) != Some(&granted) {
            let mut users = vec![self.plan.machine_user(machine)];
            users.extend(cast::daemons(&granted).filter_map(|part| self.plan.store_user(&part)));
            self.plan.prepare_store(&users).await?;
            self.prepared.insert(machine.to_string(), granted.clone());
        }
        let still: Vec<cast::Part> = cast::daemons(&granted).collect();
        let ended: Vec<cast::Part> = cast::daemons(&before)
            .filter(|part| !still.contains(part))
            .collect();
        self.forget(machine, &ended, false).await?;
        let daemons = cast::daemons(&granted).filter_map(|part| part.component());
        Ok(Standing {
            roles,
            services: offered(&granted, &gate.services()),
            store_password: self.plan.machine_user(machine).password,
            logins: daemons
                .map(|daemon| {
                    let login = self.plan.login(&daemon);
                    (daemon, login)
                })
                .collect(),
            routers: routers_towards(address, &gate),
        })
    }

    /// Writes what a joined machine is to run: these roles, or none any more.
    async fn write_roles(&self, machine: &str, wanted: Option<&[Role]>) -> anyhow::Result<()> {
        let terms = Terms {
            rows_are_shared: self.plan.rows_are_shared(),
            force: false,
        };
        for _ in 0..ATTEMPTS {
            let stored = self.stored().await?;
            let mut machines = stored.machines.clone();
            let had = machines.entry(machine.to_string()).or_default().clone();
            let wishes: Vec<(Role, Wish)> = match wanted {
                Some(roles) => roles.iter().map(|role| (*role, Wish::Exactly(1))).collect(),
                None => roles::JOINED
                    .into_iter()
                    .filter(|role| had.count(*role) > 0)
                    .map(|role| (role, Wish::Exactly(0)))
                    .collect(),
            };
            let value = roles::change(&machines, machine, &wishes, terms)?;
            let key = format!("{ROLES}{machine}");
            let mut seen = stored.seen;
            if !seen.iter().any(|(known, _)| *known == key) {
                seen.push((key.clone(), None));
            }
            let write = Write::Put {
                key,
                value: serde_json::to_string(&value)?,
            };
            if self.cluster.transact(&seen, &[write]).await?.is_some() {
                return Ok(());
            }
        }
        bail!("the roles of the cluster change all the time: try again")
    }

    /// `yard node remove`.
    pub(crate) async fn remove(&mut self, machine: &str, force: bool) -> anyhow::Result<()> {
        let gate = self.gate()?;
        if machine == FIRST_MACHINE {
            bail!("{FIRST_MACHINE} is where the cluster began: it cannot be removed from it");
        }
        let known = gate.records.lock().get(machine).is_some()
            || self.stored().await?.machines.contains_key(machine);
        if !known {
            bail!(roles::Refused::NoMachine(machine.to_string()));
        }
        let connections = gate.connections(machine);
        if connections > 0 && !force {
            bail!(
                "{machine} is connected: `yard node leave` there empties it first; --force cuts it off now, and what it has is started elsewhere"
            );
        }
        self.withdraw(machine).await?;
        info!(
            machine,
            connections, "a machine was removed from the cluster"
        );
        Ok(())
    }

    /// Its key, its connections, its logins, its roles: in this order, none of which needs the next.
    async fn withdraw(&mut self, machine: &str) -> anyhow::Result<()> {
        let gate = self.gate()?;
        let removed = gate.records.change(|machines| machines.remove(machine))?;
        gate.cut(machine);
        self.prepared.remove(machine);
        let daemons = removed.map(|machine| machine.daemons).unwrap_or_default();
        self.replan(self.plan.file.roles.clone())?;
        let daemons: Vec<cast::Part> = cast::daemons(&daemons).collect();
        self.forget(machine, &daemons, true).await?;
        let writes = [ROLES, NODES].map(|prefix| Write::Delete {
            key: format!("{prefix}{machine}"),
        });
        self.cluster.transact(&[], &writes).await?;
        neighbours::keep_apart(&self.plan.file.id, &gate.records).await
    }

    /// Takes the users of these daemons, and of the machine itself, out of the store, and their passwords out of ours:
    /// whoever gets their numbers next has others.
    async fn forget(
        &mut self,
        machine: &str,
        daemons: &[cast::Part],
        itself: bool,
    ) -> anyhow::Result<()> {
        if daemons.is_empty() && !itself {
            return Ok(());
        }
        let path = self.plan.layout.secrets();
        let mut secrets: BTreeMap<String, String> = files::read_json(&path)?.unwrap_or_default();
        let mut names = Vec::new();
        let mut users = Vec::new();
        for daemon in daemons {
            let Some(id) = daemon.component() else {
                continue;
            };
            names.extend([format!("{id}-bus"), format!("{id}-store")]);
            users.push(id.to_string());
        }
        if itself {
            names.push(machine_secret(machine));
            users.push(machine.to_string());
        }
        self.plan.dismiss(&users).await?;
        let had = secrets.len();
        secrets.retain(|name, _| !names.contains(name));
        if secrets.len() != had {
            files::write_json(&path, &secrets, 0o600)?;
        }
        Ok(())
    }
}

/// What a machine that joins is to run: what it wishes, or all that its token allows.
fn chosen(allowed: &[Role], wished: &[String]) -> Result<Vec<Role>, NotAllowed> {
    if wished.is_empty() {
        return Ok(allowed.to_vec());
    }
    let wished = joined_roles(wished)?;
    match wished.iter().find(|role| !allowed.contains(role)) {
        None => Ok(wished),
        Some(role) => Err(NotAllowed::OtherRole {
            role: role.name().to_string(),
            allowed: allowed
                .iter()
                .map(|role| role.name())
                .collect::<Vec<_>>()
                .join(", "),
        }),
    }
}

/// From where our routers come to that address.
fn routers_towards(address: std::net::Ipv4Addr, gate: &Gate) -> Vec<std::net::Ipv4Addr> {
    let mut routers = vec![*gate.address.ip()];
    if let Ok(source) = gate::source_towards(address)
        && !routers.contains(&source)
    {
        routers.push(source);
    }
    routers
}
