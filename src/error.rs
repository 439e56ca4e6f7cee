//! Why sending a batch failed, and whether it was sent.

mod retry_after;

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::json::without_byte_order_mark;
use crate::outcome::{Outcome, OutcomeKind};
use crate::redact;
use crate::response::{UnreadableReason, lenient};
use crate::types::{BatchRequest, ErrorBody, ErrorCode, Text, Timestamp};

/// Why sending a batch failed.
///
/// It answers three questions: the [outcome](Self::outcome) of the batch,
/// [whether a retry is safe](Self::retry_is_safe), and
/// [whether a retry can help](Self::retry_can_help).
///
/// | variant | outcome | safe | can help |
/// |---|---|---|---|
/// | [`RecipientNotAllowed`](Self::RecipientNotAllowed) | not sent | yes | no |
/// | [`NoConnection`](Self::NoConnection) | not sent | yes | yes |
/// | [`Refused`](Self::Refused) with 429 | not sent | yes | yes |
/// | [`Refused`](Self::Refused) with another status | not sent | yes | no |
/// | [`TimedOut`](Self::TimedOut) | unknown | no | yes |
/// | [`ConnectionLost`](Self::ConnectionLost) | unknown | no | yes |
/// | [`Ambiguous`](Self::Ambiguous) | unknown | no | yes, unless the response may list accepted messages |
/// | [`AcceptedUnreadable`](Self::AcceptedUnreadable) | unknown | no | no |
///
/// Neither `Display` nor `Debug` contains the API key or a phone number.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A recipient is not listed in [`only_to`](crate::ClientBuilder::only_to). The batch was not
    /// sent.
    #[error(
        "nothing was sent: messages[{message}] is to a recipient that `ClientBuilder::only_to` does not list"
    )]
    RecipientNotAllowed {
        /// The first such message, counted from 0.
        message: usize,
    },
    /// The client could not connect, so nothing was sent.
    #[error(
        "nothing was sent: could not connect to the platform ({0}); check the base URL, the network and TLS"
    )]
    NoConnection(TransportError),
    /// The platform, or a gateway in front of it, refused the batch: a 3xx or 4xx except 303, 408
    /// and 499.
    #[error("the platform refused the batch: {_0}{}", _0.advice())]
    Refused(Box<ApiError>),
    /// No response came in time.
    #[error("the batch may have been sent, and resending can duplicate it: no response in time")]
    TimedOut(#[source] TransportError),
    /// The connection was lost before a response came.
    #[error(
        "the batch may have been sent, and resending can duplicate it: the connection was lost before a response"
    )]
    ConnectionLost(#[source] TransportError),
    /// The batch may have been processed: a 5xx, 303, 408 or 499, a refusal whose body may list
    /// accepted messages, or a truncated 429.
    #[error("the batch may have been sent, and resending can duplicate it: {0}")]
    Ambiguous(Box<ApiError>),
    /// The platform accepted the batch, but the response cannot be parsed. It is unknown which
    /// messages were accepted.
    #[error(transparent)]
    AcceptedUnreadable(Box<Unreadable>),
}

impl Error {
    /// The outcome of every message of the batch: [`NotSent`](OutcomeKind::NotSent) or
    /// [`Unknown`](OutcomeKind::Unknown).
    pub fn outcome(&self) -> OutcomeKind {
        match self {
            Self::RecipientNotAllowed { .. } | Self::NoConnection(_) | Self::Refused(_) => {
                OutcomeKind::NotSent
            }
            Self::TimedOut(_)
            | Self::ConnectionLost(_)
            | Self::Ambiguous(_)
            | Self::AcceptedUnreadable(_) => OutcomeKind::Unknown,
        }
    }

    /// Whether resending the batch cannot deliver a message twice.
    pub fn retry_is_safe(&self) -> bool {
        self.outcome() == OutcomeKind::NotSent
    }

    /// Whether resending the same batch can succeed.
    ///
    /// The client has already retried as its [`RetryPolicy`](crate::RetryPolicy) allows.
    pub fn retry_can_help(&self) -> bool {
        match self {
            Self::RecipientNotAllowed { .. } | Self::AcceptedUnreadable(_) => false,
            Self::Refused(error) => error.status == StatusCode::TOO_MANY_REQUESTS,
            Self::Ambiguous(error) => !error.may_list_accepted,
            Self::NoConnection(_) | Self::TimedOut(_) | Self::ConnectionLost(_) => true,
        }
    }

    /// The response of a [`Refused`](Self::Refused) or [`Ambiguous`](Self::Ambiguous) error.
    pub fn api_error(&self) -> Option<&ApiError> {
        match self {
            Self::Refused(error) | Self::Ambiguous(error) => Some(error),
            _ => None,
        }
    }

