#![doc = include_str!("../README.md")]

mod batch;
pub mod bulk;
mod check;
mod client;
mod error;
mod exchange;
mod generated;
mod hint;
mod mask;
mod message;
#[cfg(feature = "mock")]
pub mod mock;
mod msisdn;
mod open;
mod problem;
pub mod receipt;
mod received;
mod recipient;
mod region;
mod response;
mod retry;
mod retry_after;
#[cfg(feature = "schemars")]
mod schema;
mod shape;
mod shared;
mod sub_account;
mod tls;
mod wire;

pub use batch::{Batch, BatchBuilder};
pub use client::{Client, ClientBuilder};
pub use error::{
    ApiError, Error, MayHaveBeenSent, NotSent, TransportError, Unreadable, UnreadableReason,
};
pub use generated::Client as GeneratedClient;
pub use generated::tables::{
    ErrorCode, Icon, MAX_CLIENT_BATCH_ID_CHARS, MAX_CLIENT_MESSAGE_ID_CHARS,
    MAX_MESSAGES_PER_BATCH, MAX_SMS_SOURCE_CHARS, MessageState, StatusDetail,
};
pub use generated::types::{
    Action, BatchRequest, BatchResponse, Content, Emphasis, Encoding, ErrorBody, ListItem, Message,
    MessageResult, MessageStatus, ReceivedUser, SmsFallback,
};
pub use hint::{Hint, HintKind};
pub use msisdn::{
    CountryCode, CountryCodeError, Msisdn, MsisdnError, NationalNumber, NationalNumberError,
};
pub use problem::{Invalid, Problem, Rule};
pub use received::{OpaqueId, ReceivedText, Timestamp};
pub use recipient::{Recipient, RecipientError};
pub use region::{Region, UnknownRegion};
pub use reqwest;
pub use response::{Disagreement, Outcome, Report, Verdict};
pub use retry::RetryPolicy;
pub use shared::{Shared, SharedContent, SharedSmsFallback};
pub use smol_str::SmolStr;
pub use sub_account::SubAccountId;
