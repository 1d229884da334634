//! What an agent may still take (contract §5.2).
//!
//! Offered is what the machine has times the overcommit factor; reserved is the sum of the limits
//! of everything that runs or is about to: instances and tasks. A crashed instance that is kept
//! for its owner to look at holds disk but no memory, and gives way: if only disk is missing, the
//! oldest kept ones are evicted before anything is refused. So does a pack's sandbox in which nothing
//! runs, for memory too; those go first, because they are made again in a moment. Before them go the
//! sandboxes that were prepared for nobody in particular: nobody misses them.
//!
//! Limits are counted, not use: an app may use its limit at any moment.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resources {
    pub memory_mb: u64,
    pub disk_mb: u64,
}

/// What somebody holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim<K> {
    pub key: K,
    pub limits: Resources,
    pub hold: Hold,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Hold {
    /// Runs, or is about to, or is being stopped.
    Live,
    /// Crashed and kept since then (Unix seconds).
    Kept { since: f64 },
    /// Ready for work, without any since then (seconds of any clock).
    Idle { since: f64 },
    /// Prepared for whoever comes.
    Prepared,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    Memory,
    Disk,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Resource::Memory => "memory",
            Resource::Disk => "disk",
        })
    }
}

/// Why there is no room. `Display` is the text Cloud Foundry's agents used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Not enough {resource} resource available.")]
pub struct Refused {
    pub resource: Resource,
    pub needed_mb: u64,
    pub free_mb: u64,
}

/// What an agent offers, given what it has and the factors set by the operator.
pub fn offered(total: Resources, memory_factor: f64, disk_factor: f64) -> Resources {
    // `as` saturates: a factor out of any reason cannot wrap around.
    let times = |megabytes: u64, factor: f64| (megabytes as f64 * factor.max(0.0)) as u64;
    Resources {
        memory_mb: times(total.memory_mb, memory_factor),
        disk_mb: times(total.disk_mb, disk_factor),
    }
}

/// The sum of what is held.
pub fn reserved<'a, K: 'a>(claims: impl IntoIterator<Item = &'a Claim<K>>) -> Resources {
    claims
        .into_iter()
        .fold(Resources::default(), |sum, claim| Resources {
            memory_mb: match claim.hold {
                Hold::Live | Hold::Idle { .. } | Hold::Prepared => {
                    sum.memory_mb.saturating_add(claim.limits.memory_mb)
                }
                Hold::Kept { .. } => sum.memory_mb,
            },
            disk_mb: sum.disk_mb.saturating_add(claim.limits.disk_mb),
        })
}

/// What can be given away at once. What is given up on demand counts as free.
pub fn available<'a, K: 'a>(
    offered: Resources,
    claims: impl IntoIterator<Item = &'a Claim<K>>,
) -> Resources {
    let live = claims
        .into_iter()
        .filter(|claim| matches!(claim.hold, Hold::Live));
    let reserved = reserved(live);
    Resources {
        memory_mb: offered.memory_mb.saturating_sub(reserved.memory_mb),
        disk_mb: offered.disk_mb.saturating_sub(reserved.disk_mb),
    }
}

