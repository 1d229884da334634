//! Which agent gets an instance or a staging.
//!
//! [`Pool`] knows all agents, takes off what is on its way already, and names one ([`Pool::choose`]), or says what
//! is missing and who comes closest.

mod pool;
mod roster;

pub use pool::{Debit, Pool, ReservationKey};

use proto::ids::{DeaId, ProcessGuid};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// One agent as status pages show it: reservations are already taken off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentView {
    pub id: DeaId,
    pub zone: String,
    pub stacks: BTreeSet<String>,
    pub free_memory_mb: u64,
    pub free_disk_mb: u64,
    /// All it has, used or not; unknown for a stranger.
    pub total_memory_mb: Option<u64>,
    pub total_disk_mb: Option<u64>,
    /// Instances by process.
    pub instances: BTreeMap<ProcessGuid, u32>,
    /// How long ago it advertised.
    pub age: Duration,
    /// It said it takes no more work.
    pub leaving: bool,
    /// Its heartbeats have stopped.
    pub lost: bool,
}

/// What is to be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacementRequest {
    pub stack: String,
    pub memory_mb: u64,
    pub disk_mb: u64,
    /// The processes to keep apart from each other: those of the same app and type.
    pub siblings: BTreeSet<ProcessGuid>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Place { dea: DeaId, because: String },
    Refuse(Refusal),
}

/// Why nothing was chosen; `Display` is one clause for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody advertised lately; `silent` are known but quiet, `leaving` shut down.
    NoAgent {
        silent: Vec<DeaId>,
        leaving: Vec<DeaId>,
    },
    /// Nobody has this stack; `offered` is what there is.
    NoStack {
        stack: String,
        offered: BTreeSet<String>,
    },
    /// It does not fit now. `ever` false: not even on an empty agent.
    NoRoom {
        what: Resource,
        needed_mb: u64,
        best: DeaId,
        free_mb: u64,
        total_mb: Option<u64>,
        ever: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    Memory,
    Disk,
}

impl Refusal {
    /// True: waiting does not help, only another agent or a smaller request.
    pub fn is_for_good(&self) -> bool {
        match self {
            Refusal::NoAgent { .. } => false,
            Refusal::NoStack { .. } => true,
            Refusal::NoRoom { ever, .. } => !ever,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Resource::Memory => "memory",
            Resource::Disk => "disk",
        })
    }
}

