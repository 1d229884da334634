//! What routers tell of requests and errors, and which of it is news.
//!
//! **Problem.** Each router reports its own counts every few seconds; rules want to hear once that an app answers
//! with errors, and how many requests it gets when that number has become another one. A deployment may be taken
//! back and instances stopped because of it, so nothing may be told from what was not heard.
//!
//! **Approach.** Every controller hears every router and keeps the counts of one window ([`Traffic`]). [`Traffic::plan`]
//! compares them with what was told before (rows, [`Told`]) and returns what to tell. Errors are told when their part
//! of the requests rises above a threshold, and can be told again only after it was below half of it.
//! The request rate is judged at the turn of each window, not in between: a rising rate is told once
//! it fills a window, not twenty times on its way up.
//!
//! **What a newcomer gets wrong.**
//! - A router that is silent is not a router without requests: each sends empty reports. While one that was heard
//!   before is silent, and for a window after, nothing is told that would say "less" ([`Traffic::is_whole`]).
//! - Errors are those of an app, whichever of its names they came under: an app with two names must not
//!   be rolled back twice. Where no app is known, each route stands for itself.
//! - Counts are placed at the time they arrive. The clocks of routers do not matter, and a report that comes late or
//!   twice is known by its number.

use proto::bus::stream::RouterTraffic;
use proto::config::Settings;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A window is counted in this many parts: so exact is its beginning.
const PARTS: u32 = 60;
/// A router that sent no report for longer than this many periods is silent …
const SILENT_PERIODS: u32 = 3;
/// … if it is also longer than this.
const SILENT_LEAST: Duration = Duration::from_secs(10);
/// After this long a silent router is no longer waited for.
const FORGET_ROUTER: Duration = Duration::from_secs(600);
/// Nothing sleeps only after longer.
const FORGET_ASKED: Duration = Duration::from_secs(31 * 86_400);
/// Errors have ended below this part of the threshold.
const CALM: f64 = 0.5;
/// A smaller change of the request rate is no news, in requests a second.
const LEAST_CHANGE: f64 = 1.0;

/// What an operator set.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub window: Duration,
    /// Errors by requests.
    pub max_error_rate: f64,
    pub min_requests: u64,
    /// Part of the rate that was told before.
    pub rate_change: f64,
    /// How long a router may send nothing.
    pub silent_after: Duration,
}

impl Policy {
    pub fn read(settings: &Settings) -> Policy {
        let period = settings.duration("router/traffic/period");
        Policy {
            window: settings
                .duration("controller/traffic/window")
                .max(period.saturating_mul(2)),
            max_error_rate: settings.number("controller/traffic/max_error_rate"),
            min_requests: u64::try_from(settings.integer("controller/traffic/min_requests"))
                .unwrap_or(1),
            rate_change: settings.number("controller/traffic/rate_change"),
            silent_after: period.saturating_mul(SILENT_PERIODS).max(SILENT_LEAST),
        }
    }
}

/// Whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The guid of an app.
    App(String),
    /// A route that leads to no app of the cluster.
    Route(String),
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Subject::App(guid) => write!(f, "app:{guid}"),
            Subject::Route(route) => write!(f, "route:{route}"),
        }
    }
}

impl Subject {
    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Subject> {
        match text.split_once(':')? {
            ("app", guid) => Some(Subject::App(guid.to_string())),
            ("route", route) => Some(Subject::Route(route.to_string())),
            _ => None,
        }
    }
}

/// Requests and errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    pub requests: u64,
    pub errors: u64,
}

impl Count {
    fn add(&mut self, other: Count) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
    }

    /// The part of the requests that failed; 0 without requests.
    pub fn error_rate(&self) -> f64 {
        if self.requests == 0 {
            return 0.0;
        }
        self.errors as f64 / self.requests as f64
    }
}

/// What was told of a subject. The default is that of one of which nothing was.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Told {
    /// Its errors rose and have not ended.
    pub erring: bool,
    /// In thousandths of a request a second.
    pub millirequests: u64,
}

/// Something to tell, or to note without telling.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    ErrorsRose {
        subject: Subject,
        /// The route that had most of them.
        route: String,
        count: Count,
    },
    /// Nobody is told; from now on they can rise again.
    ErrorsEnded { subject: Subject },
    RateChanged {
        app: String,
        requests: u64,
        millirequests: u64,
        previous: u64,
    },
}