/// Whether `wanted` fits, and who has to go for it: prepared ones, then idle ones, then kept crashes, each
/// oldest first.
pub fn admit<K: Clone>(
    offered: Resources,
    claims: &[Claim<K>],
    wanted: Resources,
) -> Result<Vec<K>, Refused> {
    let free = available(offered, claims);
    for (resource, needed_mb, free_mb) in [
        (Resource::Memory, wanted.memory_mb, free.memory_mb),
        (Resource::Disk, wanted.disk_mb, free.disk_mb),
    ] {
        if needed_mb > free_mb {
            return Err(Refused {
                resource,
                needed_mb,
                free_mb,
            });
        }
    }
    let mut held = reserved(claims);
    let mut giving: Vec<(&Claim<K>, u8, f64)> = claims
        .iter()
        .filter_map(|claim| match claim.hold {
            Hold::Prepared => Some((claim, 0, 0.0)),
            Hold::Idle { since } => Some((claim, 1, since)),
            Hold::Kept { since } => Some((claim, 2, since)),
            Hold::Live => None,
        })
        .collect();
    giving.sort_by(|(_, a, since), (_, b, other)| a.cmp(b).then(since.total_cmp(other)));
    let mut evicted = Vec::new();
    for (claim, _, _) in giving {
        let memory_fits = held.memory_mb.saturating_add(wanted.memory_mb) <= offered.memory_mb;
        let disk_fits = held.disk_mb.saturating_add(wanted.disk_mb) <= offered.disk_mb;
        let has_memory = matches!(claim.hold, Hold::Idle { .. } | Hold::Prepared);
        if disk_fits && (memory_fits || !has_memory) {
            continue;
        }
        held.disk_mb = held.disk_mb.saturating_sub(claim.limits.disk_mb);
        if has_memory {
            held.memory_mb = held.memory_mb.saturating_sub(claim.limits.memory_mb);
        }
        evicted.push(claim.key.clone());
    }
    Ok(evicted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mb(memory_mb: u64, disk_mb: u64) -> Resources {
        Resources { memory_mb, disk_mb }
    }

    fn live(key: u32, limits: Resources) -> Claim<u32> {
        Claim {
            key,
            limits,
            hold: Hold::Live,
        }
    }

    fn kept(key: u32, limits: Resources, since: f64) -> Claim<u32> {
        Claim {
            key,
            limits,
            hold: Hold::Kept { since },
        }
    }

    #[test]
    fn refusals_name_the_resource() {
        let claims = [live(1, mb(600, 100))];
        let memory = admit(mb(1000, 1000), &claims, mb(500, 10)).expect_err("memory is short");
        assert_eq!(memory.to_string(), "Not enough memory resource available.");
        assert_eq!((memory.needed_mb, memory.free_mb), (500, 400));
        let disk = admit(mb(1000, 1000), &claims, mb(100, 901)).expect_err("disk is short");
        assert_eq!(disk.to_string(), "Not enough disk resource available.");
        assert_eq!(admit(mb(1000, 1000), &claims, mb(400, 900)), Ok(vec![]));
    }

    #[test]
    fn overcommit_stretches_what_is_offered() {
        assert_eq!(offered(mb(1000, 1000), 1.5, 0.5), mb(1500, 500));
        assert_eq!(offered(mb(1000, 1000), f64::NAN, -1.0), mb(0, 0));
        assert_eq!(offered(mb(u64::MAX, 1), 100.0, 1.0).memory_mb, u64::MAX);
    }

    #[test]
    fn kept_crashes_hold_no_memory_and_give_way_oldest_first() {
        let claims = [
            kept(1, mb(1000, 400), 30.0),
            kept(2, mb(1000, 400), 10.0),
            live(3, mb(100, 100)),
        ];
        assert_eq!(reserved(&claims), mb(100, 900));
        assert_eq!(admit(mb(1000, 1000), &claims, mb(900, 100)), Ok(vec![]));
        assert_eq!(admit(mb(1000, 1000), &claims, mb(900, 300)), Ok(vec![2]));
        assert_eq!(admit(mb(1000, 1000), &claims, mb(900, 800)), Ok(vec![2, 1]));
    }

    #[test]
    fn idle_ones_give_way_before_crashes_and_for_memory_too() {
        let idle = |key, since| Claim {
            key,
            limits: mb(300, 100),
            hold: Hold::Idle { since },
        };
        let claims = [
            kept(1, mb(300, 300), 1.0),
            idle(2, 9.0),
            idle(3, 5.0),
            live(4, mb(200, 100)),
        ];
        assert_eq!(reserved(&claims), mb(800, 600));
        assert_eq!(available(mb(1000, 1000), &claims), mb(800, 900));
        assert_eq!(admit(mb(1000, 1000), &claims, mb(200, 100)), Ok(vec![]));
        assert_eq!(admit(mb(1000, 1000), &claims, mb(300, 100)), Ok(vec![3]));
        assert_eq!(admit(mb(1000, 1000), &claims, mb(800, 100)), Ok(vec![3, 2]));
        assert_eq!(
            admit(mb(1000, 1000), &claims, mb(1, 900)),
            Ok(vec![3, 2, 1])
        );
    }

    #[test]
    fn prepared_ones_are_the_first_to_go_and_count_as_free() {
        let prepared = |key| Claim {
            key,
            limits: mb(100, 100),
            hold: Hold::Prepared,
        };
        let idle = Claim {
            key: 1,
            limits: mb(300, 100),
            hold: Hold::Idle { since: 0.0 },
        };
        let claims = [idle, prepared(2), prepared(3), live(4, mb(400, 100))];
        assert_eq!(reserved(&claims), mb(900, 400));
        assert_eq!(available(mb(1000, 1000), &claims), mb(600, 900));
        assert_eq!(admit(mb(1000, 1000), &claims, mb(100, 100)), Ok(vec![]));
        assert_eq!(admit(mb(1000, 1000), &claims, mb(150, 100)), Ok(vec![2]));
        assert_eq!(
            admit(mb(1000, 1000), &claims, mb(600, 100)),
            Ok(vec![2, 3, 1])
        );
    }

    proptest! {
        /// Whatever is asked in whatever order, live claims never exceed what is offered, and
        /// what stays after the evictions never exceeds its disk.
        #[test]
        fn admitted_work_always_fits(
            requests in proptest::collection::vec((0u64..500, 0u64..500, 0u8..4), 0..60),
            total in (0u64..2000, 0u64..2000),
        ) {
            let offered = mb(total.0, total.1);
            let mut claims: Vec<Claim<u32>> = Vec::new();
            for (number, (memory, disk, then)) in requests.into_iter().enumerate() {
                let key = u32::try_from(number).expect("few requests");
                if let Ok(evicted) = admit(offered, &claims, mb(memory, disk)) {
                    for gone in &evicted {
                        prop_assert!(claims.iter().any(|claim| claim.key == *gone && claim.hold != Hold::Live));
                    }
                    claims.retain(|claim| !evicted.contains(&claim.key));
                    claims.push(live(key, mb(memory, disk)));
                }
                let held = reserved(&claims);
                prop_assert!(held.memory_mb <= offered.memory_mb);
                prop_assert!(held.disk_mb <= offered.disk_mb);
                if let Some(claim) = claims.last_mut() {
                    let since = f64::from(key);
                    let holds = [claim.hold, Hold::Kept { since }, Hold::Idle { since }, Hold::Prepared];
                    claim.hold = holds[usize::from(then)];
                }
            }
        }

        /// What is said to be available is admitted, one more is not.
        #[test]
        fn available_is_exactly_what_is_admitted(
            held in proptest::collection::vec((0u64..300, 0u64..300, any::<bool>()), 0..10),
            total in (0u64..2000, 0u64..2000),
        ) {
            let claims: Vec<Claim<u32>> = held.into_iter().map(|(memory, disk, crashed)| {
                if crashed { kept(0, mb(memory, disk), 0.0) } else { live(0, mb(memory, disk)) }
            }).collect();
            let offered = mb(total.0, total.1);
            let free = available(offered, &claims);
            let reserved_live = reserved(claims.iter().filter(|claim| claim.hold == Hold::Live));
            if reserved_live.memory_mb <= offered.memory_mb && reserved_live.disk_mb <= offered.disk_mb {
                prop_assert!(admit(offered, &claims, free).is_ok());
            }
            prop_assert!(admit(offered, &claims, mb(free.memory_mb + 1, 0)).is_err());
            prop_assert!(admit(offered, &claims, mb(0, free.disk_mb + 1)).is_err());
        }
    }
}
