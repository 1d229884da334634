//! What an operator switches on or off against a pack's word: `overrides/_global.yaml` for all
//! packs, `overrides/PACK.yaml` for one. Only `enabled` can be set.
//!
//! ```yaml
//! actions:
//!   defaults: {enabled: false}
//!   exceptions:          # not in _global.yaml
//!     echo: {enabled: true}
//! ```

use std::collections::BTreeMap;

use super::fields::{Fields, UnknownKeys};
use super::problem::Report;
use super::yaml::{Document, join};

/// Kinds of resources that can be switched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceKind {
    Actions,
    Aliases,
    Rules,
    Sensors,
}

impl ResourceKind {
    const ALL: [ResourceKind; 4] = [
        ResourceKind::Actions,
        ResourceKind::Aliases,
        ResourceKind::Rules,
        ResourceKind::Sensors,
    ];

    pub fn name(self) -> &'static str {
        match self {
            ResourceKind::Actions => "actions",
            ResourceKind::Aliases => "aliases",
            ResourceKind::Rules => "rules",
            ResourceKind::Sensors => "sensors",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Switches {
    default: Option<bool>,
    /// By name of the resource; of a sensor the class.
    exceptions: BTreeMap<String, bool>,
}

/// One file of overrides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    switches: BTreeMap<ResourceKind, Switches>,
}

/// Whose resources a file of overrides switches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    AllPacks,
    OnePack,
}

impl Overrides {
    pub fn read(document: &Document, reach: Reach, report: &mut Report<'_>) -> Self {
        let mut overrides = Overrides::default();
        if document.value.is_null() {
            return overrides;
        }
        let fields = Fields::of(&document.value, "", report);
        let kinds = ResourceKind::ALL.map(ResourceKind::name);
        fields.check_keys(&kinds, UnknownKeys::Refuse, report);
        for kind in ResourceKind::ALL {
            let Some(value) = fields.value(kind.name()) else {
                continue;
            };
            let parts = Fields::of(value, kind.name(), report);
            let known: &[&str] = match reach {
                Reach::AllPacks => &["defaults"],
                Reach::OnePack => &["defaults", "exceptions"],
            };
            parts.check_keys(known, UnknownKeys::Refuse, report);
            let mut switches = Switches {
                default: parts.value("defaults").and_then(|value| {
                    enabled(&Fields::of(value, &parts.path("defaults"), report), report)
                }),
                exceptions: BTreeMap::new(),
            };
            if reach == Reach::OnePack {
                for (name, value) in &parts.mapping("exceptions", report) {
                    let path = join(&parts.path("exceptions"), name);
                    if let Some(flag) = enabled(&Fields::of(value, &path, report), report) {
                        switches.exceptions.insert(name.clone(), flag);
                    }
                }
            }
            overrides.switches.insert(kind, switches);
        }
        overrides
    }

    fn apply(&self, kind: ResourceKind, name: &str, enabled: bool) -> bool {
        let Some(switches) = self.switches.get(&kind) else {
            return enabled;
        };
        let exception = switches.exceptions.get(name).copied();
        exception.or(switches.default).unwrap_or(enabled)
    }
}

fn enabled(fields: &Fields<'_>, report: &mut Report<'_>) -> Option<bool> {
    fields.check_keys(&["enabled"], UnknownKeys::Refuse, report);
    fields
        .value("enabled")
        .map(|_| fields.flag("enabled", true, report))
}

/// Whether a resource is enabled after the overrides of all packs and then those of its own.
/// It counts as overridden when that differs from what its metadata says.
pub fn apply(
    global: &Overrides,
    of_pack: &Overrides,
    kind: ResourceKind,
    name: &str,
    enabled: bool,
) -> bool {
    of_pack.apply(kind, name, global.apply(kind, name, enabled))
}
