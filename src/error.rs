//! What can go wrong with a batch, told apart by whether it was sent.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use serde::Deserialize as _;
use serde_json::Value;
use serde_json::error::Category;

use crate::exchange::{Exchange, REFUSED_KEPT, Seen};
use crate::mask::Masked;
use crate::retry_after;
use crate::{BatchResponse, ErrorCode, Invalid, MsisdnError, OpaqueId, RecipientError, Timestamp};

/// What can go wrong with a batch, told apart by whether it was sent.
///
/// | variant | was it sent? | what to do |
/// |---|---|---|
/// | [`Invalid`](Self::Invalid) | no, it was found wrong here | mend what its problems name |
/// | [`NotSent`](Self::NotSent) | no, there was no connection | send it again |
/// | [`Refused`](Self::Refused) | yes, and nothing of it was taken | see its code; after a 429, send it again later |
/// | [`MayHaveBeenSent`](Self::MayHaveBeenSent) | unknown | do not send it again without thought: it may be delivered twice |
/// | [`AcceptedUnreadable`](Self::AcceptedUnreadable) | yes, and it was taken | do not send it again; read the kept body |
///
/// No error, in `Display` or `Debug`, has the API key or a phone number in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Found wrong here: nothing was sent. It comes of building clients, numbers and batches, and
    /// not of sending, since a [`Batch`](crate::Batch) is valid.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// No connection was made: nothing was sent.
    #[error(transparent)]
    NotSent(#[from] NotSent),
    /// The platform, or a gateway in front of it, answered that it did not take the batch: a
    /// status of 3xx or 4xx, but for 303, 408 and 499.
    #[error("the batch was refused: {0}")]
    Refused(Box<ApiError>),
    /// Nobody knows: the request went out, at least in part, and no answer says what became of
    /// it.
    #[error(transparent)]
    MayHaveBeenSent(#[from] MayHaveBeenSent),
    /// The platform answered that it took the batch, and the rest of its answer could not be
    /// read.
    #[error(transparent)]
    AcceptedUnreadable(#[from] Box<Unreadable>),
}

/// No connection was made, so nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error(
    "nothing was sent: no connection to the platform ({}); check the base URL, the network and TLS, then send it again",
    root_cause(source)
)]
pub struct NotSent {
    #[source]
    source: NotSentCause,
}

/// What the innermost error of a chain says.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[derive(Debug, thiserror::Error)]
enum NotSentCause {
    #[error(transparent)]
    Http(reqwest::Error),
    #[error("the request could not be made")]
    Request,
}

/// Why nobody knows whether a batch was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MayHaveBeenSent {
    /// No answer came in time.
    #[error(
        "the batch may have been sent: no answer in time; sending it again can deliver it twice"
    )]
    TimedOut(#[source] TransportError),
    /// The connection was lost before an answer came.
    #[error(
        "the batch may have been sent: the connection was lost before an answer; sending it again can deliver it twice"
    )]
    ConnectionLost(#[source] TransportError),
    /// The platform or a gateway answered with a status that leaves it open: 5xx, 303, 408, 499,
    /// or one that HTTP does not know.
    #[error("the batch may have been sent, sending it again can deliver it twice: {0}")]
    Answered(Box<ApiError>),
}

/// What the HTTP client said, without the URL.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TransportError(reqwest::Error);

/// An answer that is not a success.
///
/// Every text in it has the API key and phone numbers masked.
#[derive(Clone, Debug)]
pub struct ApiError {
    status: StatusCode,
    code: Option<ErrorCode>,
    message: Option<String>,
    error_id: Option<OpaqueId>,
    timestamp: Option<Timestamp>,
    retry_after: Option<Duration>,
    excerpt: Option<String>,
}

/// Bytes that are kept of the answer to an accepted batch: all of it, where nothing is odd.
const ACCEPTED_KEPT: usize = 2 * 1024 * 1024;

/// Characters of the platform's text that an error keeps.
const TEXT_LIMIT: usize = 300;

