//! Which instance of a route gets the next request.
//!
//! Default is "random of two": draw two, take the one with fewer requests in flight. It needs no
//! state shared between cores, follows load almost as well as looking at all, and unlike
//! least-connection does not send a herd to the instance that just came up.
//!
//! An instance that refused a connection is set aside for a while. When all are set aside the
//! marks mean nothing any more (the fault is likely on our side) and are ignored; the caller
//! clears them.

/// How to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    RandomOfTwo,
    LeastConnection,
    RoundRobin,
    /// By the value of a header, where the request has it: see [`choose_by_hash`].
    Hash,
}

impl Algorithm {
    /// Names of the setting and of `options.loadbalancing`.
    pub fn parse(name: &str) -> Option<Algorithm> {
        match name {
            "random-of-two" => Some(Algorithm::RandomOfTwo),
            "least-connection" => Some(Algorithm::LeastConnection),
            "round-robin" => Some(Algorithm::RoundRobin),
            "hash" => Some(Algorithm::Hash),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Algorithm::RandomOfTwo => "random-of-two",
            Algorithm::LeastConnection => "least-connection",
            Algorithm::RoundRobin => "round-robin",
            Algorithm::Hash => "hash",
        }
    }
}

/// What matters about one candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Requests in flight.
    pub in_flight: usize,
    /// Set aside after a failure.
    pub set_aside: bool,
    /// Already tried for this request.
    pub tried: bool,
}

/// The verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Take the candidate at this place.
    Take {
        place: usize,
        /// Every untried one was set aside: clear the marks.
        all_set_aside: bool,
    },
    /// There is nobody.
    Empty,
    /// All that were not tried serve as many requests as they may.
    Full,
    /// Every candidate was tried.
    Exhausted,
}

/// Chooses among `count` candidates read through `look`. `limit` 0 means none. `random` is a fresh
/// random number; `turn` the pool's round-robin counter.
pub fn choose(
    count: usize,
    look: impl Fn(usize) -> Candidate,
    algorithm: Algorithm,
    limit: usize,
    random: u64,
    turn: usize,
) -> Choice {
    if count == 0 {
        return Choice::Empty;
    }
    // Mostly all are well, and then nobody else needs to be looked at: in a large table each look waits for memory.
    let well = |candidate: Candidate| {
        !candidate.tried && !candidate.set_aside && (limit == 0 || candidate.in_flight < limit)
    };
    let at_once = match algorithm {
        Algorithm::RoundRobin => Some(turn % count).filter(|place| well(look(*place))),
        Algorithm::RandomOfTwo | Algorithm::Hash if count > 1 => {
            let (first, other) = two_of(random, count);
            let (a, b) = (look(first), look(other));
            let better = if b.in_flight < a.in_flight {
                other
            } else {
                first
            };
            (well(a) && well(b)).then_some(better)
        }
        Algorithm::RandomOfTwo | Algorithm::Hash | Algorithm::LeastConnection => None,
    };
    if let Some(place) = at_once {
        return Choice::Take {
            place,
            all_set_aside: false,
        };
    }
    let mut healthy = 0;
    let mut set_aside = 0;
    let mut full = 0;
    for place in 0..count {
        let candidate = look(place);
        if candidate.tried {
            continue;
        }
        if limit != 0 && candidate.in_flight >= limit {
            full += 1;
        } else if candidate.set_aside {
            set_aside += 1;
        } else {
            healthy += 1;
        }
    }
    let all_set_aside = healthy == 0;
    let eligible = |candidate: Candidate| {
        !candidate.tried
            && (limit == 0 || candidate.in_flight < limit)
            && (all_set_aside || !candidate.set_aside)
    };
    let many = if all_set_aside { set_aside } else { healthy };
    if many == 0 {
        return if full > 0 {
            Choice::Full
        } else {
            Choice::Exhausted
        };
    }
    // The n-th eligible one. Counters may move while we look; falling back to the last eligible
    // one seen keeps the answer valid.
    let nth = |n: usize| {
        let mut left = n;
        let mut last = 0;
        for place in 0..count {
            if eligible(look(place)) {
                last = place;
                if left == 0 {
                    return place;
                }
                left -= 1;
            }
        }
        last
    };
    let place = match algorithm {
        Algorithm::RoundRobin => nth(turn % many),
        // (A request without the header that is hashed.)
        Algorithm::RandomOfTwo | Algorithm::Hash => {
            if many == 1 {
                nth(0)
            } else {
                let (first, other) = two_of(random, many);
                let (a, b) = (nth(first), nth(other));
                if look(b).in_flight < look(a).in_flight {
                    b
                } else {
                    a
                }
            }
        }
        Algorithm::LeastConnection => {
            // Start anywhere, so that equals share.
            let start = (random as u32) as usize % count;
            (0..count)
                .map(|step| (start + step) % count)
                .filter(|place| eligible(look(*place)))
                .min_by_key(|place| look(*place).in_flight)
                .unwrap_or_else(|| nth(0))
        }
    };
    Choice::Take {
        place,
        all_set_aside,
    }
}

