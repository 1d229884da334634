//! One transaction of changes to executions, and what is done after its commit.
//!
//! Everything that moves an execution goes through [`Round::step`]: the engine's own rounds, reports of
//! agents, and users who cancel. A step asks the state machine, writes the row, and carries out what can be
//! done inside the transaction (admission, choosing an agent, runners that need none, what follows an end);
//! messages leave only after the commit, so that nothing is sent that was not recorded.
//!
//! ```text
//!   rows ─► step ─► changes, trigger instances ─► flush: a few statements for many ─► commit ─► messages
//! ```
//!
//! What steps write is gathered and written together, since a statement costs more than what it writes.
//! Whatever is read of executions inside a round is read after a [`Round::flush`]: [`Round::look`] and the
//! admission, which gather over several executions, see to that themselves.
//!
//! A placement is recorded as *started* before its orders are sent: the agent may begin at once, without
//! asking. What was sent and is not heard of again ends `abandoned`, never twice.

mod admission;

use super::dispatch::{self, Orders};
use super::reports::End;
use crate::automation::Automation;
use crate::automation::ops::Fault;
use crate::automation::ops::callers::SYSTEM_GUID;
use crate::automation::ops::executions::{Composed, Wanted, trace_of, with_defaults};
use crate::automation::ops::fire::{Happened, instance_of};
use crate::automation::ops::natives::{self, Native};
use crate::automation::ops::tokens::NewToken;
use crate::automation::ops::traces;
use crate::automation::stream;
use crate::ops::now;
use crate::runtime::LEADERSHIP;
use crate::store::automation::executions::{self, Change, Execution};
use crate::store::automation::held_executions::{self, HeldExecution};
use crate::store::automation::packs;
use crate::store::automation::rule_enforcements::{self, RuleEnforcement};
use crate::store::automation::tokens::{self, Token};
use crate::store::automation::trigger_instances::{self, TriggerInstance};
use crate::store::query::Filter;
use crate::store::sql::Connection;
use crate::store::{Tx, leadership};
use automation::execution::{
    Answer, Effect, Event, Illegal, Placement, Settings, Status, ToChildren,
};
use automation::policies::{self, Ended, Policy, Retry};
use automation::runners::{self, Announcement, Question, Runner};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// Results larger than this are kept in the blob store.
pub const LARGEST_INLINE_RESULT: usize = 256 << 10;

/// What is done once the changes are on disk.
pub enum After {
    /// Tell an agent to end the work and to forget it.
    Stop { execution: String, at: Placement },
    /// Do what the controller does itself.
    Native { native: Native, execution: String },
    /// Tell the readers of the stream.
    Tell { name: String, document: Value },
    /// Tell them of an execution; the document is made if anybody reads here.
    TellExecution {
        name: &'static str,
        execution: String,
        document: Option<Value>,
    },
}

/// Where a result was put that is too large for its row.
#[derive(Debug, Clone)]
pub struct StoredResult {
    pub sha256: String,
    pub size: i64,
}

pub struct Round {
    automation: Automation,
    tx: Tx,
    now: i64,
    settings: Settings,
    after: Vec<After>,
    /// What agents are given once it is on disk.
    starts: Vec<dispatch::Start>,
    /// Actions whose queue is to be looked at.
    admit: BTreeSet<String>,
    /// Whether this controller leads: only the leader admits and places.
    leads: bool,
    /// The result that the next event carries was put there.
    stored: Option<StoredResult>,
    /// Executions that have no row yet, by id: as they are now.
    fresh: BTreeMap<String, Execution>,
    /// What belongs to traces and is not written yet.
    traces: traces::Notes,
    /// What rules made of trigger instances, not written yet.
    enforced: Vec<RuleEnforcement>,
    /// Changes of rows that are not written yet, by execution.
    changes: BTreeMap<String, Change>,
    /// Trigger instances that are not written yet.
    happened: Vec<TriggerInstance>,
    /// Tokens that are not written yet, of executions that begin on an agent.
    tokens: Vec<Token>,
    /// Trigger instances were written: the rules have something to look at.
    fired: bool,
    /// Executions of [`Round::look`] that wait to be let in, as they are now.
    waiting: Vec<Execution>,
    /// Which executions a policy holds from now on, and which none holds any more; not written yet.
    holds: BTreeMap<String, Option<HeldExecution>>,
    /// Executions this round has moved: what was read of them before is out of date.
    moved: BTreeSet<String>,
    /// Policies by action, read once a round.
    policies: BTreeMap<String, Arc<Vec<Policy>>>,
}

