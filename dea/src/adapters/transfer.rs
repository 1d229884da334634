//! Files from and to signed URLs: streamed, bounded, with checksums.
//!
//! A fetch whose connection fails, or breaks on the way, is begun again a few times within seconds (the controller may be
//! just restarting, or end while it serves), and so is one whose server says that it cannot now; everything else fails at once and is somebody's next round.

use super::chain;
use futures_util::StreamExt;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// Attempts to fetch, and the wait between them.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(750);
/// A transfer that stands still this long has failed.
const STALL: Duration = Duration::from_secs(30);
/// Longest transfer.
const LONGEST: Duration = Duration::from_secs(1800);

#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error("fetching {what} failed")]
    Fetch {
        what: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("fetching {what} was answered with status {status}")]
    FetchStatus { what: String, status: u16 },
    #[error("fetching {what} stood still for {STALL:?}")]
    Stalled { what: String },
    #[error("fetching {what} took longer than {LONGEST:?}")]
    TooSlow { what: String },
    #[error("{what} is larger than {most} bytes")]
    TooLarge { what: String, most: u64 },
    #[error("{what} arrived with another checksum: {expected} was promised, {found} came")]
    Checksum {
        what: String,
        expected: String,
        found: String,
    },
    #[error("storing {what} failed")]
    Upload {
        what: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("storing {what} was answered with status {status}")]
    UploadStatus { what: String, status: u16 },
    #[error("{operation} {} failed", path.display())]
    File {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("computing the checksum of {what} was cut short")]
    Interrupted { what: String },
}

/// A client for signed URLs and health checks: no proxy, no redirects.
pub fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(5))
        .pool_max_idle_per_host(4)
        .build()
}

/// Checksums a file must have; hex digits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expected {
    pub sha1: Option<String>,
    pub sha256: Option<String>,
}

/// What came of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    Stored,
    /// The server has no such thing (404).
    Absent,
}

/// Fetches `url` into the new file `to`. `what` names it in errors: an URL carries a signature and
/// must not be shown.
pub async fn fetch(
    web: &reqwest::Client,
    what: &str,
    url: &str,
    to: &Path,
    expected: &Expected,
    most: u64,
) -> Result<Fetched, TransferError> {
    let fetching = async {
        for _ in 1..ATTEMPTS {
            match fetch_once(web, what, url, to, expected, most).await {
                Err(error) if error.is_passing() => {
                    tracing::debug!(
                        what,
                        error = chain(&error),
                        "a fetch failed and is tried again"
                    );
                }
                outcome => return outcome,
            }
            tokio::time::sleep(PAUSE).await;
        }
        fetch_once(web, what, url, to, expected, most).await
    };
    match tokio::time::timeout(LONGEST, fetching).await {
        Ok(result) => result,
        Err(_) => Err(TransferError::TooSlow {
            what: what.to_string(),
        }),
    }
}

async fn fetch_once(
    web: &reqwest::Client,
    what: &str,
    url: &str,
    to: &Path,
    expected: &Expected,
    most: u64,
) -> Result<Fetched, TransferError> {
    let failed = |source: reqwest::Error| TransferError::Fetch {
        what: what.to_string(),
        source: source.without_url(),
    };
    let stalled = || TransferError::Stalled {
        what: what.to_string(),
    };
    let asked = tokio::time::timeout(STALL, web.get(url).send()).await;
    let answer = asked.map_err(|_| stalled())?.map_err(failed)?;
    let status = answer.status();
    if status == reqwest::StatusCode::NOT_FOUND {
        return Ok(Fetched::Absent);
    }
    if !status.is_success() {
        return Err(TransferError::FetchStatus {
            what: what.to_string(),
            status: status.as_u16(),
        });
    }
    let unwritten = |operation| {
        move |source| TransferError::File {
            operation,
            path: to.to_path_buf(),
            source,
        }
    };
    let mut file = tokio::fs::File::create(to)
        .await
        .map_err(unwritten("creating"))?;
    let (mut sha1, mut sha256, mut size) = (Sha1::new(), Sha256::new(), 0u64);
    let mut pieces = answer.bytes_stream();
    loop {
        let next = tokio::time::timeout(STALL, pieces.next()).await;
        let Some(piece) = next.map_err(|_| stalled())? else {
            break;
        };
        let piece = piece.map_err(failed)?;
        size += piece.len() as u64;
        if size > most {
            return Err(TransferError::TooLarge {
                what: what.to_string(),
                most,
            });
        }
        if expected.sha1.is_some() {
            sha1.update(&piece);
        }
        if expected.sha256.is_some() {
            sha256.update(&piece);
        }
        file.write_all(&piece).await.map_err(unwritten("writing"))?;
    }
    file.flush().await.map_err(unwritten("writing"))?;
    for (wanted, found) in [
        (&expected.sha1, hex(&sha1.finalize())),
        (&expected.sha256, hex(&sha256.finalize())),
    ] {
        if let Some(wanted) = wanted
            && !wanted.eq_ignore_ascii_case(&found)
        {
            return Err(TransferError::Checksum {
                what: what.to_string(),
                expected: wanted.clone(),
                found,
            });
        }
    }
    Ok(Fetched::Stored)
}

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    pub sha1: String,
    pub sha256: String,
    pub size: u64,
}

