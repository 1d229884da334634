//! One health check of one instance, from outside its sandbox.

use crate::domain::probe::{APP_PORT, Check, CheckKind};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Checks once. The error is half a sentence for the app's owner.
pub async fn check(web: &reqwest::Client, check: &Check, address: Ipv4Addr) -> Result<(), String> {
    match &check.kind {
        CheckKind::Process => Ok(()),
        CheckKind::Port => {
            let connecting = TcpStream::connect(SocketAddr::from((address, APP_PORT)));
            match timeout(check.invocation_timeout, connecting).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(format!("port {APP_PORT}: {}", plain(&error))),
                Err(_) => Err(format!(
                    "port {APP_PORT}: no connection within {:?}",
                    check.invocation_timeout
                )),
            }
        }
        CheckKind::Http { path } => {
            let asking = web
                .get(format!("http://{address}:{APP_PORT}{path}"))
                .timeout(check.invocation_timeout)
                .send();
            match asking.await {
                Ok(answer) if answer.status() == reqwest::StatusCode::OK => Ok(()),
                Ok(answer) => Err(format!(
                    "GET {path} was answered with status {}",
                    answer.status().as_u16()
                )),
                Err(error) if error.is_timeout() => Err(format!(
                    "GET {path} was not answered within {:?}",
                    check.invocation_timeout
                )),
                Err(error) if error.is_connect() => {
                    Err(format!("port {APP_PORT}: connection refused"))
                }
                Err(error) => Err(format!("GET {path} failed: {}", super::chain(&error))),
            }
        }
    }
}

fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_string(),
        _ => error.to_string(),
    }
}
