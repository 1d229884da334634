//! Who is there: every component answers `vcap.component.discover`. Nobody says how many answers there
//! will be, so each question takes its whole time; readers of the status share an answer for a while.

use super::{Shared, clock};
use crate::domain::mishaps;
use proto::api::SeenComponent;
use proto::bus::component::Component;
use proto::bus::{Empty, Role, catalogue};
use std::time::Duration;

/// How long answers are gathered.
const GATHER: Duration = Duration::from_millis(300);
/// How long they count.
const FRESH: Duration = Duration::from_secs(5);

/// What was answered, and when.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    at: Duration,
    components: Vec<Component>,
}

/// By name. Empty while the bus is away: who is there is not known then.
pub(super) async fn seen(shared: &Shared) -> Vec<SeenComponent> {
    let now = shared.clock.now();
    // Two readers may both find it old and ask twice: harmless.
    if let Some(answered) = &shared.state().components
        && now.saturating_sub(answered.at) < FRESH
    {
        return sorted(answered.components.clone());
    }
    sorted(ask(shared).await)
}

/// Asks anew; who does not answer in time is not in it.
pub(super) async fn ask(shared: &Shared) -> Vec<Component> {
    let now = shared.clock.now();
    let question = catalogue::component_discover();
    let answers = match shared
        .bus
        .request_many::<_, Component>(&question, &Empty {}, GATHER)
        .await
    {
        Ok(answers) => answers,
        Err(error) => {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "nobody could be asked who is there"
            );
            return Vec::new();
        }
    };
    shared.state().components = Some(Answered {
        at: now,
        components: answers.clone(),
    });
    answers
}

fn sorted(answers: Vec<Component>) -> Vec<SeenComponent> {
    let now = clock::unix_seconds();
    let mut components: Vec<SeenComponent> = answers
        .into_iter()
        .map(|component| present(component, now))
        .collect();
    components.sort_by(|one, other| one.name.cmp(&other.name));
    components
}

/// Strangers have no id of ours, and roles of their own.
fn present(component: Component, now: f64) -> SeenComponent {
    let role = Role::ALL
        .into_iter()
        .find(|role| role.component_type() == component.kind);
    SeenComponent {
        name: component.yard_id.unwrap_or(component.uuid),
        role: role.map_or(component.kind, |role| role.name().to_string()),
        host: component.host,
        uptime: component.uptime,
        problems: mishaps::problems(&component.mishaps, now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_keep_the_name_and_the_role_they_tell() {
        let component = |kind: &str, id: Option<&str>| Component {
            kind: kind.into(),
            index: 1,
            uuid: "1-abc".into(),
            host: "127.0.0.1:1".into(),
            credentials: Vec::new(),
            start: String::new(),
            uptime: "0d:0h:0m:1s".into(),
            yard_id: id.map(str::to_string),
            mishaps: Vec::new(),
        };
        let seen = sorted(vec![
            component("HealthManager", Some("health-manager-1")),
            component("Nats", None),
        ]);
        let names: Vec<_> = seen
            .iter()
            .map(|one| (one.name.as_str(), one.role.as_str()))
            .collect();
        assert_eq!(
            names,
            [("1-abc", "Nats"), ("health-manager-1", "health-manager")]
        );
    }
}
