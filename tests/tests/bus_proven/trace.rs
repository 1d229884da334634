//! What the server itself saw: who published and who subscribed to what.
//!
//! A user is known from the login that the server traced with the number of the connection. So the
//! server is started anew once it traces: a connection from before would be nobody's.

use anyhow::Context;
use proto::bus::{CATALOGUE, Entry};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

/// Who did it: the user by its credential, and whether the component itself or a test in its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Actor {
    pub user: String,
    pub itself: bool,
}

#[derive(Debug, Default)]
pub struct Trace {
    file: PathBuf,
    read: u64,
    rest: String,
    connections: BTreeMap<u64, Actor>,
    /// Pattern of the table, and who published there.
    pub published: BTreeMap<&'static str, BTreeSet<Actor>>,
    /// Pattern of the table, and who subscribed to it.
    pub subscribed: BTreeMap<&'static str, BTreeSet<Actor>>,
    /// Subjects that are not in the table, with their actors.
    pub strays: BTreeSet<(String, Actor)>,
    /// Refusals of the server, with whom it refused.
    pub violations: Vec<(Actor, String)>,
}

/// The row that a subject, or a subscription with wildcards, is about.
pub fn entry_of(subject: &str) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| {
        let mut words = subject.split('.');
        let fits = entry.pattern.split('.').all(|part| {
            words
                .next()
                .is_some_and(|word| part.starts_with('{') || part == word)
        });
        fits && words.next().is_none()
    })
}

impl Trace {
    pub fn of(file: PathBuf) -> Trace {
        Trace {
            file,
            ..Trace::default()
        }
    }

    /// Reads on from where it ended.
    pub fn catch_up(&mut self) -> anyhow::Result<()> {
        let mut file = std::fs::File::open(&self.file)
            .with_context(|| format!("opening the trace {}", self.file.display()))?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        self.read += bytes.len() as u64;
        let mut text = std::mem::take(&mut self.rest);
        // Payloads are traced quoted: nothing here is torn by what is no UTF-8.
        text.push_str(&String::from_utf8_lossy(&bytes));
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.rest = text.split_off(whole);
        for line in text.lines() {
            self.take(line);
        }
        Ok(())
    }

    /// `[1] date time [TRC] 127.0.0.1:1 - cid:4 - "v1:rust:name" - <<- [PUB subject 5]`
    fn take(&mut self, line: &str) -> Option<()> {
        let (_, after) = line.split_once(" - cid:")?;
        let digits = after.find(|c: char| !c.is_ascii_digit())?;
        let connection: u64 = after[..digits].parse().ok()?;
        if line.contains("[ERR]") {
            let actor = self.connections.get(&connection)?.clone();
            self.violations.push((actor, after.to_string()));
            return None;
        }
        let (_, said) = after.split_once(" - <<- ")?;
        let said = said.strip_prefix('[')?.strip_suffix(']')?;
        let (verb, arguments) = said.split_once(' ')?;
        if verb == "CONNECT" {
            let login: serde_json::Value = serde_json::from_str(arguments).ok()?;
            let user = login["user"].as_str()?.to_string();
            let itself = login["name"] == user.as_str();
            self.connections.insert(connection, Actor { user, itself });
            return Some(());
        }
        let actor = self.connections.get(&connection)?.clone();
        let subject = arguments.split(' ').next()?;
        let seen = match verb {
            "PUB" | "HPUB" => &mut self.published,
            "SUB" => &mut self.subscribed,
            _ => return None,
        };
        // Answers and the inboxes they come to.
        if subject.starts_with("_INBOX") {
            return None;
        }
        match entry_of(subject) {
            Some(entry) => {
                seen.entry(entry.pattern).or_default().insert(actor);
            }
            None => {
                self.strays.insert((subject.to_string(), actor));
            }
        }
        Some(())
    }
}