/// Two different ones of so many (at least two).
fn two_of(random: u64, many: usize) -> (usize, usize) {
    let first = (random as u32) as usize % many;
    let other = (first + 1 + (random >> 32) as usize % (many - 1)) % many;
    (first, other)
}

/// FNV-1a with a final mix: the same on every router and in every version.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(hash)
}

fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// Chooses by rendezvous: each candidate has a `weight` that is its own, and with the hashed `value` a score;
/// the highest of those that can be taken has it. So a value stays with its instance as long as that is there,
/// whoever else comes and goes, on every router. `balance` (over 1; 0 for none): one with more than so many times the
/// average of requests is passed over.
pub fn choose_by_hash(
    count: usize,
    look: impl Fn(usize) -> Candidate,
    weight: impl Fn(usize) -> u64,
    value: u64,
    limit: usize,
    balance: f64,
) -> Choice {
    if count == 0 {
        return Choice::Empty;
    }
    let candidates: Vec<Candidate> = (0..count).map(look).collect();
    let untried = || candidates.iter().filter(|candidate| !candidate.tried);
    if untried().count() == 0 {
        return Choice::Exhausted;
    }
    let open =
        |candidate: &Candidate| !candidate.tried && (limit == 0 || candidate.in_flight < limit);
    let all_set_aside = !candidates
        .iter()
        .any(|candidate| open(candidate) && !candidate.set_aside);
    let total: usize = untried().map(|candidate| candidate.in_flight).sum();
    // With the request that is being placed.
    let average = (total + 1) as f64 / untried().count() as f64;
    let overloaded = |candidate: &Candidate| {
        balance > 1.0 && (candidate.in_flight + 1) as f64 > (average * balance).max(1.0)
    };
    let best = |fits: &dyn Fn(&Candidate) -> bool| {
        (0..count)
            .filter(|place| fits(&candidates[*place]))
            .max_by_key(|place| mix(value ^ weight(*place)))
    };
    let eligible =
        |candidate: &Candidate| open(candidate) && (all_set_aside || !candidate.set_aside);
    let place = best(&|candidate| eligible(candidate) && !overloaded(candidate))
        .or_else(|| best(&eligible));
    match place {
        Some(place) => Choice::Take {
            place,
            all_set_aside,
        },
        None => Choice::Full,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_hash(candidates: &[Candidate], value: &str, limit: usize, balance: f64) -> Choice {
        choose_by_hash(
            candidates.len(),
            |place| candidates[place],
            |place| stable_hash(format!("instance-{place}").as_bytes()),
            stable_hash(value.as_bytes()),
            limit,
            balance,
        )
    }

    fn place_of(choice: Choice) -> usize {
        let Choice::Take { place, .. } = choice else {
            panic!("{choice:?}");
        };
        place
    }

    #[test]
    fn a_value_stays_with_its_instance_whoever_comes_and_goes() {
        let five = [free(0); 5];
        let mut seen = [0; 5];
        for n in 0..1000 {
            let value = format!("user-{n}");
            let home = place_of(by_hash(&five, &value, 0, 0.0));
            seen[home] += 1;
            // One more instance takes some over; no value moves between the others.
            let with_sixth = place_of(by_hash(&[free(0); 6], &value, 0, 0.0));
            assert!(with_sixth == home || with_sixth == 5);
            let mut without = five;
            without[(home + 1) % 5].set_aside = true;
            assert_eq!(place_of(by_hash(&without, &value, 0, 0.0)), home);
            without[home].tried = true;
            assert_ne!(place_of(by_hash(&without, &value, 0, 0.0)), home);
        }
        assert!(seen.iter().all(|count| *count > 120), "{seen:?}");
    }

    #[test]
    fn an_overloaded_instance_is_passed_over() {
        let home = place_of(by_hash(&[free(0); 3], "user", 0, 1.5));
        let mut loaded = [free(1); 3];
        loaded[home].in_flight = 9;
        assert_ne!(place_of(by_hash(&loaded, "user", 0, 1.5)), home);
        assert_eq!(place_of(by_hash(&loaded, "user", 0, 0.0)), home);
        assert_ne!(place_of(by_hash(&loaded, "user", 9, 0.0)), home);
        assert_eq!(by_hash(&[free(4); 3], "user", 4, 0.0), Choice::Full);
        assert_eq!(by_hash(&[], "user", 0, 0.0), Choice::Empty);
        let tried = Candidate {
            tried: true,
            ..free(0)
        };
        assert_eq!(by_hash(&[tried; 2], "user", 0, 0.0), Choice::Exhausted);
    }

    fn free(in_flight: usize) -> Candidate {
        Candidate {
            in_flight,
            set_aside: false,
            tried: false,
        }
    }

    fn pick(
        candidates: &[Candidate],
        algorithm: Algorithm,
        limit: usize,
        random: u64,
        turn: usize,
    ) -> Choice {
        choose(
            candidates.len(),
            |place| candidates[place],
            algorithm,
            limit,
            random,
            turn,
        )
    }

    const ALL: [Algorithm; 4] = [
        Algorithm::Hash,
        Algorithm::RandomOfTwo,
        Algorithm::LeastConnection,
        Algorithm::RoundRobin,
    ];

    #[test]
    fn nobody_is_said_so() {
        for algorithm in ALL {
            assert_eq!(pick(&[], algorithm, 0, 7, 0), Choice::Empty);
        }
    }

    #[test]
    fn where_all_are_well_few_are_looked_at() {
        for (algorithm, most, place) in [
            (Algorithm::RandomOfTwo, 2, 90),
            (Algorithm::RoundRobin, 1, 5),
        ] {
            let looks = std::cell::Cell::new(0);
            let look = |place: usize| {
                looks.set(looks.get() + 1);
                free(place)
            };
            let chosen = choose(100, look, algorithm, 0, 7 << 32 | 90, 5);
            let all_set_aside = false;
            assert_eq!(
                chosen,
                Choice::Take {
                    place,
                    all_set_aside
                }
            );
            assert_eq!(looks.get(), most, "{algorithm:?}");
        }
    }

    #[test]
    fn one_set_aside_is_avoided_unless_all_are() {
        let aside = Candidate {
            set_aside: true,
            ..free(0)
        };
        for algorithm in ALL {
            for random in 0..50u64 {
                let random = random.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                assert_eq!(
                    pick(
                        &[aside, free(9), aside],
                        algorithm,
                        0,
                        random,
                        random as usize
                    ),
                    Choice::Take {
                        place: 1,
                        all_set_aside: false
                    }
                );
                assert!(matches!(
                    pick(&[aside, aside], algorithm, 0, random, 3),
                    Choice::Take {
                        all_set_aside: true,
                        ..
                    }
                ));
            }
        }
    }

    #[test]
    fn tried_ones_are_not_taken_again() {
        let tried = Candidate {
            tried: true,
            ..free(0)
        };
        for algorithm in ALL {
            assert_eq!(pick(&[tried, tried], algorithm, 0, 1, 1), Choice::Exhausted);
            assert_eq!(
                pick(&[tried, free(100)], algorithm, 0, 1, 1),
                Choice::Take {
                    place: 1,
                    all_set_aside: false
                }
            );
        }
    }

    #[test]
    fn a_limit_is_kept() {
        for algorithm in ALL {
            assert_eq!(pick(&[free(4), free(4)], algorithm, 4, 1, 1), Choice::Full);
            assert_eq!(
                pick(&[free(4), free(3)], algorithm, 4, 1, 1),
                Choice::Take {
                    place: 1,
                    all_set_aside: false
                }
            );
        }
    }

    #[test]
    fn least_connection_takes_the_least_and_round_robin_walks() {
        let three = [free(3), free(1), free(2)];
        for random in 0..20 {
            assert_eq!(
                pick(&three, Algorithm::LeastConnection, 0, random, 0),
                Choice::Take {
                    place: 1,
                    all_set_aside: false
                }
            );
        }
        let walked: Vec<_> = (0..6)
            .map(|turn| pick(&three, Algorithm::RoundRobin, 0, 0, turn))
            .collect();
        let places = [0, 1, 2, 0, 1, 2].map(|place| Choice::Take {
            place,
            all_set_aside: false,
        });
        assert_eq!(walked, places);
    }

    #[test]
    fn random_of_two_never_takes_the_most_loaded_of_two_and_reaches_all() {
        let two = [free(5), free(0)];
        let mut seen = [0u32; 3];
        for n in 0..300u64 {
            let random = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            assert_eq!(
                pick(&two, Algorithm::RandomOfTwo, 0, random, 0),
                Choice::Take {
                    place: 1,
                    all_set_aside: false
                }
            );
            if let Choice::Take { place, .. } = pick(
                &[free(0), free(0), free(0)],
                Algorithm::RandomOfTwo,
                0,
                random,
                0,
            ) {
                seen[place] += 1;
            }
        }
        assert!(seen.iter().all(|count| *count > 30), "{seen:?}");
    }
}
