//! Roles: which daemons each machine of a cluster is to run.
//!
//! They are data in the cluster store: a document for each machine, written by whoever changes them
//! (the controller for its API, a machine's own node for `yard up`) and followed by the machine's node,
//! which starts and stops daemons until its machine is as written. All writers decide with [`change`],
//! from the documents of all machines, and write only if none of them was changed meanwhile: so that
//! two who each take one of the last two agents away cannot both succeed.
//!
//! A daemon has a number of its own in the whole cluster (`dea-3`), from which its name on the bus, its
//! ports, its addresses and its user ids follow. A role that grows takes the lowest number that is free, one
//! that shrinks gives its highest back.

use crate::bus::Role;
use crate::ids::ComponentId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What machines are to run: under it a [`Roles`] for each, by name.
pub const ROLES: &str = "/stackyard/roles/";
/// What nodes tell of their machines: under it a [`crate::node::NodeReport`] for each, by name.
pub const NODES: &str = "/stackyard/nodes/";
/// The name of the machine that a cluster began on.
pub const FIRST_MACHINE: &str = "machine-1";

/// The roles a machine can have, as they are listed.
pub const EVERY: [Role; 7] = [
    Role::Controller,
    Role::Router,
    Role::Dea,
    Role::HealthManager,
    Role::Stager,
    Role::Collector,
    Role::SshProxy,
];

/// Those that a machine which joined can have. What listens for others (routers, the API, SSH), and what has rows
/// and files of its own, is the first machine's.
pub const JOINED: [Role; 3] = [Role::Dea, Role::HealthManager, Role::Stager];

/// Whether a machine of that name may have the role.
pub fn check_place(machine: &str, role: Role) -> Result<(), Refused> {
    if machine == FIRST_MACHINE || JOINED.contains(&role) {
        return Ok(());
    }
    Err(Refused::FirstOnly {
        machine: machine.to_string(),
        role,
    })
}

/// How many daemons of a role a cluster has at most.
pub fn most(role: Role) -> u32 {
    match role {
        // What their networks and user ids have room for.
        Role::Dea => 16,
        Role::Controller | Role::Router | Role::HealthManager | Role::Stager => 8,
        Role::Collector | Role::SshProxy => 1,
        Role::Registrar | Role::Tool => 0,
    }
}

/// The role of that name, if machines can have it.
pub fn parse(name: &str) -> Result<Role, Refused> {
    EVERY
        .into_iter()
        .find(|role| role.name() == name)
        .ok_or_else(|| Refused::NoRole(name.chars().take(40).collect()))
}

/// Its daemons, in the words of people.
fn people_say(role: Role) -> &'static str {
    match role {
        Role::Controller => "controllers",
        Role::Router => "routers",
        Role::Dea => "agents",
        Role::HealthManager => "health managers",
        Role::Stager => "stagers",
        Role::Collector => "collectors",
        Role::SshProxy => "SSH proxies",
        Role::Registrar | Role::Tool => role.name(),
    }
}

/// What is missed where nobody has the role.
fn missed_without(role: Role) -> &'static str {
    match role {
        Role::Controller => "nothing could be changed, and nothing that dies would be placed again",
        Role::Router => "no app would be reachable",
        Role::Dea => "no app could run",
        Role::HealthManager => "nothing that dies would be started again",
        Role::Stager => "nothing could be staged",
        Role::Collector => "no logs could be read",
        Role::SshProxy => "nobody could enter instances",
        Role::Registrar | Role::Tool => "nothing would be missed",
    }
}

/// The daemons of one machine, by their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct Roles(BTreeMap<Role, BTreeSet<u32>>);

/// As it is written: `{"dea": [1, 2], "router": [1]}`.
type Document = BTreeMap<String, BTreeSet<u32>>;

impl TryFrom<Document> for Roles {
    type Error = Refused;