impl ApiError {
    fn new(
        exchange: &Exchange,
        status: StatusCode,
        headers: &http::HeaderMap,
        body: &[u8],
    ) -> Self {
        let body = exchange.kept(body, REFUSED_KEPT);
        // Each member is read for itself, so that an odd one does not hide the others.
        let value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let code = value.get("code").and_then(|code| ErrorCode::deserialize(code).ok());
        let text = |name: &str| {
            let text = value.get(name).and_then(Value::as_str)?;
            Some(exchange.without_key(text))
        };
        let mut error = Self {
            status,
            code,
            message: text("message").map(|text| masked(&text)),
            error_id: text("errorId").map(|id| cut(&OpaqueId::from(id).without_numbers()).into()),
            timestamp: text("timestamp")
                .map(|time| cut(&Timestamp::from(time).without_numbers()).into()),
            retry_after: retry_after::read(headers),
            excerpt: None,
        };
        if error.code.is_none() && error.message.is_none() {
            // A key that JSON escapes in its own way shows when the JSON is written anew.
            let anew = value.to_string();
            let clean = exchange.kept(anew.as_bytes(), REFUSED_KEPT);
            let shown = if clean == anew { &body } else { &clean };
            let text = String::from_utf8_lossy(shown);
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            error.excerpt = (!text.is_empty()).then(|| masked(&exchange.without_key(&text)));
        }
        error
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The platform's code. It is independent of the status; a gateway sends none.
    pub fn code(&self) -> Option<ErrorCode> {
        self.code
    }

    /// The platform's words, cut after 300 characters.
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// The id of the error, which the support of 8x8 asks for.
    pub fn error_id(&self) -> Option<&OpaqueId> {
        self.error_id.as_ref()
    }

    /// When the error happened, by the platform's clock.
    pub fn timestamp(&self) -> Option<&Timestamp> {
        self.timestamp.as_ref()
    }

    /// How long to wait before another request, from `Retry-After` in either of its forms; zero
    /// for a date in the past, and at most about 136 years.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The start of a body that is not the platform's envelope, cut after 300 characters.
    pub fn excerpt(&self) -> Option<&str> {
        self.excerpt.as_deref()
    }

    /// What to do about it, where it can be told.
    fn advice(&self) -> &'static str {
        match self.status.as_u16() {
            300..=399 => "redirects are not followed; check the base URL",
            401 => "check the API key; a LON sub-account has a key of its own",
            403 => "check the rights of the API key and the allow-list of source addresses",
            404 => "check the sub-account id and the region or base URL",
            410 => "this version of the API is gone; look for a newer lon-batch",
            413 => "send fewer messages at a time",
            426 => "connect with TLS 1.3",
            429 => "slow down, then send it again",
            _ if self.code == Some(ErrorCode::IllegalSubAccountId) => {
                "check the sub-account id, the API key and the region"
            }
            _ => "",
        }
    }
}

/// The start of a text, with phone numbers masked before one could be cut in two.
fn masked(text: &str) -> String {
    let printable = text.replace(char::is_control, " ");
    cut(&Masked(&printable).to_string())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_LIMIT) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP {}", self.status)?;
        if let Some(code) = self.code {
            write!(f, ", code {code}")?;
        }
        let reason = || self.code.and_then(ErrorCode::reason);
        if let Some(text) = self.message().or_else(reason) {
            write!(f, ", {}", text.trim_end_matches('.'))?;
        }
        if let Some(excerpt) = &self.excerpt {
            write!(f, ", not the platform's envelope: {excerpt:?}")?;
        }
        if let Some(wait) = self.retry_after {
            write!(f, ", retry after {} s", wait.as_secs())?;
        }
        if let Some(id) = &self.error_id {
            write!(f, ", error id {id}")?;
        }
        match self.advice() {
            "" => Ok(()),
            advice => write!(f, "; {advice}"),
        }
    }
}

impl std::error::Error for ApiError {}

/// The platform took a batch, and the rest of its answer could not be read.
#[derive(thiserror::Error)]
#[error("the platform took the batch (HTTP {status}), but its answer cannot be read: {reason}; do not send it again, read the {} bytes that were kept", body.len())]
pub struct Unreadable {
    status: StatusCode,
    reason: UnreadableReason,
    body: Bytes,
    #[source]
    source: Option<TransportError>,
}

/// Why the answer to an accepted batch could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnreadableReason {
    /// It has no body.
    #[error("it is empty")]
    Empty,
    /// It was cut: the connection was lost, time ran out, or there was more than 16 MiB of it; or
    /// it ends in the middle of a value.
    #[error("it was cut")]
    Cut,
    /// It is not JSON.
    #[error("it is not JSON, line {line}, column {column}")]
    NotJson {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// It is an object that has none of the members of an answer.
    #[error("it is not an answer to a batch")]
    NoAnswer,
    /// It is JSON of another type than an answer: not an object, or a count that is a text.
    #[error("a value has another type than it should, line {line}, column {column}")]
    Type {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
}

impl Unreadable {
    /// The HTTP status, a 2xx.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Why it could not be read.
    pub fn reason(&self) -> UnreadableReason {
        self.reason
    }

    /// What came of the body, at most 2 MiB, as it came but for the API key. It may have phone
    /// numbers in it.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

impl fmt::Debug for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unreadable")
            .field("status", &self.status)
            .field("reason", &self.reason)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("source", &self.source)
            .finish()
    }
}