    /// The HTTP status, if there was a response.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::AcceptedUnreadable(error) => Some(error.status),
            _ => self.api_error().map(ApiError::status),
        }
    }

    /// The platform's code, if it sent one.
    pub fn code(&self) -> Option<ErrorCode> {
        self.api_error()?.code()
    }

    /// The id of the error, if the platform sent one. 8x8 support asks for it.
    pub fn error_id(&self) -> Option<&Text> {
        self.api_error()?.error_id()
    }

    /// How long the platform asks to wait; see [`ApiError::retry_after`].
    pub fn retry_after(&self) -> Option<Duration> {
        self.api_error()?.retry_after()
    }

    /// Classifies an attempt without a response. Only a failed connect proves that nothing was
    /// sent.
    pub(crate) fn without_response(error: &reqwest::Error) -> Self {
        let cause = TransportError::from(error);
        if error.is_connect() || error.is_builder() {
            Self::NoConnection(cause)
        } else if error.is_timeout() {
            Self::TimedOut(cause)
        } else {
            Self::ConnectionLost(cause)
        }
    }

    /// An error variant that the generated client never returns. Treated as possibly sent.
    pub(crate) fn unexpected() -> Self {
        Self::ConnectionLost(TransportError("unexpected error of the generated client".into()))
    }

    /// The generated client could not build the request.
    pub(crate) fn without_request() -> Self {
        Self::NoConnection(TransportError("the request could not be built".into()))
    }

    /// Classifies a response other than a 2xx. `was_truncated` says that its body is incomplete.
    pub(crate) fn from_response(
        request: &BatchRequest,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        was_truncated: bool,
    ) -> Self {
        let body = without_byte_order_mark(body);
        let error = Box::new(ApiError::new(request, status, headers, body));
        let may_list_accepted = error.may_list_accepted;
        let refused = match status.as_u16() {
            429 => !was_truncated,
            // 303 says that the request was processed. Gateways answer 408 and 499 when an upstream
            // server does not respond, although it may have the request.
            status => matches!(status, 300..=302 | 304..=407 | 409..=498),
        };
        if refused && !may_list_accepted { Self::Refused(error) } else { Self::Ambiguous(error) }
    }
}

/// The outcome of every message of the batch.
impl From<&Error> for Outcome {
    fn from(error: &Error) -> Self {
        let mut outcome = Self::new(error.outcome());
        outcome.status = error.status().map(|status| status.as_u16());
        outcome.code = error.code();
        let reason = match error {
            Error::RecipientNotAllowed { .. } => "recipient not allowed".to_owned(),
            Error::NoConnection(cause) => format!("no connection: {cause}"),
            Error::Refused(error) | Error::Ambiguous(error) => error.reason(),
            Error::TimedOut(_) => "no response in time".to_owned(),
            Error::ConnectionLost(cause) => format!("the connection was lost: {cause}"),
            Error::AcceptedUnreadable(error) => {
                format!("the response cannot be parsed: {}", error.reason)
            }
        };
        outcome.with_reason(reason)
    }
}

/// The error of the HTTP client, without the URL and with phone numbers masked.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct TransportError(Box<str>);

impl From<&reqwest::Error> for TransportError {
    fn from(error: &reqwest::Error) -> Self {
        // The error itself prints the URL. Its innermost source has the reason.
        let mut cause = error.source();
        while let Some(source) = cause.and_then(std::error::Error::source) {
            cause = Some(source);
        }
        let text = match cause {
            Some(cause) => cause.to_string(),
            None if error.is_timeout() => "timed out".to_owned(),
            None if error.is_builder() => "the request could not be built".to_owned(),
            None => "the HTTP client gave no reason".to_owned(),
        };
        Self(redact::printable(&text, &[]).into())
    }
}

/// A response other than a 2xx.
///
/// Phone numbers in its texts are masked, except in your own ids.
#[derive(Clone, Debug)]
pub struct ApiError {
    status: StatusCode,
    code: Option<ErrorCode>,
    message: Option<String>,
    error_id: Option<Text>,
    timestamp: Option<Timestamp>,
    retry_after: Option<Duration>,
    excerpt: Option<String>,
    may_list_accepted: bool,
}

/// How much of an error body is searched for its texts.
const BODY_LIMIT: usize = 64 * 1024;

