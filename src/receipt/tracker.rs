//! Folds what the platform tells into the state of every message.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::namesakes::Namesakes;
use super::row::{Row, Umid};
use super::{Change, Counts, DeliveryReceipt, Stage, TrackedMessage};
use crate::error::Error;
use crate::outcome::{Outcome, OutcomeKind};
use crate::request::Batch;
use crate::types::{BatchResponse, Message, MessageState};

/// What became of every message: fed with the answers to sends and with receipts, in any order and
/// any number of times.
///
/// ```
/// use lon_batch::receipt::{Event, MessageTracker, Stage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use lon_batch::{Batch, Client, Content, Message, Msisdn};
/// # use lon_sandbox::{Answer, Sandbox};
/// # let sandbox = Sandbox::start().await?;
/// # sandbox.answer_next([Answer::AcceptAndHangUp]);
/// # let client = Client::builder(sandbox.sub_account_id(), sandbox.api_key());
/// # let client = client.base_url(sandbox.base_url()).build()?;
/// # let message = Message::new("+6591234567".parse::<Msisdn>()?, Content::new("Hello"));
/// # let batch = Batch::builder().message(message.client_message_id("order-17")).build()?;
/// let mut tracker = MessageTracker::new();
///
/// // The answer is lost: nobody knows whether the message was taken.
/// let result = client.send(&batch).await;
/// tracker.sent(&batch, &result);
/// let message = tracker.with_client_message_id("order-17").next().unwrap();
/// assert_eq!(message.stage(), Stage::Unknown);
///
/// // A receipt proves that it was.
/// let body = br#"{"payload": {"umid": "d03cbbf5-3e2d-ea11-815d-020897df5459",
///     "clientMessageId": "order-17", "channel": "LineNotification",
///     "status": {"state": "sent", "timestamp": "2026-01-04T08:20:02.31Z"}}}"#;
/// if let Event::Receipt(receipt) = Event::from_json(body)? {
///     tracker.receipt(&receipt);
/// }
/// let message = tracker.with_client_message_id("order-17").next().unwrap();
/// assert_eq!(message.stage(), Stage::Sent);
/// assert_eq!(tracker.counts().sent, 1);
/// # Ok(())
/// # }
/// ```
///
/// # What is one message
/// What the platform gave one umid is one message. What is told by clientMessageId alone is a message
/// of its own until a umid is known that it can be of: one that did not end badly, or whose own
/// answer is not known. So a send whose answer was lost is [`Stage::Unknown`] until a receipt names
/// its clientMessageId. And a message that the answer rejected, and that was sent again with the same
/// id and lost its answer, is two: one that was rejected, and one that may have been sent.
///
/// Give every message an id that no other has which the same tracker follows, and see
/// [below](#what-is-sent-again) for the id of one that is sent again.
///
/// A message without an id is followed by its umid alone, and not at all while that is not known.
/// Sums are those of what was sent only if every message has an id and the answers repeat it. Ids
/// that thousands of messages share make it slow.
///
/// # Which state is shown
/// That of the greatest [`Stage`]; of several of one stage the latest by its timestamp. So a state
/// never goes back to an earlier one, and the result does not depend on the order in which anything
/// is told. Where final states contradict each other, `delivered` is shown before `undelivered`, and
/// that before `rejected`: taking a message that somebody has for one that nobody has would mean to
/// send it twice. All of them stay in the [`history`](TrackedMessage::history), and
/// [`is_contradictory`](TrackedMessage::is_contradictory) is true.
///
/// What came by clientMessageId alone may have been of another send. It moves a message with a umid
/// forward, and never ends it as rejected or undelivered. Of several messages with the id it moves
/// those that were not rejected. So a rejected message that it moved, as the only one, is rejected
/// again when another becomes known.
///
/// # What is sent again
/// Let a message keep its id where its answer rejected it, or was lost and twice is better than not
/// at all. Two umids that were taken with one id then mean that the platform took the message twice
/// ([`times_taken`](TrackedMessage::times_taken)).
///
/// Give it a new id, and write down which one it replaces, where a receipt said that it was rejected
/// or undelivered, or where two sends of it have lost their answers. Sends without an answer under
/// one id are one for the tracker: one receipt settles all of them.
///
/// Nobody gets a message if there is one with its id, every one is [`Stage::Rejected`] or
/// [`Stage::Undelivered`], no SMS fallback of it is due, and no send of it is under way, under this
/// id or one that replaced it.
///
/// # Receipts of other channels
/// A receipt of another channel ([`Event::OtherChannel`](super::Event::OtherChannel)) belongs to a
/// message that has its umid, or else its clientMessageId; alone it makes no message. Feed those if
/// your messages have an SMS fallback, whose receipts come under a channel that is not documented,
/// and if no message of another channel has their ids: [`Change::channel`] tells what became of the
/// SMS. Each is kept, also one that belongs to no message.
///
/// # Memory
/// It keeps every message that it was told of, some 160 bytes each (`docs/COST.md`), until
/// [`retain`](Self::retain) lets it go.
///
/// # After a restart
/// It is in memory alone. Since [`merge`](Self::merge) does not mind order and repetition, what is
/// told can be written down as a small tracker of its own, in JSON or another self-describing format,
/// and all of them merged when it is to be there again:
///
/// ```
/// # use lon_batch::receipt::MessageTracker;
/// # fn example(batch: &lon_batch::Batch, result: &Result<lon_batch::BatchResponse, lon_batch::Error>)
/// # -> serde_json::Result<()> {
/// let mut told = MessageTracker::new();
/// told.sent(batch, result);
/// let stored = serde_json::to_vec(&told)?;
///
/// let mut tracker = MessageTracker::new();
/// tracker.merge(serde_json::from_slice(&stored)?);
/// # Ok(())
/// # }
/// ```
///
/// Keep a record for each send, not for each id: the ids of its batch, written down before it, and
/// what it told, written down after it, also where that is nothing since it was not sent. A crash
/// leaves records with ids and nothing beside: feed each of these ids to
/// [`unanswered`](Self::unanswered). Receipts alone do not bring back the messages that had none.
///
/// What is written has ids, and reasons in the platform's words, which may have a phone number in
/// them.
#[derive(Clone, Default)]
pub struct MessageTracker {
    rows: Vec<Row>,
    /// Places in `rows` by umid; each umid has one row.
    by_umid: HashTable<u32>,
    /// Places in `rows` by clientMessageId, of those that have one; several rows may have the same.
    by_client_id: HashTable<u32>,
    hasher: RandomState,
}