impl Automation {
    /// Begins a transaction. The leader's is fenced.
    pub async fn round(&self, operation: &'static str) -> Result<Round, Fault> {
        let epoch = *self.epoch.borrow();
        self.round_of(operation, epoch).await
    }

    /// As [`Automation::round`], of the leader of this epoch; None: of a controller that does not lead.
    pub async fn round_of(
        &self,
        operation: &'static str,
        epoch: Option<i64>,
    ) -> Result<Round, Fault> {
        let mut tx = self.ops.store.write(operation).await?;
        if let Some(epoch) = epoch {
            leadership::fence(&mut tx, LEADERSHIP, epoch).await?;
        }
        Ok(Round {
            automation: self.clone(),
            tx,
            now: now(),
            settings: Settings::default(),
            after: Vec::new(),
            starts: Vec::new(),
            admit: BTreeSet::new(),
            leads: epoch.is_some(),
            stored: None,
            fresh: BTreeMap::new(),
            traces: traces::Notes::default(),
            enforced: Vec::new(),
            changes: BTreeMap::new(),
            happened: Vec::new(),
            tokens: Vec::new(),
            fired: false,
            waiting: Vec::new(),
            holds: BTreeMap::new(),
            moved: BTreeSet::new(),
            policies: BTreeMap::new(),
        })
    }
}

impl Round {
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.tx
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn now(&self) -> i64 {
        self.now
    }

    /// Moves an execution by one event and all that follows at once, and writes it. The inner error: the
    /// event makes no sense, and nothing changed.
    pub async fn step(
        &mut self,
        row: &mut Execution,
        event: Event,
    ) -> Result<Result<(), Illegal>, Fault> {
        let done = self.advance(row, event).await?;
        self.flush().await?;
        Ok(done)
    }

    /// Moves those whose deadline has passed, or that are to be looked at for another reason.
    pub async fn look(&mut self, rows: Vec<Execution>) -> Result<(), Fault> {
        for mut row in rows {
            // Told by its parent, in this round.
            if self.moved.contains(&row.id) {
                continue;
            }
            let passed = row
                .life
                .deadline(&self.settings)
                .is_some_and(|deadline| deadline.at.saturating_mul(1000) <= self.now);
            let event = if passed {
                Event::TimedOut
            } else {
                Event::ControllerRestarted
            };
            if let Err(illegal) = self.advance(&mut row, event).await? {
                tracing::error!(execution = row.id, %illegal, "an execution could not be looked at");
            }
            if row.life.status.is_waiting() {
                self.waiting.push(row);
            }
        }
        Ok(())
    }

    /// Accepts an execution. The inner error is the fault of who asked for it; it is recorded all the same.
    pub async fn accept(&mut self, mut wanted: Wanted) -> Result<Result<Execution, String>, Fault> {
        if wanted.trace.is_none() {
            let named = traces::named(&wanted.context);
            // One that has no row yet is found by nobody else.
            let begun = named.and_then(|id| self.traces.begun(id));
            wanted.trace = begun.map(|joined| joined.trace);
        }
        let automation = self.automation.clone();
        let composed = match automation.compose(&mut self.tx, wanted).await {
            Ok(composed) => composed,
            Err(Fault::Invalid(text) | Fault::NotFound(text) | Fault::NotSupported(text)) => {
                return Ok(Err(text));
            }
            Err(fault) => return Err(fault),
        };
        self.record(std::slice::from_ref(&composed));
        Ok(match composed.refusal {
            Some(text) => Err(text),
            None => Ok(composed.row),
        })
    }

    /// Records executions, each in its trace.
    pub fn record(&mut self, all: &[Composed]) {
        for one in all {
            self.fresh.insert(one.row.id.clone(), one.row.clone());
            self.traces.add(&one.trace, one.component.clone());
        }
    }

    /// Records what a rule made of a trigger instance.
    pub fn enforced(&mut self, enforcement: RuleEnforcement) {
        self.enforced.push(enforcement);
    }

