//! A server on this machine that keeps the contract of the API.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use url::Url;

use super::receipts::{Move, Outbox, PostedReceipt, Receipts};
use crate::client::{Client, ClientBuilder};
use crate::phone::{Recipient, RecipientError};
use crate::types::{
    ClientId, ErrorCode, MAX_CLIENT_BATCH_ID_CHARS, MAX_CLIENT_MESSAGE_ID_CHARS,
    MAX_MESSAGES_PER_BATCH, MAX_SMS_SOURCE_CHARS, Message, MessageState, Text,
};

/// An embedded server that keeps the documented contract of the API, on loopback, over HTTP.
///
/// It runs as a task of the tokio runtime that it is started on, and stops when it is dropped.
///
/// # What it does
/// A request is judged in this order:
/// - another path or method than the API's: 404, code 1300;
/// - no or another API key: 401, code 1200; another sub-account: 400, code 1001;
/// - a body over 8 MiB: 413, code 1100; no JSON object: 400, code 1000;
/// - no messages: 400, code 3012; more than 1,000: 400, code 3013; a clientBatchId over 100
///   characters: 400, code 3014;
/// - then each message for itself. It is rejected without a user (3001) or a number (3002), with
///   a number (3003) or country (3018) of the wrong shape, without content (3004), with a
///   clientMessageId (3009) or an SMS source (3011) that is too long, with a callback that is no
///   URL (3020), with anything else that the API does not take (1000), with a title that is not
///   among the [`approved titles`](SandboxBuilder::approved_titles) (3038), or by a
///   [`judge`](SandboxBuilder::judge) of yours. Every other message is accepted.
///
/// The answer lists the messages where the request asked for it, and has
/// `"messages": null` where it did not, as a sister endpoint of the platform has. Ids are no
/// valid UUIDs, as the platform's are not.
///
/// [`answer_next`](Self::answer_next) makes it answer in another way: rate limits, failures,
/// lost connections.
///
/// It then posts the delivery receipts of what it accepted to the
/// [`dlr_callback_url`](Message::dlr_callback_url) of each message, if that is on this machine;
/// see [below](#delivery-receipts).
///
/// # A test to copy
/// ```
/// use lon_batch::mock::{Answer, Sandbox};
/// use lon_batch::{Batch, Content, Message, Msisdn, OutcomeKind};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sandbox = Sandbox::start().await?;
/// let client = sandbox.client().build()?;
/// let message = Message::new("+6591234567".parse::<Msisdn>()?, Content::new("Hello"));
/// let batch = Batch::builder().message(message.client_message_id("abc-123")).build()?;
///
/// // The platform takes the batch, and the answer is lost.
/// sandbox.answer_next([Answer::AcceptAndHangUp]);
/// let error = client.send(&batch).await.unwrap_err();
/// assert_eq!(error.outcome(), OutcomeKind::Unknown);
/// assert_eq!(sandbox.accepted()[0].message.client_message_id.as_deref(), Some("abc-123"));
///
/// // The next request is answered by the contract.
/// let response = client.send(&batch).await?;
/// assert!(response.report(&batch).all_accepted());
/// assert_eq!(sandbox.accepted_count(), 2);
/// # Ok(())
/// # }
/// ```
///
/// # Delivery receipts
/// [`Receipts`] sets what is posted, where and when, down to receipts that come late, twice or out
/// of order; without it each message is queued, sent and delivered within 2 s. The first receipt
/// may come before the answer to the batch. They are posted in the background: no batch waits for
/// one. [`receipts`](Self::receipts) tells what became of each.
///
/// ```
/// use std::time::Duration;
/// use lon_batch::mock::{ReceiptFate, Receipts, Sandbox};
/// use lon_batch::types::MessageState;
/// use lon_batch::{Batch, Content, Message, Msisdn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A clock that the test moves.
/// let receipts = Receipts::new().authorization("Bearer hook").manual_clock();
/// let sandbox = Sandbox::builder().receipts(receipts).start().await?;
/// // A test has a receiver of its own here. The sandbox itself takes no receipts: 404.
/// let url = format!("{}/receipts", sandbox.base_url());
/// let message = Message::new("+6591234567".parse::<Msisdn>()?, Content::new("Hello"));
/// let batch = Batch::builder().message(message.dlr_callback_url(url)).build()?;
/// sandbox.client().build()?.send(&batch).await?;
///
/// // A receipt that is not taken is posted again after 1, 10, 30 and 90 s.
/// sandbox.advance(Duration::from_secs(60)).await;
/// let queued = &sandbox.receipts()[0];
/// assert_eq!(queued.state, MessageState::Queued);
/// let tried_at: Vec<_> = queued.tries.iter().map(|it| it.at.as_secs()).collect();
/// assert_eq!(tried_at, [0, 1, 11, 41]);
/// assert_eq!(queued.fate, ReceiptFate::Due);
///
/// // However long it takes.
/// sandbox.receipts_settled().await;
/// assert_eq!(sandbox.receipts()[0].fate, ReceiptFate::GivenUp);
/// # Ok(())
/// # }
/// ```
pub struct Sandbox {
    address: SocketAddr,
    state: Arc<State>,
    /// To the task that posts receipts.
    moves: mpsc::UnboundedSender<Move>,
    /// Dropping them ends them, with every connection.
    _tasks: JoinSet<()>,
}

