//! HTTP: connections, answers, and the endpoints that control the sandbox.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header::{CONTENT_TYPE, RETRY_AFTER, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::answer::{self, Answer};
use crate::contract::{Contract, Judged, MAX_BODY, Refusal, reason};
use crate::receipts::{Addressed, Outbox};
use crate::record::{Accepted, Kept, Record, id};

/// Connections that are served at a time.
const CONNECTIONS: usize = 1024;
/// Paths below it control the sandbox. The API has none of them.
const CONTROL: &str = "/sandbox/";

pub(crate) type Answers = dyn FnMut(u64) -> Answer + Send;

/// A running sandbox.
pub(crate) struct State {
    pub contract: Contract,
    answers: Mutex<Option<Box<Answers>>>,
    record: Mutex<Record>,
    pub outbox: Arc<Outbox>,
}

impl State {
    pub fn new(
        contract: Contract,
        answers: Option<Box<Answers>>,
        keep: usize,
        outbox: Arc<Outbox>,
    ) -> Self {
        let record = Mutex::new(Record::new(keep));
        Self { contract, answers: Mutex::new(answers), record, outbox }
    }

    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to the next request.
    fn next_answer(&self) -> Answer {
        let number = {
            let mut record = self.record();
            record.requests += 1;
            if let Some(answer) = record.answers.pop_front() {
                return answer;
            }
            record.requests - 1
        };
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.as_mut().map_or(Answer::Contract, |answers| answers(number))
    }

    /// Gives ids, records what was accepted, plans its receipts, and makes the JSON of the answer.
    fn take(&self, batch: Judged) -> Value {
        let accepted_at = self.outbox.clock.now();
        let timestamp = self.outbox.clock.timestamp(accepted_at);
        let client_batch_id = batch.client_batch_id.map(Arc::<str>::from);
        let mut with_receipts = Vec::new();
        let mut listed = Vec::with_capacity(batch.messages.len());
        let (mut accepted, mut rejected) = (0_u64, 0_u64);

        let mut record = self.record();
        let batch_id = record.next_id();
        for (message, rejection) in batch.messages {
            let umid = record.next_id();
            let text = |pointer| message.pointer(pointer).and_then(Value::as_str);
            let mut entry = json!({ "umid": id(umid), "user": message.get("user") });
            if let Some(id) = message.get("clientMessageId") {
                entry["clientMessageId"] = id.clone();
            }
            entry["status"] = match rejection {
                None => {
                    accepted += 1;
                    let kept = Kept {
                        umid,
                        batch_id,
                        client_batch_id: client_batch_id.clone(),
                        client_message_id: text("/clientMessageId").map(Into::into),
                        msisdn: text("/user/msisdn").unwrap_or_default().into(),
                        sms_fallback: text("/smsFallback/text").is_some_and(|it| !it.is_empty()),
                    };
                    if let Some(url) = self.outbox.callback_url(text("/dlrCallbackUrl")) {
                        with_receipts.push(Addressed {
                            accepted: Accepted::from(&kept),
                            country: text("/user/country").map(str::to_owned),
                            callback_url: url.to_owned(),
                        });
                    }
                    record.accept(kept);
                    json!({ "state": "queued", "timestamp": timestamp })
                }
                Some(rejection) => {
                    rejected += 1;
                    record.rejected += 1;
                    json!({
                        "state": "rejected",
                        "timestamp": timestamp,
                        "errorCode": rejection.code,
                        "errorMessage": rejection.reason,
                    })
                }
            };
            listed.push(entry);
        }
        drop(record);
        for message in with_receipts {
            self.outbox.plan(message, accepted_at);
        }
        json!({
            "batchId": id(batch_id),
            "clientBatchId": client_batch_id.as_deref(),
            "acceptedCount": accepted,
            "rejectedCount": rejected,
            "messages": batch.listed.then_some(listed),
        })
    }
}

pub(crate) async fn serve(listener: TcpListener, state: Arc<State>) {
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
            // For instance out of file descriptors, which may pass.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve_connection(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(|request| respond(request, &state));
    // The client sees for itself that its connection failed.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Closes the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox hangs up")]
struct HangUp;

async fn respond(request: Request<Incoming>, state: &State) -> Result<Response<Body>, HangUp> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::TOO_LARGE),
        Err(_) => return Err(HangUp),
    };
    if let Some(name) = head.uri.path().strip_prefix(CONTROL) {
        return Ok(control(&head, name, body, state).await);
    }
    let by_contract = |edit: fn(&mut Value)| match state.contract.judge(&head, body) {
        Ok(batch) => {
            let mut answer = state.take(batch);
            edit(&mut answer);
            json_response(StatusCode::OK, &answer)
        }
        Err(Refusal { status, code }) => envelope(status, code),
    };
    let unedited: fn(&mut Value) = |_| ();
    Ok(match state.next_answer() {
        Answer::Contract => by_contract(unedited),
        Answer::Edited(edit) => by_contract(edit),
        Answer::Late(time) => {
            let response = by_contract(unedited);
            tokio::time::sleep(time).await;
            response
        }
        Answer::HangUp => return Err(HangUp),
        Answer::AcceptAndHangUp => {
            by_contract(unedited);
            return Err(HangUp);
        }
        Answer::AcceptAndCut => by_contract(unedited).map(Body::cut),
        Answer::AcceptAndFail => {
            by_contract(unedited);
            envelope(StatusCode::INTERNAL_SERVER_ERROR, 2000)
        }
        Answer::AcceptAndAnswer { status, headers, body } => {
            by_contract(unedited);
            exactly(status, &headers, body)
        }
        Answer::TooManyRequests { retry_after } => {
            let mut response = envelope(StatusCode::TOO_MANY_REQUESTS, 429);
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(RETRY_AFTER, seconds.into());
            }
            response
        }
        Answer::Error { status, code } => envelope(valid(answer::status(status)), code),
        Answer::Exactly { status, headers, body } => exactly(status, &headers, body),
    })
}

