//! Delivery receipts: the life of a message after the platform accepted it.
//!
//! The platform posts a receipt for each change of a message's state, to the message's
//! [`dlrCallbackUrl`](crate::Message::dlr_callback_url) or else to the callback URL of the account:
//!
//! - [`Event::from_json`] parses a post: a receipt, or another event that the same URL receives.
//! - [`History`] combines the receipts of one message. Its [`Stage`] is the greatest one reported,
//!   so the order and number of receipts do not matter.
//! - [`Webhook`] checks who may post.
//! - `Receiver` (feature `receiver`) is an HTTP service that passes events to your function.
//!
//! ```
//! use lon_batch::receipt::{DeliveryReceipt, History, Stage};
//!
//! let mut history = History::new();
//! for state in ["delivered", "queued", "delivered", "sent"] {
//!     history.append(&DeliveryReceipt::builder("message-1", state).build());
//! }
//! assert_eq!(history.stage(), Some(Stage::Delivered));
//! ```
//!
//! # How the platform posts
//! - After a connection error, a timeout, a 4xx or a 5xx, it posts again after 1, 10, 30 and 90
//!   seconds, then stops. A receipt that a receiver misses for two minutes is lost.
//! - A receipt can arrive twice, and receipts can arrive out of order. A message can stay `sent`
//!   forever.
//! - One URL receives everything: receipts of other channels, messages from users, events of the
//!   account. Answer all of them with 2xx.
//! - A fixed `Authorization` value is the only proof of origin. There is no signature.
//! - The channel of an SMS fallback's receipts is not documented.
//!
//! Source: the platform's pages on
//! [delivery receipts](https://developer.8x8.com/connect/reference/delivery-receipts-for-outbound-chatapps)
//! and webhooks; `spec/README.md` lists them.

mod delivery_receipt;
mod event;
mod histories;
mod history;
#[cfg(feature = "receiver")]
mod receiver;
#[cfg(feature = "receiver")]
mod serve;
mod stage;
mod webhook;

pub use crate::types::{
    Channel, DeliveryReceipt, EventType, Namespace, ReceiptErrorCode, ReceiptPayload,
    ReceiptStatus, ReceiptUser,
};
pub use delivery_receipt::ReceiptBuilder;
pub use event::{Event, EventError, MAX_EVENT_BYTES, OtherEvent, OtherReceipt};
pub use histories::Histories;
pub use history::{Change, History};
#[cfg(feature = "receiver")]
pub use receiver::{Posted, Receiver, ReceiverBuilder};
pub use stage::Stage;
pub use webhook::{InvalidAuthorization, Webhook};
