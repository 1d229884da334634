//! What happened on the platform becomes trigger instances: facts are read after a cursor of our own, and
//! the cursor moves in the transaction that fires. The fact's number is the instance's source.

use crate::automation::Automation;
use crate::automation::ops::Fault;
use crate::automation::ops::fire::{Happened, fire};
use crate::store::facts::{self, Kind};
use crate::store::platform_events;

const CONSUMER: &str = "automation";
/// Facts read at once.
const BATCH: i64 = 500;

/// Fires what the facts tell.
pub async fn look(automation: &Automation) -> Result<(), Fault> {
    loop {
        let mut reader = automation.ops.store.read().await?;
        let cursor = facts::cursor(&mut reader, CONSUMER).await?;
        let news = facts::after(&mut reader, cursor, BATCH).await?;
        drop(reader);
        let Some(last) = news.last().map(|fact| fact.sequence) else {
            return Ok(());
        };
        let mut round = automation.round("fire platform events").await?;
        let at = round.now();
        for fact in &news {
            if fact.kind != Kind::PlatformEvent {
                continue;
            }
            let Some((trigger, payload)) = platform_events::read(&fact.payload) else {
                tracing::error!(
                    fact = fact.sequence,
                    "a platform event cannot be read and is left out"
                );
                continue;
            };
            let mut happened = Happened::new(&trigger, payload);
            happened.source = Some(format!("fact:{}", fact.sequence));
            happened.occurred_at = Some(fact.created_at);
            fire(round.connection(), &happened, at).await?;
        }
        facts::advance(round.connection(), CONSUMER, last).await?;
        round.finish().await?;
        if i64::try_from(news.len()).unwrap_or(BATCH) < BATCH {
            return Ok(());
        }
    }
}
