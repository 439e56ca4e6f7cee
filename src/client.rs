//! The client: one batch, one request at a time.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use progenitor_client::Error as GeneratedError;
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use url::Host;

use crate::error::{Error, accepted, answered, not_made, unanswered};
use crate::exchange::Exchange;
use crate::problem::{Invalid, Rule};
use crate::retry::{Attempts, Budget, Next};
use crate::{
    Batch, BatchRequest, BatchResponse, Region, RetryPolicy, SubAccountId, generated, tls, wire,
};

/// Sends batches for one sub-account.
///
/// Cloning it is cheap, and the clones share their connections. It is `Send` and `Sync`, and so
/// are its futures.
///
/// ```no_run
/// # async fn example() -> Result<(), lon_batch::Error> {
/// use lon_batch::{Batch, Client, Content, Message, Msisdn, Region};
///
/// let client = Client::builder("my-subaccount", "my-api-key")
///     .region(Region::AsiaPacific)
///     .build()?;
/// let message = Message::new("+6591234567".parse::<Msisdn>()?, Content::new("Hello"));
/// let batch = Batch::builder().message(message.client_message_id("abc-123")).build()?;
/// let response = client.send(&batch).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    generated: generated::Client,
    sub_account_id: SubAccountId,
    retry: RetryPolicy,
    pub(crate) budget: Arc<Budget>,
}

impl Client {
    /// Starts a client for a sub-account with its API key. Both are checked when it is built.
    pub fn builder(
        sub_account_id: impl Into<String>,
        api_key: impl Into<SecretString>,
    ) -> ClientBuilder {
        ClientBuilder {
            sub_account_id: sub_account_id.into(),
            api_key: api_key.into(),
            base_url: Region::default().base_url().to_owned(),
            timeout: ClientBuilder::DEFAULT_TIMEOUT,
            connect_timeout: ClientBuilder::DEFAULT_CONNECT_TIMEOUT,
            http_client: None,
            retry: RetryPolicy::default(),
        }
    }

    /// Sends a batch in one request.
    ///
    /// Where there was no connection, or the platform answered 429, the same request is sent
    /// again as the [`RetryPolicy`] says: then the platform took nothing of it. No other is, and
    /// no redirect is followed.
    ///
    /// A response does not mean that every message was accepted; see
    /// [`BatchResponse::report`].
    ///
    /// # Errors
    /// Every error tells whether the batch was sent; see [`Error`].
    ///
    /// # Panics
    /// Outside a tokio runtime with its timers on.
    ///
    /// # Dropping the future
    /// A future that is dropped before it is ready ends the request where it stands: the batch
    /// may have been sent, as after a time-out. A future that was never polled sent nothing.
    pub async fn send(&self, batch: &Batch) -> Result<BatchResponse, Error> {
        let body = wire::body(batch.request(), wire::TYPICAL_MESSAGE).map_err(|_| not_made())?;
        let mut attempts = Attempts::new(&self.retry, &self.budget, batch.len());
        loop {
            attempts.start();
            let (status, result) = self.attempt(body.clone()).await;
            match attempts.after(status, result) {
                Next::Done(result) => return result,
                Next::SendAgain { after } => tokio::time::sleep(after).await,
            }
        }
    }

