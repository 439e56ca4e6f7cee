//! A service that takes what the platform posts.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use super::{Event, MAX_EVENT_BYTES, UnreadableEvent, Webhook};
use crate::redact::Masked;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Future<T> = Pin<Box<dyn std::future::Future<Output = T> + Send>>;
type Handler = dyn Fn(Posted) -> Future<Result<(), String>> + Send + Sync;

/// Takes what the platform posts to a webhook and hands it to a function of yours. Feature
/// `receiver`.
///
/// It is a [`tower::Service`](https://docs.rs/tower/latest/tower/trait.Service.html) of HTTP
/// requests, to be mounted in axum with `route_service` (not `route`, which takes handlers of axum),
/// or in any server that takes such services. It takes every path that leads to it. A layer around
/// it that answers by itself sooner, such as a time-out, makes the platform post an event again that
/// was handled. Cloning it is cheap, and the clones are one receiver.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use lon_batch::receipt::{Event, MessageTracker, Posted, Receiver, Webhook};
///
/// # async fn store(_: &[u8]) -> std::io::Result<()> { Ok(()) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tracker = Arc::new(Mutex::new(MessageTracker::new()));
/// let webhook = Webhook::new("Bearer my-webhook-secret")?;
/// let receiver = Receiver::new(webhook, move |posted: Posted| {
///     let tracker = Arc::clone(&tracker);
///     async move {
///         // Yours: write it down. After an error the platform posts it again.
///         store(&posted.body).await?;
///         match posted.event {
///             Ok(Event::Receipt(receipt)) => {
///                 tracker.lock().unwrap().receipt(&receipt);
///             }
///             Ok(other) => println!("{other}"),
///             Err(unreadable) => eprintln!("{unreadable}"),
///         }
///         std::io::Result::Ok(())
///     }
/// });
///
/// let app: axum::Router = axum::Router::new().route_service("/receipts", receiver.clone());
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let stop = async {};
/// axum::serve(listener, app).with_graceful_shutdown(stop).await?;
/// receiver.shutdown().await;
/// # Ok(())
/// # }
/// ```
///
/// # What is answered
/// | status | when | does the platform post it again? |
/// |---|---|---|
/// | 200 | the function has ended, or it still runs when the time for an answer is over | no |
/// | 400 | it is not JSON | yes |
/// | 401 | the `Authorization` value is missing or wrong | yes |
/// | 405 | it is no POST | |
/// | 408 | the body did not come in half of the time for an answer | yes |
/// | 413 | it has more than [`MAX_EVENT_BYTES`] | yes |
/// | 500 | the function returned an error, or panicked, in time | yes |
/// | 503 | as many functions run as may, or the receiver shuts down | yes |
///
/// The platform posts again after 1, 10, 30 and 90 seconds, then never. What is JSON and no event
/// comes to the function as an error and is answered with 200: it would not get better.
///
/// # What is acknowledged, and when
/// An answer comes within [`answer_within`](ReceiverBuilder::answer_within) of the request. Where
/// the function ends within that time, the event is acknowledged after it; an error then makes the
/// platform post the event again. Where it does not, the event is acknowledged before it ended: the
/// function goes on, and what becomes of the event is in its hands alone: what fails then is told to
/// the log (`tracing`) and does not come again. So write an event down first, with a time-out shorter
/// than half of that of the answer, and do slow work afterwards. An event comes more than once at
/// times: a [`MessageTracker`](super::MessageTracker) counts it once.
///
/// The function runs in a task of its own, which goes on when the connection is lost. An event for
/// which no task could start was not acknowledged.
#[derive(Clone)]
pub struct Receiver {
    inner: Arc<Inner>,
}

struct Inner {
    webhook: Webhook,
    answer_within: Duration,
    free: Arc<Semaphore>,
    running: TaskTracker,
    handler: Box<Handler>,
}

/// Sets up a [`Receiver`].
#[derive(Debug)]
pub struct ReceiverBuilder {
    webhook: Webhook,
    answer_within: Duration,
    max_running: usize,
}

/// What was posted to a [`Receiver`].
#[derive(Clone)]
#[non_exhaustive]
pub struct Posted {
    /// The body of the request, as it came: what to write down, since
    /// [`Event::from_json`] reads it again. It may have phone numbers in it.
    pub body: Bytes,
    /// What it is; an error where it is JSON and no event.
    pub event: Result<Event, UnreadableEvent>,
}

