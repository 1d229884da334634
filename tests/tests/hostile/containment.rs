//! Apps that take what they can get: how soon each is stopped, with which reason, and what its neighbour notices.
//!
//! Processes, memory and disk have limits, and reaching one is the app's own failure. Processor time has none: an app
//! may have what nobody else wants, and gets no more than its share of what others want too. So nothing stops a
//! burner of processor time, and what its neighbour notices is all there is to see.

use crate::support::Yard;
use anyhow::{Context, ensure};
use serde_json::Value;
use std::time::{Duration, Instant};
use tests::{Load, eventually, trials};

const VILLAIN: &str = "villain";
/// For whatever should come soon, on a slow and busy machine.
const SOON: Duration = Duration::from_secs(60);
/// What was promised is 2 s; a machine that is busy with other tests is given more.
const STOPPED_WITHIN: Duration = Duration::from_secs(20);
/// Measured again so often before it is a failure: the machine may be busy with something else for a moment.
const ATTEMPTS: usize = 4;

/// A way to misbehave.
struct Way {
    name: &'static str,
    /// What the villain is asked for; the seconds follow.
    path: &'static str,
    /// What it is told when it is stopped; None: nothing stops it.
    reason: Option<&'static str>,
}

const WAYS: [Way; 4] = [
    Way {
        name: "fork bomb",
        path: "/bomb/",
        reason: Some("temporarily unavailable"),
    },
    Way {
        name: "disk filler",
        path: "/filler/",
        reason: Some("No space left on device"),
    },
    Way {
        name: "burner of processor time",
        path: "/burn/",
        reason: None,
    },
    Way {
        name: "memory hog",
        path: "/eat",
        reason: Some("out of memory"),
    },
];

/// What one way came to.
struct Measured {
    stopped: Option<(Duration, String)>,
    without: Duration,
    with: Duration,
}

impl Measured {
    /// Holds on a machine that is busy with other tests, and tells a neighbour that is starved; the figures tell how
    /// it really is.
    fn is_contained(&self) -> bool {
        self.with <= self.without * 3 + Duration::from_millis(500)
    }

    fn in_words(&self) -> String {
        let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
        let change = self.with.as_secs_f64() / self.without.as_secs_f64().max(1e-6) - 1.0;
        let stopped = match &self.stopped {
            Some((after, reason)) => {
                format!("stopped after {:.2} s ({reason})", after.as_secs_f64())
            }
            None => "not stopped, has what nobody else wants".to_string(),
        };
        format!(
            "{stopped}; p99 of its neighbour {} without it, {} with it ({:+.0} %)",
            millis(self.without),
            millis(self.with),
            change * 100.0
        )
    }
}

/// How long each measurement of the neighbour takes.
fn window() -> Duration {
    let rounds = std::env::var("STACKYARD_TRIALS")
        .ok()
        .and_then(|rounds| rounds.parse::<u32>().ok());
    Duration::from_secs(1) * rounds.unwrap_or(1).clamp(1, 10)
}

pub async fn apps_that_misbehave_are_stopped_and_their_neighbour_answers_on(
    yard: &Yard,
) -> anyhow::Result<()> {
    // Little room is enough, whatever else fills the machine's disk.
    let room = ["config", "set", "staging/disk", "512MiB"];
    yard.cluster.ok(room).await?;
    // Memory enough for all processes it may have: the limit that is reached is to be theirs.
    yard.server(VILLAIN, &["--memory", "1G"]).await?;
    let mut rows = Vec::new();
    for way in &WAYS {
        let measured = measure(yard, way).await.context(way.name)?;
        println!("    {}: {}", way.name, measured.in_words());
        rows.push((way.name, measured.in_words()));
    }
    if std::env::var_os("STACKYARD_TRIALS").is_some() {
        let text = format!(
            "One app takes what it can get; another one on the same agent is asked by four clients, each 100 times a second at most, for {} s without \
             and {} s with the misbehaviour. Stopped: from the request that starts it to the refusal of the kernel in the app, or, for memory, to the \
             recorded crash with its reason. {} processors, the test's own clients among their users. Profile: dev.",
            window().as_secs(),
            window().as_secs(),
            std::thread::available_parallelism().map_or(1, usize::from)
        );
        trials::write("Apps that misbehave", &text, &rows)?;
    }
    yard.neighbour_is_well().await?;
    yard.delete(VILLAIN).await?;
    let room = ["config", "unset", "staging/disk"];
    yard.cluster.ok(room).await.map(drop)
}

