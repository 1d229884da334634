//! Which sandboxes wait prepared on an agent, so that a start is orders and no making.
//!
//! What cannot be changed about a sandbox once it is made is its [`Shape`]; the rest (name, limits, the app)
//! it gets when it is taken. Which shapes will be wanted nobody knows; those of the last starts are the best
//! guess there is, so the pool is a small picture of them ([`Demand`]).
//!
//! Nobody may suffer for it ([`plan`]): what waits counts as free for placement and goes first when room is
//! short ([`super::capacity`]); one is made at a time, only while no start is under way and shortly after the last
//! one neither, only if the machine really has room, and after failures less and less often.
//!
//! What a newcomer gets wrong: a waiting sandbox is used once, by one app or pack, and never comes back.

use super::capacity::Resources;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Starts of each kind that the picture is made of.
const REMEMBERED: usize = 32;
/// After a start, time for the next one of a burst to come.
pub const QUIET: Duration = Duration::from_millis(300);
/// Memory and disk that the machine must have left beside what is prepared.
const SPARE: Resources = Resources {
    memory_mb: 256,
    disk_mb: 512,
};
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Instance,
    Pack,
}

impl Kind {
    pub const BOTH: [Kind; 2] = [Kind::Instance, Kind::Pack];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Instance => "instance",
            Kind::Pack => "pack",
        }
    }
}

/// What is fixed when a sandbox is made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    Instance {
        disk_mb: u64,
    },
    /// With the hosts of actions running in it, which have read the libraries of all packs.
    Pack {
        disk_mb: u64,
        /// SHA-256 of those libraries; empty: none.
        base: String,
    },
}

impl Shape {
    pub fn kind(&self) -> Kind {
        match self {
            Shape::Instance { .. } => Kind::Instance,
            Shape::Pack { .. } => Kind::Pack,
        }
    }

    pub fn disk_mb(&self) -> u64 {
        match self {
            Shape::Instance { disk_mb } | Shape::Pack { disk_mb, .. } => *disk_mb,
        }
    }

    /// What one takes of the machine while it waits, with its supervisor. Its disk is a sparse file.
    pub fn holds(&self) -> Resources {
        match self {
            Shape::Instance { .. } => Resources {
                memory_mb: 16,
                disk_mb: 16,
            },
            Shape::Pack { .. } => Resources {
                memory_mb: 128,
                disk_mb: 32,
            },
        }
    }
}

/// The shapes of the last starts of each kind, newest last.
#[derive(Debug, Default)]
pub struct Demand(BTreeMap<Kind, VecDeque<Shape>>);

impl Demand {
    pub fn note(&mut self, shape: Shape) {
        let recent = self.0.entry(shape.kind()).or_default();
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        recent.push_back(shape);
    }

    /// `count` shapes in the proportion in which they were wanted, the one to be made first in front. `usual`:
    /// what to expect before anything was wanted.
    pub fn wanted(&self, kind: Kind, count: usize, usual: Option<Shape>) -> Vec<Shape> {
        let recent = self.0.get(&kind).filter(|recent| !recent.is_empty());
        let Some(recent) = recent else {
            return usual.map(|shape| vec![shape; count]).unwrap_or_default();
        };
        // Of each shape: how often it was wanted, and when last.
        let mut seen: BTreeMap<&Shape, (usize, usize)> = BTreeMap::new();
        for (at, shape) in recent.iter().enumerate() {
            let entry = seen.entry(shape).or_default();
            *entry = (entry.0 + 1, at);
        }
        let mut given: BTreeMap<&Shape, usize> = BTreeMap::new();
        let mut wanted = Vec::new();
        for _ in 0..count {
            // The highest number of wishes for each one given, as seats go to parties; of equals the newest.
            let next = seen
                .iter()
                .max_by(|(a, (wishes, at)), (b, (others, other_at))| {
                    let divisor = |shape: &Shape| given.get(shape).copied().unwrap_or(0) + 1;
                    let (mine, theirs) = (wishes * divisor(b), others * divisor(a));
                    mine.cmp(&theirs).then(at.cmp(other_at))
                });
            let Some((shape, _)) = next else { break };
            *given.entry(shape).or_default() += 1;
            wanted.push((*shape).clone());
        }
        wanted
    }
}

/// Failures to prepare, until one works.
#[derive(Debug, Clone, Copy, Default)]
pub struct Failures {
    count: u32,
    until: Duration,
}

