//! Whom the router believes that an instance is who its registration says.
//!
//! A folder of PEM files: certificates of authorities, any number to a file, and perhaps `client.pem`, a
//! private key and its chain, which the router shows to instances that ask who it is. It is read again when
//! a file changed; if what is there then is of no use, what was read before stays. Without a single
//! authority no instance is reached over TLS.
//!
//! The name that a certificate has to be valid for comes from the registration, not from the address: an
//! address that another app got meanwhile has another app's certificate.

use super::certificates::{Mark, keep_looking, marks};
use arc_swap::ArcSwapOption;
use daemon::Shutdown;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const CLIENT: &str = "client.pem";
const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("{file} cannot be read")]
    Read {
        file: String,
        source: std::io::Error,
    },
    #[error("{file} is not PEM: {source}")]
    Pem {
        file: String,
        source: rustls::pki_types::pem::Error,
    },
    #[error("{file} holds a certificate that is of no use: {source}")]
    Authority { file: String, source: rustls::Error },
    #[error("the router's own certificate is of no use: {0}")]
    Client(rustls::Error),
    #[error("TLS cannot be spoken: {0}")]
    Protocol(rustls::Error),
}

/// How instances are reached over TLS; by the protocols that are offered to them.
struct Connectors {
    http1: TlsConnector,
    both: TlsConnector,
}

/// The folder and what was last read from it.
pub struct Trust {
    folder: Option<PathBuf>,
    connectors: ArcSwapOption<Connectors>,
    /// For servers outside the cluster: made when one is spoken to.
    outside: ArcSwapOption<ClientConfig>,
    mark: Mutex<Option<Mark>>,
}

impl Trust {
    /// No folder is no TLS to instances.
    pub fn new(folder: Option<PathBuf>) -> Arc<Trust> {
        let trust = Arc::new(Trust {
            folder,
            connectors: ArcSwapOption::empty(),
            outside: ArcSwapOption::empty(),
            mark: Mutex::default(),
        });
        trust.look();
        trust
    }

    /// Whether instances can be reached over TLS.
    pub fn is_there(&self) -> bool {
        self.connectors.load().is_some()
    }

    /// Keeps looking until the daemon ends.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) -> anyhow::Result<()> {
        keep_looking(self, Trust::look, shutdown).await
    }

    /// Reads the folder again if anything in it changed.
    pub fn look(&self) {
        let Some(folder) = &self.folder else { return };
        let seen = marks(folder);
        let mut mark = self
            .mark
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if mark.as_ref() == Some(&seen) {
            return;
        }
        self.outside.store(None);
        match read(folder, seen.keys()) {
            Ok(connectors) => {
                tracing::info!(
                    tls = connectors.is_some(),
                    "whom instances are believed by was read"
                );
                self.connectors.store(connectors.map(Arc::new));
            }
            Err(error) => tracing::warn!(%error, "whom instances are believed by stays as it was"),
        }
        *mark = Some(seen);
    }

    /// Speaks TLS with the instance of this name. `None` without a single authority.
    pub async fn connect(
        &self,
        socket: TcpStream,
        name: ServerName<'static>,
        http2: bool,
    ) -> Option<std::io::Result<TlsStream<TcpStream>>> {
        let connectors = self.connectors.load_full()?;
        let connector = match http2 {
            true => &connectors.both,
            false => &connectors.http1,
        };
        Some(connector.connect(name, socket).await)
    }
}

impl Trust {
    /// Speaks TLS with a server outside: those that the machine believes say who it is, or those of the folder.
    pub async fn connect_outside(
        self: &Arc<Self>,
        socket: TcpStream,
        name: ServerName<'static>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let config = match self.outside.load_full() {
            Some(config) => config,
            None => {
                let trust = self.clone();
                let read = tokio::task::spawn_blocking(move || trust.read_outside()).await;
                let config = Arc::new(read.map_err(std::io::Error::other)??);
                self.outside.store(Some(config.clone()));
                config
            }
        };
        TlsConnector::from(config).connect(name, socket).await
    }

    fn read_outside(&self) -> std::io::Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        // What the machine has that is of no use is no reason to believe nobody.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(folder) = &self.folder {
            for file in marks(folder).keys().filter(|file| *file != CLIENT) {
                let text = std::fs::read(folder.join(file))?;
                roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&text).flatten());
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![HTTP1.to_vec()];
        Ok(config)
    }
}

/// Whether the two sides agreed on HTTP/2.
pub fn chose_http2(socket: &TlsStream<TcpStream>) -> bool {
    socket.get_ref().1.alpn_protocol() == Some(HTTP2)
}

/// The text of a file, and the certificates in it.
fn certificates_of(
    folder: &Path,
    file: &str,
) -> Result<(Vec<u8>, Vec<CertificateDer<'static>>), TrustError> {
    let text = std::fs::read(folder.join(file)).map_err(|source| TrustError::Read {
        file: file.to_string(),
        source,
    })?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TrustError::Pem {
            file: file.to_string(),
            source,
        })?;
    Ok((text, certificates))
}

/// Believes the authorities whose certificates are in a file.
pub(super) fn add_authorities(
    roots: &mut RootCertStore,
    folder: &Path,
    file: &str,
) -> Result<(), TrustError> {
    for certificate in certificates_of(folder, file)?.1 {
        roots
            .add(certificate)
            .map_err(|source| TrustError::Authority {
                file: file.to_string(),
                source,
            })?;
    }
    Ok(())
}

fn read<'a>(
    folder: &Path,
    files: impl Iterator<Item = &'a String>,
) -> Result<Option<Connectors>, TrustError> {
    let mut roots = RootCertStore::empty();
    let mut own = None;
    for file in files {
        if file != CLIENT {
            add_authorities(&mut roots, folder, file)?;
            continue;
        }
        let (text, certificates) = certificates_of(folder, file)?;
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|source| TrustError::Pem {
            file: file.clone(),
            source,
        })?;
        own = Some((certificates, key));
    }
    if roots.is_empty() {
        return Ok(None);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TrustError::Protocol)?
        .with_root_certificates(roots);
    let mut http1 = match own {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(TrustError::Client)?,
        None => builder.with_no_client_auth(),
    };
    http1.alpn_protocols = vec![HTTP1.to_vec()];
    let mut both = http1.clone();
    both.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
    Ok(Some(Connectors {
        http1: TlsConnector::from(Arc::new(http1)),
        both: TlsConnector::from(Arc::new(both)),
    }))
}
