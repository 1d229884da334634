//! Automation from the command line: packs, actions, rules and what comes of them.
//!
//! ```text
//!   words ─► parameters, input ─► request ─► (cluster) ─► follow ─► resource: table, document
//! ```
//! One file a noun, each with its verbs; [`resource`] holds what all nouns share, [`follow`] what
//! everything that runs shares. Documents stay JSON values: this client shows what the cluster
//! says and decides nothing about it, so a new field is seen without a new client.

mod action;
mod alias;
mod apikey;
mod chat;
mod execution;
mod follow;
mod input;
mod inquiry;
mod key;
mod pack;
mod parameters;
mod policy;
mod resource;
mod rule;
pub mod run;
mod sensor;
mod timer;
mod trace;
mod trigger;
pub mod upload;
mod webhook;

use crate::client::Automation;
use crate::failure::Outcome;
use crate::output::Output;
use crate::targets::Store;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum AutomationCommand {
    /// Install, configure and remove packs
    Pack(pack::PackArgs),
    /// List, explain and run actions
    Action(action::ActionArgs),
    /// Show, cancel and repeat what ran
    Execution(execution::ExecutionArgs),
    /// Write rules, and test why they match
    Rule(rule::RuleArgs),
    /// Show what can happen and what did; make it happen
    Trigger(trigger::TriggerArgs),
    /// Show, start and stop sensors
    Sensor(sensor::SensorArgs),
    /// Read and write the datastore
    Key(key::KeyArgs),
    /// List webhooks, and post to them
    Webhook(webhook::WebhookArgs),
    /// List the timers that rules run on
    Timer(timer::TimerArgs),
    /// Limit and retry actions by policies
    Policy(policy::PolicyArgs),
    /// Match and run what is said in a chat
    Alias(alias::AliasArgs),
    /// Answer what executions ask
    Inquiry(inquiry::InquiryArgs),
    /// Create and delete API keys
    Apikey(apikey::ApikeyArgs),
    /// Show what came of what
    Trace(trace::TraceArgs),
    /// Try aliases in a chat room of one
    Chat(chat::ChatArgs),
}

pub async fn run(command: AutomationCommand, out: &Output, store: Store) -> Outcome {
    let api = &Automation::open(store)?;
    match command {
        AutomationCommand::Pack(args) => pack::run(args, api, out).await,
        AutomationCommand::Action(args) => action::run(args, api, out).await,
        AutomationCommand::Execution(args) => execution::run(args, api, out).await,
        AutomationCommand::Rule(args) => rule::run(args, api, out).await,
        AutomationCommand::Trigger(args) => trigger::run(args, api, out).await,
        AutomationCommand::Sensor(args) => sensor::run(args, api, out).await,
        AutomationCommand::Key(args) => key::run(args, api, out).await,
        AutomationCommand::Webhook(args) => webhook::run(args, api, out).await,
        AutomationCommand::Timer(args) => timer::run(args, api, out).await,
        AutomationCommand::Policy(args) => policy::run(args, api, out).await,
        AutomationCommand::Alias(args) => alias::run(args, api, out).await,
        AutomationCommand::Inquiry(args) => inquiry::run(args, api, out).await,
        AutomationCommand::Apikey(args) => apikey::run(args, api, out).await,
        AutomationCommand::Trace(args) => trace::run(args, api, out).await,
        AutomationCommand::Chat(args) => chat::run(args, api, out).await,
    }
}