    /// One request with a body that was written beforehand, and the status of its answer.
    pub(crate) async fn attempt(
        &self,
        body: Bytes,
    ) -> (Option<StatusCode>, Result<BatchResponse, Error>) {
        let mut client = self.generated.clone();
        client.inner = self.generated.inner.with_body(body);
        // The generated code wants a request to write; its hook puts the body in the place of it.
        let placeholder = BatchRequest::required(Vec::new());
        let result = client.send_lon_batch(&self.sub_account_id, &placeholder).await;
        let exchange = &client.inner;
        let seen = exchange.take_seen();
        let status = seen.status;
        let result = match result {
            Ok(response) if !response.says_nothing() => Ok(response.into_inner()),
            Ok(_) | Err(GeneratedError::InvalidResponsePayload(..)) => {
                let body = seen.body.clone();
                accepted(exchange, seen, &body)
            }
            Err(GeneratedError::UnexpectedResponse(response)) => {
                let (status, headers) = (response.status(), response.headers().clone());
                // The body was read by then, so this neither waits nor fails.
                let body = response.bytes().await.unwrap_or_default();
                if status.is_success() {
                    accepted(exchange, seen, &body)
                } else {
                    Err(answered(exchange, status, &headers, &body))
                }
            }
            Err(
                GeneratedError::CommunicationError(error)
                | GeneratedError::ResponseBodyError(error)
                | GeneratedError::InvalidUpgrade(error),
            ) => Err(unanswered(error)),
            Err(
                GeneratedError::InvalidRequest(_)
                | GeneratedError::Custom(_)
                | GeneratedError::ErrorResponse(_),
            ) => Err(not_made()),
        };
        (status, result)
    }

