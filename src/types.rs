//! The types of the contract: everything that the build generates from `spec/lon-batch.yaml`, and
//! the handwritten types of its strings and lists.
//!
//! A schema or a value that is added to the contract is public here at once. Every generated type
//! is `#[non_exhaustive]`. A type of a request has a `new` with its required members, or a
//! `Default` if it has none. Types of responses have a `Default`, and all of their members are
//! optional: the platform may leave out any of them, or send `null`.

mod list;
pub(crate) mod open_enum;
pub(crate) mod region;
#[cfg(feature = "schemars")]
pub(crate) mod schema;
mod sub_account;
mod text;

pub use crate::generated::tables::*;
pub use crate::generated::types::*;
pub use list::ReceivedList;
pub use region::UnknownRegion;
pub use sub_account::{InvalidSubAccountId, SubAccountId};
pub use text::{ClientId, Text, Timestamp};
