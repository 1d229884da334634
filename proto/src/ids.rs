//! Identifiers. Each is its own type, so that an agent's id cannot be passed where an app's is
//! meant, and each is checked once, at the door: only characters that are safe in a bus subject,
//! a file name and an URL path are accepted.

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// Why a text is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    #[error("an identifier may not be empty")]
    Empty,
    #[error("an identifier has at most 128 characters, this one has {0}")]
    TooLong(usize),
    #[error("an identifier is made of letters, digits, '-' and '_', this one has {0:?}")]
    Character(char),
}

fn check(text: &str) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty);
    }
    if text.len() > 128 {
        return Err(InvalidId::TooLong(text.len()));
    }
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if text.bytes().all(is_safe) {
        return Ok(());
    }
    let mut characters = text.chars();
    let found = characters.find(|c| !u8::try_from(*c).is_ok_and(is_safe));
    found.map_or(Ok(()), |c| Err(InvalidId::Character(c)))
}

/// The text of an identifier, checked and kept once: what arrives by the hundred thousand is copied once only.
struct IdVisitor;

impl Visitor<'_> for IdVisitor {
    type Value = Arc<str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an identifier")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Arc<str>, E> {
        check(text).map_err(E::custom)?;
        Ok(text.into())
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text (see [`InvalidId`]) and wraps it.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                check(&text)?;
                Ok(Self(text.into()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.as_str().to_owned()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(IdVisitor).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

id!(
    /// An app (`/v3/apps/:guid`).
    AppGuid
);
id!(
    /// A process of an app. On the bus this is the field `droplet`: the unit that is started,
    /// counted and stopped. The first web process of an app has the guid of its app.
    ProcessGuid
);
id!(
    /// One version of a process: changes with the droplet, the settings or a restart. On the bus
    /// the field `version`.
    Version
);
id!(
    /// One running copy of a process, given by the agent that runs it (32 hex digits).
    InstanceId
);
id!(
    /// An execution agent, stable over its restarts.
    DeaId
);
id!(
    /// One running daemon: role and number, for instance `router-1`. Also its user name on the bus.
    ComponentId
);
id!(
    /// A one-off run in a container: staging, a task, later an action.
    TaskId
);
id!(
    /// Name of a queue of stagers.
    StagerQueue
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_could_break_a_subject_is_refused() {
        assert_eq!(DeaId::new("a.b"), Err(InvalidId::Character('.')));
        assert_eq!(DeaId::new("a b"), Err(InvalidId::Character(' ')));
        assert_eq!(DeaId::new("*"), Err(InvalidId::Character('*')));
        assert_eq!(DeaId::new(""), Err(InvalidId::Empty));
        assert!(serde_json::from_str::<DeaId>("\"dea>1\"").is_err());
        assert_eq!(
            serde_json::from_str::<DeaId>("\"dea-1\"")
                .map(String::from)
                .ok(),
            Some("dea-1".to_string())
        );
    }
}
