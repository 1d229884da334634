//! Sensors: `yard.dea.{id}.sensor.run`, `.sensor.stop`, `.sensor.trigger`, `.sensor.token`.
//!
//! Each life of a sensor has a sandbox of its own, made anew: what one leaves behind disturbs neither
//! its next life nor another sensor. The unit of a sensor makes it, listens to it, and begins again
//! when it ends.
//!
//! Changes of triggers and new tokens reach the sensor through a named pipe that is its standard input. The sensor's
//! end is open for reading and writing, so that it neither waits for the agent nor sees an end when
//! the agent goes; a restarted agent opens the pipe again.

use super::making::{self, Files};
use super::workers;
use crate::adapters::agent::Agent;
use crate::adapters::chain;
use crate::adapters::droplets::DropletUse;
use crate::adapters::life::reached;
use crate::adapters::preparing::cpu_shares;
use crate::adapters::transfer::{hex, unhex};
use crate::adapters::voice::Voice;
use crate::domain::capacity::{self, Resources};
use crate::domain::epoch::Command;
use crate::domain::pack::{self, PACK, PackKey};
use crate::domain::record::{Record, SensorRecord};
use crate::domain::sensor::{self, BackOff, Change, Verdict};
use crate::domain::task::Tail;
use crate::sandbox::{Events, Orders, Sandbox, SandboxEvent, SandboxLimits, Signal, Source, VCAP};
use daemon::Received;
use proto::bus::automation::{RunSensor, SensorToken, SensorTokenReply, SensorTrigger, StopSensor};
use proto::bus::{Payload, catalogue};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

const ORDERS: &str = "/run/yard/orders.json";
const EVENTS: &str = "/run/yard/events";
/// The program, given the interpreter, the orders and the pipe: the shell only connects the pipe.
const PROGRAM: &str = r#"exec "$0" -m yard_sensor "$1" 0<>"$2""#;
const COMMANDS: usize = 256;
/// Memory of a sensor whose order names none.
const MEMORY_MB: u64 = 128;
/// Between TERM and KILL: its wrapper cleans up and sends what waits, for five seconds at most.
const GRACE: Duration = Duration::from_secs(8);
/// Changes of triggers that may wait for a sensor, in bytes.
const MOST_WAITING: usize = 4 << 20;
/// Stopped sensors whose generation is remembered.
const MOST_STOPPED: usize = 4096;
/// Characters of its last words in a report.
const LAST_WORDS: usize = 2000;

/// A sensor, as its unit last showed it.
pub struct SensorEntry {
    pub generation: i64,
    pub state: SensorState,
    pub restarts: u32,
    pub last_exit: String,
    /// Its process on this machine; 0: none.
    pub pid: i32,
    /// What its sandbox holds, while there is one.
    pub holds: Option<Resources>,
    pub commands: mpsc::Sender<SensorCommand>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SensorState {
    Starting,
    Running,
    Waiting,
}

impl SensorState {
    pub fn name(self) -> &'static str {
        match self {
            SensorState::Starting => "starting",
            SensorState::Running => "running",
            SensorState::Waiting => "waiting",
        }
    }
}

pub enum SensorCommand {
    Replace(Box<RunSensor>),
    Stop,
    Trigger(Change, Value),
    Token(String),
    /// The agent ends, the sensor goes on.
    Leave,
}

impl Agent {
    pub async fn listen_for_sensors(self: &Arc<Self>) {
        let (runs, stops, triggers, tokens) = (
            catalogue::dea_sensor_run(&self.id).filter(),
            catalogue::dea_sensor_stop(&self.id).filter(),
            catalogue::dea_sensor_trigger(&self.id).filter(),
            catalogue::dea_sensor_token(&self.id).filter(),
        );
        self.answer("sensor-run", runs, run).await;
        self.answer("sensor-stop", stops, stop).await;
        self.answer("sensor-trigger", triggers, trigger).await;
        self.answer("sensor-token", tokens, token).await;
    }
}

fn run(agent: &Arc<Agent>, received: Received<RunSensor>) {
    let (request, from) = received.open();
    let sensor = request.sensor.clone();
    if let Err(why) = accept(agent, request) {
        from.ignore("refused", format_args!("sensor {sensor}: {why}"));
    }
}

