//! The periods of the cluster, in one place. Each is the default of a configuration key
//! (`proto::config`), so that an operator changes it live; code reads the configured value and
//! uses these only where no configuration can be had.

use std::time::Duration;

/// How often an agent tells which instances it has.
pub const HEARTBEAT: Duration = Duration::from_secs(10);
/// How often an agent tells its free resources.
pub const ADVERTISE: Duration = Duration::from_secs(5);
/// After this long without an advertisement an agent gets no new work.
pub const ADVERTISEMENT_TTL: Duration = Duration::from_secs(10);
/// After this long without a heartbeat the instances of an agent count as lost.
pub const AGENT_LOST: Duration = Duration::from_secs(30);
/// How often an agent repeats its route registrations.
pub const REREGISTER: Duration = Duration::from_secs(20);
/// How often the router looks for stale registrations.
pub const PRUNE_SWEEP: Duration = Duration::from_secs(30);
/// A registration not repeated for this long is stale.
pub const STALE: Duration = Duration::from_secs(120);
/// How often the health manager reads the whole desired state.
pub const DESIRED_REFRESH: Duration = Duration::from_secs(60);
/// The health manager acts on no desired state older than this.
pub const DESIRED_STALE: Duration = Duration::from_secs(120);
/// How long the health manager waits before it starts an instance that is missing without a
/// known reason.
pub const MISSING_GRACE: Duration = Duration::from_secs(30);
/// Longest staging.
pub const STAGING_TIMEOUT: Duration = Duration::from_secs(900);
/// Between TERM and KILL.
pub const STOP_GRACE: Duration = Duration::from_secs(10);