impl Failures {
    pub fn failed(&mut self, now: Duration) {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.count.min(10));
        self.count += 1;
        self.until = now + doubled.min(LONGEST_PAUSE);
    }

    pub fn worked(&mut self) {
        *self = Failures::default();
    }

    /// Until when nothing is tried.
    pub fn until(&self) -> Option<Duration> {
        (self.count > 0).then_some(self.until)
    }
}

/// What a plan depends on.
#[derive(Debug, Clone)]
pub struct View<'a> {
    /// What should wait, the first to be made in front.
    pub wanted: &'a [Shape],
    /// What waits, by id.
    pub prepared: &'a [(String, Shape)],
    /// What the agent offers, and what is held of it, by those that wait too.
    pub offered: Resources,
    pub held: Resources,
    /// What the machine really has left.
    pub left: Resources,
    /// Starts that are under way now, and the end of the last one.
    pub starting: usize,
    pub last_start: Option<Duration>,
    /// Nothing is tried before.
    pub not_before: Option<Duration>,
    pub draining: bool,
}

/// Why a waiting sandbox goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// Fewer are wanted, or others.
    Unwanted,
    /// Its room is needed.
    RoomIsShort,
    /// The agent ends.
    Draining,
}

impl Because {
    pub fn name(self) -> &'static str {
        match self {
            Because::Unwanted => "unwanted",
            Because::RoomIsShort => "room",
            Because::Draining => "draining",
        }
    }
}

/// Why none is made although one is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    AgentDrains,
    /// Starts come first.
    Starting,
    /// It failed lately.
    Failed,
    /// Placement may have promised the room.
    NoRoom,
    MachineIsShort,
}

impl Waits {
    pub fn name(self) -> &'static str {
        match self {
            Waits::AgentDrains => "the agent is shutting down",
            Waits::Starting => "starts come first",
            Waits::Failed => "the last attempt failed",
            Waits::NoRoom => "all room is taken",
            Waits::MachineIsShort => "the machine is short of memory or disk",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    Prepare(Shape),
    /// As many as are wanted wait.
    Full,
    Wait(Waits),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub discard: Vec<(String, Because)>,
    pub next: Next,
}

/// What to do now.
pub fn plan(view: &View<'_>, now: Duration) -> Plan {
    let (kept, mut discard) = keep(view);
    if view.draining {
        return Plan {
            discard,
            next: Next::Wait(Waits::AgentDrains),
        };
    }
    let mut missing: Vec<&Shape> = view.wanted.iter().collect();
    for (_, shape) in &kept {
        if let Some(at) = missing.iter().position(|wanted| *wanted == shape) {
            missing.remove(at);
        }
    }
    let is_short =
        view.left.memory_mb < SPARE.memory_mb / 2 || view.left.disk_mb < SPARE.disk_mb / 2;
    let overdrawn =
        view.held.memory_mb > view.offered.memory_mb || view.held.disk_mb > view.offered.disk_mb;
    if is_short || overdrawn {
        let going = kept
            .iter()
            .map(|(id, _)| (id.clone(), Because::RoomIsShort));
        discard.extend(going);
        return Plan {
            discard,
            next: Next::Wait(if is_short {
                Waits::MachineIsShort
            } else {
                Waits::NoRoom
            }),
        };
    }
    let next = match missing.first() {
        None => Next::Full,
        Some(shape) => match obstacle(view, shape, now) {
            Some(waits) => Next::Wait(waits),
            None => Next::Prepare((*shape).clone()),
        },
    };
    Plan { discard, next }
}

type Kept<'a> = Vec<&'a (String, Shape)>;

/// Which of those that wait are still wanted.
fn keep<'a>(view: &'a View<'_>) -> (Kept<'a>, Vec<(String, Because)>) {
    let mut open: Vec<&Shape> = view.wanted.iter().collect();
    let (mut kept, mut going) = (Vec::new(), Vec::new());
    for one in view.prepared {
        match open.iter().position(|wanted| **wanted == one.1) {
            _ if view.draining => going.push((one.0.clone(), Because::Draining)),
            Some(at) => {
                open.remove(at);
                kept.push(one);
            }
            None => going.push((one.0.clone(), Because::Unwanted)),
        }
    }
    (kept, going)
}

