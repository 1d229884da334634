//! `yard why`: what led to the last restarts, failures and placements of an app.

use crate::apps::find;
use crate::client::Client;
use crate::failure::Outcome;
use crate::output::{Color, Output, human};
use crate::targets::Store;
use clap::Args;
use proto::api::{Why, WhyOutcome};

#[derive(Debug, Args)]
pub struct WhyArgs {
    /// The app
    app: String,
    /// How many of the last things that happened to it
    #[arg(short = 'n', long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=200))]
    lines: u32,
}

pub async fn run(args: WhyArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    let app = find::app(&client, &args.app).await?;
    let path = format!("/yard/v1/apps/{}/why", app.guid);
    let why: Why = client
        .get(&path, &[("limit", &args.lines.to_string())])
        .await?;
    out.show(&why, |why| render(why, out))
}

fn render(why: &Why, out: &Output) -> String {
    if why.outcomes.is_empty() {
        return format!(
            "nothing is recorded about the instances of {}\n",
            why.app.name
        );
    }
    let texts: Vec<String> = why
        .outcomes
        .iter()
        .map(|outcome| one(outcome, out))
        .collect();
    texts.join("\n")
}

/// An outcome, and below it its causes, the nearest first.
fn one(outcome: &WhyOutcome, out: &Output) -> String {
    let color = match outcome.kind.as_str() {
        "started" | "restarted" => Color::Good,
        "stopped" => Color::Careful,
        _ => Color::Bad,
    };
    let mut text = format!(
        "{}  {}\n",
        time(&outcome.at),
        out.paint(color, in_a_line(&outcome.text))
    );
    for cause in &outcome.causes {
        text.push_str(&format!(
            "  because {}  {}\n",
            time(&cause.at),
            in_a_line(&cause.text)
        ));
    }
    if let Some(placement) = &outcome.placement {
        let verdict = match outcome.kind.as_str() {
            "not_placed" => "no agent",
            _ => "this agent",
        };
        text.push_str(&format!("  {verdict} because {}\n", in_a_line(placement)));
    }
    text
}

fn time(text: &str) -> String {
    human::parse_time(text).map_or(text.to_string(), human::moment)
}

fn in_a_line(text: &str) -> String {
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::api::WhyCause;

    #[test]
    fn causes_stand_below_what_they_led_to() {
        let cause = |at: &str, text: &str| WhyCause {
            at: at.into(),
            text: text.into(),
            ..WhyCause::default()
        };
        let outcome = WhyOutcome {
            at: "2026-03-04T05:06:07.000001Z".into(),
            kind: "not_placed".into(),
            text: "instance 1 of web could not be placed".into(),
            placement: Some("needs 4096 MB memory".into()),
            causes: vec![cause("2026-03-04T05:06:00Z", "its agent dea-2 was lost")],
            ..WhyOutcome::default()
        };
        assert_eq!(
            one(&outcome, &Output::new(true)),
            "2026-03-04 05:06:07Z  instance 1 of web could not be placed\n  \
             because 2026-03-04 05:06:00Z  its agent dea-2 was lost\n  \
             no agent because needs 4096 MB memory\n"
        );
        assert!(render(&Why::default(), &Output::new(true)).starts_with("nothing is recorded"));
    }
}
