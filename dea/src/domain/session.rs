//! Sessions that people open inside instances: who may come in, how many, and what is run for them.

use crate::domain::launcher;
use proto::ids::InstanceId;
use proto::inside::{Opening, Terminal};
use std::collections::BTreeMap;
use std::time::Duration;

/// Sessions one instance has at once: each costs its memory.
pub const MOST_SESSIONS: usize = 16;
/// Tickets that nobody has shown yet.
const MOST_TICKETS: usize = 1024;
/// No ticket is good for longer.
const LONGEST: Duration = Duration::from_secs(60);

/// Who was promised to be let in, and who is in.
#[derive(Debug, Default)]
pub struct Doors {
    tickets: BTreeMap<String, Ticket>,
    inside: BTreeMap<InstanceId, usize>,
}

#[derive(Debug)]
struct Ticket {
    instance: InstanceId,
    until: Duration,
}

/// Why a ticket was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    #[error("the agent waits for too many sessions already")]
    TooManyTickets,
    #[error("the instance has its {MOST_SESSIONS} sessions already")]
    TooManySessions,
}

impl Doors {
    /// Promises the holder of this ticket a session.
    pub fn promise(
        &mut self,
        ticket: String,
        instance: InstanceId,
        now: Duration,
        lifetime: Duration,
    ) -> Result<(), NotTaken> {
        self.tickets.retain(|_, ticket| ticket.until > now);
        if self.tickets.len() >= MOST_TICKETS {
            return Err(NotTaken::TooManyTickets);
        }
        if self.sessions_of(&instance) >= MOST_SESSIONS {
            return Err(NotTaken::TooManySessions);
        }
        let until = now + lifetime.min(LONGEST);
        self.tickets.insert(ticket, Ticket { instance, until });
        Ok(())
    }

    /// Spends a ticket. Whoever gets an instance calls [`Doors::left`] in the end.
    pub fn enter(&mut self, ticket: &str, now: Duration) -> Option<InstanceId> {
        let ticket = self.tickets.remove(ticket)?;
        // Counted again: several tickets may have been promised while the last place was free.
        if ticket.until <= now || self.sessions_of(&ticket.instance) >= MOST_SESSIONS {
            return None;
        }
        *self.inside.entry(ticket.instance.clone()).or_default() += 1;
        Some(ticket.instance)
    }

    pub fn left(&mut self, instance: &InstanceId) {
        if let Some(count) = self.inside.get_mut(instance) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.inside.remove(instance);
            }
        }
    }

    fn sessions_of(&self, instance: &InstanceId) -> usize {
        self.inside.get(instance).copied().unwrap_or(0)
    }

    pub fn sessions(&self) -> usize {
        self.inside.values().sum()
    }
}

/// Where a session finds itself.
const HOME: &str = "cd /home/vcap; ";
/// The places of OpenSSH's file server, by the families of systems.
const FILE_SERVER: &str = "for program in /usr/lib/openssh/sftp-server /usr/lib/ssh/sftp-server \
     /usr/libexec/openssh/sftp-server /usr/libexec/sftp-server; do \
     [ -x $program ] && exec $program; done; \
     echo 'the stack of this app has no sftp-server' >&2; exit 127";

/// The words of the process of a session; None: it is none.
///
/// In an instance that runs it starts with what the app's own start scripts set. In a crashed one it does not:
/// those scripts may be why it crashed.
pub fn arguments(opening: &Opening, crashed: bool) -> Option<Vec<String>> {
    let plain = |command: &str| Some(["/bin/bash", "-c", command].map(str::to_string).to_vec());
    match opening {
        Opening::Run { command, .. } => {
            let command = match command {
                Some(command) => format!("{HOME}{command}"),
                None => format!("{HOME}exec /bin/bash"),
            };
            if crashed {
                plain(&command)
            } else {
                Some(launcher::arguments(&command))
            }
        }
        Opening::Transfer => plain(&format!("{HOME}{FILE_SERVER}")),
        Opening::Connect { .. } => None,
    }
}

/// Most variables and their most bytes that a user may bring.
const MOST_VARIABLES: usize = 64;
const MOST_BYTES: usize = 32 * 1024;

