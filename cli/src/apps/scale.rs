//! `yard scale`: how many instances, how large.

use super::watch::Watch;
use super::{find, lifecycle, summary};
use crate::client::Client;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::prompt;
use crate::targets::Store;
use clap::Args;
use proto::api::{Process, Scale};
use reqwest::Method;
use std::time::Duration;

#[derive(Debug, Args)]
#[command(
    after_help = "Without options the page of the app is shown. Instances change at once; memory and disk need a restart."
)]
pub struct ScaleArgs {
    /// The app
    app: String,
    /// Number of instances
    #[arg(short = 'i', long)]
    instances: Option<u32>,
    /// Memory of each instance, for instance 256M or 1G
    #[arg(short = 'm', long)]
    memory: Option<String>,
    /// Disk of each instance, for instance 512M or 1G
    #[arg(short = 'k', long)]
    disk: Option<String>,
    /// Sleep, without instances, after so long without a request (10m, 90s, 12h), until the next one; never: stay awake
    #[arg(long, value_name = "TIME", value_parser = parse_sleep)]
    sleep_after: Option<u64>,
    /// Process type
    #[arg(long, default_value = "web")]
    process: String,
    /// Restart without asking
    #[arg(short = 'f', long)]
    force: bool,
    /// Do not wait for the new instances
    #[arg(long)]
    no_wait: bool,
    /// Seconds to wait until all instances are up
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
}

pub async fn run(args: ScaleArgs, out: &Output, store: Store) -> Outcome {
    let size = |text: &Option<String>| {
        text.as_deref()
            .map(parse_megabytes)
            .transpose()
            .map_err(Failure::usage)
    };
    let (memory_in_mb, disk_in_mb) = (size(&args.memory)?, size(&args.disk)?);
    let client = Client::open(store)?;
    let app = find::app(&client, &args.app).await?;
    let nothing = args.instances.is_none() && args.sleep_after.is_none();
    if nothing && memory_in_mb.is_none() && disk_in_mb.is_none() {
        return summary::show(&client, out, &app).await;
    }
    let path = format!("/v3/apps/{}/processes/{}", app.guid, args.process);
    let process: Process = client.get(&path, &[]).await.map_err(|failure| {
        failure.doing(format!("find the process {} of {}", args.process, app.name))
    })?;
    let resized = memory_in_mb.is_some_and(|memory| memory != process.memory_in_mb)
        || disk_in_mb.is_some_and(|disk| disk != process.disk_in_mb);
    let restart = resized && app.state == "STARTED";
    if restart && !args.force && !prompt::confirm(&format!("This restarts {}. Go on?", app.name))? {
        return Err(Failure::failed(format!("{} was not scaled", app.name)));
    }
    let scale = Scale {
        instances: args.instances,
        memory_in_mb,
        disk_in_mb,
        log_rate_limit_in_bytes_per_second: None,
        yard_sleep_after_in_seconds: args.sleep_after,
    };
    let watch = Watch::begin(&client, out, &app).await;
    client
        .send(Method::POST, &format!("{path}/actions/scale"), &scale)
        .await
        .map_err(|failure| failure.doing(format!("scale {}", app.name)))?;
    if restart {
        lifecycle::act(&client, &app, "restart").await?;
    }
    if app.state == "STARTED" && !args.no_wait {
        watch
            .until_full(Duration::from_secs(args.timeout.max(1)))
            .await?;
    }
    summary::show(&client, out, &app).await
}

/// `256M`, `1G`, `1.5G`, `512MB`: the unit is needed, so that nobody gets 512 bytes or 512 gigabytes.
pub fn parse_megabytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size: write 256M or 1G");
    let upper = text.trim().to_uppercase();
    let upper = upper.strip_suffix('B').unwrap_or(&upper);
    let upper = upper.strip_suffix('I').unwrap_or(upper);
    let (number, factor) = match upper.char_indices().next_back() {
        Some((at, 'M')) => (&upper[..at], 1.0),
        Some((at, 'G')) => (&upper[..at], 1024.0),
        Some((at, 'T')) => (&upper[..at], 1024.0 * 1024.0),
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let megabytes = number * factor;
    if !(1.0..1e12).contains(&megabytes) || megabytes.fract() != 0.0 {
        return Err(wrong());
    }
    Ok(megabytes as u64)
}

fn parse_sleep(text: &str) -> Result<u64, String> {
    proto::manifest::sleep_after(text)
        .ok_or_else(|| format!("{text:?} is no time: write 90s, 10m or 12h, or never"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_a_unit() {
        for (text, megabytes) in [
            ("256M", 256),
            ("1G", 1024),
            ("1.5g", 1536),
            ("512MB", 512),
            ("64MiB", 64),
            ("1T", 1 << 20),
        ] {
            assert_eq!(parse_megabytes(text), Ok(megabytes), "{text}");
        }
        for text in ["", "512", "M", "-1G", "1.3M", "0M", "nanG", "infG", "1X"] {
            assert!(parse_megabytes(text).is_err(), "{text}");
        }
    }
}