/// A message that the sandbox accepted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AcceptedMessage {
    /// The id that the sandbox gave to it.
    pub umid: Text,
    /// The id that the sandbox gave to its batch.
    pub batch_id: Text,
    /// The clientBatchId of its batch.
    pub client_batch_id: Option<ClientId>,
    /// The message.
    pub message: Message,
}

/// Why a message is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The platform's code.
    pub code: ErrorCode,
    /// The platform's words.
    pub reason: String,
}

impl From<ErrorCode> for Rejection {
    fn from(code: ErrorCode) -> Self {
        let reason = code.reason().unwrap_or("Rejected").to_owned();
        Self { code, reason }
    }
}

/// How the sandbox answers a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Answer {
    /// By the contract.
    Contract,
    /// 429 with code 429, and `Retry-After` where a time is given. Nothing is accepted.
    TooManyRequests {
        /// Seconds to wait.
        retry_after: Option<u32>,
    },
    /// A status with the platform's error envelope. Nothing is accepted.
    Error {
        /// The status, such as 500.
        status: StatusCode,
        /// The code in the envelope.
        code: ErrorCode,
    },
    /// Exactly this. Nothing is accepted.
    Exactly {
        /// The status.
        status: StatusCode,
        /// The headers.
        headers: HeaderMap,
        /// The body.
        body: Bytes,
    },
    /// The request is read, nothing is accepted, and the connection is closed.
    HangUp,
    /// The request is judged by the contract and its messages are accepted; then the connection
    /// is closed without an answer.
    AcceptAndHangUp,
    /// The request is judged by the contract and its messages are accepted; then 500, code 2000.
    AcceptAndFail,
    /// The request is judged by the contract and its messages are accepted; the connection is
    /// closed in the middle of the answer.
    AcceptAndCut,
    /// The request is judged by the contract and its messages are accepted; then exactly this.
    AcceptAndAnswer {
        /// The status.
        status: StatusCode,
        /// The headers.
        headers: HeaderMap,
        /// The body.
        body: Bytes,
    },
    /// By the contract, with the JSON of the answer changed: entries left out, in another order,
    /// counts that do not add up.
    Edited(fn(&mut Value)),
    /// The request is judged by the contract and its messages are accepted at once; the answer
    /// comes after this time, to a client that may have given up by then.
    Late(Duration),
}

type Judge = dyn Fn(&Message) -> Option<Rejection> + Send + Sync;
type Answers = dyn FnMut(u64) -> Answer + Send;

/// Sets up a [`Sandbox`].
pub struct SandboxBuilder {
    settings: Settings,
    answers: Option<Box<Answers>>,
    receipts: Receipts,
}

struct Settings {
    sub_account_id: String,
    api_key: String,
    approved_titles: Option<HashSet<String>>,
    judge: Option<Box<Judge>>,
    kept: usize,
}

struct State {
    settings: Settings,
    answers: Mutex<Option<Box<Answers>>>,
    record: Mutex<Record>,
    outbox: Arc<Outbox>,
}

#[derive(Default)]
struct Record {
    requests: u64,
    accepted_count: u64,
    rejected_count: u64,
    accepted: VecDeque<AcceptedMessage>,
    next: VecDeque<Answer>,
    ids: u64,
}

/// Bytes of a body that are read.
const BODY_LIMIT: usize = 8 * 1024 * 1024;
/// Connections that are served at a time.
const CONNECTIONS: usize = 1024;
const PATH: (&str, &str) = ("/api/v1/subaccounts/", "/lon/batch");

