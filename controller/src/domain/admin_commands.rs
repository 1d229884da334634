//! Which audit events are administration, and how the command reads that leaves one.
//!
//! Apps, routes, builds and deployments are the users' own business and are told by `yard events`; here
//! is what concerns everybody: the configuration, accounts and roles, the places apps live in, nodes.

use serde_json::Value;

/// What a command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Noun {
    Config,
    User,
    Role,
    Organization,
    Space,
    Domain,
    Node,
    Buildpack,
}

impl Noun {
    pub const ALL: [Noun; 8] = [
        Noun::Config,
        Noun::User,
        Noun::Role,
        Noun::Organization,
        Noun::Space,
        Noun::Domain,
        Noun::Node,
        Noun::Buildpack,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Noun::Config => "config",
            Noun::User => "user",
            Noun::Role => "role",
            Noun::Organization => "organization",
            Noun::Space => "space",
            Noun::Domain => "domain",
            Noun::Node => "node",
            Noun::Buildpack => "buildpack",
        }
    }

    pub fn parse(name: &str) -> Option<Noun> {
        Noun::ALL.into_iter().find(|noun| noun.name() == name)
    }
}

/// Type of the event, what it is about, what was done.
const EVENTS: &[(&str, Noun, &str)] = &[
    ("audit.config.update", Noun::Config, "set"),
    ("audit.user.create", Noun::User, "create"),
    ("audit.user.delete-request", Noun::User, "delete"),
    (
        "audit.user.password_change",
        Noun::User,
        "change the password of",
    ),
    ("audit.organization.create", Noun::Organization, "create"),
    ("audit.organization.update", Noun::Organization, "update"),
    (
        "audit.organization.delete-request",
        Noun::Organization,
        "delete",
    ),
    ("audit.space.create", Noun::Space, "create"),
    ("audit.space.update", Noun::Space, "update"),
    ("audit.space.delete-request", Noun::Space, "delete"),
    ("audit.domain.create", Noun::Domain, "create"),
    ("audit.domain.delete-request", Noun::Domain, "delete"),
    ("audit.agent.drain", Noun::Node, "drain"),
    ("audit.agent.undrain", Noun::Node, "undrain"),
    ("audit.node.roles", Noun::Node, "change the roles of"),
    ("audit.buildpack.create", Noun::Buildpack, "create"),
    ("audit.buildpack.update", Noun::Buildpack, "update"),
    ("audit.buildpack.upload", Noun::Buildpack, "upload"),
    ("audit.buildpack.delete", Noun::Buildpack, "delete"),
];

/// `audit.user.space_developer_add`: the role, and what is done with it.
fn of_role(kind: &str) -> Option<(&str, &'static str)> {
    let rest = kind.strip_prefix("audit.user.")?;
    let (role, verb) = [("_add", "give"), ("_remove", "take")]
        .into_iter()
        .find_map(|(end, verb)| Some((rest.strip_suffix(end)?, verb)))?;
    super::access::RoleKind::parse(role).map(|_| (role, verb))
}

/// Every type of event that is about one of these.
pub fn types(nouns: &[Noun]) -> Vec<String> {
    let listed = EVENTS
        .iter()
        .filter(|(_, noun, _)| nouns.contains(noun))
        .map(|(kind, _, _)| kind.to_string());
    let roles = super::access::RoleKind::ALL
        .iter()
        .filter(|_| nouns.contains(&Noun::Role))
        .flat_map(|role| {
            ["add", "remove"].map(|verb| format!("audit.user.{}_{verb}", role.name()))
        });
    listed.chain(roles).collect()
}

/// The noun and the command of an event; None: it is no administration.
pub fn command(kind: &str, target: &str, data: &Value) -> Option<(Noun, String)> {
    if let Some((role, verb)) = of_role(kind) {
        let to = if verb == "give" { "to" } else { "from" };
        return Some((Noun::Role, format!("role {verb} {role} {to} {target}")));
    }
    let (_, noun, verb) = EVENTS.iter().find(|(known, _, _)| *known == kind)?;
    let words = match noun {
        Noun::Config => of_config(target, data),
        Noun::User
        | Noun::Role
        | Noun::Organization
        | Noun::Space
        | Noun::Domain
        | Noun::Node
        | Noun::Buildpack => format!("{} {verb} {target}", noun.name()),
    };
    Some((*noun, words))
}

/// As it could be typed; what came by an import or a rollback says so.
fn of_config(path: &str, data: &Value) -> String {
    let value = match &data["is"] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let mut words = match value {
        Some(value) => format!("config set {path} {value}"),
        None => format!("config unset {path}"),
    };
    if let Some(component) = data["component"].as_str() {
        let option = match component.strip_prefix('@') {
            Some(machine) => format!(" --machine {machine}"),
            None => format!(" --component {component}"),
        };
        words.push_str(&option);
    }
    if let Some(action) = data["action"].as_str().filter(|action| *action != "change") {
        words.push_str(&format!(" ({action})"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn commands_read_as_they_are_typed() {
        let words =
            |kind, target, data: Value| command(kind, target, &data).map(|(_, words)| words);
        let key = "dea/heartbeat/period";
        assert_eq!(
            words(
                "audit.config.update",
                key,
                json!({"is": "2s", "component": "dea-2", "action": "change"})
            )
            .as_deref(),
            Some("config set dea/heartbeat/period 2s --component dea-2")
        );
        assert_eq!(
            words(
                "audit.config.update",
                key,
                json!({"is": null, "action": "rollback to 7"})
            )
            .as_deref(),
            Some("config unset dea/heartbeat/period (rollback to 7)")
        );
        assert_eq!(
            words("audit.user.space_developer_add", "ada", json!({})).as_deref(),
            Some("role give space_developer to ada")
        );
        assert_eq!(
            words("audit.organization.delete-request", "acme", json!({})).as_deref(),
            Some("organization delete acme")
        );
        assert_eq!(words("audit.app.start", "shop", json!({})), None);
        assert_eq!(words("audit.user.cook_add", "ada", json!({})), None);
    }

    #[test]
    fn every_type_that_is_looked_for_has_a_command_of_its_noun() {
        for noun in Noun::ALL {
            assert_eq!(Noun::parse(noun.name()), Some(noun));
            let types = types(&[noun]);
            assert!(!types.is_empty(), "{noun:?}");
            for kind in types {
                let found = command(&kind, "x", &Value::Null).map(|(noun, _)| noun);
                assert_eq!(found, Some(noun), "{kind}");
            }
        }
    }
}
