//! Quotas: how much the apps, routes, domains and services of an organization or of a space may come to.
//!
//! Problem: many operations make something grow (start, scale, a manifest, a deployment, a route), and each
//! knows only its own part. Approach: none of them counts. What is there is read before and after the change, in
//! the transaction that changes it; [`exceeded`] compares the two [`Usage`]s with the [`Limits`]. Whatever an
//! operation does on its way, what it comes to is what is judged.
//!
//! Only growth is refused. A quota that was made smaller than what runs stops nothing, and who is above it may
//! still scale in, restart or delete.
//!
//! What is counted: memory and instances of started apps, and running tasks. While a deployment replaces
//! instances, the web process counts with the most that the deployment ever has at a time, not with what the step
//! in between happens to have: otherwise others would take the room that its next step needs.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a quota allows. None: as much as one likes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Of all instances and tasks together.
    pub memory_mb: Option<u64>,
    /// Of one instance or task.
    pub process_memory_mb: Option<u64>,
    pub instances: Option<u64>,
    /// Tasks that run at a time, of all apps together: Cloud Foundry calls it `per_app_tasks` and counts so.
    pub tasks: Option<u64>,
    pub routes: Option<u64>,
    /// Private domains. Of organizations only.
    pub domains: Option<u64>,
    pub paid_services_allowed: bool,
    /// Services that users provide themselves too: there are no others.
    #[serde(rename = "service_instances")]
    pub services: Option<u64>,
    /// None or 0: there are none of these, so no other number would be watched by anybody.
    pub service_keys: Option<u64>,
    /// Routes that have ports.
    pub reserved_ports: Option<u64>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory_mb: None,
            process_memory_mb: None,
            instances: None,
            tasks: None,
            routes: None,
            domains: None,
            paid_services_allowed: true,
            services: None,
            service_keys: None,
            reserved_ports: None,
        }
    }
}

impl Limits {
    /// Whether anything could be refused for it.
    pub fn limit_anything(&self) -> bool {
        Limit::ALL.iter().any(|limit| self.of(*limit).is_some())
    }

    /// Puts a number, or null for no limit, into one of the fields. The error is a sentence for the user.
    pub fn set(&mut self, setting: Setting, value: Option<i64>) -> Result<(), String> {
        let field = setting.field();
        let value = match value {
            None => None,
            Some(number @ 0..=LARGEST) => Some(number.unsigned_abs()),
            Some(_) => {
                return Err(format!(
                    "{field} must be null, or a number from 0 to {LARGEST}"
                ));
            }
        };
        if let Some(why) = setting.why_unwatched()
            && value.is_some_and(|number| number > 0 || setting == Setting::LogRate)
        {
            return Err(format!("{field} would be watched by nobody: {why}"));
        }
        match setting {
            Setting::Limit(Limit::Memory) => self.memory_mb = value,
            Setting::Limit(Limit::ProcessMemory) => self.process_memory_mb = value,
            Setting::Limit(Limit::Instances) => self.instances = value,
            Setting::Limit(Limit::Tasks) => self.tasks = value,
            Setting::Limit(Limit::Routes) => self.routes = value,
            Setting::Limit(Limit::ReservedPorts) => self.reserved_ports = value,
            Setting::Limit(Limit::Domains) => self.domains = value,
            Setting::Limit(Limit::Services) => self.services = value,
            Setting::ServiceKeys => self.service_keys = value,
            // Null is how it is.
            Setting::LogRate => {}
        }
        Ok(())
    }

    fn of(&self, limit: Limit) -> Option<u64> {
        match limit {
            Limit::Memory => self.memory_mb,
            Limit::ProcessMemory => self.process_memory_mb,
            Limit::Instances => self.instances,
            Limit::Tasks => self.tasks,
            Limit::Routes => self.routes,
            Limit::ReservedPorts => self.reserved_ports,
            Limit::Domains => self.domains,
            Limit::Services => self.services,
        }
    }
}

/// One of the limits that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    Memory,
    ProcessMemory,
    Instances,
    Tasks,
    Routes,
    ReservedPorts,
    Domains,
    Services,
}

impl Limit {
    const ALL: [Limit; 8] = [
        Limit::Memory,
        Limit::ProcessMemory,
        Limit::Instances,
        Limit::Tasks,
        Limit::Routes,
        Limit::ReservedPorts,
        Limit::Domains,
        Limit::Services,
    ];

