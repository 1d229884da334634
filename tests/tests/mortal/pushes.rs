//! Controllers are killed at each step of a push. The push ends done, or failed with the reason, and then
//! pushing again works.

use crate::rows;
use crate::world::{CONTROLLERS, Kills, SOON, World};
use anyhow::{Context, bail, ensure};
use rand::Rng;
use rand::seq::SliceRandom;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use tests::apps::push;
use tests::eventually;

/// How far a push is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    AppCreated,
    PackageAwaited,
    PackageUploaded,
    BuildCreated,
    StagingBegun,
    DropletStored,
    ProcessStarted,
    InstanceRegistered,
}

impl Step {
    const ALL: [Step; 8] = [
        Step::AppCreated,
        Step::PackageAwaited,
        Step::PackageUploaded,
        Step::BuildCreated,
        Step::StagingBegun,
        Step::DropletStored,
        Step::ProcessStarted,
        Step::InstanceRegistered,
    ];

    fn name(self) -> &'static str {
        match self {
            Step::AppCreated => "app created",
            Step::PackageAwaited => "package uploading",
            Step::PackageUploaded => "package uploaded",
            Step::BuildCreated => "build created",
            Step::StagingBegun => "staging begun",
            Step::DropletStored => "droplet stored",
            Step::ProcessStarted => "process started",
            Step::InstanceRegistered => "instance registered",
        }
    }

    /// A row if the push of the app of this name is so far; None where no row tells.
    fn condition(self) -> Option<&'static str> {
        Some(match self {
            Step::AppCreated => "SELECT 1 FROM apps a WHERE a.name = $1",
            Step::PackageAwaited => {
                "SELECT 1 FROM apps a JOIN packages p ON p.app_guid = a.guid WHERE a.name = $1"
            }
            Step::PackageUploaded => {
                "SELECT 1 FROM apps a JOIN packages p ON p.app_guid = a.guid WHERE a.name = $1 AND p.state <> 'AWAITING_UPLOAD'"
            }
            Step::BuildCreated => {
                "SELECT 1 FROM apps a JOIN builds b ON b.app_guid = a.guid WHERE a.name = $1"
            }
            Step::StagingBegun => {
                "SELECT 1 FROM apps a JOIN builds b ON b.app_guid = a.guid WHERE a.name = $1 AND b.dea IS NOT NULL"
            }
            Step::DropletStored => {
                "SELECT 1 FROM apps a JOIN droplets d ON d.app_guid = a.guid WHERE a.name = $1"
            }
            Step::ProcessStarted => {
                "SELECT 1 FROM apps a WHERE a.name = $1 AND a.state = 'STARTED' AND a.current_droplet_guid IS NOT NULL"
            }
            Step::InstanceRegistered => return None,
        })
    }

    async fn is_reached(self, world: &World, app: &str) -> anyhow::Result<bool> {
        match self.condition() {
            Some(condition) => rows::is_so(&world.database.store, app, condition).await,
            None => {
                let answer = world.cluster.get(&world.cluster.host(app), "/").await?;
                Ok(answer.status() == 200)
            }
        }
    }
}

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victims {
    Leader,
    All,
}

#[derive(Debug, Default)]
struct Outcomes {
    done: u32,
    failed: u32,
    reasons: BTreeMap<String, u32>,
}

pub async fn a_push_ends_at_whatever_step_controllers_die(world: &World) -> anyhow::Result<()> {
    let mut dice = world.dice(1);
    let mut chosen: Vec<(Step, Victims)> = Vec::new();
    match world.amounts.kills {
        Kills::Steps(number) => {
            let mut steps = Step::ALL;
            steps.shuffle(&mut dice);
            let victims = [Victims::All, Victims::Leader];
            let first = usize::from(dice.random::<bool>());
            let steps = steps.into_iter().take(number).enumerate();
            chosen.extend(steps.map(|(at, step)| (step, victims[(first + at) % 2])));
        }
        Kills::Each(times) => {
            for step in Step::ALL {
                let both = [Victims::All, Victims::Leader].into_iter().cycle();
                chosen.extend(both.take(times as usize).map(|victims| (step, victims)));
            }
        }
    }
    let mut of_steps: BTreeMap<Step, Outcomes> = BTreeMap::new();
    for (number, (step, victims)) in chosen.into_iter().enumerate() {
        let name = format!("push-{number}");
        let outcomes = of_steps.entry(step).or_default();
        let context = || format!("killed ({victims:?}) at: {}", step.name());
        match pushed(world, &name, step, victims)
            .await
            .with_context(context)?
        {
            None => outcomes.done += 1,
            Some(reason) => {
                outcomes.failed += 1;
                *outcomes.reasons.entry(reason).or_default() += 1;
            }
        }
        world.cluster.ok(["delete", &name, "--force"]).await?;
    }
    for (step, outcomes) in of_steps {
        let reasons: Vec<String> = outcomes
            .reasons
            .iter()
            .map(|(reason, times)| format!("{times} x {reason}"))
            .collect();
        let told = if reasons.is_empty() {
            String::new()
        } else {
            format!(" ({})", reasons.join("; "))
        };
        world.note(
            "controllers killed during a push",
            format!(
                "{}: {} pushes done, {} failed{told} and done when pushed again",
                step.name(),
                outcomes.done,
                outcomes.failed
            ),
        );
    }
    Ok(())
}

/// Pushes an app, kills at the step, and sees to it that the app is up in the end. Why the first push failed,
/// if it did.
async fn pushed(
    world: &World,
    name: &str,
    step: Step,
    victims: Victims,
) -> anyhow::Result<Option<String>> {
    let cluster = &world.cluster;
    let text = format!("this is {name}");
    let folder = world.page(name, &text, 8 << 20);
    let (pushed, died) = tokio::join!(
        pushed_once(world, name, &folder),
        killed_at(world, name, step, victims)
    );
    let (pushed, died) = (pushed?, died?);
    let reason = if pushed.status == 0 {
        None
    } else {
        let reason = pushed.stderr.lines().next().unwrap_or_default().to_string();
        ensure!(!reason.trim().is_empty(), "no reason: {pushed:?}");
        Some(reason)
    };
    for (component, pid) in &died {
        cluster.wait_restarted(component, *pid).await?;
    }
    if reason.is_some() {
        let again = pushed_once(world, name, &folder).await?;
        again.success().context("pushed again")?;
    }
    let host = cluster.host(name);
    eventually("the app answers", SOON, || async {
        let body = cluster.body(&host, "/").await?;
        ensure!(body == text, "{body}");
        Ok(())
    })
    .await?;
    world.settled(name, 1).await?;
    Ok(reason)
}

async fn pushed_once(world: &World, name: &str, folder: &Path) -> anyhow::Result<tests::Output> {
    push(&world.cluster, name, folder, &["--memory", "32M"]).await
}

/// Waits for the step, then kills. Who was killed, by name and process.
async fn killed_at(
    world: &World,
    app: &str,
    step: Step,
    victims: Victims,
) -> anyhow::Result<Vec<(&'static str, i32)>> {
    let victims: Vec<&'static str> = match victims {
        Victims::All => CONTROLLERS.to_vec(),
        Victims::Leader => vec![world.leader(CONTROLLERS).await?],
    };
    let begun = Instant::now();
    while !step.is_reached(world, app).await? {
        if begun.elapsed() > SOON {
            bail!("the push never came to: {}", step.name());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    victims
        .into_iter()
        .map(|victim| Ok((victim, world.cluster.kill(victim)?)))
        .collect()
}
