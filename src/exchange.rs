//! What goes out with a request, and how its answer is read: the hooks of the generated client.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use progenitor_client::{ClientHooks, OperationInfo};
use reqwest::header::{AUTHORIZATION, HeaderValue, USER_AGENT};
use reqwest::{Request, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};

use crate::generated;

/// Bytes that are read of the answer to a batch that was accepted. 1,000 verdicts take about
/// 300 kB.
const ACCEPTED_LIMIT: usize = 16 * 1024 * 1024;
/// Bytes that are read and kept of any other answer.
pub(crate) const REFUSED_KEPT: usize = 64 * 1024;

const REDACTED: &str = "[redacted]";

/// The key, the time that a request may take, and what was seen of its answer.
#[derive(Clone)]
pub struct Exchange {
    api_key: SecretString,
    authorization: HeaderValue,
    pub(crate) timeout: Duration,
    /// What goes out in place of the body that the generated code wrote.
    body: Option<Bytes>,
    seen: Arc<Mutex<Seen>>,
}

/// What was seen of the last answer and does not come through the generated code.
#[derive(Default)]
pub(crate) struct Seen {
    pub status: Option<StatusCode>,
    /// Why the body ends where it ends, if it was cut.
    pub cut: Option<reqwest::Error>,
    /// The body, which the generated code does not give back once it has read it.
    pub body: Bytes,
}

impl Exchange {
    /// `None` where the key cannot stand in a header.
    pub(crate) fn new(api_key: SecretString, timeout: Duration) -> Option<Self> {
        let key = api_key.expose_secret();
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let mut authorization = HeaderValue::from_str(&format!("Bearer {key}")).ok()?;
        authorization.set_sensitive(true);
        Some(Self { api_key, authorization, timeout, body: None, seen: Arc::default() })
    }

    /// The same for a request of its own, with a body that was written beforehand, of whose answer
    /// nothing was seen yet.
    pub(crate) fn with_body(&self, body: Bytes) -> Self {
        Self { body: Some(body), seen: Arc::default(), ..self.clone() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take_seen(&self) -> Seen {
        std::mem::take(&mut *self.seen())
    }

    /// The start of a body, without the API key.
    pub(crate) fn kept(&self, body: &[u8], limit: usize) -> Bytes {
        let key = self.api_key.expose_secret();
        let escaped = key.replace('\\', r"\\").replace('"', "\\\"");
        let body = without(body, key.as_bytes());
        let mut body = without(&body, escaped.as_bytes());
        body.truncate(limit);
        // The start of a key, where the body was cut in it.
        let cut = (1..key.len()).rev().find(|start| body.ends_with(&key.as_bytes()[..*start]));
        body.truncate(body.len() - cut.filter(|start| *start >= 4).unwrap_or(0));
        Bytes::from(body)
    }

    /// A text of an answer without the API key, also where JSON had escaped it in other ways.
    pub(crate) fn without_key(&self, text: &str) -> String {
        let key = self.api_key.expose_secret();
        let html = key.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        text.replace(key, REDACTED).replace(&html, REDACTED)
    }

    /// Reads an answer whole, within bounds. A body that is cut is kept as far as it came.
    async fn read(&self, mut response: Response) -> Response {
        let status = response.status();
        let limit = if status.is_success() { ACCEPTED_LIMIT } else { REFUSED_KEPT };
        let mut cut = None;
        let mut body = BytesMut::new();
        while body.len() < limit {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    let room = limit - body.len();
                    body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                }
                Ok(None) => break,
                Err(error) => {
                    cut = Some(error.without_url());
                    break;
                }
            }
        }
        let body = body.freeze();
        let mut seen = self.seen();
        seen.status = Some(status);
        seen.cut = cut;
        seen.body = body.clone();
        drop(seen);
        let mut read = http::Response::new(body);
        *read.status_mut() = status;
        *read.headers_mut() = std::mem::take(response.headers_mut());
        Response::from(read)
    }
}

/// The text with every occurrence of a secret replaced.
fn without(text: &[u8], secret: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memmem::find(rest, secret) {
        clean.extend_from_slice(&rest[..at]);
        clean.extend_from_slice(REDACTED.as_bytes());
        rest = &rest[at + secret.len()..];
    }
    clean.extend_from_slice(rest);
    clean
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl ClientHooks<Exchange> for generated::Client {
    async fn pre<E>(
        &self,
        request: &mut Request,
        _: &OperationInfo,
    ) -> Result<(), progenitor_client::Error<E>> {
        let agent = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
        let headers = request.headers_mut();
        // The generator sends the version of the spec in a header that the platform does not
        // document; it has a code (2002) for a version that it does not like.
        headers.remove("api-version");
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        headers.insert(AUTHORIZATION, self.inner.authorization.clone());
        *request.timeout_mut() = Some(self.inner.timeout);
        if let Some(body) = &self.inner.body {
            *request.body_mut() = Some(body.clone().into());
        }
        Ok(())
    }

    async fn exec(&self, request: Request, _: &OperationInfo) -> reqwest::Result<Response> {
        let response = self.client.execute(request).await?;
        Ok(self.inner.read(response).await)
    }
}

#[cfg(test)]
mod tests {
    use super::Exchange;
    use std::time::Duration;

    #[test]
    fn the_key_is_marked_for_what_prints_headers() {
        let exchange = Exchange::new("a-key".into(), Duration::from_secs(1)).unwrap();
        assert!(exchange.authorization.is_sensitive());
        assert_eq!(format!("{:?}", exchange.authorization), "Sensitive");
    }
}