fn accept(agent: &Arc<Agent>, request: RunSensor) -> Result<(), String> {
    if request.sensor.is_empty() {
        return Err("the sensor has no name".to_string());
    }
    let content = request.content.clone().ok_or("the order names no pack")?;
    if let Some(problem) = pack::problem(&content) {
        return Err(problem);
    }
    sensor::orders(&request.orders)?;
    let mut table = agent.table();
    let epoch = Some(request.epoch).filter(|epoch| *epoch != 0);
    table
        .epochs
        .check(Command::Sensor, epoch)
        .map_err(|outdated| outdated.to_string())?;
    if let Some(why) = table.closed() {
        return Err(why.to_string());
    }
    let here = table
        .sensors
        .get(&request.sensor)
        .map(|entry| entry.generation);
    let stopped = table.stopped_sensors.get(&request.sensor).copied();
    match sensor::judge(request.generation, here, stopped) {
        Verdict::Same => return Ok(()),
        Verdict::Outdated => {
            return Err(format!("generation {} is outdated", request.generation));
        }
        Verdict::Replace => {
            if let Some(entry) = table.sensors.get_mut(&request.sensor) {
                let generation = request.generation;
                let command = SensorCommand::Replace(Box::new(request));
                entry
                    .commands
                    .try_send(command)
                    .map_err(|_| "the sensor takes no more commands".to_string())?;
                entry.generation = generation;
                entry.state = SensorState::Starting;
                entry.pid = 0;
            }
        }
        Verdict::Begin => {
            tracing::info!(
                sensor = request.sensor,
                generation = request.generation,
                "a sensor is started"
            );
            let (entry, unit) = create(agent, request);
            table.sensors.insert(unit.request.sensor.clone(), entry);
            agent.tasks.spawn_once("sensor", unit.run(None));
        }
    }
    drop(table);
    agent.nudges.report.notify_one();
    Ok(())
}

fn stop(agent: &Arc<Agent>, received: Received<StopSensor>) {
    let (StopSensor { sensor, generation }, from) = received.open();
    let mut table = agent.table();
    if table.stopped_sensors.len() >= MOST_STOPPED {
        table.stopped_sensors.pop_first();
    }
    let stopped = table
        .stopped_sensors
        .entry(sensor.clone())
        .or_insert(generation);
    *stopped = generation.max(*stopped);
    let here = table.sensors.get(&sensor);
    let Some(entry) = here.filter(|entry| entry.generation <= generation) else {
        return from.ignore(
            "nothing of it is here",
            format_args!("sensor {sensor}, generation {generation}"),
        );
    };
    if entry.commands.try_send(SensorCommand::Stop).is_err() {
        tracing::warn!(sensor, "a sensor could not be told to stop");
    }
}

fn trigger(agent: &Arc<Agent>, received: Received<SensorTrigger>) {
    let (message, from) = received.open();
    let SensorTrigger {
        sensor,
        change,
        trigger,
    } = message;
    let (Some(change), Ok(trigger)) = (Change::parse(&change), serde_json::from_slice(&trigger))
    else {
        return from.ignore(
            "no change of a trigger",
            format_args!("sensor {sensor}: {change}"),
        );
    };
    let table = agent.table();
    let Some(entry) = table.sensors.get(&sensor) else {
        return from.ignore("nothing of it is here", format_args!("sensor {sensor}"));
    };
    if entry
        .commands
        .try_send(SensorCommand::Trigger(change, trigger))
        .is_err()
    {
        tracing::warn!(sensor, "a sensor could not be told of a trigger");
    }
}

fn token(agent: &Arc<Agent>, received: Received<SensorToken>) {
    let refused = take_token(agent, &received.message).err();
    if let Some(reason) = refused {
        received.ignore(
            "refused",
            format_args!(
                "a new token of sensor {}: {reason}",
                received.message.sensor
            ),
        );
    }
    let reply = SensorTokenReply {
        accepted: refused.is_none(),
        reason: refused.unwrap_or_default().to_string(),
    };
    agent.tasks.spawn_once("answer", async move {
        if let Err(error) = received.respond(&reply).await {
            tracing::warn!(%error, "whoever renews a sensor's token was not answered");
        }
    });
}

