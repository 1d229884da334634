//! Ours against nginx, haproxy, Go's reverse proxy and gorouter: 10,000 names, three instances each.

use super::Ground;
use super::daemon::{Router, shared};
use super::load::Load;
use super::process::is_installed;
use super::rounds::{Contender, Rounds, compare, ratios};
use super::routes::HOSTS;
use crate::cores;
use crate::goal::{Goal, Measured, Reach};
use crate::yardsticks::{go_proxy, gorouter, haproxy, nginx};
use tests::cluster::free_port;

const FEW: usize = 64;
const MANY: usize = 256;
const ROUNDS: usize = 4;
const FEWER_ROUNDS: usize = 3;
const SECONDS: u32 = 2;

pub async fn measure(
    ground: &Ground,
    router: &Router,
    goals: &mut Vec<Goal>,
) -> anyhow::Result<()> {
    let first = ground.first_backend;
    let (port, tls_port) = (free_port()?, free_port()?);
    let folder = ground.folder("nginx")?;
    let mut nginx = nginx::proxy(
        &folder,
        first,
        port,
        tls_port,
        &ground.certificate,
        cores::MEASURED,
    )?;
    nginx.listens(port).await?;
    let yardstick = Contender {
        process: &nginx,
        port,
    };
    let ours = Contender {
        process: &router.process,
        port: router.port,
    };

    let port = free_port()?;
    let haproxy = if is_installed("haproxy") {
        let mut haproxy = haproxy::proxy(&ground.folder("haproxy")?, first, port, cores::MEASURED)?;
        haproxy.listens(port).await?;
        Ok((haproxy, port))
    } else {
        Err("haproxy is not installed".to_string())
    };
    let port = free_port()?;
    let go = match go_proxy::proxy(&ground.folder("go")?, first, port, cores::MEASURED).await? {
        Ok(mut go) => {
            go.listens(port).await?;
            Ok((go, port))
        }
        Err(why) => Err(why),
    };

    let port = free_port()?;
    let (folder, bus) = (ground.folder("gorouter")?, ground.bus.url());
    let gorouter = match gorouter::router(&folder, bus, port, cores::MEASURED)? {
        Ok(mut gorouter) => {
            gorouter.listens(port).await?;
            Ok((gorouter, port))
        }
        Err(why) => Err(why),
    };

    let load = |connections, script| Load::http1("http", connections, script);
    let few = load(FEW, &ground.scripts.small);
    let mut contenders = vec![(yardstick, &few), (ours, &few)];
    for (process, port) in [&haproxy, &go, &gorouter].into_iter().flatten() {
        let port = *port;
        contenders.push((Contender { process, port }, &few));
    }
    // So that nothing grows stale: registered anew before each comparison.
    router.register(shared(first, HOSTS)).await?;
    let all = compare(&contenders, ROUNDS, SECONDS).await?;
    goals.extend(of_few(&all[0], &all[1]));
    let mut others = all[2..].iter();
    for (what, reach, other) in [
        ("the same (Y: haproxy with a map)", 1.05, &haproxy),
        (
            "the same (Y: `httputil.ReverseProxy` of Go with a map)",
            4.5,
            &go,
        ),
        (
            "the same (Y: gorouter, the router of Cloud Foundry)",
            4.5,
            &gorouter,
        ),
    ] {
        let measured = match other {
            Ok(_) => others.next().ok_or_else(|| "it has not run".to_string()),
            Err(why) => Err(why.clone()),
        };
        goals.push(Goal {
            what: what.into(),
            reach: Reach::AtLeast(reach),
            measured: measured.map(|other| per_second(other, &all[1])),
        });
    }

    let (tls, nginx_tls) = (ours.at(router.tls_port), yardstick.at(tls_port));
    let many = load(MANY, &ground.scripts.small);
    let large = load(FEW, &ground.scripts.large);
    let upload = load(FEW, &ground.scripts.upload);
    let https = Load::http1("https", FEW, &ground.scripts.small);
    for (what, contenders, load, rounds, reach) in [
        (
            "the same with 256 connections (Y: nginx)",
            [yardstick, ours],
            &many,
            ROUNDS,
            0.9,
        ),
        (
            "answers of 100 KB per second (Y: nginx)",
            [yardstick, ours],
            &large,
            FEWER_ROUNDS,
            0.9,
        ),
        (
            "uploads of 100 KB per second (Y: nginx)",
            [yardstick, ours],
            &upload,
            FEWER_ROUNDS,
            0.9,
        ),
        (
            "requests per second over TLS, 64 connections (Y: nginx)",
            [nginx_tls, tls],
            &https,
            FEWER_ROUNDS,
            0.9,
        ),
        (
            "requests per second over HTTP/2 and TLS, 16 connections with 4 streams (Y: nginx)",
            [nginx_tls, tls],
            &Load::Http2,
            FEWER_ROUNDS,
            0.9,
        ),
    ] {
        let is_missing = matches!(load, Load::Http2) && !is_installed("h2load");
        let measured = if is_missing {
            Err("h2load is not installed".to_string())
        } else {
            router.register(shared(first, HOSTS)).await?;
            let contenders = contenders.map(|contender| (contender, load));
            let both = compare(&contenders, rounds, SECONDS).await?;
            Ok(per_second(&both[0], &both[1]))
        };
        goals.push(Goal {
            what: what.into(),
            reach: Reach::AtLeast(reach),
            measured,
        });
    }
    Ok(())
}

fn of_few(yardstick: &Rounds, ours: &Rounds) -> Vec<Goal> {
    let goal = |what: &str, reach, measured| Goal {
        what: what.into(),
        reach,
        measured: Ok(measured),
    };
    let with = |rounds| Measured {
        rounds,
        ..per_second(yardstick, ours)
    };
    vec![
        goal(
            "requests per second through the router, one core, 64 connections, 1 KB, 10,000 names with three instances each (Y: nginx with `map`)",
            Reach::AtLeast(0.95),
            per_second(yardstick, ours),
        ),
        goal(
            "the same, processor time per request",
            Reach::AtMost(1.05),
            with(ratios(&ours.cpu, &yardstick.cpu)),
        ),
        goal(
            "the same, p99",
            Reach::AtMost(1.0),
            with(ratios(&ours.p99, &yardstick.p99)),
        ),
    ]
}

fn per_second(yardstick: &Rounds, ours: &Rounds) -> Measured {
    Measured {
        yardstick: yardstick.text(),
        ours: ours.text(),
        rounds: ratios(&ours.per_second, &yardstick.per_second),
    }
}
