//! The words of a manifest (contract §1.4). `yard` refuses others before anything is sent, the
//! controller refuses them from any client: both read them here.

use crate::config::value::parse_duration;

/// After how many seconds without a request a process sleeps, as people write it: `10m`, or `never`, which is 0.
pub fn sleep_after(text: &str) -> Option<u64> {
    if text == "never" {
        return Some(0);
    }
    parse_duration(text)
        .map(|time| time.as_secs())
        .filter(|seconds| *seconds >= 1)
}

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
    "sleep-after",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_requests_needs_a_unit() {
        assert_eq!(sleep_after("10m"), Some(600));
        assert_eq!(sleep_after("never"), Some(0));
        for text in ["", "10", "0s", "100ms", "soon"] {
            assert_eq!(sleep_after(text), None, "{text}");
        }
    }
}
