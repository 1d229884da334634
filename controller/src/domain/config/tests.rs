use super::*;
use serde_json::json;

const ATTEMPTS: &str = "router/limits/max_attempts";
const PERIOD: &str = "dea/heartbeat/period";
const FOLDERS: &str = "automation/pack/folders";

fn place(text: &str) -> Place {
    Place::parse(text).expect("a place")
}

/// Stored values, each at the revision of its position.
fn stock(values: &[(&str, Json)]) -> Stock {
    let values = values.iter().zip(1..);
    values
        .map(|((path, value), revision)| {
            let stored = Stored {
                value: value.to_string(),
                revision,
            };
            (place(path), stored)
        })
        .collect()
}

fn set(path: &str, component: Option<&str>, value: Json) -> ConfigEdit {
    ConfigEdit {
        path: path.into(),
        component: component.map(String::from),
        value: Some(value),
        ..ConfigEdit::default()
    }
}

fn edits(asked: &[ConfigEdit]) -> Vec<Edit> {
    asked
        .iter()
        .map(|edit| check(edit).expect("an edit"))
        .collect()
}

/// `place: was -> is`, change by change.
fn told(changes: &[Change]) -> Vec<String> {
    changes
        .iter()
        .map(|change| format!("{}: {} -> {}", change.place, change.was, change.is))
        .collect()
}

#[test]
fn what_is_so_already_is_no_change() {
    let stock = stock(&[(ATTEMPTS, json!(5))]);
    let asked = edits(&[
        set(ATTEMPTS, None, json!("5")),
        set(PERIOD, None, json!("2s")),
        set(PERIOD, Some("dea-2"), json!("3s")),
    ]);
    let changes = plan(&stock, &asked, &[]).expect("a plan");
    assert_eq!(
        told(&changes),
        [
            "dea/heartbeat/period: null -> \"2s\"",
            "dea/heartbeat/period of dea-2: null -> \"3s\""
        ]
    );
    let unset = ConfigEdit {
        path: ATTEMPTS.into(),
        unset: true,
        ..ConfigEdit::default()
    };
    let changes = plan(&stock, &edits(&[unset]), &[]).expect("a plan");
    assert_eq!(told(&changes), ["router/limits/max_attempts: 5 -> null"]);
    assert_eq!(changes[0].revision, Some(1));
}

#[test]
fn nobody_changes_what_he_did_not_see() {
    let stock = stock(&[(ATTEMPTS, json!(5))]);
    let seen_at = |revision| {
        edits(&[ConfigEdit {
            revision: Some(revision),
            ..set(ATTEMPTS, None, json!(7))
        }])
    };
    assert!(plan(&stock, &seen_at(1), &[]).is_ok());
    let refused = plan(&stock, &seen_at(4), &[]).expect_err("another revision");
    assert_eq!(
        refused.to_string(),
        "'router/limits/max_attempts' was changed meanwhile: it is 5 at revision 1"
    );
    let gone = plan(&Stock::new(), &seen_at(1), &[]).expect_err("nothing there");
    assert!(gone.to_string().ends_with("it is no longer set"), "{gone}");
}

#[test]
fn an_edit_says_one_thing_of_one_place() {
    let mut both = set(ATTEMPTS, None, json!(5));
    both.unset = true;
    let nothing = ConfigEdit {
        path: ATTEMPTS.into(),
        ..ConfigEdit::default()
    };
    for wrong in [
        both,
        nothing,
        set("router/no/key", None, json!(1)),
        set(ATTEMPTS, None, json!(0)),
        set(ATTEMPTS, Some("dea-1"), json!(5)),
        set(ATTEMPTS, Some("router"), json!(5)),
    ] {
        assert!(check(&wrong).is_err(), "{wrong:?}");
    }
    let twice = edits(&[set(ATTEMPTS, None, json!(4)), set(ATTEMPTS, None, json!(5))]);
    assert!(plan(&Stock::new(), &twice, &[]).is_err());
}

