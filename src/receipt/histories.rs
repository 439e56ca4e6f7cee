//! The histories of many messages, in memory.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::{DeliveryReceipt, History};

/// The [`History`] of every message, for programs without a database.
///
/// A receipt always has a umid, and often a clientMessageId. Each umid has a history, and each
/// clientMessageId the umids that receipts reported with it. The result does not depend on the
/// order of the receipts.
///
/// It keeps every message in memory until [`retain`](Self::retain) removes it. Store it as JSON to
/// keep it across restarts. It contains no phone numbers, except in the platform's reasons.
///
/// ```
/// use lon_batch::receipt::{DeliveryReceipt, Histories, Stage};
///
/// let receipt = |umid, state| DeliveryReceipt::builder(umid, state);
/// let mut histories = Histories::new();
/// histories.append(&receipt("message-1", "sent").client_message_id("order-17").build());
/// histories.append(&receipt("message-1", "delivered").build());
///
/// let history = histories.by_client_message_id("order-17");
/// assert_eq!(history.stage(), Some(Stage::Delivered));
/// ```
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histories {
    by_umid: HashMap<CompactString, History>,
    /// Each clientMessageId with each of its umids.
    umids: BTreeSet<(CompactString, CompactString)>,
}

impl Histories {
    /// No histories.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a receipt to the history of its umid. Returns whether anything changed: `false` for a
    /// receipt that arrived before.
    pub fn append(&mut self, receipt: &DeliveryReceipt) -> bool {
        let umid = CompactString::from(receipt.umid().as_str());
        let id = receipt.client_message_id();
        let is_new_id = id.is_some_and(|id| self.umids.insert((id.into(), umid.clone())));
        self.by_umid.entry(umid).or_default().append(receipt) || is_new_id
    }

    /// The history of a umid. `None` without receipts.
    pub fn by_umid(&self, umid: &str) -> Option<&History> {
        self.by_umid.get(umid)
    }

    /// The combined history of a clientMessageId: the receipts of each of its
    /// [umids](Self::umids), also those without the id. Empty without receipts.
    pub fn by_client_message_id(&self, client_message_id: &str) -> History {
        let mut combined = History::new();
        for umid in self.umids(client_message_id) {
            if let Some(history) = self.by_umid(umid) {
                combined.merge(history);
            }
        }
        combined
    }

    /// The umids that receipts reported with a clientMessageId. Several mean that the message was
    /// sent several times, or that its SMS fallback has a umid of its own.
    pub fn umids(&self, client_message_id: &str) -> impl Iterator<Item = &str> {
        let first = (client_message_id.into(), CompactString::default());
        let pairs = self.umids.range(first..);
        let pairs = pairs.take_while(move |(id, _)| id == client_message_id);
        pairs.map(|(_, umid)| umid.as_str())
    }

    /// Every umid with its history, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &History)> {
        self.by_umid.iter().map(|(umid, history)| (umid.as_str(), history))
    }

    /// Keeps only the messages for which `keep` returns true. A receipt that arrives later starts a
    /// new history, so remove a message only when you no longer expect receipts.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &History) -> bool) {
        self.by_umid.retain(|umid, history| keep(umid, history));
        self.umids.retain(|(_, umid)| self.by_umid.contains_key(umid));
    }
}

impl fmt::Debug for Histories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histories").field("umids", &self.by_umid.len()).finish_non_exhaustive()
    }
}
