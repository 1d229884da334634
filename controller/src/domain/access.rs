//! Who may do what: one function, asked by every operation.
//!
//! Everything belongs to a space, an organization, a user or the platform; an operation names the
//! place it works on and the kind of thing it does. What an actor may not even read, the API
//! answers like something that does not exist, so that guids cannot be tried out.

use std::collections::BTreeSet;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    pub guid: String,
    pub name: String,
    pub is_admin: bool,
    pub grants: Vec<Grant>,
}

/// One role of the actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub role: RoleKind,
    /// Guid of the organization or the space.
    pub place: String,
    /// For a role in a space: its organization.
    pub organization: String,
}

macro_rules! role_kinds {
    ($($variant:ident $name:literal $in_space:literal),+ $(,)?) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum RoleKind { $($variant),+ }

        impl RoleKind {
            pub const ALL: &'static [RoleKind] = &[$(RoleKind::$variant),+];

            pub fn name(self) -> &'static str {
                match self { $(RoleKind::$variant => $name),+ }
            }

            /// In a space, not in an organization.
            pub fn is_of_space(self) -> bool {
                match self { $(RoleKind::$variant => $in_space),+ }
            }

            pub fn parse(name: &str) -> Option<RoleKind> {
                RoleKind::ALL.iter().copied().find(|kind| kind.name() == name)
            }
        }
    };
}
role_kinds! {
    OrganizationUser "organization_user" false,
    OrganizationAuditor "organization_auditor" false,
    OrganizationManager "organization_manager" false,
    OrganizationBillingManager "organization_billing_manager" false,
    SpaceAuditor "space_auditor" true,
    SpaceDeveloper "space_developer" true,
    SpaceManager "space_manager" true,
    SpaceSupporter "space_supporter" true,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// See that it exists, and its settings.
    Read,
    /// See what may hold passwords: environments, logs.
    ReadSecrets,
    /// Create, change, delete apps, routes, packages…
    Develop,
    /// Start, stop, scale what is there.
    Operate,
    /// Rename or delete the place, give roles in it.
    Manage,
    /// What concerns everybody.
    Administer,
}

/// Where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object<'a> {
    Platform,
    Organization(&'a str),
    Space {
        guid: &'a str,
        organization: &'a str,
    },
    User(&'a str),
}

/// The answer with its reason, for the log and the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub because: &'static str,
}

const fn yes(because: &'static str) -> Decision {
    Decision {
        allowed: true,
        because,
    }
}
const fn no(because: &'static str) -> Decision {
    Decision {
        allowed: false,
        because,
    }
}

pub fn decide(actor: &Actor, action: Action, object: &Object<'_>) -> Decision {
    if actor.is_admin {
        return yes("an administrator may do everything");
    }
    match object {
        Object::Platform => match action {
            Action::Read => yes("everybody who is logged in may look"),
            Action::ReadSecrets
            | Action::Develop
            | Action::Operate
            | Action::Manage
            | Action::Administer => no("only an administrator changes the platform"),
        },
        Object::User(guid) => match action {
            Action::Read | Action::Manage if *guid == actor.guid => {
                yes("it is the user's own account")
            }
            Action::Read => yes("users see each other's names"),
            Action::ReadSecrets
            | Action::Develop
            | Action::Operate
            | Action::Manage
            | Action::Administer => {
                no("only an administrator changes the account of somebody else")
            }
        },
        Object::Organization(guid) => in_organization(actor, action, guid),
        Object::Space { guid, organization } => in_space(actor, action, guid, organization),
    }
}

fn in_organization(actor: &Actor, action: Action, guid: &str) -> Decision {
    let manages = actor
        .grants
        .iter()
        .any(|grant| grant.role == RoleKind::OrganizationManager && grant.place == guid);
    match action {
        Action::Read if actor.grants.iter().any(|grant| grant.organization == guid) => {
            yes("the actor has a role in it")
        }
        Action::Manage if manages => yes("the actor manages the organization"),
        Action::Read => no("the actor has no role in the organization"),
        Action::ReadSecrets
        | Action::Develop
        | Action::Operate
        | Action::Manage
        | Action::Administer => no("only a manager changes the organization"),
    }
}

