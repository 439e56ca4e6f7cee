//! Hooks of the generated client that complete each request and read its response.

pub(crate) mod retry;

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use progenitor_client::{ClientHooks, Error, OperationInfo};
use reqwest::header::{AUTHORIZATION, HeaderValue, USER_AGENT};
use reqwest::{Request, Response};
use secrecy::{ExposeSecret, SecretString};

use crate::generated::Client;
use crate::redact;

/// How much of a response is read. 1,000 results take about 300 kB.
const MAX_RESPONSE_BYTES: usize = 16 * 1024 * 1024;

/// The API key and the timeout of each request.
#[derive(Clone)]
pub struct Transport {
    api_key: SecretString,
    authorization: HeaderValue,
    pub(crate) timeout: Duration,
}

/// Marks a response whose body is truncated.
#[derive(Clone, Copy)]
pub(crate) struct Truncated;

impl Transport {
    /// `None` if the key is not valid in a header, or too short to be redacted in responses.
    pub(crate) fn new(api_key: SecretString, timeout: Duration) -> Option<Self> {
        let key = api_key.expose_secret();
        if key.len() < redact::MIN_SECRET_LEN || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let mut authorization = HeaderValue::from_str(&format!("Bearer {key}")).ok()?;
        authorization.set_sensitive(true);
        Some(Self { api_key, authorization, timeout })
    }

    /// Reads the body up to a limit and redacts an echoed API key. A truncated body is kept,
    /// because the status still decides the outcome.
    async fn read(&self, mut response: Response) -> Response {
        let expected = response
            .content_length()
            .map_or(0, |it| usize::try_from(it).unwrap_or(MAX_RESPONSE_BYTES));
        let mut body = BytesMut::with_capacity(expected.min(MAX_RESPONSE_BYTES));
        let was_truncated = loop {
            match response.chunk().await {
                Ok(Some(chunk)) if chunk.len() <= MAX_RESPONSE_BYTES - body.len() => {
                    body.extend_from_slice(&chunk);
                }
                Ok(Some(chunk)) => {
                    body.extend_from_slice(&chunk[..MAX_RESPONSE_BYTES - body.len()]);
                    break true;
                }
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        let clean = redact::without_secret(&body, self.api_key.expose_secret());
        let mut read = http::Response::new(clean.map_or_else(|| body.freeze(), Bytes::from));
        *read.status_mut() = response.status();
        *read.headers_mut() = std::mem::take(response.headers_mut());
        if was_truncated {
            read.extensions_mut().insert(Truncated);
        }
        Response::from(read)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl ClientHooks<Transport> for Client {
    async fn pre<E>(&self, request: &mut Request, _: &OperationInfo) -> Result<(), Error<E>> {
        let agent = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
        let headers = request.headers_mut();
        // progenitor sends the version of the spec in an undocumented header. The platform has an
        // error code (2002) for unsupported versions.
        headers.remove("api-version");
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        headers.insert(AUTHORIZATION, self.inner.authorization.clone());
        *request.timeout_mut() = Some(self.inner.timeout);
        Ok(())
    }

    async fn exec(&self, request: Request, _: &OperationInfo) -> reqwest::Result<Response> {
        let response = self.client.execute(request).await?;
        Ok(self.inner.read(response).await)
    }
}

#[cfg(test)]
mod tests {
    use super::Transport;
    use std::time::Duration;

    #[test]
    fn the_authorization_header_is_sensitive() {
        let transport = Transport::new("an-api-key".into(), Duration::from_secs(1)).unwrap();
        assert_eq!(format!("{:?}", transport.authorization), "Sensitive");
    }
}
