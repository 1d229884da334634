//! The index of packs: which packs there are to install, and where.
//!
//! The operator says where it is (setting `automation/pack/index`): a file or folder, an `http://` URL, an
//! `https://` URL of a `.json` file, or a git repository. It is read anew when it is asked for, at most once
//! in a while.

use super::callers::Permission;
use super::fault::Fault;
use super::pack_sources::{Place, Source, blocking};
use super::trusted_http;
use crate::api::errors::chain;
use crate::automation::Automation;
use crate::automation::api::extract::Caller;
use serde_json::{Map, Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// For so long what was read is good.
const GOOD_FOR: Duration = Duration::from_secs(60);
/// Largest index.
const LARGEST: usize = 32 << 20;
/// Longest wait for an index over HTTP.
const WITHIN: Duration = Duration::from_secs(30);
/// Where the index is in a folder or repository.
const FILES: [&str; 2] = ["index.json", "v1/index.json"];

/// What was read last: from where, when, and the packs by name. Cheap to clone.
#[derive(Clone, Default)]
pub struct IndexCache(Arc<Mutex<Option<Read>>>);

type Read = (String, Instant, Arc<Map<String, Value>>);

impl IndexCache {
    fn get(&self, place: &str) -> Option<Arc<Map<String, Value>>> {
        let known = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        known
            .as_ref()
            .filter(|(from, at, _)| from == place && at.elapsed() < GOOD_FOR)
            .map(|(_, _, packs)| packs.clone())
    }

    fn put(&self, place: &str, packs: Arc<Map<String, Value>>) {
        let mut known = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        *known = Some((place.to_string(), Instant::now(), packs));
    }
}

fn unreadable(place: &str, why: impl std::fmt::Display) -> Fault {
    Fault::Unavailable(format!("The index of packs {place} cannot be read: {why}"))
}

/// Whether a place is an index itself, not the repository of one.
fn is_document(place: &str) -> bool {
    let is_repository = place.ends_with(".git");
    (place.starts_with("http://") && !is_repository)
        || (place.starts_with("https://") && place.ends_with(".json"))
}

/// The packs of an index document.
fn packs_of(place: &str, bytes: &[u8]) -> Result<Map<String, Value>, Fault> {
    let document: Value =
        serde_json::from_slice(bytes).map_err(|error| unreadable(place, error))?;
    match document.get("packs") {
        Some(Value::Object(packs)) => Ok(packs.clone()),
        _ => Err(unreadable(place, "it has no object \"packs\"")),
    }
}

impl Automation {
    fn index_place(&self) -> String {
        self.ops.settings().text("automation/pack/index")
    }

    /// The packs by name; none where no index is configured.
    async fn index(&self) -> Result<Arc<Map<String, Value>>, Fault> {
        let place = self.index_place();
        if place.is_empty() {
            return Ok(Arc::default());
        }
        if let Some(known) = self.packs_at_work.index.get(&place) {
            return Ok(known);
        }
        let packs = Arc::new(self.read_index(&place).await?);
        self.packs_at_work.index.put(&place, packs.clone());
        Ok(packs)
    }

    async fn read_index(&self, place: &str) -> Result<Map<String, Value>, Fault> {
        if place.starts_with('/') {
            let path = std::path::PathBuf::from(place);
            let candidates = if path.is_dir() {
                FILES.map(|name| path.join(name)).to_vec()
            } else {
                vec![path]
            };
            let Some(file) = candidates.iter().find(|file| file.is_file()) else {
                return Err(unreadable(place, "there is no index.json"));
            };
            let bytes = tokio::fs::read(file)
                .await
                .map_err(|error| unreadable(place, error))?;
            return packs_of(place, &bytes);
        }
        if is_document(place) {
            let bytes = self.download_index(place).await?;
            return packs_of(place, &bytes);
        }
        let source = Source::parse(place)?;
        let Place::Git(url) = &source.place else {
            return Err(unreadable(
                place,
                "name a file, a folder, an http:// URL, an https:// URL of a .json file or a git repository",
            ));
        };
        let content = self
            .clone_git(url, source.version.as_deref(), "https:http:ssh")
            .await?;
        let bytes = FILES
            .iter()
            .find_map(|name| content.files.get(*name))
            .ok_or_else(|| unreadable(place, "the repository has no index.json"))?;
        packs_of(place, bytes)
    }

    async fn download_index(&self, place: &str) -> Result<Vec<u8>, Fault> {
        let unreadable = |error: &dyn std::error::Error| unreadable(place, chain(error));
        let own = self.ops.settings().text("automation/pack/index_ca");
        let client = blocking(move || {
            let own = (!own.is_empty()).then(|| std::path::PathBuf::from(own));
            Ok(trusted_http::client(own.as_deref()))
        })
        .await?
        .map_err(|error| unreadable(&error))?;
        let mut response = client
            .get(place)
            .timeout(WITHIN)
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .map_err(|error| unreadable(&error))?;
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| unreadable(&error))? {
            if bytes.len() + piece.len() > LARGEST {
                return Err(Fault::Unavailable(format!(
                    "The index of packs {place} is larger than 32 MiB."
                )));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// What the index says about a pack, whatever the case of its name.
    pub(super) async fn look_up(&self, name: &str) -> Result<Value, Fault> {
        if self.index_place().is_empty() {
            return Err(Fault::Invalid(format!(
                "There is no index in which to look up the pack \"{name}\": name a git URL or a folder, or configure automation/pack/index."
            )));
        }
        let index = self.index().await?;
        entry(&index, name).cloned().ok_or_else(|| {
            Fault::Invalid(format!(
                "No record of the \"{name}\" pack in the index {}.",
                self.index_place()
            ))
        })
    }

    /// The whole index, and how reading it went.
    pub async fn pack_index(&self, caller: &Caller) -> Result<Value, Fault> {
        caller.allow(Permission::View, "pack_list")?;
        let packs = self.index().await?;
        Ok(json!({"status": self.index_status(&Ok(packs.clone())), "index": *packs}))
    }

    /// How reading the index goes.
    pub async fn index_health(&self, caller: &Caller) -> Result<Value, Fault> {
        caller.allow(Permission::View, "pack_views_index_health")?;
        let read = self.index().await;
        let count = read.as_ref().map_or(0, |packs| packs.len());
        let status = self.index_status(&read);
        let all = status.as_array().map_or(0, Vec::len);
        let valid = if read.is_ok() { all } else { 0 };
        let errors = if read.is_ok() {
            json!({})
        } else {
            json!({"unreadable": 1})
        };
        Ok(json!({
            "indexes": {
                "count": all, "valid": valid, "invalid": all - valid, "errors": errors, "status": status,
            },
            "packs": {"count": count},
        }))
    }

    fn index_status(&self, read: &Result<Arc<Map<String, Value>>, Fault>) -> Value {
        let url = self.index_place();
        if url.is_empty() {
            return json!([]);
        }
        match read {
            Ok(packs) => {
                json!([{"url": url, "packs": packs.len(), "message": "Success.", "error": null}])
            }
            Err(fault) => {
                json!([{"url": url, "packs": 0, "message": fault.to_string(), "error": "unreadable"}])
            }
        }
    }

    /// One pack of the index by name; None: there is none.
    pub async fn find_in_index(&self, caller: &Caller, name: &str) -> Result<Option<Value>, Fault> {
        caller.allow(Permission::View, "pack_search")?;
        // Clients ask before they install from a URL as well.
        let name = match Source::parse(name) {
            Ok(source) => source.likely_name().unwrap_or_default(),
            Err(_) => name.to_string(),
        };
        let index = self.index().await?;
        Ok(entry(&index, &name).cloned())
    }

    /// Packs whose name, description or keywords have all these words.
    pub async fn search_index(&self, caller: &Caller, query: &str) -> Result<Vec<Value>, Fault> {
        caller.allow(Permission::View, "pack_search")?;
        let index = self.index().await?;
        Ok(index
            .values()
            .filter(|pack| answers(pack, query))
            .cloned()
            .collect())
    }
}

fn entry<'a>(index: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    index.get(name).or_else(|| {
        index
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, pack)| pack)
    })
}

