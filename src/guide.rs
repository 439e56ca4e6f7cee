//! The user's guide.

#[doc = include_str!("../docs/guide/sending.md")]
pub mod sending {}

#[doc = include_str!("../docs/guide/outcomes.md")]
pub mod outcomes {}

#[doc = include_str!("../docs/guide/phone-numbers.md")]
pub mod phone_numbers {}

#[doc = include_str!("../docs/guide/many.md")]
pub mod many {}

#[doc = include_str!("../docs/guide/receipts.md")]
pub mod receipts {}

#[doc = include_str!("../docs/guide/testing.md")]
pub mod testing {}

#[doc = include_str!("../spec/README.md")]
pub mod spec {}