fn in_space(actor: &Actor, action: Action, guid: &str, organization: &str) -> Decision {
    let here = |roles: &[RoleKind]| {
        actor
            .grants
            .iter()
            .any(|grant| grant.place == guid && roles.contains(&grant.role))
    };
    let above = |roles: &[RoleKind]| {
        actor
            .grants
            .iter()
            .any(|grant| grant.place == organization && roles.contains(&grant.role))
    };
    use RoleKind::{OrganizationManager, SpaceDeveloper, SpaceManager, SpaceSupporter};
    match action {
        Action::Read => {
            if actor.grants.iter().any(|grant| grant.place == guid) {
                yes("the actor has a role in the space")
            } else if above(&[OrganizationManager]) {
                yes("the actor manages its organization")
            } else {
                no("the actor has no role in the space")
            }
        }
        Action::ReadSecrets | Action::Develop => {
            if here(&[SpaceDeveloper]) {
                yes("the actor develops in the space")
            } else {
                no("only a developer of the space may")
            }
        }
        Action::Operate => {
            if here(&[SpaceDeveloper, SpaceSupporter]) {
                yes("the actor develops or supports in the space")
            } else {
                no("only a developer or supporter of the space may")
            }
        }
        Action::Manage => {
            if here(&[SpaceManager]) || above(&[OrganizationManager]) {
                yes("the actor manages the space or its organization")
            } else {
                no("only a manager of the space or its organization may")
            }
        }
        Action::Administer => no("only an administrator may"),
    }
}

/// What an actor sees of lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    Everything,
    Only {
        /// Spaces the actor has a role in.
        spaces: BTreeSet<String>,
        /// Organizations all of whose spaces the actor sees.
        managed: BTreeSet<String>,
        /// Organizations the actor has any role in.
        organizations: BTreeSet<String>,
    },
}

/// Agrees with [`decide`] for [`Action::Read`].
pub fn sight(actor: &Actor) -> Sight {
    if actor.is_admin {
        return Sight::Everything;
    }
    let places = |wanted: &dyn Fn(&Grant) -> bool| -> BTreeSet<String> {
        actor
            .grants
            .iter()
            .filter(|grant| wanted(grant))
            .map(|grant| grant.place.clone())
            .collect()
    };
    Sight::Only {
        spaces: places(&|grant| grant.role.is_of_space()),
        managed: places(&|grant| grant.role == RoleKind::OrganizationManager),
        organizations: actor
            .grants
            .iter()
            .map(|grant| grant.organization.clone())
            .collect(),
    }
}

