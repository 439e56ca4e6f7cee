//! The client: one batch, one call.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use progenitor_client::Error as GeneratedError;
use reqwest::Url;
use reqwest::redirect::Policy;
use secrecy::SecretString;
use tracing::{Instrument, Span};
use url::Host;

use crate::error::{Error, Unreadable};
use crate::generated;
use crate::invalid::{Invalid, Problem, Subject};
use crate::outcome::{Outcome, OutcomeKind};
use crate::phone::Recipient;
use crate::request::Batch;
use crate::transport::retry::{Next, Retries, RetryPolicy, decisive};
use crate::transport::{Transport, Truncated};
use crate::types::{BatchRequest, BatchResponse, Message, Region, SubAccountId};

/// Sends batches for one sub-account.
///
/// Clones are cheap and share their connections.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use lon_batch::{Batch, Client, Content, Message, Msisdn, Region};
///
/// let client = Client::builder("my-subaccount", "my-api-key")
///     .region(Region::AsiaPacific)
///     .build()?;
/// let message = Message::new(Msisdn::parse("+66812345678")?, Content::new("Hello"));
/// let batch = Batch::builder().message(message.client_message_id("abc-123")).build()?;
/// let response = client.send(&batch).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    generated: generated::Client,
    sub_account_id: SubAccountId,
    /// Host and port of the base URL, for spans.
    server: (Arc<str>, u16),
    connect_timeout: Duration,
    retry: RetryPolicy,
    only_to: Option<Arc<HashSet<Recipient>>>,
}

impl Client {
    /// Starts a client for a sub-account with its API key.
    pub fn builder(
        sub_account_id: impl Into<String>,
        api_key: impl Into<SecretString>,
    ) -> ClientBuilder {
        ClientBuilder {
            sub_account_id: sub_account_id.into(),
            api_key: api_key.into(),
            base_url: Region::default().base_url().to_owned(),
            timeout: ClientBuilder::DEFAULT_TIMEOUT,
            connect_timeout: None,
            http_client: None,
            retry: RetryPolicy::default(),
            only_to: None,
        }
    }

    /// Builds a client from environment variables; see [`ClientBuilder::from_env`].
    ///
    /// # Errors
    /// As [`ClientBuilder::from_env`] and [`ClientBuilder::build`].
    pub fn from_env() -> Result<Self, Invalid> {
        ClientBuilder::from_env()?.build()
    }

    /// Sends a batch in one request.
    ///
    /// By default, the client retries only if it could not connect or the platform answered 429,
    /// because then nothing was sent; see [`RetryPolicy`]. It follows no redirect.
    ///
    /// A response does not mean that every message was accepted; see
    /// [`BatchResponse::report`].
    ///
    /// # Errors
    /// Every [`Error`] says whether the batch was sent.
    ///
    /// # Panics
    /// Outside a tokio runtime with timers.
    ///
    /// # Cancellation
    /// If you drop the future, for instance in `select!` or in your own timeout, the batch may
    /// still have been sent. A future that was never polled sent nothing.
    pub async fn send(&self, batch: &Batch) -> Result<BatchResponse, Error> {
        self.send_request(batch.request()).await.0
    }

    /// Sends one message and returns its outcome.
    ///
    /// If the message is invalid, its outcome is [`NotSent`](OutcomeKind::NotSent) and the reason
    /// lists the problems. An error of [`send`](Self::send) is reported as an outcome, too.
    ///
    /// ```no_run
    /// # async fn example(client: lon_batch::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use lon_batch::{Content, Message, Msisdn, OutcomeKind};
    ///
    /// let message = Message::new(Msisdn::parse("+66812345678")?, Content::new("Hello"));
    /// let outcome = client.send_message(message.client_message_id("abc-123")).await;
    /// match outcome.kind {
    ///     OutcomeKind::Accepted => println!("accepted as {:?}", outcome.umid),
    ///     OutcomeKind::Rejected | OutcomeKind::NotSent => println!("fix it and resend: {outcome}"),
    ///     OutcomeKind::Unknown => println!("do not resend before a receipt settles it: {outcome}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// As [`send`](Self::send).
    pub async fn send_message(&self, message: Message) -> Outcome {
        let batch = match Batch::builder().message(message).build() {
            Ok(batch) => batch,
            Err(invalid) => {
                return Outcome::new(OutcomeKind::NotSent).with_reason(invalid.to_line());
            }
        };
        let (result, sent_before) = self.send_request(batch.request()).await;
        let outcome = match &result {
            Ok(response) => response.report(&batch).into_outcomes().swap_remove(0),
            Err(error) => Outcome::from(error),
        };
        outcome.unknown_if_sent_earlier(sent_before)
    }

