//! Packages, droplets, caches and single files: big, immutable, addressed by checksum.
//!
//! ```text
//!   packages/<sha256>   droplets/<sha256>   resources/<sha1>   caches/<app>-<stack>.tgz
//!   uploads/<build>/droplet.tgz      what a staging sent, until its result is committed
//!   incoming/<random>                half an upload; never given to anybody
//! ```
//!
//! Agents get and put blobs by signed URLs ([`Blobs::url`]); they hold no credentials. What is put is
//! written under `incoming/` and moved to its place when complete, so that a broken upload is
//! never seen. On a file system the move is a rename.

mod receive;
mod sign;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use http::Method;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Location;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};
use sha1::Digest as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use receive::{ReceiveError, receive};

/// Longest wait for the next piece of an upload.
const PIECE: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("{0:?} is no key of a blob")]
    Key(String),
    #[error("{operation} the blob {key}")]
    Store {
        operation: &'static str,
        key: String,
        #[source]
        source: object_store::Error,
    },
    #[error("reading a file for the blob {key}")]
    File {
        key: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the upload of {key} broke off")]
    BrokenOff { key: String },
    #[error("the upload of {key} is larger than {limit} bytes")]
    TooLarge { key: String, limit: u64 },
}

/// What was received, by its hex digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    pub sha1: String,
    pub sha256: String,
    pub size_bytes: u64,
}

/// The blob store. Cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    store: Arc<LocalFileSystem>,
    /// Where half uploads are.
    incoming: Arc<Path>,
    /// Key of the signatures.
    secret: Arc<[u8]>,
    /// `http://host:port` under which agents reach this controller.
    base: Arc<str>,
}

impl Blobs {
    /// Opens (and makes) the store in `folder`. Another controller may be at work in it.
    pub fn open(folder: &Path, secret: &[u8], advertise: &str) -> Result<Blobs, BlobError> {
        let failed = |source| BlobError::File {
            key: folder.display().to_string(),
            source,
        };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let store =
            LocalFileSystem::new_with_prefix(folder).map_err(|source| BlobError::Store {
                operation: "open",
                key: folder.display().to_string(),
                source,
            })?;
        Ok(Blobs {
            incoming: folder.join("incoming").into(),
            store: Arc::new(store),
            secret: secret.into(),
            base: format!("http://{advertise}").into(),
        })
    }

    /// A URL that lets its holder GET or PUT one blob until `expires` (Unix seconds).
    pub fn url(&self, method: &Method, key: &str, expires: i64) -> String {
        let signature = sign::signature(&self.secret, method.as_str(), key, expires);
        format!(
            "{}/internal/blobs/{key}?expires={expires}&method={method}&signature={signature}",
            self.base
        )
    }

    /// Whether such a URL is genuine and not expired.
    pub fn permits(
        &self,
        method: &Method,
        key: &str,
        expires: i64,
        signature: &str,
        unix_now: i64,
    ) -> bool {
        expires >= unix_now && sign::matches(&self.secret, method.as_str(), key, expires, signature)
    }

    /// Size and content, or None where there is none.
    pub async fn get(
        &self,
        key: &str,
    ) -> Result<
        Option<(
            u64,
            impl Stream<Item = Result<Bytes, object_store::Error>> + Send + 'static,
        )>,
        BlobError,
    > {
        match self.store.get(&location(key)?).await {
            Ok(result) => Ok(Some((result.meta.size, result.into_stream()))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(BlobError::Store {
                operation: "get",
                key: key.into(),
                source,
            }),
        }
    }

    /// Its size, or None where there is none.
    pub async fn size(&self, key: &str) -> Result<Option<u64>, BlobError> {
        match self.store.head(&location(key)?).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(BlobError::Store {
                operation: "look for",
                key: key.into(),
                source,
            }),
        }
    }

