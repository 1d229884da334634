//! What a gate and a link speak: TLS 1.3, in it one JSON line each way ([`proto::join`]), then whatever a service speaks.
//!
//! The gate's certificate signs itself. Nobody who connects asks an authority: the token brought its fingerprint.

use std::io;
use std::net::{IpAddr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nix::sys::socket::{setsockopt, sockopt};
use proto::join::LONGEST_LINE;
use ring::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring as crypto};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::files;

/// A machine that vanished without a word is noticed within about this time.
const SILENCE: Duration = Duration::from_secs(20);
/// The same in steps: silence after which the other side is asked, how often, and how many times.
const KEEPALIVE_S: (u32, u32, u32) = (8, 4, 3);

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 in hex.
pub fn digest_of(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// A gate's certificate and what is needed to serve with it.
pub struct Served {
    pub acceptor: TlsAcceptor,
    pub fingerprint: String,
}

/// Reads the certificate, or makes it: once, because tokens and joined machines know it by its fingerprint.
pub fn served(file: &Path) -> anyhow::Result<Served> {
    let pem = files::once(file, || {
        // A key of our own making for a name that nobody asks for.
        rcgen::generate_simple_self_signed(vec!["gate.stackyard".to_string()])
            .map(|made| format!("{}{}", made.signing_key.serialize_pem(), made.cert.pem()))
            .unwrap_or_default()
    })?;
    let damaged = || format!("{} holds no certificate with its key", file.display());
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).with_context(damaged)?;
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).with_context(damaged)?;
    let fingerprint = digest_of(&certificate);
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("TLS 1.3 cannot be spoken")?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .with_context(damaged)?;
    Ok(Served {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        fingerprint,
    })
}

/// Speaks only with the gate of that fingerprint.
pub fn connector(fingerprint: &str) -> anyhow::Result<TlsConnector> {
    let provider = provider();
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("TLS 1.3 cannot be spoken")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned {
            fingerprint: fingerprint.to_string(),
            provider,
        }))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

pub fn server_name(gate: SocketAddrV4) -> ServerName<'static> {
    ServerName::IpAddress(IpAddr::V4(*gate.ip()).into())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(crypto::default_provider())
}

/// Believes one certificate, whatever is written in it, if its owner has the key.
#[derive(Debug)]
struct Pinned {
    fingerprint: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if digest_of(certificate) == self.fingerprint {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::InvalidCertificate(
            rustls::CertificateError::ApplicationVerificationFailure,
        ))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken".to_string()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Small writes go at once, and a machine that vanished is noticed.
pub fn tune(stream: &TcpStream) -> io::Result<()> {
    let (idle, every, times) = KEEPALIVE_S;
    let silence = u32::try_from(SILENCE.as_millis()).unwrap_or(u32::MAX);
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &idle)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &every)?;
    setsockopt(stream, sockopt::TcpKeepCount, &times)?;
    Ok(setsockopt(stream, sockopt::TcpUserTimeout, &silence)?)
}

/// Reads a line byte by byte: what follows it may be a service's already.
pub async fn read<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let mut line = Vec::new();
    loop {
        let byte = stream.read_u8().await?;
        if byte == b'\n' {
            return serde_json::from_slice(&line).map_err(io::Error::other);
        }
        if line.len() as u64 >= LONGEST_LINE {
            return Err(io::Error::other("the line is too long"));
        }
        line.push(byte);
    }
}

pub async fn write<T: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(message).map_err(io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    async fn handshake(served: Served, fingerprint: &str) -> io::Result<String> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let serving = async {
            let (stream, _) = listener.accept().await?;
            let mut stream = served.acceptor.accept(stream).await?;
            let line: String = read(&mut stream).await?;
            write(&mut stream, &line).await
        };
        let asking = async {
            let stream = TcpStream::connect(address).await?;
            tune(&stream)?;
            let name = server_name(SocketAddrV4::new(Ipv4Addr::LOCALHOST, address.port()));
            let connector = connector(fingerprint).map_err(io::Error::other)?;
            let mut stream = connector.connect(name, stream).await?;
            write(&mut stream, &"a line").await?;
            read::<String>(&mut stream).await
        };
        let (_, asked) = tokio::join!(serving, asking);
        asked
    }

    #[tokio::test]
    async fn only_the_gate_of_the_fingerprint_is_spoken_with() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("gate.pem");
        let first = served(&file).expect("a certificate");
        let fingerprint = first.fingerprint.clone();
        let told = handshake(first, &fingerprint).await.expect("an answer");
        assert_eq!(told, "a line");
        let again = served(&file).expect("the same certificate");
        assert_eq!(again.fingerprint, fingerprint);
        let other = served(&folder.path().join("other.pem")).expect("another");
        assert!(handshake(other, &fingerprint).await.is_err());
    }
}
