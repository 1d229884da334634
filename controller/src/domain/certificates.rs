//! Which certificates are ordered, and when.
//!
//! **Problem.** Authorities limit how often they may be asked, for longer the more often it was in vain, and a
//! certificate that is not renewed takes its sites down. So nothing is ordered that cannot be had, what fails waits
//! longer each time, and what is due goes first that failed least.
//!
//! **Approach.** [`Policy`] is what the operator set, [`Known`] what is on record of one domain; [`standing`] says of one
//! domain what is to be done, [`next`] which one is ordered now. The rest is bookkeeping: [`wait`] after failures,
//! [`renewal`] at two thirds of a certificate's life unless its authority advises otherwise ([`advised`]).
//!
//! **What a newcomer gets wrong.** A domain that is no longer wanted keeps its certificate until that ends: a route
//! that is unmapped and mapped again must not cost an order each time.

use proto::config::Settings;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// Nothing waits longer for its next attempt because it failed.
pub const LONGEST_WAIT: Duration = Duration::from_secs(86_400);
/// So long nothing is ordered after the authority had too much of it, if it does not say.
pub const LIMITED_WAIT: Duration = Duration::from_secs(3600);

/// What an operator set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub on: bool,
    pub directory: String,
    pub trust_file: Option<String>,
    pub email: String,
    pub domains: Vec<String>,
    pub custom_domains: bool,
    pub retry: Duration,
}

impl Policy {
    pub fn read(settings: &Settings) -> Policy {
        let trust_file = settings.text("router/acme/trust_file");
        Policy {
            on: settings.bool("router/acme/terms_agreed"),
            directory: settings.text("router/acme/directory"),
            trust_file: (!trust_file.is_empty()).then_some(trust_file),
            email: settings.text("router/acme/email"),
            domains: settings
                .text("router/acme/domains")
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_ascii_lowercase)
                .collect(),
            custom_domains: settings.bool("router/acme/custom_domains"),
            retry: settings.duration("router/acme/retry"),
        }
    }
}

/// Why a domain is to have a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// An operator named it.
    Listed,
    /// A route of an app has it.
    Route,
}

impl Source {
    pub fn name(self) -> &'static str {
        match self {
            Source::Listed => "listed",
            Source::Route => "route",
        }
    }
}

/// The domains that are to have one.
pub fn wanted(policy: &Policy, hosts: &[String]) -> BTreeMap<String, Source> {
    let listed = policy
        .domains
        .iter()
        .map(|name| (name.clone(), Source::Listed));
    let hosts = hosts
        .iter()
        .map(|name| (name.to_ascii_lowercase(), Source::Route));
    // Of two entries the later one stays.
    hosts
        .filter(|_| policy.custom_domains)
        .chain(listed)
        .collect()
}

/// Why no certificate can be had for a name, whoever is asked.
pub fn refusal(domain: &str) -> Option<&'static str> {
    if domain.starts_with("*.") {
        return Some(
            "a wildcard cannot be proven by HTTP (http-01): list its names, or put a certificate of your own in place",
        );
    }
    if domain.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Some("it is an address and no name");
    }
    if !proto::config::is_host_name(domain) {
        return Some("it is no name of DNS with at least two labels");
    }
    None
}

/// A certificate there is. Times in Unix microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The directory it is from.
    pub directory: String,
    pub not_after: i64,
    pub renew_at: i64,
}

/// What is on record of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    pub issued: Option<Issued>,
    /// Whom the newest attempt asked.
    pub directory: String,
    /// In a row.
    pub failures: u32,
    /// None is made before.
    pub next_attempt_at: i64,
    pub last_error: Option<String>,
}

