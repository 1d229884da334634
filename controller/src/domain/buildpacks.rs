//! Buildpacks of the cluster: their order, what an archive must hold, and what an app may name.

use super::archive::{self, Entry, EntryKind, Unacceptable};
use proto::buildpacks::{Address, is_address};

/// A buildpack, as far as naming it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offered<'a> {
    pub name: &'a str,
    pub enabled: bool,
    /// It has its scripts.
    pub ready: bool,
}

/// What was named, as it is kept: a name of `offered` (`python_buildpack` is what Cloud Foundry calls `python`), or
/// an address that may be asked (`schemes`). The error begins with words that clients look for.
pub fn resolve(name: &str, offered: &[Offered<'_>], schemes: &[String]) -> Result<String, String> {
    let refused = |why: String| {
        Err(format!(
            "Buildpack must be an existing admin buildpack or a valid git URI: \"{name}\" {why}"
        ))
    };
    let short = name.strip_suffix("_buildpack").unwrap_or(name);
    let find = |wanted: &str| offered.iter().find(|one| one.name == wanted);
    match find(name).or_else(|| find(short)) {
        Some(found) if !found.enabled => refused("is disabled".to_string()),
        Some(found) if !found.ready => refused("awaits the upload of its archive".to_string()),
        Some(found) => Ok(found.name.to_string()),
        None if is_address(name) => match Address::parse_allowed(name, schemes) {
            Ok(address) => Ok(address.to_string()),
            Err(why) => refused(format!("is none: {why}")),
        },
        None => {
            let usable = offered.iter().filter(|one| one.enabled && one.ready);
            let names: Vec<&str> = usable.map(|one| one.name).collect();
            refused(format!(
                "is none (here are: {}; others by the address of their git repository or .zip archive)",
                names.join(", ")
            ))
        }
    }
}

/// Names of new buildpacks: no address, nothing that means "find out yourself".
pub fn check_name(name: &str) -> Result<(), String> {
    let allowed = |it: char| it.is_ascii_alphanumeric() || "_-.".contains(it);
    let is_fine = name.chars().all(allowed) && !name.starts_with(['-', '.']);
    if name.is_empty() || name.len() > 250 || !is_fine {
        return Err(
            "Name must be 1 to 250 letters, digits, '_', '-' or '.', the first of them no '-' or '.'"
                .to_string(),
        );
    }
    if ["default", "null"].contains(&name) {
        return Err(format!(
            "Name '{name}' is what apps name to have their buildpack detected"
        ));
    }
    Ok(())
}

/// The list with `guid` at `position`, counted from 1; beyond its ends it is at its end.
pub fn moved(mut order: Vec<String>, guid: &str, position: i64) -> Vec<String> {
    order.retain(|one| one != guid);
    let index = usize::try_from(position.saturating_sub(1)).unwrap_or_default();
    order.insert(index.min(order.len()), guid.to_string());
    order
}

/// The scripts by which an archive is a buildpack, at least one of them.
const SCRIPTS: [&str; 4] = ["bin/detect", "bin/supply", "bin/finalize", "bin/compile"];

/// Whether a checked archive holds a buildpack, at its top or in its only folder.
pub fn check_scripts(entries: &[Entry]) -> Result<(), Unacceptable> {
    let mut paths = Vec::new();
    for entry in entries {
        if entry.kind != EntryKind::Folder {
            paths.push(archive::parts(&entry.name)?.join("/"));
        }
    }
    let has = |prefix: &str| {
        SCRIPTS
            .iter()
            .any(|script| paths.contains(&format!("{prefix}{script}")))
    };
    let only_folder = || {
        let (first, _) = paths.first()?.split_once('/')?;
        let prefix = format!("{first}/");
        let is_only = paths.iter().all(|path| path.starts_with(&prefix));
        is_only.then_some(prefix)
    };
    if has("") || only_folder().is_some_and(|prefix| has(&prefix)) {
        return Ok(());
    }
    Err(Unacceptable(format!(
        "it holds no buildpack: none of {}",
        SCRIPTS.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERED: [Offered<'_>; 4] = [
        Offered {
            name: "python",
            enabled: true,
            ready: true,
        },
        Offered {
            name: "ruby_buildpack",
            enabled: true,
            ready: true,
        },
        Offered {
            name: "old",
            enabled: false,
            ready: true,
        },
        Offered {
            name: "new",
            enabled: true,
            ready: false,
        },
    ];

    #[test]
    fn an_app_names_a_buildpack_or_an_address() {
        let resolved = |name: &str| resolve(name, &OFFERED, &["https".to_string()]);
        for (name, kept) in [
            ("python", "python"),
            ("python_buildpack", "python"),
            ("ruby_buildpack", "ruby_buildpack"),
            ("https://h/x.git#v1", "https://h/x.git#v1"),
        ] {
            assert_eq!(resolved(name).as_deref(), Ok(kept));
        }
        for (name, why) in [
            ("ruby", "here are: python, ruby_buildpack; others by"),
            ("old", "\"old\" is disabled"),
            ("new", "awaits the upload"),
            ("http://h/x.git", "the operator allows https"),
            ("git@h:x.git", "it must begin with https://"),
        ] {
            let told = resolved(name).expect_err(name);
            let begins = "Buildpack must be an existing admin buildpack or a valid git URI";
            assert!(told.starts_with(begins) && told.contains(why), "{told}");
        }
    }

    #[test]
    fn names_are_no_addresses_and_no_words_of_manifests() {
        for name in ["my_buildpack", "a.b-c", "7"] {
            assert_eq!(check_name(name), Ok(()));
        }
        let long = "x".repeat(251);
        for name in ["", "a/b", "-b", ".hidden", "a b", "default", "null", &long] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn whatever_is_moved_the_others_keep_their_order() {
        let order = || ["a", "b", "c"].map(String::from).to_vec();
        for (guid, position, expected) in [
            ("c", 1, ["c", "a", "b"].as_slice()),
            ("a", 2, &["b", "a", "c"]),
            ("a", 99, &["b", "c", "a"]),
            ("b", -3, &["b", "a", "c"]),
            ("d", 2, &["a", "d", "b", "c"]),
            ("d", i64::MIN, &["d", "a", "b", "c"]),
        ] {
            assert_eq!(moved(order(), guid, position), expected);
        }
    }

    #[test]
    fn an_archive_without_scripts_is_no_buildpack() {
        let checked = |names: &[&str]| {
            let entries: Vec<Entry> = names
                .iter()
                .map(|name| Entry {
                    name: name.to_string(),
                    kind: EntryKind::File,
                    size: 1,
                })
                .collect();
            check_scripts(&entries)
        };
        assert!(checked(&["README", "bin/compile"]).is_ok());
        assert!(checked(&["pack-1.0/README", "pack-1.0/bin/detect"]).is_ok());
        for names in [
            ["README", "pack/bin/detect"].as_slice(),
            &["a/bin/detect", "b/README"],
            &["bin/release"],
            &[],
        ] {
            let told = checked(names).expect_err("no buildpack").to_string();
            assert!(told.contains("bin/detect"), "{told}");
        }
    }
}
