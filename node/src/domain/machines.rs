//! The machines that joined this cluster, and the tokens by which others may.
//!
//! Of tokens and keys only digests are kept: whoever reads the record cannot join with it, nor connect. What was given
//! to a machine is in it too ([`Machine::daemons`]): nobody gets the logins of a daemon that was never his.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use proto::bus::Role;
use proto::join::Standing;
use proto::roles::{self, JOINED, Roles, check_place};
use serde::{Deserialize, Serialize};

/// A token that was used is remembered for a while after its time, so that a second use is told from a wrong one.
const REMEMBERED_S: u64 = 24 * 3600;
/// So many tokens may be open at once.
const MOST_TOKENS: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Machines {
    tokens: BTreeMap<String, KeptToken>,
    machines: BTreeMap<String, Machine>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptToken {
    secret_digest: String,
    /// Unix seconds.
    expires: u64,
    roles: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used_by: Option<String>,
}

/// One that joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    key_digest: String,
    /// Where routers reach its instances.
    pub address: Ipv4Addr,
    /// Unix seconds.
    pub joined_at: u64,
    /// Whose logins it was given.
    #[serde(default)]
    pub daemons: Roles,
}

/// Why somebody is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotBelieved {
    #[error("this token is not known: `yard node token` on the first machine prints a new one")]
    NoToken,
    #[error(
        "this token was used already, by {0}: each is for one machine, `yard node token` prints another"
    )]
    Used(String),
    #[error("this token has expired: `yard node token` on the first machine prints a new one")]
    Expired,
    #[error("the cluster knows no machine {0} with this key: it was removed, or has joined anew")]
    NoMachine(String),
    #[error("too many proofs from this address have failed: wait a minute")]
    NotHeard,
}

/// Why a token cannot be made or used so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    #[error(transparent)]
    Role(#[from] roles::Refused),
    #[error(
        "this token is for {allowed}, not for {role}: `yard node token --role {role}` prints one that is"
    )]
    OtherRole { role: String, allowed: String },
    #[error("{MOST_TOKENS} tokens are open: wait until some have expired")]
    Crowd,
}

/// The roles of a joined machine that these words name; none at all are an agent's.
pub fn joined_roles(words: &[String]) -> Result<Vec<Role>, NotAllowed> {
    let mut named = BTreeSet::new();
    for word in words {
        let role = roles::parse(word)?;
        check_place("a machine that joins", role)?;
        named.insert(role);
    }
    if named.is_empty() {
        named.insert(Role::Dea);
    }
    Ok(JOINED
        .into_iter()
        .filter(|role| named.contains(role))
        .collect())
}

impl Machines {
    /// Remembers a new token.
    pub fn issue(
        &mut self,
        id: &str,
        secret_digest: String,
        expires: u64,
        roles: &[Role],
        now: u64,
    ) -> Result<(), NotAllowed> {
        self.tokens
            .retain(|_, token| token.expires + REMEMBERED_S > now);
        let open = |token: &&KeptToken| token.used_by.is_none() && token.expires > now;
        if self.tokens.values().filter(open).count() >= MOST_TOKENS {
            return Err(NotAllowed::Crowd);
        }
        let token = KeptToken {
            secret_digest,
            expires,
            roles: roles.iter().map(|role| role.name().to_string()).collect(),
            used_by: None,
        };
        self.tokens.insert(id.to_string(), token);
        Ok(())
    }

    /// The roles that the token allows. A wrong secret is as good as an unknown token, also for one that was used.
    pub fn proven(
        &self,
        id: &str,
        secret_digest: &str,
        now: u64,
    ) -> Result<Vec<Role>, NotBelieved> {
        let token = self
            .tokens
            .get(id)
            .filter(|token| token.secret_digest == secret_digest)
            .ok_or(NotBelieved::NoToken)?;
        if let Some(machine) = &token.used_by {
            return Err(NotBelieved::Used(machine.clone()));
        }
        if token.expires <= now {
            return Err(NotBelieved::Expired);
        }
        Ok(token
            .roles
            .iter()
            .filter_map(|name| roles::parse(name).ok())
            .collect())
    }