    fn try_from(document: Document) -> Result<Roles, Refused> {
        let mut roles = Roles::default();
        for (name, numbers) in document {
            let role = parse(&name)?;
            if let Some(wrong) = numbers
                .iter()
                .find(|number| !(1..=most(role)).contains(*number))
            {
                return Err(Refused::NoNumber {
                    role,
                    number: *wrong,
                });
            }
            roles.set(role, numbers);
        }
        Ok(roles)
    }
}

impl From<Roles> for Document {
    fn from(roles: Roles) -> Document {
        let named = roles.0.into_iter();
        named
            .map(|(role, numbers)| (role.name().to_string(), numbers))
            .collect()
    }
}

impl Roles {
    /// Numbered from 1, as on the only machine of a cluster.
    pub fn counted(counts: impl IntoIterator<Item = (Role, u32)>) -> Roles {
        let mut roles = Roles::default();
        for (role, count) in counts {
            roles.set(role, (1..=count).collect());
        }
        roles
    }

    /// One daemon of each role.
    pub fn one_of_each() -> Roles {
        Roles::counted(EVERY.map(|role| (role, 1)))
    }

    fn set(&mut self, role: Role, numbers: BTreeSet<u32>) {
        if numbers.is_empty() {
            self.0.remove(&role);
        } else {
            self.0.insert(role, numbers);
        }
    }

    pub fn add(&mut self, role: Role, number: u32) {
        self.0.entry(role).or_default().insert(number);
    }

    pub fn remove(&mut self, role: Role, number: u32) {
        let mut numbers = self.0.remove(&role).unwrap_or_default();
        numbers.remove(&number);
        self.set(role, numbers);
    }

    pub fn has(&self, role: Role, number: u32) -> bool {
        self.numbers(role).any(|one| one == number)
    }

    pub fn numbers(&self, role: Role) -> impl Iterator<Item = u32> {
        self.0.get(&role).into_iter().flatten().copied()
    }

    pub fn count(&self, role: Role) -> u32 {
        self.numbers(role).count() as u32
    }

    /// Every daemon, role by role.
    pub fn iter(&self) -> impl Iterator<Item = (Role, u32)> {
        EVERY
            .into_iter()
            .flat_map(|role| self.numbers(role).map(move |number| (role, number)))
    }
}

/// The component of a role and a number.
pub fn component(role: Role, number: u32) -> ComponentId {
    ComponentId::new(format!("{}-{number}", role.name()))
        .expect("role names and numbers are made of safe characters")
}

/// What is to become of a role on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    More(u32),
    Fewer(u32),
    Exactly(u32),
}

/// What else decides whether a change may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The controllers' rows are where several can share them.
    pub rows_are_shared: bool,
    /// The last of a role may go.
    pub force: bool,
}

/// Why roles cannot be so; a sentence for whoever asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("{0:?} is no role: roles are {roles}", roles = names())]
    NoRole(String),
    #[error("{role} {number} cannot be: numbers of this role go from 1 to {most}", role = role.name(), most = most(*role))]
    NoNumber { role: Role, number: u32 },
    #[error("there is no machine {0}: `yard node list` shows all")]
    NoMachine(String),
    #[error(
        "{machine} joined the cluster and cannot have {daemons}: they are reached, or keep their files, on {first}; joined machines have the roles {possible}",
        daemons = people_say(*role),
        first = FIRST_MACHINE,
        possible = JOINED.map(Role::name).join(", ")
    )]
    FirstOnly { machine: String, role: Role },
    #[error("{has} {daemons} and {more} more are too many: a cluster has at most {most}", daemons = people_say(*role), most = most(*role))]
    TooMany { role: Role, has: u32, more: u32 },
    #[error("{machine} has {has} {daemons}, of which {fewer} cannot be taken away", daemons = people_say(*role))]
    TooFew {
        machine: String,
        role: Role,
        has: u32,
        fewer: u32,
    },
    #[error(
        "the cluster would have no {daemons}: {without} (--force takes the last one away all the same)",
        daemons = people_say(*role),
        without = missed_without(*role)
    )]
    LastOne { role: Role },
    #[error(
        "{0} controllers need PostgreSQL, which they share, and this cluster has its rows in SQLite, which serves one: `yard up --database-file FILE` names a database for a new cluster"
    )]
    Several(u32),
}

