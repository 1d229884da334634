//! `yard version`.

use crate::client::Client;
use crate::failure::Outcome;
use crate::output::Output;
use crate::targets::Store;
use proto::api::Root;
use serde::Serialize;

#[derive(Debug, Serialize)]
struct Versions {
    yard: &'static str,
    api: Option<String>,
    /// Version of the Cloud Foundry API that the cluster speaks.
    api_version: Option<String>,
}

/// The client's version always; the cluster's if one is chosen and answers.
pub async fn run(out: &Output, store: Store) -> Outcome {
    let mut versions = Versions {
        yard: env!("CARGO_PKG_VERSION"),
        api: None,
        api_version: None,
    };
    if let Ok(client) = Client::open(store) {
        versions.api = Some(client.target().api.clone());
        let root = tokio::time::timeout(
            std::time::Duration::from_secs(3),
            client.get::<Root>("/", &[]),
        )
        .await;
        versions.api_version = root.ok().and_then(Result::ok).and_then(|root| {
            let link = root.links.get("cloud_controller_v3")?.as_ref()?;
            link.meta
                .as_ref()?
                .get("version")?
                .as_str()
                .map(str::to_string)
        });
    }
    out.show(&versions, |versions| {
        match (&versions.api, &versions.api_version) {
            (Some(api), Some(version)) => format!(
                "yard {}\n{api} speaks Cloud Foundry API {version}",
                versions.yard
            ),
            (Some(api), None) => format!("yard {}\n{api} does not answer", versions.yard),
            (None, _) => format!("yard {}", versions.yard),
        }
    })
}
