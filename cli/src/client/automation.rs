//! The automation API: another host of the same cluster, the same login.
//!
//! `st2.<domain>` is reached where `api.<domain>` is: same scheme, port and router. Lists are plain
//! arrays whose whole length is in a header, events come as one stream that the server filters.

use super::sse::{Decoder, Event};
use super::{Client, Reply, names};
use crate::failure::{Failure, Outcome};
use crate::targets::Store;
use bytes::Bytes;
use futures_util::TryStreamExt;
use reqwest::{Method, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Longest upload of a pack.
const UPLOAD_WITHIN: Duration = Duration::from_secs(1800);
/// Pieces an upload is sent and counted in.
const PIECE: usize = 64 * 1024;

pub struct Automation {
    client: Client,
    /// `http://st2.yard.internal:8080`
    base: String,
}

/// The beginning of a list.
pub struct Listing<T> {
    pub resources: Vec<T>,
    /// How many there are; None where the server does not say.
    pub total: Option<usize>,
}

/// An open stream of events.
pub struct EventStream {
    response: Response,
    decoder: Decoder,
    waiting: VecDeque<Event>,
}

impl EventStream {
    /// The next event; None when the stream ended or broke. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            let chunk = self.response.chunk().await.ok()??;
            self.waiting.extend(self.decoder.push(&chunk));
        }
    }
}

impl Automation {
    /// Automation of the target in use.
    pub fn open(store: Store) -> Outcome<Automation> {
        Automation::of(Client::open(store)?)
    }

    pub fn of(client: Client) -> Outcome<Automation> {
        let base = names::beside_api(&client.target().api, "st2").ok_or_else(|| {
            Failure::usage(format!(
                "{} is no name like api.<domain>, so the name of its automation API is not known",
                client.target().api
            ))
            .fix("`yard login http://api.DOMAIN:PORT --connect ADDRESS`")
        })?;
        Ok(Automation { client, base })
    }

    /// The address that a client of StackStorm is given as ST2_BASE_URL.
    pub fn base(&self) -> &str {
        &self.base
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Outcome<T> {
        self.client
            .call(Method::GET, &self.url(path, query), |request| request)
            .await?
            .json(path)
    }

    pub async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Outcome<Listing<T>> {
        let response = self
            .client
            .exchange(Method::GET, &self.url(path, query), |request| {
                request.timeout(super::ANSWER_WITHIN)
            })
            .await?;
        let total = response
            .headers()
            .get("x-total-count")
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok());
        let reply = super::transport::read(response, &self.base).await?;
        Ok(Listing {
            resources: reply.json(path)?,
            total,
        })
    }

    pub async fn send<B: Serialize + ?Sized>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Outcome<Reply> {
        let body = serde_json::to_vec(body).map_err(|error| {
            Failure::failed(format!("write the request to {path}")).because(error)
        })?;
        self.client
            .call(method, &self.url(path, &[]), |request| {
                request
                    .header("content-type", "application/json")
                    .body(body.clone())
            })
            .await
    }

    pub async fn post<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Outcome<T> {
        self.send(Method::POST, path, body).await?.json(path)
    }

    pub async fn put<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Outcome<T> {
        self.send(Method::PUT, path, body).await?.json(path)
    }

    pub async fn delete(&self, path: &str, query: &[(&str, &str)]) -> Outcome<Reply> {
        self.client
            .call(Method::DELETE, &self.url(path, query), |request| request)
            .await
    }

    /// Text that is no JSON.
    pub async fn text(&self, path: &str, query: &[(&str, &str)]) -> Outcome<String> {
        let reply = self
            .client
            .call(Method::GET, &self.url(path, query), |request| {
                request.header("accept", "text/plain")
            })
            .await?;
        Ok(String::from_utf8_lossy(&reply.body).into_owned())
    }

    /// Sends a gzipped tar. `sent` is told each piece's bytes; a repeated attempt starts with
    /// `restart`.
    pub async fn upload<T: DeserializeOwned>(
        &self,
        path: &str,
        archive: Bytes,
        sent: Arc<dyn Fn(u64) + Send + Sync>,
        restart: impl Fn(),
    ) -> Outcome<T> {
        let response = self
            .client
            .exchange(Method::POST, &self.url(path, &[]), |request| {
                restart();
                let whole = archive.clone();
                let sent = sent.clone();
                let pieces = (0..whole.len()).step_by(PIECE).map(move |from| {
                    Ok::<Bytes, std::io::Error>(whole.slice(from..whole.len().min(from + PIECE)))
                });
                let pieces = futures_util::stream::iter(pieces)
                    .inspect_ok(move |piece| sent(piece.len() as u64));
                request
                    .header("content-type", "application/gzip")
                    .header("content-length", archive.len())
                    .body(reqwest::Body::wrap_stream(pieces))
                    .timeout(UPLOAD_WITHIN)
            })
            .await?;
        super::transport::read(response, &self.base)
            .await?
            .json(path)
    }

    /// Opens a stream below `/stream/v1`.
    pub async fn stream(&self, path: &str, query: &[(&str, &str)]) -> Outcome<EventStream> {
        let url = names::with_query(&format!("{}/stream/v1{path}", self.base), query);
        let response = self
            .client
            .exchange(Method::GET, &url, |request| {
                request.header("accept", "text/event-stream")
            })
            .await?;
        Ok(EventStream {
            response,
            decoder: Decoder::default(),
            waiting: VecDeque::new(),
        })
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> String {
        names::with_query(&format!("{}/api/v1{path}", self.base), query)
    }
}