fn names(ids: &[DeaId]) -> String {
    ids.iter().map(DeaId::as_str).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoAgent { silent, leaving } if silent.is_empty() && leaving.is_empty() => {
                f.write_str("no agent has advertised")
            }
            Refusal::NoAgent { silent, leaving } => {
                f.write_str("no agent takes work")?;
                if !silent.is_empty() {
                    write!(f, "; not heard from lately: {}", names(silent))?;
                }
                if !leaving.is_empty() {
                    write!(f, "; shutting down: {}", names(leaving))?;
                }
                Ok(())
            }
            Refusal::NoStack { stack, offered } => {
                let offered = offered
                    .iter()
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(", ");
                write!(f, "needs stack {stack}; the agents offer {offered}")
            }
            Refusal::NoRoom {
                what,
                needed_mb,
                best,
                free_mb,
                total_mb,
                ever,
            } => {
                write!(f, "needs {needed_mb} MB {what}")?;
                if !ever {
                    f.write_str(", more than any agent could ever give")?;
                }
                write!(f, "; the best agent, {best}, has {free_mb} MB free")?;
                match total_mb {
                    Some(total) => write!(f, " of {total} MB"),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proto::bus::dea::{Advertisement, Drain, PlacementProperties, Shutdown};

    const FRESH: Duration = Duration::from_secs(10);

    fn dea(name: &str) -> DeaId {
        DeaId::new(name).unwrap()
    }

    fn process(name: &str) -> ProcessGuid {
        ProcessGuid::new(name).unwrap()
    }

    fn ad(name: &str, zone: &str, memory: u64, total: u64) -> Advertisement {
        Advertisement {
            id: dea(name),
            stacks: vec!["host".into()],
            available_memory: memory,
            available_disk: memory * 4,
            app_id_to_count: BTreeMap::new(),
            placement_properties: PlacementProperties { zone: zone.into() },
            url: None,
            yard_total_memory: Some(total),
            yard_total_disk: Some(total * 4),
        }
    }

    fn goodbye(name: &str, yard_drain: Option<Drain>) -> Shutdown {
        Shutdown {
            id: dea(name),
            ip: "10.0.0.1".into(),
            version: 0.1,
            app_id_to_count: BTreeMap::from([(process("p"), 2)]),
            yard_zone: Some("a".into()),
            yard_drain,
        }
    }

    fn pool(ads: &[Advertisement]) -> Pool {
        let mut pool = Pool::default();
        for ad in ads {
            pool.advertised(ad.clone(), Duration::ZERO, FRESH);
        }
        pool
    }

    fn request(memory_mb: u64) -> PlacementRequest {
        PlacementRequest {
            stack: "host".into(),
            memory_mb,
            disk_mb: 100,
            siblings: BTreeSet::from([process("p")]),
        }
    }

    fn refusal(pool: &Pool, at: Duration, request: &PlacementRequest) -> String {
        match pool.choose(request, at, FRESH, 0) {
            Decision::Refuse(refusal) => refusal.to_string(),
            Decision::Place { dea, .. } => panic!("placed on {dea}"),
        }
    }

    fn placed(pool: &Pool, at: Duration, request: &PlacementRequest, randomness: u64) -> DeaId {
        match pool.choose(request, at, FRESH, randomness) {
            Decision::Place { dea, .. } => dea,
            Decision::Refuse(refusal) => panic!("refused: {refusal}"),
        }
    }

    #[test]
    fn only_what_no_known_agent_could_ever_hold_is_refused_for_good() {
        let ads = [ad("dea-1", "a", 10, 2048), ad("dea-2", "a", 900, 4096)];
        let agents = pool(&ads);
        let never = |memory, at| agents.never(&request(memory), at, FRESH);
        assert_eq!(never(4096, Duration::ZERO), None, "full, not small");
        assert_eq!(
            never(5000, Duration::ZERO).map(|refusal| refusal.to_string()),
            Some("needs 5000 MB memory, more than any agent could ever give; the best agent, dea-2, has 900 MB free of 4096 MB".into())
        );
        // The larger agent is silent, and may come back.
        let mut agents = agents.clone();
        let later = Duration::from_secs(60);
        agents.advertised(ads[0].clone(), later, FRESH);
        assert_eq!(agents.never(&request(4096), later, FRESH), None);
        assert!(agents.never(&request(5000), later, FRESH).is_some());
        let nobody = Pool::default();
        assert_eq!(
            nobody.never(&request(5000), later, FRESH),
            None,
            "nobody knows"
        );
    }

    #[test]
    fn a_refusal_says_what_is_needed_and_what_the_best_agent_has() {
        let agents = pool(&[ad("dea-1", "a", 1800, 2048), ad("dea-2", "a", 900, 2048)]);
        let refusal = |request: &PlacementRequest| refusal(&agents, Duration::ZERO, request);
        assert_eq!(
            refusal(&request(4096)),
            "needs 4096 MB memory, more than any agent could ever give; the best agent, dea-1, has 1800 MB free of 2048 MB"
        );
        assert_eq!(
            refusal(&request(2000)),
            "needs 2000 MB memory; the best agent, dea-1, has 1800 MB free of 2048 MB"
        );
        let disk = PlacementRequest {
            disk_mb: 7900,
            ..request(100)
        };
        assert_eq!(
            refusal(&disk),
            "needs 7900 MB disk; the best agent, dea-1, has 7200 MB free of 8192 MB"
        );
        let never = PlacementRequest {
            disk_mb: 9000,
            ..request(100)
        };
        assert_eq!(
            refusal(&never),
            "needs 9000 MB disk, more than any agent could ever give; the best agent, dea-1, has 7200 MB free of 8192 MB"
        );
        let stack = PlacementRequest {
            stack: "jammy".into(),
            ..request(100)
        };
        assert_eq!(refusal(&stack), "needs stack jammy; the agents offer host");
        // Clients tell by these clauses that waiting is in vain.
        let in_vain = |request: &PlacementRequest| {
            let text = refusal(request);
            proto::api::WAITS_IN_VAIN
                .iter()
                .any(|clause| text.contains(clause))
        };
        assert!(in_vain(&request(4096)) && in_vain(&never) && in_vain(&stack));
        assert!(!in_vain(&request(2000)) && !in_vain(&disk));
    }

    #[test]
    fn without_agents_it_says_whether_any_was_ever_seen() {
        assert_eq!(
            refusal(&pool(&[]), Duration::ZERO, &request(1)),
            "no agent has advertised"
        );
        let mut agents = pool(&[ad("dea-1", "a", 1800, 2048), ad("dea-2", "a", 900, 2048)]);
        agents.leaving(goodbye("dea-2", None), Duration::ZERO);
        assert_eq!(
            refusal(&agents, Duration::from_secs(11), &request(1)),
            "no agent takes work; not heard from lately: dea-1; shutting down: dea-2"
        );
    }

    #[test]
    fn an_agent_that_advertises_again_after_leaving_is_used_again() {
        let mut agents = pool(&[ad("dea-1", "a", 1800, 2048)]);
        agents.leaving(goodbye("dea-1", None), Duration::ZERO);
        assert!(agents.advertised(ad("dea-1", "a", 1000, 2048), Duration::from_secs(1), FRESH));
        assert_eq!(
            placed(&agents, Duration::from_secs(1), &request(10), 0),
            dea("dea-1")
        );
    }

    #[test]
    fn an_agent_that_is_emptied_is_shown_and_gets_nothing_until_it_advertises() {
        let drain = Drain {
            since: 10.0,
            until: 610.0,
            left: 2,
        };
        // Also to a controller that came up during the drain.
        let mut agents = pool(&[]);
        agents.leaving(goodbye("dea-1", Some(drain)), Duration::from_secs(3));
        let view = agents.view(Duration::from_secs(3));
        assert_eq!((view[0].zone.as_str(), view[0].leaving), ("a", true));
        assert_eq!(view[0].instances[&process("p")], 2);
        assert_eq!(agents.drain(&dea("dea-1")), Some(drain));
        assert_eq!(
            refusal(&agents, Duration::from_secs(3), &request(1)),
            "no agent takes work; shutting down: dea-1"
        );
        assert!(agents.advertised(ad("dea-1", "a", 1000, 2048), Duration::from_secs(4), FRESH));
        assert_eq!(agents.drain(&dea("dea-1")), None);
        assert_eq!(
            placed(&agents, Duration::from_secs(4), &request(10), 0),
            dea("dea-1")
        );
    }

    #[test]
    fn an_agent_gets_nothing_from_the_order_to_empty_it_on() {
        let mut agents = pool(&[ad("dea-1", "a", 1800, 2048)]);
        let (one, at) = (dea("dea-1"), Duration::from_secs);
        let takes = |agents: &Pool, now| {
            let decision = agents.choose(&request(10), at(now), FRESH, 0);
            matches!(decision, Decision::Place { .. })
        };
        assert!(agents.drain_ordered(&one, Some(at(8))));
        // Written before the agent heard of it.
        agents.advertised(ad("dea-1", "a", 1800, 2048), at(1), FRESH);
        assert!(!takes(&agents, 1));
        assert!(takes(&agents, 8), "no goodbye came");
        agents.drain_ordered(&one, Some(at(20)));
        agents.drain_ordered(&one, None);
        assert!(takes(&agents, 9), "the order was taken back");
        agents.drain_ordered(&one, Some(at(20)));
        agents.leaving(goodbye("dea-1", None), at(9));
        assert!(!takes(&agents, 9));
        agents.advertised(ad("dea-1", "a", 1800, 2048), at(10), FRESH);
        assert!(
            takes(&agents, 10),
            "the agent itself tells from its goodbye on"
        );
        assert!(!agents.drain_ordered(&dea("dea-9"), None), "a stranger");
    }

    #[test]
    fn a_lost_agent_gets_nothing_however_fresh_its_advertisement() {
        let mut agents = pool(&[ad("dea-1", "a", 1800, 2048), ad("dea-2", "b", 900, 2048)]);
        agents.lost(&dea("dea-1"));
        for randomness in 0..4 {
            assert_eq!(
                placed(&agents, Duration::ZERO, &request(10), randomness),
                dea("dea-2")
            );
        }
        assert!(
            agents.advertised(ad("dea-1", "a", 1800, 2048), Duration::from_secs(1), FRESH),
            "it is back"
        );
    }

    #[test]
    fn zones_come_before_agents_and_agents_before_memory() {
        let mut crowded = ad("dea-1", "a", 8000, 8192);
        crowded.app_id_to_count.insert(process("p"), 1);
        let agents = pool(&[
            crowded,
            ad("dea-2", "a", 7000, 8192),
            ad("dea-3", "b", 500, 8192),
        ]);
        for randomness in 0..4 {
            assert_eq!(
                placed(&agents, Duration::ZERO, &request(400), randomness),
                dea("dea-3"),
                "the zone without the app wins"
            );
            assert_eq!(
                placed(&agents, Duration::ZERO, &request(600), randomness),
                dea("dea-2"),
                "then the agent without it"
            );
        }
    }

    #[test]
    fn a_reservation_lasts_until_an_advertisement_after_it_was_seen() {
        let mut agents = pool(&[ad("dea-1", "a", 1000, 2048)]);
        let debit = Debit {
            key: "i".into(),
            dea: dea("dea-1"),
            memory_mb: 400,
            disk_mb: 100,
            process: Some(process("p")),
            expires_at: Duration::from_secs(60),
        };
        agents.reserve(debit.clone());
        let free = |pool: &Pool| pool.view(Duration::from_secs(1))[0].free_memory_mb;
        assert_eq!(free(&agents), 600);
        assert_eq!(agents.view(Duration::ZERO)[0].instances[&process("p")], 1);
        agents.advertised(ad("dea-1", "a", 1000, 2048), Duration::from_secs(1), FRESH);
        assert_eq!(
            free(&agents),
            600,
            "this advertisement may be older than the command"
        );
        agents.seen("i");
        assert_eq!(
            free(&agents),
            600,
            "the last advertisement may not count it yet"
        );
        agents.advertised(ad("dea-1", "a", 600, 2048), Duration::from_secs(1), FRESH);
        assert_eq!(free(&agents), 600, "now the agent counts it itself");

        agents.reserve(debit.clone());
        agents.withdrawn("i");
        assert_eq!(free(&agents), 600);
        agents.reserve(debit.clone());
        agents.expire(Duration::from_secs(61), Duration::from_secs(100));
        assert_eq!(free(&agents), 600);
        agents.reserve(debit);
        agents.came_up(&dea("dea-1"));
        assert_eq!(free(&agents), 600);
    }

    fn fits(agent: &AgentView, request: &PlacementRequest) -> bool {
        agent.free_memory_mb >= request.memory_mb && agent.free_disk_mb >= request.disk_mb
    }

    /// The rules of a choice as they are written, one after the other, on what status pages show.
    fn plainly(view: &[AgentView], request: &PlacementRequest, randomness: u64) -> Option<DeaId> {
        let siblings = |agent: &AgentView| -> u32 {
            let of = |process| agent.instances.get(process);
            request.siblings.iter().filter_map(of).sum()
        };
        let in_zone = |zone: &str| -> u32 {
            let agents = view.iter().filter(|agent| agent.zone == zone);
            agents.map(siblings).sum()
        };
        let mut agents: Vec<&AgentView> = view
            .iter()
            .filter(|agent| !agent.leaving && !agent.lost && agent.age <= FRESH)
            .filter(|agent| agent.stacks.contains(&request.stack) && fits(agent, request))
            .collect();
        let fewest = agents.iter().map(|agent| in_zone(&agent.zone)).min()?;
        agents.retain(|agent| in_zone(&agent.zone) == fewest);
        let fewest = agents.iter().map(|agent| siblings(agent)).min()?;
        agents.retain(|agent| siblings(agent) == fewest);
        agents.sort_by(|a, b| a.id.cmp(&b.id));
        agents.sort_by_key(|agent| std::cmp::Reverse(agent.free_memory_mb));
        let half = agents.len().div_ceil(2);
        Some(agents[(randomness % half as u64) as usize].id.clone())
    }

    /// Something that happens to a pool.
    #[derive(Debug, Clone)]
    enum Event {
        Advertised(usize, u64, usize, bool, u32),
        CameUp(usize),
        Drained(usize, bool),
        Evacuates(usize, bool),
        Leaves(usize, bool),
        Lost(usize),
        Reserved(usize, u64),
        Seen(usize),
        Withdrawn(usize),
        Expired,
        Wait(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        let agent = || 0usize..6;
        let key = || 0usize..12;
        prop_oneof![
            4 => (agent(), 0u64..2000, 0usize..3, any::<bool>(), 0u32..3)
                .prop_map(|(who, free, zone, jammy, runs)| Event::Advertised(who, free, zone, jammy, runs)),
            1 => agent().prop_map(Event::CameUp),
            1 => (agent(), any::<bool>()).prop_map(|(who, on)| Event::Drained(who, on)),
            1 => (agent(), any::<bool>()).prop_map(|(who, on)| Event::Evacuates(who, on)),
            1 => (agent(), any::<bool>()).prop_map(|(who, stays)| Event::Leaves(who, stays)),
            1 => agent().prop_map(Event::Lost),
            4 => (key(), 1u64..600).prop_map(|(key, memory)| Event::Reserved(key, memory)),
            2 => key().prop_map(Event::Seen),
            2 => key().prop_map(Event::Withdrawn),
            1 => Just(Event::Expired),
            2 => (1u64..9).prop_map(Event::Wait),
        ]
    }

    fn happens(pool: &mut Pool, event: Event, now: &mut Duration, randomness: u64) {
        let name = |who: usize| dea(&format!("dea-{who}"));
        match event {
            Event::Advertised(who, free, zone, jammy, runs) => {
                let mut ad = ad(name(who).as_str(), ["a", "b", "c"][zone], free, 4096);
                if jammy {
                    ad.stacks.push("jammy".into());
                }
                if runs > 0 {
                    ad.app_id_to_count.insert(process("p"), runs);
                    ad.app_id_to_count.insert(process("q"), 1);
                }
                pool.advertised(ad, *now, FRESH);
            }
            Event::CameUp(who) => pool.came_up(&name(who)),
            Event::Drained(who, on) => {
                pool.drain_ordered(&name(who), on.then(|| *now + Duration::from_secs(5)));
            }
            Event::Evacuates(who, on) => pool.evacuates(&name(who), on),
            Event::Leaves(who, stays) => {
                let drain = Drain {
                    since: 1.0,
                    until: 2.0,
                    left: 1,
                };
                let goodbye = goodbye(name(who).as_str(), stays.then_some(drain));
                pool.leaving(goodbye, *now);
            }
            Event::Lost(who) => pool.lost(&name(who)),
            Event::Reserved(key, memory_mb) => {
                // Also on one that is not known yet.
                let dea = match pool.choose(&request(memory_mb), *now, FRESH, randomness) {
                    Decision::Place { dea, .. } => dea,
                    Decision::Refuse(_) => name(5),
                };
                pool.reserve(Debit {
                    key: format!("i{key}"),
                    dea,
                    memory_mb,
                    disk_mb: 100,
                    process: (key % 3 > 0).then(|| process("p")),
                    expires_at: *now + Duration::from_secs(20),
                });
            }
            Event::Seen(key) => pool.seen(&format!("i{key}")),
            Event::Withdrawn(key) => pool.withdrawn(&format!("i{key}")),
            Event::Expired => pool.expire(*now, Duration::from_secs(30)),
            Event::Wait(seconds) => *now += Duration::from_secs(seconds),
        }
    }

    proptest! {
        /// What choices read says at every moment what the pool knows: a choice is the one that its rules make
        /// of what status pages show.
        #[test]
        fn a_choice_is_what_its_rules_make_of_what_is_known(
            events in proptest::collection::vec((event(), any::<u64>()), 1..80),
            jammy in any::<bool>(),
        ) {
            let (mut pool, mut now) = (Pool::default(), Duration::ZERO);
            for (event, randomness) in events {
                happens(&mut pool, event, &mut now, randomness);
                for memory in [1, 400, 1500] {
                    let mut request = request(memory);
                    if jammy {
                        request.stack = "jammy".into();
                        request.siblings.insert(process("q"));
                    }
                    let expected = plainly(&pool.view(now), &request, randomness);
                    let chosen = match pool.choose(&request, now, FRESH, randomness) {
                        Decision::Place { dea, .. } => Some(dea),
                        Decision::Refuse(_) => None,
                    };
                    prop_assert_eq!(chosen, expected);
                }
            }
        }

        /// Whatever the agents and requests, the sum placed never exceeds what was free, and the answer
        /// depends on nothing but the arguments.
        #[test]
        fn never_overcommits_and_is_deterministic(
            sizes in proptest::collection::vec((0u64..4000, 0usize..3), 1..8),
            requests in proptest::collection::vec((1u64..1500, any::<u64>()), 1..40),
        ) {
            let zones = ["a", "b", "c"];
            let ads: Vec<Advertisement> = sizes.iter().enumerate()
                .map(|(i, (memory, zone))| ad(&format!("dea-{i}"), zones[*zone], *memory, 4096)).collect();
            let mut pool = pool(&ads);
            let mut given: BTreeMap<DeaId, u64> = BTreeMap::new();
            let mut debits: Vec<Debit> = Vec::new();
            for (i, (memory, randomness)) in requests.into_iter().enumerate() {
                let request = request(memory);
                let decision = pool.choose(&request, Duration::ZERO, FRESH, randomness);
                let mut reversed = Pool::default();
                for view in ads.iter().rev() {
                    reversed.advertised(view.clone(), Duration::ZERO, FRESH);
                }
                for debit in &debits {
                    reversed.reserve(Debit::clone(debit));
                }
                prop_assert_eq!(&decision, &reversed.choose(&request, Duration::ZERO, FRESH, randomness));
                match decision {
                    Decision::Place { dea, .. } => {
                        *given.entry(dea.clone()).or_default() += memory;
                        debits.push(Debit {
                            key: format!("i{i}"), dea, memory_mb: memory, disk_mb: 100,
                            process: Some(process("p")), expires_at: Duration::from_secs(60),
                        });
                        pool.reserve(debits[debits.len() - 1].clone());
                    }
                    Decision::Refuse(_) => {
                        let view = pool.view(Duration::ZERO);
                        prop_assert!(!view.iter().any(|agent| fits(agent, &request)), "refused although somebody has room");
                    }
                }
            }
            for ad in ads {
                prop_assert!(given.get(&ad.id).copied().unwrap_or_default() <= ad.available_memory);
            }
        }

        /// With room everywhere, instances of one app differ by at most one between zones, and
        /// between the agents of a zone.
        #[test]
        fn spreads_evenly(agents in 1usize..7, zones in 1usize..4, wanted in 1u32..30, seed in any::<u64>()) {
            let ads: Vec<Advertisement> = (0..agents)
                .map(|i| ad(&format!("dea-{i}"), &format!("z{}", i % zones), 100_000, 100_000)).collect();
            let mut pool = pool(&ads);
            for i in 0..wanted {
                let dea = placed(&pool, Duration::ZERO, &request(100), seed.rotate_left(i));
                pool.reserve(Debit {
                    key: format!("i{i}"), dea, memory_mb: 100, disk_mb: 100,
                    process: Some(process("p")), expires_at: Duration::from_secs(60),
                });
            }
            let mut by_zone: BTreeMap<String, Vec<u32>> = BTreeMap::new();
            for agent in pool.view(Duration::ZERO) {
                by_zone.entry(agent.zone.clone()).or_default().push(agent.instances.get(&process("p")).copied().unwrap_or_default());
            }
            let sums: Vec<u32> = by_zone.values().map(|counts| counts.iter().sum()).collect();
            prop_assert!(sums.iter().max().unwrap() - sums.iter().min().unwrap() <= 1);
            for counts in by_zone.values() {
                prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
            }
        }
    }
}
