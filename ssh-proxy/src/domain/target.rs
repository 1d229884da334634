//! Which instance a user name means.

use proto::ids::ProcessGuid;
use serde::Serialize;

/// `cf:<process guid>/<index>`: an instance that runs. `crashed:<process guid>/<index>`: what was kept of a
/// crashed one; `crashed:<process guid>`: of the newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    pub process: ProcessGuid,
    pub index: Option<u32>,
    pub crashed: bool,
}

/// The target of a user name, if it is one.
pub fn parse(user: &str) -> Option<Target> {
    let (kind, place) = user.split_once(':')?;
    let (process, index) = match place.split_once('/') {
        Some((process, index)) => {
            // "+1" and " 1" would parse as well.
            let plain = index.bytes().all(|letter| letter.is_ascii_digit());
            (process, Some(index.parse().ok().filter(|_| plain)?))
        }
        None => (place, None),
    };
    let process = ProcessGuid::new(process).ok()?;
    let crashed = match (kind, index) {
        ("cf", Some(_)) => false,
        ("crashed", _) => true,
        _ => return None,
    };
    Some(Target {
        process,
        index,
        crashed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_name_names_an_instance() {
        const GUID: &str = "0a1b2c3d-0000-4000-8000-000000000000";
        let read = |user: &str| {
            parse(&user.replace("GUID", GUID)).map(|target| (target.index, target.crashed))
        };
        for (user, expected) in [
            ("cf:GUID/0", Some((Some(0), false))),
            ("cf:GUID/12", Some((Some(12), false))),
            ("crashed:GUID/3", Some((Some(3), true))),
            ("crashed:GUID", Some((None, true))),
            ("cf:GUID", None),
            ("cf:GUID/", None),
            ("cf:GUID/+1", None),
            ("cf:GUID/-1", None),
            ("cf:GUID/1/2", None),
            ("cf:GUID/99999999999", None),
            ("root", None),
            ("cf:a b/0", None),
            ("cf:../x/0", None),
            ("diego:GUID/0", None),
        ] {
            assert_eq!(read(user), expected, "{user}");
        }
    }
}
