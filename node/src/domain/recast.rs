//! From the daemons a machine has to those its roles name.

use std::collections::BTreeSet;

use proto::roles::Roles;

use super::cast::{Part, daemons};

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Moves {
    pub start: Vec<Part>,
    /// To be emptied, then stopped.
    pub retire: Vec<Part>,
}

/// `has`: the daemons that the machine keeps, those that are leaving too. One that is leaving and
/// wanted again leaves first: it is started anew after that, and takes no work that it must give back.
pub fn next(wanted: &Roles, has: &Roles, leaving: &BTreeSet<Part>) -> Moves {
    let missing = daemons(wanted).filter(|part| !is_in(has, part));
    let surplus = daemons(has).filter(|part| !is_in(wanted, part) && !leaving.contains(part));
    Moves {
        start: missing.collect(),
        retire: surplus.collect(),
    }
}

fn is_in(roles: &Roles, part: &Part) -> bool {
    match part {
        Part::Nats | Part::Etcd => false,
        Part::Daemon { role, index } => roles.has(*role, *index),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::bus::Role;

    fn names(parts: &[Part]) -> Vec<String> {
        parts.iter().map(Part::name).collect()
    }

    #[test]
    fn the_machine_becomes_what_is_written_and_rests_then() {
        let wanted = Roles::counted([(Role::Dea, 1), (Role::Router, 2)]);
        let has = Roles::counted([(Role::Dea, 3), (Role::Router, 1)]);
        let moves = next(&wanted, &has, &BTreeSet::new());
        assert_eq!(names(&moves.start), ["router-2"]);
        assert_eq!(names(&moves.retire), ["dea-2", "dea-3"]);
        assert_eq!(next(&wanted, &wanted, &BTreeSet::new()), Moves::default());
    }

    #[test]
    fn one_that_is_leaving_is_asked_once_and_not_kept_back() {
        let has = Roles::counted([(Role::Dea, 2)]);
        let leaving = BTreeSet::from([Part::Daemon {
            role: Role::Dea,
            index: 2,
        }]);
        for count in [1, 2] {
            let wanted = Roles::counted([(Role::Dea, count)]);
            assert_eq!(next(&wanted, &has, &leaving), Moves::default(), "{count}");
        }
    }
}