impl SandboxBuilder {
    /// The sub-account that exists; `sandbox` unless it is set.
    #[must_use]
    pub fn sub_account_id(mut self, id: impl Into<String>) -> Self {
        self.settings.sub_account_id = id.into();
        self
    }

    /// The API key that is good; `sandbox-api-key` unless it is set.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.settings.api_key = key.into();
        self
    }

    /// The titles of the templates that are approved: a message with another title, or none, is
    /// rejected with code 3038. Unless it is set, every title is.
    #[must_use]
    pub fn approved_titles<T: Into<String>>(mut self, titles: impl IntoIterator<Item = T>) -> Self {
        let titles = titles.into_iter().map(Into::into).collect();
        self.settings.approved_titles = Some(titles);
        self
    }

    /// A judge over each message that the contract would accept: `Some` rejects it.
    #[must_use]
    pub fn judge(
        mut self,
        judge: impl Fn(&Message) -> Option<Rejection> + Send + Sync + 'static,
    ) -> Self {
        self.settings.judge = Some(Box::new(judge));
        self
    }

    /// How each request is answered, by its number, counted from 0: for failures at random, or as
    /// long as a test runs. What [`answer_next`](Sandbox::answer_next) was given goes first.
    #[must_use]
    pub fn answer_with(mut self, answers: impl FnMut(u64) -> Answer + Send + 'static) -> Self {
        self.answers = Some(Box::new(answers));
        self
    }

    /// What is posted of delivery receipts, where and when.
    #[must_use]
    pub fn receipts(mut self, receipts: Receipts) -> Self {
        self.receipts = receipts;
        self
    }

    /// How many accepted messages are kept to be looked at, the latest; 10,000 unless it is set.
    /// The record of receipts goes back as many messages of those that have any. The counts, and
    /// the receipts, go on however long it runs.
    #[must_use]
    pub fn keep(mut self, messages: usize) -> Self {
        self.settings.kept = messages;
        self
    }

    /// Starts the sandbox on a free port of `127.0.0.1`.
    ///
    /// # Errors
    /// No port could be opened, or the settings of the [`receipts`](Self::receipts) are not valid.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(self) -> std::io::Result<Sandbox> {
        let settings = self.settings;
        let outbox = self.receipts.open(&settings.sub_account_id, settings.kept)?;
        let outbox = Arc::new(outbox);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            settings,
            answers: Mutex::new(self.answers),
            record: Mutex::default(),
            outbox: Arc::clone(&outbox),
        });
        let (moves, asked) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Arc::clone(&state)));
        tasks.spawn(outbox.run(asked));
        Ok(Sandbox { address, state, moves, _tasks: tasks })
    }
}