impl News {
    pub fn subject(&self) -> Subject {
        match self {
            News::ErrorsRose { subject, .. } | News::ErrorsEnded { subject } => subject.clone(),
            News::RateChanged { app, .. } => Subject::App(app.clone()),
        }
    }

    /// What was told, once this is.
    pub fn after(&self, told: Told) -> Told {
        match self {
            News::ErrorsRose { .. } => Told {
                erring: true,
                ..told
            },
            News::ErrorsEnded { .. } => Told {
                erring: false,
                ..told
            },
            News::RateChanged { millirequests, .. } => Told {
                millirequests: *millirequests,
                ..told
            },
        }
    }
}

/// The counts of one route of a subject, by the time they came.
type Series = VecDeque<(Duration, Count)>;

#[derive(Debug, Clone, Copy)]
struct Run {
    number: u64,
    heard: Duration,
}

/// What the routers told. All times are on one clock that never goes back.
#[derive(Debug, Default)]
pub struct Traffic {
    /// The reports of each run of each router.
    runs: BTreeMap<(String, String), Run>,
    subjects: BTreeMap<Subject, BTreeMap<String, Series>>,
    /// When each app was last asked for something, or had something under way.
    asked: BTreeMap<String, Duration>,
    /// Since when no router was silent that had been heard before.
    unbroken_since: Duration,
}

impl Traffic {
    /// Takes a report; false if it came before, or after a later one.
    pub fn hear(&mut self, report: &RouterTraffic, now: Duration, policy: &Policy) -> bool {
        let run = (report.router.clone(), report.run.clone());
        let before = self.runs.get(&run).copied();
        if before.is_some_and(|before| report.number <= before.number) {
            return false;
        }
        if self
            .last_heard(&report.router)
            .is_some_and(|heard| now.saturating_sub(heard) > policy.silent_after)
        {
            // What it answered in between is not known.
            self.unbroken_since = now;
        }
        if report.last {
            // It is not waited for; its earlier runs neither.
            self.runs.retain(|(router, _), _| *router != report.router);
        } else {
            let number = report.number;
            self.runs.insert(run, Run { number, heard: now });
        }
        for route in &report.routes {
            if !route.app.is_empty() && route.requests + route.open > 0 {
                self.asked.insert(route.app.clone(), now);
            }
        }
        let part = policy.window / PARTS;
        for route in report.routes.iter().filter(|route| route.requests > 0) {
            let subject = match route.app.as_str() {
                "" => Subject::Route(route.route.clone()),
                app => Subject::App(app.to_string()),
            };
            let series = self
                .subjects
                .entry(subject)
                .or_default()
                .entry(route.route.clone())
                .or_default();
            let count = Count {
                requests: route.requests,
                errors: route.errors.min(route.requests),
            };
            match series.back_mut() {
                Some((begun, last)) if now.saturating_sub(*begun) < part => last.add(count),
                _ => series.push_back((now, count)),
            }
        }
        true
    }

    fn last_heard(&self, router: &str) -> Option<Duration> {
        self.runs
            .iter()
            .filter(|((name, _), _)| name == router)
            .map(|(_, run)| run.heard)
            .max()
    }

    /// The bus was away: what was counted before belongs to no window any more.
    pub fn begin_anew(&mut self, now: Duration) {
        self.subjects.clear();
        // Whoever could not be heard was not silent.
        for run in self.runs.values_mut() {
            run.heard = now;
        }
        self.unbroken_since = now;
    }

    /// Forgets what is older than a window, and routers that are silent for good.
    pub fn expire(&mut self, now: Duration, policy: &Policy) {
        self.runs
            .retain(|_, run| now.saturating_sub(run.heard) <= FORGET_ROUTER);
        self.asked
            .retain(|_, at| now.saturating_sub(*at) <= FORGET_ASKED);
        self.subjects.retain(|_, routes| {
            routes.retain(|_, series| {
                while series
                    .front()
                    .is_some_and(|(at, _)| now.saturating_sub(*at) > policy.window)
                {
                    series.pop_front();
                }
                !series.is_empty()
            });
            !routes.is_empty()
        });
    }