/// Hands it to the unit of the sensor, which tells the sensor and keeps it for its next start.
fn take_token(agent: &Arc<Agent>, new: &SensorToken) -> Result<(), &'static str> {
    let table = agent.table();
    let entry = table
        .sensors
        .get(&new.sensor)
        .filter(|entry| entry.generation == new.generation)
        .ok_or("this generation of the sensor is not here")?;
    entry
        .commands
        .try_send(SensorCommand::Token(new.token.clone()))
        .map_err(|_| "the sensor takes no more commands")
}

fn create(agent: &Arc<Agent>, request: RunSensor) -> (SensorEntry, Unit) {
    let (sender, commands) = mpsc::channel(COMMANDS);
    let entry = SensorEntry {
        generation: request.generation,
        state: SensorState::Starting,
        restarts: 0,
        last_exit: String::new(),
        pid: 0,
        holds: None,
        commands: sender,
    };
    let unit = Unit {
        agent: agent.clone(),
        orders: sensor::orders(&request.orders).unwrap_or_default(),
        voice: voice(agent, &request),
        request,
        commands,
        waits: BackOff::default(),
        restarts: 0,
        last_exit: String::new(),
        then: Then::Again,
    };
    (entry, unit)
}

fn voice(agent: &Agent, request: &RunSensor) -> Voice {
    let pack = request.content.as_ref().map(|content| content.pack.clone());
    let tags = BTreeMap::from([
        ("sensor".to_string(), request.sensor.clone()),
        ("pack".to_string(), pack.unwrap_or_default()),
    ]);
    Voice::new(
        agent.logs.clone(),
        &request.sensor,
        "0".to_string(),
        proto::log::SOURCE_SENSOR.to_string(),
        tags,
    )
}

/// Sandboxes of sensors that an earlier agent left: of each sensor the newest generation goes on.
pub async fn adopt_all(agent: &Arc<Agent>, found: Vec<(SensorRecord, Sandbox)>) {
    let mut readable = Vec::new();
    for (record, sandbox) in found {
        let bytes = unhex(&record.request);
        match bytes.and_then(|bytes| RunSensor::decode(&bytes).ok()) {
            Some(request) => readable.push((request, record, sandbox)),
            None => making::destroy(&sandbox).await,
        }
    }
    readable.sort_by_key(|(request, ..)| std::cmp::Reverse(request.generation));
    for (request, record, sandbox) in readable {
        if agent.table().sensors.contains_key(&request.sensor) {
            making::destroy(&sandbox).await;
            continue;
        }
        let (mut entry, mut unit) = create(agent, request);
        unit.restarts = record.restarts;
        unit.last_exit.clone_from(&record.last_exit);
        entry.restarts = record.restarts;
        entry.last_exit = record.last_exit;
        entry.holds = Some(held(sandbox.limits()));
        let sensor = unit.request.sensor.clone();
        agent.table().sensors.insert(sensor, entry);
        agent.tasks.spawn_once("sensor", unit.run(Some(sandbox)));
    }
}

fn held(limits: SandboxLimits) -> Resources {
    Resources {
        memory_mb: limits.memory_mb,
        disk_mb: limits.disk_mb,
    }
}

/// What comes after a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Another one.
    Again,
    /// Nothing.
    Over,
    /// Nothing by this agent.
    Left,
}

struct Unit {
    agent: Arc<Agent>,
    request: RunSensor,
    /// Its orders, with the changes since.
    orders: Map<String, Value>,
    voice: Voice,
    commands: mpsc::Receiver<SensorCommand>,
    waits: BackOff,
    restarts: u32,
    last_exit: String,
    then: Then,
}

/// A sensor that runs.
struct Life {
    sandbox: Sandbox,
    events: Events,
    pipe: pipe::Sender,
    /// What it is made of, kept in the cache while it lives.
    _uses: Vec<DropletUse>,
    /// For the pipe.
    outgoing: Vec<u8>,
    tail: Tail,
    since: Duration,
}

