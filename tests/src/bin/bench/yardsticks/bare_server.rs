//! A server of nothing but hyper, with hyper's defaults, as a process of its own: what a connection costs at the
//! least where hyper serves it.

use crate::router::process::Process;
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;

/// As an argument of this program: be that server, on the port that follows.
pub const ARGUMENT: &str = "bare-server";

pub fn start(port: u16, core: usize) -> anyhow::Result<Process> {
    let program = std::env::current_exe()?.display().to_string();
    Process::start(
        "a bare server",
        core,
        &program,
        &[ARGUMENT, &port.to_string()],
    )
}

/// Serves until it is killed.
pub fn serve(port: u16) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async move {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        let body = Bytes::from(vec![b'x'; 1024]);
        loop {
            let (socket, _) = listener.accept().await?;
            let body = body.clone();
            tokio::task::spawn_local(async move {
                let answer = service_fn(move |_| {
                    let body = Full::new(body.clone());
                    async move { Ok::<_, Infallible>(hyper::Response::new(body)) }
                });
                // A client that leaves is no failure.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), answer)
                    .await;
            });
        }
    })
}
