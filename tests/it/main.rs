//! Tests through the public API, on the wire, and of the build.

#![allow(
    clippy::format_push_string,
    clippy::too_many_lines,
    clippy::type_complexity,
    reason = "tables of cases are long, and tests need not be fast"
)]

mod answers;
mod batches;
mod bulk;
mod bulk_faults;
mod clients;
mod contract;
mod errors;
mod faults;
mod ledger;
mod log;
mod numbers;
mod programs;
mod properties;
mod receipts;
mod receipts_at_random;
mod receiver;
mod retries;
mod sandbox;
mod sandbox_receipts;
#[cfg(feature = "schemars")]
mod schema;
mod spec;
mod support;
mod tracking;