fn names() -> String {
    EVERY.map(Role::name).join(", ")
}

/// The roles that a machine is to have after these wishes.
pub fn change(
    machines: &BTreeMap<String, Roles>,
    machine: &str,
    wishes: &[(Role, Wish)],
    terms: Terms,
) -> Result<Roles, Refused> {
    let mut roles = machines
        .get(machine)
        .cloned()
        .ok_or_else(|| Refused::NoMachine(machine.to_string()))?;
    for (role, wish) in wishes {
        let role = *role;
        let elsewhere: BTreeSet<u32> = machines
            .iter()
            .filter(|(name, _)| *name != machine)
            .flat_map(|(_, roles)| roles.numbers(role))
            .collect();
        let mut numbers: BTreeSet<u32> = roles.numbers(role).collect();
        let has = roles.count(role);
        let wanted = match wish {
            Wish::More(more) => has.saturating_add(*more),
            Wish::Exactly(count) => *count,
            Wish::Fewer(fewer) => has.checked_sub(*fewer).ok_or_else(|| Refused::TooFew {
                machine: machine.to_string(),
                role,
                has,
                fewer: *fewer,
            })?,
        };
        while numbers.len() as u32 > wanted {
            numbers.pop_last();
        }
        let mut free = (1..=most(role)).filter(|number| !elsewhere.contains(number));
        while (numbers.len() as u32) < wanted {
            let number = free
                .find(|number| !numbers.contains(number))
                .ok_or_else(|| Refused::TooMany {
                    role,
                    has: has + elsewhere.len() as u32,
                    more: wanted - has,
                })?;
            numbers.insert(number);
        }
        if wanted > has {
            check_place(machine, role)?;
        }
        let all = numbers.len() + elsewhere.len();
        if all == 0 && has > 0 && !terms.force {
            return Err(Refused::LastOne { role });
        }
        if role == Role::Controller && all > 1 && wanted > has && !terms.rows_are_shared {
            return Err(Refused::Several(all as u32));
        }
        roles.set(role, numbers);
    }
    Ok(roles)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TERMS: Terms = Terms {
        rows_are_shared: false,
        force: false,
    };

    fn machines() -> BTreeMap<String, Roles> {
        BTreeMap::from([
            (FIRST_MACHINE.to_string(), Roles::one_of_each()),
            (
                "machine-2".to_string(),
                Roles::try_from(Document::from([(
                    "dea".to_string(),
                    BTreeSet::from([2, 4]),
                )]))
                .expect("two agents"),
            ),
        ])
    }

    fn changed(machine: &str, role: Role, wish: Wish) -> Result<Vec<u32>, Refused> {
        change(&machines(), machine, &[(role, wish)], TERMS)
            .map(|roles| roles.numbers(role).collect())
    }

    #[test]
    fn a_role_that_grows_takes_the_lowest_free_numbers_of_the_cluster() {
        assert_eq!(
            changed(FIRST_MACHINE, Role::Dea, Wish::More(2)),
            Ok(vec![1, 3, 5])
        );
        assert_eq!(
            changed("machine-2", Role::Dea, Wish::Exactly(3)),
            Ok(vec![2, 3, 4])
        );
        assert_eq!(changed("machine-2", Role::Dea, Wish::Fewer(1)), Ok(vec![2]));
        assert_eq!(
            changed("machine-2", Role::Dea, Wish::Exactly(0)),
            Ok(vec![])
        );
        assert_eq!(
            changed("machine-2", Role::Stager, Wish::More(1)),
            Ok(vec![2])
        );
    }

    #[test]
    fn what_would_hurt_is_refused_with_the_reason() {
        let told = |machine, role, wish| {
            changed(machine, role, wish)
                .expect_err("it is refused")
                .to_string()
        };
        assert_eq!(
            told(FIRST_MACHINE, Role::Router, Wish::Fewer(1)),
            "the cluster would have no routers: no app would be reachable (--force takes the last one away all the same)"
        );
        assert!(
            told(FIRST_MACHINE, Role::Controller, Wish::More(1))
                .starts_with("2 controllers need PostgreSQL")
        );
        assert_eq!(
            told(FIRST_MACHINE, Role::Dea, Wish::More(14)),
            "3 agents and 14 more are too many: a cluster has at most 16"
        );
        assert_eq!(
            told("machine-2", Role::Stager, Wish::Fewer(1)),
            "machine-2 has 0 stagers, of which 1 cannot be taken away"
        );
        assert_eq!(
            told("machine-2", Role::Router, Wish::More(1)),
            "machine-2 joined the cluster and cannot have routers: they are reached, or keep their files, on machine-1; joined machines have the roles dea, health-manager, stager"
        );
        assert!(told("machine-3", Role::Dea, Wish::More(1)).contains("no machine machine-3"));
        assert!(
            parse("tool")
                .expect_err("a stranger")
                .to_string()
                .contains("ssh-proxy")
        );
    }

    #[test]
    fn force_takes_the_last_one_and_postgres_gives_a_second_controller() {
        let all = machines();
        let forced = Terms {
            force: true,
            ..TERMS
        };
        let without = change(
            &all,
            FIRST_MACHINE,
            &[(Role::Router, Wish::Fewer(1))],
            forced,
        );
        assert_eq!(without.map(|roles| roles.count(Role::Router)), Ok(0));
        let shared = Terms {
            rows_are_shared: true,
            ..TERMS
        };
        let two = change(
            &all,
            FIRST_MACHINE,
            &[(Role::Controller, Wish::Exactly(2))],
            shared,
        );
        assert_eq!(two.map(|roles| roles.count(Role::Controller)), Ok(2));
    }

    #[test]
    fn a_document_reads_back_and_a_strange_one_is_refused() {
        let roles = Roles::counted([(Role::Dea, 3), (Role::Router, 1), (Role::Stager, 0)]);
        let text = serde_json::to_string(&roles).expect("a document");
        assert_eq!(text, r#"{"dea":[1,2,3],"router":[1]}"#);
        assert_eq!(
            serde_json::from_str::<Roles>(&text).expect("the same"),
            roles
        );
        for wrong in [r#"{"cook":[1]}"#, r#"{"dea":[0]}"#, r#"{"collector":[2]}"#] {
            assert!(serde_json::from_str::<Roles>(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        /// Whatever is asked of two machines, no number is given twice and no role goes unasked.
        #[test]
        fn numbers_stay_apart(asked in proptest::collection::vec((0..2usize, 0..EVERY.len(), 0..3u8, 0..6u32), 0..30)) {
            let mut all = machines();
            for (machine, role, kind, number) in asked {
                let machine = ["machine-1", "machine-2"][machine];
                let role = EVERY[role];
                let wish = match kind {
                    0 => Wish::More(number),
                    1 => Wish::Fewer(number),
                    _ => Wish::Exactly(number),
                };
                if let Ok(roles) = change(&all, machine, &[(role, wish)], TERMS) {
                    all.insert(machine.to_string(), roles);
                }
                for role in EVERY {
                    let numbers: Vec<u32> = all.values().flat_map(|roles| roles.numbers(role)).collect();
                    let apart: BTreeSet<u32> = numbers.iter().copied().collect();
                    prop_assert_eq!(apart.len(), numbers.len());
                    prop_assert!(!numbers.is_empty() && numbers.len() as u32 <= most(role));
                }
            }
        }
    }
}