    /// The result of the last attempt, and whether an earlier one may have been sent.
    async fn send_request(&self, request: &BatchRequest) -> (Result<BatchResponse, Error>, bool) {
        if let Some(message) = request.messages.iter().position(|it| !self.allows(&it.user)) {
            return (Err(Error::RecipientNotAllowed { message }), false);
        }
        let messages = request.messages.len();
        let mut retries = Retries::new(&self.retry, messages);
        let attempts = async {
            loop {
                retries.begin();
                match retries.after(self.attempt(request).await) {
                    Next::Retry { delay, .. } => tokio::time::sleep(delay).await,
                    Next::Finished { result, earlier } => {
                        let sent_before = earlier.is_some();
                        return (result.map_err(|last| decisive(last, earlier)), sent_before);
                    }
                }
            }
        };
        attempts.instrument(self.span(messages)).await
    }

    /// The span of sending a batch.
    pub(crate) fn span(&self, messages: usize) -> Span {
        tracing::info_span!(
            "send_batch",
            messages,
            "http.request.method" = "POST",
            "server.address" = &*self.server.0,
            "server.port" = self.server.1,
        )
    }

    /// Whether [`ClientBuilder::only_to`] allows a recipient.
    pub(crate) fn allows(&self, recipient: &Recipient) -> bool {
        self.only_to.as_ref().is_none_or(|allowed| allowed.contains(recipient))
    }

    /// Sends a request once.
    pub(crate) async fn attempt(&self, request: &BatchRequest) -> Result<BatchResponse, Error> {
        let result = self.generated.send_lon_batch(&self.sub_account_id, request).await;
        match result {
            Ok(response) => Ok(response.into_inner().0),
            Err(GeneratedError::InvalidResponsePayload(body, _)) => {
                parse_success_body(StatusCode::OK, &body)
            }
            Err(GeneratedError::UnexpectedResponse(response)) => {
                let (status, headers) = (response.status(), response.headers().clone());
                let was_truncated = response.extensions().get::<Truncated>().is_some();
                // The hooks have already read the body.
                let body = response.bytes().await.unwrap_or_default();
                if status.is_success() {
                    parse_success_body(status, &body)
                } else {
                    Err(Error::from_response(request, status, &headers, &body, was_truncated))
                }
            }
            Err(
                GeneratedError::CommunicationError(error)
                | GeneratedError::ResponseBodyError(error)
                | GeneratedError::InvalidUpgrade(error),
            ) => Err(Error::without_response(&error)),
            Err(GeneratedError::InvalidRequest(_)) => Err(Error::without_request()),
            Err(GeneratedError::Custom(_) | GeneratedError::ErrorResponse(_)) => {
                Err(Error::unexpected())
            }
        }
    }

    /// A copy of the client with another timeout for each attempt.
    ///
    /// # Errors
    /// The timeout is not longer than the connect timeout; see
    /// [`ClientBuilder::connect_timeout`].
    pub fn with_timeout(&self, timeout: Duration) -> Result<Self, Invalid> {
        let mut client = self.clone();
        client.generated.inner.timeout = timeout;
        match timeout_problem(timeout, self.connect_timeout) {
            Some(problem) => Err(Invalid::new(Subject::Client, vec![problem])),
            None => Ok(client),
        }
    }

    /// The sub-account that sends.
    pub fn sub_account_id(&self) -> &SubAccountId {
        &self.sub_account_id
    }

    /// The base URL of requests, without the API's path and without a trailing slash.
    pub fn base_url(&self) -> &str {
        &self.generated.baseurl
    }
}

/// Parses the body of a 2xx.
fn parse_success_body(status: StatusCode, body: &[u8]) -> Result<BatchResponse, Error> {
    BatchResponse::from_json(body).map_err(|reason| {
        Error::AcceptedUnreadable(Box::new(Unreadable::new(status, reason, body)))
    })
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
    connect_timeout: Option<Duration>,
    http_client: Option<reqwest::ClientBuilder>,
    retry: RetryPolicy,
    only_to: Option<HashSet<Recipient>>,
}

impl ClientBuilder {
    /// The default timeout of an attempt: 60 seconds. If it is too short, you won't know whether
    /// some batches were sent.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
    /// The default connect timeout: 10 seconds, or half of a shorter timeout.
    pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