impl ApiError {
    fn new(request: &BatchRequest, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let ids = client_ids(request);
        let may_list_accepted = lenient::may_list_accepted(body);
        let body = String::from_utf8_lossy(&body[..body.len().min(BODY_LIMIT)]);
        let envelope: ErrorBody = lenient::object(&body).unwrap_or_default();
        let message = envelope.message.as_deref().filter(|text| !text.trim().is_empty());
        let is_envelope = envelope.code.is_some() || message.is_some();
        let excerpt = redact::printable(&body, &ids);
        Self {
            status,
            code: envelope.code,
            message: message.map(|message| redact::printable(message, &ids)),
            error_id: envelope.error_id.map(|id| redact::printable(&id, &ids).into()),
            timestamp: envelope.timestamp.map(|time| {
                if time.is_time() { time } else { redact::printable(&time, &ids).into() }
            }),
            retry_after: retry_after::read(headers),
            excerpt: (!is_envelope && !excerpt.is_empty()).then_some(excerpt),
            may_list_accepted,
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The platform's code. It is independent of the status. A gateway sends none.
    pub fn code(&self) -> Option<ErrorCode> {
        self.code
    }

    /// The platform's message, truncated after 300 characters.
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// The id of the error. 8x8 support asks for it.
    pub fn error_id(&self) -> Option<&Text> {
        self.error_id.as_ref()
    }

    /// When the error happened, according to the platform.
    pub fn timestamp(&self) -> Option<&Timestamp> {
        self.timestamp.as_ref()
    }

    /// How long to wait before the next request, from `Retry-After` in seconds or as a date. Zero
    /// for a date in the past, and at most about 136 years.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The start of a body that is not the platform's error envelope, truncated after 300
    /// characters.
    pub fn excerpt(&self) -> Option<&str> {
        self.excerpt.as_deref()
    }

    /// The platform's message, else the meaning of the code, else the body, else the status.
    fn reason(&self) -> String {
        let reason = self.message().or_else(|| self.code.and_then(ErrorCode::reason));
        match reason.or(self.excerpt()) {
            Some(reason) => reason.to_owned(),
            None => format!("HTTP {}", self.status),
        }
    }

    fn advice(&self) -> &'static str {
        match (self.status.as_u16(), self.code) {
            (_, Some(ErrorCode::TooManyMessages | ErrorCode::BulkLimitReached)) | (413, _) => {
                "; send smaller batches"
            }
            (300..=399, _) => "; redirects are not followed; check the base URL",
            (401, _) => "; check the API key; a LON sub-account has its own",
            (403, _) => "; check the rights of the API key and the allow-list of source addresses",
            (404, _) => "; check the sub-account id and the region or base URL",
            (410, _) => "; this version of the API is gone; look for a newer lon-batch",
            (426, _) => "; connect with TLS 1.3",
            (429, _) => "; slow down, then retry",
            (_, Some(ErrorCode::IllegalSubAccountId)) => {
                "; check the sub-account id, the API key and the region"
            }
            _ => "",
        }
    }
}

/// The caller's ids in a request.
fn client_ids(request: &BatchRequest) -> Vec<&str> {
    let ids = request.messages.iter().filter_map(|it| it.client_message_id.as_deref());
    request.client_batch_id.as_deref().into_iter().chain(ids).collect()
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP {}", self.status)?;
        if let Some(code) = self.code {
            write!(f, ", code {code}")?;
        }
        if let Some(text) = self.message().or_else(|| self.code.and_then(ErrorCode::reason)) {
            write!(f, ", {}", text.trim_end_matches('.'))?;
        }
        if let Some(excerpt) = &self.excerpt {
            write!(f, ", not the platform's error format: {excerpt:?}")?;
        }
        if let Some(wait) = self.retry_after {
            write!(f, ", retry after {} s", wait.as_secs())?;
        }
        if let Some(id) = &self.error_id {
            write!(f, ", error id {id}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ApiError {}

/// The platform accepted the batch, but the response cannot be parsed.
#[derive(thiserror::Error)]
#[error(
    "the platform accepted the batch (HTTP {status}), but the response cannot be parsed: {reason}; do not resend the batch; {} bytes of the body are kept",
    body.len()
)]
pub struct Unreadable {
    status: StatusCode,
    reason: UnreadableReason,
    body: Bytes,
}

/// How much of an unreadable response is kept.
const MAX_KEPT_BODY_BYTES: usize = 2 * 1024 * 1024;

impl Unreadable {
    pub(crate) fn new(status: StatusCode, reason: UnreadableReason, body: &[u8]) -> Self {
        let body = Bytes::copy_from_slice(&body[..body.len().min(MAX_KEPT_BODY_BYTES)]);
        Self { status, reason, body }
    }

    /// The HTTP status, a 2xx.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Why the response cannot be parsed.
    pub fn reason(&self) -> UnreadableReason {
        self.reason
    }

    /// The start of the body, at most 2 MiB, unchanged except that the API key is redacted. It may
    /// contain phone numbers.
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
            .finish()
    }
}
