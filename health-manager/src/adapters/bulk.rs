//! Reads the desired state from the controller's bulk API: all of it now and then, single processes
//! when the controller says that they changed.

use crate::domain::Millis;
use crate::domain::desired::Wanted;
use anyhow::{Context, bail, ensure};
use daemon::Bus;
use proto::bus::Empty;
use proto::bus::catalogue;
use proto::bus::health::{BulkCrashes, BulkCredentials, BulkPage, RecordedCrash};
use proto::ids::ProcessGuid;
use std::collections::BTreeMap;
use std::time::Duration;

const BATCH: u32 = 500;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(2);
/// A controller that never ends its pages must not fill our memory.
const MAX_PROCESSES: usize = 2_000_000;
const MAX_PAGE_BYTES: usize = 16 << 20;

pub struct BulkReader {
    bus: Bus,
    http: reqwest::Client,
    credentials: Option<BulkCredentials>,
}

impl BulkReader {
    pub fn new(bus: Bus) -> anyhow::Result<BulkReader> {
        let http = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .no_proxy()
            .build()
            .context("the HTTP client for the bulk API cannot be made")?;
        Ok(BulkReader {
            bus,
            http,
            credentials: None,
        })
    }

    /// The whole set. Fails rather than giving a part.
    pub async fn all(&mut self, begun: Millis) -> anyhow::Result<BTreeMap<ProcessGuid, Wanted>> {
        let mut set = BTreeMap::new();
        self.pages(0, BATCH, |row, process| {
            set.insert(process.id.clone(), Wanted::read(row, process, begun));
            set.len() < MAX_PROCESSES
        })
        .await?;
        ensure!(
            set.len() < MAX_PROCESSES,
            "there are more than {MAX_PROCESSES} processes"
        );
        Ok(set)
    }

    /// One process: by its row if that is known, else among the rows after `complete_to`, then among
    /// all (a row can become visible after rows with higher numbers). `None` if it is gone.
    pub async fn one(
        &mut self,
        process: &ProcessGuid,
        row: Option<i64>,
        complete_to: i64,
        begun: Millis,
    ) -> anyhow::Result<Option<Wanted>> {
        let mut found = None;
        let (after, batch) = match row {
            Some(row) => (row - 1, 1),
            None => (complete_to, BATCH),
        };
        self.pages(after, batch, |at, read| {
            if read.id == *process {
                found = Some(Wanted::read(at, read, begun));
            }
            found.is_none() && row.is_none()
        })
        .await?;
        if found.is_none() && row.is_none() && complete_to > 0 {
            self.pages(0, BATCH, |at, read| {
                if read.id == *process {
                    found = Some(Wanted::read(at, read, begun));
                }
                found.is_none() && at < complete_to
            })
            .await?;
        }
        Ok(found)
    }

    /// The crashes recorded since `since` (Unix seconds).
    pub async fn crashes(&mut self, since: i64) -> anyhow::Result<Vec<RecordedCrash>> {
        let asked = [("since", since.to_string())];
        let told: BulkCrashes = self.get("/bulk/crashes", &asked).await?;
        Ok(told.crashes)
    }

    /// Goes through the pages after `after` while `each` says so.
    async fn pages(
        &mut self,
        after: i64,
        batch: u32,
        mut each: impl FnMut(i64, &proto::bus::health::DesiredProcess) -> bool,
    ) -> anyhow::Result<()> {
        let mut after = after;
        loop {
            let page = self.page(after, batch).await?;
            if page.results.is_empty() {
                return Ok(());
            }
            ensure!(
                page.bulk_token.id > after,
                "the bulk API does not come forward: it stays at {after}"
            );
            for (row, process) in &page.results {
                let row = row
                    .parse()
                    .with_context(|| format!("the bulk API names a row {row:?}"))?;
                if !each(row, process) {
                    return Ok(());
                }
            }
            after = page.bulk_token.id;
        }
    }

    async fn page(&mut self, after: i64, batch: u32) -> anyhow::Result<BulkPage> {
        let asked = [
            ("batch_size", batch.to_string()),
            ("bulk_token", format!("{{\"id\":{after}}}")),
        ];
        self.get("/bulk/apps", &asked).await
    }

    async fn get<T: serde::de::DeserializeOwned>(
        &mut self,
        path: &str,
        query: &[(&str, String)],
    ) -> anyhow::Result<T> {
        // The credentials may have changed, or the controller that gave them may be gone: once anew.
        let known = self.credentials.is_some();
        match self.try_get(path, query).await {
            Ok(answer) => Ok(answer),
            Err(_) if known => {
                self.credentials = None;
                self.try_get(path, query).await
            }
            Err(error) => {
                self.credentials = None;
                Err(error)
            }
        }
    }

    async fn try_get<T: serde::de::DeserializeOwned>(
        &mut self,
        path: &str,
        query: &[(&str, String)],
    ) -> anyhow::Result<T> {
        let credentials = match &self.credentials {
            Some(credentials) => credentials.clone(),
            None => {
                let asked: BulkCredentials = self
                    .bus
                    .request(&catalogue::bulk_credentials(), &Empty, CREDENTIALS_TIMEOUT)
                    .await
                    .context("no controller tells how to read the desired state")?;
                self.credentials.insert(asked).clone()
            }
        };
        let Some(url) = credentials.yard_url else {
            bail!("the controller does not tell its address")
        };
        let mut response = self
            .http
            .get(format!("{}{path}", url.trim_end_matches('/')))
            .query(query)
            .basic_auth(&credentials.user, Some(&credentials.password))
            .send()
            .await
            .context("the bulk API does not answer")?;
        ensure!(
            response.status().is_success(),
            "the bulk API answers {}",
            response.status()
        );
        let mut bytes = Vec::new();
        while let Some(part) = response
            .chunk()
            .await
            .context("the bulk API's answer breaks off")?
        {
            ensure!(
                bytes.len() + part.len() <= MAX_PAGE_BYTES,
                "the bulk API answers with more than {MAX_PAGE_BYTES} bytes"
            );
            bytes.extend_from_slice(&part);
        }
        serde_json::from_slice(&bytes).context("the bulk API's answer makes no sense")
    }
}
