//! One channel of a connection: a program in an instance, or a connection into its network.
//!
//! The two directions are carried by loops that do not wait for each other. Both ends' bounds hold: a slow
//! client fills its window, then the agent's socket, then the session's pipe, and the program waits.
//!
//! What a newcomer gets wrong: the messages by which a client takes more output come in one stream with its
//! input. A program that waits to be rid of its output reads no input; if that kept us from reading the stream, both
//! would wait for ever (`ssh app cat < large`). So while output waits, input is read on, into the [`Backlog`].

use super::calls::Calls;
use super::controller::Controller;
use super::instance::{self, Listening, NoSession, Telling};
use crate::domain::signal;
use proto::inside::{End, FromInstance, Opening, Size, Terminal, ToInstance};
use russh::server::{Handle, Msg};
use russh::{Channel, ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::{Notify, mpsc};

/// The data type of standard error (RFC 4254 §5.2).
const STDERR: u32 = 1;
/// Exit status of a session that could not be opened: as `ssh` itself says that something went wrong.
const NOT_OPENED: u32 = 255;
/// Variables a client may set; the agent has bounds of its own.
pub const MOST_VARIABLES: usize = 64;
/// The one subsystem there is.
pub const TRANSFER: &str = "sftp";
/// Input that waits for the instance while its output flows.
const AT_REST: usize = 1 << 20;
/// The same while its output waits: more than what can lie between a client and us.
const MOST: usize = 64 << 20;

/// What a connection's channels need.
#[derive(Clone)]
pub struct Pass {
    pub controller: Controller,
    pub calls: Arc<Calls>,
    pub permit: String,
    pub handle: Handle,
}

/// What a client asks for before it says what to run.
#[derive(Default)]
struct Wishes {
    /// How often one was set.
    variables: usize,
    environment: BTreeMap<String, String>,
    terminal: Option<Terminal>,
}

/// The life of a session channel.
pub async fn session(mut channel: Channel<Msg>, pass: Pass) {
    let id = channel.id();
    let Some(opening) = ask(&mut channel).await else {
        return;
    };
    let (reading, writing) = channel.split();
    match instance::open(&pass.controller, &pass.calls, &pass.permit, opening).await {
        Ok((listening, telling)) => {
            carry(reading, writing, id, &pass.handle, listening, telling).await;
        }
        Err(error) => {
            let text = format!("{}\r\n", sentence(&error));
            let _ = writing.extended_data_bytes(STDERR, text.into_bytes()).await;
            let _ = writing.exit_status(NOT_OPENED).await;
            let _ = writing.close().await;
        }
    }
}

/// What the user reads; what is ours to know is logged.
pub fn sentence(error: &NoSession) -> String {
    match error {
        NoSession::NotLetIn(super::controller::NotLetIn::Refused(why))
        | NoSession::Refused(why) => why.clone(),
        NoSession::NotLetIn(_)
        | NoSession::Broken(_)
        | NoSession::Nonsense(_)
        | NoSession::Late => {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "a session could not be opened"
            );
            "the session could not be opened: the cluster's operator finds the reason in the log"
                .to_string()
        }
    }
}

fn size(columns: u32, rows: u32) -> Size {
    let clip = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    Size {
        columns: clip(columns),
        rows: clip(rows),
    }
}

/// Hears the client out, until it says what to run. The answers to its requests are the connection's, which sees
/// them in their order ([`super::server`]).
async fn ask(channel: &mut Channel<Msg>) -> Option<Opening> {
    let mut wishes = Wishes::default();
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::RequestPty {
                term,
                col_width,
                row_height,
                ..
            } => {
                wishes.terminal = Some(Terminal {
                    kind: term,
                    size: size(col_width, row_height),
                });
            }
            ChannelMsg::WindowChange {
                col_width,
                row_height,
                ..
            } => {
                if let Some(terminal) = &mut wishes.terminal {
                    terminal.size = size(col_width, row_height);
                }
            }
            ChannelMsg::SetEnv {
                variable_name,
                variable_value,
                ..
            } if wishes.variables < MOST_VARIABLES => {
                wishes.variables += 1;
                wishes.environment.insert(variable_name, variable_value);
            }
            ChannelMsg::RequestShell { .. } => return Some(wishes.run(None)),
            ChannelMsg::Exec { command, .. } => {
                let command = String::from_utf8_lossy(&command).into_owned();
                return Some(wishes.run(Some(command)));
            }
            ChannelMsg::RequestSubsystem { name, .. } if name == TRANSFER => {
                return Some(Opening::Transfer);
            }
            ChannelMsg::Eof | ChannelMsg::Close => return None,
            _ => {}
        }
    }
    None
}

