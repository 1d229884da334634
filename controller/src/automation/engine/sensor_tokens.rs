//! Tokens of running sensors: how old they are, and how a sensor gets another while it runs.
//!
//! A sensor runs for ever, its token does not. Well before its end the agent is offered another, and the
//! sensor goes on with it; the one before stays good for what is under way, until it expires. A sensor
//! whose agent takes none starts anew before it must.
//!
//! What a newcomer gets wrong: nobody may know whether an agent took what it was offered. So an offered
//! token is good for an hour, less than what is left of the one before, and for its whole time only once
//! the agent said that it took it. Until then another is offered.

use super::sensor_plan::TokenAge;
use crate::automation::Automation;
use crate::automation::ops::Fault;
use crate::automation::ops::callers::{SENSORS_GUID, SENSORS_NAME, sensor_token_owner};
use crate::automation::ops::tokens::NewToken;
use crate::store::automation::tokens::{self, Token};
use crate::store::query::Filter;
use proto::bus::automation::{SensorToken, SensorTokenReply};
use proto::bus::catalogue;
use proto::ids::DeaId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Seconds a token is good.
const LIFETIME: i64 = 7 * DAY;
const DAY: i64 = 86_400;
const MICROSECONDS: i64 = 1_000_000;
/// Seconds an offered token is good before its agent took it.
const OFFERED: i64 = 3600;
/// Left of a token when its sensor gets another, and when it starts anew for want of one: seconds.
const OLD: i64 = DAY;
const RUNNING_OUT: i64 = DAY / 2;
/// For the agent's answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Between two offers to one sensor.
const AGAIN: Duration = Duration::from_secs(60);
/// When the last token of a sensor's generation ends, by [`sensor_token_owner`]: Unix microseconds.
pub type Ends = BTreeMap<String, i64>;

/// Reads the tokens that sensors have.
pub async fn ends(automation: &Automation) -> Result<Ends, Fault> {
    let filter = Filter::new().equals("user_guid", SENSORS_GUID);
    let mut reader = automation.ops.store.read().await?;
    let mut ends = Ends::new();
    for row in Token::fetch(&mut reader, filter, "tokens of sensors").await? {
        let Some(owner) = row.execution_id else {
            continue;
        };
        let end = ends.entry(owner).or_insert(row.expires_at);
        *end = row.expires_at.max(*end);
    }
    Ok(ends)
}

/// How much is left. `end`, `now`: Unix microseconds.
pub fn age(end: Option<i64>, now: i64) -> TokenAge {
    match end.map(|end| end.saturating_sub(now)) {
        // One that never ran has none yet.
        None => TokenAge::Fresh,
        Some(left) if left < RUNNING_OUT * MICROSECONDS => TokenAge::RunningOut,
        Some(left) if left < OLD * MICROSECONDS => TokenAge::Old,
        Some(_) => TokenAge::Fresh,
    }
}

/// The token that a sensor starts with.
pub async fn first(
    automation: &Automation,
    sensor: &str,
    generation: i64,
) -> Result<NewToken, Fault> {
    issue(automation, sensor, generation, LIFETIME).await
}

async fn issue(
    automation: &Automation,
    sensor: &str,
    generation: i64,
    lifetime: i64,
) -> Result<NewToken, Fault> {
    let owner = sensor_token_owner(sensor, generation);
    automation
        .issue_token(SENSORS_GUID, SENSORS_NAME, lifetime, Some(&owner))
        .await
}

/// When each sensor was last offered a token in this term.
#[derive(Debug, Default)]
pub struct Offers(BTreeMap<String, Instant>);

impl Offers {
    /// Offers another token to a running sensor, in a task of its own.
    pub fn offer(&mut self, automation: &Automation, sensor: String, on: DeaId, generation: i64) {
        let at = Instant::now();
        self.0
            .retain(|_, last| at.saturating_duration_since(*last) < AGAIN);
        if self.0.contains_key(&sensor) {
            return;
        }
        self.0.insert(sensor.clone(), at);
        let automation = automation.clone();
        automation
            .ops
            .tasks
            .clone()
            .spawn_once("renew-sensor-token", async move {
                match renew(&automation, &sensor, &on, generation).await {
                    Ok(()) => tracing::info!(sensor, agent = %on, "a sensor got another token"),
                    Err(fault) => tracing::warn!(
                        sensor, agent = %on, error = &fault as &dyn std::error::Error,
                        "a sensor could not be given another token"
                    ),
                }
            });
    }
}

async fn renew(
    automation: &Automation,
    sensor: &str,
    on: &DeaId,
    generation: i64,
) -> Result<(), Fault> {
    let Some(bus) = &automation.bus else {
        return Ok(());
    };
    let new = issue(automation, sensor, generation, OFFERED).await?;
    let message = SensorToken {
        sensor: sensor.to_string(),
        generation,
        token: new.text,
    };
    let topic = catalogue::dea_sensor_token(on);
    let reply = bus
        .request::<_, SensorTokenReply>(&topic, &message, ANSWER)
        .await
        .map_err(Fault::internal("giving a sensor another token"))?;
    if !reply.accepted {
        return Err(Fault::Unavailable(format!(
            "The agent refuses the token: {}.",
            reply.reason
        )));
    }
    let mut round = automation.round("note that a sensor has its token").await?;
    let end = round.now().saturating_add(LIFETIME * MICROSECONDS);
    tokens::extend(round.connection(), &new.row.token_hash, end).await?;
    round.finish().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gets_old_before_it_ends() {
        let at = |left: i64| age(Some(left * MICROSECONDS), 0);
        assert_eq!(age(None, 0), TokenAge::Fresh);
        assert_eq!(at(LIFETIME), TokenAge::Fresh);
        assert_eq!(at(OLD - 1), TokenAge::Old);
        // What was offered and not taken does not make it younger.
        assert_eq!(at(OFFERED), TokenAge::RunningOut);
        assert_eq!(at(RUNNING_OUT - 1), TokenAge::RunningOut);
    }
}