    /// What belongs to traces and is written with the round.
    pub fn traces(&mut self) -> &mut traces::Notes {
        &mut self.traces
    }

    /// Executions that this round has recorded: readers are told of them, and if this controller leads, those
    /// that may begin now do so in the same transaction.
    pub async fn accepted(&mut self, rows: Vec<Execution>) -> Result<(), Fault> {
        for row in &rows {
            self.tell_later(stream::CREATED, row)?;
        }
        if !self.leads {
            return Ok(());
        }
        // They were made since the round began, and their time is when they were.
        self.now = self.now.max(now());
        let due = rows
            .into_iter()
            .filter(|row| row.deadline.is_some_and(|at| at <= self.now))
            .collect();
        self.look(due).await
    }

    /// Moves executions by what agents tell of them. What has been deleted meanwhile is left out.
    pub async fn settle(&mut self, ends: &[End]) -> Result<(), Fault> {
        let ids: Vec<&str> = ends.iter().map(|end| end.execution.as_str()).collect();
        let filter = Filter::new().any("id", &ids);
        let rows = Execution::fetch(&mut self.tx, filter, "read executions that ended").await?;
        let mut rows: BTreeMap<String, Execution> =
            rows.into_iter().map(|row| (row.id.clone(), row)).collect();
        for end in ends {
            let Some(row) = rows.get_mut(&end.execution) else {
                continue;
            };
            self.stored.clone_from(&end.stored);
            if let Err(illegal) = self.advance(row, end.event.clone()).await? {
                tracing::debug!(execution = row.id, %illegal, "the end of an action came too late");
            }
            self.stored = None;
        }
        Ok(())
    }

    /// Writes what was gathered.
    pub async fn flush(&mut self) -> Result<(), Fault> {
        let fresh: Vec<Execution> = std::mem::take(&mut self.fresh).into_values().collect();
        Execution::insert_all(&mut self.tx, &fresh, "").await?;
        self.traces.write(&mut self.tx).await?;
        let enforced = std::mem::take(&mut self.enforced);
        rule_enforcements::insert_all_once(&mut self.tx, &enforced).await?;
        let changes: Vec<Change> = std::mem::take(&mut self.changes).into_values().collect();
        executions::write(&mut self.tx, &changes).await?;
        let happened = std::mem::take(&mut self.happened);
        self.fired |= !happened.is_empty();
        trigger_instances::insert_all_once(&mut self.tx, &happened).await?;
        let issued = std::mem::take(&mut self.tokens);
        Token::insert_all(&mut self.tx, &issued, "").await?;
        let (mut held, mut released) = (Vec::new(), Vec::new());
        for (id, hold) in std::mem::take(&mut self.holds) {
            match hold {
                Some(hold) => held.push(hold),
                None => released.push(id),
            }
        }
        held_executions::remove(&mut self.tx, &released).await?;
        held_executions::put(&mut self.tx, &held).await?;
        Ok(())
    }

    /// As [`Round::step`]; what is to be written is gathered.
    async fn advance(
        &mut self,
        row: &mut Execution,
        event: Event,
    ) -> Result<Result<(), Illegal>, Fault> {
        let mut events = VecDeque::from([event]);
        let before = row.life.status;
        let was_held = row.life.is_held_by_policy();
        let mut changed = false;
        while let Some(event) = events.pop_front() {
            let name = event.name();
            let mut life = row.life.0.clone();
            match life.step(event, self.now / 1000, &self.settings) {
                Err(illegal) if !changed => return Ok(Err(illegal)),
                Err(illegal) => {
                    tracing::error!(execution = row.id, event = name, %illegal, "an event of the engine's own was refused");
                }
                Ok(Answer::Ignored { because }) => {
                    tracing::debug!(execution = row.id, event = name, because, "nothing changed");
                    // What was looked at is looked at again when its next deadline says so.
                    changed |= self.reset_deadline(row);
                }
                Ok(Answer::Moved(moved)) => {
                    changed = true;
                    row.set_life(life, &self.settings);
                    if let Some(result) = moved.result {
                        self.set_result(row, &result);
                    }
                    if let Some(context) = row.context.0.as_object_mut() {
                        for (key, value) in moved.context {
                            context.insert(key.to_string(), json!(value));
                        }
                    }
                    for effect in moved.effects {
                        Box::pin(self.perform(row, effect, &mut events)).await?;
                    }
                    if row.life.status == Status::Pending {
                        self.tell_question(row);
                    }
                }
            }
        }
        if changed {
            match self.fresh.get_mut(&row.id) {
                // It is written whole, as it is then.
                Some(fresh) => {
                    row.touch(self.now);
                    fresh.clone_from(row);
                }
                None => {
                    let change = row.change(self.now, self.changes.get(&row.id));
                    self.changes.insert(row.id.clone(), change);
                }
            }
            self.moved.insert(row.id.clone());
            if was_held && !row.life.is_held_by_policy() {
                self.holds.insert(row.id.clone(), None);
            }
            // That it was looked at is nothing to tell.
            if row.life.status != before {
                self.tell_later(stream::UPDATED, row)?;
            }
        }
        Ok(Ok(()))
    }

