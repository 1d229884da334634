//! Users of the sandbox, read from its own files. The C library's functions would load further libraries,
//! which a static program cannot.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// Every group it is in, its own too.
    pub groups: Vec<u32>,
}

/// The user of this name, or of this number in text.
pub fn find(wanted: &str) -> Option<User> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    find_in(&read("/etc/passwd"), &read("/etc/group"), wanted)
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