    /// Whether every router was heard for a whole window, so that what was not heard did not happen.
    /// `since`: since when this controller hears the bus.
    pub fn is_whole(&self, since: Duration, now: Duration, policy: &Policy) -> bool {
        let unbroken = now.saturating_sub(self.unbroken_since.max(since)) >= policy.window;
        unbroken && self.hears_all(now, policy)
    }

    /// Since when an app was asked for nothing, as far as is known: with a router that is not heard nothing is.
    /// `since`: since when this controller hears the bus.
    pub fn quiet_since(
        &self,
        app: &str,
        since: Duration,
        now: Duration,
        policy: &Policy,
    ) -> Option<Duration> {
        let asked = self.asked.get(app).copied().unwrap_or_default();
        let listened = self.unbroken_since.max(since);
        self.hears_all(now, policy).then(|| listened.max(asked))
    }

    /// Whether no router is silent, and there is one.
    fn hears_all(&self, now: Duration, policy: &Policy) -> bool {
        // A run that was killed is silent; the router is not, if a later run reports.
        let mut heard: BTreeMap<&str, Duration> = BTreeMap::new();
        for ((router, _), run) in &self.runs {
            let last = heard.entry(router).or_default();
            *last = (*last).max(run.heard);
        }
        !heard.is_empty()
            && heard
                .values()
                .all(|heard| now.saturating_sub(*heard) <= policy.silent_after)
    }

    /// Requests and errors of a subject in the window that ends now, and the route with the most errors.
    pub fn count(&self, subject: &Subject, now: Duration, policy: &Policy) -> (Count, String) {
        let mut total = Count::default();
        let mut worst = (Count::default(), String::new());
        for (route, series) in self.subjects.get(subject).into_iter().flatten() {
            let mut count = Count::default();
            for (at, one) in series {
                if now.saturating_sub(*at) <= policy.window {
                    count.add(*one);
                }
            }
            total.add(count);
            if worst.1.is_empty() || count.errors > worst.0.errors {
                worst = (count, route.clone());
            }
        }
        (total, worst.1)
    }

    /// What is to be told. `whole`: see [`Traffic::is_whole`]; `turn`: a window has passed since the rates
    /// were judged.
    pub fn plan(
        &self,
        told: &BTreeMap<Subject, Told>,
        now: Duration,
        policy: &Policy,
        whole: bool,
        turn: bool,
    ) -> Vec<News> {
        let mut subjects: Vec<&Subject> = self.subjects.keys().chain(told.keys()).collect();
        subjects.sort_unstable();
        subjects.dedup();
        let mut news = Vec::new();
        for subject in subjects {
            let before = told.get(subject).copied().unwrap_or_default();
            let (count, route) = self.count(subject, now, policy);
            news.extend(errors(subject, before, count, route, policy, whole));
            if let Subject::App(app) = subject
                && whole
                && turn
            {
                news.extend(rate(app, before, count, policy));
            }
        }
        news
    }
}

fn errors(
    subject: &Subject,
    before: Told,
    count: Count,
    route: String,
    policy: &Policy,
    whole: bool,
) -> Option<News> {
    let rate = count.error_rate();
    let subject = subject.clone();
    if before.erring {
        let ended = whole && rate < policy.max_error_rate * CALM;
        return ended.then_some(News::ErrorsEnded { subject });
    }
    // Part of a window suffices: errors that were heard did happen.
    let rose = count.requests >= policy.min_requests && rate > policy.max_error_rate;
    rose.then_some(News::ErrorsRose {
        subject,
        route,
        count,
    })
}

fn rate(app: &str, before: Told, count: Count, policy: &Policy) -> Option<News> {
    let millis = u64::try_from(policy.window.as_millis())
        .unwrap_or(u64::MAX)
        .max(1);
    let millirequests = count.requests.saturating_mul(1_000_000) / millis;
    let previous = before.millirequests;
    let change = millirequests.abs_diff(previous) as f64 / 1000.0;
    let least = (previous as f64 / 1000.0 * policy.rate_change).max(LEAST_CHANGE);
    let ended = millirequests == 0 && previous > 0;
    (change >= least || ended).then(|| News::RateChanged {
        app: app.to_string(),
        requests: count.requests,
        millirequests,
        previous,
    })
}

#[cfg(test)]
mod tests;