    /// What readers of the stream are told after the commit.
    pub fn tell_later(&mut self, name: &'static str, row: &Execution) -> Result<(), Fault> {
        let document = match self.automation.has_readers() {
            true => Some(self.automation.present_execution(row, None, false)?),
            false => None,
        };
        self.after.push(After::TellExecution {
            name,
            execution: row.id.clone(),
            document,
        });
        Ok(())
    }

    fn reset_deadline(&self, row: &mut Execution) -> bool {
        let before = row.deadline;
        let life = row.life.0.clone();
        row.set_life(life, &self.settings);
        row.deadline != before
    }

    fn set_result(&mut self, row: &mut Execution, result: &Value) {
        match self.stored.take() {
            Some(stored) => {
                row.result = None;
                row.result_sha256 = Some(stored.sha256);
                row.result_size = stored.size;
            }
            None => {
                let text = result.to_string();
                row.result_size = i64::try_from(text.len()).unwrap_or(i64::MAX);
                row.result = Some(text);
                row.result_sha256 = None;
            }
        }
    }

    async fn perform(
        &mut self,
        row: &mut Execution,
        effect: Effect,
        events: &mut VecDeque<Event>,
    ) -> Result<(), Fault> {
        match effect {
            Effect::Admit => {
                self.admit.insert(row.action_ref.clone());
            }
            Effect::Place => {
                if let Some(agent) = self.choose(row).await? {
                    events.push_back(Event::PlacedOn(agent));
                }
            }
            Effect::Dispatch(at) => {
                events.push_back(Event::Started(Some(at.clone())));
                let owner = row.user_guid.as_deref().unwrap_or(SYSTEM_GUID);
                let lifetime = dispatch::TOKEN_LIFETIME;
                let token = NewToken::make(owner, &row.username, lifetime, Some(&row.id));
                self.tokens.push(token.row.clone());
                self.starts.push(dispatch::Start {
                    execution: row.clone(),
                    at,
                    token,
                });
            }
            Effect::RunHere => self.run_here(row, events)?,
            Effect::Stop(at) => self.after.push(After::Stop {
                execution: row.id.clone(),
                at,
            }),
            Effect::Children(what) => self.tell_children(row, what).await?,
            Effect::Conduct => self.conduct(row, events),
            // A workflow's conductor reads its children when it looks.
            Effect::TellParent => {}
            Effect::Conclude => {
                self.conclude(row).await?;
                events.push_back(Event::Concluded);
            }
        }
        Ok(())
    }

    /// The agent for an execution; None: nobody has room or can be reached, and the engine asks again when
    /// somebody has ([`place_waiting`](super::place_waiting)).
    async fn choose(&mut self, row: &Execution) -> Result<Option<String>, Fault> {
        if !self.leads || !self.automation.is_connected() {
            return Ok(None);
        }
        let pack = row.action_ref.split_once('.').map_or("", |(pack, _)| pack);
        let content = packs::content_sum(&mut self.tx, pack).await?;
        let limits = self.automation.placement_limits();
        Ok(self
            .automation
            .agents
            .choose(pack, &content, Instant::now(), limits)
            .map(|agent| agent.to_string()))
    }

