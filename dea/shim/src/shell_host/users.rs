//! Users of the sandbox, read from its own files. The C library's functions would load further libraries,
//! which a static program cannot.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// Every group it is in, its own too.
    pub groups: Vec<u32>,
}

const FILES: [&str; 2] = ["/etc/passwd", "/etc/group"];
/// Users that are kept. One more, and all are forgotten.
const MOST_KNOWN: usize = 64;

/// By which a file is known to be the same: its number, length and the time of its last change.
type Stamp = (u64, u64, i64, i64);

/// Who was looked for, as long as the files stay the same: each action asks, and they hardly ever change.
struct Known {
    stamps: [Option<Stamp>; 2],
    users: BTreeMap<String, Option<User>>,
}

static KNOWN: Mutex<Known> = Mutex::new(Known {
    stamps: [None; 2],
    users: BTreeMap::new(),
});

/// The user of this name, or of this number in text.
pub fn find(wanted: &str) -> Option<User> {
    // Before they are read: what changes meanwhile is seen by the next.
    let stamps = FILES.map(stamp);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known.stamps != stamps || known.users.len() >= MOST_KNOWN {
        known.stamps = stamps;
        known.users.clear();
    }
    if let Some(user) = known.users.get(wanted) {
        return user.clone();
    }
    let [passwd, group] = FILES.map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let user = find_in(&passwd, &group, wanted);
    known.users.insert(wanted.to_string(), user.clone());
    user
}

fn stamp(path: &str) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((
        metadata.ino(),
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec(),
    ))
}

fn find_in(passwd: &str, group: &str, wanted: &str) -> Option<User> {
    let is_number = wanted.bytes().all(|byte| byte.is_ascii_digit());
    let entry = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| {
            let field = if is_number {
                fields.get(2)
            } else {
                fields.first()
            };
            field == Some(&wanted)
        })?;
    let (uid, gid) = (entry.get(2)?.parse().ok()?, entry.get(3)?.parse().ok()?);
    let member_of = group.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let is_member = fields.get(3)?.split(',').any(|member| member == entry[0]);
        is_member.then(|| fields[2].parse().ok())?
    });
    let mut groups: Vec<u32> = member_of.chain([gid]).collect();
    groups.sort_unstable();
    groups.dedup();
    Some(User { uid, gid, groups })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nvcap:x:2000:2001::/home/vcap:/bin/bash\nodd\n";
        let group = "root:x:0:\nvcap:x:2001:\naudio:x:29:x,vcap\nodd\n";
        let vcap = User {
            uid: 2000,
            gid: 2001,
            groups: vec![29, 2001],
        };
        assert_eq!(find_in(passwd, group, "vcap"), Some(vcap.clone()));
        assert_eq!(find_in(passwd, group, "2000"), Some(vcap));
        assert_eq!(
            find_in(passwd, group, "root").map(|user| user.groups),
            Some(vec![0])
        );
        for unknown in ["", "nobody", "7", "odd"] {
            assert_eq!(find_in(passwd, group, unknown), None, "{unknown}");
        }
    }
}
