//! The handle of a running sandbox, and its settings.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::answer::Answer;
use crate::contract::{Contract, Rejection};
use crate::receipts::{Outbox, PostedReceipt, Receipts};
use crate::record::Accepted;
use crate::server::{Answers, State, serve};

/// An HTTP server that keeps the published contract of the API.
///
/// It runs as a task of the tokio runtime that starts it, and stops when you drop it.
///
/// # Rules
/// The sandbox judges a request in this order:
/// - a path or method that the API does not have: 404, code 1300;
/// - no API key, or another one: 401, code 1200; another sub-account: 400, code 1001;
/// - a body over 8 MiB: 413, code 1100; no JSON object, or a member that the batch does not have:
///   400, code 1000;
/// - no messages: 400, code 3012; more than 1,000: 400, code 3013; a clientBatchId over 100
///   characters: 400, code 3014;
/// - then each message by itself. It is rejected without a user (3001) or a number (3002), with
///   a country (3018) or number (3003) of the wrong shape, without content (3004), with a
///   clientMessageId over 50 characters (3009) or an SMS source over 16 (3011), with a callback that
///   is not an http(s) URL (3020), with a member that the API does not have or a value of another
///   type (1000), with a title that is not among the
///   [`approved titles`](SandboxBuilder::approved_titles) (3038), or by your own
///   [`judge`](SandboxBuilder::judge). Every other message is accepted.
///
/// The answer lists the messages if the request asked for that, and otherwise has
/// `"messages": null`, like a sister endpoint of the platform. Ids are not valid UUIDs, like those of
/// the platform.
///
/// [`answer_next`](Self::answer_next) replaces the next answers: rate limits, failures, lost
/// connections. The sandbox posts delivery receipts to the `dlrCallbackUrl` of each accepted message
/// if that URL is on this machine; [`Receipts`] says how.
pub struct Sandbox {
    address: SocketAddr,
    state: Arc<State>,
    /// Dropping them ends them, with every connection.
    _tasks: JoinSet<()>,
}

/// Sets up a [`Sandbox`].
pub struct SandboxBuilder {
    contract: Contract,
    answers: Option<Box<Answers>>,
    receipts: Receipts,
    keep: usize,
    address: SocketAddr,
    allow_remote: bool,
}

impl SandboxBuilder {
    /// Sets the only sub-account that exists. Default: `sandbox`.
    #[must_use]
    pub fn sub_account_id(mut self, id: impl Into<String>) -> Self {
        self.contract.sub_account_id = id.into();
        self
    }

    /// Sets the only valid API key. Default: `sandbox-api-key`.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.contract.api_key = key.into();
        self
    }

    /// Sets the titles of the approved templates: a message with another title, or without one, is
    /// rejected with code 3038. Default: any title or none is approved.
    #[must_use]
    pub fn approved_titles<T: Into<String>>(mut self, titles: impl IntoIterator<Item = T>) -> Self {
        self.contract.approved_titles = Some(titles.into_iter().map(Into::into).collect());
        self
    }

    /// Sets a judge of each message that the contract accepts. It gets the message as JSON, and
    /// `Some` rejects it.
    #[must_use]
    pub fn judge(
        mut self,
        judge: impl Fn(&Value) -> Option<Rejection> + Send + Sync + 'static,
    ) -> Self {
        self.contract.judge = Some(Box::new(judge));
        self
    }

    /// Chooses the answer to each request by its number, counted from 0. Answers from
    /// [`answer_next`](Sandbox::answer_next) come first.
    #[must_use]
    pub fn answer_with(mut self, answers: impl FnMut(u64) -> Answer + Send + 'static) -> Self {
        self.answers = Some(Box::new(answers));
        self
    }

    /// Sets which delivery receipts are posted, where and when.
    #[must_use]
    pub fn receipts(mut self, receipts: Receipts) -> Self {
        self.receipts = receipts;
        self
    }

    /// Keeps only this number of accepted messages and of delivery receipts, the latest. Default: all.
    ///
    /// A million messages with short ids and without receipts take about 150 MB. Receipts that are
    /// not posted yet are kept in any case. The counts always include every message.
    #[must_use]
    pub fn keep(mut self, messages: usize) -> Self {
        self.keep = messages;
        self
    }

    /// Sets the port. Default: 0, which takes a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.address.set_port(port);
        self
    }

    /// Sets the address to listen on. Default: `127.0.0.1`. An address that other machines reach
    /// needs [`allow_remote`](Self::allow_remote) too.
    #[must_use]
    pub fn listen(mut self, address: IpAddr) -> Self {
        self.address.set_ip(address);
        self
    }

    /// Permits an address that other machines reach. Over plain HTTP, they can read and send
    /// everything that your tests send, including the API key, and can make the sandbox post receipts
    /// to any port of this machine.
    #[must_use]
    pub fn allow_remote(mut self) -> Self {
        self.allow_remote = true;
        self
    }

    /// Starts the sandbox.
    ///
    /// # Errors
    /// The port cannot be opened, the address is not loopback, or the settings of the
    /// [`receipts`](Self::receipts) are not valid.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(self) -> io::Result<Sandbox> {
        if !self.allow_remote && !self.address.ip().is_loopback() {
            let ip = self.address.ip();
            let text = format!("other machines reach {ip}: needs allow-remote");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let sub_account_id = self.contract.sub_account_id.clone();
        let outbox = Arc::new(Outbox::new(self.receipts, sub_account_id, self.keep)?);
        let listener = TcpListener::bind(self.address).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::new(self.contract, self.answers, self.keep, outbox));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Arc::clone(&state)));
        tasks.spawn(Arc::clone(&state.outbox).run());
        Ok(Sandbox { address, state, _tasks: tasks })
    }
}