    /// The same client with another time-out for whole requests: `client.with_timeout(t).send(..)`
    /// changes it for one call.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        let mut client = self.clone();
        client.generated.inner.timeout = timeout;
        client
    }

    /// The sub-account that sends.
    pub fn sub_account_id(&self) -> &SubAccountId {
        &self.sub_account_id
    }

    /// The URL that requests go to, without the path of the API and without a slash at its end.
    pub fn base_url(&self) -> &str {
        &self.generated.baseurl
    }

    /// The client that progenitor generated from the spec, with this client's key and time-out.
    ///
    /// It sends what it is given: nothing is checked. A body that is cut or too long is given on as
    /// far as it came. Its errors print URLs, headers and bodies, which may have phone numbers in
    /// them, and its `is_retryable` is true of requests that may have been processed.
    pub fn generated(&self) -> &generated::Client {
        &self.generated
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("sub_account_id", &self.sub_account_id.as_str())
            .field("base_url", &self.base_url())
            .field("timeout", &self.generated.inner.timeout)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// Builds a [`Client`].
pub struct ClientBuilder {
    sub_account_id: String,
    api_key: SecretString,
    base_url: String,
    timeout: Duration,
    connect_timeout: Duration,
    http_client: Option<reqwest::ClientBuilder>,
    retry: RetryPolicy,
}

impl ClientBuilder {
    /// The time that a whole request may take unless another is set: 60 seconds. What is too
    /// short makes batches whose fate is unknown.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
    /// The time that a connection may take to be made unless another is set: 10 seconds.
    pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

    /// How long an unused connection is kept. A server that closes one while a request goes out
    /// on it leaves that request's fate unknown; common gateways close after 60 seconds.
    const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

    /// The region that the account lives in; [`Region::AsiaPacific`] unless it is set.
    #[must_use]
    pub fn region(self, region: Region) -> Self {
        self.base_url(region.base_url())
    }

    /// Another base URL in place of a region's: https to any host, or http to this machine
    /// (`localhost`, `127.0.0.0/8`, `[::1]`). It may have a path, which goes before the API's.
    #[must_use]
    pub fn base_url(mut self, base_url: impl Into<String>) -> Self {
        self.base_url = base_url.into();
        self
    }

    /// The time that a whole request may take, from its start to the end of the answer.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The time that a connection may take to be made.
    ///
    /// Keep it shorter than the time-out of the whole request: a connection that is not made in
    /// time proves that nothing was sent, a request that is not answered in time proves nothing.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// When a batch is sent again by itself; see [`RetryPolicy`] for what it is unless it is set.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// An HTTP client of your own, to be built: other TLS, a proxy, certificates.
    ///
    /// It is built here so that it cannot send a batch twice or to another host: redirects and
    /// retries of its own are turned off, unused connections are not kept for long, the connect
    /// time-out is that of this builder, and plain http, which goes to this machine alone, takes
    /// no proxy. The key, the user agent and the time-out of the request are set on each request.
    ///
    /// It has to be of the version of reqwest that is re-exported as [`crate::reqwest`], and it
    /// has the TLS that your own features of reqwest give it.
    #[must_use]
    pub fn http_client(mut self, client: reqwest::ClientBuilder) -> Self {
        self.http_client = Some(client);
        self
    }

    /// The client.
    ///
    /// # Errors
    /// Everything that is wrong with the settings, without their values: a sub-account id outside
    /// the platform's pattern; an API key that is empty or has other than visible ASCII
    /// characters; a base URL that is none, has http with another host than this machine, or has
    /// credentials, a query or a fragment; a time-out of zero; no TLS.
    pub fn build(self) -> Result<Client, Invalid> {
        let mut problems = Vec::new();
        let mut note = |error: Invalid| problems.extend_from_slice(error.problems());

        let sub_account_id = SubAccountId::parse(&self.sub_account_id).map_err(&mut note).ok();
        let base_url = checked(&self.base_url)
            .map_err(|why| note(Invalid::setting("base_url", Rule::BaseUrl(why))))
            .ok();
        let found = self.api_key.expose_secret().chars().count();
        let exchange = Exchange::new(self.api_key, self.timeout);
        if exchange.is_none() {
            note(Invalid::setting("api_key", Rule::ApiKey { found }));
        }
        for (name, time) in [("timeout", self.timeout), ("connect_timeout", self.connect_timeout)] {
            if time.is_zero() {
                note(Invalid::setting(name, Rule::NoTime));
            }
        }
        let http_client = base_url.as_ref().and_then(|base_url| {
            http_client(self.http_client, base_url, self.connect_timeout)
                .map_err(|(name, rule)| note(Invalid::setting(name, rule)))
                .ok()
        });
        match (sub_account_id, base_url, exchange, http_client) {
            (Some(sub_account_id), Some(base_url), Some(exchange), Some(http_client))
                if problems.is_empty() =>
            {
                let base_url = base_url.as_str().trim_end_matches('/');
                Ok(Client {
                    generated: generated::Client::new_with_client(base_url, http_client, exchange),
                    sub_account_id,
                    budget: Arc::new(Budget::of(&self.retry)),
                    retry: self.retry,
                })
            }
            _ => Err(Invalid::new(problems)),
        }
    }
}

/// The client that sends, or which setting is wrong.
fn http_client(
    own: Option<reqwest::ClientBuilder>,
    base_url: &Url,
    connect_timeout: Duration,
) -> Result<reqwest::Client, (&'static str, Rule)> {
    let https = base_url.scheme() == "https";
    let (name, client) = if let Some(own) = own {
        ("http_client", own)
    } else {
        let client = reqwest::Client::builder().https_only(https);
        let client = if https { tls::with_tls(client) } else { tls::without_tls(client) };
        ("tls", client.map_err(|rule| ("tls", rule))?)
    };
    // A proxy would see the key in plain http.
    let client = if https { client } else { client.no_proxy() };
    client
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(ClientBuilder::IDLE_TIMEOUT)
        .build()
        .map_err(|error| (name, Rule::HttpClient(error.without_url().to_string())))
}

/// The base URL, or why it cannot be used.
fn checked(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "not an absolute URL")?;
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => {}
        ("http", Some(host)) if is_this_machine(&host) => {}
        ("http", _) => return Err("http to another machine would show the API key; use https"),
        _ => return Err("not an https URL"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has credentials; the API key is given apart");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or a fragment");
    }
    Ok(url)
}

fn is_this_machine(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => Ipv4Addr::is_loopback(address),
        Host::Ipv6(address) => Ipv6Addr::is_loopback(address),
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing is checked yet: the key may stand in the place of another setting.
        f.debug_struct("ClientBuilder")
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}
