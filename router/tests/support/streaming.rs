//! Clients and instances of HTTP/2 whose bodies are sent piece by piece, as gRPC does.

use super::SOON;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

pub type Body = BoxBody<Bytes, Infallible>;
pub type Pieces = mpsc::Sender<Frame<Bytes>>;

/// A body and where its pieces are put in.
pub fn body() -> (Pieces, Body) {
    let (pieces, come) = mpsc::channel(1);
    let stream = futures_util::stream::unfold(come, |mut come: mpsc::Receiver<_>| async move {
        come.recv().await.map(|frame| (Ok(frame), come))
    });
    (pieces, BodyExt::boxed(StreamBody::new(stream)))
}

pub fn empty() -> Body {
    BodyExt::boxed(http_body_util::Empty::new())
}

pub fn full(text: impl Into<Bytes>) -> Body {
    BodyExt::boxed(http_body_util::Full::new(text.into()))
}

pub fn piece(text: &str) -> Frame<Bytes> {
    Frame::data(Bytes::copy_from_slice(text.as_bytes()))
}

pub fn trailers(status: &'static str) -> Frame<Bytes> {
    let mut map = HeaderMap::new();
    map.insert("grpc-status", http::HeaderValue::from_static(status));
    Frame::trailers(map)
}

/// The next piece of a body, in time.
pub async fn next(body: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
    tokio::time::timeout(SOON, body.frame())
        .await
        .expect("a piece in time")
}

pub async fn next_text(body: &mut Incoming) -> String {
    let frame = next(body).await.expect("not the end").expect("a piece");
    String::from_utf8(frame.into_data().expect("no trailers").to_vec()).unwrap()
}

pub async fn connect(address: SocketAddr) -> SendRequest<Body> {
    let socket = TcpStream::connect(address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
            .await
            .unwrap();
    tokio::spawn(connection);
    sender
}

pub fn post(host: &str, body: Body) -> Request<Body> {
    Request::post(format!("http://{host}/service/call"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap()
}

/// An instance that speaks HTTP/2 only.
pub struct Http2Backend {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Http2Backend {
    pub async fn start<F, Fut>(streams: u32, serve: F) -> Http2Backend
    where
        F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        let task = tokio::spawn(async move {
            let mut served = tokio::task::JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let serve = serve.clone();
                served.spawn(async move {
                    let service = service_fn(move |request| {
                        let answer = serve(request);
                        async move { Ok::<_, Infallible>(answer.await) }
                    });
                    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .max_concurrent_streams(streams)
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        });
        Http2Backend {
            address,
            connections,
            task,
        }
    }

    pub fn count(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Http2Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}
