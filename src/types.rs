//! The types of the spec, generated from `spec/lon-batch.yaml`, and the handwritten types of its
//! strings and lists.
//!
//! Everything in the spec is public here. All generated types are `#[non_exhaustive]`. Request types have
//! `new` (required members) or `Default`. All response members are optional, because the platform
//! may omit them or send `null`.

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