    /// Workflows. All but those that the controller carries out as one are refused at the door
    /// ([`Automation::prepare`]).
    fn conduct(&mut self, row: &Execution, events: &mut VecDeque<Event>) {
        let Some(native) = Native::of(&row.action_ref) else {
            return;
        };
        match row.life.status {
            Status::Scheduled => {
                events.push_back(Event::Started(None));
                self.carry_out(native, row);
            }
            // It cannot rest in the middle: a pause lasts until its end.
            Status::Running | Status::Pausing => self.carry_out(native, row),
            Status::Resuming => events.push_back(Event::Resumed),
            Status::Canceling => {
                self.automation.packs_at_work.cancel(&row.id);
                events.push_back(Event::Canceled(None));
            }
            Status::Requested
            | Status::Delayed
            | Status::Pending
            | Status::Paused
            | Status::Succeeded
            | Status::Failed
            | Status::Timeout
            | Status::Abandoned
            | Status::Canceled => {}
        }
    }

    fn carry_out(&mut self, native: Native, row: &Execution) {
        if self.leads {
            self.after.push(After::Native {
                native,
                execution: row.id.clone(),
            });
        }
    }

    /// Runners that need no agent.
    fn run_here(&mut self, row: &Execution, events: &mut VecDeque<Event>) -> Result<(), Fault> {
        let Some(runner) = Runner::from_name(&row.runner_type) else {
            return Ok(());
        };
        if row.life.status == Status::Scheduled {
            events.push_back(Event::Started(None));
        }
        let parameters = self.automation.unseal(&row.parameters)?;
        let failed = |text: String| Event::Finished {
            at: None,
            status: Status::Failed,
            result: runners::without_outcome(runner, &text),
        };
        let event = match runner {
            Runner::Noop => {
                let done = runners::conclude(runners::Raw::Noop);
                Event::Finished {
                    at: None,
                    status: done.status,
                    result: done.result,
                }
            }
            Runner::Announcement => match self.announce(row, &parameters) {
                Ok(done) => done,
                Err(text) => failed(text),
            },
            Runner::Inquirer => match Question::read(&with_defaults(
                &*self.automation.schema_as_noted(
                    &row.action_ref,
                    runner,
                    &row.document["action"],
                )?,
                &parameters,
            )) {
                Ok(question) => Event::Asked {
                    result: question.result(),
                },
                Err(error) => failed(error.to_string()),
            },
            other => failed(format!(
                "The runner \"{}\" does not run in the controller.",
                other.name()
            )),
        };
        events.push_back(event);
        Ok(())
    }

