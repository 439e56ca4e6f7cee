//! A stand-in for 8x8's LINE Official Notification (LON) batch API, for tests.
//!
//! A [`Sandbox`] is an HTTP server on this machine. It judges each request by the published
//! contract, from nothing but its JSON, fails on demand ([`Answer`], [`Failures`]), posts delivery
//! receipts ([`Receipts`]), and reports which messages it accepted ([`Accepted`]). The program
//! `lon-sandbox` runs it for clients in any language.
//!
//! ```
//! use lon_sandbox::{Answer, Sandbox};
//! use serde_json::{Value, json};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sandbox = Sandbox::start().await?;
//! let path = format!("/api/v1/subaccounts/{}/lon/batch", sandbox.sub_account_id());
//! let batch = json!({"messages": [{
//!     "user": {"msisdn": "+6591234567"},
//!     "clientMessageId": "abc-123",
//!     "content": {"title": "Hello"},
//! }]});
//! let send = || {
//!     reqwest::Client::new()
//!         .post(sandbox.base_url() + &path)
//!         .bearer_auth(sandbox.api_key())
//!         .json(&batch)
//!         .send()
//! };
//!
//! let answer: Value = send().await?.json().await?;
//! assert_eq!(answer["acceptedCount"], 1);
//! assert_eq!(sandbox.accepted()[0].client_message_id.as_deref(), Some("abc-123"));
//!
//! // The platform takes the batch, and the answer is lost.
//! sandbox.answer_next([Answer::AcceptAndHangUp]);
//! assert!(send().await.is_err());
//! assert_eq!(sandbox.accepted_count(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! It depends on nothing else of this project, so that it is a second opinion and not an echo.

mod answer;
mod contract;
mod failures;
mod receipts;
mod record;
mod sandbox;
mod server;

pub use answer::Answer;
pub use contract::Rejection;
pub use failures::{Failures, FailuresError, reject_at_random};
pub use receipts::{PostedReceipt, Receipts, Step};
pub use record::Accepted;
pub use sandbox::{Sandbox, SandboxBuilder};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