    /// The field of the quota that sets it, as the API writes it.
    pub fn field(self) -> &'static str {
        match self {
            Limit::Memory => "apps.total_memory_in_mb",
            Limit::ProcessMemory => "apps.per_process_memory_in_mb",
            Limit::Instances => "apps.total_instances",
            Limit::Tasks => "apps.per_app_tasks",
            Limit::Routes => "routes.total_routes",
            Limit::ReservedPorts => "routes.total_reserved_ports",
            Limit::Domains => "domains.total_domains",
            Limit::Services => "services.total_service_instances",
        }
    }
}

/// The largest limit, as in Cloud Foundry.
const LARGEST: i64 = i32::MAX as i64;

/// A field of a quota that takes a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    Limit(Limit),
    ServiceKeys,
    LogRate,
}

impl Setting {
    fn field(self) -> &'static str {
        match self {
            Setting::Limit(limit) => limit.field(),
            Setting::ServiceKeys => "services.total_service_keys",
            Setting::LogRate => "apps.log_rate_limit_in_bytes_per_second",
        }
    }

    /// Why a number in it would mean nothing. 0 is true of what there is none of, and clients send it.
    fn why_unwatched(self) -> Option<&'static str> {
        match self {
            Setting::Limit(_) => None,
            Setting::ServiceKeys => Some("the platform has no keys of services; give 0 or null"),
            Setting::LogRate => Some("the rate of logs is not limited; give null"),
        }
    }
}

/// One process as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldProcess {
    pub space: String,
    pub app: String,
    pub kind: String,
    /// Whether its app is.
    pub started: bool,
    pub instances: u64,
    pub memory_mb: u64,
    /// What replaces its instances at the moment.
    pub deployment: Option<HeldDeployment>,
    /// It is what replaces the others.
    pub newer: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldDeployment {
    pub wanted: u64,
    pub max_in_flight: u64,
}

impl HeldDeployment {
    /// How many of them start before as many old ones stop.
    fn ahead(self) -> u64 {
        self.max_in_flight.max(1).min(self.wanted)
    }

    /// The most instances, old and new together, that there are at a time (see `domain::deployment`).
    fn peak(self) -> u64 {
        self.wanted.saturating_add(self.ahead())
    }
}

/// One task that runs or waits to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldTask {
    pub space: String,
    pub guid: String,
    pub memory_mb: u64,
}

/// All that an organization has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holdings {
    pub processes: Vec<HeldProcess>,
    pub tasks: Vec<HeldTask>,
    /// How many, by space.
    pub routes: BTreeMap<String, u64>,
    /// Those of them that have ports.
    pub reserved_ports: BTreeMap<String, u64>,
    pub domains: u64,
    /// How many, by space.
    pub services: BTreeMap<String, u64>,
}

/// The size of one instance or task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    memory_mb: u64,
    started: bool,
}

/// What an organization or a space has come to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    pub memory_mb: u64,
    pub instances: u64,
    pub tasks: u64,
    pub routes: u64,
    pub reserved_ports: u64,
    pub domains: u64,
    pub services: u64,
    /// Of each type of each app with instances, and of each task.
    sizes: BTreeMap<(String, String), Size>,
}

impl Usage {
    /// Of one space, or of the whole organization.
    pub fn of(holdings: &Holdings, space: Option<&str>) -> Usage {
        let here = |place: &str| space.is_none_or(|space| space == place);
        let mut usage = Usage {
            domains: if space.is_none() { holdings.domains } else { 0 },
            ..Usage::default()
        };
        let sum = |of: &BTreeMap<String, u64>| {
            of.iter()
                .filter(|(place, _)| here(place))
                .fold(0_u64, |sum, (_, count)| sum.saturating_add(*count))
        };
        usage.routes = sum(&holdings.routes);
        usage.reserved_ports = sum(&holdings.reserved_ports);
        usage.services = sum(&holdings.services);
        // The processes of one type of one app: more than one while a deployment replaces the older.
        let mut groups: BTreeMap<(&str, &str), Vec<&HeldProcess>> = BTreeMap::new();
        for process in holdings.processes.iter().filter(|one| here(&one.space)) {
            let group = (process.app.as_str(), process.kind.as_str());
            groups.entry(group).or_default().push(process);
        }
        for ((app, kind), group) in groups {
            usage.add_group(app, kind, &group);
        }
        for task in holdings.tasks.iter().filter(|one| here(&one.space)) {
            usage.tasks = usage.tasks.saturating_add(1);
            usage.memory_mb = usage.memory_mb.saturating_add(task.memory_mb);
            let size = Size {
                memory_mb: task.memory_mb,
                started: true,
            };
            usage
                .sizes
                .insert(("task".to_string(), task.guid.clone()), size);
        }
        usage
    }

