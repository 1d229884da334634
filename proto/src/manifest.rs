//! The words of a manifest (contract §1.4). `yard` refuses others before anything is sent, the
//! controller refuses them from any client: both read them here.

/// Keys at the top of a manifest.
pub const TOP: &[&str] = &[
    "version",
    "applications",
    "organization",
    "space",
    "metadata",
];

/// Keys of a process; at the level of an app they are about its web process.
pub const PROCESS: &[&str] = &[
    "command",
    "disk_quota",
    "disk-quota",
    "health-check-http-endpoint",
    "health-check-interval",
    "health-check-invocation-timeout",
    "health-check-type",
    "instances",
    "log-rate-limit-per-second",
    "memory",
    "readiness-health-check-http-endpoint",
    "readiness-health-check-interval",
    "readiness-health-check-invocation-timeout",
    "readiness-health-check-type",
    "timeout",
    "user",
];

/// Further keys of an app.
pub const APP: &[&str] = &[
    "buildpack",
    "buildpacks",
    "cnb-credentials",
    "default-route",
    "docker",
    "env",
    "features",
    "lifecycle",
    "metadata",
    "name",
    "no-route",
    "path",
    "processes",
    "random-route",
    "routes",
    "services",
    "sidecars",
    "stack",
];