    fn announce(&mut self, row: &Execution, live: &Map<String, Value>) -> Result<Event, String> {
        let runner = runners::document(Runner::Announcement);
        let own = runner["runner_parameters"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        let declared = row.document["action"]["parameters"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        let value = |name: &str| {
            live.get(name)
                .or_else(|| declared.get(name).and_then(|one| one.get("default")))
                .or_else(|| own.get(name).and_then(|one| one.get("default")))
                .cloned()
        };
        let runner_parameters: Map<String, Value> = own
            .keys()
            .filter_map(|name| Some((name.clone(), value(name)?)))
            .collect();
        let parameters: Map<String, Value> = declared
            .keys()
            .filter(|name| !own.contains_key(*name))
            .filter_map(|name| Some((name.clone(), value(name)?)))
            .collect();
        let announcement = Announcement::new(&row.action_ref, &runner_parameters, &parameters)
            .map_err(|error| error.to_string())?;
        self.after.push(After::Tell {
            name: announcement.event(),
            document: json!({
                "payload": announcement.payload,
                "context": row.context.0,
                "timestamp": crate::domain::times::rfc3339_micros(self.now),
            }),
        });
        let done = announcement.conclusion();
        Ok(Event::Finished {
            at: None,
            status: done.status,
            result: done.result,
        })
    }

    /// Fires the trigger by which rules ask people.
    fn tell_question(&mut self, row: &Execution) {
        let question: Value = row
            .result
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        let route = question["route"].as_str().unwrap_or_default();
        let payload = json!({"id": row.id, "route": route});
        let mut happened = Happened::new("core.st2.generic.inquiry", payload);
        happened.source = Some(format!("asked:{}", row.id));
        happened.trace_id = trace_of(row);
        self.fire(happened);
    }

    /// Records with the round that a trigger fired.
    fn fire(&mut self, happened: Happened<'_>) {
        self.happened.push(instance_of(happened, self.now));
    }

    async fn tell_children(&mut self, row: &Execution, what: ToChildren) -> Result<(), Fault> {
        let by = row.username.clone();
        self.flush().await?;
        for mut child in executions::children(&mut self.tx, &row.id).await? {
            let event = match what {
                ToChildren::Cancel => Event::CancelAsked { by: by.clone() },
                ToChildren::Pause => Event::PauseAsked { by: by.clone() },
                ToChildren::Resume => Event::ResumeAsked { by: by.clone() },
            };
            if let Err(illegal) = Box::pin(self.advance(&mut child, event)).await? {
                tracing::debug!(execution = child.id, %illegal, "a child was told in vain");
            }
        }
        Ok(())
    }

    /// What follows an end: the rules are told, policies may run it again, others are let in.
    async fn conclude(&mut self, row: &Execution) -> Result<(), Fault> {
        let automation = self.automation.clone();
        let result: Option<Value> = row
            .result
            .as_ref()
            .and_then(|text| serde_json::from_str(text).ok());
        self.fire(automation.completion(row, result.as_ref()));
        for happened in automation.notifications(row, result.as_ref()) {
            self.fire(happened);
        }
        // Agents got a token with its orders.
        if row.life.attempt > 0 {
            self.tokens
                .retain(|token| token.execution_id.as_ref() != Some(&row.id));
            tokens::delete_of_execution(&mut self.tx, &row.id).await?;
        }
        self.retry(row).await?;
        self.admit.insert(row.action_ref.clone());
        Ok(())
    }

    async fn retry(&mut self, row: &Execution) -> Result<(), Fault> {
        let policies = self.policies(&row.action_ref).await?;
        if policies.is_empty() {
            return Ok(());
        }
        let context = row.context.as_object().cloned().unwrap_or_default();
        let ended = Ended {
            id: &row.liveaction_id,
            status: row.life.status,
            context: &context,
        };
        let Retry::Again {
            policy,
            count,
            delay,
            context,
        } = policies::retry(&policies, ended)
        else {
            return Ok(());
        };
        tracing::info!(
            execution = row.id,
            policy,
            count,
            "an execution is run again"
        );
        let wanted = Wanted {
            action: row.action_ref.clone(),
            parameters: self.automation.unseal(&row.parameters)?,
            context,
            username: row.username.clone(),
            user_guid: row.user_guid.clone(),
            delay: Some(delay),
            notify: row
                .document
                .get("notify")
                .filter(|one| !one.is_null())
                .cloned(),
            ..Wanted::default()
        };
        match self.accept(wanted).await? {
            Ok(row) => self.tell_later(stream::CREATED, &row),
            // The action may have changed or gone meanwhile: its end stands as it is.
            Err(text) => {
                tracing::warn!(
                    execution = row.id,
                    text,
                    "an execution could not be run again"
                );
                Ok(())
            }
        }
    }

    /// Looks at the queues that changed, commits, and does what was to be done after.
    pub async fn finish(mut self) -> Result<(), Fault> {
        if self.leads {
            while let Some(action) = self.admit.pop_first() {
                self.admit(&action).await?;
            }
        }
        self.flush().await?;
        let others = !self.leads && !self.admit.is_empty();
        let fired = self.fired;
        let orders: Vec<Orders> = self
            .starts
            .into_iter()
            .map(|start| Orders::prepare(&self.automation, start))
            .collect();
        self.tx.commit().await?;
        let has_orders = !orders.is_empty();
        for orders in orders {
            orders.send();
        }
        if has_orders {
            // The agents first: whoever waits for an answer would take the processor from what it leads to.
            tokio::task::yield_now().await;
        }
        for after in self.after {
            match after {
                After::Stop { execution, at } => {
                    dispatch::stop(&self.automation, execution, at);
                }
                After::Native { native, execution } => {
                    natives::carry_out(&self.automation, native, execution);
                }
                After::Tell { name, document } => self.automation.tell(name, document),
                After::TellExecution {
                    name,
                    execution,
                    document,
                } => self.automation.tell_execution(name, &execution, document),
            }
        }
        if others || fired {
            self.automation.wake_engine();
        }
        Ok(())
    }
}
