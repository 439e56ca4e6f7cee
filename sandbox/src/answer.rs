//! How a request is answered.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// How the sandbox answers a request.
///
/// In JSON it is an object whose member `answer` has the name: `{"answer": "acceptAndHangUp"}`,
/// `{"answer": "tooManyRequests", "retryAfter": 2}`, `{"answer": "late", "milliseconds": 500}`,
/// `{"answer": "error", "status": 500, "code": 2000}`,
/// `{"answer": "exactly", "status": 502, "headers": [["content-type", "text/html"]], "body": "<html>"}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    tag = "answer",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
#[non_exhaustive]
pub enum Answer {
    /// By the contract.
    Contract,
    /// 429 with code 429, and `Retry-After` if a time is given. Nothing is accepted.
    TooManyRequests {
        /// Seconds to wait.
        retry_after: Option<u32>,
    },
    /// A status with the platform's error envelope. Nothing is accepted.
    Error {
        /// The status, such as 500.
        status: u16,
        /// The code in the envelope.
        code: i64,
    },
    /// Exactly this. Nothing is accepted.
    Exactly {
        /// The status.
        status: u16,
        /// The headers.
        #[serde(default)]
        headers: Vec<(String, String)>,
        /// The body; a string in JSON.
        #[serde(default)]
        body: Bytes,
    },
    /// Reads the request, accepts nothing, and closes the connection.
    HangUp,
    /// Judges by the contract and accepts messages, then closes the connection without an answer.
    AcceptAndHangUp,
    /// Judges by the contract and accepts messages, then answers 500 with code 2000.
    AcceptAndFail,
    /// Judges by the contract and accepts messages, then closes the connection in the middle of the
    /// answer.
    AcceptAndCut,
    /// Judges by the contract and accepts messages, then answers exactly this.
    AcceptAndAnswer {
        /// The status.
        status: u16,
        /// The headers.
        #[serde(default)]
        headers: Vec<(String, String)>,
        /// The body; a string in JSON.
        #[serde(default)]
        body: Bytes,
    },
    /// By the contract, with the JSON of the answer changed: entries left out or in another order,
    /// counts that do not add up. JSON has no such answer.
    #[serde(skip)]
    Edited(fn(&mut Value)),
    /// Judges by the contract and accepts messages at once. The answer comes after this time, to a
    /// client that may have given up.
    Late(#[serde(deserialize_with = "milliseconds")] Duration),
}

fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Late {
        milliseconds: u64,
    }
    Late::deserialize(deserializer).map(|late| Duration::from_millis(late.milliseconds))
}

impl Answer {
    /// Whether its JSON has no member but the name. (serde ignores others there.)
    pub(crate) fn is_bare(&self) -> bool {
        matches!(
            self,
            Self::Contract
                | Self::HangUp
                | Self::AcceptAndHangUp
                | Self::AcceptAndFail
                | Self::AcceptAndCut
        )
    }

    /// A part that HTTP cannot carry, if there is one.
    pub(crate) fn problem(&self) -> Option<String> {
        match self {
            Self::Error { status, .. } => self::status(*status).err(),
            Self::Exactly { status, headers, .. }
            | Self::AcceptAndAnswer { status, headers, .. } => {
                self::status(*status).err().or_else(|| self::headers(headers).err())
            }
            _ => None,
        }
    }
}

/// A final status. (1xx is not one.)
pub(crate) fn status(status: u16) -> Result<StatusCode, String> {
    let code = StatusCode::from_u16(status).ok().filter(|code| !code.is_informational());
    code.ok_or_else(|| format!("status {status}: expected 200 to 999"))
}

pub(crate) fn headers(headers: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let key = HeaderName::try_from(name).map_err(|_| format!("header {name:?}: bad name"))?;
        let value =
            HeaderValue::try_from(value).map_err(|_| format!("header {name}: bad value"))?;
        map.append(key, value);
    }
    Ok(map)
}
