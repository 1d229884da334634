//! Uploading an archive: a multipart body whose length is known, counted while it is sent; and getting one.

use super::{Client, Reply, names};
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Output, human, progress};
use futures_util::TryStreamExt;
use proto::api::{Package, Resource};
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::io::ReaderStream;

/// Longest upload.
const WITHIN: Duration = Duration::from_secs(2 * 3600);

/// The archive to send.
#[derive(Clone)]
pub struct Bits<'a> {
    pub archive: &'a Path,
    /// As the server reads it.
    pub name: &'a str,
    pub size: u64,
}

impl Client {
    /// `POST /v3/packages/:guid/upload`. `sent` is told each piece's bytes; a repeated attempt
    /// starts with `restart`.
    pub async fn upload(
        &self,
        package: &str,
        bits: Option<Bits<'_>>,
        matched: &[Resource],
        sent: Arc<dyn Fn(u64) + Send + Sync>,
        restart: impl Fn(),
    ) -> Outcome<Package> {
        let path = format!("/v3/packages/{package}/upload");
        let resources = serde_json::to_string(matched)
            .map_err(|error| Failure::failed("write the list of known files").because(error))?;
        let texts = [("resources", resources)];
        self.send_bits(&path, &texts, bits, sent, restart)
            .await?
            .json(&path)
    }

    /// Saves what is there as a file; gives its size. A file that is there is replaced by a whole one only.
    pub async fn download(&self, path: &str, file: &Path) -> Outcome<u64> {
        let url = names::with_query(&format!("{}{path}", self.target.api), &[]);
        let response = self
            .exchange(Method::GET, &url, |request| request.timeout(WITHIN))
            .await?;
        let cannot = |error| Failure::failed(format!("write {}", file.display())).because(error);
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut whole = tempfile::NamedTempFile::new_in(folder).map_err(cannot)?;
        let mut size = 0;
        let mut pieces = response.bytes_stream();
        while let Some(piece) = pieces.try_next().await.map_err(|error| {
            Failure::new(Code::Unreachable, "the download broke off").because(error)
        })? {
            whole.write_all(&piece).map_err(cannot)?;
            size += piece.len() as u64;
        }
        let kept = whole.persist(file);
        kept.map_err(|error| cannot(error.error))?;
        Ok(size)
    }

    /// Sends an archive alone, with a bar of what is sent, and waits until the cluster has taken it.
    pub async fn upload_alone(
        &self,
        out: &Output,
        path: &str,
        bits: Bits<'_>,
        within: Duration,
    ) -> Outcome {
        out.say(format!(
            "Uploading {} ({})",
            bits.name,
            human::bytes(bits.size)
        ))?;
        let bar = progress::upload_bar(out, bits.size);
        let (counted, restarted) = (bar.clone(), bar.clone());
        let sent: Arc<dyn Fn(u64) + Send + Sync> = Arc::new(move |bytes| counted.inc(bytes));
        let restart = move || restarted.set_position(0);
        let uploaded = self.send_bits(path, &[], Some(bits), sent, restart).await;
        bar.finish_and_clear();
        self.finish(&uploaded?, within).await.map(drop)
    }

    /// Sends an archive as the field `bits`, with these others.
    pub async fn send_bits(
        &self,
        path: &str,
        texts: &[(&'static str, String)],
        bits: Option<Bits<'_>>,
        sent: Arc<dyn Fn(u64) + Send + Sync>,
        restart: impl Fn(),
    ) -> Outcome<Reply> {
        let url = names::with_query(&format!("{}{path}", self.target.api), &[]);
        // Opened here, so that a file that cannot be read is not taken for a broken connection.
        if let Some(bits) = &bits {
            std::fs::File::open(bits.archive).map_err(|error| {
                Failure::failed(format!("read {}", bits.archive.display())).because(error)
            })?;
        }
        let response = self
            .exchange(Method::POST, &url, |request| {
                restart();
                let mut form = Form::new();
                for (name, text) in texts {
                    form = form.text(*name, text.clone());
                }
                if let Some(bits) = &bits {
                    form = form.part("bits", part(bits, sent.clone()));
                }
                request.multipart(form).timeout(WITHIN)
            })
            .await?;
        super::transport::read(response, &self.target.api).await
    }
}

fn part(bits: &Bits<'_>, sent: Arc<dyn Fn(u64) + Send + Sync>) -> Part {
    let archive = bits.archive.to_path_buf();
    let opened = futures_util::stream::once(async move { tokio::fs::File::open(archive).await });
    let pieces = opened
        .map_ok(|file| ReaderStream::with_capacity(file, 256 * 1024))
        .try_flatten()
        .inspect_ok(move |piece| sent(piece.len() as u64));
    Part::stream_with_length(reqwest::Body::wrap_stream(pieces), bits.size)
        .file_name(bits.name.to_string())
}
