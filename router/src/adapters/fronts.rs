//! A thread for each core, each with a runtime, clients and connections to instances of its own.
//!
//! A request is a conversation of two tasks: the client's connection and the instance's. Where threads share a runtime,
//! tasks change places between them, and most wakings are a lock, often a call into the kernel. Here both tasks stay
//! in the thread that accepted the client. All threads accept from the same sockets: whoever is idle comes first.

use super::proxy::Worker;
use super::server::{self, Entrance, Tls};
use anyhow::Context;
use daemon::{Policy, Shutdown, Supervisor};
use std::future::Future;
use std::net::TcpListener;
use std::sync::Arc;
use tokio::sync::oneshot;

/// An open socket for clients, which any thread can accept from.
pub struct FrontSocket {
    pub name: &'static str,
    pub listener: TcpListener,
    /// For clients that speak TLS.
    pub tls: Option<Tls>,
}

impl FrontSocket {
    /// The same socket in the runtime of whoever calls.
    fn open(&self) -> anyhow::Result<Entrance> {
        let listener = self.listener.try_clone().and_then(|listener| {
            listener.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(listener)
        });
        let listener =
            listener.with_context(|| format!("the {} cannot be accepted from", self.name))?;
        Ok(Entrance {
            listener: Arc::new(listener),
            tls: self.tls.clone(),
        })
    }
}

/// Accepts as each of the workers, in a thread of its own, once `ready` says so.
pub fn start<F>(
    tasks: &Supervisor,
    sockets: Vec<FrontSocket>,
    workers: Vec<Arc<Worker>>,
    ready: impl Fn(Shutdown) -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let sockets = Arc::new(sockets);
    for (number, worker) in workers.into_iter().enumerate() {
        let (sockets, ready, supervisor) = (sockets.clone(), ready.clone(), tasks.clone());
        tasks.spawn("front", Policy::Critical, move |_| {
            let (sockets, worker) = (sockets.clone(), worker.clone());
            // Not the task's own: what is accepted is waited for one by one, this task ends with the last of them.
            let shutdown = supervisor.shutdown();
            let ready = ready(shutdown.clone());
            async move {
                ready.await;
                let (tell, ended) = oneshot::channel();
                std::thread::Builder::new()
                    .name(format!("front-{number}"))
                    .spawn(move || {
                        // Nobody to tell: the daemon has gone on to its end.
                        let _ = tell.send(run(&sockets, &worker, shutdown));
                    })
                    .context("a thread for clients cannot be started")?;
                ended.await.context("a thread for clients panicked")?
            }
        });
    }
}

fn run(sockets: &[FrontSocket], worker: &Arc<Worker>, shutdown: Shutdown) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("a runtime for clients cannot be started")?;
    let served = runtime.block_on(async {
        let entrances = sockets.iter().map(FrontSocket::open);
        let entrances: Vec<Entrance> = entrances.collect::<anyhow::Result<_>>()?;
        let accepting = entrances
            .into_iter()
            .map(|entrance| server::accept(entrance, worker.clone(), shutdown.clone()));
        futures_util::future::try_join_all(accepting).await?;
        // Those who are served have as long as the daemon gives them.
        shutdown.cancelled().await;
        Ok(())
    });
    // (Its end does not wait for a slow name lookup.)
    runtime.shutdown_background();
    served
}