/// An answer of `answer_with` that HTTP cannot carry is a mistake in the test.
fn valid<T>(part: Result<T, String>) -> T {
    part.unwrap_or_else(|problem| panic!("{problem}"))
}

fn exactly(status: u16, headers: &[(String, String)], body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = valid(answer::status(status));
    *response.headers_mut() = valid(answer::headers(headers));
    response
}

/// The platform's error envelope.
fn envelope(status: StatusCode, code: i64) -> Response<Body> {
    let now = DateTime::<Utc>::from(SystemTime::now());
    let mut response = json_response(
        status,
        &json!({
            "code": code,
            "message": reason(code).unwrap_or("Error"),
            "errorId": "91b106f0-c0da-ea11-a43a-7af9c5893a80",
            "timestamp": now.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        }),
    );
    if status == StatusCode::UPGRADE_REQUIRED {
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static("TLS/1.3"));
    }
    response
}

fn json_response(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    let body = serde_json::to_vec(body).expect("plain data is JSON");
    let mut response = Response::new(Body::whole(body.into()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// Answers a request to an endpoint of the sandbox itself. It is not counted.
async fn control(
    head: &Parts,
    name: &str,
    body: Result<Bytes, Refusal>,
    state: &State,
) -> Response<Body> {
    let failed = |status, error: String| json_response(status, &json!({ "error": error }));
    let query = head.uri.query().unwrap_or_default();
    match (&head.method, name) {
        (&Method::GET, "accepted") => match range(query) {
            Ok((from, limit)) => {
                let accepted = state.record().accepted(from, limit);
                json_response(StatusCode::OK, &accepted)
            }
            Err(error) => failed(StatusCode::BAD_REQUEST, error),
        },
        (&Method::GET, "receipts") => match range(query) {
            Ok((from, limit)) => json_response(StatusCode::OK, &state.outbox.record(from, limit)),
            Err(error) => failed(StatusCode::BAD_REQUEST, error),
        },
        (&Method::POST, "advance") => match seconds(query) {
            Some(time) => {
                state.outbox.advance(time).await;
                json_response(StatusCode::OK, &json!({ "postsDue": state.outbox.open() }))
            }
            None => failed(StatusCode::BAD_REQUEST, "expected seconds=NUMBER".to_owned()),
        },
        (&Method::GET, "counts") => {
            let record = state.record();
            let counts = json!({
                "requests": record.requests,
                "accepted": record.accepted,
                "rejected": record.rejected,
                "postsDue": state.outbox.open(),
            });
            drop(record);
            json_response(StatusCode::OK, &counts)
        }
        (&Method::POST, "answers") => match body {
            Err(refusal) => failed(refusal.status, format!("over {MAX_BODY} bytes")),
            Ok(body) => match script(&body) {
                Ok(answers) => {
                    let mut record = state.record();
                    record.answers.extend(answers);
                    json_response(StatusCode::OK, &json!({ "waiting": record.answers.len() }))
                }
                Err(error) => failed(StatusCode::BAD_REQUEST, error),
            },
        },
        _ => failed(
            StatusCode::NOT_FOUND,
            "the sandbox has GET /sandbox/accepted, GET /sandbox/receipts, GET /sandbox/counts, \
             POST /sandbox/answers and POST /sandbox/advance"
                .to_owned(),
        ),
    }
}

/// The query of `/sandbox/advance`.
fn seconds(query: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(query.strip_prefix("seconds=")?.parse().ok()?).ok()
}

/// The query of `/sandbox/accepted` and `/sandbox/receipts`: `from` and `limit`, both optional.
fn range(query: &str) -> Result<(u64, usize), String> {
    let (mut from, mut limit) = (0, usize::MAX);
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let number = |text: &str| {
            text.parse::<u64>().map_err(|_| format!("{part}: expected a whole number"))
        };
        match part.split_once('=') {
            Some(("from", text)) => from = number(text)?,
            Some(("limit", text)) => limit = usize::try_from(number(text)?).unwrap_or(usize::MAX),
            _ => return Err(format!("{part}: expected from=N or limit=N")),
        }
    }
    Ok((from, limit))
}

/// The body of `/sandbox/answers`: all of it, or the first problem.
fn script(body: &[u8]) -> Result<Vec<Answer>, String> {
    let answers: Vec<Value> =
        serde_json::from_slice(body).map_err(|error| format!("expected an array: {error}"))?;
    let read = |(index, value): (usize, Value)| {
        let members = value.as_object().map_or(0, serde_json::Map::len);
        let answer =
            Answer::deserialize(value).map_err(|error: serde_json::Error| error.to_string());
        let answer = answer.and_then(|answer| match answer.problem() {
            Some(problem) => Err(problem),
            None if answer.is_bare() && members > 1 => {
                Err("expected no member but `answer`".to_owned())
            }
            None => Ok(answer),
        });
        answer.map_err(|problem| format!("answers[{index}]: {problem}"))
    };
    answers.into_iter().enumerate().map(read).collect()
}

/// The body of an answer.
struct Body {
    bytes: Option<Bytes>,
    /// For a body that ends after half of its bytes: what is left to do.
    cut: Option<Cut>,
}

#[derive(Clone, Copy)]
enum Cut {
    /// Let hyper write the half.
    Flush,
    HangUp,
}

impl Body {
    fn whole(bytes: Bytes) -> Self {
        Self { bytes: Some(bytes), cut: None }
    }

    fn cut(self) -> Self {
        Self { cut: Some(Cut::Flush), ..self }
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
