//! A batch that is known to be valid.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use smol_str::SmolStr;

use crate::check::{Checker, Limits as _};
use crate::generated::tables::BATCH_REQUEST;
use crate::problem::{Invalid, Problem, Rule};
use crate::shape::{Strict, without_nulls};
use crate::{BatchRequest, Content, Hint, Message, Msisdn, Recipient, RecipientError};

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
    /// A `null` stands for a member that is not set. A file without `includeMessagesInResponse`
    /// is sent without it, and then the answer has no verdicts; [`hints`](Self::hints) says so.
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
        let value = serde_json::from_slice::<Strict>(json).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            Invalid::setting(
                "",
                if error.is_data() {
                    Rule::Repeated { line, column }
                } else {
                    Rule::Json { line, column }
                },
            )
        })?;
        Self::from_value(value.0)
    }

    fn from_value(mut value: Value) -> Result<Self, Invalid> {
        let mut checker = Checker::default();
        BATCH_REQUEST.prune(&mut value, &mut checker);
        let mut problems = checker.into_problems();
        let Some(Value::Array(messages)) = value.get_mut("messages").map(Value::take) else {
            return Err(Invalid::new(problems));
        };

        // What is wrong was taken out, and the rest is read and checked all the same, with
        // something inconspicuous in the place of what has to be there.
        without_nulls(&mut value);
        value["messages"] = Value::Array(Vec::new());
        let mut request = BatchRequest::deserialize(&value).unwrap_or_else(|_| {
            let (found, expected) = ("an object", "a batch");
            problems.push(Problem::new("", Rule::Type { found, expected }));
            BatchRequest::required(Vec::new())
        });
        for (index, message) in messages.into_iter().enumerate() {
            let message = read_message(message, |member, rule| {
                let path = format!("messages[{index}]{member}");
                problems.push(Problem::new(path, rule));
            });
            request.messages.push(message);
        }
        let of_the_rest = check(&request).into_iter().filter(|problem| {
            let made_by_pruning = matches!(problem.rule, Rule::NothingSet | Rule::NoText)
                && problems.iter().any(|other| {
                    let below = other.path.strip_prefix(&problem.path);
                    below.is_some_and(|below| below.starts_with('.'))
                });
            !made_by_pruning
        });
        let of_the_rest: Vec<_> = of_the_rest.collect();
        problems.extend(of_the_rest);
        if problems.is_empty() { Ok(Self { request }) } else { Err(Invalid::new(problems)) }
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

    /// What is probably not meant, and is sent all the same: verdicts that are not asked for or
    /// cannot be paired; phone numbers with a trunk prefix left in, or of a country where LINE
    /// Official Notifications do not exist; an unknown icon; more list items, buttons or characters
    /// than LINE shows. 8x8 itself states none of LINE's limits.
    pub fn hints(&self) -> Vec<Hint> {
        crate::hint::of(&self.request)
    }
}

/// Reads a message from which everything of the wrong shape was taken out. What is missing was
/// told by then.
fn read_message(mut message: Value, mut tell: impl FnMut(&str, Rule)) -> Message {
    const ANYONE: Msisdn = match Msisdn::parse("+6500000000") {
        Ok(msisdn) => msisdn,
        Err(_) => unreachable!(),
    };
    without_nulls(&mut message);
    let Some(members) = message.as_object_mut() else {
        return Message::new(ANYONE, Content::new("-"));
    };
    let user = members.remove("user").unwrap_or_default();
    let country = user["country"].as_str();
    let recipient = match user["msisdn"].as_str() {
        Some(msisdn) => Recipient::parse(msisdn, country).unwrap_or_else(|error| {
            let member = match error {
                RecipientError::Msisdn(_) | RecipientError::National(_) => ".user.msisdn",
                RecipientError::Country(_) => ".user.country",
                RecipientError::NoCountry => ".user",
            };
            tell(member, Rule::Recipient(error));
            ANYONE.into()
        }),
        None => ANYONE.into(),
    };
    members.insert("user".to_owned(), json!({ "msisdn": ANYONE }));
    members.entry("content").or_insert_with(|| json!({ "title": "-" }));
    let mut message = Message::deserialize(&message).unwrap_or_else(|_| {
        let (found, expected) = ("an object", "a message");
        tell("", Rule::Type { found, expected });
        Message::new(ANYONE, Content::new("-"))
    });
    message.user = recipient;
    message
}

/// Everything that is wrong with a request: the limits of the spec, and what no schema can say.
pub(crate) fn check(request: &BatchRequest) -> Vec<Problem> {
    let mut checker = Checker::default();
    request.limits(&mut checker);

    let first_with_id = duplicates(&request.messages);
    checker.below("messages", |checker| {
        for (index, message) in request.messages.iter().enumerate() {
            checker.at(index, |checker| {
                if is_blank(&message.content) {
                    checker.below("content", |checker| checker.problem(Rule::NothingSet));
                }
                let fallback = message.sms_fallback.as_deref();
                if fallback.is_some_and(|sms| sms.text.as_deref().is_none_or(str::is_empty)) {
                    checker.below("smsFallback", |checker| checker.problem(Rule::NoText));
                }
                if let Some(first) = first_with_id.get(&index).copied() {
                    checker.below("clientMessageId", |checker| {
                        checker.problem(Rule::Duplicate { first });
                    });
                }
            });
        }
    });
    checker.into_problems()
}

/// The messages whose clientMessageId stood before, and where it stood first.
fn duplicates(messages: &[Message]) -> HashMap<usize, usize> {
    let ids = || {
        let messages = messages.iter().enumerate();
        messages.filter_map(|(index, message)| Some((index, message.client_message_id.as_deref()?)))
    };
    let mut found = HashMap::new();
    // Ids that count up, as most do, are all different.
    if ids().is_sorted_by(|(_, one), (_, next)| (one.len(), *one) < (next.len(), *next)) {
        return found;
    }
    let mut first = HashMap::with_capacity(messages.len());
    for (index, id) in ids() {
        match first.entry(id) {
            Entry::Vacant(free) => _ = free.insert(index),
            Entry::Occupied(taken) => _ = found.insert(index, *taken.get()),
        }
    }
    found
}

/// Whether a content has no text and no icon to show.
fn is_blank(content: &Content) -> bool {
    let blank = |text: &Option<SmolStr>| text.as_deref().is_none_or(str::is_empty);
    blank(&content.title)
        && blank(&content.company)
        && blank(&content.greeting)
        && blank(&content.explanation)
        && content.icon.as_ref().is_none_or(|icon| icon.as_str().is_empty())
        && content.emphasis.iter().all(|it| blank(&it.label) && blank(&it.content))
        && content.list.iter().all(|it| blank(&it.label) && blank(&it.content))
        && content.actions.iter().all(|it| blank(&it.title) && blank(&it.url))
}

/// Checks the request as [`BatchBuilder::build`] does.
impl TryFrom<BatchRequest> for Batch {
    type Error = Invalid;

    fn try_from(request: BatchRequest) -> Result<Self, Invalid> {
        let problems = check(&request);
        if problems.is_empty() { Ok(Self { request }) } else { Err(Invalid::new(problems)) }
    }
}

/// Reads a batch as [`Batch::from_json`] does, from a self-describing format. The error of the
/// format has the text of the [`Invalid`].
impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Strict::deserialize(deserializer)?;
        Self::from_value(value.0).map_err(serde::de::Error::custom)
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
