//! The bus: every subject, who may publish and who subscribes to it, and the message on it.
//!
//! [`catalogue`] is the one table. A subject is only ever written by the functions there, which
//! return a [`Topic`] (one subject, one payload type) or a [`Filter`] (a subject with wildcards),
//! so that a message cannot be sent where it does not belong. Subjects and shapes that Cloud
//! Foundry defines are JSON and keep its field names (contract §2); fields of ours are called
//! `yard_*` and are optional, so that strangers can ignore and omit them. Streams of our own are
//! protobuf ([`stream`]).

pub mod automation;
pub mod catalogue;
pub mod component;
pub mod dea;
pub mod health;
pub mod router;
pub mod staging;
pub mod stream;

use std::fmt;
use std::marker::PhantomData;

pub use catalogue::{CATALOGUE, Class, Encoding, Entry, Role, permissions};

/// A message that has one encoding on the bus.
pub trait Payload: Sized + Send + 'static {
    /// Name in the catalogue and in logs.
    const NAME: &'static str;
    fn encode(&self) -> Vec<u8>;
    fn decode(bytes: &[u8]) -> Result<Self, Malformed>;
}

/// Bytes that are no message of the expected type. Never fatal: the receiver ignores and counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no {expected}: {fault}")]
pub struct Malformed {
    /// Payload type that was expected.
    pub expected: &'static str,
    /// What is wrong, without the content.
    pub fault: String,
}

/// A message without content (a nudge).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Empty;

impl Payload for Empty {
    const NAME: &'static str = "Empty";
    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }
    /// Takes anything: Cloud Foundry's senders put `{}` or a greeting where nothing is needed.
    fn decode(_: &[u8]) -> Result<Self, Malformed> {
        Ok(Empty)
    }
}

/// One subject with the type of its messages.
pub struct Topic<M> {
    subject: String,
    message: PhantomData<fn() -> M>,
}

impl<M> Topic<M> {
    pub(crate) fn new(subject: impl Into<String>) -> Self {
        Topic {
            subject: subject.into(),
            message: PhantomData,
        }
    }
    pub fn subject(&self) -> &str {
        &self.subject
    }
    /// Subscribing to exactly this subject.
    pub fn filter(&self) -> Filter<M> {
        Filter::new(self.subject.clone(), None)
    }
    /// Subscribing to exactly this subject, sharing the messages with the other members.
    pub fn shared(&self, queue: &'static str) -> Filter<M> {
        Filter::new(self.subject.clone(), Some(queue.to_string()))
    }
}

impl<M> Clone for Topic<M> {
    fn clone(&self) -> Self {
        Topic::new(self.subject.clone())
    }
}

impl<M> fmt::Debug for Topic<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.subject)
    }
}

/// What a subscriber asks for: a subject, possibly with wildcards, possibly shared in a queue group.
pub struct Filter<M> {
    subject: String,
    queue: Option<String>,
    message: PhantomData<fn() -> M>,
}

impl<M> Filter<M> {
    pub(crate) fn new(subject: impl Into<String>, queue: Option<String>) -> Self {
        Filter {
            subject: subject.into(),
            queue,
            message: PhantomData,
        }
    }
    pub fn subject(&self) -> &str {
        &self.subject
    }
    pub fn queue(&self) -> Option<&str> {
        self.queue.as_deref()
    }
}

impl<M> fmt::Debug for Filter<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.subject)
    }
}

macro_rules! json {
    ($($name:ident),+ $(,)?) => {$(
        impl $crate::bus::Payload for $name {
            const NAME: &'static str = stringify!($name);
            fn encode(&self) -> Vec<u8> {
                // A struct of texts, numbers and maps with text keys always serializes.
                serde_json::to_vec(self).expect("bus messages have text keys only")
            }
            fn decode(bytes: &[u8]) -> Result<Self, $crate::bus::Malformed> {
                serde_json::from_slice(bytes).map_err(|error| $crate::bus::Malformed {
                    expected: stringify!($name),
                    fault: error.to_string(),
                })
            }
        }
    )+};
}
pub(crate) use json;

macro_rules! protobuf {
    ($($name:ident),+ $(,)?) => {$(
        impl $crate::bus::Payload for $name {
            const NAME: &'static str = stringify!($name);
            fn encode(&self) -> Vec<u8> {
                prost::Message::encode_to_vec(self)
            }
            fn decode(bytes: &[u8]) -> Result<Self, $crate::bus::Malformed> {
                <$name as prost::Message>::decode(bytes).map_err(|error| $crate::bus::Malformed {
                    expected: stringify!($name),
                    fault: error.to_string(),
                })
            }
        }
    )+};
}
pub(crate) use protobuf;
