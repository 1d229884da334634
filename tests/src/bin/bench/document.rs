//! `docs/benchmarks.md`; what was not measured has no section.

use crate::figure::Figure;
use crate::goal::Goal;
use crate::platform::Platform;
use std::fmt;

pub struct Document {
    /// What it was measured on, as a paragraph.
    pub machine: String,
    pub goals: Vec<Goal>,
    pub platform: Platform,
}

const HEAD: &str = "# Benchmarks\n\nWritten by `make bench`, whole, from one run.\n\n";

const GOALS: &str = "\n## Against yardsticks\n
Y is what the pieces alone take, measured on the same machine in turns with ours. A ratio is the median of the rounds, with the least
and the greatest of them in brackets; whether it is met follows from the median. p50 and p99 are over all rounds together.\n\n";

const METHOD: &str = "
- Events: a whole cluster, one event at a time, from before the request to a webhook is sent through the router. A shell action is seen to begin by a
  reader of a named pipe to which it writes first, so the reader's wake-up is in the time; a Python action reads the clock in the first line of
  `run`. Warm: the sandbox of the pack is there, and in it a shell that waits for its command (its slot had rested for 20 ms). Cold: the sandbox
  is not there, its files are on the agent, and so is what the agent keeps prepared for whichever pack comes. Processes are not pinned.
- Placements in memory: one thread, on core 0; Y looks at every agent for every instance. From end to end: a controller with SQLite between a real bus
  and a real cluster store, from the change of an app's number of instances to the last command received and the last reason on record; Y: the
  same records through the same store, by 64 callers that each wait for theirs to be on disk.
- Heartbeats: 1,000 agents with 100 instances each, read and taken in, on core 0; Y reads the same into a map. Memory: what a process has more after
  the first round.
- Recovery: whole clusters, with an app that listens as soon as it runs. The router's own table is looked at about every millisecond. The agent that
  is lost is killed with everything it ran, and does not come back.
- Start of an instance: in the agent, from its command to the news that its process runs. Y: from orders to a prepared container to the same news.
  Without the pool, Y: a copy of the disk, loop device and mount, the droplet over it, the runtime's `create` and `start` with the configuration of a
  real instance, and the pair of network interfaces, until `start` ends; processor time until the program inside waits, everybody's together.
- Y of the shell: a message from one NATS client to another, an insert of one row of 1 KB into PostgreSQL, and `sh -c` from start to exit;
  the medians of each, added. Y of Python: `python3 -c 'import json,yaml'` from start to exit.
- Executions: SQLite in WAL mode with `synchronous = FULL`. An execution is on the disk before it is answered or acted on, and so is its end; those of
  the same moment share a commit. Y: PostgreSQL with Debian's defaults, one client, one row a commit, each commit synced (`pgbench`).
  Processes are not pinned; clients, servers and database share the machine.
- Shell actions: agent and sandboxes on core 0, and on the same core in turn a loop that starts `sh -c true`.
- Rules: one thread; it, and in turn nats-server with its two clients, on core 0. *spread*: 100 triggers with 10 rules each; *one trigger*: all
  rules wait for the same one; *no signs*: one trigger, and nothing by which rules could be looked up, so that what they ask is evaluated.
- Router: the daemon alone with a bus of its own, access log and metrics on. Each proxy has one thread, or one core, and core 0; clients (`wrk`,
  `h2load`) and backends (nginx with one worker and 16 ports, of which each name has three) share core 1. All connections are kept. The yardsticks
  write no log. gorouter, of which somebody has to name the program (`STACKYARD_BENCH_GOROUTER`), hears the same registrations and keeps its
  connections to backends, as it would not by itself. Figures are requests per second, processor time per request and p99; uploads are of 100 KB and answered when they were read.
  nginx holds an upload in memory before it passes it on. Backends and their connections are shared by the 10,000 names, which are asked for
  in turn; the 100,000 routes beside them have three endpoints each of their own.
- A table's memory is what the router has more of after 300,000 registrations than before. First request served: one connection asks until the answer
  is 200; what it was answered before is in the time.\n";

const APPS: &str = "\n## Apps\n
A whole cluster; medians, the range is the least and the greatest value.\n\n";

impl fmt::Display for Document {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(text, "{HEAD}{}", self.machine)?;
        if !self.goals.is_empty() {
            write!(text, "{GOALS}{}", Goal::HEAD)?;
            for goal in &self.goals {
                writeln!(text, "{}", goal.row())?;
            }
            text.write_str(METHOD)?;
        }
        if !self.platform.figures.is_empty() {
            write!(text, "{APPS}{}", Figure::HEAD)?;
            for figure in &self.platform.figures {
                writeln!(text, "{}", figure.row())?;
            }
            writeln!(text, "\n{}", self.platform.starts)?;
        }
        Ok(())
    }
}