async fn measure(yard: &Yard, way: &Way) -> anyhow::Result<Measured> {
    for attempt in 1.. {
        answers(yard).await?;
        let without = neighbour(yard, tokio::time::sleep(window())).await?.0;
        let (with, stopped) = neighbour(yard, misbehave(yard, way)).await?;
        let measured = Measured {
            stopped: stopped?,
            without,
            with,
        };
        if measured.is_contained() {
            return Ok(measured);
        }
        println!("    {}: {}, once more", way.name, measured.in_words());
        ensure!(attempt < ATTEMPTS, "{}", measured.in_words());
    }
    anyhow::bail!("it was not measured")
}

/// The 99th percentile of the neighbour's answers during something, and what came of that.
async fn neighbour<T>(
    yard: &Yard,
    during: impl Future<Output = T>,
) -> anyhow::Result<(Duration, T)> {
    let load = Load::start(&yard.cluster, &yard.cluster.host("neighbour"), "/", 4);
    let outcome = during.await;
    let seen = load.stop().await;
    seen.without_failure(20)?;
    Ok((seen.percentile(0.99), outcome))
}

/// The villain is there, also after it was killed.
async fn answers(yard: &Yard) -> anyhow::Result<()> {
    let host = yard.cluster.host(VILLAIN);
    eventually("the villain answers", SOON, || async {
        yard.cluster.body(&host, "/").await.map(drop)
    })
    .await
}

/// How soon it was stopped, and how it was told.
async fn misbehave(yard: &Yard, way: &Way) -> anyhow::Result<Option<(Duration, String)>> {
    let host = yard.cluster.host(VILLAIN);
    if way.path == "/eat" {
        return eat(yard, &host, way).await.map(Some);
    }
    let path = format!("{}{}", way.path, window().as_secs_f64());
    let answer = yard.cluster.body(&host, &path).await?;
    let told: Value = serde_json::from_str(&answer).with_context(|| answer.clone())?;
    let Some(expected) = way.reason else {
        ensure!(told["reason"].is_null(), "{told}");
        return Ok(None);
    };
    let reason = told["reason"].as_str().unwrap_or_default().to_string();
    ensure!(reason.contains(expected), "{told}");
    let seconds = told["after"].as_f64().context("after how long")?;
    let after = Duration::from_secs_f64(seconds);
    ensure!(after <= STOPPED_WITHIN, "only after {after:?}");
    Ok(Some((after, reason)))
}

/// A memory hog cannot tell how it ended: its crash is looked for.
async fn eat(yard: &Yard, host: &str, way: &Way) -> anyhow::Result<(Duration, String)> {
    let reason = way.reason.unwrap_or_default();
    let token = yard.token().await?;
    let before = crashes(yard, &token, reason).await?;
    let begun = Instant::now();
    let crashed = async {
        loop {
            if crashes(yard, &token, reason).await? > before {
                return anyhow::Ok(begun.elapsed());
            }
            ensure!(
                begun.elapsed() < STOPPED_WITHIN,
                "no crash for want of memory"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // The connection breaks; that is no answer to look at.
    let eating = yard.cluster.get(host, way.path);
    let rest = tokio::time::sleep(window());
    let (after, _, ()) = tokio::join!(crashed, eating, rest);
    Ok((after?, reason.to_string()))
}

/// Recorded crashes of the villain with this reason.
async fn crashes(yard: &Yard, token: &str, reason: &str) -> anyhow::Result<usize> {
    let path = "/v3/audit_events?types=audit.app.process.crash&per_page=100";
    let (status, events) = yard.api(token, reqwest::Method::GET, path, None).await?;
    ensure!(status == 200, "{status}: {events}");
    let all = events["resources"].as_array().context("resources")?;
    let of_it = all
        .iter()
        .filter(|event| event["target"]["name"] == VILLAIN);
    Ok(of_it
        .filter(|event| event["data"].to_string().contains(reason))
        .count())
}