fn obstacle(view: &View<'_>, shape: &Shape, now: Duration) -> Option<Waits> {
    let holds = shape.holds();
    let fits = |held: u64, more: u64, most: u64| held.saturating_add(more) <= most;
    if view.starting > 0 || view.last_start.is_some_and(|last| now < last + QUIET) {
        Some(Waits::Starting)
    } else if view.not_before.is_some_and(|until| now < until) {
        Some(Waits::Failed)
    } else if !fits(view.held.memory_mb, holds.memory_mb, view.offered.memory_mb)
        || !fits(view.held.disk_mb, holds.disk_mb, view.offered.disk_mb)
    {
        Some(Waits::NoRoom)
    } else if !fits(SPARE.memory_mb, holds.memory_mb, view.left.memory_mb)
        || !fits(SPARE.disk_mb, holds.disk_mb, view.left.disk_mb)
    {
        Some(Waits::MachineIsShort)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mb(memory_mb: u64, disk_mb: u64) -> Resources {
        Resources { memory_mb, disk_mb }
    }

    fn disk(disk_mb: u64) -> Shape {
        Shape::Instance { disk_mb }
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Plenty of everything, and nothing going on.
    fn calm<'a>(wanted: &'a [Shape], prepared: &'a [(String, Shape)]) -> View<'a> {
        View {
            wanted,
            prepared,
            offered: mb(4096, 4096),
            held: mb(0, 0),
            left: mb(4096, 4096),
            starting: 0,
            last_start: None,
            not_before: None,
            draining: false,
        }
    }

    #[test]
    fn what_was_wanted_most_is_expected_most_and_the_usual_before_anything_was() {
        let mut demand = Demand::default();
        let usual = Some(disk(1024));
        assert_eq!(
            demand.wanted(Kind::Instance, 2, usual.clone()),
            [disk(1024), disk(1024)]
        );
        assert_eq!(demand.wanted(Kind::Instance, 2, None), []);
        for size in [64, 512, 512, 512, 64, 512] {
            demand.note(disk(size));
        }
        let wanted = |count| demand.wanted(Kind::Instance, count, usual.clone());
        assert_eq!(wanted(1), [disk(512)]);
        assert_eq!(wanted(3), [disk(512), disk(512), disk(64)]);
        assert_eq!(wanted(0), []);
        assert_eq!(demand.wanted(Kind::Pack, 1, None), [], "another kind");
    }

    #[test]
    fn of_equals_the_newest_is_expected_and_old_demand_is_forgotten() {
        let mut demand = Demand::default();
        demand.note(disk(64));
        demand.note(disk(512));
        assert_eq!(
            demand.wanted(Kind::Instance, 2, None),
            [disk(512), disk(64)]
        );
        for _ in 0..REMEMBERED {
            demand.note(disk(100));
        }
        assert_eq!(
            demand.wanted(Kind::Instance, 2, None),
            [disk(100), disk(100)]
        );
    }

    #[test]
    fn the_first_that_is_missing_is_made_and_what_is_not_wanted_goes() {
        let wanted = [disk(512), disk(512), disk(64)];
        let prepared = [
            ("a".to_string(), disk(512)),
            ("b".to_string(), disk(32)),
            ("c".to_string(), disk(64)),
        ];
        assert_eq!(
            plan(&calm(&wanted, &prepared), secs(9)),
            Plan {
                discard: vec![("b".into(), Because::Unwanted)],
                next: Next::Prepare(disk(512)),
            }
        );
        let full = plan(
            &calm(&wanted[1..], &[prepared[0].clone(), prepared[2].clone()]),
            secs(9),
        );
        assert_eq!(
            full,
            Plan {
                discard: vec![],
                next: Next::Full
            }
        );
    }

    #[test]
    fn starts_failures_and_want_of_room_come_first() {
        let wanted = [disk(64)];
        let calm = calm(&wanted, &[]);
        let base = || calm.clone();
        for (view, waits) in [
            (
                View {
                    starting: 1,
                    ..base()
                },
                Waits::Starting,
            ),
            (
                View {
                    last_start: Some(secs(9)),
                    ..base()
                },
                Waits::Starting,
            ),
            (
                View {
                    not_before: Some(secs(10)),
                    ..base()
                },
                Waits::Failed,
            ),
            (
                View {
                    held: mb(4090, 0),
                    ..base()
                },
                Waits::NoRoom,
            ),
            (
                View {
                    held: mb(0, 4090),
                    ..base()
                },
                Waits::NoRoom,
            ),
            (
                View {
                    left: mb(200, 4096),
                    ..base()
                },
                Waits::MachineIsShort,
            ),
            (
                View {
                    left: mb(4096, 500),
                    ..base()
                },
                Waits::MachineIsShort,
            ),
        ] {
            assert_eq!(plan(&view, secs(9)).next, Next::Wait(waits), "{view:?}");
            let later = View {
                starting: 0,
                held: mb(0, 0),
                left: mb(4096, 4096),
                ..view
            };
            assert_eq!(
                plan(&later, secs(11)).next,
                Next::Prepare(disk(64)),
                "{later:?}"
            );
        }
    }

    #[test]
    fn what_waits_goes_when_room_is_short_or_the_agent_ends() {
        let wanted = [disk(64)];
        let prepared = [("a".to_string(), disk(64))];
        let calm = calm(&wanted, &prepared);
        let base = || calm.clone();
        for (view, because) in [
            (
                View {
                    left: mb(100, 4096),
                    ..base()
                },
                Because::RoomIsShort,
            ),
            (
                View {
                    left: mb(4096, 200),
                    ..base()
                },
                Because::RoomIsShort,
            ),
            (
                View {
                    held: mb(4097, 0),
                    ..base()
                },
                Because::RoomIsShort,
            ),
            (
                View {
                    draining: true,
                    ..base()
                },
                Because::Draining,
            ),
        ] {
            let plan = plan(&view, secs(9));
            assert_eq!(plan.discard, [("a".to_string(), because)]);
            assert!(matches!(plan.next, Next::Wait(_)));
        }
    }

    #[test]
    fn failures_make_it_try_less_and_less_often() {
        let mut failures = Failures::default();
        assert_eq!(failures.until(), None);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            failures.failed(secs(100));
            pauses.push(failures.until().expect("a pause").as_secs() - 100);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        failures.worked();
        assert_eq!(failures.until(), None);
    }

    fn shapes() -> impl Strategy<Value = Vec<Shape>> {
        proptest::collection::vec((0u64..3, any::<bool>()), 0..6).prop_map(|shapes| {
            let shape = |(disk_mb, pack): (u64, bool)| match pack {
                true => Shape::Pack {
                    disk_mb,
                    base: String::new(),
                },
                false => Shape::Instance { disk_mb },
            };
            shapes.into_iter().map(shape).collect()
        })
    }

    proptest! {
        /// Followed long enough, a plan gives exactly what is wanted, never takes more than is offered, and
        /// then rests.
        #[test]
        fn it_comes_to_rest_with_what_is_wanted_or_what_fits(
            wanted in shapes(), at_first in shapes(), offered in 0u64..700,
        ) {
            let mut prepared: Vec<(String, Shape)> = at_first
                .into_iter()
                .enumerate()
                .map(|(number, shape)| (format!("old-{number}"), shape))
                .collect();
            let mut rounds = 0;
            loop {
                let held = prepared.iter().fold(mb(0, 0), |sum, (_, shape)| {
                    let holds = shape.holds();
                    mb(sum.memory_mb + holds.memory_mb, sum.disk_mb + holds.disk_mb)
                });
                let view = View { offered: mb(offered, 4096), held, ..calm(&wanted, &prepared) };
                let plan = plan(&view, secs(9));
                prop_assert_eq!(&plan, &super::plan(&view, secs(9)));
                let going: Vec<String> = plan.discard.iter().map(|(id, _)| id.clone()).collect();
                let none_goes = going.is_empty();
                prepared.retain(|(id, _)| !going.contains(id));
                match plan.next {
                    Next::Prepare(shape) => {
                        prop_assert!(held.memory_mb + shape.holds().memory_mb <= offered);
                        prepared.push((format!("new-{rounds}"), shape));
                    }
                    Next::Full if none_goes => {
                        let mut there: Vec<Shape> = prepared.iter().map(|(_, shape)| shape.clone()).collect();
                        let mut wanted = wanted.clone();
                        there.sort();
                        wanted.sort();
                        prop_assert_eq!(there, wanted);
                        break;
                    }
                    Next::Wait(waits) if none_goes => {
                        prop_assert_eq!(waits, Waits::NoRoom);
                        break;
                    }
                    Next::Full | Next::Wait(_) => {}
                }
                rounds += 1;
                prop_assert!(rounds < 40, "it does not come to rest");
            }
        }
    }
}