impl Sandbox {
    /// Starts one that accepts every valid message.
    ///
    /// # Errors
    /// No port could be opened.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start() -> std::io::Result<Self> {
        Self::builder().start().await
    }

    /// Sets one up.
    pub fn builder() -> SandboxBuilder {
        SandboxBuilder {
            settings: Settings {
                sub_account_id: "sandbox".to_owned(),
                api_key: "sandbox-api-key".to_owned(),
                approved_titles: None,
                judge: None,
                kept: 10_000,
            },
            answers: None,
            receipts: Receipts::new(),
        }
    }

    /// The base URL for a client.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client of the sandbox, to be built: the base URL, the sub-account and the key are set.
    pub fn client(&self) -> ClientBuilder {
        let settings = &self.state.settings;
        Client::builder(settings.sub_account_id.as_str(), settings.api_key.as_str())
            .base_url(self.base_url())
    }

    /// How the next requests are answered, one each, in this order and after those that were
    /// given before. Requests after them are answered by the contract.
    pub fn answer_next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state.record().next.extend(answers);
    }

    /// Requests that were read, whatever was answered.
    pub fn requests(&self) -> u64 {
        self.state.record().requests
    }

    /// Messages that were accepted so far.
    pub fn accepted_count(&self) -> u64 {
        self.state.record().accepted_count
    }

    /// Messages that were rejected so far, in batches that were read.
    pub fn rejected_count(&self) -> u64 {
        self.state.record().rejected_count
    }

    /// The latest accepted messages, the oldest first; see [`SandboxBuilder::keep`].
    pub fn accepted(&self) -> Vec<AcceptedMessage> {
        self.state.record().accepted.iter().cloned().collect()
    }

    /// What became so far of the delivery receipts of the latest messages, in the order in which
    /// they were planned; see [`SandboxBuilder::keep`].
    pub fn receipts(&self) -> Vec<PostedReceipt> {
        self.state.outbox.record()
    }

    /// Moves a [manual clock](Receipts::manual_clock) and carries out, one after the other, every
    /// post that is due by then, those that are posted again included. It returns when the last
    /// of them was answered or has failed.
    ///
    /// What was due when a message was accepted goes out at the next call, also of
    /// `advance(Duration::ZERO)`. If this is dropped before it returns, the clock moves on all the
    /// same. Calls at the same time are carried out one after the other.
    ///
    /// # Panics
    /// The clock is not manual, or the runtime that the sandbox was started on has ended.
    pub async fn advance(&self, time: Duration) {
        assert!(
            self.state.outbox.clock.is_manual(),
            "the sandbox's clock goes by itself: see Receipts::manual_clock"
        );
        self.move_clock(Some(time)).await;
    }

    /// Waits until every receipt that was planned has been taken or given up. A receiver that
    /// never takes one keeps it waiting for the 131 s until it is given up, by the sandbox's
    /// clock: see [`Receipts::speed`].
    ///
    /// A [manual clock](Receipts::manual_clock) does not stand still for this: it is moved as
    /// [`advance`](Self::advance) does, to when the last post is due.
    ///
    /// # Panics
    /// The clock is manual, and the runtime that the sandbox was started on has ended.
    pub async fn receipts_settled(&self) {
        if self.state.outbox.clock.is_manual() {
            self.move_clock(None).await;
        } else {
            self.state.outbox.settled().await;
        }
    }

    async fn move_clock(&self, by: Option<Duration>) {
        let (done, moved) = oneshot::channel();
        // Without the task nobody is left to say that it is done.
        let _ = self.moves.send(Move { by, done });
        moved.await.expect("the runtime of the sandbox has ended");
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("address", &self.address).finish_non_exhaustive()
    }
}

impl fmt::Debug for SandboxBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxBuilder").finish_non_exhaustive()
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    // Dropping the set, with this task, ends every connection.
    let mut connections = JoinSet::new();
    loop {
        if connections.len() >= CONNECTIONS {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(serve_connection(stream, Arc::clone(&state)));
            }
            // Out of file descriptors, for one: the next connection may fare better.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve_connection(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(|request| answer(request, &state));
    // A connection that fails is the client's to tell.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Closes the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox hangs up")]
struct HangUp;

async fn answer(request: Request<Incoming>, state: &State) -> Result<Response<Body>, HangUp> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::BulkLimitReached))
        }
        Err(_) => return Err(HangUp),
    };
    let (number, next) = {
        let mut record = state.record();
        record.requests += 1;
        (record.requests - 1, record.next.pop_front())
    };
    let next = next.unwrap_or_else(|| state.answer(number));

    let judge = |edit: fn(&mut Value)| match state.judge(&head, body) {
        Ok(mut answer) => {
            edit(&mut answer);
            json_response(StatusCode::OK, &answer)
        }
        Err(failure) => failure.into_response(),
    };
    let as_it_is: fn(&mut Value) = |_| ();
    match next {
        Answer::Contract => Ok(judge(as_it_is)),
        Answer::Edited(edit) => Ok(judge(edit)),
        Answer::Late(time) => {
            let response = judge(as_it_is);
            tokio::time::sleep(time).await;
            Ok(response)
        }
        Answer::HangUp => Err(HangUp),
        Answer::AcceptAndHangUp => {
            judge(as_it_is);
            Err(HangUp)
        }
        Answer::AcceptAndCut => {
            let response = judge(as_it_is);
            Ok(response.map(Body::cut))
        }
        Answer::AcceptAndFail => {
            judge(as_it_is);
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Ok(Failure::new(status, ErrorCode::InternalError).into_response())
        }
        Answer::AcceptAndAnswer { status, headers, body } => {
            judge(as_it_is);
            Ok(exactly(status, headers, body))
        }
        Answer::TooManyRequests { retry_after } => {
            let failure = Failure::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests);
            let mut response = failure.into_response();
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(RETRY_AFTER, seconds.into());
            }
            Ok(response)
        }
        Answer::Error { status, code } => Ok(Failure::new(status, code).into_response()),
        Answer::Exactly { status, headers, body } => Ok(exactly(status, headers, body)),
    }
}