/// Who tells something of a message.
#[derive(Clone, Copy)]
enum By {
    /// The answer to its batch. An unknown outcome settles nothing.
    Answer(OutcomeKind),
    Receipt {
        is_lon: bool,
    },
}

/// What a receipt changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// The message came further.
    Moved {
        /// Its stage before.
        from: Stage,
        /// Its stage now.
        to: Stage,
    },
    /// It is new and in the history, and the stage stays: it came late, or says more of the same.
    Kept(Stage),
    /// It was known.
    Known,
}

impl MessageTracker {
    /// One that follows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what a send told of every message of a batch.
    ///
    /// After an error whose [`outcome`](Error::outcome) is unknown, the messages are
    /// [`unanswered`](Self::unanswered): one without a clientMessageId cannot be followed. After an
    /// error that says that nothing was sent, they are not followed.
    ///
    /// Under [`resend_ambiguous_and_risk_duplicates`](crate::RetryPolicy::resend_ambiguous_and_risk_duplicates)
    /// the result is that of the last attempt, and one before may have been taken: call
    /// [`unanswered`](Self::unanswered) for every message of the batch, too.
    pub fn sent(&mut self, batch: &Batch, result: &Result<BatchResponse, Error>) {
        match result {
            Ok(response) => {
                self.answered(response);
                let report = response.report(batch);
                // `answered` took in the entries, which have more details than outcomes.
                let has_entry = |outcome: &Outcome| {
                    response.messages.is_some()
                        && (outcome.kind != OutcomeKind::Unknown || outcome.umid.is_some())
                };
                for (message, outcome) in report.iter().filter(|(_, it)| !has_entry(it)) {
                    let id = message.client_message_id.as_deref();
                    self.note(None, id, By::Answer(outcome.kind), of_kind(outcome.kind));
                }
            }
            Err(error) if error.outcome() == OutcomeKind::Unknown => {
                let ids = batch.messages().iter();
                for id in ids.filter_map(|message| message.client_message_id.as_deref()) {
                    self.unanswered(id);
                }
            }
            Err(_) => {}
        }
    }

