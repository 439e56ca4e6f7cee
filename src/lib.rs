#![doc = include_str!("../README.md")]

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