    /// How long an idle connection may be reused. If the server closes it just as a batch is
    /// written, that batch is unknown although it was never sent. Gateways close idle connections
    /// after seconds or minutes, rarely within one second. A new connection for each batch costs
    /// two round trips (`docs/COST.md`).
    const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

    /// Reads settings from environment variables:
    ///
    /// | variable | setting |
    /// |---|---|
    /// | `LON_SUB_ACCOUNT` | the sub-account id; required |
    /// | `LON_API_KEY` | its API key; required |
    /// | `LON_REGION` | a [region](Self::region), such as `asia-pacific` |
    /// | `LON_BASE_URL` | a [base URL](Self::base_url) instead of a region |
    ///
    /// # Errors
    /// A required variable is missing or empty, a variable is not Unicode, the region does not
    /// exist, or both a region and a base URL are set.
    pub fn from_env() -> Result<Self, Invalid> {
        let mut problems = Vec::new();
        let mut variable = |name: &str, required: bool| match std::env::var(name) {
            Ok(value) if !value.is_empty() => Some(value),
            Err(std::env::VarError::NotUnicode(_)) => {
                problems.push(Problem::setting(name, "not Unicode"));
                None
            }
            _ => {
                if required {
                    problems.push(Problem::setting(name, "not set"));
                }
                None
            }
        };
        let sub_account_id = variable("LON_SUB_ACCOUNT", true).unwrap_or_default();
        let api_key = variable("LON_API_KEY", true).unwrap_or_default();
        let region = variable("LON_REGION", false);
        let base_url = variable("LON_BASE_URL", false);
        let mut builder = Client::builder(sub_account_id, api_key);
        match (region.as_deref().map(str::parse::<Region>), base_url) {
            (Some(_), Some(_)) => problems.push(Problem::setting(
                "LON_BASE_URL",
                "set together with LON_REGION; set one of them",
            )),
            (Some(Ok(region)), None) => builder = builder.region(region),
            (Some(Err(error)), None) => {
                problems.push(Problem::setting("LON_REGION", error.to_string()));
            }
            (None, Some(base_url)) => builder = builder.base_url(base_url),
            (None, None) => {}
        }
        if problems.is_empty() {
            return Ok(builder);
        }
        Err(Invalid::new(Subject::Client, problems))
    }

    /// Sets the region of the account. Default: [`Region::AsiaPacific`].
    #[must_use]
    pub fn region(self, region: Region) -> Self {
        self.base_url(region.base_url())
    }

    /// Sets a base URL other than a region's: https to any host, or http to this machine
    /// (`localhost`, `127.0.0.0/8`, `[::1]`). A path in it is prepended to the API's.
    #[must_use]
    pub fn base_url(mut self, base_url: impl Into<String>) -> Self {
        self.base_url = base_url.into();
        self
    }