impl Unit {
    async fn run(mut self, adopted: Option<Sandbox>) {
        let mut life = match adopted {
            Some(sandbox) => Some(self.resume(sandbox).await),
            None => None,
        };
        while self.then == Then::Again {
            let begun = match life.take() {
                Some(life) => life,
                None => self.begin().await,
            };
            let lived = match begun {
                Ok(Some(life)) => self.live(life).await,
                // Interrupted by a command.
                Ok(None) => None,
                Err(why) => {
                    tracing::warn!(
                        sensor = self.request.sensor,
                        why,
                        "a sensor could not be started"
                    );
                    self.voice
                        .say(&format!("The sensor could not be started: {why}"));
                    self.last_exit = why;
                    Some(Duration::ZERO)
                }
            };
            if let Some(lived) = lived
                && self.then == Then::Again
            {
                self.wait(lived).await;
            }
        }
        self.voice.settle();
        if self.then == Then::Over {
            self.agent.table().sensors.remove(&self.request.sensor);
            self.agent.nudges.advertise.notify_one();
            self.agent.nudges.report.notify_one();
        }
    }

    fn show(&self, state: SensorState, pid: i32) {
        if let Some(entry) = self.agent.table().sensors.get_mut(&self.request.sensor) {
            entry.state = state;
            entry.restarts = self.restarts;
            entry.last_exit.clone_from(&self.last_exit);
            entry.pid = pid;
        }
        self.agent.nudges.report.notify_one();
    }

    /// Reserves room for its sandbox, or gives it back.
    fn hold(&self, holds: Option<Resources>) {
        if let Some(entry) = self.agent.table().sensors.get_mut(&self.request.sensor) {
            entry.holds = holds;
        }
        self.agent.nudges.advertise.notify_one();
    }

    fn limits(&self) -> SandboxLimits {
        let memory_mb = match self.request.memory_mb {
            0 => MEMORY_MB,
            memory_mb => memory_mb,
        };
        SandboxLimits {
            memory_mb,
            cpu_shares: cpu_shares(memory_mb),
            ..making::limits(&self.agent)
        }
    }

    fn admit(&self, wanted: Resources) -> Result<(), String> {
        let _admitting = self.agent.admitting();
        let mut table = self.agent.table();
        let evicted = capacity::admit(self.agent.offered(), &table.claims(), wanted)
            .map_err(|refused| refused.to_string())?;
        table.evict(evicted);
        if let Some(entry) = table.sensors.get_mut(&self.request.sensor) {
            entry.holds = Some(wanted);
        }
        drop(table);
        self.agent.nudges.advertise.notify_one();
        Ok(())
    }

    /// Takes a command. True: this life, or what was to become one, ends.
    fn obey(&mut self, command: Option<SensorCommand>) -> bool {
        match command {
            Some(SensorCommand::Replace(request)) => {
                self.orders = sensor::orders(&request.orders).unwrap_or_default();
                self.request = *request;
                self.voice = voice(&self.agent, &self.request);
                self.waits = BackOff::default();
                true
            }
            Some(SensorCommand::Trigger(change, trigger)) => {
                sensor::keep(&mut self.orders, change, &trigger);
                false
            }
            Some(SensorCommand::Token(token)) => {
                sensor::keep_token(&mut self.orders, &token);
                false
            }
            Some(SensorCommand::Stop) => {
                self.then = Then::Over;
                true
            }
            Some(SensorCommand::Leave) | None => {
                self.then = Then::Left;
                true
            }
        }
    }

    /// Makes a sandbox with the sensor in it. `None`: a command came between.
    async fn begin(&mut self) -> Result<Option<Life>, String> {
        self.show(SensorState::Starting, 0);
        let limits = self.limits();
        self.admit(held(limits))?;
        let (agent, content) = (self.agent.clone(), self.request.content.clone());
        let id = format!("sensor-{:016x}", rand::random::<u64>());
        let mut preparing = Box::pin(async move {
            making::prepare(&agent, &id, limits, &content.unwrap_or_default()).await
        });
        let prepared = loop {
            tokio::select! {
                prepared = &mut preparing => break prepared,
                command = self.commands.recv() => if self.obey(command) {
                    // A sandbox that is being made is finished, and then removed.
                    self.agent.tasks.spawn_once("abandon-sensor", async move {
                        if let Ok((sandbox, _)) = preparing.await {
                            making::destroy(&sandbox).await;
                        }
                    });
                    self.hold(None);
                    return Ok(None);
                },
            }
        };
        let (sandbox, files) = match prepared {
            Ok(prepared) => prepared,
            Err(why) => {
                self.hold(None);
                return Err(why);
            }
        };
        match self.order(&sandbox, &files).await {
            Ok((events, pipe)) => Ok(Some(Life {
                sandbox,
                events,
                pipe,
                _uses: files.into_uses(),
                outgoing: Vec::new(),
                tail: Tail::default(),
                since: self.agent.now().uptime,
            })),
            Err(why) => {
                making::destroy(&sandbox).await;
                self.hold(None);
                Err(why)
            }
        }
    }

