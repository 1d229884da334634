//! A shell that was started ahead: it waits for its command instead of the command for it.
//!
//! ```text
//!   host ──user, folder; pipes──▶ slot ──launch──▶ sh: reads the gate … . command file
//!   host ──command, then a line break through the gate──▶ sh
//!        ──"it has begun"──▶ slot: waits for its end, as for any other
//! ```
//! Problem: a shell is there half a millisecond after it was ordered: a process is made, its program read, linked and
//! begun. Most commands are shorter than that.
//!
//! Approach: a slot that has rested for a moment ([`AHEAD_AFTER`]) starts a shell for another command like its last one,
//! of the same user in the same folder. It waits in `read`. Each serves one execution, and pipes, command and
//! environment are that execution's own. While one command follows the other no shell is started ahead: it would
//! cost as much as it spares.
//!
//! What a newcomer gets wrong: the environment comes with the command, as `export`s before it. That is the same thing only
//! for names that no shell gives a meaning of its own and no program reads before its first instruction ([`is_plain`]);
//! an order with others, with limits, or for a program, is carried out the ordinary way.

use super::orders::Run;
use super::slot::{self, COMMAND_DESCRIPTOR, GATE_DESCRIPTOR, Surroundings, Word};
use super::worker::pipe;
use crate::protocol::{frame_json, kind};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long a slot rests before it starts a shell ahead.
pub const AHEAD_AFTER: Duration = Duration::from_millis(20);
/// Most shells that wait.
pub const MOST_AHEAD: usize = 4;

/// Variables that shells read or set themselves.
const OF_THE_SHELL: [&str; 23] = [
    "_",
    "ENV",
    "EUID",
    "FUNCNEST",
    "GLOBIGNORE",
    "GROUPS",
    "IFS",
    "LINENO",
    "OLDPWD",
    "OPTARG",
    "OPTERR",
    "OPTIND",
    "POSIXLY_CORRECT",
    "PPID",
    "PS1",
    "PS2",
    "PS4",
    "PWD",
    "RANDOM",
    "SECONDS",
    "SHELLOPTS",
    "SHLVL",
    "UID",
];
/// Beginnings of names that the linker, the C library and shells look for when they start.
const OF_THE_START: [&str; 4] = ["BASH", "GLIBC_", "LD_", "MALLOC_"];

/// A shell that waits in a slot, as the host has it.
pub struct Ahead {
    surroundings: Surroundings,
    /// The read ends.
    outputs: [File; 2],
    command: File,
    /// It waits for a line from here.
    gate: UnixStream,
}

impl Ahead {
    /// Has a slot start one.
    pub fn order(slot: &UnixStream, surroundings: &Surroundings) -> io::Result<Ahead> {
        let (stdout, stdout_writer) = pipe()?;
        let (stderr, stderr_writer) = pipe()?;
        let command = File::from(memfd_create(c"command", MFdFlags::MFD_CLOEXEC)?);
        let (gate, waited_at) = UnixStream::pair()?;
        let given = [
            stdout_writer.as_raw_fd(),
            stderr_writer.as_raw_fd(),
            command.as_raw_fd(),
            waited_at.as_raw_fd(),
        ];
        let frame = frame_json(kind::SLOT, &Word::<()>::Wait(surroundings.clone()));
        let rights = [ControlMessage::ScmRights(&given)];
        let parts = [IoSlice::new(&frame)];
        let sent = sendmsg::<()>(
            slot.as_raw_fd(),
            &parts,
            &rights,
            MsgFlags::MSG_NOSIGNAL,
            None,
        )?;
        if sent != frame.len() {
            return Err(io::Error::other("a slot that rests takes no orders"));
        }
        Ok(Ahead {
            surroundings: surroundings.clone(),
            outputs: [stdout, stderr],
            command,
            gate,
        })
    }