    /// Enters the machine; the token is used.
    pub fn admit(
        &mut self,
        token: &str,
        name: &str,
        key_digest: String,
        address: Ipv4Addr,
        now: u64,
    ) {
        if let Some(token) = self.tokens.get_mut(token) {
            token.used_by = Some(name.to_string());
        }
        let machine = Machine {
            key_digest,
            address,
            joined_at: now,
            daemons: Roles::default(),
        };
        self.machines.insert(name.to_string(), machine);
    }

    /// The machine of that name, if this is its key.
    pub fn believed(&self, name: &str, key_digest: &str) -> Result<&Machine, NotBelieved> {
        self.machines
            .get(name)
            .filter(|machine| machine.key_digest == key_digest)
            .ok_or_else(|| NotBelieved::NoMachine(name.to_string()))
    }

    pub fn get(&self, name: &str) -> Option<&Machine> {
        self.machines.get(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.machines.keys().map(String::as_str)
    }

    /// Where their instances are reached, each address once.
    pub fn addresses(&self) -> Vec<Ipv4Addr> {
        let addresses: BTreeSet<Ipv4Addr> = self
            .machines
            .values()
            .map(|machine| machine.address)
            .collect();
        addresses.into_iter().collect()
    }

    /// Withdraws its identity; gives what it had.
    pub fn remove(&mut self, name: &str) -> Option<Machine> {
        self.machines.remove(name)
    }

    /// Whose logins the machine has from now on: of what it is to run, and of what it still runs and was given. What
    /// still ends elsewhere, on another machine or `here`, it gets when it asks the next time: nobody is twice on the
    /// bus. True if that is another set than before.
    pub fn grant(&mut self, name: &str, wanted: &Roles, holds: &Roles, here: &Roles) -> bool {
        let others: Vec<&Machine> = self
            .machines
            .iter()
            .filter(|(other, _)| *other != name)
            .map(|(_, machine)| machine)
            .collect();
        let free = |role: Role, number: u32| {
            !here.has(role, number) && !others.iter().any(|other| other.daemons.has(role, number))
        };
        let mut daemons = Roles::default();
        for (role, number) in wanted.iter() {
            if JOINED.contains(&role) && free(role, number) {
                daemons.add(role, number);
            }
        }
        let Some(machine) = self.machines.get_mut(name) else {
            return false;
        };
        for (role, number) in holds.iter() {
            if machine.daemons.has(role, number) {
                daemons.add(role, number);
            }
        }
        let changed = machine.daemons != daemons;
        machine.daemons = daemons;
        changed
    }

    /// All daemons that run on joined machines.
    pub fn guests(&self) -> Roles {
        let mut guests = Roles::default();
        for machine in self.machines.values() {
            for (role, number) in machine.daemons.iter() {
                guests.add(role, number);
            }
        }
        guests
    }

    /// A name that no machine has, had (its token says so) or is written of.
    pub fn free_name<'a>(&'a self, written: impl Iterator<Item = &'a str>) -> String {
        let had = self
            .tokens
            .values()
            .filter_map(|token| token.used_by.as_deref());
        let taken: BTreeSet<&str> = written.chain(had).chain(self.names()).collect();
        (2..)
            .map(|number: u32| format!("machine-{number}"))
            .find(|name| !taken.contains(name.as_str()))
            .unwrap_or_default()
    }
}

/// What of the first machine's services a machine with these daemons is connected to.
pub fn offered(daemons: &Roles, services: &BTreeMap<String, u16>) -> BTreeMap<String, u16> {
    let of_agents = [proto::join::ROUTER, proto::join::SSH_CALLS];
    let for_it = |name: &str| !of_agents.contains(&name) || daemons.count(Role::Dea) > 0;
    services
        .iter()
        .filter(|(name, _)| for_it(name))
        .map(|(name, port)| (name.clone(), *port))
        .collect()
}

