//! A batch that is known to be valid.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use smol_str::SmolStr;

use crate::check::{Checker, Limits as _};
use crate::generated::tables::BATCH_REQUEST;
use crate::problem::{Invalid, Problem, Rule};
use crate::shape::without_nulls;
use crate::{BatchRequest, Content, Hint, Message, Msisdn, Recipient};

/// 1 to 1,000 messages that are known to be valid: what [`Client::send`](crate::Client::send)
/// takes.
///
/// It is built with [`Batch::builder`], made from a [`BatchRequest`], or read from JSON or any
/// other self-describing serde format; each way checks it the same. `Debug` tells its size and
/// not its messages.
///
/// What is not known to be valid cannot be sent:
///
/// ```compile_fail,E0308
/// # async fn example(client: lon_batch::Client, request: lon_batch::BatchRequest) {
/// client.send(&request).await;
/// # }
/// ```
///
/// Checked are: the number of messages; the lengths of clientBatchId (100 characters),
/// clientMessageId (50) and the source of an SMS (16); that no clientMessageId stands twice; that
/// URLs are absolute http or https URLs; that a content has something set, and an SMS fallback a
/// text. Characters are Unicode scalar values.
#[derive(Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Batch {
    request: BatchRequest,
}

impl Batch {
    /// A batch without messages, to add to.
    pub fn builder() -> BatchBuilder {
        BatchBuilder::default()
    }

    /// Reads a batch from the JSON that it is sent as.
    ///
    /// A `null` stands for a member that is not set.
    ///
    /// ```
    /// let error = lon_batch::Batch::from_json(br#"{
    ///     "messages": [
    ///         {"user": {"msisdn": "91234567"}, "content": {"title": "Hello"}},
    ///         {"user": {"msisdn": "+6591234567"}, "content": {"titel": "Hello"}}
    ///     ]
    /// }"#).unwrap_err();
    /// assert_eq!(error.problems().len(), 2);
    /// assert_eq!(error.problems()[0].path, "messages[0].user");
    /// assert_eq!(error.problems()[1].path, "messages[1].content.titel");
    /// ```
    ///
    /// # Errors
    /// Every problem of every message, each with its place and without the value.
    pub fn from_json(json: &[u8]) -> Result<Self, Invalid> {
        let value = serde_json::from_slice(json).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            Invalid::setting("", Rule::Json { line, column })
        })?;
        Self::from_value(value)
    }

    fn from_value(mut value: Value) -> Result<Self, Invalid> {
        let mut checker = Checker::default();
        BATCH_REQUEST.check(&value, &mut checker);
        let mut problems = checker.into_problems();
        if !value["messages"].is_array() {
            return Err(Invalid::new(problems));
        }

        // What has the right shape is read and checked even where something else has not. A
        // message that cannot be read leaves an inconspicuous one in its place, for the count.
        let unshaped: HashSet<_> = problems.iter().map(Problem::message).collect();
        without_nulls(&mut value);
        let messages = std::mem::replace(&mut value["messages"], Value::Array(Vec::new()));
        let head = if unshaped.contains(&None) {
            None
        } else {
            serde_json::from_value(value).ok()
        };
        let mut request = head.unwrap_or_else(|| BatchRequest::required(Vec::new()));
        for (index, message) in messages.as_array().into_iter().flatten().enumerate() {
            let read = if unshaped.contains(&Some(index)) {
                None
            } else {
                let read = read_message(message);
                read.map_err(|(member, rule)| {
                    problems.push(Problem::new(format!("messages[{index}]{member}"), rule));
                })
                .ok()
            };
            request.messages.push(read.unwrap_or_else(inconspicuous));
        }
        problems.extend(check(&request));
        if problems.is_empty() {
            Ok(Self { request })
        } else {
            Err(Invalid::new(problems))
        }
    }

    /// The messages, in the order in which they are sent.
    pub fn messages(&self) -> &[Message] {
        &self.request.messages
    }

    /// How many messages there are, 1 to 1,000.
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

    /// The request, to be changed; a batch can be made of it again.
    pub fn into_request(self) -> BatchRequest {
        self.request
    }

    /// What is probably not meant, and is sent all the same: phone numbers with a trunk prefix
    /// left in, or of a country where LINE Official Notifications do not exist; more list items,
    /// buttons or characters than LINE shows. 8x8 itself states none of these limits.
    pub fn hints(&self) -> Vec<Hint> {
        crate::hint::of(&self.request)
    }
}