impl Sandbox {
    /// Starts a sandbox that accepts every valid message, on a free port of `127.0.0.1`.
    ///
    /// # Errors
    /// No port can be opened.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }

    /// The settings of a sandbox.
    pub fn builder() -> SandboxBuilder {
        SandboxBuilder {
            contract: Contract {
                sub_account_id: "sandbox".to_owned(),
                api_key: "sandbox-api-key".to_owned(),
                approved_titles: None,
                judge: None,
            },
            answers: None,
            receipts: Receipts::new(),
            keep: usize::MAX,
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            allow_remote: false,
        }
    }

    /// The base URL for a client, such as `http://127.0.0.1:4010`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The only sub-account that exists.
    pub fn sub_account_id(&self) -> &str {
        &self.state.contract.sub_account_id
    }

    /// The only valid API key.
    pub fn api_key(&self) -> &str {
        &self.state.contract.api_key
    }

    /// Queues answers, one for each of the next requests. Requests after them are answered by the
    /// contract.
    ///
    /// # Panics
    /// A status or header of an answer is not valid in HTTP. None of the answers is queued.
    pub fn answer_next(&self, answers: impl IntoIterator<Item = Answer>) {
        let answers: Vec<_> = answers.into_iter().collect();
        if let Some(problem) = answers.iter().find_map(Answer::problem) {
            panic!("{problem}");
        }
        self.state.record().answers.extend(answers);
    }

    /// The number of requests to the API so far, whatever the answer.
    pub fn requests(&self) -> u64 {
        self.state.record().requests
    }

    /// The number of messages accepted so far.
    pub fn accepted_count(&self) -> u64 {
        self.state.record().accepted
    }

    /// The number of messages rejected so far, in batches that were not refused as a whole.
    pub fn rejected_count(&self) -> u64 {
        self.state.record().rejected
    }

    /// The accepted messages, oldest first: all, or as many as [`SandboxBuilder::keep`] says.
    pub fn accepted(&self) -> Vec<Accepted> {
        self.state.record().accepted(0, usize::MAX)
    }

    /// The planned delivery receipts, each with its posts so far, in the order of planning: all, or
    /// as many as [`SandboxBuilder::keep`] says.
    pub fn receipts(&self) -> Vec<PostedReceipt> {
        self.state.outbox.record(0, usize::MAX)
    }

    /// Moves the clock of the [receipts](Receipts) forward, and waits until all posts up to the new
    /// time, retries included, have ended. On a clock that [stands still](Receipts::speed), the
    /// sandbox makes one post after the other.
    pub async fn advance(&self, time: Duration) {
        self.state.outbox.advance(time).await;
    }

    /// Waits until every planned receipt was acknowledged, or given up 131 seconds after its first
    /// post, by the sandbox's clock. A clock that [stands still](Receipts::speed) is moved as far as
    /// needed.
    pub async fn receipts_settled(&self) {
        self.state.outbox.settled().await;
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