    /// Takes in that a message with this clientMessageId may have been sent in a batch whose answer
    /// is not known, and never will be: after a crash in the middle of a send, or where a send or a
    /// run was dropped before it ended. It is [`Stage::Unknown`] until a receipt tells more.
    ///
    /// Do not call it for a batch whose answer is fed too (but see [`sent`](Self::sent)), or that was
    /// not sent: there would seem to be another send of what was rejected or did not arrive.
    pub fn unanswered(&mut self, client_message_id: &str) {
        let by = By::Answer(OutcomeKind::Unknown);
        self.note(None, Some(client_message_id), by, None);
    }

    /// Takes in the answer to a batch: what it tells of each message that it lists. An entry that
    /// settles nothing ([`OutcomeKind::Unknown`]) brings no message further.
    pub fn answered(&mut self, response: &BatchResponse) {
        for result in response.results() {
            let umid = result.umid.as_deref();
            let id = result.client_message_id.as_deref();
            let kind = result.outcome();
            // An accepted state beside the code of an error tells neither.
            let change = Change::of_result(result)
                .filter(|it| kind != OutcomeKind::Unknown || it.stage() == Stage::Unknown);
            self.note(umid, id, By::Answer(kind), change);
        }
    }

    /// Takes in the outcome of a message: of a run, of
    /// [`send_message`](crate::Client::send_message), or one that was stored. A message that was not
    /// sent is not followed.
    ///
    /// An unknown outcome with a umid may be of two sends: an attempt without a response, and a
    /// retry that has the umid. So if a receipt says that the umid was rejected or undelivered,
    /// another message stays [`Stage::Unknown`].
    pub fn outcome(&mut self, message: &Message, outcome: &Outcome) {
        let umid = outcome.umid.as_deref().filter(|umid| !umid.is_empty());
        let id = message.client_message_id.as_deref();
        let by = By::Answer(outcome.kind);
        match outcome.kind {
            OutcomeKind::Accepted => _ = self.note(umid, id, by, of_kind(outcome.kind)),
            OutcomeKind::Rejected => {
                let reason = outcome.reason.as_deref();
                let change = Change::to(MessageState::Rejected, outcome.code, reason);
                self.note(umid, id, by, Some(change));
            }
            OutcomeKind::Unknown => {
                self.note(None, id, by, None);
                if umid.is_some() {
                    self.note(umid, id, by, None);
                }
            }
            OutcomeKind::NotSent => {}
        }
    }

    /// Takes in a receipt, and tells what it changed.
    pub fn receipt(&mut self, receipt: &DeliveryReceipt) -> Effect {
        let from = self.stage_by(receipt);
        let is_new = self.note(
            Some(receipt.umid()),
            receipt.client_message_id(),
            By::Receipt { is_lon: receipt.is_lon() },
            Some(Change::of_receipt(receipt)),
        );
        let to = self.stage_by(receipt);
        match (to > from, is_new) {
            (true, _) => Effect::Moved { from, to },
            (false, true) => Effect::Kept(to),
            (false, false) => Effect::Known,
        }
    }