    fn add_group(&mut self, app: &str, kind: &str, group: &[&HeldProcess]) {
        let largest = group.iter().map(|one| one.memory_mb).max().unwrap_or(0);
        let held: u64 = group.iter().map(|one| one.instances).sum();
        let deployment = group.iter().find_map(|one| one.deployment);
        let peak = deployment.map_or(0, HeldDeployment::peak);
        if held.max(peak) == 0 {
            return;
        }
        let started = group.iter().any(|one| one.started);
        self.sizes.insert(
            (app.to_string(), kind.to_string()),
            Size {
                memory_mb: largest,
                started,
            },
        );
        if !started {
            return;
        }
        let own = group.iter().fold(0_u64, |sum, one| {
            sum.saturating_add(one.instances.saturating_mul(one.memory_mb))
        });
        // It may bring another size: then it holds most as it begins, or as it ends.
        let size = |newer| {
            let these = group.iter().filter(|one| one.newer == newer);
            these.map(|one| one.memory_mb).max()
        };
        let new = size(true).unwrap_or(largest);
        let beside = peak.saturating_sub(held).saturating_mul(new);
        let at_its_end = deployment.map_or(0, |deployment| {
            let old = size(false).unwrap_or(new);
            let kept = deployment.ahead().saturating_mul(old);
            deployment.wanted.saturating_mul(new).saturating_add(kept)
        });
        self.instances = self.instances.saturating_add(held.max(peak));
        let memory_mb = own.saturating_add(beside).max(at_its_end);
        self.memory_mb = self.memory_mb.saturating_add(memory_mb);
    }
}

/// A limit that a change would go over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess {
    pub limit: Limit,
    pub allowed: u64,
    /// Before the change; of one process: how large it was, 0 if it is new or was not started.
    pub used: u64,
    /// How much more was asked for.
    pub asked: u64,
}

/// The limits that what is there `after` a change goes over because of it, in the order in which they are told.
pub fn exceeded(limits: &Limits, before: &Usage, after: &Usage) -> Vec<Excess> {
    Limit::ALL
        .into_iter()
        .filter_map(|limit| {
            let allowed = limits.of(limit)?;
            let total =
                |used: u64, then: u64| (then > allowed && then > used).then_some((used, then));
            let (used, then) = match limit {
                Limit::Memory => total(before.memory_mb, after.memory_mb),
                Limit::ProcessMemory => too_large(allowed, before, after),
                Limit::Instances => total(before.instances, after.instances),
                Limit::Tasks => total(before.tasks, after.tasks),
                Limit::Routes => total(before.routes, after.routes),
                Limit::ReservedPorts => total(before.reserved_ports, after.reserved_ports),
                Limit::Domains => total(before.domains, after.domains),
                Limit::Services => total(before.services, after.services),
            }?;
            Some(Excess {
                limit,
                allowed,
                used,
                asked: then.saturating_sub(used),
            })
        })
        .collect()
}

/// The first process that is too large and was smaller, or was not started.
fn too_large(allowed: u64, before: &Usage, after: &Usage) -> Option<(u64, u64)> {
    after.sizes.iter().find_map(|(name, size)| {
        if size.memory_mb <= allowed {
            return None;
        }
        match before.sizes.get(name) {
            None => Some((0, size.memory_mb)),
            Some(was) if size.started && !was.started => Some((0, size.memory_mb)),
            Some(was) if size.memory_mb > was.memory_mb => Some((was.memory_mb, size.memory_mb)),
            Some(_) => None,
        }
    })
}

/// Whose quota it is, with its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner<'a> {
    Organization(&'a str),
    Space(&'a str),
}

/// What was to be done: Cloud Foundry words the same limit in several ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// An app, a route, a domain or a service is changed.
    Change,
    /// A deployment begins.
    Deployment,
    /// A task is started.
    Task,
}

