//! A typed client for the batch send of 8x8's LINE Official Notification (LON) API, which sends up
//! to 1,000 personalised notifications to LINE users by phone number in one request.
//!
//! Sending cannot be undone, costs money and reaches real people, and the API has no idempotency
//! key. So every message ends with one of four outcomes ([`Outcome`]), and an [`Error`] says
//! whether the batch was sent. By default, the client retries only if an attempt provably did
//! nothing ([`RetryPolicy`]).
//!
//! ```no_run
//! use lon_batch::{Batch, Client, Content, Message, Msisdn};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::from_env()?;
//! let message = Message::new(Msisdn::parse("+66812345678")?, Content::new("Event reminder"));
//! let batch = Batch::builder().message(message.client_message_id("abc-123")).build()?;
//!
//! let response = client.send(&batch).await?;
//! for (message, outcome) in response.report(&batch).iter() {
//!     println!("{:?}: {outcome}", message.client_message_id);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The `guide` module explains sending, outcomes and errors, phone numbers, many messages, delivery
//! receipts, testing, and how to change the spec. The features are `rustls` (default), `bulk`,
//! `receipt`, `receiver`, `mock` and `schemars`; the README describes them.

// In reading order: a module uses only modules above it (`tests/architecture.rs`).
mod redact;
mod json;
pub mod phone;
mod generated;
pub mod types;
pub mod invalid;
pub mod request;
mod outcome;
pub mod response;
pub mod error;
mod transport;
mod client;
#[cfg(feature = "bulk")]
pub mod bulk;
#[cfg(feature = "receipt")]
pub mod receipt;
#[cfg(feature = "mock")]
pub mod mock;
#[cfg(any(doc, doctest))]
pub mod guide;

pub use client::{Client, ClientBuilder};
pub use error::{ApiError, Error};
pub use invalid::Invalid;
pub use outcome::{Outcome, OutcomeKind};
pub use phone::{CountryCode, Msisdn, NationalNumber, Recipient};
pub use request::{Batch, SharedContent};
pub use reqwest;
pub use response::Report;
pub use transport::retry::RetryPolicy;
pub use types::{
    BatchResponse, Content, ErrorCode, Icon, MAX_MESSAGES_PER_BATCH, Message, Region, SmsFallback,
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