/// How it is with a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// None can be had.
    Refused(&'static str),
    /// One is to be ordered.
    Due(&'static str),
    /// One is to be ordered, but not yet: the last attempt failed, or is being made.
    Waiting {
        until: i64,
    },
    Valid {
        renew_at: i64,
    },
    /// Nobody wants it any more.
    Unwanted,
}

/// How it is with a domain; `now` in Unix microseconds.
pub fn standing(
    domain: &str,
    is_wanted: bool,
    known: &Known,
    directory: &str,
    now: i64,
) -> Standing {
    if !is_wanted {
        return Standing::Unwanted;
    }
    if let Some(reason) = refusal(domain) {
        return Standing::Refused(reason);
    }
    let why = match &known.issued {
        None => "it has none yet",
        Some(issued) if issued.directory != directory => "it is from another authority",
        Some(issued) if issued.renew_at <= now => "it is to be renewed",
        Some(issued) => {
            return Standing::Valid {
                renew_at: issued.renew_at,
            };
        }
    };
    // That one authority failed says nothing of another.
    match known.next_attempt_at > now && known.directory == directory {
        true => Standing::Waiting {
            until: known.next_attempt_at,
        },
        false => Standing::Due(why),
    }
}

/// The domain to order for now: of those that are due the one that failed least.
pub fn next<'a>(
    wanted: &'a BTreeMap<String, Source>,
    known: &BTreeMap<String, Known>,
    directory: &str,
    now: i64,
) -> Option<(&'a str, Source)> {
    let nothing = Known::default();
    let due = wanted.iter().filter_map(|(domain, source)| {
        let known = known.get(domain).unwrap_or(&nothing);
        match standing(domain, true, known, directory, now) {
            Standing::Due(_) => Some((known.failures, domain.as_str(), *source)),
            Standing::Refused(_)
            | Standing::Waiting { .. }
            | Standing::Valid { .. }
            | Standing::Unwanted => None,
        }
    });
    due.min().map(|(_, domain, source)| (domain, source))
}

/// Domains of which nothing needs to be kept: nobody wants them, and what they have has ended.
pub fn forgotten<'a>(
    wanted: &BTreeMap<String, Source>,
    known: &'a BTreeMap<String, Known>,
    now: i64,
) -> BTreeSet<&'a str> {
    known
        .iter()
        .filter(|(domain, known)| {
            let has_ended = known
                .issued
                .as_ref()
                .is_none_or(|issued| issued.not_after <= now);
            !wanted.contains_key(*domain) && has_ended
        })
        .map(|(domain, _)| domain.as_str())
        .collect()
}

/// How long nothing is tried after so many failures in a row, the first of which waited for `first`.
pub fn wait(failures: u32, first: Duration) -> Duration {
    let doubled = 2u32.saturating_pow(failures.saturating_sub(1).min(30));
    first.saturating_mul(doubled).min(LONGEST_WAIT.max(first))
}

/// When a certificate is renewed if its authority does not advise: at two thirds of its life.
pub fn renewal(not_before: i64, not_after: i64) -> i64 {
    not_before + not_after.saturating_sub(not_before).max(0) / 3 * 2
}