/// The text of a refusal, as Cloud Foundry's clients and their users know it.
pub fn words(owner: Owner<'_>, limit: Limit, purpose: Purpose) -> String {
    use Limit::{
        Domains, Instances, Memory, ProcessMemory, ReservedPorts, Routes, Services, Tasks,
    };
    use Owner::{Organization, Space};
    let text = match (limit, owner) {
        (Memory | ProcessMemory, _) if purpose == Purpose::Task => {
            let place = match owner {
                Organization(_) => "organization",
                Space(_) => "space",
            };
            let one = if limit == ProcessMemory {
                "instance "
            } else {
                ""
            };
            format!("memory_in_mb exceeds {place} {one}memory quota")
        }
        (Memory, Organization(_)) => "memory quota_exceeded".to_string(),
        (Memory, Space(_)) => "memory space_quota_exceeded".to_string(),
        (ProcessMemory, Organization(_)) => "memory instance_memory_limit_exceeded".to_string(),
        (ProcessMemory, Space(_)) => "memory space_instance_memory_limit_exceeded".to_string(),
        (Instances, Organization(_)) => {
            "app_instance_limit app_instance_limit_exceeded".to_string()
        }
        (Instances, Space(_)) => "app_instance_limit space_app_instance_limit_exceeded".to_string(),
        (Tasks, _) => "app_task_limit quota exceeded".to_string(),
        (Routes, Organization(name)) => {
            format!("Routes quota exceeded for organization '{name}'.")
        }
        (Routes, Space(name)) => format!("Routes quota exceeded for space '{name}'."),
        (ReservedPorts, Organization(name)) => {
            format!("Reserved route ports quota exceeded for organization '{name}'.")
        }
        (ReservedPorts, Space(name)) => {
            format!("Reserved route ports quota exceeded for space '{name}'.")
        }
        (Domains, Organization(name) | Space(name)) => {
            format!("The number of private domains exceeds the quota for organization \"{name}\"")
        }
        (Services, Organization(_)) => {
            "You have exceeded your organization's services limit.".to_string()
        }
        (Services, Space(_)) => "You have exceeded your space's services limit.".to_string(),
    };
    match (purpose, limit) {
        (Purpose::Deployment, Memory | Instances) => {
            let (noun, name) = match owner {
                Organization(name) => ("organization", name),
                Space(name) => ("space", name),
            };
            format!(
                "{text} for {noun} {name}. This {noun}'s quota may not be large enough to support rolling deployments or your configured max-in-flight."
            )
        }
        (Purpose::Change | Purpose::Deployment | Purpose::Task, _) => text,
    }
}