    async fn order(
        &self,
        sandbox: &Sandbox,
        files: &Files,
    ) -> Result<(Events, pipe::Sender), String> {
        let ordered = async {
            let orders = Value::Object(self.orders.clone()).to_string();
            sandbox
                .put(ORDERS, Source::Bytes(orders.into_bytes()), 0o600)
                .await?;
            let pipe = sandbox.make_pipe(EVENTS).await?;
            sandbox.set_label(&self.label()).await?;
            let interpreter = files.interpreter();
            let program = ["/bin/sh", "-c", PROGRAM, &interpreter, ORDERS, EVENTS];
            let orders = Orders {
                argv: program.map(str::to_string).to_vec(),
                env: files.environment("/home/vcap"),
                cwd: format!("{PACK}/content"),
                uid: VCAP,
                gid: VCAP,
                fds: making::FILES,
            };
            sandbox.order(orders).await?;
            Ok((sandbox.events().await?, pipe))
        };
        ordered
            .await
            .map_err(|error: crate::sandbox::SandboxError| chain(&error))
    }

    fn label(&self) -> String {
        let request = RunSensor {
            orders: Value::Object(self.orders.clone()).to_string().into_bytes(),
            ..self.request.clone()
        };
        let record = SensorRecord {
            request: hex(&request.encode()),
            restarts: self.restarts,
            last_exit: self.last_exit.clone(),
            started_at: self.agent.now().unix,
        };
        Record::Sensor(record).to_text()
    }

    /// Goes on with a sensor that an earlier agent started.
    async fn resume(&mut self, sandbox: Sandbox) -> Result<Option<Life>, String> {
        let resumed = async {
            let events = sandbox.events().await?;
            Ok((events, sandbox.open_pipe(EVENTS).await?))
        };
        let resumed: Result<_, crate::sandbox::SandboxError> = resumed.await;
        match resumed {
            Ok((events, pipe)) => {
                tracing::info!(sensor = self.request.sensor, "a sensor was adopted");
                let key = self.request.content.as_ref().map(PackKey::of);
                let uses = key.map(|key| Files::adopt(&self.agent, &key));
                Ok(Some(Life {
                    sandbox,
                    events,
                    pipe,
                    _uses: uses.unwrap_or_default(),
                    // A line that the earlier agent could not finish must not take the next with it.
                    outgoing: b"\n".to_vec(),
                    tail: Tail::default(),
                    since: self.agent.now().uptime,
                }))
            }
            Err(error) => {
                making::destroy(&sandbox).await;
                self.hold(None);
                Err(chain(&error))
            }
        }
    }

    /// Until its end, by itself or by a command. How long it lived, if it ended by itself.
    async fn live(&mut self, mut life: Life) -> Option<Duration> {
        let pid = workers::program_of(&life.sandbox.group()).unwrap_or(0);
        self.show(SensorState::Running, pid);
        loop {
            tokio::select! {
                event = life.events.recv() => if let Some(how) = self.hear(&mut life.tail, event) {
                    self.ended(&life, &how);
                    self.remove(life.sandbox).await;
                    return Some(self.agent.now().uptime.saturating_sub(life.since));
                },
                command = self.commands.recv() => {
                    self.forward(&mut life, command.as_ref());
                    if self.obey(command) {
                        if self.then != Then::Left {
                            self.terminate(life).await;
                        }
                        return None;
                    }
                    // Its successor must know what it watches.
                    if let Err(error) = life.sandbox.set_label(&self.label()).await {
                        tracing::warn!(sensor = self.request.sensor, error = chain(&error), "what a sensor watches could not be written down");
                    }
                },
                writable = life.pipe.writable(), if !life.outgoing.is_empty() => {
                    if let Err(error) = writable.and_then(|()| write(&life.pipe, &mut life.outgoing)) {
                        tracing::warn!(sensor = self.request.sensor, error = chain(&error), "a sensor hears of no more triggers until it is started again");
                        life.outgoing.clear();
                    }
                },
                () = tokio::time::sleep(Duration::from_secs(1)), if self.voice.owes() => self.voice.settle(),
            }
        }
    }

