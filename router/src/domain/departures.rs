//! Who left the table lately, and why: the answer to "it was there a minute ago".
//!
//! The table itself forgets at once. What is kept here is bounded twice, in number and in age, so that a
//! platform that deploys all day keeps no more than one that stands still.

use super::identity::Identity;
use super::table::Millis;
use super::uri::RouteName;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// How long somebody is remembered.
const KEPT: Millis = 600_000;
/// Most that are remembered; the oldest go first.
const MOST: usize = 1000;

/// Why an endpoint is under a name no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Departure {
    /// Its agent said so.
    Unregistered,
    /// Its agent said so, and that another takes its place.
    ToReturn,
    /// It was not registered again in time.
    Pruned,
    /// Another instance has its address.
    Replaced,
    /// Over TLS it could not be reached, or did not prove who it is.
    Unproved,
    /// Its isolation segment is none of this router's any more.
    Elsewhere,
}

impl Departure {
    pub fn text(self) -> &'static str {
        match self {
            Departure::Unregistered => "it was unregistered",
            Departure::ToReturn => "it ended and is to be replaced",
            Departure::Pruned => "it was not registered again in time",
            Departure::Replaced => "another instance has its address",
            Departure::Elsewhere => "this router does not serve its isolation segment",
            Departure::Unproved => "it could not be reached over TLS, or did not prove who it is",
        }
    }
}

/// An endpoint that was under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departed {
    pub name: RouteName,
    pub address: String,
    pub app: Option<Box<str>>,
    pub instance_id: Option<Box<str>>,
    pub why: Departure,
    pub at: Millis,
}

/// The last of them. Its lock is held by the writer of the table and by whoever asks, never by a request.
#[derive(Debug, Default)]
pub struct Departures {
    kept: Mutex<VecDeque<Departed>>,
}

impl Departures {
    pub fn note(&self, name: &RouteName, identity: &Identity, why: Departure, now: Millis) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == MOST {
            kept.pop_front();
        }
        kept.push_back(Departed {
            name: name.clone(),
            address: identity.at().to_string(),
            app: identity.app().map(Box::from),
            instance_id: identity.instance_id().map(Box::from),
            why,
            at: now,
        });
    }

    /// Those whose name is wanted, the newest first.
    pub fn of(&self, wanted: impl Fn(&RouteName) -> bool, now: Millis) -> Vec<Departed> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = kept
            .iter()
            .rev()
            .take_while(|departed| now.saturating_sub(departed.at) <= KEPT);
        lately
            .filter(|departed| wanted(&departed.name))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::announcement::Announcement;
    use proto::bus::router::Registration;

    fn note(departures: &Departures, host: &str, now: Millis) {
        let message = Registration {
            uris: vec![host.into()],
            host: "10.0.0.1".into(),
            port: Some(80),
            ..Registration::default()
        };
        let read = Announcement::read(&message, false).unwrap();
        departures.note(&read.names[0], &read.identity, Departure::Pruned, now);
    }

    #[test]
    fn so_many_are_remembered_so_long() {
        let departures = Departures::default();
        let hosts = |now| {
            let found = departures.of(|_| true, now).into_iter();
            found.map(|one| one.name.to_string()).collect::<Vec<_>>()
        };
        note(&departures, "old", 0);
        note(&departures, "new", KEPT);
        assert_eq!(hosts(KEPT), ["new", "old"]);
        assert_eq!(hosts(KEPT + 1), ["new"]);
        assert_eq!(departures.of(|name| name.host() == "old", KEPT).len(), 1);
        for _ in 0..MOST {
            note(&departures, "many", KEPT);
        }
        assert_eq!(departures.of(|_| true, KEPT).len(), MOST);
        assert!(hosts(KEPT).iter().all(|host| host == "many"));
    }
}
