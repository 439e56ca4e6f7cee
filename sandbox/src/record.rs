//! The record of accepted messages, and the answers that wait for the next requests.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::answer::Answer;

/// A message that the sandbox accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Accepted {
    /// The id that the sandbox gave to the message.
    pub umid: String,
    /// The id that the sandbox gave to its batch.
    pub batch_id: String,
    /// The clientBatchId of its batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_batch_id: Option<String>,
    /// The clientMessageId of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<String>,
    /// The phone number, as it was sent.
    pub msisdn: String,
    /// Whether the message has an SMS fallback with a text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sms_fallback: bool,
}

/// The same in less memory: a test may send millions.
pub(crate) struct Kept {
    pub umid: u64,
    pub batch_id: u64,
    pub client_batch_id: Option<Arc<str>>,
    pub client_message_id: Option<Box<str>>,
    pub msisdn: Box<str>,
    pub sms_fallback: bool,
}

/// Everything that changes while the sandbox runs, apart from receipts.
pub(crate) struct Record {
    pub requests: u64,
    pub accepted: u64,
    pub rejected: u64,
    pub answers: VecDeque<Answer>,
    ids: u64,
    keep: usize,
    kept: VecDeque<Kept>,
}

impl Record {
    pub fn new(keep: usize) -> Self {
        let (answers, kept) = (VecDeque::new(), VecDeque::new());
        Self { requests: 0, accepted: 0, rejected: 0, answers, ids: 0, keep, kept }
    }

    /// A new id for a batch or a message.
    pub fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    /// Counts an accepted message and keeps it.
    pub fn accept(&mut self, message: Kept) {
        self.accepted += 1;
        self.kept.push_back(message);
        while self.kept.len() > self.keep {
            self.kept.pop_front();
        }
    }

    /// The accepted messages with these numbers, counted from 0, as far as they are kept.
    pub fn accepted(&self, from: u64, limit: usize) -> Vec<Accepted> {
        let dropped = self.accepted - self.kept.len() as u64;
        let (skip, limit) = window(dropped, from, limit);
        self.kept.iter().skip(skip).take(limit).map(Accepted::from).collect()
    }
}

/// How many of the kept entries to skip and to take, for entries by their number from `from`.
pub(crate) fn window(dropped: u64, from: u64, limit: usize) -> (usize, usize) {
    let limit = limit.saturating_sub(saturated(dropped.saturating_sub(from)));
    (saturated(from.saturating_sub(dropped)), limit)
}

fn saturated(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl From<&Kept> for Accepted {
    fn from(kept: &Kept) -> Self {
        Self {
            umid: id(kept.umid),
            batch_id: id(kept.batch_id),
            client_batch_id: kept.client_batch_id.as_deref().map(str::to_owned),
            client_message_id: kept.client_message_id.as_deref().map(str::to_owned),
            msisdn: kept.msisdn.to_string(),
            sms_fallback: kept.sms_fallback,
        }
    }
}

/// As the platform's ids are: shaped like a UUID, of a version that does not exist.
pub(crate) fn id(number: u64) -> String {
    format!("{number:08x}-3e2d-ea11-815d-020897df5459")
}