    /// Tells the sensor of a change, or its new token.
    fn forward(&self, life: &mut Life, command: Option<&SensorCommand>) {
        let line = match command {
            Some(SensorCommand::Trigger(change, trigger)) => sensor::line(*change, trigger),
            Some(SensorCommand::Token(token)) => sensor::token_line(token),
            Some(SensorCommand::Replace(_) | SensorCommand::Stop | SensorCommand::Leave) | None => {
                return;
            }
        };
        if life.outgoing.len() > MOST_WAITING {
            tracing::warn!(
                sensor = self.request.sensor,
                "a sensor does not read; it hears of this change when it is started again"
            );
            return;
        }
        life.outgoing.extend(line);
    }

    /// How it ended, if it did.
    fn hear(&mut self, tail: &mut Tail, event: Option<SandboxEvent>) -> Option<String> {
        match event {
            Some(SandboxEvent::Line {
                stderr,
                at_unix_ns,
                payload,
            }) => {
                if stderr {
                    tail.push(&payload);
                }
                let most = u64::try_from(self.agent.setting().integer("dea/log/max_line_rate"))
                    .unwrap_or(u64::MAX);
                let now = self.agent.now().uptime;
                self.voice.line(stderr, at_unix_ns, payload, now, most);
                None
            }
            Some(SandboxEvent::LinesLost { count }) => {
                self.voice.lost(count);
                None
            }
            Some(SandboxEvent::Exited {
                status,
                out_of_memory,
                ..
            }) => Some(if out_of_memory {
                format!(
                    "out of memory: it used all of its {} MB",
                    self.limits().memory_mb
                )
            } else {
                status.to_string()
            }),
            None => Some("its sandbox is gone".to_string()),
        }
    }

    fn ended(&mut self, life: &Life, how: &str) {
        let words = life.tail.clone().into_lines().join("\n");
        let from = words.len().saturating_sub(LAST_WORDS);
        let from = (from..=words.len())
            .find(|at| words.is_char_boundary(*at))
            .unwrap_or(words.len());
        self.last_exit = match &words[from..] {
            "" => how.to_string(),
            last => format!("{how}\n{last}"),
        };
        self.restarts = self.restarts.saturating_add(1);
        tracing::info!(
            sensor = self.request.sensor,
            how,
            restarts = self.restarts,
            "a sensor ended"
        );
        self.voice.say(&format!("The sensor ended: {how}"));
    }

    /// TERM, time to clean up, and the end.
    async fn terminate(&mut self, mut life: Life) {
        if let Err(error) = life.sandbox.signal(Signal::Terminate).await {
            tracing::debug!(
                sensor = self.request.sensor,
                error = chain(&error),
                "a sensor took no signal"
            );
        }
        let until = self.agent.clock.at(self.agent.now().uptime + GRACE);
        loop {
            tokio::select! {
                event = life.events.recv() => if self.hear(&mut life.tail, event).is_some() { break },
                () = reached(Some(until)) => break,
            }
        }
        self.remove(life.sandbox).await;
    }

    async fn remove(&self, sandbox: Sandbox) {
        making::destroy(&sandbox).await;
        self.hold(None);
    }

    /// Between two lives.
    async fn wait(&mut self, lived: Duration) {
        self.show(SensorState::Waiting, 0);
        let until = self.agent.now().uptime + self.waits.after(lived);
        let until = self.agent.clock.at(until);
        loop {
            tokio::select! {
                () = reached(Some(until)) => return,
                command = self.commands.recv() => if self.obey(command) { return },
            }
        }
    }
}

fn write(pipe: &pipe::Sender, outgoing: &mut Vec<u8>) -> std::io::Result<()> {
    match pipe.try_write(outgoing) {
        Ok(length) => {
            outgoing.drain(..length);
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}
