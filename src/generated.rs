//! Includes the generated code. See `build.rs` and `spec/README.md`.

#![allow(dead_code, missing_docs, clippy::all, clippy::pedantic, rustdoc::all)]

include!(concat!(env!("OUT_DIR"), "/client.rs"));

/// Open enums, limits, regions, constructors and request validation.
pub mod tables {
    include!(concat!(env!("OUT_DIR"), "/tables.rs"));
}

/// JSON Schema of the request types.
#[cfg(feature = "schemars")]
mod schemas {
    include!(concat!(env!("OUT_DIR"), "/schemas.rs"));
}
