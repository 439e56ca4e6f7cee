//! An HTTP service that passes events to a function.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::{Event, EventError, MAX_EVENT_BYTES, Webhook};
use crate::redact::printable;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Handler = dyn Fn(Posted) -> BoxFuture<Result<(), String>> + Send + Sync;

/// Receives what the platform posts to a webhook, and passes each event to your function. Feature
/// `receiver`.
///
/// [`serve`](Self::serve) is a complete server. To mount the receiver in a server of your own, use
/// it as a [`tower::Service`](https://docs.rs/tower/latest/tower/trait.Service.html) of HTTP
/// requests, in axum with `route_service`. It accepts any path. Cloning it is cheap, and clones
/// share their limits.
///
/// ```no_run
/// use lon_batch::receipt::{Posted, Receiver, Webhook};
/// use tokio::net::TcpListener;
///
/// # async fn store(_: Posted) -> std::io::Result<()> { Ok(()) }
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let webhook = Webhook::new(std::env::var("LON_WEBHOOK_AUTHORIZATION")?)?;
/// // Your own function stores the event.
/// let receiver = Receiver::new(webhook, |posted| store(posted));
///
/// let listener = TcpListener::bind("127.0.0.1:8080").await?;
/// let stop = async { _ = tokio::signal::ctrl_c().await };
/// receiver.serve(listener, stop).await;
/// # Ok(())
/// # }
/// ```
///
/// # Answers
/// | status | when |
/// |---|---|
/// | 200 | your function returned `Ok` |
/// | 400 | the body is not JSON |
/// | 401 | the `Authorization` value is missing or wrong |
/// | 405 | the method is not POST |
/// | 408 | the body did not arrive in half of the [time for an answer](ReceiverBuilder::answer_within) |
/// | 413 | the body is larger than [`MAX_EVENT_BYTES`] |
/// | 500 | your function returned an error |
/// | 503 | your function did not return in time, or [too many requests](ReceiverBuilder::max_concurrent) are in progress |
///
/// After any answer but 200, the platform posts the event again, up to four times in about two
/// minutes. So an event is acknowledged only after your function stored it, and no restart loses an
/// acknowledged event.
///
/// # Your function
/// It should store the event and return. It can see the same event several times; a
/// [`History`](super::History) counts it once. On timeout, or if the connection is lost, its future
/// is dropped at an `await`, and the platform posts the event again: use a transaction, or
/// `tokio::spawn` what must not be interrupted. JSON that is not an event reaches your function as an
/// error, because posting it again would not help.
///
/// # Logs
/// It logs every answer but 200 as a warning (`tracing`), without phone numbers, at most one line
/// per status and second. The next line says how many were omitted. It also warns of posts that it
/// answers with 200 but that contain no usable event: JSON that is not an event, and the old format.
#[derive(Clone)]
pub struct Receiver {
    inner: Arc<Inner>,
}

struct Inner {
    webhook: Webhook,
    answer_within: Duration,
    free: Semaphore,
    log: Log,
    handler: Box<Handler>,
}

/// Settings of a [`Receiver`].
#[derive(Debug)]
pub struct ReceiverBuilder {
    webhook: Webhook,
    answer_within: Duration,
    max_concurrent: usize,
}

/// A post to a [`Receiver`].
#[derive(Clone)]
#[non_exhaustive]
pub struct Posted {
    /// The body of the request. [`Event::from_json`] parses it again. It may contain phone numbers.
    pub body: Bytes,
    /// The event, or an error if the body is JSON but not an event.
    pub event: Result<Event, EventError>,
}

impl ReceiverBuilder {
    /// The default of [`answer_within`](Self::answer_within): 4 seconds. The platform asks webhooks
    /// to answer within 5.
    pub const DEFAULT_ANSWER_WITHIN: Duration = Duration::from_secs(4);
    /// The default of [`max_concurrent`](Self::max_concurrent): 256.
    pub const DEFAULT_MAX_CONCURRENT: usize = 256;
    const MIN_ANSWER_WITHIN: Duration = Duration::from_millis(1);
    const MAX_ANSWER_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);

    /// Sets the time limit of an answer, from a millisecond to a day. Half of it is for reading the
    /// body.
    #[must_use]
    pub fn answer_within(mut self, time: Duration) -> Self {
        self.answer_within = time.clamp(Self::MIN_ANSWER_WITHIN, Self::MAX_ANSWER_WITHIN);
        self
    }

    /// Sets the maximum number of requests in progress, at least 1. This limits concurrent calls of
    /// your function and the memory for bodies ([`MAX_EVENT_BYTES`] each). Other requests wait for
    /// half of the time for an answer, unread.
    #[must_use]
    pub fn max_concurrent(mut self, requests: usize) -> Self {
        self.max_concurrent = requests.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// The receiver, with your function for every post.
    pub fn handler<H, F, E>(self, handler: H) -> Receiver
    where
        H: Fn(Posted) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        let handler = move |posted| -> BoxFuture<Result<(), String>> {
            let future = handler(posted);
            Box::pin(async move { future.await.map_err(|error| error.to_string()) })
        };
        Receiver {
            inner: Arc::new(Inner {
                webhook: self.webhook,
                answer_within: self.answer_within,
                free: Semaphore::new(self.max_concurrent),
                log: Log::default(),
                handler: Box::new(handler),
            }),
        }
    }
}