    /// Takes in all that another tracker knows: one for each thread, or one that was written down.
    pub fn merge(&mut self, other: Self) {
        for row in other.rows {
            self.copy(&row);
        }
    }

    /// The message with a umid.
    pub fn with_umid(&self, umid: &str) -> Option<TrackedMessage<'_>> {
        let place = self.place_of(&Umid::from(umid))?;
        self.message(&self.rows[place])
    }

    /// The messages with a clientMessageId: several where it was sent several times. What to send
    /// again is decided by [all of them](Self#what-is-sent-again).
    pub fn with_client_message_id(&self, id: &str) -> impl Iterator<Item = TrackedMessage<'_>> {
        self.rows_with_client_id(id).filter_map(|row| self.message(row))
    }

    /// Every message, in no order that means anything.
    pub fn messages(&self) -> impl Iterator<Item = TrackedMessage<'_>> {
        self.rows.iter().filter_map(|row| self.message(row))
    }

    /// How many messages are in which stage. It looks at each of them: half a second or so for a
    /// million.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for message in self.messages() {
            *counts.of_mut(message.stage()) += 1;
            counts.contradictory += u64::from(message.is_contradictory());
            counts.taken_again += u64::from(message.is_taken_again());
        }
        counts
    }

    /// Lets go of the messages of which `keep` says false, and of receipts that belong to none. A
    /// receipt that comes later starts its message anew: let go of what has been final for longer
    /// than you wait for late ones, and of all messages with one clientMessageId together.
    pub fn retain(&mut self, mut keep: impl FnMut(&TrackedMessage<'_>) -> bool) {
        let mut kept = Self::default();
        for message in self.messages().filter(|message| keep(message)) {
            for row in message.rows() {
                kept.copy(row);
            }
        }
        *self = kept;
    }

    /// Takes in what is told of a message, and tells whether it is a change that was not known.
    fn note(
        &mut self,
        umid: Option<&str>,
        client_message_id: Option<&str>,
        by: By,
        change: Option<Change>,
    ) -> bool {
        let umid = umid.map_or(Umid::NotKnown, Umid::from);
        let Some(row) = self.row(umid, client_message_id.unwrap_or_default()) else {
            return false;
        };
        let has_umid = row.umid != Umid::NotKnown;
        match by {
            By::Answer(kind) => {
                row.is_lon = true;
                row.is_answered |= has_umid;
                row.may_be_taken |= !has_umid && kind != OutcomeKind::Rejected;
            }
            By::Receipt { is_lon } => row.is_lon |= is_lon,
        }
        change.is_some_and(|change| row.changes.add(change))
    }

    fn copy(&mut self, row: &Row) {
        let Some(copy) = self.row(row.umid.clone(), &row.client_message_id) else {
            return;
        };
        copy.is_lon |= row.is_lon;
        copy.is_answered |= row.is_answered;
        copy.may_be_taken |= row.may_be_taken;
        for change in row.changes.iter() {
            copy.changes.add(change);
        }
    }

    /// The row of a umid, else of a clientMessageId, made if it is not there; `None` without both.
    fn row(&mut self, umid: Umid, id: &str) -> Option<&mut Row> {
        let found = match &umid {
            Umid::NotKnown if id.is_empty() => return None,
            Umid::NotKnown => {
                let mut rows = self.places_with_client_id(id);
                rows.find(|place| self.rows[*place].umid == Umid::NotKnown)
            }
            umid => self.place_of(umid),
        };
        let place = found.unwrap_or_else(|| self.insert(Row::new(umid, id)));
        // Of several ids for one umid the least is kept, whichever came first.
        let known = &self.rows[place].client_message_id;
        if !id.is_empty() && (known.is_empty() || id < known.as_str()) {
            self.remove_client_id(place);
            self.rows[place].client_message_id = id.into();
            self.insert_client_id(place);
        }
        Some(&mut self.rows[place])
    }

    fn insert(&mut self, row: Row) -> usize {
        let place = self.rows.len();
        self.rows.push(row);
        if self.rows[place].umid != Umid::NotKnown {
            let (rows, hasher) = (&self.rows, &self.hasher);
            let hash = |place: &u32| rows[index(*place)].umid.hash(hasher);
            self.by_umid.insert_unique(hash(&number(place)), number(place), hash);
        }
        self.insert_client_id(place);
        place
    }

    fn insert_client_id(&mut self, place: usize) {
        if self.rows[place].client_message_id.is_empty() {
            return;
        }
        let (rows, hasher) = (&self.rows, &self.hasher);
        let hash = |place: &u32| hasher.hash_one(rows[index(*place)].client_message_id.as_str());
        self.by_client_id.insert_unique(hash(&number(place)), number(place), hash);
    }

    fn remove_client_id(&mut self, place: usize) {
        let id = self.rows[place].client_message_id.as_str();
        let hash = self.hasher.hash_one(id);
        let entry = self.by_client_id.find_entry(hash, |other| index(*other) == place);
        if let Ok(entry) = entry {
            entry.remove();
        }
    }

    fn place_of(&self, umid: &Umid) -> Option<usize> {
        let hash = umid.hash(&self.hasher);
        let is_same = |place: &u32| self.rows[index(*place)].umid == *umid;
        self.by_umid.find(hash, is_same).map(|place| index(*place))
    }

    fn places_with_client_id(&self, id: &str) -> impl Iterator<Item = usize> {
        let places = self.by_client_id.iter_hash(self.hasher.hash_one(id));
        let places = places.map(|place| index(*place));
        places.filter(move |place| self.rows[*place].client_message_id == id)
    }

    pub(super) fn rows_with_client_id(&self, id: &str) -> impl Iterator<Item = &Row> {
        self.places_with_client_id(id).map(|place| &self.rows[place])
    }

    pub(super) fn namesakes_of<'a>(&'a self, row: &'a Row) -> Namesakes<'a> {
        Namesakes { tracker: self, client_message_id: &row.client_message_id }
    }

    /// The message that a row stands for, where it stands for one.
    fn message<'a>(&'a self, row: &'a Row) -> Option<TrackedMessage<'a>> {
        let message = TrackedMessage { tracker: self, row };
        self.namesakes_of(row).is_message(row).then_some(message)
    }

    /// The stage of the message that a receipt is about. One that comes under a new umid is about a
    /// message of which none was known, unless it is of another channel.
    fn stage_by(&self, receipt: &DeliveryReceipt) -> Stage {
        if let Some(message) = self.with_umid(receipt.umid()) {
            return message.stage();
        }
        // It may have come with the id before.
        let known = self.place_of(&Umid::from(receipt.umid().as_str()));
        let known = known.map_or("", |place| self.rows[place].client_message_id.as_str());
        let id = receipt.client_message_id().unwrap_or(known);
        let messages = self.with_client_message_id(id);
        let messages = messages.filter(|it| !receipt.is_lon() || it.umid().is_none());
        messages.map(|it| it.stage()).max().unwrap_or_default()
    }
}

/// The change that follows from the kind of an outcome without a state.
fn of_kind(kind: OutcomeKind) -> Option<Change> {
    let state = match kind {
        OutcomeKind::Accepted => MessageState::Accepted,
        OutcomeKind::Rejected => MessageState::Rejected,
        OutcomeKind::NotSent | OutcomeKind::Unknown => return None,
    };
    Some(Change::to(state, None, None))
}

fn index(place: u32) -> usize {
    place as usize
}

fn number(place: usize) -> u32 {
    u32::try_from(place).expect("fewer than 4 billion messages fit into memory")
}

impl Serialize for MessageTracker {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.rows.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for MessageTracker {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut tracker = Self::default();
        for row in Vec::<Row>::deserialize(deserializer)? {
            tracker.copy(&row);
        }
        Ok(tracker)
    }
}

impl fmt::Debug for MessageTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageTracker").field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}