fn answers(pack: &Value, query: &str) -> bool {
    let mut text = String::new();
    for field in ["name", "ref", "description", "author", "keywords"] {
        text.push_str(&pack[field].to_string().to_lowercase());
        text.push(' ');
    }
    query
        .to_lowercase()
        .split_whitespace()
        .all(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_behind_tls_is_told_from_a_repository_by_its_name() {
        for (place, expected) in [
            ("http://x/v1/index", true),
            ("http://x/index.git", false),
            ("https://index.example/v1/index.json", true),
            ("https://git.example/org/index", false),
            ("https://git.example/org/index.git", false),
            ("/srv/index.json", false),
        ] {
            assert_eq!(is_document(place), expected, "{place}");
        }
    }

    #[test]
    fn an_index_is_searched_by_words_and_by_name() {
        let bytes = json!({"metadata": {}, "packs": {
            "github": {"name": "github", "description": "Work with GitHub", "keywords": ["git"]},
            "AWS": {"name": "AWS", "description": "Amazon"},
        }});
        let packs = packs_of("x", bytes.to_string().as_bytes()).unwrap();
        assert_eq!(entry(&packs, "aws").unwrap()["name"], "AWS");
        assert!(entry(&packs, "aw").is_none());
        assert!(answers(&packs["github"], "git work"));
        assert!(!answers(&packs["github"], "git amazon"));
        let broken = packs_of("file.json", b"{}").unwrap_err().to_string();
        assert!(
            broken.contains("file.json") && broken.contains("packs"),
            "{broken}"
        );
    }
}