/// What a function for events may end with: nothing, or a `Result`, whose error goes to the log,
/// with phone numbers in it masked, and makes the platform post the event again.
#[diagnostic::on_unimplemented(
    message = "a function for events cannot end with `{Self}`",
    note = "it ends with `()`, or with a `Result<(), E>` whose `E` has `Display`"
)]
pub trait Handled: sealed::Sealed {
    /// Whether the event was handled, or else why not.
    #[doc(hidden)]
    fn handled(self) -> Result<(), String>;
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for () {}
    impl<E> Sealed for Result<(), E> {}
}

impl Handled for () {
    fn handled(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: fmt::Display> Handled for Result<(), E> {
    fn handled(self) -> Result<(), String> {
        self.map_err(|error| format!("the function failed: {}", Masked(&error.to_string())))
    }
}

impl ReceiverBuilder {
    /// The time in which an answer is given unless another is set: 4 seconds, since the platform
    /// asks its webhooks to answer within 5.
    pub const DEFAULT_ANSWER_WITHIN: Duration = Duration::from_secs(4);
    /// How many functions run at a time unless another number is set.
    pub const DEFAULT_MAX_RUNNING: usize = 1024;
    /// What is set above it is this: a day.
    const LONGEST_ANSWER: Duration = Duration::from_secs(24 * 60 * 60);

    /// How long after a request came its answer is given at the latest; at most a day. Half of it is
    /// for the body to come and for the function to begin, so that one that hardly began is not
    /// acknowledged.
    #[must_use]
    pub fn answer_within(mut self, time: Duration) -> Self {
        self.answer_within = time.min(Self::LONGEST_ANSWER);
        self
    }

    /// How many functions run at a time, at least 1. It bounds what is acknowledged and not handled
    /// yet. Where no other may start, a request waits until half of the time for an answer is over
    /// and is then answered with 503.
    #[must_use]
    pub fn max_running(mut self, functions: usize) -> Self {
        self.max_running = functions.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// The receiver, with a function for every event, and for what is JSON and no event. It returns
    /// nothing, or a `Result`.
    pub fn handler<H, F>(self, handler: H) -> Receiver
    where
        H: Fn(Posted) -> F + Send + Sync + 'static,
        F: std::future::Future<Output: Handled> + Send + 'static,
    {
        let handler = move |posted| -> Future<Result<(), String>> {
            let ending = handler(posted);
            Box::pin(async move { ending.await.handled() })
        };
        Receiver {
            inner: Arc::new(Inner {
                webhook: self.webhook,
                answer_within: self.answer_within,
                free: Arc::new(Semaphore::new(self.max_running)),
                running: TaskTracker::new(),
                handler: Box::new(handler),
            }),
        }
    }
}

impl Receiver {
    /// A receiver with a function for every event, and for what is JSON and no event. The function
    /// returns nothing, or a `Result`.
    pub fn new<H, F>(webhook: Webhook, handler: H) -> Self
    where
        H: Fn(Posted) -> F + Send + Sync + 'static,
        F: std::future::Future<Output: Handled> + Send + 'static,
    {
        Self::builder(webhook).handler(handler)
    }

    /// Sets one up.
    pub fn builder(webhook: Webhook) -> ReceiverBuilder {
        ReceiverBuilder {
            webhook,
            answer_within: ReceiverBuilder::DEFAULT_ANSWER_WITHIN,
            max_running: ReceiverBuilder::DEFAULT_MAX_RUNNING,
        }
    }

    /// Takes no more events, which are answered with 503 from now on, and waits until every
    /// function has ended: then nothing that was acknowledged is lost. An event that waits for its
    /// function to begin is still handled. Call it after the server has stopped and before the
    /// runtime does: what that cuts off after it was acknowledged is told to the log alone.
    ///
    /// It waits for as long as the functions run; put it into a time-out if that may be forever.
    pub async fn shutdown(&self) {
        self.inner.running.close();
        self.inner.running.wait().await;
    }
}

impl Inner {
    async fn answer<B>(self: &Arc<Self>, request: Request<B>) -> StatusCode
    where
        B: Body<Error: Into<BoxError>>,
    {
        let deadline = Instant::now() + self.answer_within;
        // The rest of the time is the function's.
        let begin_by = deadline - self.answer_within / 2;
        let (head, body) = request.into_parts();
        if head.method != Method::POST {
            return StatusCode::METHOD_NOT_ALLOWED;
        }
        if !self.webhook.is_authorized(authorization(&head.headers)) {
            let given = head.headers.get_all(AUTHORIZATION).iter().count();
            tracing::warn!(
                "a post to the webhook without the right Authorization value, with {given} values"
            );
            return StatusCode::UNAUTHORIZED;
        }
        let body = if says_too_long(&head.headers) {
            Err(StatusCode::PAYLOAD_TOO_LARGE)
        } else {
            whole(body, begin_by).await
        };
        let body = match body {
            Ok(body) => body,
            Err(status) => {
                tracing::warn!("a post to the webhook whose body was not read: {status}");
                return status;
            }
        };
        let event = Event::from_json(&body);
        match &event {
            Err(error) if error.status() != StatusCode::OK => {
                tracing::warn!("{error}");
                return error.status();
            }
            // Whoever lets it pass would wait for receipts that never come.
            Ok(old @ Event::OldFormat(_)) => tracing::warn!("{old}"),
            _ => {}
        }
        self.hand_on(Posted { body, event }, begin_by, deadline).await
    }

    /// Hands an event to the function, and waits for it as long as there is time.
    async fn hand_on(
        self: &Arc<Self>,
        posted: Posted,
        begin_by: Instant,
        deadline: Instant,
    ) -> StatusCode {
        // Taken before the look at whether it shuts down: who waits for all to end sees it.
        let token = self.running.token();
        let line = match &posted.event {
            Ok(event) => event.to_string(),
            Err(error) => error.to_string(),
        };
        if self.running.is_closed() {
            tracing::warn!("not taken, since the receiver shuts down: {line}");
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let free = Arc::clone(&self.free).acquire_owned();
        let Ok(Ok(place)) = timeout_at(begin_by, free).await else {
            tracing::warn!("not taken, since as many functions run as may: {line}");
            return StatusCode::SERVICE_UNAVAILABLE;
        };
        let inner = Arc::clone(self);
        let mut task = self.running.spawn(async move {
            let _place = place;
            (inner.handler)(posted).await
        });
        drop(token);
        let Ok(ended) = timeout_at(deadline, &mut task).await else {
            let acknowledged = Acknowledged(Some(line));
            self.running.spawn(acknowledged.wait_for(task));
            return StatusCode::OK;
        };
        if let Err(why) = handled(ended) {
            tracing::warn!("not handled, {why}: {line}");
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        StatusCode::OK
    }
}

fn handled(ended: Result<Result<(), String>, JoinError>) -> Result<(), String> {
    ended.unwrap_or_else(|_| Err("the function panicked".to_owned()))
}

/// An event that was acknowledged and is not handled yet, by its line for a log.
struct Acknowledged(Option<String>);

impl Acknowledged {
    async fn wait_for(mut self, task: JoinHandle<Result<(), String>>) {
        let ended = handled(task.await);
        let line = self.0.take().unwrap_or_default();
        if let Err(why) = ended {
            tracing::error!("acknowledged and not handled, {why}: {line}");
        }
    }
}

impl Drop for Acknowledged {
    fn drop(&mut self) {
        if let Some(line) = &self.0 {
            tracing::error!("acknowledged and not handled, the runtime ended before: {line}");
        }
    }
}

/// The one `Authorization` value of a request.
fn authorization(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.as_bytes())
}

/// The body of a request, or how to answer without it.
async fn whole<B>(body: B, by: Instant) -> Result<Bytes, StatusCode>
where
    B: Body<Error: Into<BoxError>>,
{
    let whole = Limited::new(body, MAX_EVENT_BYTES).collect();
    match timeout_at(by, whole).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if is_too_long(&*error) => Err(StatusCode::PAYLOAD_TOO_LARGE),
        // The connection was lost: nobody reads this.
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

/// Whether a body is longer than it may be here, or than a layer around the receiver allows.
fn is_too_long(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut errors = std::iter::successors(Some(error), |error| error.source());
    errors.any(<dyn std::error::Error>::is::<LengthLimitError>)
}

fn says_too_long(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok());
    let length = length.and_then(|length| length.parse::<u64>().ok());
    length.is_some_and(|length| length > MAX_EVENT_BYTES as u64)
}

impl<B> tower_service::Service<Request<B>> for Receiver
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Future<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let status = inner.answer(request).await;
            let mut response = Response::new(Full::default());
            *response.status_mut() = status;
            if status == StatusCode::METHOD_NOT_ALLOWED {
                let allowed = HeaderValue::from_static("POST");
                response.headers_mut().insert(ALLOW, allowed);
            }
            Ok(response)
        })
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
            .field("running", &self.inner.running.len())
            .finish_non_exhaustive()
    }
}