/// What a user brings into the environment. What is no variable is left out.
pub fn environment(brought: &BTreeMap<String, String>, terminal: Option<&Terminal>) -> Vec<String> {
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    let mut left = MOST_BYTES;
    let mut entries: Vec<String> = brought
        .iter()
        .filter(|(name, value)| is_name(name) && !value.contains('\0') && *name != "TERM")
        .map(|(name, value)| format!("{name}={value}"))
        .take(MOST_VARIABLES)
        .take_while(|entry| {
            let fits = entry.len() <= left;
            left = left.saturating_sub(entry.len());
            fits
        })
        .collect();
    if let Some(terminal) = terminal {
        let kind: String = terminal
            .kind
            .chars()
            .filter(|letter| letter.is_ascii_graphic())
            .take(64)
            .collect();
        entries.push(format!("TERM={kind}"));
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::inside::Size;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn instance(name: &str) -> InstanceId {
        InstanceId::new(name).unwrap()
    }

    #[test]
    fn a_ticket_opens_once_and_for_a_while() {
        let mut doors = Doors::default();
        let one = instance("one");
        for (ticket, lifetime) in [("a", s(30)), ("b", s(3600)), ("c", s(1))] {
            doors
                .promise(ticket.into(), one.clone(), s(0), lifetime)
                .unwrap();
        }
        assert_eq!(doors.enter("a", s(1)), Some(one.clone()));
        assert_eq!(doors.enter("a", s(1)), None, "twice");
        assert_eq!(doors.enter("b", LONGEST), None, "nothing is good for hours");
        assert_eq!(doors.enter("c", s(1)), None, "late");
        assert_eq!(doors.enter("d", s(1)), None, "unknown");
        assert_eq!(doors.sessions(), 1);
        doors.left(&one);
        assert_eq!(doors.sessions(), 0);
    }

    #[test]
    fn an_instance_takes_so_many_and_no_more() {
        let mut doors = Doors::default();
        let (one, other) = (instance("one"), instance("other"));
        for number in 0..=MOST_SESSIONS {
            let promised = doors.promise(number.to_string(), one.clone(), s(0), s(30));
            promised.unwrap();
        }
        let entered = (0..=MOST_SESSIONS).filter(|number| {
            let number = number.to_string();
            doors.enter(&number, s(1)).is_some()
        });
        assert_eq!(entered.count(), MOST_SESSIONS);
        assert_eq!(
            doors.promise("more".into(), one.clone(), s(1), s(30)),
            Err(NotTaken::TooManySessions)
        );
        doors
            .promise("elsewhere".into(), other, s(1), s(30))
            .unwrap();
        doors.left(&one);
        doors.promise("again".into(), one, s(1), s(30)).unwrap();
        for number in 0..MOST_TICKETS {
            let _ = doors.promise(format!("t{number}"), instance("x"), s(1), s(30));
        }
        assert_eq!(
            doors.promise("flood".into(), instance("x"), s(1), s(30)),
            Err(NotTaken::TooManyTickets)
        );
        doors
            .promise("later".into(), instance("x"), s(90), s(30))
            .unwrap();
    }

    #[test]
    fn a_crashed_instance_is_looked_at_without_its_own_scripts() {
        let opening = |command: Option<&str>| Opening::Run {
            command: command.map(str::to_string),
            environment: BTreeMap::new(),
            terminal: None,
        };
        let words = arguments(&opening(Some("id; exit 3")), false).unwrap();
        assert!(words[2].contains("profile.d"));
        assert_eq!(words.last().unwrap(), "cd /home/vcap; id; exit 3");
        let words = arguments(&opening(None), true).unwrap();
        assert_eq!(words, ["/bin/bash", "-c", "cd /home/vcap; exec /bin/bash"]);
        let words = arguments(&Opening::Transfer, false).unwrap();
        assert!(words[2].starts_with(HOME) && words[2].contains("sftp-server"));
        let connect = Opening::Connect {
            host: "x".into(),
            port: 1,
        };
        assert_eq!(arguments(&connect, false), None);
    }

    #[test]
    fn only_variables_come_in() {
        let brought = BTreeMap::from(
            [
                ("LANG", "C.UTF-8"),
                ("A B", "x"),
                ("1A", "x"),
                ("", "x"),
                ("NUL", "a\0b"),
                ("TERM", "lies"),
                ("Z_LARGE", "x".repeat(MOST_BYTES).as_str()),
            ]
            .map(|(name, value)| (name.to_string(), value.to_string())),
        );
        let terminal = Terminal {
            kind: "xterm\n-256color".into(),
            size: Size {
                columns: 1,
                rows: 1,
            },
        };
        assert_eq!(
            environment(&brought, Some(&terminal)),
            ["LANG=C.UTF-8", "TERM=xterm-256color"]
        );
    }
}
