//! Which executions of an action may start: its policies decide from one snapshot, in order of arrival.

use super::Round;
use crate::automation::ops::Fault;
use crate::store::automation::executions::{self, Execution};
use crate::store::automation::held_executions::{self, HeldExecution};
use crate::store::automation::policies::{self as store_policies, Policy as PolicyRow};
use crate::store::query::Filter;
use automation::execution::{Event, Hold, Status};
use automation::policies::{self, Admission, Ask, Kind, Limits, Policy, Standing, Waiting};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Round {
    /// Policies of an action that say anything.
    pub(super) async fn policies(&mut self, action: &str) -> Result<Arc<Vec<Policy>>, Fault> {
        if let Some(known) = self.policies.get(action) {
            return Ok(known.clone());
        }
        let filter = Filter::new()
            .equals("resource_ref", action)
            .equals_number("enabled", 1)
            .kept();
        let rows = PolicyRow::fetch(&mut self.tx, filter, "policies of an action").await?;
        let mut found = Vec::new();
        for row in rows {
            let parameters = row.document["parameters"]
                .as_object()
                .cloned()
                .unwrap_or_default();
            match Kind::parse(&row.policy_type, &parameters) {
                Ok(kind) => found.push(Policy {
                    reference: row.reference,
                    resource: row.resource_ref,
                    enabled: row.enabled,
                    kind,
                }),
                Err(error) => {
                    tracing::warn!(policy = row.reference, %error, "a policy makes no sense and is not applied");
                }
            }
        }
        let found = Arc::new(found);
        self.policies.insert(action.to_string(), found.clone());
        Ok(found)
    }

    /// Lets in what may start of an action's queue, in order of arrival.
    pub(super) async fn admit(&mut self, action: &str) -> Result<(), Fault> {
        let concerned = self.policies.contains_key(action)
            || store_policies::concern(&mut self.tx, action).await?;
        let (of_this_round, others) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|row| row.action_ref == action);
        self.waiting = others;
        if !concerned {
            return self.schedule_all(of_this_round).await;
        }
        let policies = self.policies(action).await?;
        let limits = Limits::of(&policies);
        if limits.is_empty() {
            self.admit_all(of_this_round, action).await
        } else {
            self.admit_by(limits, of_this_round, action).await
        }
    }

    /// Nothing limits the action: whatever waits may start, however long the queue is. Who was accepted and is
    /// not of this round has a round of its own coming.
    async fn admit_all(
        &mut self,
        of_this_round: Vec<Execution>,
        action: &str,
    ) -> Result<(), Fault> {
        self.schedule_all(of_this_round).await?;
        self.flush().await?;
        // Held back by a policy that is gone.
        for standing in held_executions::standings(&mut self.tx, action).await? {
            let ids = held_executions::oldest(&mut self.tx, action, &standing, usize::MAX).await?;
            for mut row in self.held(&ids).await? {
                self.schedule(&mut row).await?;
            }
        }
        Ok(())
    }

    async fn schedule_all(&mut self, rows: Vec<Execution>) -> Result<(), Fault> {
        for mut row in rows {
            if !matches!(row.life.hold, Some(Hold::Until(_))) {
                self.schedule(&mut row).await?;
            }
        }
        Ok(())
    }

    async fn schedule(&mut self, row: &mut Execution) -> Result<(), Fault> {
        if let Err(illegal) = self.advance(row, Event::Scheduled).await? {
            tracing::error!(execution = row.id, %illegal, "an admission was refused");
        }
        Ok(())
    }

    /// The policies decide from one snapshot about those of this round and the oldest of those that are held,
    /// as far as there is room for them.
    async fn admit_by(
        &mut self,
        mut limits: Limits<'_>,
        of_this_round: Vec<Execution>,
        action: &str,
    ) -> Result<(), Fault> {
        self.flush().await?;
        self.count_active(&mut limits, action).await?;
        let ids: Vec<String> = of_this_round.into_iter().map(|row| row.id).collect();
        // As they are now: a parent may have told them something meanwhile.
        let mut asked = executions::by_ids(&mut self.tx, &ids).await?;
        asked.retain(|row| {
            row.life.status.is_waiting() && !matches!(row.life.hold, Some(Hold::Until(_)))
        });
        let mut decided = BTreeSet::new();
        loop {
            let held = self.asked_for(&limits, action).await?;
            asked.extend(held);
            // Once each: who was decided about and is still asked for waits for the next time.
            asked.retain(|row| decided.insert(row.id.clone()));
            if asked.is_empty() {
                return Ok(());
            }
            self.decide(&mut limits, std::mem::take(&mut asked), action)
                .await?;
            // What was let in can mean a cancel for others that are held.
            self.flush().await?;
        }
    }

    /// Counts what is scheduled or running.
    async fn count_active(&mut self, limits: &mut Limits<'_>, action: &str) -> Result<(), Fault> {
        let holding: Vec<Status> = Status::ALL
            .into_iter()
            .filter(|status| status.holds_a_slot())
            .collect();
        if !limits.looks_at_parameters() {
            let count = executions::count_of_action(&mut self.tx, action, &holding).await?;
            let standing = self.standing(limits, &Map::new());
            limits.take(&standing, count);
            return Ok(());
        }
        for kept in executions::parameters_of_action(&mut self.tx, action, &holding).await? {
            let standing = self.standing(limits, &self.automation.unseal(&kept)?);
            limits.take(&standing, 1);
        }
        Ok(())
    }

    fn standing(&self, limits: &Limits<'_>, parameters: &Map<String, Value>) -> Standing {
        limits.standing(parameters, |values| self.automation.key.mark(values))
    }

    /// Those of the held executions of an action that are to be decided about.
    async fn asked_for(
        &mut self,
        limits: &Limits<'_>,
        action: &str,
    ) -> Result<Vec<Execution>, Fault> {
        let mut ids = Vec::new();
        for text in held_executions::standings(&mut self.tx, action).await? {
            // Where other policies sent them to that queue: all of it, for once.
            let ask = limits
                .read(&text)
                .map_or(Ask::All, |standing| limits.ask(&standing));
            let most = match ask {
                Ask::Nobody => continue,
                Ask::Oldest(count) => count,
                Ask::All => usize::MAX,
            };
            ids.extend(held_executions::oldest(&mut self.tx, action, &text, most).await?);
        }
        self.held(&ids).await
    }

    /// Executions that are noted as held. A note that is not true any more is removed.
    async fn held(&mut self, ids: &[String]) -> Result<Vec<Execution>, Fault> {
        let mut rows = executions::by_ids(&mut self.tx, ids).await?;
        rows.retain(|row| {
            let is_held = row.life.is_held_by_policy();
            if !is_held {
                self.holds.insert(row.id.clone(), None);
            }
            is_held
        });
        Ok(rows)
    }

    async fn decide(
        &mut self,
        limits: &mut Limits<'_>,
        mut rows: Vec<Execution>,
        action: &str,
    ) -> Result<(), Fault> {
        let mut standings = Vec::new();
        for row in &rows {
            standings.push(self.standing(limits, &self.automation.unseal(&row.parameters)?));
        }
        let waiting: Vec<Waiting<'_>> = rows
            .iter()
            .zip(&standings)
            .map(|(row, standing)| Waiting {
                id: &row.id,
                accepted_at: row.life.accepted_at,
                standing,
            })
            .collect();
        let decisions = policies::admit(limits, &waiting);
        let places: BTreeMap<String, usize> = rows
            .iter()
            .enumerate()
            .map(|(place, row)| (row.id.clone(), place))
            .collect();
        for (id, decision) in decisions {
            let Some(place) = places.get(&id) else {
                continue;
            };
            let row = &mut rows[*place];
            let event = match decision {
                Admission::Schedule => Event::Scheduled,
                Admission::Hold { policy, .. } => {
                    let held = HeldExecution {
                        execution_id: id.clone(),
                        action_ref: action.to_string(),
                        standing: standings[*place].text(),
                        accepted_at: row.started_at,
                    };
                    self.holds.insert(id.clone(), Some(held));
                    Event::Held(Hold::Policy(policy))
                }
                Admission::Cancel { policy, .. } => Event::CancelAsked { by: policy },
            };
            if let Err(illegal) = self.advance(row, event).await? {
                tracing::error!(execution = id, %illegal, "an admission was refused");
            }
        }
        Ok(())
    }
}