/// Organizations in which the actor gives roles, in them or in one of their spaces: there he finds users.
pub fn gives_roles_in(actor: &Actor) -> BTreeSet<String> {
    let gives = |grant: &&Grant| {
        matches!(
            grant.role,
            RoleKind::OrganizationManager | RoleKind::SpaceManager
        )
    };
    actor
        .grants
        .iter()
        .filter(gives)
        .map(|grant| grant.organization.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ACTIONS: [Action; 6] = [
        Action::Read,
        Action::ReadSecrets,
        Action::Develop,
        Action::Operate,
        Action::Manage,
        Action::Administer,
    ];

    fn actor(grants: &[(RoleKind, &str, &str)]) -> Actor {
        Actor {
            guid: "me".into(),
            name: "me".into(),
            is_admin: false,
            grants: grants
                .iter()
                .map(|(role, place, organization)| Grant {
                    role: *role,
                    place: place.to_string(),
                    organization: organization.to_string(),
                })
                .collect(),
        }
    }

    fn allowed(actor: &Actor, object: &Object<'_>) -> Vec<Action> {
        ACTIONS
            .into_iter()
            .filter(|action| decide(actor, *action, object).allowed)
            .collect()
    }

    #[test]
    fn each_role_in_a_space_allows_what_it_is_for() {
        let space = Object::Space {
            guid: "s",
            organization: "o",
        };
        let check = |role, expected: &[Action]| {
            assert_eq!(
                allowed(&actor(&[(role, "s", "o")]), &space),
                expected,
                "{role:?}"
            )
        };
        check(RoleKind::SpaceAuditor, &[Action::Read]);
        check(
            RoleKind::SpaceDeveloper,
            &[
                Action::Read,
                Action::ReadSecrets,
                Action::Develop,
                Action::Operate,
            ],
        );
        check(RoleKind::SpaceSupporter, &[Action::Read, Action::Operate]);
        check(RoleKind::SpaceManager, &[Action::Read, Action::Manage]);
        assert_eq!(
            allowed(&actor(&[(RoleKind::OrganizationManager, "o", "o")]), &space),
            [Action::Read, Action::Manage]
        );
        assert_eq!(
            allowed(&actor(&[(RoleKind::OrganizationUser, "o", "o")]), &space),
            []
        );
        assert_eq!(
            allowed(&actor(&[(RoleKind::SpaceDeveloper, "other", "o")]), &space),
            []
        );
    }

    #[test]
    fn nobody_but_an_administrator_changes_the_platform() {
        let manager = actor(&[
            (RoleKind::OrganizationManager, "o", "o"),
            (RoleKind::SpaceManager, "s", "o"),
        ]);
        assert_eq!(allowed(&manager, &Object::Platform), [Action::Read]);
        assert_eq!(
            allowed(
                &Actor {
                    is_admin: true,
                    ..manager
                },
                &Object::Platform
            ),
            ACTIONS
        );
    }

    fn grants() -> impl Strategy<Value = Vec<(usize, u8, u8)>> {
        prop::collection::vec((0..RoleKind::ALL.len(), 0u8..3, 0u8..3), 0..6)
    }

    proptest! {
        #[test]
        fn lists_show_exactly_what_may_be_read(picked in grants(), space in 0u8..3, organization in 0u8..3) {
            let actor = Actor {
                guid: "me".into(), name: "me".into(), is_admin: false,
                grants: picked.iter().map(|(role, organization, space)| {
                    let role = RoleKind::ALL[*role];
                    let organization = format!("o{organization}");
                    // A space belongs to one organization, so its name tells which.
                    let place = if role.is_of_space() { format!("s{space}-{organization}") } else { organization.clone() };
                    Grant { role, place, organization }
                }).collect(),
            };
            let organization = format!("o{organization}");
            let space = format!("s{space}-{organization}");
            let Sight::Only { spaces, managed, organizations } = sight(&actor) else { panic!("no administrator") };
            let readable = decide(&actor, Action::Read, &Object::Space { guid: &space, organization: &organization }).allowed;
            prop_assert_eq!(spaces.contains(&space) || managed.contains(&organization), readable);
            let readable = decide(&actor, Action::Read, &Object::Organization(&organization)).allowed;
            prop_assert_eq!(organizations.contains(&organization), readable);
        }

        #[test]
        fn whoever_may_do_something_may_also_see_it(picked in grants(), action in 0usize..6) {
            let actor = actor(&picked.iter().map(|(role, _, _)| (RoleKind::ALL[*role], if RoleKind::ALL[*role].is_of_space() { "s" } else { "o" }, "o")).collect::<Vec<_>>());
            for object in [Object::Space { guid: "s", organization: "o" }, Object::Organization("o"), Object::Platform] {
                if decide(&actor, ACTIONS[action], &object).allowed {
                    prop_assert!(decide(&actor, Action::Read, &object).allowed);
                }
            }
        }
    }
}
