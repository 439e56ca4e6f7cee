//! Messages and valid batches.

mod batch;
pub(crate) mod hints;
mod message;
mod read;
mod segments;
mod shared;
pub(crate) mod validate;

pub use batch::{Batch, BatchBuilder};
pub use hints::{Hint, HintKind};
pub use segments::{SmsEncoding, SmsSegments};
pub use shared::{MessageContent, SharedContent};