/// When it is renewed if its authority advises to do so between two times: when it was to be, if that is one of them,
/// else at the `part` (0 to 1) of the way between them.
pub fn advised(renew_at: i64, start: i64, end: i64, part: f64) -> i64 {
    if (start..=end).contains(&renew_at) {
        return renew_at;
    }
    start + (end.saturating_sub(start).max(0) as f64 * part) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000;
    const HERE: &str = "https://ca/directory";

    fn policy() -> Policy {
        Policy {
            on: true,
            directory: HERE.into(),
            trust_file: None,
            email: String::new(),
            domains: vec!["a.example.com".into()],
            custom_domains: true,
            retry: Duration::from_secs(900),
        }
    }

    fn issued(renew_at: i64, not_after: i64) -> Known {
        Known {
            issued: Some(Issued {
                directory: HERE.into(),
                not_after,
                renew_at,
            }),
            directory: HERE.into(),
            ..Known::default()
        }
    }

    #[test]
    fn what_is_listed_and_what_routes_have_is_wanted() {
        let hosts = ["B.example.com".to_string(), "a.example.com".to_string()];
        let both = wanted(&policy(), &hosts);
        assert_eq!(both["a.example.com"], Source::Listed);
        assert_eq!(both["b.example.com"], Source::Route);
        let mut only = policy();
        only.custom_domains = false;
        assert_eq!(wanted(&only, &hosts).len(), 1);
    }

    #[test]
    fn what_cannot_be_had_is_refused_and_not_ordered() {
        let check = |name: &str, part: Option<&str>| {
            let refused = refusal(name);
            assert_eq!(refused.is_some(), part.is_some(), "{name}: {refused:?}");
            let fits = part.is_none_or(|part| refused.is_some_and(|text| text.contains(part)));
            assert!(fits, "{name}: {refused:?}");
        };
        check("*.example.com", Some("wildcard"));
        check("192.0.2.1", Some("address"));
        check("[2001:db8::1]", Some("address"));
        check("localhost", Some("two labels"));
        check("-a.example.com", Some("no name"));
        check("a.example.com", None);
        check("xn--bcher-kva.example", None);
        let wildcard = BTreeMap::from([("*.example.com".to_string(), Source::Route)]);
        assert_eq!(next(&wildcard, &BTreeMap::new(), HERE, 0), None);
    }

    #[test]
    fn a_domain_is_due_until_it_has_one_and_again_when_that_is_to_be_renewed() {
        let stands = |known: &Known, now| standing("a.example.com", true, known, HERE, now);
        assert!(matches!(stands(&Known::default(), 0), Standing::Due(_)));
        let valid = issued(60 * DAY, 90 * DAY);
        assert_eq!(stands(&valid, DAY), Standing::Valid { renew_at: 60 * DAY });
        assert!(matches!(stands(&valid, 60 * DAY), Standing::Due(_)));
        let elsewhere = standing("a.example.com", true, &valid, "https://other", DAY);
        assert!(matches!(elsewhere, Standing::Due(_)));
        let mut failed = valid;
        failed.next_attempt_at = 61 * DAY;
        let elsewhere = standing("a.example.com", true, &failed, "https://other", 60 * DAY);
        assert!(matches!(elsewhere, Standing::Due(_)));
        let waits = Standing::Waiting { until: 61 * DAY };
        assert_eq!(stands(&failed, 60 * DAY), waits);
        assert!(matches!(stands(&failed, 61 * DAY), Standing::Due(_)));
    }

    #[test]
    fn the_one_that_failed_least_goes_first() {
        let wanted: BTreeMap<String, Source> = ["a.example.com", "b.example.com", "c.example.com"]
            .map(|name| (name.to_string(), Source::Listed))
            .into();
        let failed = |failures, next_attempt_at| Known {
            directory: HERE.into(),
            failures,
            next_attempt_at,
            ..Known::default()
        };
        let known = BTreeMap::from([
            ("a.example.com".to_string(), failed(2, 0)),
            ("b.example.com".to_string(), failed(1, 5)),
            ("c.example.com".to_string(), issued(9, 9)),
        ]);
        assert_eq!(
            next(&wanted, &known, HERE, 0).map(|(name, _)| name),
            Some("a.example.com")
        );
        assert_eq!(
            next(&wanted, &known, HERE, 5).map(|(name, _)| name),
            Some("b.example.com")
        );
        assert_eq!(
            next(&wanted, &known, HERE, 9).map(|(name, _)| name),
            Some("c.example.com")
        );
    }

    #[test]
    fn what_nobody_wants_is_kept_until_it_ends_and_not_renewed() {
        let known = BTreeMap::from([
            ("a.example.com".to_string(), issued(1, 5)),
            ("b.example.com".to_string(), Known::default()),
        ]);
        assert_eq!(
            forgotten(&BTreeMap::new(), &known, 4),
            ["b.example.com"].into()
        );
        assert_eq!(forgotten(&BTreeMap::new(), &known, 5).len(), 2);
        let wants = BTreeMap::from([("b.example.com".to_string(), Source::Listed)]);
        assert_eq!(forgotten(&wants, &known, 5), ["a.example.com"].into());
        let stands = standing("a.example.com", false, &known["a.example.com"], HERE, 4);
        assert_eq!(stands, Standing::Unwanted);
    }

    #[test]
    fn failures_wait_longer_each_time_and_no_longer_than_a_day() {
        let first = Duration::from_secs(900);
        let waits: Vec<u64> = (1..=8).map(|n| wait(n, first).as_secs()).collect();
        assert_eq!(
            waits,
            [900, 1800, 3600, 7200, 14_400, 28_800, 57_600, 86_400]
        );
        assert_eq!(wait(u32::MAX, first), LONGEST_WAIT);
    }

    #[test]
    fn renewal_is_at_two_thirds_unless_the_authority_advises() {
        assert_eq!(renewal(0, 90 * DAY), 60 * DAY);
        assert_eq!(renewal(30 * DAY, 120 * DAY), 90 * DAY);
        assert_eq!(advised(60 * DAY, 59 * DAY, 61 * DAY, 0.9), 60 * DAY);
        assert_eq!(advised(60 * DAY, 10 * DAY, 12 * DAY, 0.5), 11 * DAY);
        assert_eq!(advised(60 * DAY, 10 * DAY, 10 * DAY, 0.5), 10 * DAY);
    }
}
