//! A batch that is known to be valid.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Hint, hints, read, validate};
use crate::invalid::{Invalid, Subject};
use crate::types::{BatchRequest, ClientId, Message};

/// 1 to 1,000 valid messages, for [`Client::send`](crate::Client::send).
///
/// Build one with [`Batch::builder`], make one from a [`BatchRequest`], or parse one from JSON or
/// another self-describing serde format. Each way checks the same rules:
///
/// - the number of messages;
/// - the length of clientBatchId (100 characters), clientMessageId (50) and the source of an SMS
///   (16), in Unicode scalar values;
/// - no clientMessageId twice;
/// - URLs are absolute http or https URLs;
/// - a content has something set, and an SMS fallback a text.
///
/// `Debug` shows the size of a batch and not its messages. A request that was not checked cannot
/// be sent:
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
    /// Starts a batch without messages.
    pub fn builder() -> BatchBuilder {
        BatchBuilder::default()
    }

    /// Parses a batch from the JSON that is sent for it.
    ///
    /// A member that is `null` counts as not set, unless it is a list. A byte order mark is skipped.
    /// A batch whose JSON has no `includeMessagesInResponse` is sent without it, and then the response lists no
    /// messages; [`hints`](Self::hints) reports that.
    ///
    /// ```
    /// let error = lon_batch::Batch::from_json(br#"{"messages": [
    ///     {"user": {"msisdn": "+6591234567"}, "content": {"titel": "Hello"}}
    /// ]}"#).unwrap_err();
    /// assert_eq!(error.problems()[0].path, "messages[0].content.titel");
    /// ```
    ///
    /// # Errors
    /// The first value that is missing, unknown or of another type than the API's, with its path
    /// and without the value; or else every broken rule.
    pub fn from_json(json: &[u8]) -> Result<Self, Invalid> {
        Self::try_from(read::request(json)?)
    }

    /// The messages, in the order in which they are sent.
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

    /// The request, to change it and make a batch of it again.
    pub fn into_request(self) -> BatchRequest {
        self.request
    }

    /// Reports probable mistakes that the API accepts.
    pub fn hints(&self) -> Vec<Hint> {
        hints::hints(&self.request)
    }
}

/// Checks the request as [`BatchBuilder::build`] does.
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

/// Parses and checks a batch. The error of the format repeats no value, and has the text of the
/// [`Invalid`] if a rule is broken.
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

/// The schema of a [`BatchRequest`]. Rules that no schema can state, such as that no
/// clientMessageId occurs twice, are not in it.
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
    /// Default: it does, because otherwise nobody knows who got what. The platform's own default is
    /// that it does not.
    #[must_use]
    pub fn include_messages_in_response(mut self, include: bool) -> Self {
        self.request.include_messages_in_response = Some(include);
        self
    }

    /// Checks the batch.
    ///
    /// # Errors
    /// Every broken rule of the batch and its messages, each with its path. [`Batch`] lists the
    /// rules.
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
