//! Delivery receipts: what became of a message after the platform took it.
//!
//! The platform posts a receipt for each change of a message's state to the
//! [`dlrCallbackUrl`](crate::Message::dlr_callback_url) of the message, or else to the callback URL
//! of the account. Four parts, each of use without the others:
//!
//! - [`Event::from_json`] reads what was posted: a receipt, or one of the other events that come to
//!   the same URL.
//! - [`MessageTracker`] folds answers and receipts into the state of every message, in whatever
//!   order they come and however often.
//! - [`Webhook`] judges who may post, and says what to answer: for a server of your own.
//! - `Receiver`, with the feature `receiver`, is a service to mount in axum, or in any server that
//!   takes tower services.
//!
//! # What the states mean
//! | state | [`Stage`] | what is known |
//! |---|---|---|
//! | `queued` | accepted | the platform took the message |
//! | `sent` | sent | it went to LINE; nothing has come back yet |
//! | `delivered` | delivered | it reached the user. Final |
//! | `undelivered` | undelivered | it did not reach the user, and [`ReceiptErrorCode`] says why; its SMS fallback may still come. Final |
//! | `rejected` | rejected | the platform did not send it; [`ReceiptErrorCode`] says why. Final |
//!
//! LON never reports `read`: nobody learns whether a notification was looked at. Nor does a receipt
//! have to come: a message may stay `sent` for good. Other states, `accepted` and `failed` among
//! them, come of other parts of the platform; where this crate does not know one, it is kept as it
//! is, and its stage is [`Stage::Unknown`].
//!
//! # What the platform does
//! - After a connection error, a time-out, a 4xx or a 5xx it posts the same again after 1, 10, 30
//!   and 90 seconds, then never: what a receiver misses for some two minutes is lost.
//! - A receipt may come twice, and receipts may come out of order. The same umid, state, detail and
//!   timestamp are the same receipt.
//! - One URL gets everything: receipts of other channels, messages from users, events of the
//!   account. All of it is to be answered with a 2xx.
//! - It proves itself by a fixed `Authorization` value alone. There is no signature.
//! - Under which channel the receipt of an SMS fallback comes is not documented.
//!
//! (Sources are in `spec/README.md`.)

mod change;
mod event;
mod namesakes;
#[cfg(feature = "receiver")]
mod receiver;
mod row;
mod stage;
mod tracked;
mod tracker;
mod webhook;

pub use crate::types::{
    Channel, DeliveryReceipt, EventType, Namespace, ReceiptErrorCode, ReceiptPayload,
    ReceiptStatus, ReceiptUser,
};
pub use change::{Change, Code};
pub use event::{Event, EventProblem, MAX_EVENT_BYTES, OtherEvent, UnreadableEvent};
#[cfg(feature = "receiver")]
pub use receiver::{Handled, Posted, Receiver, ReceiverBuilder};
pub use stage::Stage;
pub use tracked::{Counts, TrackedMessage};
pub use tracker::{Effect, MessageTracker};
pub use webhook::{InvalidAuthorization, NoEvent, Webhook};