impl Wishes {
    fn run(&mut self, command: Option<String>) -> Opening {
        Opening::Run {
            command,
            environment: std::mem::take(&mut self.environment),
            terminal: self.terminal.take(),
        }
    }
}

/// Input on its way to the instance, counted.
#[derive(Default)]
struct Backlog {
    bytes: AtomicUsize,
    output_waits: AtomicBool,
    changed: Notify,
}

impl Backlog {
    fn has_room(&self) -> bool {
        let most = if self.output_waits.load(Ordering::SeqCst) {
            MOST
        } else {
            AT_REST
        };
        self.bytes.load(Ordering::SeqCst) < most
    }

    async fn room(&self) {
        while !self.has_room() {
            self.changed.notified().await;
        }
    }

    fn came(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
    }

    fn went(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        self.changed.notify_one();
    }

    /// Runs a write to the client.
    async fn output<T>(&self, write: impl Future<Output = T>) -> T {
        self.output_waits.store(true, Ordering::SeqCst);
        self.changed.notify_one();
        let written = write.await;
        self.output_waits.store(false, Ordering::SeqCst);
        written
    }
}

/// Between a channel and a session, until one of them ends.
pub async fn carry(
    reading: ChannelReadHalf,
    writing: ChannelWriteHalf<Msg>,
    id: ChannelId,
    handle: &Handle,
    listening: Listening,
    telling: Telling,
) {
    let backlog = Backlog::default();
    let (sender, receiver) = mpsc::unbounded_channel();
    let outward = async {
        if let Err(error) = outward(listening, &writing, id, handle, &backlog).await {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(error, "a session broke off");
        }
    };
    tokio::select! {
        () = inward(reading, sender, &backlog) => {}
        () = forward(receiver, telling, &backlog) => {}
        () = outward => {}
    }
    let _ = writing.close().await;
}

/// From the client into the backlog, until the client leaves.
async fn inward(
    mut reading: ChannelReadHalf,
    sender: mpsc::UnboundedSender<ToInstance>,
    backlog: &Backlog,
) {
    loop {
        backlog.room().await;
        let Some(message) = reading.wait().await else {
            return;
        };
        let message = match message {
            ChannelMsg::Data { data } => {
                backlog.came(data.len());
                ToInstance::Input(data.to_vec())
            }
            ChannelMsg::Eof => ToInstance::InputEnded,
            ChannelMsg::WindowChange {
                col_width,
                row_height,
                ..
            } => ToInstance::Resize(size(col_width, row_height)),
            ChannelMsg::Signal { signal } => match signal::number(&signal) {
                Some(number) => ToInstance::Signal(number),
                None => continue,
            },
            ChannelMsg::Close => return,
            _ => continue,
        };
        if sender.send(message).is_err() {
            return;
        }
    }
}

/// From the backlog to the instance.
async fn forward(
    mut receiver: mpsc::UnboundedReceiver<ToInstance>,
    mut telling: Telling,
    backlog: &Backlog,
) {
    while let Some(message) = receiver.recv().await {
        let bytes = match &message {
            ToInstance::Input(bytes) => bytes.len(),
            _ => 0,
        };
        let told = telling.tell(message).await;
        backlog.went(bytes);
        if told.is_err() {
            break;
        }
    }
    // It has ended; what it said last is still on its way outward.
    std::future::pending().await
}

/// From the instance to the client, until the session ends.
async fn outward(
    mut listening: Listening,
    writing: &ChannelWriteHalf<Msg>,
    id: ChannelId,
    handle: &Handle,
    backlog: &Backlog,
) -> Result<(), NoSession> {
    let left = |_| NoSession::Refused("the client has left".into());
    while let Some(message) = listening.next().await? {
        match message {
            FromInstance::Output(bytes) => {
                let write = writing.data_bytes(bytes);
                backlog.output(write).await.map_err(left)?;
            }
            FromInstance::Errors(bytes) => {
                let write = writing.extended_data_bytes(STDERR, bytes);
                backlog.output(write).await.map_err(left)?;
            }
            FromInstance::OutputEnded => writing.eof().await.map_err(left)?,
            FromInstance::Ended(End::Status(status)) => {
                let status = u32::from_ne_bytes(status.to_ne_bytes());
                let _ = writing.exit_status(status).await;
                return Ok(());
            }
            FromInstance::Ended(End::Signal(number)) => {
                let name = signal::named(number);
                let _ = handle
                    .exit_signal_request(id, name, false, String::new(), String::new())
                    .await;
                return Ok(());
            }
            FromInstance::Refused { problem } => return Err(NoSession::Refused(problem)),
            FromInstance::Called { .. } | FromInstance::Opened => {}
        }
    }
    Ok(())
}
