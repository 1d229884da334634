//! What must hold of the table of subjects, and its rendering in `docs/bus.md`.

use proto::bus::{CATALOGUE, Role, permissions};
use proto::ids::ComponentId;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

#[test]
fn every_subject_stands_once_and_answered_ones_say_with_what() {
    let mut seen = BTreeSet::new();
    for entry in CATALOGUE {
        assert!(seen.insert(entry.pattern), "{} twice", entry.pattern);
        if let Some((_, member)) = entry.queue {
            assert!(
                entry.subscribers.contains(&member),
                "{}: its queue is of nobody who subscribes",
                entry.pattern
            );
        }
    }
}

#[test]
fn an_agent_reads_its_own_start_commands_only() {
    let id = ComponentId::new("dea-2").expect("a valid id");
    let permissions = permissions(Role::Dea, &id);
    assert!(
        permissions
            .subscribe
            .contains(&"dea.dea-2.start".to_string())
    );
    assert!(
        !permissions
            .subscribe
            .iter()
            .any(|subject| subject == "dea.*.start")
    );
    assert!(permissions.publish.contains(&"yard.log.dea-2".to_string()));
    assert!(
        !permissions
            .publish
            .iter()
            .any(|subject| subject == "dea.stop")
    );
    assert!(
        permissions
            .subscribe
            .contains(&"_INBOX_dea-2.>".to_string())
    );
}

#[test]
fn only_the_controller_commands_agents() {
    for role in Role::ALL
        .into_iter()
        .filter(|role| *role != Role::Controller)
    {
        let id = ComponentId::new("x-1").expect("a valid id");
        let publish = permissions(role, &id).publish;
        assert!(
            !publish
                .iter()
                .any(|subject| subject == "dea.*.start" || subject == "dea.update"),
            "{role:?}"
        );
    }
}

#[test]
fn strangers_ask_and_register_but_command_and_answer_nobody() {
    let of = |role: Role| {
        let id = ComponentId::new(role.name()).expect("a valid id");
        permissions(role, &id)
    };
    assert_eq!(
        of(Role::Registrar).publish,
        ["router.greet", "router.register", "router.unregister"]
    );
    assert_eq!(of(Role::Registrar).subscribe, ["router.start", "_INBOX.>"]);
    assert_eq!(
        of(Role::Tool).publish,
        ["vcap.component.discover", "dea.status", "droplet.status"]
    );
    let ours = permissions(Role::Dea, &ComponentId::new("dea-1").expect("a valid id"));
    assert!(
        !ours
            .subscribe
            .iter()
            .any(|subject| subject.starts_with("_INBOX.")),
        "a stranger hears no answer to a component of ours: {ours:?}"
    );
}

#[test]
fn the_documentation_shows_the_table() {
    let mut text = String::from(
        "# The bus\n\nGenerated from the catalogue in `proto/src/bus/catalogue.rs`; `YARD_REGENERATE=1 cargo test -p proto` writes it anew.\n\n\
         Core NATS, no streams. JSON keeps Cloud Foundry's names and shapes; fields of ours are called `yard_*` and are optional. \
         Each component has a credential of its own that may use exactly the subjects of its row here, `{id}` being its own id. \
         *registrar* and *tool* are no components of ours: two credentials for any NATS client, with its answers under `_INBOX.`, in \
         `$YARD_HOME/node/registrar.json` and `tool.json`. \
         A *fact* is repeated by its sender until a receiver acknowledges it; a *command* may be repeated and acts once.\n\n\
         | subject | kind | message | answer | from | to | meaning |\n|---|---|---|---|---|---|---|\n",
    );
    for entry in CATALOGUE {
        let names = |roles: &[Role]| match roles {
            [] => "nobody".to_string(),
            roles => roles
                .iter()
                .map(|role| role.name())
                .collect::<Vec<_>>()
                .join(", "),
        };
        let queue = entry
            .queue
            .map(|(queue, member)| format!(" ({} share as `{queue}`)", member.name()))
            .unwrap_or_default();
        writeln!(
            text,
            "| `{}` | {} | {} ({}) | {} | {} | {}{queue} | {} |",
            entry.pattern,
            format!("{:?}", entry.class).to_lowercase(),
            entry.payload,
            format!("{:?}", entry.encoding).to_lowercase(),
            entry.reply.unwrap_or("–"),
            names(entry.publishers),
            names(entry.subscribers),
            entry.doc,
        )
        .expect("writing to a text");
    }
    committed("docs/bus.md", &text);
}

#[test]
fn the_documentation_shows_the_configuration() {
    let mut text = String::from(
        "# The cluster configuration\n\nGenerated from the schema in `proto/src/config/keys.rs`; `YARD_REGENERATE=1 cargo test -p proto` writes it anew.\n\n\
         Read and change it with `yard config`. A value is checked before it is stored, every daemon concerned follows within a \
         second, and nothing restarts unless the table says so; then the node restarts the daemons concerned, one at a time, each \
         once the one before is ready again. Durations are written `500ms`, `10s`, `2m`, `1h`; sizes `64KiB`, `10MiB`, `2GiB`.\n\n\
         - `yard config list|get|set|unset|watch` read and change single values. With `set` and `unset`, `--component dea-2` \
         gives one component a value of its own, `--machine machine-1` all daemons of a machine. The closer one wins: a component's, its machine's, \
         the cluster's, the default. `list` and `get` show them all; with `--component` or `--machine` they tell what is in force there and \
         where it comes from. The node is the component `node`.\n\
         - `yard config add|remove KEY ELEMENT...` edit a list, or an environment, by its elements. Two people who do so at once lose nothing.\n\
         - `yard config history [KEY]` tells who changed what, when, from what to what: the last 500 changes. \
         `yard config rollback KEY`, `rollback KEY --to REVISION` and `rollback --to REVISION` (everything) go back.\n\
         - `yard config export` prints everything that is set as YAML (with `--json` as JSON); `yard config import FILE` makes what is set \
         that, all or nothing. Passwords in `staging/environment` are in it.\n\
         - `--dry-run` with any change tells what would change, who is concerned and what would restart, and stores nothing.\n\n\
         | key | takes | default | read by | meaning |\n|---|---|---|---|---|\n",
    );
    for key in proto::config::KEYS {
        let restart = if key.needs_restart {
            " *Needs a restart, which the node does.*"
        } else {
            ""
        };
        writeln!(
            text,
            "| `{}` | {} | `{}` | {} | {}{restart} |",
            key.path,
            in_cell(&key.kind.to_string()),
            key.default,
            readers(key),
            in_cell(key.doc)
        )
        .expect("writing to a text");
    }
    committed("docs/config.md", &text);
}

/// A line of a table ends its cells by what a text may hold.
fn in_cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn readers(key: &proto::config::Key) -> String {
    if key.path.starts_with("cluster/") {
        "all".to_string()
    } else {
        key.readers().join(", ")
    }
}

/// Generated documents are committed and held to their source.
fn committed(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    if std::env::var_os("YARD_REGENERATE").is_some() {
        std::fs::write(&path, text).expect("writing a generated document");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "{file} is stale: run YARD_REGENERATE=1 cargo test -p proto"
    );
}
