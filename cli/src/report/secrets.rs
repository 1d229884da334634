//! Every secret that the files of a cluster hold.
//!
//! All of them are in files that nobody but their owner may read; what such a file holds is taken for
//! secret by its form: a single line is one, of a document the fields that are named so, and
//! everything in the node's own collection. Too much is better than too little.

use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A longer file is no secret, but a database or a log.
const LONGEST: u64 = 256 << 10;
const DEPTH: usize = 3;

pub fn of_cluster(home: &Path, login_file: &Path) -> Vec<String> {
    let mut secrets = Vec::new();
    let files = walkdir::WalkDir::new(home)
        .max_depth(DEPTH)
        .into_iter()
        .filter_entry(|entry| entry.file_name() != "blobs" && entry.file_name() != "data")
        .filter_map(Result::ok);
    for file in files.filter(|entry| entry.file_type().is_file()) {
        if is_private(file.path()) {
            secrets.extend(of_file(file.path()));
        }
    }
    secrets.extend(of_file(login_file));
    secrets
}

fn is_private(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| {
        metadata.permissions().mode() & 0o077 == 0 && metadata.len() <= LONGEST
    })
}

fn of_file(file: &Path) -> Vec<String> {
    let Ok(text) = fs::read_to_string(file) else {
        return Vec::new();
    };
    let all = file.file_name().is_some_and(|name| name == "secrets.json");
    of_text(&text, all)
}

/// `all`: every text of the document is one.
fn of_text(text: &str, all: bool) -> Vec<String> {
    let mut secrets = Vec::new();
    match serde_json::from_str::<Value>(text) {
        Ok(document) => of_document(&document, all, &mut secrets),
        Err(_) if text.trim().lines().count() == 1 => secrets.push(text.trim().to_string()),
        Err(_) => {}
    }
    secrets
}

fn of_document(value: &Value, secret: bool, secrets: &mut Vec<String>) {
    match value {
        Value::String(text) if secret => secrets.push(text.clone()),
        Value::Array(elements) => {
            for element in elements {
                of_document(element, secret, secrets);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let named = ["password", "secret", "token"]
                    .iter()
                    .any(|word| name.contains(word))
                    && !name.ends_with("_file");
                of_document(field, secret || named, secrets);
            }
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_by_the_form_of_their_file() {
        assert_eq!(of_text("pass-word-1\n", false), ["pass-word-1"]);
        assert!(of_text("listen: 1\nport: 2\n", false).is_empty());
        let bootstrap = r#"{"bus": {"user": "dea-1", "password": "one"}, "admin_password_file": "/x",
            "targets": {"a": {"access_token": "two"}}, "list": [{"client_secret": "three"}]}"#;
        let mut found = of_text(bootstrap, false);
        found.sort();
        assert_eq!(found, ["one", "three", "two"]);
        assert_eq!(of_text(r#"{"dea-1-bus": "four"}"#, true), ["four"]);
    }

    #[test]
    fn only_what_is_private_is_read() {
        let home = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str, mode: u32| {
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(&path, text).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
            path
        };
        write("admin-password", "of-the-admin", 0o600);
        write("controller/token.key", "of-the-tokens", 0o600);
        write("cluster.json", "\"not secret\"", 0o644);
        write("blobs/a", "of an app", 0o600);
        let login = write(
            "login/config.json",
            r#"{"access_token": "of-a-login"}"#,
            0o600,
        );
        let mut found = of_cluster(home.path(), &login);
        found.sort();
        found.dedup();
        assert_eq!(found, ["of-a-login", "of-the-admin", "of-the-tokens"]);
    }
}