#[test]
fn elements_are_added_to_what_is_in_force() {
    let edit = |component: Option<&str>, add: &[&str], remove: &[&str]| {
        let texts = |list: &[&str]| list.iter().map(|text| text.to_string()).collect();
        edits(&[ConfigEdit {
            path: FOLDERS.into(),
            component: component.map(String::from),
            add: texts(add),
            remove: texts(remove),
            ..ConfigEdit::default()
        }])
    };
    let stock = stock(&[(FOLDERS, json!("/a:/b"))]);
    let changes = plan(&stock, &edit(None, &["/c"], &[]), &[]).expect("a plan");
    assert_eq!(changes[0].is, json!("/a:/b:/c"));
    let changes = plan(&stock, &edit(Some("controller-1"), &["/c"], &[]), &[]).expect("a plan");
    assert_eq!(
        changes[0].is,
        json!("/a:/b:/c"),
        "the cluster's, and one more"
    );
    let changes = plan(&stock, &edit(None, &[], &["/a"]), &[]).expect("a plan");
    assert_eq!(changes[0].is, json!("/b"));
    let refused = plan(&stock, &edit(None, &[], &["/x"]), &[]).expect_err("not there");
    assert_eq!(
        refused.to_string(),
        "automation/pack/folders: \"/x\" is not in it"
    );
    assert!(
        plan(&stock, &edit(None, &["/b"], &[]), &[])
            .expect("a plan")
            .is_empty()
    );
}

#[test]
fn what_was_exported_is_imported_without_a_change() {
    let stock = stock(&[
        (ATTEMPTS, json!(5)),
        ("@dea-2/dea/heartbeat/period", json!("3s")),
        ("router/newer/key", json!(1)),
    ]);
    let tree = export(&stock);
    assert_eq!(tree.cluster.len(), 1, "what is not known is not exported");
    let again = ConfigImport {
        tree: tree.clone(),
        ..ConfigImport::default()
    };
    let edits = import(&stock, &again).expect("edits");
    assert_eq!(plan(&stock, &edits, &[]), Ok(vec![]));
    let elsewhere = import(&Stock::new(), &again).expect("edits");
    let changes = plan(&Stock::new(), &elsewhere, &[]).expect("a plan");
    assert_eq!(changes.len(), 2);

    let empty = ConfigImport::default();
    let changes = plan(&stock, &import(&stock, &empty).expect("edits"), &[]).expect("a plan");
    assert_eq!(
        told(&changes),
        [
            "dea/heartbeat/period of dea-2: \"3s\" -> null",
            "router/limits/max_attempts: 5 -> null"
        ],
        "what the tree does not name is unset, but for what this version does not know"
    );
    let kept = ConfigImport {
        keep_others: true,
        ..ConfigImport::default()
    };
    assert!(import(&stock, &kept).expect("edits").is_empty());
}

#[test]
fn an_import_tells_every_problem() {
    let values = BTreeMap::from([
        (ATTEMPTS.to_string(), json!(0)),
        ("router/no/key".to_string(), json!(1)),
        (PERIOD.to_string(), json!("5s")),
    ]);
    let of_router = BTreeMap::from([(PERIOD.to_string(), json!("5s"))]);
    let problems = import(
        &Stock::new(),
        &ConfigImport {
            tree: ConfigTree {
                cluster: values,
                components: BTreeMap::from([("router-1".to_string(), of_router)]),
            },
            ..ConfigImport::default()
        },
    )
    .expect_err("three problems");
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert!(
        texts[0].contains("a whole number from 1 to 20"),
        "{texts:?}"
    );
}

fn entry(revision: i64, steps: &[(&str, Json, Json)]) -> ConfigRevision {
    ConfigRevision {
        revision,
        at: String::new(),
        user: "ada".into(),
        action: "change".into(),
        changes: steps
            .iter()
            .map(|(path, was, is)| {
                let place = place(path);
                ConfigStep {
                    path: place.path,
                    component: place.owner.map(|owner| owner.to_string()),
                    was: was.clone(),
                    is: is.clone(),
                }
            })
            .collect(),
    }
}

/// The newest first: 10 sets the attempts, 20 the period of all and of one, 30 the attempts again.
fn history() -> Vec<ConfigRevision> {
    vec![
        entry(30, &[(ATTEMPTS, json!(5), json!(6))]),
        entry(
            20,
            &[
                (PERIOD, Json::Null, json!("2s")),
                ("@dea-2/dea/heartbeat/period", Json::Null, json!("3s")),
            ],
        ),
        entry(10, &[(ATTEMPTS, Json::Null, json!(5))]),
    ]
}

fn now() -> Stock {
    stock(&[
        (ATTEMPTS, json!(6)),
        (PERIOD, json!("2s")),
        ("@dea-2/dea/heartbeat/period", json!("3s")),
    ])
}

fn back(revision: Option<i64>, place: Option<&Place>) -> Result<Vec<String>, Problem> {
    let (_, edits) = undo(&history(), Rollback { revision, place })?;
    Ok(told(&plan(&now(), &edits, &[])?))
}