    /// Gives it the command of a run: the read ends of its output. None: it is not for this run, or has gone.
    pub fn give(mut self, run: &Run) -> Option<[Option<File>; 2]> {
        if Surroundings::of(run)? != self.surroundings {
            return None;
        }
        let script = script(run)?;
        self.command.write_all(script.as_bytes()).ok()?;
        self.gate.write_all(b"\n").ok()?;
        Some(self.outputs.map(Some))
    }
}

impl Surroundings {
    /// What a shell would have to be started with ahead for runs like this; None: none can be.
    pub fn of(run: &Run) -> Option<Surroundings> {
        let order = &run.order;
        let names = order.environment.as_ref()?.iter();
        let mut entries = names.filter_map(|entry| entry.split_once('='));
        let is_exported =
            entries.all(|(name, value)| is_plain(name) && !value.contains(['\n', '\0']));
        if run.command.is_none() || !order.limits.is_empty() || !is_exported {
            return None;
        }
        let user = match &order.user {
            None => None,
            Some(Ok(user)) => Some(user.clone()),
            Some(Err(_)) => return None,
        };
        Some(Surroundings {
            user,
            folder: order.folder.clone(),
        })
    }
}

fn is_plain(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(is_word)
        && name
            .bytes()
            .next()
            .is_some_and(|byte| !byte.is_ascii_digit())
        && !OF_THE_SHELL.contains(&name)
        && !OF_THE_START
            .iter()
            .any(|beginning| name.starts_with(beginning))
}

/// On one line with the command, whose own lines keep their numbers.
fn script(run: &Run) -> Option<String> {
    let command = run.command.as_ref()?;
    let mut script = format!("exec {GATE_DESCRIPTOR}<&- {COMMAND_DESCRIPTOR}<&-;");
    for entry in run.order.environment.iter().flatten() {
        let (name, value) = entry.split_once('=')?;
        script.push_str("export ");
        script.push_str(name);
        script.push_str("='");
        script.push_str(&value.replace('\'', r"'\''"));
        script.push_str("';");
    }
    script.push_str(command);
    script.push('\n');
    Some(script)
}

/// What a shell is started with that waits. What it reads into is no variable of the command.
pub fn waits() -> [String; 4] {
    let script = format!(
        "read yard_gate<&{GATE_DESCRIPTOR}||exit;unset yard_gate;. /proc/self/fd/{COMMAND_DESCRIPTOR}"
    );
    [slot::SHELL, "-c", &script, slot::SHELL].map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell_host::orders::understand;
    use serde_json::{Value, json};

    fn run(more: Value) -> Run {
        let Value::Object(mut body) = json!({"kind": "shell", "id": "a", "env": {}}) else {
            panic!("an object")
        };
        body.extend(more.as_object().unwrap().clone());
        understand(&body).unwrap()
    }

    #[test]
    fn only_what_a_command_can_be_given_later_is_started_ahead() {
        let plain = json!({"command": "x", "env": {"PATH": "/bin", "_A1": "a'b"}, "cwd": "/tmp"});
        let expected = Surroundings {
            user: None,
            folder: "/tmp".into(),
        };
        assert_eq!(Surroundings::of(&run(plain.clone())), Some(expected));
        let text = script(&run(plain));
        let expected = "exec 8<&- 9<&-;export PATH='/bin';export _A1='a'\\''b';x\n";
        assert_eq!(text.as_deref(), Some(expected));
        for other in [
            json!({"argv": ["x"]}),
            json!({"command": "x", "env": null}),
            json!({"command": "x", "user": "no such user"}),
            json!({"command": "x", "limits": {"open_files": 9}}),
            json!({"command": "x", "env": {"A": "two\nlines"}}),
            json!({"command": "x", "env": {"PWD": "/"}}),
            json!({"command": "x", "env": {"LD_PRELOAD": "x"}}),
            json!({"command": "x", "env": {"1A": "x"}}),
            json!({"command": "x", "env": {"": "x"}}),
            json!({"command": "x", "env": {"A.B": "x"}}),
        ] {
            assert_eq!(Surroundings::of(&run(other.clone())), None, "{other}");
        }
    }
}