    /// Stores what the stream gives, at most `limit` bytes.
    pub async fn put<E>(
        &self,
        key: &str,
        stream: impl Stream<Item = Result<Bytes, E>> + Send,
        limit: u64,
    ) -> Result<Digests, BlobError> {
        let target = location(key)?;
        let incoming = Location::from(format!("incoming/{}", uuid::Uuid::new_v4().simple()));
        let failed = |operation: &'static str| {
            let key = key.to_string();
            move |source| BlobError::Store {
                operation,
                key: key.clone(),
                source,
            }
        };
        let upload = self
            .store
            .put_multipart(&incoming)
            .await
            .map_err(failed("begin to put"))?;
        let mut writer = WriteMultipart::new(upload);
        let received = self.pump(key, stream, limit, &mut writer).await;
        match received {
            Ok(digests) => {
                writer.finish().await.map_err(failed("put"))?;
                self.store
                    .rename(&incoming, &target)
                    .await
                    .map_err(failed("put into place"))?;
                Ok(digests)
            }
            Err(error) => {
                if let Err(cause) = writer.abort().await {
                    tracing::debug!(
                        error = &cause as &dyn std::error::Error,
                        "a broken upload was not cleaned at once"
                    );
                }
                Err(error)
            }
        }
    }

    async fn pump<E>(
        &self,
        key: &str,
        stream: impl Stream<Item = Result<Bytes, E>> + Send,
        limit: u64,
        writer: &mut WriteMultipart,
    ) -> Result<Digests, BlobError> {
        let mut stream = std::pin::pin!(stream);
        let (mut sha1, mut sha256, mut size_bytes) =
            (sha1::Sha1::new(), sha2::Sha256::new(), 0_u64);
        loop {
            let next = tokio::time::timeout(PIECE, stream.next()).await;
            let piece = match next {
                Ok(Some(Ok(piece))) => piece,
                Ok(None) => break,
                Ok(Some(Err(_))) | Err(_) => return Err(BlobError::BrokenOff { key: key.into() }),
            };
            size_bytes += piece.len() as u64;
            if size_bytes > limit {
                return Err(BlobError::TooLarge {
                    key: key.into(),
                    limit,
                });
            }
            sha1.update(&piece);
            sha256.update(&piece);
            writer
                .wait_for_capacity(4)
                .await
                .map_err(|source| BlobError::Store {
                    operation: "put",
                    key: key.into(),
                    source,
                })?;
            writer.put(piece);
        }
        Ok(Digests {
            sha1: hex(&sha1.finalize()),
            sha256: hex(&sha256.finalize()),
            size_bytes,
        })
    }

    /// Stores a file.
    pub async fn put_file(&self, key: &str, path: &Path) -> Result<Digests, BlobError> {
        let file = tokio::fs::File::open(path)
            .await
            .map_err(|source| BlobError::File {
                key: key.into(),
                source,
            })?;
        self.put(
            key,
            tokio_util::io::ReaderStream::with_capacity(file, 256 * 1024),
            u64::MAX,
        )
        .await
    }

    /// Stores a file under the key that its checksum (SHA-256) has. Under a name of its own first: the checksum is
    /// known only when it was read.
    pub async fn keep_file(
        &self,
        path: &Path,
        key: impl FnOnce(&str) -> String,
    ) -> Result<Digests, BlobError> {
        let incoming = format!("uploads/file-{}", uuid::Uuid::new_v4());
        let digests = self.put_file(&incoming, path).await?;
        self.rename(&incoming, &key(&digests.sha256)).await?;
        Ok(digests)
    }

    /// Copies a blob into a file.
    pub async fn fetch(&self, key: &str, path: &Path) -> Result<bool, BlobError> {
        let Some((_, stream)) = self.get(key).await? else {
            return Ok(false);
        };
        let file = |source| BlobError::File {
            key: key.into(),
            source,
        };
        let mut target = tokio::fs::File::create(path).await.map_err(file)?;
        let mut reader = tokio_util::io::StreamReader::new(stream.map_err(std::io::Error::other));
        tokio::io::copy(&mut reader, &mut target)
            .await
            .map_err(file)?;
        tokio::io::AsyncWriteExt::flush(&mut target)
            .await
            .map_err(file)?;
        Ok(true)
    }

    /// Moves a blob to another key, over what is there.
    pub async fn rename(&self, from: &str, to: &str) -> Result<(), BlobError> {
        self.store
            .rename(&location(from)?, &location(to)?)
            .await
            .map_err(|source| BlobError::Store {
                operation: "move",
                key: from.into(),
                source,
            })
    }

    /// Whether it was there.
    pub async fn delete(&self, key: &str) -> Result<bool, BlobError> {
        match self.store.delete(&location(key)?).await {
            Ok(()) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(BlobError::Store {
                operation: "delete",
                key: key.into(),
                source,
            }),
        }
    }

    /// Removes half uploads that nobody has added to for so long: whoever received them has died. The store
    /// does not list them, because they are none of its objects yet.
    pub async fn remove_broken_off(&self, untouched: Duration) -> Result<usize, BlobError> {
        let folder = self.incoming.clone();
        let failed = |source| BlobError::File {
            key: "incoming".into(),
            source,
        };
        let removing = tokio::task::spawn_blocking(move || remove_untouched(&folder, untouched));
        let removed = removing.await.map_err(std::io::Error::other);
        removed.and_then(|removed| removed).map_err(failed)
    }

    /// Keys under a prefix with the time of their last change (Unix seconds).
    pub async fn list(&self, prefix: &str) -> Result<Vec<(String, i64)>, BlobError> {
        let failed = |source| BlobError::Store {
            operation: "list",
            key: prefix.into(),
            source,
        };
        self.store
            .list(Some(&location(prefix)?))
            .map_ok(|meta| (meta.location.to_string(), meta.last_modified.timestamp()))
            .try_collect()
            .await
            .map_err(failed)
    }
}

