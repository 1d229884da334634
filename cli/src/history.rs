//! `yard history`: who ran which administrative command, the newest first.

use crate::client::Client;
use crate::failure::{Failure, Outcome};
use crate::output::{Output, human, table};
use crate::targets::Store;
use clap::Args;
use proto::api::{AdminCommand, Page};
use proto::config::value::parse_duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Only what this user ran
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only commands about these: config, user, role, organization, space, domain, node
    #[arg(long, value_name = "NOUN", value_delimiter = ',')]
    command: Vec<String>,
    /// Only since then: a time like 2026-01-31T12:00:00Z, or 2h for two hours ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only until then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// How many
    #[arg(short = 'n', long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=5000))]
    lines: u32,
}

pub async fn run(args: HistoryArgs, out: &Output, store: Store) -> Outcome {
    let now = OffsetDateTime::now_utc();
    let mut query = vec![("per_page", args.lines.to_string())];
    query.extend(args.user.map(|user| ("users", user)));
    if !args.command.is_empty() {
        query.push(("commands", args.command.join(",")));
    }
    for (name, text) in [("since", args.since), ("until", args.until)] {
        if let Some(text) = text {
            query.push((name, moment(&text, now)?));
        }
    }
    let query: Vec<(&str, &str)> = query
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let page: Page<AdminCommand> = Client::open(store)?.get("/yard/v1/history", &query).await?;
    out.show(&page.resources, |commands| {
        let rows = commands.iter().map(|command| {
            [
                human::parse_time(&command.at).map_or(command.at.clone(), human::moment),
                command.user.clone(),
                command.command.clone(),
            ]
        });
        table::table(["time", "user", "command"], rows, "no commands")
    })
}

/// A time as it is written, or as long before now.
fn moment(text: &str, now: OffsetDateTime) -> Outcome<String> {
    let time = match parse_duration(text) {
        Some(ago) => now.checked_sub(ago.try_into().unwrap_or(time::Duration::MAX)),
        None => OffsetDateTime::parse(text, &Rfc3339).ok(),
    };
    time.and_then(|time| {
        let whole = time.replace_nanosecond(0).unwrap_or(time);
        whole.to_offset(time::UtcOffset::UTC).format(&Rfc3339).ok()
    })
    .ok_or_else(|| {
        Failure::usage(format!("{text:?} is no time"))
            .fix("2026-01-31T12:00:00Z, or 30m, 2h, 7d for as long ago")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_or_counted_from_now() {
        let now = OffsetDateTime::from_unix_timestamp(1_700_000_000).expect("a time");
        let read = |text| moment(text, now).ok();
        assert_eq!(read("2h").as_deref(), Some("2023-11-14T20:13:20Z"));
        assert_eq!(
            read("2026-01-31T13:00:00+01:00").as_deref(),
            Some("2026-01-31T12:00:00Z")
        );
        assert_eq!(read("yesterday"), None);
        assert_eq!(read("900000000d"), None);
    }
}