/// What a joined machine keeps of its standing on its disk: the passwords, by the names of its secrets.
pub fn secrets(standing: &Standing) -> BTreeMap<String, String> {
    let mut secrets = BTreeMap::from([("node-store".to_string(), standing.store_password.clone())]);
    for (daemon, login) in &standing.logins {
        secrets.insert(format!("{daemon}-bus"), login.bus.clone());
        secrets.insert(format!("{daemon}-store"), login.store.clone());
    }
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

    fn with_token() -> Machines {
        let mut machines = Machines::default();
        machines
            .issue("t", "digest".into(), 100, &[Role::Dea], 10)
            .expect("a token");
        machines
    }

    #[test]
    fn a_token_works_once_in_its_time_and_for_who_knows_it() {
        let mut machines = with_token();
        assert_eq!(machines.proven("t", "digest", 99), Ok(vec![Role::Dea]));
        assert_eq!(
            machines.proven("t", "digest", 100),
            Err(NotBelieved::Expired)
        );
        for (id, secret) in [("t", "other"), ("u", "digest")] {
            assert_eq!(machines.proven(id, secret, 50), Err(NotBelieved::NoToken));
        }
        machines.admit("t", "machine-2", "key".into(), HERE, 50);
        let used = Err(NotBelieved::Used("machine-2".into()));
        assert_eq!(machines.proven("t", "digest", 50), used);
        assert_eq!(machines.proven("t", "other", 50), Err(NotBelieved::NoToken));
    }

    #[test]
    fn a_key_is_believed_until_it_is_withdrawn() {
        let mut machines = with_token();
        machines.admit("t", "machine-2", "key".into(), HERE, 50);
        assert!(machines.believed("machine-2", "key").is_ok());
        assert!(machines.believed("machine-2", "other").is_err());
        assert!(machines.remove("machine-2").is_some());
        assert_eq!(
            machines.believed("machine-2", "key").map(|_| ()),
            Err(NotBelieved::NoMachine("machine-2".into()))
        );
        assert_eq!(machines.free_name(["machine-1"].into_iter()), "machine-3");
    }

    #[test]
    fn nobody_gets_logins_that_were_never_his() {
        let mut machines = with_token();
        machines.admit("t", "machine-2", "key".into(), HERE, 50);
        let wanted = Roles::counted([(Role::Dea, 2), (Role::Router, 1)]);
        let all = Roles::counted([(Role::Dea, 3), (Role::Controller, 1)]);
        let none = Roles::default();
        assert!(machines.grant("machine-2", &wanted, &all, &none));
        assert_eq!(machines.guests(), Roles::counted([(Role::Dea, 2)]));
        let one = Roles::counted([(Role::Dea, 1)]);
        assert!(
            !machines.grant("machine-2", &one, &all, &none),
            "dea-2 still runs there"
        );
        assert!(machines.grant("machine-2", &one, &one, &none));
        assert_eq!(machines.guests(), one);
        assert!(!machines.grant("machine-3", &one, &one, &none));
    }

    #[test]
    fn a_daemon_that_still_ends_elsewhere_is_given_to_nobody() {
        let mut machines = with_token();
        machines.admit("t", "machine-2", "key".into(), HERE, 50);
        machines.admit("t", "machine-3", "key".into(), HERE, 50);
        let (one, none) = (Roles::counted([(Role::Dea, 1)]), Roles::default());
        assert!(
            !machines.grant("machine-2", &one, &none, &one),
            "it ends here"
        );
        assert!(machines.grant("machine-2", &one, &none, &none));
        assert!(!machines.grant("machine-3", &one, &none, &none));
        assert!(machines.grant("machine-2", &none, &none, &none));
        assert!(machines.grant("machine-3", &one, &none, &none));
    }

    #[test]
    fn a_joined_machine_has_roles_that_nobody_listens_for() {
        let words = |words: &[&str]| {
            words
                .iter()
                .map(|word| word.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(joined_roles(&[]), Ok(vec![Role::Dea]));
        assert_eq!(
            joined_roles(&words(&["stager", "dea", "dea"])),
            Ok(vec![Role::Dea, Role::Stager])
        );
        let told = |word| joined_roles(&words(&[word])).map_err(|error| error.to_string());
        assert!(told("router").is_err_and(|why| why.contains("cannot have routers")));
        assert!(told("cook").is_err_and(|why| why.contains("no role")));
    }

    #[test]
    fn only_agents_are_led_to_the_router() {
        let all = BTreeMap::from([("nats".to_string(), 1), ("router".to_string(), 2)]);
        assert_eq!(offered(&Roles::counted([(Role::Dea, 1)]), &all), all);
        assert_eq!(offered(&Roles::counted([(Role::Stager, 1)]), &all).len(), 1);
    }
}
