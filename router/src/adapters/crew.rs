//! What hyper wants run beside an HTTP/2 connection (its streams), kept with the connection.
//!
//! They are polled by the connection's own task: no lock that all connections share, and when the
//! connection goes, whatever way, nothing of it is left behind.

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use hyper::rt::Executor;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

/// Where hyper puts what is to be run.
#[derive(Clone, Default)]
pub struct Inbox(Arc<Mutex<Vec<BoxFuture<'static, ()>>>>);

impl<F> Executor<F> for Inbox
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.content().push(Box::pin(future));
    }
}

impl Inbox {
    fn content(&self) -> std::sync::MutexGuard<'_, Vec<BoxFuture<'static, ()>>> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn take(&self) -> Vec<BoxFuture<'static, ()>> {
        std::mem::take(&mut *self.content())
    }

    fn is_empty(&self) -> bool {
        self.content().is_empty()
    }
}

/// Drives a connection and its streams.
pub struct Crew<C: Future> {
    connection: C,
    /// How the connection ended, while its streams go on.
    ended: Option<C::Output>,
    inbox: Inbox,
    working: FuturesUnordered<BoxFuture<'static, ()>>,
    outlast: bool,
}

impl<C: Future> Crew<C> {
    /// `connection` was made with this inbox. Its end is that of its streams, too: a client that has gone.
    pub fn new(connection: C, inbox: Inbox) -> Crew<C> {
        Crew {
            connection,
            ended: None,
            inbox,
            working: FuturesUnordered::new(),
            outlast: false,
        }
    }

    /// The same where the streams go on when nothing new can begin: what hyper calls the connection to a
    /// server ends with its last sender, or when the server says that it wants no more.
    pub fn outlasting(connection: C, inbox: Inbox) -> Crew<C> {
        let mut crew = Crew::new(connection, inbox);
        crew.outlast = true;
        crew
    }

    pub fn connection(&mut self) -> &mut C {
        &mut self.connection
    }

    fn work(&mut self, cx: &mut Context<'_>) {
        loop {
            self.working.extend(self.inbox.take());
            while let Poll::Ready(Some(())) = self.working.poll_next_unpin(cx) {}
            // It wakes nobody: it is only filled by what is polled here.
            if self.inbox.is_empty() {
                return;
            }
        }
    }
}

/// What hyper wants run holds the inbox it is put in: left there, each would keep the other for ever, and with it the
/// client's place. A connection that ends in the poll in which a stream begins leaves one.
impl<C: Future> Drop for Crew<C> {
    fn drop(&mut self) {
        while !self.inbox.is_empty() {
            drop(self.inbox.take());
        }
    }
}

impl<C> Future for Crew<C>
where
    C: Future<Output: Unpin> + Unpin,
{
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = self.get_mut();
        if this.ended.is_none()
            && let Poll::Ready(ended) = Pin::new(&mut this.connection).poll(cx)
        {
            if !this.outlast {
                return Poll::Ready(ended);
            }
            this.ended = Some(ended);
        }
        this.work(cx);
        if this.working.is_empty()
            && let Some(ended) = this.ended.take()
        {
            return Poll::Ready(ended);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_put_in_while_running_runs_too_and_ends_with_the_connection() {
        let inbox = Inbox::default();
        let (told, heard) = tokio::sync::oneshot::channel::<u8>();
        let (kept, alive) = tokio::sync::oneshot::channel::<u8>();
        let again = inbox.clone();
        inbox.execute(async move {
            again.execute(async move {
                let _ = told.send(7);
            });
            again.execute(async move {
                let _kept = kept;
                std::future::pending::<()>().await;
            });
        });
        let connection = Box::pin(async move { heard.await.unwrap() });
        assert_eq!(Crew::new(connection, inbox).await, 7);
        assert!(alive.await.is_err(), "dropped with the connection");
    }

    #[tokio::test]
    async fn what_is_put_in_at_the_very_end_is_dropped_with_the_connection() {
        let inbox = Inbox::default();
        let (kept, alive) = tokio::sync::oneshot::channel::<u8>();
        let (last, held) = (inbox.clone(), inbox.clone());
        let connection = Box::pin(async move {
            last.execute(async move {
                let _kept = (kept, held);
                std::future::pending::<()>().await;
            });
        });
        Crew::new(connection, inbox).await;
        assert!(alive.await.is_err(), "nobody holds it");
    }

    #[tokio::test]
    async fn streams_to_a_server_go_on_when_it_wants_no_more() {
        let inbox = Inbox::default();
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let (told, mut heard) = tokio::sync::oneshot::channel::<u8>();
        inbox.execute(async move {
            let _ = wait.await;
            let _ = told.send(7);
        });
        let mut crew = Crew::outlasting(std::future::ready(3), inbox);
        let pending =
            std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut crew).poll(cx).is_pending()));
        assert!(pending.await);
        go.send(()).unwrap();
        assert_eq!(crew.await, 3);
        assert_eq!(heard.try_recv(), Ok(7));
    }
}
