//! A server for a receiver.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::Receiver;

/// Open connections. Others wait in the queue of the listener.
const MAX_CONNECTIONS: usize = 1024;
/// The maximum size of the buffer of a connection, and so of the head of a request.
const MAX_BUFFER: usize = 16 * 1024;
/// The wait after the system refused to accept a connection, for instance because the process has
/// no file descriptor left.
const ACCEPT_BACKOFF: Duration = Duration::from_secs(1);

impl Receiver {
    /// Serves the receiver over plain HTTP/1.1, on any path, until `shutdown` is ready. Put a proxy
    /// in front of it for TLS.
    ///
    /// A connection serves one request. It is closed if its client does not send a complete head
    /// within the [time for an answer](super::ReceiverBuilder::answer_within). At most 1,024 are open.
    ///
    /// After `shutdown`, it accepts no connection, answers the requests in progress, and returns
    /// within twice that time, whatever its clients do.
    ///
    /// A panic of your function closes the connection, so the platform posts the event again.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let time = self.answer_within();
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(time).max_buf_size(MAX_BUFFER);
        // An idle connection could close just as a proxy reuses it, and a client that sends requests
        // and reads no answers would keep its connection forever.
        http.keep_alive(false);

        let graceful = GracefulShutdown::new();
        // Dropping it closes every connection.
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                    let stream = match accepted {
                        Ok((stream, _)) => stream,
                        Err(error) => {
                            tracing::warn!("the webhook cannot accept a connection: {error}");
                            tokio::time::sleep(ACCEPT_BACKOFF).await;
                            continue;
                        }
                    };
                    let receiver = self.clone();
                    let service = service_fn(move |request| {
                        let receiver = receiver.clone();
                        async move { Ok::<_, Infallible>(receiver.respond(request).await) }
                    });
                    let connection = http.serve_connection(TokioIo::new(stream), service);
                    connections.spawn(graceful.watch(connection));
                }
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
        drop(listener);
        if tokio::time::timeout(time * 2, graceful.shutdown()).await.is_err() {
            tracing::warn!("closed connections that were still open after the shutdown");
        }
    }
}