fn exactly(status: StatusCode, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The body of an answer.
struct Body {
    bytes: Option<Bytes>,
    /// Where it ends with half of its bytes: what is still to be done for that.
    cut: Option<Cut>,
}

#[derive(Clone, Copy)]
enum Cut {
    /// What was written goes out.
    Flush,
    HangUp,
}

impl Body {
    fn whole(bytes: Bytes) -> Self {
        let bytes = Some(bytes);
        Self { bytes, cut: None }
    }

    fn cut(self) -> Self {
        let cut = Some(Cut::Flush);
        Self { cut, ..self }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = HangUp;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HangUp>>> {
        let body = self.get_mut();
        match (body.bytes.take(), body.cut) {
            (Some(bytes), None) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            (Some(bytes), Some(_)) => {
                let half = bytes.slice(..bytes.len() / 2);
                Poll::Ready(Some(Ok(Frame::data(half))))
            }
            (None, None) => Poll::Ready(None),
            (None, Some(Cut::Flush)) => {
                body.cut = Some(Cut::HangUp);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            (None, Some(Cut::HangUp)) => Poll::Ready(Some(Err(HangUp))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, Bytes::len) as u64)
    }
}

/// An answer with the platform's error envelope.
struct Failure {
    status: StatusCode,
    code: ErrorCode,
}

impl Failure {
    fn new(status: StatusCode, code: ErrorCode) -> Self {
        Self { status, code }
    }

    fn into_response(self) -> Response<Body> {
        let Self { status, code } = self;
        let mut response = json_response(
            status,
            &json!({
                "code": code,
                "message": code.reason().unwrap_or("Error"),
                "errorId": "91b106f0-c0da-ea11-a43a-7af9c5893a80",
                "timestamp": now(),
            }),
        );
        if status == StatusCode::UPGRADE_REQUIRED {
            let tls = HeaderValue::from_static("TLS/1.3");
            response.headers_mut().insert(UPGRADE, tls);
        }
        response
    }
}

fn is_http_url(text: &str) -> bool {
    let url = Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    url && text.contains("://")
}

fn json_response(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::whole(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn now() -> String {
    let now = DateTime::<Utc>::from(SystemTime::now());
    now.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

impl State {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a request is answered for which no answer was given.
    fn answer(&self, number: u64) -> Answer {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.as_mut().map_or(Answer::Contract, |answers| answers(number))
    }

    /// Judges a request by the contract, and records what it accepts: the answer to it.
    fn judge(
        &self,
        head: &http::request::Parts,
        body: Result<Bytes, Failure>,
    ) -> Result<Value, Failure> {
        let (before, after) = PATH;
        let path = head.uri.path().strip_prefix(before);
        let sub_account = path.and_then(|path| path.strip_suffix(after));
        let Some(sub_account) = sub_account.filter(|_| head.method == Method::POST) else {
            return Err(Failure::new(StatusCode::NOT_FOUND, ErrorCode::NotFound));
        };
        let key = format!("Bearer {}", self.settings.api_key);
        if head.headers.get(AUTHORIZATION).is_none_or(|given| given != key.as_str()) {
            return Err(Failure::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized));
        }
        let bad_request = |code| Failure::new(StatusCode::BAD_REQUEST, code);
        if sub_account != self.settings.sub_account_id {
            return Err(bad_request(ErrorCode::IllegalSubAccountId));
        }
        let Ok(Value::Object(batch)) = serde_json::from_slice(&body?) else {
            return Err(bad_request(ErrorCode::InvalidParameter));
        };
        let messages = batch.get("messages").and_then(Value::as_array);
        let Some(messages) = messages.filter(|messages| !messages.is_empty()) else {
            return Err(bad_request(ErrorCode::MessagesMissing));
        };
        if messages.len() > MAX_MESSAGES_PER_BATCH {
            return Err(bad_request(ErrorCode::TooManyMessages));
        }
        let batch_reference = batch.get("clientBatchId").and_then(Value::as_str);
        if batch_reference.is_some_and(|id| id.chars().count() > MAX_CLIENT_BATCH_ID_CHARS) {
            return Err(bad_request(ErrorCode::ClientBatchIdTooLong));
        }
        let judged: Vec<_> = messages.iter().map(|message| self.judge_message(message)).collect();
        let accepted = judged.iter().filter(|result| result.is_ok()).count();
        let rejected = judged.len() - accepted;
        let (batch_id, results) = self.record_batch(batch_reference, messages, judged);
        let listed = batch.get("includeMessagesInResponse") == Some(&Value::Bool(true));
        Ok(json!({
            "batchId": batch_id,
            "clientBatchId": batch_reference,
            "acceptedCount": accepted,
            "rejectedCount": rejected,
            "messages": listed.then_some(results),
        }))
    }

    fn judge_message(&self, message: &Value) -> Result<Message, Rejection> {
        let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str);
        let too_long =
            |pointer: &str, max| text(pointer).is_some_and(|text| text.chars().count() > max);
        let reject = |code: ErrorCode| Err(Rejection::from(code));
        if message.get("user").is_none() {
            return reject(ErrorCode::UserMissing);
        }
        let Some(msisdn) = text("/user/msisdn") else {
            return reject(ErrorCode::MsisdnMissing);
        };
        match Recipient::parse(msisdn, text("/user/country")) {
            Ok(_) => {}
            Err(RecipientError::Country(_)) => return reject(ErrorCode::InvalidUserCountryCode),
            Err(_) => return reject(ErrorCode::InvalidUserMsisdn),
        }
        let content = message.get("content").and_then(Value::as_object);
        if content.is_none_or(serde_json::Map::is_empty) {
            return reject(ErrorCode::ContentMissing);
        }
        if too_long("/clientMessageId", MAX_CLIENT_MESSAGE_ID_CHARS) {
            return reject(ErrorCode::ClientMessageIdTooLong);
        }
        if too_long("/smsFallback/source", MAX_SMS_SOURCE_CHARS) {
            return reject(ErrorCode::SmsSourceTooLong);
        }
        if text("/dlrCallbackUrl").is_some_and(|url| !is_http_url(url)) {
            return reject(ErrorCode::InvalidDlrCallbackUrl);
        }
        let Ok(message) = Message::deserialize(message) else {
            return reject(ErrorCode::InvalidParameter);
        };
        let approved = self.settings.approved_titles.as_ref().is_none_or(|titles| {
            let title = message.content.title.as_ref();
            title.is_some_and(|title| titles.contains(title.as_str()))
        });
        if !approved {
            return reject(ErrorCode::TemplateNotFound);
        }
        match self.settings.judge.as_ref().and_then(|judge| judge(&message)) {
            Some(rejection) => Err(rejection),
            None => Ok(message),
        }
    }

    /// Gives ids, records what was accepted, plans its receipts, and tells the batch's id and the
    /// entries of the answer.
    fn record_batch(
        &self,
        client_batch_id: Option<&str>,
        messages: &[Value],
        judged: Vec<Result<Message, Rejection>>,
    ) -> (Text, Vec<Value>) {
        let client_batch_id = client_batch_id.map(ClientId::from);
        let accepted_at = self.outbox.clock.now();
        let now = self.outbox.clock.timestamp(accepted_at);
        let mut with_receipts = Vec::new();
        let mut record = self.record();
        let batch_id = record.next_id();
        let mut results = Vec::with_capacity(messages.len());
        for (sent, judged) in messages.iter().zip(judged) {
            let umid = record.next_id();
            let mut result = json!({ "umid": umid, "user": sent.get("user") });
            if let Some(id) = sent.get("clientMessageId") {
                result["clientMessageId"] = id.clone();
            }
            result["status"] = match judged {
                Ok(message) => {
                    let message = AcceptedMessage {
                        umid,
                        batch_id: batch_id.clone(),
                        client_batch_id: client_batch_id.clone(),
                        message,
                    };
                    if self.outbox.has_receipts(&message) {
                        with_receipts.push(message.clone());
                    }
                    record.keep(message, self.settings.kept);
                    json!({ "state": MessageState::Queued, "timestamp": now })
                }
                Err(Rejection { code, reason }) => {
                    record.rejected_count += 1;
                    json!({
                        "state": MessageState::Rejected,
                        "timestamp": now,
                        "errorCode": code,
                        "errorMessage": reason,
                    })
                }
            };
            results.push(result);
        }
        drop(record);
        self.outbox.plan(with_receipts, accepted_at);
        (batch_id, results)
    }
}

impl Record {
    /// Made as the platform's are: in the shape of a UUID, of a version that there is not.
    fn next_id(&mut self) -> Text {
        self.ids += 1;
        format!("{:08x}-3e2d-ea11-815d-020897df5459", self.ids).into()
    }

    fn keep(&mut self, message: AcceptedMessage, kept: usize) {
        self.accepted_count += 1;
        self.accepted.push_back(message);
        while self.accepted.len() > kept {
            self.accepted.pop_front();
        }
    }
}
