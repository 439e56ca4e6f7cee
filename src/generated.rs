//! The one place where generated code comes in. See `build.rs` and `spec/README.md`.

#![allow(missing_docs, clippy::all, clippy::pedantic, rustdoc::all)]

include!(concat!(env!("OUT_DIR"), "/client.rs"));

/// Limits, regions, open lists and checks, from the spec.
pub mod tables {
    include!(concat!(env!("OUT_DIR"), "/tables.rs"));
}

/// JSON Schema of the types of a request, from the spec.
#[cfg(feature = "schemars")]
mod schemas {
    include!(concat!(env!("OUT_DIR"), "/schemas.rs"));
}
