//! The schema: every key of the cluster configuration.

use super::key::Key;
use super::router_keys::ROUTER;
use super::value::{Element, Kind};
use std::time::Duration;

pub(super) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const LEVELS: Kind = Kind::Choice(&["error", "warn", "info", "debug", "trace"]);

pub(super) const fn key(
    path: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Key {
    Key {
        path,
        kind,
        default,
        needs_restart: false,
        doc,
    }
}

/// Of all daemons.
pub const KEYS: &[Key] = &joined::<{ OTHERS.len() + ROUTER.len() }>(OTHERS, ROUTER);

const fn joined<const ALL: usize>(first: &[Key], second: &[Key]) -> [Key; ALL] {
    let mut all = [first[0]; ALL];
    let mut place = 0;
    while place < ALL {
        all[place] = match place < first.len() {
            true => first[place],
            false => second[place - first.len()],
        };
        place += 1;
    }
    all
}

const OTHERS: &[Key] = &[
    key(
        "automation/actions/validate_output",
        Kind::Bool,
        "false",
        "An action whose result is not what its output_schema says has failed.",
    ),
    key(
        "automation/api/allow_origin",
        Kind::List {
            of: Element::Text,
            separator: ',',
            max: 4096,
        },
        "http://127.0.0.1:3000",
        "Origins of web pages that may use the API of automation from a browser; * for every page, then without cookies; empty: none.",
    ),
    key(
        "automation/executions/per_agent",
        Kind::Integer { min: 1, max: 384 },
        "128",
        "Executions that one agent is given at a time; the others wait for one to end.",
    ),
    key(
        "automation/retention/executions",
        Kind::Duration {
            min: secs(3600),
            max: secs(36_500 * 86_400),
        },
        "90d",
        "How long executions are kept after they were asked for, once they have ended.",
    ),
    key(
        "automation/retention/outputs",
        Kind::Duration {
            min: secs(3600),
            max: secs(36_500 * 86_400),
        },
        "7d",
        "How long what executions print is kept beside their results.",
    ),
    key(
        "automation/retention/trigger_instances",
        Kind::Duration {
            min: secs(3600),
            max: secs(36_500 * 86_400),
        },
        "30d",
        "How long trigger instances are kept that the rules have looked at.",
    ),
    key(
        "automation/retention/enforcements",
        Kind::Duration {
            min: secs(3600),
            max: secs(36_500 * 86_400),
        },
        "30d",
        "How long it is kept what rules made of trigger instances.",
    ),
    key(
        "automation/retention/traces",
        Kind::Duration {
            min: secs(3600),
            max: secs(36_500 * 86_400),
        },
        "90d",
        "How long traces are kept.",
    ),
    key(
        "automation/rules/max_pending",
        Kind::Integer {
            min: 100,
            max: 10_000_000,
        },
        "50000",
        "With more trigger instances than this waiting for the rules, webhooks answer 429.",
    ),
    key(
        "automation/rules/record_mismatches",
        Kind::Bool,
        "false",
        "Records why a rule did not match, for each trigger instance: for finding faults, not for good.",
    ),
    key(
        "automation/timers/misfire_grace",
        Kind::Duration {
            min: secs(1),
            max: secs(86_400),
        },
        "1m",
        "A timer that could not fire in time is made up for, once, if it is no later than this.",
    ),
    key(
        "automation/timers/timezone",
        Kind::Text { max: 64 },
        "UTC",
        "Time zone of timers that name none, like Europe/Vienna.",
    ),
    key(
        "automation/webhook/max_body",
        Kind::Size {
            min: KIB,
            max: 64 * MIB,
        },
        "1MiB",
        "Largest body of a request to a webhook.",
    ),
    key(
        "automation/webhook/rate",
        Kind::Integer {
            min: 1,
            max: 100_000,
        },
        "100",
        "Requests a second that one controller takes for one webhook; the others get 429.",
    ),
    key(
        "cluster/clock/tolerance",
        Kind::Duration {
            min: ms(100),
            max: secs(3600),
        },
        "5s",
        "By more than this the clock of a machine may not jump without being told of (yard.clock.jumped).",
    ),
    key(
        "cluster/disk/low",
        Kind::Size {
            min: MIB,
            max: 1024 * GIB,
        },
        "1GiB",
        "With less room than this for a daemon's files, or less than a tenth of a filesystem smaller than ten times this, its disk is low (yard.disk.low).",
    ),
    Key {
        path: "cluster/daemon/threads",
        kind: Kind::Integer { min: 0, max: 1024 },
        default: "0",
        needs_restart: true,
        doc: "Threads that each daemon runs on; 0 for as many as the machine has processors.",
    },
    key(
        "cluster/leadership/lease",
        Kind::Duration {
            min: secs(3),
            max: secs(60),
        },
        "10s",
        "How long a leader of several controllers or health managers may be silent before another one leads.",
    ),
    key(
        "cluster/log/level",
        LEVELS,
        "info",
        "Log level of every daemon.",
    ),
    key(
        "controller/apps/default_disk",
        Kind::Size {
            min: 8 * MIB,
            max: 1024 * GIB,
        },
        "1GiB",
        "Disk of an instance whose manifest names none.",
    ),
    key(
        "controller/apps/default_memory",
        Kind::Size {
            min: 8 * MIB,
            max: 1024 * GIB,
        },
        "256MiB",
        "Memory of an instance whose manifest names none.",
    ),
    key(
        "controller/apps/environment",
        Kind::Environment,
        "{}",
        "Environment of every instance and task that is started anew from now on; an app's own variables go before.",
    ),
    key(
        "controller/apps/max_instances",
        Kind::Integer {
            min: 1,
            max: 100_000,
        },
        "1000",
        "Most instances one process may be scaled to.",
    ),
    key(
        "controller/blobs/sweep_period",
        Kind::Duration {
            min: secs(1),
            max: secs(86_400),
        },
        "10m",
        "How often packages, droplets and caches are looked for that nothing names any more.",
    ),
    key(
        "controller/blobs/unnamed_retention",
        Kind::Duration {
            min: secs(10),
            max: secs(30 * 86_400),
        },
        "1h",
        "How long such a blob is kept: the one who wrote it may be about to name it.",
    ),
    key(
        "controller/packages/max_size",
        Kind::Size {
            min: MIB,
            max: 64 * GIB,
        },
        "1GiB",
        "Largest upload of an app.",
    ),
    key(
        "controller/packages/max_unpacked_size",
        Kind::Size {
            min: MIB,
            max: 256 * GIB,
        },
        "4GiB",
        "Most bytes a package may unpack to.",
    ),
    key(
        "controller/packages/max_files",
        Kind::Integer {
            min: 10,
            max: 10_000_000,
        },
        "200000",
        "Most entries a package may hold.",
    ),
    key(
        "controller/deployment/start_timeout",
        Kind::Duration {
            min: secs(1),
            max: secs(3600),
        },
        "3m",
        "How long a new instance of a deployment may take to run before the deployment fails.",
    ),
    key(
        "controller/deployment/max_crashes",
        Kind::Integer { min: 1, max: 100 },
        "3",
        "Crashes of the new version after which a deployment is taken back.",
    ),
    key(
        "controller/tasks/pending_timeout",
        Kind::Duration {
            min: secs(1),
            max: secs(30 * 86_400),
        },
        "30m",
        "How long a task asked for from now on may wait for an agent with room before it fails.",
    ),
    key(
        "controller/tasks/retention",
        Kind::Duration {
            min: secs(60),
            max: secs(36_500 * 86_400),
        },
        "31d",
        "How long tasks are kept after they ended.",
    ),
    key(
        "controller/tokens/access_lifetime",
        Kind::Duration {
            min: secs(60),
            max: secs(86_400),
        },
        "20m",
        "Lifetime of an access token.",
    ),
    key(
        "controller/tokens/refresh_lifetime",
        Kind::Duration {
            min: secs(300),
            max: secs(31_536_000),
        },
        "30d",
        "Lifetime of a refresh token.",
    ),
    key(
        "controller/traffic/window",
        Kind::Duration {
            min: secs(2),
            max: secs(3600),
        },
        "1m",
        "Requests and errors are counted over this time, and at least over two reports of the routers.",
    ),
    key(
        "controller/traffic/max_error_rate",
        Kind::Number {
            min: 0.001,
            max: 1.0,
        },
        "0.1",
        "With a larger part of the requests to an app failing, rules are told; again only after it was less than half of this.",
    ),
    key(
        "controller/traffic/min_requests",
        Kind::Integer {
            min: 1,
            max: 1_000_000,
        },
        "20",
        "With fewer requests than this in the window errors are not told.",
    ),
    key(
        "controller/traffic/rate_change",
        Kind::Number {
            min: 0.01,
            max: 100.0,
        },
        "0.2",
        "Rules are told of an app's request rate when it differs by this part, and by 1 request a second, from what they were told before.",
    ),
    key(
        "dea/advertise/period",
        Kind::Duration {
            min: ms(200),
            max: secs(60),
        },
        "5s",
        "How often an agent tells its free resources.",
    ),
    key(
        "dea/heartbeat/period",
        Kind::Duration {
            min: ms(200),
            max: secs(60),
        },
        "10s",
        "How often an agent tells which instances it has.",
    ),
    key(
        "dea/register/period",
        Kind::Duration {
            min: ms(500),
            max: secs(300),
        },
        "20s",
        "How often an agent repeats its route registrations.",
    ),
    key(
        "dea/drain/timeout",
        Kind::Duration {
            min: secs(1),
            max: secs(86_400),
        },
        "10m",
        "How long an agent that is emptied waits until all it has runs elsewhere; then the rest is stopped.",
    ),
    key(
        "dea/overcommit/memory",
        Kind::Number {
            min: 0.1,
            max: 100.0,
        },
        "1.0",
        "An agent offers its memory times this.",
    ),
    key(
        "dea/overcommit/disk",
        Kind::Number {
            min: 0.1,
            max: 100.0,
        },
        "1.0",
        "An agent offers its disk times this.",
    ),
    key(
        "dea/instance/drain",
        Kind::Duration {
            min: ms(0),
            max: secs(60),
        },
        "1s",
        "Time between taking an instance's routes away and TERM: requests under way may end.",
    ),
    key(
        "dea/instance/stop_grace",
        Kind::Duration {
            min: ms(100),
            max: secs(600),
        },
        "10s",
        "Time between TERM and KILL; also for instances that are stopping already.",
    ),
    key(
        "dea/instance/start_timeout",
        Kind::Duration {
            min: secs(1),
            max: secs(3600),
        },
        "60s",
        "How long an instance may take to become healthy if its app does not say; also for those starting already.",
    ),
    key(
        "dea/instance/crash_retention",
        Kind::Duration {
            min: secs(0),
            max: secs(86_400),
        },
        "1h",
        "How long the sandbox of a crashed instance is kept (the newest of each process), those there already too.",
    ),
    key(
        "dea/instance/max_pids",
        Kind::Integer {
            min: 16,
            max: 1_000_000,
        },
        "512",
        "Most processes and threads of one instance. Running tasks keep what they began with.",
    ),
    key(
        "dea/log/max_line_rate",
        Kind::Integer {
            min: 10,
            max: 10_000_000,
        },
        "10000",
        "Most log lines a second of one instance; more are dropped and counted.",
    ),
    key(
        "dea/pool/instances",
        Kind::Integer { min: 0, max: 64 },
        "2",
        "Sandboxes that an agent keeps prepared for instances; they have the disks that the last starts had, and give way to whatever needs room.",
    ),
    key(
        "dea/pool/packs",
        Kind::Integer { min: 0, max: 64 },
        "1",
        "Sandboxes that an agent keeps prepared for packs, with the hosts of actions running in them.",
    ),
    key(
        "dea/pack/memory_mb",
        Kind::Integer {
            min: 64,
            max: 1 << 20,
        },
        "1024",
        "Memory in MB of a pack's sandbox, common to the actions that run in it; of those made from now on.",
    ),
    key(
        "dea/pack/disk_mb",
        Kind::Integer {
            min: 16,
            max: 1 << 20,
        },
        "1024",
        "Disk in MB of the sandboxes of packs and sensors made from now on.",
    ),
    key(
        "dea/pack/max_pids",
        Kind::Integer {
            min: 64,
            max: 1_000_000,
        },
        "1024",
        "Most processes and threads in a pack's sandbox; one action may have half of them. Of sandboxes made from now on.",
    ),
    key(
        "dea/pack/idle",
        Kind::Duration {
            min: secs(1),
            max: secs(86_400),
        },
        "10m",
        "How long a pack's sandbox in which nothing runs is kept.",
    ),
    key(
        "dea/pack/max_sandboxes",
        Kind::Integer {
            min: 1,
            max: 10_000,
        },
        "32",
        "Most sandboxes of packs on one agent, those of sensors not counted.",
    ),
    key(
        "dea/pack/report",
        Kind::Duration {
            min: ms(200),
            max: secs(60),
        },
        "2s",
        "How often an agent tells which actions and sensors it has.",
    ),
    key(
        "health-manager/missing/grace",
        Kind::Duration {
            min: secs(0),
            max: secs(3600),
        },
        "30s",
        "Wait before an instance that is missing without a known reason is started.",
    ),
    key(
        "health-manager/agent/lost_after",
        Kind::Duration {
            min: secs(1),
            max: secs(3600),
        },
        "30s",
        "An agent silent for this long is lost and its instances are started elsewhere.",
    ),
    key(
        "health-manager/desired/refresh",
        Kind::Duration {
            min: secs(1),
            max: secs(3600),
        },
        "60s",
        "How often the whole desired state is read.",
    ),
    key(
        "health-manager/desired/stale_after",
        Kind::Duration {
            min: secs(2),
            max: secs(7200),
        },
        "2m",
        "Nothing is planned from a desired state older than this.",
    ),
    key(
        "health-manager/crash/immediate_restarts",
        Kind::Integer { min: 0, max: 100 },
        "3",
        "Crashes that are answered by a restart at once.",
    ),
    key(
        "health-manager/crash/first_delay",
        Kind::Duration {
            min: ms(100),
            max: secs(3600),
        },
        "30s",
        "Delay of the first restart that is not immediate; doubles with each crash.",
    ),
    key(
        "health-manager/crash/max_delay",
        Kind::Duration {
            min: ms(100),
            max: secs(86_400),
        },
        "16m",
        "Longest delay of a restart.",
    ),
    key(
        "health-manager/crash/reset_after",
        Kind::Duration {
            min: secs(1),
            max: secs(86_400),
        },
        "5m",
        "An instance that ran this long starts counting its crashes anew.",
    ),
    key(
        "health-manager/starts/window",
        Kind::Integer {
            min: 1,
            max: 100_000,
        },
        "60",
        "Most starts asked for and not yet seen to happen.",
    ),
    key(
        "collector/recent/lines_per_app",
        Kind::Integer {
            min: 10,
            max: 1_000_000,
        },
        "2000",
        "Log lines kept for each app.",
    ),
    key(
        "collector/recent/max_memory",
        Kind::Size {
            min: MIB,
            max: 64 * GIB,
        },
        "128MiB",
        "Memory for recent lines of all apps together.",
    ),
    key(
        "staging/environment",
        Kind::Environment,
        "{}",
        "Environment of every staging that begins from now on: package index, proxy.",
    ),
    key(
        "staging/memory",
        Kind::Size {
            min: 64 * MIB,
            max: 256 * GIB,
        },
        "1GiB",
        "Memory of a staging that begins from now on.",
    ),
    key(
        "staging/disk",
        Kind::Size {
            min: 64 * MIB,
            max: 256 * GIB,
        },
        "4GiB",
        "Disk of a staging that begins from now on.",
    ),
    key(
        "staging/buildpacks/schemes",
        Kind::List {
            of: Element::Text,
            separator: ',',
            max: 64,
        },
        "https,http,git",
        "Ways in which a buildpack may be fetched from an address that an app names, of https, http and git; empty: none.",
    ),
    key(
        "staging/buildpacks/fetch_timeout",
        Kind::Duration {
            min: secs(1),
            max: secs(3600),
        },
        "5m",
        "Longest fetch of a buildpack from its address.",
    ),
    key(
        "staging/buildpacks/max_size",
        Kind::Size {
            min: MIB,
            max: 64 * GIB,
        },
        "1GiB",
        "Largest buildpack, as an archive and unpacked.",
    ),
    key(
        "staging/timeout",
        Kind::Duration {
            min: secs(5),
            max: secs(86_400),
        },
        "15m",
        "Longest staging, of those that begin from now on.",
    ),
    key(
        "automation/pack/index",
        Kind::Text { max: 1024 },
        "",
        "Where packs are looked up by name: a file or folder, an http:// URL, an https:// URL of a .json file, or a git URL of a repository with index.json; empty: nowhere.",
    ),
    key(
        "automation/pack/index_ca",
        Kind::Text { max: 1024 },
        "",
        "File with the certificates (PEM) of authorities that an https:// index is trusted by besides those of the controllers' machines; empty: no others.",
    ),
    key(
        "automation/pack/folders",
        Kind::List {
            of: Element::Text,
            separator: ':',
            max: 4096,
        },
        "",
        "Folders of the controllers' machines from which packs may be installed as file:///folder.",
    ),
    key(
        "automation/pack/overrides",
        Kind::Text { max: 1024 },
        "",
        "Folder with _global.yaml and PACK.yaml, which switch resources of packs on or off whenever packs are registered; empty: none.",
    ),
    key(
        "node/restart/first_delay",
        Kind::Duration {
            min: ms(10),
            max: secs(60),
        },
        "100ms",
        "Wait before a daemon that died is started again; doubles while it keeps dying.",
    ),
    key(
        "node/restart/max_delay",
        Kind::Duration {
            min: ms(100),
            max: secs(3600),
        },
        "30s",
        "Longest such wait.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Value;
    use std::collections::BTreeSet;

    #[test]
    fn every_default_is_a_value_of_its_kind_and_reads_back() {
        for key in KEYS {
            let value = key
                .parse(key.default)
                .unwrap_or_else(|error| panic!("{}: {error}", key.path));
            assert_eq!(
                key.parse(&value.to_string()),
                Ok(value.clone()),
                "{}",
                key.path
            );
            assert_eq!(
                Value::from_json(&key.kind, &value.to_json()),
                Ok(value),
                "{}",
                key.path
            );
        }
    }

    #[test]
    fn paths_are_unique_and_three_words_at_most() {
        let mut seen = BTreeSet::new();
        for key in KEYS {
            assert!(seen.insert(key.path), "{} twice", key.path);
            assert!(
                (2..=3).contains(&key.path.split('/').count()),
                "{}",
                key.path
            );
        }
    }

    #[test]
    fn every_key_has_a_reader() {
        for key in KEYS {
            assert!(!key.readers().is_empty(), "{}", key.path);
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_with_what_would_fit() {
        let key = Key::find("router/limits/max_attempts").expect("a known key");
        let error = key.parse("0").expect_err("too small");
        assert!(
            error.to_string().contains("a whole number from 1 to 20"),
            "{error}"
        );
        assert!(
            Key::find("dea/heartbeat/period")
                .expect("a known key")
                .parse("10")
                .is_err(),
            "a unit is needed"
        );
    }
}
