//! What a package, or another archive, may hold. Decided from the table of contents, before a byte is unpacked: a zip
//! may name files outside the app, point out of it by a symlink, or unpack to a thousand times
//! its size.

use std::collections::BTreeMap;

/// One entry of the table of contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub kind: EntryKind,
    /// Bytes, unpacked, as declared.
    pub size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    File,
    Folder,
    Symlink {
        target: String,
    },
    /// Devices, pipes…
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub max_entries: u64,
    pub max_unpacked: u64,
    /// The setting that says so, if one does.
    pub setting: Option<&'static str>,
}

/// What the package comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contents {
    pub files: u64,
    pub unpacked: u64,
}

/// A sentence for the user, naming the entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unacceptable(pub String);

fn no<T>(text: String) -> Result<T, Unacceptable> {
    Err(Unacceptable(text))
}

/// Checks them all together.
pub fn check(entries: &[Entry], bounds: Bounds) -> Result<Contents, Unacceptable> {
    if entries.len() as u64 > bounds.max_entries {
        return no(format!(
            "it holds {} entries, at most {} are allowed",
            entries.len(),
            bounds.max_entries
        ));
    }
    let mut contents = Contents::default();
    // Path to whether it is a folder: a file may not be where another entry has a folder.
    let mut seen: BTreeMap<String, bool> = BTreeMap::new();
    for entry in entries {
        let parts = parts(&entry.name)?;
        let path = parts.join("/");
        let is_folder = entry.kind == EntryKind::Folder;
        match &entry.kind {
            EntryKind::File => contents.files += 1,
            EntryKind::Folder => {}
            EntryKind::Symlink { target } => {
                check_link(&entry.name, &parts, target)?;
                contents.files += 1;
            }
            EntryKind::Other => {
                return no(format!(
                    "the entry '{}' is neither a file, a folder nor a symlink",
                    show(&entry.name)
                ));
            }
        }
        contents.unpacked = contents.unpacked.saturating_add(entry.size);
        if contents.unpacked > bounds.max_unpacked {
            let see = bounds.setting.map(|setting| format!("; see {setting}"));
            return no(format!(
                "it unpacks to more than {} bytes (at the entry '{}'){}",
                bounds.max_unpacked,
                show(&entry.name),
                see.unwrap_or_default()
            ));
        }
        if path.is_empty() {
            continue;
        }
        match seen.insert(path.clone(), is_folder) {
            Some(was_folder) if !(was_folder && is_folder) => {
                return no(format!("the entry '{}' is there twice", show(&entry.name)));
            }
            _ => {}
        }
    }
    // Nothing may lie beneath what is not a folder: beneath a symlink it would land elsewhere.
    for path in seen.keys() {
        let mut end = 0;
        while let Some(at) = path[end..].find('/') {
            end += at;
            if seen.get(&path[..end]) == Some(&false) {
                return no(format!(
                    "the entry '{}' lies beneath '{}', which is not a folder",
                    show(path),
                    show(&path[..end])
                ));
            }
            end += 1;
        }
    }
    Ok(contents)
}

/// The path of an entry in its parts; `.` is left out.
pub fn parts(name: &str) -> Result<Vec<&str>, Unacceptable> {
    if name.contains('\0') || name.contains('\\') {
        return no(format!(
            "the entry '{}' has a name with a NUL or a backslash",
            show(name)
        ));
    }
    if name.starts_with('/') {
        return no(format!("the entry '{}' has an absolute path", show(name)));
    }
    if name.len() > 4096 || name.split('/').any(|part| part.len() > 255) {
        return no(format!("the entry '{}' has too long a name", show(name)));
    }
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => return no(format!("the entry '{}' leads out of it", show(name))),
            part => parts.push(part),
        }
    }
    Ok(parts)
}

fn check_link(name: &str, parts: &[&str], target: &str) -> Result<(), Unacceptable> {
    let out = || {
        Unacceptable(format!(
            "the symlink '{}' leads out of it (to '{}')",
            show(name),
            show(target)
        ))
    };
    if target.is_empty()
        || target.starts_with('/')
        || target.contains('\0')
        || target.contains('\\')
    {
        return Err(out());
    }
    let mut depth = parts.len().saturating_sub(1);
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => depth = depth.checked_sub(1).ok_or_else(out)?,
            _ => depth += 1,
        }
    }
    Ok(())
}

/// Names come from strangers: shortened, without control characters.
fn show(name: &str) -> String {
    let mut text: String = name
        .chars()
        .take(120)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    if text.len() < name.len() && name.chars().count() > 120 {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds {
        max_entries: 5,
        max_unpacked: 1000,
        setting: None,
    };

    fn file(name: &str) -> Entry {
        Entry {
            name: name.into(),
            kind: EntryKind::File,
            size: 1,
        }
    }
    fn link(name: &str, target: &str) -> Entry {
        Entry {
            name: name.into(),
            kind: EntryKind::Symlink {
                target: target.into(),
            },
            size: 1,
        }
    }

    #[test]
    fn what_leads_out_of_the_app_is_refused_by_name() {
        for entry in [
            file("../x"),
            file("a/../../x"),
            file("/etc/passwd"),
            file("a\\b"),
            link("a", "/etc/passwd"),
            link("a", "../x"),
            link("a/b", "../../x"),
            link("a", ""),
            link("a/b", "c/../../../x"),
        ] {
            let error = check(std::slice::from_ref(&entry), BOUNDS).unwrap_err();
            assert!(error.0.contains(&entry.name), "{error}");
        }
        assert!(
            check(
                &[
                    file("a/b"),
                    link("a/c", "../d"),
                    file("d"),
                    link("e", "a/./b")
                ],
                BOUNDS
            )
            .is_ok()
        );
    }

    #[test]
    fn a_bomb_is_refused_before_it_goes_off() {
        let big = Entry {
            name: "big".into(),
            kind: EntryKind::File,
            size: 1001,
        };
        assert!(
            check(&[big], BOUNDS)
                .unwrap_err()
                .0
                .contains("unpacks to more than 1000")
        );
        let huge = Entry {
            name: "huge".into(),
            kind: EntryKind::File,
            size: u64::MAX,
        };
        assert!(check(&[file("a"), huge], BOUNDS).is_err());
        let many: Vec<Entry> = (0..6).map(|n| file(&n.to_string())).collect();
        assert!(check(&many, BOUNDS).unwrap_err().0.contains("6 entries"));
    }

    #[test]
    fn nothing_may_lie_beneath_a_link_or_a_file() {
        assert!(
            check(&[link("a", "b"), file("a/x")], BOUNDS)
                .unwrap_err()
                .0
                .contains("not a folder")
        );
        assert!(check(&[file("a"), file("a/b/x")], BOUNDS).is_err());
        assert!(
            check(&[file("a"), file("./a")], BOUNDS)
                .unwrap_err()
                .0
                .contains("twice")
        );
        let folder = Entry {
            name: "a/".into(),
            kind: EntryKind::Folder,
            size: 0,
        };
        assert!(check(&[folder.clone(), folder, file("a/x")], BOUNDS).is_ok());
    }

    proptest! {
        #[test]
        fn no_name_panics_and_accepted_ones_stay_inside(name in "\\PC{0,40}", target in "[a./]{0,12}") {
            if check(&[file(&name)], BOUNDS).is_ok() {
                prop_assert!(!name.split('/').any(|part| part == "..") && !name.starts_with('/'));
            }
            let _ = check(&[link("a/b/c", &target)], BOUNDS);
        }
    }
}
