//! `yard sensor`.

use super::resource::{Length, Noun};
use crate::client::Automation;
use crate::failure::Outcome;
use crate::output::Output;
use clap::{Args, Subcommand};

const NOUN: Noun<4> = Noun {
    one: "sensor",
    many: "sensors",
    path: "/sensortypes",
    columns: [
        ("sensor", "ref"),
        ("enabled", "enabled"),
        ("triggers", "trigger_types"),
        ("description", "description"),
    ],
};

#[derive(Debug, Args)]
pub struct SensorArgs {
    #[command(subcommand)]
    command: SensorCommand,
}

#[derive(Debug, Subcommand)]
enum SensorCommand {
    /// List sensors
    List {
        /// Only those of this pack
        #[arg(short = 'p', long)]
        pack: Option<String>,
        #[command(flatten)]
        length: Length,
    },
    /// Show a sensor
    Show {
        /// Reference of the sensor: `PACK.NAME`
        sensor: String,
    },
    /// Start a sensor
    Enable {
        /// Reference of the sensor: `PACK.NAME`
        sensor: String,
    },
    /// Stop a sensor
    Disable {
        /// Reference of the sensor: `PACK.NAME`
        sensor: String,
    },
}

pub async fn run(args: SensorArgs, api: &Automation, out: &Output) -> Outcome {
    match args.command {
        SensorCommand::List { pack, length } => {
            NOUN.list(api, out, &[("pack", pack.as_deref())], &length)
                .await
        }
        SensorCommand::Show { sensor } => NOUN.show(api, out, &sensor).await,
        SensorCommand::Enable { sensor } => NOUN.enable(api, out, &sensor, true).await,
        SensorCommand::Disable { sensor } => NOUN.enable(api, out, &sensor, false).await,
    }
}