#[test]
fn a_rollback_undoes_every_later_change() {
    assert_eq!(
        back(Some(10), None).expect("a plan"),
        [
            "dea/heartbeat/period: \"2s\" -> null",
            "dea/heartbeat/period of dea-2: \"3s\" -> null",
            "router/limits/max_attempts: 6 -> 5"
        ]
    );
    assert_eq!(back(Some(0), None).expect("a plan").len(), 3, "before all");
    assert!(back(Some(30), None).expect("a plan").is_empty());
    assert!(back(Some(31), None).is_err(), "there is no such revision");
    assert!(back(None, None).is_err());
}

#[test]
fn one_place_is_rolled_back_alone() {
    let attempts = place(ATTEMPTS);
    assert_eq!(
        back(None, Some(&attempts)).expect("a plan"),
        ["router/limits/max_attempts: 6 -> 5"]
    );
    assert_eq!(
        back(Some(5), Some(&attempts)).expect("a plan"),
        ["router/limits/max_attempts: 6 -> null"]
    );
    assert_eq!(
        back(None, Some(&place("@dea-2/dea/heartbeat/period"))).expect("a plan"),
        ["dea/heartbeat/period of dea-2: \"3s\" -> null"]
    );
    let untouched = place("router/access_log/enabled");
    assert!(back(None, Some(&untouched)).is_err());
}

#[test]
fn what_the_history_has_forgotten_cannot_be_undone() {
    let mut long: Vec<ConfigRevision> = (0..KEPT as i64)
        .map(|number| entry(100 + number, &[(ATTEMPTS, json!(4), json!(5))]))
        .collect();
    long.reverse();
    let to = |revision| {
        undo(
            &long,
            Rollback {
                revision: Some(revision),
                place: None,
            },
        )
    };
    assert!(to(100).is_ok());
    let refused = to(99).expect_err("older ones were dropped");
    assert!(
        refused.to_string().contains("back to revision 100"),
        "{refused}"
    );
}

#[test]
fn concerned_is_who_reads_it_and_has_no_value_of_his_own() {
    let running = running();
    let stock = stock(&[
        ("@dea-2/dea/heartbeat/period", json!("3s")),
        ("@@machine-2/dea/heartbeat/period", json!("4s")),
    ]);
    let concerned = |asked: ConfigEdit| {
        let changes = plan(&stock, &edits(&[asked]), &running).expect("a plan");
        differences(&stock, &changes, &running)[0].concerned.clone()
    };
    assert_eq!(concerned(set(PERIOD, None, json!("9s"))), ["dea-1"]);
    assert_eq!(
        concerned(set(PERIOD, Some("dea-2"), json!("9s"))),
        ["dea-2"]
    );
    assert_eq!(
        concerned(set(PERIOD, Some("@machine-1"), json!("9s"))),
        ["dea-1"]
    );
    assert_eq!(
        concerned(set(PERIOD, Some("@machine-2"), json!("9s"))),
        ["dea-3"]
    );
    assert_eq!(
        concerned(set("cluster/log/level", None, json!("debug"))),
        ["dea-1", "dea-2", "dea-3", "router-1"]
    );
}

#[test]
fn elements_are_added_to_what_the_machine_has() {
    let stock = stock(&[
        (FOLDERS, json!("/of/all")),
        ("@@machine-2/automation/pack/folders", json!("/of/machine")),
    ]);
    let controller = Component {
        name: ComponentId::new("controller-2").expect("an id"),
        role: "controller".to_string(),
        machine: ComponentId::new("machine-2").ok(),
    };
    let edit = edits(&[ConfigEdit {
        path: FOLDERS.into(),
        component: Some("controller-2".into()),
        add: vec!["/own".into()],
        ..ConfigEdit::default()
    }]);
    let added = |running: &[Component]| {
        let changes = plan(&stock, &edit, running).expect("a plan");
        changes[0].is.to_string()
    };
    let on_machine = added(&[controller]);
    assert!(
        on_machine.contains("/of/machine") && on_machine.contains("/own"),
        "{on_machine}"
    );
    assert!(added(&[]).contains("/of/all"));
}

/// Two agents and a router on one machine, an agent on another.
fn running() -> Vec<Component> {
    let components = [
        ("dea-1", "dea", "machine-1"),
        ("dea-2", "dea", "machine-1"),
        ("dea-3", "dea", "machine-2"),
        ("router-1", "router", "machine-1"),
    ];
    let component = |(name, role, machine): (&str, &str, &str)| Component {
        name: ComponentId::new(name).expect("an id"),
        role: role.to_string(),
        machine: ComponentId::new(machine).ok(),
    };
    components.map(component).to_vec()
}
