//! A valid batch.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Hint, hints, read, validate};
use crate::invalid::{Invalid, Subject};
use crate::types::{BatchRequest, ClientId, Message};

/// 1 to 1,000 valid messages, for [`Client::send`](crate::Client::send).
///
/// Create it with [`Batch::builder`], from a [`BatchRequest`], or from JSON or another
/// self-describing serde format. All check the same rules:
///
/// - the number of messages;
/// - the length of clientBatchId (100 characters), clientMessageId (50) and the source of an SMS
///   (16), in Unicode scalar values;
/// - unique clientMessageIds;
/// - URLs are absolute http or https URLs;
/// - content is not empty, and an SMS fallback has a text.
///
/// `Debug` shows the size of a batch but not its messages. An unchecked request cannot be sent:
///
/// ```compile_fail,E0308
/// # async fn example(client: lon_batch::Client, request: lon_batch::types::BatchRequest) {
/// client.send(&request).await;
/// # }
/// ```
#[derive(Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Batch {
    request: BatchRequest,
}

impl Batch {
    /// Starts an empty batch.
    pub fn builder() -> BatchBuilder {
        BatchBuilder::default()
    }

    /// Parses a batch from request JSON.
    ///
    /// A member that is `null` counts as not set, unless it is an array. A byte order mark is
    /// skipped. If the JSON has no `includeMessagesInResponse`, the response lists no results;
    /// [`hints`](Self::hints) reports that.
    ///
    /// ```
    /// let error = lon_batch::Batch::from_json(br#"{"messages": [
    ///     {"user": {"msisdn": "+66812345678"}, "content": {"titel": "Hello"}}
    /// ]}"#).unwrap_err();
    /// assert_eq!(error.problems()[0].path, "messages[0].content.titel");
    /// ```
    ///
    /// # Errors
    /// Reports the first malformed value with its path, but without the value. If the JSON is well
    /// formed, reports every broken rule.
    pub fn from_json(json: &[u8]) -> Result<Self, Invalid> {
        Self::try_from(read::request(json)?)
    }

    /// The messages, in the order of the request.
    pub fn messages(&self) -> &[Message] {
        &self.request.messages
    }

    /// The number of messages, 1 to 1,000.
    #[allow(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.request.messages.len()
    }

    /// Your own reference for the batch.
    pub fn client_batch_id(&self) -> Option<&str> {
        self.request.client_batch_id.as_deref()
    }

    /// The request that is sent.
    pub fn request(&self) -> &BatchRequest {
        &self.request
    }

    /// Returns the request, for instance to change it and create a new batch.
    pub fn into_request(self) -> BatchRequest {
        self.request
    }

    /// Reports probable mistakes that the API accepts.
    pub fn hints(&self) -> Vec<Hint> {
        hints::hints(&self.request)
    }
}

/// Checks the request like [`BatchBuilder::build`].
impl TryFrom<BatchRequest> for Batch {
    type Error = Invalid;

    fn try_from(request: BatchRequest) -> Result<Self, Invalid> {
        let problems = validate::problems(&request);
        if problems.is_empty() {
            return Ok(Self { request });
        }
        Err(Invalid::new(Subject::Batch, problems))
    }
}

/// Parses and checks a batch. The format's error repeats no value. If a rule is broken, it has the
/// text of the [`Invalid`].
impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let request = read::request_of(deserializer)?;
        Self::try_from(request).map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("client_batch_id", &self.request.client_batch_id)
            .field("messages", &self.len())
            .finish_non_exhaustive()
    }
}

/// The schema of [`BatchRequest`]. It cannot express every rule, for instance unique
/// clientMessageIds.
#[cfg(feature = "schemars")]
impl schemars::JsonSchema for Batch {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Batch".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        BatchRequest::json_schema(generator)
    }
}

/// Builds a [`Batch`].
#[derive(Clone)]
pub struct BatchBuilder {
    request: BatchRequest,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        let mut request = BatchRequest::new(Vec::new());
        request.include_messages_in_response = Some(true);
        Self { request }
    }
}

impl BatchBuilder {
    /// Sets your own reference for the batch, at most 100 characters.
    #[must_use]
    pub fn client_batch_id(mut self, id: impl Into<ClientId>) -> Self {
        self.request.client_batch_id = Some(id.into());
        self
    }

    /// Adds a message.
    #[must_use]
    pub fn message(mut self, message: Message) -> Self {
        self.request.messages.push(message);
        self
    }

    /// Adds messages.
    #[must_use]
    pub fn messages(mut self, messages: impl IntoIterator<Item = Message>) -> Self {
        self.request.messages.extend(messages);
        self
    }

    /// Sets whether the response lists a result for every message, or only counts them.
    ///
    /// Default: it lists them. The platform's own default is only the counts, which do not say
    /// which messages were accepted.
    #[must_use]
    pub fn include_messages_in_response(mut self, include: bool) -> Self {
        self.request.include_messages_in_response = Some(include);
        self
    }

    /// Checks the batch.
    ///
    /// # Errors
    /// Returns every broken rule of the batch and its messages, each with its path. [`Batch`] lists
    /// the rules.
    pub fn build(self) -> Result<Batch, Invalid> {
        Batch::try_from(self.request)
    }
}

impl fmt::Debug for BatchBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchBuilder")
            .field("messages", &self.request.messages.len())
            .finish_non_exhaustive()
    }
}