fn remove_untouched(folder: &Path, untouched: Duration) -> std::io::Result<usize> {
    let gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    let entries = match std::fs::read_dir(folder) {
        Err(error) if gone(&error) => return Ok(0),
        entries => entries?,
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry?;
        // A clock that went back makes a file of the future: that one is young.
        let age = entry.metadata().and_then(|metadata| metadata.modified());
        let age = age.map(|changed| changed.elapsed().unwrap_or_default());
        match age {
            Ok(age) if age > untouched => match std::fs::remove_file(entry.path()) {
                Err(error) if !gone(&error) => return Err(error),
                Err(_) => {}
                Ok(()) => removed += 1,
            },
            Err(error) if !gone(&error) => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(removed)
}

/// Only keys we could have written: no dot first, no empty part, few characters.
fn location(key: &str) -> Result<Location, BlobError> {
    let fine = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    if key.len() <= 512 && key.split('/').all(fine) {
        Ok(Location::from(key))
    } else {
        Err(BlobError::Key(key.chars().take(80).collect()))
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(
        parts: &[&'static [u8]],
    ) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + use<> {
        futures_util::stream::iter(
            parts
                .iter()
                .map(|part| Ok(Bytes::from_static(part)))
                .collect::<Vec<_>>(),
        )
    }

    fn open(folder: &Path) -> Blobs {
        Blobs::open(folder, b"secret", "127.0.0.1:1").unwrap()
    }

    #[tokio::test]
    async fn what_is_put_can_be_got_moved_and_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = open(folder.path());
        let digests = blobs
            .put("uploads/b1/droplet.tgz", pieces(&[b"ab", b"c"]), 10)
            .await
            .unwrap();
        assert_eq!(digests.sha1, "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(digests.size_bytes, 3);
        let place = format!("droplets/{}", digests.sha256);
        blobs
            .rename("uploads/b1/droplet.tgz", &place)
            .await
            .unwrap();
        assert_eq!(blobs.size("uploads/b1/droplet.tgz").await.unwrap(), None);
        let (size, stream) = blobs.get(&place).await.unwrap().unwrap();
        let parts: Vec<Bytes> = stream.try_collect().await.unwrap();
        assert_eq!((size, parts.concat().as_slice()), (3, b"abc".as_slice()));
        assert_eq!(blobs.list("droplets").await.unwrap().len(), 1);
        assert!(blobs.delete(&place).await.unwrap());
        assert!(!blobs.delete(&place).await.unwrap());
    }

    #[tokio::test]
    async fn a_broken_or_large_upload_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = open(folder.path());
        assert!(matches!(
            blobs.put("caches/a.tgz", pieces(&[b"abcdef"]), 5).await,
            Err(BlobError::TooLarge { .. })
        ));
        let broken = pieces(&[b"ab"]).chain(futures_util::stream::iter([Err(
            std::io::Error::other("gone"),
        )]));
        assert!(matches!(
            blobs.put("caches/a.tgz", broken, 5).await,
            Err(BlobError::BrokenOff { .. })
        ));
        assert_eq!(blobs.size("caches/a.tgz").await.unwrap(), None);
        assert!(blobs.list("incoming").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn half_uploads_of_the_dead_are_removed_and_those_of_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = open(folder.path());
        let incoming = folder.path().join("incoming");
        std::fs::create_dir_all(&incoming).unwrap();
        for (name, age) in [("dead#1", 7200), ("alive#1", 10)] {
            let file = std::fs::File::create(incoming.join(name)).unwrap();
            let changed = std::time::SystemTime::now() - Duration::from_secs(age);
            file.set_modified(changed).unwrap();
        }
        let another = open(folder.path());
        assert!(
            incoming.join("alive#1").exists(),
            "it is received elsewhere"
        );
        let hour = Duration::from_secs(3600);
        assert_eq!(another.remove_broken_off(hour).await.unwrap(), 1);
        assert!(!incoming.join("dead#1").exists() && incoming.join("alive#1").exists());
        assert_eq!(blobs.remove_broken_off(hour).await.unwrap(), 0);
    }

    #[test]
    fn a_key_cannot_leave_the_store() {
        for key in [
            "../x",
            "a/../b",
            "/etc/passwd",
            "",
            "a//b",
            "a/.hidden",
            "a\\b",
            "a b",
        ] {
            assert!(location(key).is_err(), "{key}");
        }
        assert!(location("caches/6b6a-host.tgz").is_ok());
    }

    #[test]
    fn a_url_opens_one_blob_one_way_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = open(folder.path());
        let url = blobs.url(&Method::GET, "droplets/abc", 100);
        let signature = url.rsplit("signature=").next().unwrap().to_string();
        assert!(url.starts_with(
            "http://127.0.0.1:1/internal/blobs/droplets/abc?expires=100&method=GET&signature="
        ));
        assert!(blobs.permits(&Method::GET, "droplets/abc", 100, &signature, 99));
        assert!(!blobs.permits(&Method::GET, "droplets/abc", 100, &signature, 101));
        assert!(!blobs.permits(&Method::PUT, "droplets/abc", 100, &signature, 99));
        assert!(!blobs.permits(&Method::GET, "droplets/abd", 100, &signature, 99));
        assert!(!blobs.permits(&Method::GET, "droplets/abc", 200, &signature, 99));
        assert!(!blobs.permits(&Method::GET, "droplets/abc", 100, "00", 99));
    }
}
