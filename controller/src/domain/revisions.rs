//! What makes a revision of an app: its droplet, its variables and its start commands.

use std::collections::BTreeMap;

/// What an app runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub droplet: String,
    pub environment: BTreeMap<String, String>,
    /// By type of process; None: the droplet's.
    pub commands: BTreeMap<String, Option<String>>,
}

/// What is new in `now`, in the words that clients know; None: nothing is. A type of process that one
/// of the two does not have yet runs with the droplet's command.
pub fn changes(before: Option<&Content>, now: &Content) -> Option<String> {
    let Some(before) = before else {
        return Some("Initial revision.".to_string());
    };
    let mut said = Vec::new();
    if before.droplet != now.droplet {
        said.push("New droplet deployed.".to_string());
    }
    if before.environment != now.environment {
        said.push("New environment variables deployed.".to_string());
    }
    let mut kinds: Vec<&String> = before.commands.keys().chain(now.commands.keys()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    for kind in kinds {
        let of = |content: &Content| content.commands.get(kind).cloned().flatten();
        let verb = match (of(before), of(now)) {
            (None, Some(_)) => "added",
            (Some(_), None) => "removed",
            (Some(old), Some(new)) if old != new => "updated",
            _ => continue,
        };
        said.push(format!("Custom start command {verb} for '{kind}' process."));
    }
    (!said.is_empty()).then(|| said.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(droplet: &str, environment: &[(&str, &str)], web: Option<&str>) -> Content {
        Content {
            droplet: droplet.to_string(),
            environment: environment
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            commands: BTreeMap::from([("web".to_string(), web.map(str::to_string))]),
        }
    }

    #[test]
    fn each_change_is_said_and_no_change_makes_no_revision() {
        let first = content("a", &[], None);
        assert_eq!(changes(None, &first).unwrap(), "Initial revision.");
        assert_eq!(changes(Some(&first), &first), None);
        let second = content("b", &[("X", "1")], Some("run"));
        assert_eq!(
            changes(Some(&first), &second).unwrap(),
            "New droplet deployed. New environment variables deployed. Custom start command added for 'web' process."
        );
        assert_eq!(
            changes(Some(&second), &content("b", &[("X", "1")], Some("go"))).unwrap(),
            "Custom start command updated for 'web' process."
        );
        assert_eq!(
            changes(Some(&second), &content("b", &[("X", "1")], None)).unwrap(),
            "Custom start command removed for 'web' process."
        );
    }

    #[test]
    fn a_new_type_of_process_with_the_command_of_the_droplet_is_no_change() {
        let mut more = content("a", &[], None);
        more.commands.insert("worker".to_string(), None);
        assert_eq!(changes(Some(&content("a", &[], None)), &more), None);
    }
}
