//! Which instance a request goes to: the one it insists on, the one that has its session, or the one that
//! [`crate::domain::balance`] chooses.

use super::proxy::Worker;
use crate::domain::balance::{Algorithm, Candidate, Choice, choose, choose_by_hash, stable_hash};
use crate::domain::forwarding::Pin;
use crate::domain::policy::Policy;
use crate::domain::sticky::{KeptWish, StickyRules, Wish};
use crate::domain::table::{Endpoint, Member, Pool};
use http::header::{self, HeaderMap, HeaderValue};

/// Where a request has to go, if it is not free to choose.
pub enum Target {
    Any,
    /// Preferred: a session is there.
    Rather(Member),
    /// Insisted on.
    Only(Member),
}

pub fn wish<'a>(rules: &StickyRules, headers: &'a HeaderMap) -> Wish<'a> {
    let cookies = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let authorization = rules
        .negotiate
        .then(|| headers.get(header::AUTHORIZATION)?.to_str().ok())
        .flatten();
    rules.wish(cookies, authorization)
}

pub fn target(
    pool: &Pool,
    pin: Option<&Pin>,
    wished: Option<&str>,
) -> Result<Target, (String, String)> {
    match pin {
        Some(Pin::App { guid, index }) => match pool.find_index(guid, index) {
            Some(member) => Ok(Target::Only(member.clone())),
            None => Err((index.clone(), guid.clone())),
        },
        Some(Pin::Process { guid, index }) => match pool.find_process_index(guid, index.as_deref())
        {
            Some(member) => Ok(Target::Only(member.clone())),
            None => Err((index.clone().unwrap_or_default(), guid.clone())),
        },
        None => {
            let wished = wished.and_then(|id| pool.find_instance(id));
            Ok(wished.map_or(Target::Any, |member| Target::Rather(member.clone())))
        }
    }
}

/// The hash of the header that chooses the instance, where the route has one and the request too.
pub fn hashed(pool: &Pool, headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(&pool.hash()?.header)?;
    Some(stable_hash(value.as_bytes()))
}

pub fn pick<'a>(
    worker: &Worker,
    policy: &Policy,
    pool: &'a Pool,
    tried: &[u64],
    hash: Option<u64>,
) -> Result<&'a Member, Choice> {
    let now = worker.clock.now();
    let look = |place: usize| {
        let endpoint = &pool.members[place].endpoint;
        Candidate {
            in_flight: endpoint.in_flight(),
            set_aside: endpoint.is_set_aside(now),
            tried: endpoint.is_gone() || tried.contains(&endpoint.number),
        }
    };
    let overdue = |place: usize| pool.members[place].is_overdue(now, policy.overdue_after());
    let punctual = |place: usize| {
        let candidate = look(place);
        Candidate {
            set_aside: candidate.set_aside || overdue(place),
            ..candidate
        }
    };
    let algorithm = pool.algorithm().unwrap_or(policy.algorithm);
    let choose = |look: &dyn Fn(usize) -> Candidate| match hash {
        Some(value) => choose_by_hash(
            pool.members.len(),
            look,
            |place| pool.members[place].endpoint.weight,
            value,
            policy.max_per_endpoint,
            pool.hash().map_or(0.0, |hash| hash.balance),
        ),
        None => choose(
            pool.members.len(),
            look,
            algorithm,
            policy.max_per_endpoint,
            rand::random(),
            // (Who goes by nothing of the pool's has no need to write to it.)
            match algorithm {
                Algorithm::RoundRobin => pool.turn(),
                Algorithm::RandomOfTwo | Algorithm::LeastConnection | Algorithm::Hash => 0,
            },
        ),
    };
    // One nearby that is well, or anyone.
    if let Some(zone) = policy.zone.as_deref().filter(|_| tried.is_empty()) {
        let near = |place: usize| {
            let elsewhere = pool.members[place].endpoint.identity.zone() != Some(zone);
            let candidate = punctual(place);
            Candidate {
                tried: candidate.tried || candidate.set_aside || elsewhere,
                ..candidate
            }
        };
        if let Choice::Take { place, .. } = choose(&near) {
            return Ok(&pool.members[place]);
        }
    }
    let chosen = choose(&look);
    // The instances of an agent that fell silent come last. (All are overdue while the bus is away: then none is.)
    if let Choice::Take {
        place,
        all_set_aside: false,
    } = chosen
        && overdue(place)
        && let Choice::Take {
            place,
            all_set_aside: false,
        } = choose(&punctual)
    {
        return Ok(&pool.members[place]);
    }
    match chosen {
        Choice::Take {
            place,
            all_set_aside,
        } => {
            if all_set_aside && tried.is_empty() {
                for member in &pool.members {
                    member.endpoint.set_aside(0);
                }
            }
            Ok(&pool.members[place])
        }
        other => Err(other),
    }
}

pub fn add_affinity(
    rules: &StickyRules,
    headers: &mut HeaderMap,
    wish: Option<&KeptWish>,
    endpoint: &Endpoint,
    pool: &Pool,
) {
    if wish.is_none() && !headers.contains_key(header::SET_COOKIE) {
        return;
    }
    let Some(instance) = endpoint.identity.instance_id() else {
        return;
    };
    let set = headers
        .get_all(header::SET_COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let wish = wish.map(KeptWish::as_wish).unwrap_or_default();
    for cookie in rules.cookies(set, wish, instance, pool.name.path()) {
        if let Ok(value) = HeaderValue::try_from(cookie) {
            headers.append(header::SET_COOKIE, value);
        }
    }
}
