//! The marked block in `/etc/hosts`: names of the cluster on the machine itself.
//!
//! Everything outside the block stays byte for byte. Only names under the cluster's own domain
//! go in: a route that somebody maps to another domain must not redirect the machine.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// Hosts of the cluster itself.
pub const SYSTEM: &[&str] = &["api", "uaa", "login", "log-cache", "ssh", "st2"];
/// Most names; the file is read by every program on the machine.
const MOST: usize = 2000;

fn begin(cluster: &str) -> String {
    format!("# begin stackyard {cluster}: kept by the node, removed when the cluster stops")
}

fn end(cluster: &str) -> String {
    format!("# end stackyard {cluster}")
}

/// The names that belong into the block: the system's, and those of `routes` under the domain.
pub fn names<'a>(domain: &str, routes: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    let suffix = format!(".{domain}");
    let mut names: BTreeSet<String> = SYSTEM
        .iter()
        .map(|name| format!("{name}{suffix}"))
        .collect();
    for route in routes {
        let host = route
            .split('/')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if host.ends_with(&suffix)
            && host.chars().all(fine)
            && host.len() < 254
            && names.len() < MOST
        {
            names.insert(host);
        }
    }
    names
}

pub fn has_block(file: &str, cluster: &str) -> bool {
    let begin = begin(cluster);
    file.lines().any(|line| line.trim_end() == begin)
}

/// The file with the block, replaced or appended; without names, without the block.
pub fn with_block(file: &str, cluster: &str, address: IpAddr, names: &BTreeSet<String>) -> String {
    let (begin, end) = (begin(cluster), end(cluster));
    let mut kept = String::with_capacity(file.len());
    let mut inside = false;
    for line in file.split_inclusive('\n') {
        let bare = line.trim_end();
        if bare == begin {
            inside = true;
        } else if inside && bare == end {
            inside = false;
        } else if !inside {
            kept.push_str(line);
        }
    }
    if inside {
        // Somebody removed the end mark: what follows the begin mark may be theirs. Keep it all.
        kept = file.replace(&format!("{begin}\n"), "");
    }
    if names.is_empty() {
        return kept;
    }
    if !kept.is_empty() && !kept.ends_with('\n') {
        kept.push('\n');
    }
    kept.push_str(&begin);
    kept.push('\n');
    for name in names {
        kept.push_str(&format!("{address} {name}\n"));
    }
    kept.push_str(&end);
    kept.push('\n');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "127.0.0.1 localhost\n# a comment\n\n::1 localhost";
    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn the_block_comes_changes_and_goes_and_the_rest_stays() {
        let once = with_block(FILE, "c0ffee12", LOOPBACK, &set(&["api.y"]));
        assert!(once.starts_with(FILE));
        assert!(once.contains("\n127.0.0.1 api.y\n"));
        let twice = with_block(&once, "c0ffee12", LOOPBACK, &set(&["api.y", "b.y"]));
        assert_eq!(twice.matches("# begin stackyard").count(), 1);
        assert!(twice.contains("127.0.0.1 b.y\n"));
        assert_eq!(
            with_block(&twice, "c0ffee12", LOOPBACK, &set(&[])),
            format!("{FILE}\n")
        );
        assert_eq!(
            with_block(&twice, "c0ffee12", LOOPBACK, &set(&["api.y", "b.y"])),
            twice,
            "idempotent"
        );
    }

    #[test]
    fn two_clusters_keep_their_own_blocks() {
        let both = with_block(
            &with_block(FILE, "one", LOOPBACK, &set(&["api.one"])),
            "two",
            LOOPBACK,
            &set(&["api.two"]),
        );
        let left = with_block(&both, "one", LOOPBACK, &set(&[]));
        assert!(left.contains("api.two") && !left.contains("api.one"));
    }

    #[test]
    fn a_broken_block_costs_nobody_a_line() {
        let broken = format!("{FILE}\n{}\n127.0.0.1 api.y\n10.0.0.1 mine\n", begin("c"));
        assert!(with_block(&broken, "c", LOOPBACK, &set(&[])).contains("10.0.0.1 mine\n"));
    }

    #[test]
    fn only_names_under_the_own_domain_go_in() {
        let names = names(
            "yard.internal",
            [
                "app.yard.internal/path",
                "B.yard.internal",
                "bank.example.com",
                "*.yard.internal",
                "x yard.internal",
                "evilyard.internal",
            ],
        );
        assert!(
            names.contains("app.yard.internal")
                && names.contains("b.yard.internal")
                && names.contains("api.yard.internal")
        );
        assert_eq!(names.len(), SYSTEM.len() + 2, "{names:?}");
    }
}