/// Several of these texts as one.
pub fn joined(texts: &[String]) -> String {
    let mut all = String::new();
    for text in texts {
        match all.chars().last() {
            None => {}
            Some('.') => all.push(' '),
            Some(_) => all.push_str(", "),
        }
        all.push_str(text);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn process(app: &str, instances: u64, memory_mb: u64) -> HeldProcess {
        HeldProcess {
            space: "s".into(),
            app: app.into(),
            kind: "web".into(),
            started: true,
            instances,
            memory_mb,
            deployment: None,
            newer: false,
        }
    }

    fn usage(processes: &[HeldProcess]) -> Usage {
        let holdings = Holdings {
            processes: processes.to_vec(),
            ..Holdings::default()
        };
        Usage::of(&holdings, None)
    }

    fn limits(limit: Limit, allowed: u64) -> Limits {
        let mut limits = Limits::default();
        *match limit {
            Limit::Memory => &mut limits.memory_mb,
            Limit::ProcessMemory => &mut limits.process_memory_mb,
            Limit::Instances => &mut limits.instances,
            Limit::Tasks => &mut limits.tasks,
            Limit::Routes => &mut limits.routes,
            Limit::ReservedPorts => &mut limits.reserved_ports,
            Limit::Domains => &mut limits.domains,
            Limit::Services => &mut limits.services,
        } = Some(allowed);
        limits
    }

    #[test]
    fn a_limit_that_nobody_would_watch_is_refused() {
        let mut limits = Limits::default();
        assert_eq!(limits.set(Setting::ServiceKeys, Some(0)), Ok(()));
        let fault = limits.set(Setting::ServiceKeys, Some(1)).unwrap_err();
        assert!(fault.contains("watched by nobody"), "{fault}");
        assert_eq!(limits.set(Setting::ServiceKeys, None), Ok(()));
        assert!(limits.set(Setting::LogRate, Some(0)).is_err());
        assert_eq!(limits.set(Setting::LogRate, None), Ok(()));
        assert_eq!(limits, Limits::default());
        for limit in Limit::ALL {
            let setting = Setting::Limit(limit);
            assert_eq!(limits.set(setting, Some(LARGEST)), Ok(()));
            assert_eq!(limits.of(limit), Some(LARGEST.unsigned_abs()));
            for wrong in [-1, LARGEST + 1] {
                let fault = limits.set(setting, Some(wrong)).unwrap_err();
                assert!(fault.contains(limit.field()), "{fault}");
            }
            assert_eq!(limits.set(setting, None), Ok(()));
            assert_eq!(limits.of(limit), None);
        }
    }

    #[test]
    fn exactly_what_is_allowed_fits_and_no_more() {
        let before = usage(&[process("a", 2, 100)]);
        let check = |limit, allowed, after: &[HeldProcess], expected: Option<(u64, u64)>| {
            let found = exceeded(&limits(limit, allowed), &before, &usage(after));
            let found: Vec<_> = found
                .iter()
                .map(|one| (one.limit, one.used, one.asked))
                .collect();
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(used, asked)| (limit, used, asked))
                .collect();
            assert_eq!(found, expected, "{limit:?} {allowed} {after:?}");
        };
        let three = [process("a", 3, 100)];
        check(Limit::Memory, 300, &three, None);
        check(Limit::Memory, 299, &three, Some((200, 100)));
        check(Limit::Instances, 3, &three, None);
        check(Limit::Instances, 2, &three, Some((2, 1)));
        check(Limit::ProcessMemory, 100, &three, None);
        check(
            Limit::ProcessMemory,
            100,
            &[process("a", 2, 101)],
            Some((100, 1)),
        );
        check(
            Limit::ProcessMemory,
            50,
            &[process("a", 2, 100), process("b", 1, 60)],
            Some((0, 60)),
        );
        check(
            Limit::ProcessMemory,
            50,
            &[process("a", 2, 100), process("b", 0, 60)],
            None,
        );
    }

    #[test]
    fn who_is_above_a_quota_may_do_what_makes_nothing_larger() {
        let limits = Limits {
            memory_mb: Some(1),
            process_memory_mb: Some(1),
            instances: Some(1),
            ..Limits::default()
        };
        let before = usage(&[process("a", 5, 100)]);
        for after in [
            process("a", 5, 100),
            process("a", 4, 100),
            process("a", 5, 90),
        ] {
            assert_eq!(exceeded(&limits, &before, &usage(&[after])), []);
        }
    }

    #[test]
    fn a_start_counts_what_was_stopped() {
        let stopped = usage(&[HeldProcess {
            started: false,
            ..process("a", 2, 100)
        }]);
        assert_eq!((stopped.memory_mb, stopped.instances), (0, 0));
        let started = usage(&[process("a", 2, 100)]);
        let over = exceeded(&limits(Limit::ProcessMemory, 99), &stopped, &started);
        assert_eq!((over[0].used, over[0].asked), (0, 100));
        let over = exceeded(&limits(Limit::Memory, 199), &stopped, &started);
        assert_eq!((over[0].used, over[0].asked), (0, 200));
    }

    #[test]
    fn a_deployment_counts_with_its_most_whatever_its_step_has() {
        let deployment = Some(HeldDeployment {
            wanted: 3,
            max_in_flight: 1,
        });
        for (old, new) in [(3, 0), (3, 1), (2, 2), (1, 3), (0, 3)] {
            let old = HeldProcess {
                deployment,
                ..process("a", old, 100)
            };
            let new = HeldProcess {
                deployment,
                newer: true,
                ..process("a", new, 100)
            };
            let usage = usage(&[old, new]);
            assert_eq!((usage.instances, usage.memory_mb), (4, 400));
        }
        // One that brings another size and another number.
        for (wanted, memory_mb, held) in [
            (3, 300, 3 * 300 + 100),
            (3, 50, 3 * 100 + 50),
            (10, 50, 10 * 50 + 100),
        ] {
            let deployment = Some(HeldDeployment {
                wanted,
                max_in_flight: 1,
            });
            let old = HeldProcess {
                deployment,
                ..process("a", 3, 100)
            };
            let new = HeldProcess {
                deployment,
                newer: true,
                ..process("a", 0, memory_mb)
            };
            let usage = usage(&[old, new]);
            assert!(
                usage.memory_mb >= held,
                "{wanted} of {memory_mb}: {}",
                usage.memory_mb
            );
            assert_eq!(usage.instances, wanted + 1);
        }
        let many = HeldDeployment {
            wanted: 2,
            max_in_flight: 9,
        };
        assert_eq!(many.peak(), 4, "no more at a time than it replaces");
    }

    #[test]
    fn a_space_has_its_own_and_no_domains() {
        let holdings = Holdings {
            processes: vec![
                process("a", 1, 10),
                HeldProcess {
                    space: "t".into(),
                    ..process("b", 1, 5)
                },
            ],
            tasks: vec![HeldTask {
                space: "t".into(),
                guid: "x".into(),
                memory_mb: 7,
            }],
            routes: BTreeMap::from([("s".to_string(), 2), ("t".to_string(), 3)]),
            reserved_ports: BTreeMap::from([("t".to_string(), 1)]),
            domains: 4,
            services: BTreeMap::from([("t".to_string(), 2)]),
        };
        let numbers = |space| {
            let usage = Usage::of(&holdings, space);
            [
                usage.memory_mb,
                usage.instances,
                usage.tasks,
                usage.routes,
                usage.reserved_ports,
                usage.domains,
                usage.services,
            ]
        };
        assert_eq!(numbers(None), [22, 2, 1, 5, 1, 4, 2]);
        assert_eq!(numbers(Some("s")), [10, 1, 0, 2, 0, 0, 0]);
        assert_eq!(numbers(Some("t")), [12, 1, 1, 3, 1, 0, 2]);
    }

    #[test]
    fn tasks_are_limited_in_number_and_in_memory() {
        let task = |guid: &str, memory_mb| HeldTask {
            space: "s".into(),
            guid: guid.into(),
            memory_mb,
        };
        let with = |tasks: Vec<HeldTask>| {
            Usage::of(
                &Holdings {
                    tasks,
                    ..Holdings::default()
                },
                None,
            )
        };
        let (one, two) = (
            with(vec![task("1", 64)]),
            with(vec![task("1", 64), task("2", 64)]),
        );
        assert_eq!(exceeded(&limits(Limit::Tasks, 1), &one, &two).len(), 1);
        assert_eq!(exceeded(&limits(Limit::Tasks, 2), &one, &two), []);
        assert_eq!(exceeded(&limits(Limit::Memory, 127), &one, &two).len(), 1);
        assert_eq!(
            exceeded(&limits(Limit::ProcessMemory, 63), &one, &two).len(),
            1
        );
    }

    #[test]
    fn refusals_are_worded_as_clients_know_them() {
        let (organization, space) = (Owner::Organization("o"), Owner::Space("s"));
        let check = |owner, limit, purpose, text: &str| {
            assert_eq!(words(owner, limit, purpose), text);
        };
        check(
            organization,
            Limit::Memory,
            Purpose::Change,
            "memory quota_exceeded",
        );
        check(
            space,
            Limit::Memory,
            Purpose::Change,
            "memory space_quota_exceeded",
        );
        check(
            space,
            Limit::Instances,
            Purpose::Change,
            "app_instance_limit space_app_instance_limit_exceeded",
        );
        check(
            organization,
            Limit::Memory,
            Purpose::Deployment,
            "memory quota_exceeded for organization o. This organization's quota may not be large enough to support rolling deployments or your configured max-in-flight.",
        );
        check(
            space,
            Limit::Routes,
            Purpose::Change,
            "Routes quota exceeded for space 's'.",
        );
        check(
            organization,
            Limit::ReservedPorts,
            Purpose::Change,
            "Reserved route ports quota exceeded for organization 'o'.",
        );
        check(
            space,
            Limit::Services,
            Purpose::Change,
            "You have exceeded your space's services limit.",
        );
        check(
            organization,
            Limit::ProcessMemory,
            Purpose::Task,
            "memory_in_mb exceeds organization instance memory quota",
        );
        let both = |one: &str, two: &str| joined(&[one.to_string(), two.to_string()]);
        assert_eq!(both("a b", "c d"), "a b, c d");
        assert_eq!(both("A.", "B."), "A. B.");
    }

    fn some() -> impl Strategy<Value = Usage> {
        prop::collection::vec((0u8..4, 0u64..5, 1u64..9, any::<bool>()), 0..5).prop_map(|some| {
            let processes: Vec<HeldProcess> = some
                .into_iter()
                .map(|(app, instances, memory_mb, started)| HeldProcess {
                    started,
                    ..process(&format!("a{app}"), instances, memory_mb)
                })
                .collect();
            usage(&processes)
        })
    }

    proptest! {
        #[test]
        fn what_is_let_through_fits_or_is_no_growth(before in some(), after in some(), allowed in 0u64..40) {
            let limits = limits(Limit::Memory, allowed);
            let refused = !exceeded(&limits, &before, &after).is_empty();
            prop_assert_eq!(refused, after.memory_mb > allowed && after.memory_mb > before.memory_mb);
            prop_assert!(exceeded(&limits, &after, &after).is_empty(), "doing nothing is never refused");
        }
    }
}