impl Receiver {
    /// A receiver with the default settings, and your function for every post.
    pub fn new<H, F, E>(webhook: Webhook, handler: H) -> Self
    where
        H: Fn(Posted) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        Self::builder(webhook).handler(handler)
    }

    /// The settings of a receiver.
    pub fn builder(webhook: Webhook) -> ReceiverBuilder {
        ReceiverBuilder {
            webhook,
            answer_within: ReceiverBuilder::DEFAULT_ANSWER_WITHIN,
            max_concurrent: ReceiverBuilder::DEFAULT_MAX_CONCURRENT,
        }
    }

    pub(super) fn answer_within(&self) -> Duration {
        self.inner.answer_within
    }

    /// Answers a request.
    pub(super) async fn respond<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Error: Into<BoxError>>,
    {
        let mut response = Response::new(Full::default());
        if let Err(Refusal { status, why }) = self.inner.receive(request).await {
            self.inner.log.warn(status, &why);
            *response.status_mut() = status;
            if status == StatusCode::METHOD_NOT_ALLOWED {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            }
        }
        response
    }
}

/// Why a post is not acknowledged.
struct Refusal {
    status: StatusCode,
    why: String,
}

impl Refusal {
    fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }
}

impl Inner {
    async fn receive<B>(&self, request: Request<B>) -> Result<(), Refusal>
    where
        B: Body<Error: Into<BoxError>>,
    {
        let deadline = Instant::now() + self.answer_within;
        let body_by = deadline - self.answer_within / 2;
        let (head, body) = request.into_parts();
        if head.method != Method::POST {
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "expected POST"));
        }
        if !self.webhook.is_authorized(authorization(&head.headers)) {
            let values = head.headers.get_all(AUTHORIZATION).iter().count();
            let why = format!("the Authorization value is wrong or missing ({values} values)");
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, why));
        }
        if body.size_hint().lower() > MAX_EVENT_BYTES as u64 {
            return Err(too_large());
        }
        // Taken before the body is read, so that it bounds the memory for bodies too.
        let Ok(Ok(_permit)) = timeout_at(body_by, self.free.acquire()).await else {
            let why = "too many requests in progress";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why));
        };
        let body = read(body, body_by).await?;
        let event = Event::from_json(&body);
        match &event {
            Err(error) if error.status() != StatusCode::OK => {
                return Err(Refusal::new(error.status(), error.to_string()));
            }
            // These never reach a history, and posting them again would not help.
            Err(error) => self.log.warn(StatusCode::OK, &error.to_string()),
            Ok(old @ Event::OldFormat(_)) => self.log.warn(StatusCode::OK, &old.to_string()),
            Ok(_) => {}
        }
        let posted = Posted { body: body.clone(), event };
        match timeout_at(deadline, (self.handler)(posted)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let (line, id) = describe(&body);
                let error = printable(&error, &[id.as_deref().unwrap_or_default()]);
                let why = format!("your function failed: {error}: {line}");
                Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, why))
            }
            Err(_) => {
                let why = format!("your function did not return in time: {}", describe(&body).0);
                Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why))
            }
        }
    }
}

/// An event in one line, and its clientMessageId. Only failures need it, so it parses the event
/// again.
fn describe(body: &[u8]) -> (String, Option<String>) {
    match Event::from_json(body) {
        Ok(event) => {
            let id = event.receipt().and_then(|receipt| receipt.client_message_id());
            (event.to_string(), id.map(str::to_owned))
        }
        Err(error) => (error.to_string(), None),
    }
}

/// The only `Authorization` value of a request.
fn authorization(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.as_bytes())
}

fn too_large() -> Refusal {
    let why = format!("the body is larger than {MAX_EVENT_BYTES} bytes");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, why)
}

/// Reads the whole body.
async fn read<B>(body: B, by: Instant) -> Result<Bytes, Refusal>
where
    B: Body<Error: Into<BoxError>>,
{
    match timeout_at(by, Limited::new(body, MAX_EVENT_BYTES).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        // Its own limit, or that of a layer around the receiver.
        Ok(Err(error)) if is_length_limit(&*error) => Err(too_large()),
        Ok(Err(_)) => Err(Refusal::new(StatusCode::BAD_REQUEST, "the connection was lost")),
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    }
}

fn is_length_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut errors = std::iter::successors(Some(error), |error| error.source());
    errors.any(<dyn std::error::Error>::is::<LengthLimitError>)
}

/// Warnings, at most one per status and second, so that a flood of bad posts does not flood the log.
#[derive(Default)]
struct Log(Mutex<HashMap<StatusCode, (Instant, u64)>>);

impl Log {
    const INTERVAL: Duration = Duration::from_secs(1);

    fn warn(&self, status: StatusCode, why: &str) {
        let now = Instant::now();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut more = String::new();
        if let Some((at, omitted)) = last.get_mut(&status) {
            if now < *at + Self::INTERVAL {
                *omitted += 1;
                return;
            }
            if *omitted > 0 {
                more = format!(" ({omitted} similar lines omitted)");
            }
        }
        last.insert(status, (now, 0));
        drop(last);
        tracing::warn!("post to the webhook answered with {status}: {why}{more}");
    }
}

impl<B> tower_service::Service<Request<B>> for Receiver
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let receiver = self.clone();
        Box::pin(async move { Ok(receiver.respond(request).await) })
    }
}

impl fmt::Debug for Posted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Posted")
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("event", &self.event)
            .finish()
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("answer_within", &self.inner.answer_within)
            .finish_non_exhaustive()
    }
}