/// The answer to a batch, read from a body that came with a 2xx.
pub(crate) fn accepted(
    exchange: &Exchange,
    seen: Seen,
    body: &[u8],
) -> Result<BatchResponse, Error> {
    let reason = match BatchResponse::from_json(body) {
        Ok(response) => return Ok(response),
        Err(_) if seen.cut.is_some() => UnreadableReason::Cut,
        Err(reason) => reason,
    };
    let status = seen.status.unwrap_or(StatusCode::OK);
    Err(Error::AcceptedUnreadable(Box::new(Unreadable {
        status,
        reason,
        body: exchange.kept(body, ACCEPTED_KEPT),
        source: seen.cut.map(TransportError),
    })))
}

impl UnreadableReason {
    pub(crate) fn of(error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            Category::Data => Self::Type { line, column },
            Category::Eof if (line, column) == (1, 0) => Self::Empty,
            Category::Eof => Self::Cut,
            Category::Syntax | Category::Io => Self::NotJson { line, column },
        }
    }
}

/// An answer that is not a success.
pub(crate) fn answered(
    exchange: &Exchange,
    status: StatusCode,
    headers: &http::HeaderMap,
    body: &[u8],
) -> Error {
    let error = Box::new(ApiError::new(exchange, status, headers, body));
    // 303 says that the request was carried out. Gateways answer 408 and 499 when they give up on
    // a server behind them, which may have the request.
    let refused = matches!(status.as_u16(), 300..=302 | 304..=407 | 409..=498);
    if refused {
        Error::Refused(error)
    } else {
        Error::MayHaveBeenSent(MayHaveBeenSent::Answered(error))
    }
}

/// No answer. Only a connection that was never made proves that nothing was sent.
pub(crate) fn unanswered(error: reqwest::Error) -> Error {
    let error = error.without_url();
    if error.is_connect() || error.is_builder() {
        let source = NotSentCause::Http(error);
        return Error::NotSent(NotSent { source });
    }
    let timed_out = error.is_timeout();
    let source = TransportError(error);
    Error::MayHaveBeenSent(if timed_out {
        MayHaveBeenSent::TimedOut(source)
    } else {
        MayHaveBeenSent::ConnectionLost(source)
    })
}

/// The generated code could not make the request.
pub(crate) fn not_made() -> Error {
    let source = NotSentCause::Request;
    Error::NotSent(NotSent { source })
}

impl Error {
    fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Refused(error) | Self::MayHaveBeenSent(MayHaveBeenSent::Answered(error)) => {
                Some(error)
            }
            _ => None,
        }
    }

    /// The HTTP status, where there was an answer.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::AcceptedUnreadable(error) => Some(error.status),
            _ => self.api().map(ApiError::status),
        }
    }

    /// The platform's code, where it sent one.
    pub fn code(&self) -> Option<ErrorCode> {
        self.api()?.code()
    }

    /// The id of the error, which the support of 8x8 asks for, where the platform sent one.
    pub fn error_id(&self) -> Option<&OpaqueId> {
        self.api()?.error_id()
    }

    /// How long to wait before another request, where the answer told; see
    /// [`ApiError::retry_after`].
    pub fn retry_after(&self) -> Option<Duration> {
        self.api()?.retry_after()
    }

    /// Whether the platform may have taken the batch: it is unknown, or known that it did. Where
    /// it is true, sending the batch again can deliver it twice.
    pub fn may_have_been_sent(&self) -> bool {
        matches!(self, Self::MayHaveBeenSent(_) | Self::AcceptedUnreadable(_))
    }

    /// Whether the batch can be sent again as it is, without a doubt that anything is delivered
    /// twice: there was no connection, or the platform answered 429. It says that trying again is
    /// safe, not that it will help: a wrong host name is never found, and the client has tried it
    /// again by then as its [`RetryPolicy`](crate::RetryPolicy) says. Bound the tries.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NotSent(_) => true,
            Self::Refused(error) => error.status == StatusCode::TOO_MANY_REQUESTS,
            _ => false,
        }
    }
}

impl From<MsisdnError> for Error {
    fn from(error: MsisdnError) -> Self {
        Self::Invalid(error.into())
    }
}

impl From<RecipientError> for Error {
    fn from(error: RecipientError) -> Self {
        Self::Invalid(error.into())
    }
}
