//! Names of the cluster on the machine itself: the block in the hosts file follows the router.

use std::sync::Arc;
use std::time::Duration;

use daemon::{Policy, Role};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::board::Board;
use crate::crew::Crew;
use crate::domain::hosts;
use crate::plan::Plan;

/// How often the names of apps are looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// Keeps the names: the system's at once, apps' as the routers learn them. While no router answers they
/// stay as they are.
pub fn keep(plan: &Plan, crew: &Crew) {
    let (file, domain) = (Arc::new(plan.hosts_file()), plan.file.domain.clone());
    let (http, board) = (crew.http.clone(), crew.board.clone());
    crew.tasks
        .spawn("hosts-file", Policy::Restart, move |shutdown| {
            let (file, http, board, domain) =
                (file.clone(), http.clone(), board.clone(), domain.clone());
            async move {
                loop {
                    match routes(&http, &routers(&board)).await {
                        Some(document) => {
                            let mut texts = Vec::new();
                            collect(&document, &mut texts);
                            file.set(&hosts::names(&domain, texts))?;
                        }
                        None if !file.is_set() => {
                            file.set(&hosts::names(&domain, []))?;
                        }
                        None => {}
                    }
                    tokio::select! {
                        () = tokio::time::sleep(PERIOD) => {}
                        // Whoever stops the cluster removes the block: it must not come back.
                        () = board.stop_requested() => {
                            shutdown.cancelled().await;
                            return Ok(());
                        }
                    }
                }
            }
        });
}

/// Where the routers that there are now tell what they know.
fn routers(board: &Board) -> Vec<String> {
    let components = board.status().components.into_iter();
    components
        .filter(|component| component.role == Role::Router.name())
        .filter_map(|router| Some(format!("{}/routes", router.admin?)))
        .collect()
}

/// What the first router says that answers: each knows all routes.
async fn routes(http: &reqwest::Client, urls: &[String]) -> Option<Value> {
    for url in urls {
        if let Some(document) = document(http.get(url)).await {
            return Some(document);
        }
    }
    None
}

/// What a daemon of this machine answers, if it does.
pub async fn document<T: DeserializeOwned>(asked: reqwest::RequestBuilder) -> Option<T> {
    asked
        .send()
        .await
        .ok()?
        .error_for_status()
        .ok()?
        .json()
        .await
        .ok()
}

/// Every text in a document, keys too; what is no name under the domain is sorted out later.
fn collect<'a>(document: &'a Value, texts: &mut Vec<&'a str>) {
    match document {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(fields) => {
            for (key, value) in fields {
                texts.push(key);
                collect(value, texts);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_wherever_the_router_writes_them() {
        let document = serde_json::json!({
            "app.y.internal": [{ "address": "10.1.0.2:8080", "app": null, "ttl": 120 }],
            "shop.y.internal/cart": [{ "tags": { "component": "x" } }],
            "other.example.com": [],
        });
        let mut texts = Vec::new();
        collect(&document, &mut texts);
        let names = hosts::names("y.internal", texts);
        assert!(names.contains("app.y.internal") && names.contains("shop.y.internal"));
        assert_eq!(names.len(), hosts::SYSTEM.len() + 2, "{names:?}");
    }
}
