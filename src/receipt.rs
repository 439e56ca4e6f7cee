//! Delivery receipts: what became of a message after the platform took it.
//!
//! The platform posts a receipt for each change of a message's state to the
//! [`dlrCallbackUrl`](crate::Message::dlr_callback_url) of the message, or else to the callback URL
//! of the account. [`Event::from_json`] reads what is posted.

mod change;
mod event;
#[cfg(feature = "receiver")]
mod receiver;
mod row;
mod stage;
mod tracked;
mod tracker;
mod webhook;

pub use crate::generated::tables::{Channel, EventType, Namespace, ReceiptErrorCode};
pub use crate::generated::types::{DeliveryReceipt, ReceiptPayload, ReceiptStatus, ReceiptUser};
pub use change::{Change, Code};
pub use event::{Event, EventProblem, MAX_EVENT_BYTES, OtherEvent, UnreadableEvent};
#[cfg(feature = "receiver")]
pub use receiver::{Handled, Receiver, ReceiverBuilder};
pub use stage::Stage;
pub use tracked::{Counts, TrackedMessage};
pub use tracker::{Effect, MessageTracker};
pub use webhook::{InvalidAuthorization, NoEvent, Webhook};
