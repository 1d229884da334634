//! What a large table costs, and how soon what is registered is served.

use super::Ground;
use super::client::Client;
use super::daemon::{Router, beside, own, shared};
use super::load::Load;
use super::rounds::{Contender, Rounds, compare, ratios};
use super::routes::{HOSTS, host};
use crate::goal::{Goal, Measured, Reach};
use crate::machine::milliseconds;
use crate::statistics::{median, quantile};
use anyhow::{Context, ensure};
use proto::bus::router::Registration;
use std::time::{Duration, Instant};

/// Names beside those that are asked for.
const NAMES: usize = 100_000;
const CONNECTIONS: usize = 64;
const ROUNDS: usize = 3;
const SECONDS: u32 = 2;
/// Registrations a second, and how many come at once.
const RATE: usize = 5000;
const AT_ONCE: usize = 50;
/// Of so many registrations, one is of another instance than before.
const ONE_IS_NEW: usize = 10;
/// Names that are registered one at a time, in each round.
const FRESH: usize = 100;
const FRESH_ROUNDS: usize = 3;
const SERVED_WITHIN: Duration = Duration::from_secs(5);

/// `large` gets the large table; `small` has one route.
pub async fn measure(
    ground: &Ground,
    large: &Router,
    small: &Router,
    goals: &mut Vec<Goal>,
) -> anyhow::Result<()> {
    let first = ground.first_backend;
    small.register(shared(first, 1)).await?;
    large.register(shared(first, HOSTS)).await?;
    let before = large.process.kibibytes()?;
    let names = (0..NAMES).flat_map(|number| own(number, 0));
    large.announce(names).await?;
    let megabytes = (large.process.kibibytes()? - before) * 1024.0 / 1e6;
    goals.push(Goal {
        what: "memory of a table of 100,000 routes with three instances each".into(),
        reach: Reach::BelowMegabytes(150.0),
        measured: Ok(Measured {
            yardstick: String::new(),
            ours: format!("{megabytes:.0} MB"),
            rounds: vec![megabytes],
        }),
    });
    goals.extend(size(ground, large, small).await?);
    goals.push(registrations(ground, large).await?);
    goals.extend(fresh(ground, large).await?);
    Ok(())
}

async fn size(ground: &Ground, large: &Router, small: &Router) -> anyhow::Result<[Goal; 2]> {
    let one = Load::http1("http", CONNECTIONS, &ground.scripts.one_name);
    let all = Load::http1("http", CONNECTIONS, &ground.scripts.small);
    let (small, large) = (contender(small), contender(large));
    let contenders = [(small, &one), (large, &one), (large, &all)];
    let [of_one_route, of_one_name, of_all_names] =
        &compare(&contenders, ROUNDS, SECONDS).await?[..]
    else {
        anyhow::bail!("three contenders have three results");
    };
    let goal = |what: &str, ours: &Rounds| Goal {
        what: what.into(),
        reach: Reach::AtMost(1.05),
        measured: Ok(Measured {
            yardstick: of_one_route.text(),
            ours: ours.text(),
            rounds: ratios(&ours.cpu, &of_one_route.cpu),
        }),
    };
    Ok([
        goal(
            "processor time per request, one name in a table of 110,000 (Y: one route)",
            of_one_name,
        ),
        goal(
            "the same, 10,000 names asked for in turn, whose pools and instances are in no cache",
            of_all_names,
        ),
    ])
}

async fn registrations(ground: &Ground, router: &Router) -> anyhow::Result<Goal> {
    let load = Load::http1("http", CONNECTIONS, &ground.scripts.small);
    let contender = contender(router);
    let (mut quiet, mut flooded) = (Rounds::default(), Rounds::default());
    let mut registrations = (0..).flat_map(|turn| {
        (0..NAMES).flat_map(move |number| {
            let is_new = number % ONE_IS_NEW == 0;
            own(number, if is_new { turn + 1 } else { 0 })
        })
    });
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        quiet.add(contender, &load, SECONDS).await?;
        let (before, begun) = (router.registered().await?, Instant::now());
        tokio::select! {
            ended = flooded.add(contender, &load, SECONDS) => ended?,
            ended = flood(router, &mut registrations) => ended?,
        }
        let came = (router.registered().await? - before) as f64;
        rates.push(came / begun.elapsed().as_secs_f64());
    }
    let rate = median(&rates);
    let measured = Measured {
        yardstick: quiet.text(),
        ours: format!("{}, {rate:.0} registrations/s", flooded.text()),
        rounds: ratios(&flooded.per_second, &quiet.per_second),
    };
    Ok(Goal {
        what: "requests per second while 5,000 registrations arrive in each, a tenth of them of new instances (Y: none arrive)".into(),
        reach: Reach::AtLeast(0.9),
        measured: if rate > 0.9 * RATE as f64 {
            Ok(measured)
        } else {
            Err(format!("only {rate:.0} registrations a second came"))
        },
    })
}

/// Registers at the rate until it is dropped.
async fn flood(
    router: &Router,
    registrations: &mut impl Iterator<Item = Registration>,
) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) * AT_ONCE as u32 / RATE as u32);
    loop {
        ticks.tick().await;
        for _ in 0..AT_ONCE {
            let registration = registrations
                .next()
                .context("there are no more registrations")?;
            router.publish(&registration).await?;
        }
    }
}

async fn fresh(ground: &Ground, router: &Router) -> anyhow::Result<[Goal; 2]> {
    let mut client = Client::connect(router.port).await?;
    let (mut asked, mut medians, mut slowest) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..FRESH_ROUNDS {
        asked.push(median(&ground.bus.requests(FRESH).await?));
        let mut times = Vec::with_capacity(FRESH);
        for number in 0..FRESH {
            let number = NAMES + round * FRESH + number;
            let registration = beside(ground.first_backend, number);
            let name = host(HOSTS + number);
            let begun = Instant::now();
            router.publish(&registration).await?;
            while client.get(&name).await? != 200 {
                ensure!(
                    begun.elapsed() < SERVED_WITHIN,
                    "{name} is not served within {SERVED_WITHIN:?}"
                );
            }
            times.push(milliseconds(begun.elapsed()));
        }
        medians.push(median(&times));
        slowest.push(quantile(&times, 0.99));
    }
    let ours = format!(
        "p50 {:.2} ms, p99 {:.2} ms",
        median(&medians),
        median(&slowest)
    );
    Ok([
        Goal {
            what: "registration published to first request served, beside 110,000 routes, p50 (Y: a NATS request and its reply)".into(),
            reach: Reach::AtMost(4.0),
            measured: Ok(Measured {
                yardstick: format!("{:.2} ms", median(&asked)),
                ours: ours.clone(),
                rounds: ratios(&medians, &asked),
            }),
        },
        Goal {
            what: "the same, p99".into(),
            reach: Reach::BelowMilliseconds(5.0),
            measured: Ok(Measured {
                yardstick: String::new(),
                ours,
                rounds: slowest,
            }),
        },
    ])
}

fn contender(router: &Router) -> Contender<'_> {
    Contender {
        process: &router.process,
        port: router.port,
    }
}