/// A message of the right shape, or the member that is wrong and why.
fn read_message(message: &Value) -> Result<Message, (&'static str, Rule)> {
    let user = &message["user"];
    Recipient::parse(
        user["msisdn"].as_str().unwrap_or_default(),
        user["country"].as_str(),
    )
    .map_err(|error| (".user", Rule::Recipient(error)))?;
    Message::deserialize(message).map_err(|_| {
        let (found, expected) = ("an object", "a message");
        ("", Rule::Type { found, expected })
    })
}

fn inconspicuous() -> Message {
    const ANYONE: Msisdn = match Msisdn::parse("+6500000000") {
        Ok(msisdn) => msisdn,
        Err(_) => unreachable!(),
    };
    Message::new(ANYONE, Content::new("-"))
}

/// Everything that is wrong with a request: the limits of the spec, and what no schema can say.
fn check(request: &BatchRequest) -> Vec<Problem> {
    let mut checker = Checker::default();
    request.limits(&mut checker);
    let nothing = Content::default();
    let mut ids = HashMap::with_capacity(request.messages.len());
    checker.below("messages", |checker| {
        for (index, message) in request.messages.iter().enumerate() {
            checker.at(index, |checker| {
                if *message.content == nothing {
                    checker.below("content", |checker| checker.problem(Rule::NothingSet));
                }
                let fallback = message.sms_fallback.as_deref();
                if fallback.is_some_and(|sms| sms.text.as_deref().is_none_or(str::is_empty)) {
                    checker.below("smsFallback", |checker| checker.problem(Rule::NoText));
                }
                let Some(id) = message.client_message_id.as_deref() else {
                    return;
                };
                match ids.entry(id) {
                    Entry::Vacant(free) => _ = free.insert(index),
                    Entry::Occupied(taken) => {
                        let first = *taken.get();
                        checker.below("clientMessageId", |checker| {
                            checker.problem(Rule::Duplicate { first });
                        });
                    }
                }
            });
        }
    });
    checker.into_problems()
}

/// Checks the request as [`BatchBuilder::build`] does.
impl TryFrom<BatchRequest> for Batch {
    type Error = Invalid;

    fn try_from(request: BatchRequest) -> Result<Self, Invalid> {
        let problems = check(&request);
        if problems.is_empty() {
            Ok(Self { request })
        } else {
            Err(Invalid::new(problems))
        }
    }
}

/// Reads a batch as [`Batch::from_json`] does, from a self-describing format. The error of the
/// format has the text of the [`Invalid`].
impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_value(value).map_err(serde::de::Error::custom)
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

/// Builds a [`Batch`].
#[derive(Clone)]
pub struct BatchBuilder {
    request: BatchRequest,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        let mut request = BatchRequest::required(Vec::new());
        request.include_messages_in_response = Some(true);
        Self { request }
    }
}

impl BatchBuilder {
    /// Your own reference for the batch, at most 100 characters.
    #[must_use]
    pub fn client_batch_id(mut self, id: impl Into<SmolStr>) -> Self {
        self.request.client_batch_id = Some(id.into());
        self
    }

    /// One more message.
    #[must_use]
    pub fn message(mut self, message: Message) -> Self {
        self.request.messages.push(message);
        self
    }

    /// More messages.
    #[must_use]
    pub fn messages(mut self, messages: impl IntoIterator<Item = Message>) -> Self {
        self.request.messages.extend(messages);
        self
    }

    /// Whether the response has a verdict for every message, or only how many were accepted.
    ///
    /// Here it is on unless it is turned off, since without it nobody knows who got what; the
    /// platform's own default is off.
    #[must_use]
    pub fn include_messages_in_response(mut self, include: bool) -> Self {
        self.request.include_messages_in_response = Some(include);
        self
    }

    /// The batch, if nothing is wrong with it.
    ///
    /// # Errors
    /// Every problem of the batch and of its messages, each with its place; see [`Batch`] for
    /// what is checked.
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