    /// Sets the timeout of an attempt, from its start to the end of the response. Default: 60
    /// seconds. If it is too short, you won't know whether some batches were sent.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the connect timeout. Default: 10 seconds, or half of a shorter timeout.
    ///
    /// It must be shorter than the timeout of the attempt: a failed connect proves that nothing was
    /// sent, but a timeout of the attempt proves nothing.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = Some(timeout);
        self
    }

    /// Sets when the client retries a batch. Default: [`RetryPolicy::default`].
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Allows only these recipients, for a staging system that must not message customers.
    ///
    /// [`Client::send`] refuses a batch with any other recipient before anything is sent, with
    /// [`Error::RecipientNotAllowed`]. A bulk run skips only those messages.
    ///
    /// Recipients are compared exactly: list a national number and its E.164 form separately.
    #[must_use]
    pub fn only_to<R: Into<Recipient>>(mut self, recipients: impl IntoIterator<Item = R>) -> Self {
        self.only_to = Some(recipients.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the HTTP client, for another TLS library, a proxy or your own certificates.
    ///
    /// The client overrides settings that could send a batch twice or to another host: no
    /// redirects, no retries, HTTP/1.1 only, this builder's timeouts and connection reuse, no
    /// verbose logs. Plain http (this machine only) uses no proxy.
    ///
    /// Pass a builder from [`crate::reqwest`]; another version of reqwest does not compile. TLS
    /// depends on the reqwest features that you enable.
    #[must_use]
    pub fn http_client(mut self, client: reqwest::ClientBuilder) -> Self {
        self.http_client = Some(client);
        self
    }

    /// Builds the client.
    ///
    /// # Errors
    /// Returns every invalid setting, without its value:
    ///
    /// - sub-account id: does not match the platform's pattern
    /// - API key: fewer than 8 characters, or not visible ASCII
    /// - base URL: not absolute, http to another machine, or with credentials, query or fragment
    /// - timeouts: zero, or a timeout not longer than the connect timeout
    /// - HTTP client: no TLS, or it cannot be built
    pub fn build(self) -> Result<Client, Invalid> {
        let mut problems = Vec::new();
        let mut setting = |name: &str, why: String| problems.push(Problem::setting(name, why));

        let sub_account_id = SubAccountId::parse(&self.sub_account_id);
        let sub_account_id =
            sub_account_id.map_err(|why| setting("sub_account_id", why.to_string())).ok();
        let base_url = parse_base_url(&self.base_url);
        let base_url = base_url.map_err(|why| setting("base_url", why.to_owned())).ok();
        let transport = Transport::new(self.api_key, self.timeout);
        if transport.is_none() {
            setting("api_key", "an API key is 8 or more visible ASCII characters".to_owned());
        }
        let connect_timeout = self
            .connect_timeout
            .unwrap_or_else(|| ClientBuilder::DEFAULT_CONNECT_TIMEOUT.min(self.timeout / 2));
        let http_client = base_url.as_ref().and_then(|base_url| {
            let client = http_client(self.http_client, base_url, connect_timeout);
            client.map_err(|why| setting("http_client", why)).ok()
        });
        problems.extend(timeout_problem(self.timeout, connect_timeout));
        match (sub_account_id, base_url, transport, http_client) {
            (Some(sub_account_id), Some(base_url), Some(transport), Some(http_client))
                if problems.is_empty() =>
            {
                let host = base_url.host_str().unwrap_or_default();
                let server = (host.into(), base_url.port_or_known_default().unwrap_or_default());
                let base_url = base_url.as_str().trim_end_matches('/');
                Ok(Client {
                    generated: generated::Client::new_with_client(base_url, http_client, transport),
                    sub_account_id,
                    server,
                    connect_timeout,
                    retry: self.retry,
                    only_to: self.only_to.map(Arc::new),
                })
            }
            _ => Err(Invalid::new(Subject::Client, problems)),
        }
    }
}

fn timeout_problem(timeout: Duration, connect_timeout: Duration) -> Option<Problem> {
    if timeout.is_zero() {
        Some(Problem::setting("timeout", "0 seconds; every attempt would time out"))
    } else if connect_timeout.is_zero() {
        Some(Problem::setting("connect_timeout", "0 seconds; no attempt could connect"))
    } else if timeout <= connect_timeout {
        Some(Problem::setting(
            "timeout",
            "not longer than connect_timeout; a dead host would leave batches unknown",
        ))
    } else {
        None
    }
}

/// Builds the HTTP client, or says why it cannot be built.
fn http_client(
    own: Option<reqwest::ClientBuilder>,
    base_url: &Url,
    connect_timeout: Duration,
) -> Result<reqwest::Client, String> {
    let https = base_url.scheme() == "https";
    if cfg!(not(feature = "rustls")) && own.is_none() && https {
        return Err("this build of lon-batch has no TLS; enable its feature `rustls`, or pass a \
                    `reqwest::ClientBuilder` with TLS"
            .to_owned());
    }
    let mut client = match own {
        Some(own) => own,
        // Plain http needs no certificates, so none have to be installed.
        #[cfg(feature = "rustls")]
        None if !https => reqwest::Client::builder().tls_certs_only([]),
        None => reqwest::Client::builder().https_only(https),
    };
    if !https {
        // A proxy would see the API key.
        client = client.no_proxy();
    }
    let client = client
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .http1_only()
        .connection_verbose(false)
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(ClientBuilder::IDLE_TIMEOUT)
        .build();
    client.map_err(|error| format!("cannot be built: {}", error.without_url()))
}

/// Parses the base URL, or says why it is invalid.
fn parse_base_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "not an absolute URL")?;
    let is_this_machine = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => {}
        "http" if is_this_machine => {}
        "http" => return Err("http to another machine would show the API key; use https"),
        _ => return Err("not an https URL"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has credentials; pass the API key to `Client::builder`");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or a fragment");
    }
    Ok(url)
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing is validated yet: a caller may have passed the API key as another setting.
        f.debug_struct("ClientBuilder")
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}