/// Reads a file through. Runs beside the caller, on a thread that may block.
pub async fn digest(what: &str, mut file: std::fs::File) -> Result<Digests, TransferError> {
    let path = PathBuf::from(what);
    let reading = tokio::task::spawn_blocking(move || -> std::io::Result<Digests> {
        let (mut sha1, mut sha256, mut size) = (Sha1::new(), Sha256::new(), 0u64);
        let mut piece = vec![0; 256 << 10];
        loop {
            let read = file.read(&mut piece)?;
            if read == 0 {
                break;
            }
            sha1.update(&piece[..read]);
            sha256.update(&piece[..read]);
            size += read as u64;
        }
        Ok(Digests {
            sha1: hex(&sha1.finalize()),
            sha256: hex(&sha256.finalize()),
            size,
        })
    });
    match reading.await {
        Ok(Ok(digests)) => Ok(digests),
        Ok(Err(source)) => Err(TransferError::File {
            operation: "reading",
            path,
            source,
        }),
        Err(_) => Err(TransferError::Interrupted {
            what: what.to_string(),
        }),
    }
}

/// Stores an open file under `url` with PUT.
pub async fn upload(
    web: &reqwest::Client,
    what: &str,
    file: std::fs::File,
    url: &str,
) -> Result<(), TransferError> {
    let path = PathBuf::from(what);
    let size = file
        .metadata()
        .map_err(|source| TransferError::File {
            operation: "reading",
            path,
            source,
        })?
        .len();
    let stream =
        tokio_util::io::ReaderStream::with_capacity(tokio::fs::File::from_std(file), 256 << 10);
    let sending = web
        .put(url)
        .header(reqwest::header::CONTENT_LENGTH, size)
        .header(reqwest::header::CONTENT_TYPE, "application/octet-stream")
        .timeout(LONGEST)
        .body(reqwest::Body::wrap_stream(stream))
        .send();
    let answer = sending.await.map_err(|source| TransferError::Upload {
        what: what.to_string(),
        source: source.without_url(),
    })?;
    if answer.status().is_success() {
        Ok(())
    } else {
        Err(TransferError::UploadStatus {
            what: what.to_string(),
            status: answer.status().as_u16(),
        })
    }
}

impl TransferError {
    /// Worth another try within seconds.
    pub fn is_passing(&self) -> bool {
        match self {
            TransferError::Fetch { .. } | TransferError::Upload { .. } => true,
            TransferError::FetchStatus { status, .. }
            | TransferError::UploadStatus { status, .. } => *status >= 500,
            _ => false,
        }
    }
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_reads_back() {
        assert_eq!(hex(&[0, 255, 16]), "00ff10");
        assert_eq!(unhex("00ff10"), Some(vec![0, 255, 16]));
        for text in ["0", "zz", "é0"] {
            assert_eq!(unhex(text), None);
        }
    }

    /// Serves a file, and first, so often, only its half.
    fn breaks(times: usize) -> String {
        use std::io::Write;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/x", listener.local_addr().expect("bound"));
        std::thread::spawn(move || {
            for (turn, stream) in listener.incoming().enumerate() {
                let Ok(mut stream) = stream else { return };
                let _ = stream.read(&mut [0; 1024]);
                let body = if turn < times { "abc" } else { "abcdef" };
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\n{body}"
                );
            }
        });
        url
    }

    async fn fetched(times: usize) -> (Result<Fetched, TransferError>, String) {
        let folder = tempfile::tempdir().expect("a folder");
        let to = folder.path().join("x");
        let expected = Expected {
            sha1: Some("1f8ac10f23c5b5bc1167bda84b833e5c057a77d2".to_string()),
            sha256: None,
        };
        let web = client().expect("a client");
        let outcome = fetch(&web, "x", &breaks(times), &to, &expected, 100).await;
        (outcome, std::fs::read_to_string(&to).unwrap_or_default())
    }

    #[tokio::test]
    async fn a_fetch_that_breaks_off_begins_again_but_not_for_ever() {
        let (outcome, content) = fetched(2).await;
        assert_eq!(outcome.expect("fetched"), Fetched::Stored);
        assert_eq!(content, "abcdef");
        let (outcome, _) = fetched(1000).await;
        assert!(matches!(outcome, Err(TransferError::Fetch { .. })));
    }

    #[tokio::test]
    async fn a_file_is_known_by_its_digests() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        std::fs::write(&path, "abc").expect("written");
        let digests = digest("x", std::fs::File::open(&path).expect("open"))
            .await
            .expect("read");
        assert_eq!(digests.sha1, "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(
            digests.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(digests.size, 3);
    }
}
