//! Audit events as acts: who did what to an app, in words and with what joins it to other records.

use super::{Cause, CauseKind, Slot};
use serde_json::Value;

/// What somebody did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// Unix microseconds.
    pub at: i64,
    pub by: String,
    pub act: Act,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Start,
    Stop,
    Restart,
    Scale {
        process_type: String,
        instances: Option<u64>,
        memory_mb: Option<u64>,
        disk_mb: Option<u64>,
    },
    RestartInstance {
        process_type: String,
        index: u32,
    },
    Deploy {
        deployment: String,
        droplet: String,
    },
    /// By itself: nobody asked for it for so long.
    FallAsleep {
        because: String,
    },
    /// It is to have instances again.
    WakeUp {
        process_type: String,
        because: String,
    },
    ApplyManifest,
    ChangeVariables {
        names: Vec<String>,
    },
    ChangeProcess {
        process_type: String,
    },
    ChooseDroplet {
        droplet: String,
    },
    Upload {
        package: String,
    },
    Stage {
        build: String,
    },
    Staged {
        droplet: String,
        package: Option<String>,
    },
    StagingFailed {
        build: String,
        package: Option<String>,
        error: String,
    },
}

impl Act {
    /// It gives every process a new version, or a droplet to run.
    pub(super) fn renews(&self) -> bool {
        matches!(self, Act::Start | Act::Restart | Act::Deploy { .. })
    }

    /// Instances of that index may have been started by it.
    pub(super) fn starts(&self, slot: &Slot) -> bool {
        match self {
            Act::Scale {
                process_type,
                instances: Some(instances),
                ..
            } => *process_type == slot.process_type && u64::from(slot.index) < *instances,
            Act::WakeUp { process_type, .. } => *process_type == slot.process_type,
            Act::ApplyManifest => true,
            other => other.renews(),
        }
    }

    /// It comes into force with the next start.
    pub(super) fn is_change(&self) -> bool {
        match self {
            Act::ChangeVariables { .. } | Act::ChangeProcess { .. } | Act::ApplyManifest => true,
            Act::Scale {
                memory_mb, disk_mb, ..
            } => memory_mb.is_some() || disk_mb.is_some(),
            Act::Start
            | Act::Stop
            | Act::Restart
            | Act::FallAsleep { .. }
            | Act::WakeUp { .. }
            | Act::RestartInstance { .. }
            | Act::Deploy { .. }
            | Act::ChooseDroplet { .. }
            | Act::Upload { .. }
            | Act::Stage { .. }
            | Act::Staged { .. }
            | Act::StagingFailed { .. } => false,
        }
    }
}

impl Deed {
    pub(super) fn cause(&self, kind: CauseKind) -> Cause {
        let by = &self.by;
        let text = match &self.act {
            Act::Start => format!("{by} started the app"),
            Act::Stop => format!("{by} stopped the app"),
            Act::Restart => format!("{by} restarted the app"),
            Act::Scale {
                process_type,
                instances,
                memory_mb,
                disk_mb,
            } => {
                let parts: Vec<String> = [
                    instances.map(|number| format!("instances {number}")),
                    memory_mb.map(|size| format!("memory {size} MB")),
                    disk_mb.map(|size| format!("disk {size} MB")),
                ]
                .into_iter()
                .flatten()
                .collect();
                format!("{by} scaled {process_type}: {}", parts.join(", "))
            }
            Act::RestartInstance {
                process_type,
                index,
            } => format!("{by} restarted instance {index} of {process_type}"),
            Act::Deploy { .. } => {
                format!("{by} began a deployment, which replaces the instances step by step")
            }
            Act::FallAsleep { because } => format!("{by} let the app fall asleep: {because}"),
            Act::WakeUp { because, .. } => format!("{by} woke the app: {because}"),
            Act::ApplyManifest => format!("{by} applied a manifest"),
            Act::ChangeVariables { names } => {
                format!(
                    "{by} changed variables of the environment: {}",
                    names.join(", ")
                )
            }
            Act::ChangeProcess { process_type } => {
                format!("{by} changed the command or the health check of {process_type}")
            }
            Act::ChooseDroplet { .. } => format!("{by} chose the droplet to run"),
            Act::Upload { .. } => format!("{by} uploaded a package"),
            Act::Stage { .. } => format!("{by} asked for the build"),
            Act::Staged { .. } => format!("a build of {by} had made the droplet"),
            Act::StagingFailed { error, .. } => format!("a build of {by} failed: {error}"),
        };
        Cause {
            at: self.at,
            kind,
            text,
            by: Some(by.clone()),
        }
    }
}

/// An audit event about an app as an act; None for those that explain nothing.
pub fn read(kind: &str, data: &Value) -> Option<Act> {
    let request = &data["request"];
    let text = |value: &Value| value.as_str().map(str::to_string);
    let process_type = || text(&data["process_type"]);
    Some(match kind {
        "audit.app.start" => Act::Start,
        "audit.app.stop" => Act::Stop,
        "audit.app.restart" => Act::Restart,
        "audit.app.process.scale" => Act::Scale {
            process_type: process_type()?,
            instances: request["instances"].as_u64(),
            memory_mb: request["memory_in_mb"].as_u64(),
            disk_mb: request["disk_in_mb"].as_u64(),
        },
        "audit.app.process.sleep" => Act::FallAsleep {
            because: text(&data["because"])?,
        },
        "audit.app.process.wake" => Act::WakeUp {
            process_type: process_type()?,
            because: text(&data["because"])?,
        },
        "audit.app.process.terminate_instance" => Act::RestartInstance {
            process_type: process_type()?,
            index: u32::try_from(data["process_index"].as_u64()?).ok()?,
        },
        "audit.app.deployment.create" => Act::Deploy {
            deployment: text(&data["deployment_guid"])?,
            droplet: text(&data["droplet_guid"])?,
        },
        "audit.app.apply_manifest" => Act::ApplyManifest,
        "audit.app.update" => Act::ChangeVariables {
            names: request["environment_variables"]
                .as_array()?
                .iter()
                .filter_map(text)
                .collect(),
        },
        "audit.app.process.update" => Act::ChangeProcess {
            process_type: process_type()?,
        },
        "audit.app.droplet.mapped" => Act::ChooseDroplet {
            droplet: text(&request["droplet_guid"])?,
        },
        "audit.app.package.upload" => Act::Upload {
            package: text(&data["package_guid"])?,
        },
        "audit.app.build.create" => Act::Stage {
            build: text(&data["build_guid"])?,
        },
        "audit.app.build.staged" => Act::Staged {
            droplet: text(&data["droplet_guid"])?,
            package: text(&data["package_guid"]),
        },
        "audit.app.build.failed" => Act::StagingFailed {
            build: text(&data["build_guid"])?,
            package: text(&data["package_guid"]),
            error: text(&data["error"])?,
        },
        _ => return None,
    })
}
