//! Generates the typed client from `spec/lon-batch.yaml`, in `OUT_DIR`.

#[path = "build/check.rs"]
mod check;
#[path = "build/generate.rs"]
mod generate;
#[path = "build/lenient.rs"]
mod lenient;
#[path = "build/schemas.rs"]
mod schemas;
#[path = "build/spec.rs"]
mod spec;
#[path = "build/tables.rs"]
mod tables;

use std::path::Path;
use std::{env, fs, process};

use spec::{Spec, SpecError};

const SPEC: &str = "spec/lon-batch.yaml";

fn main() {
    for input in [SPEC, "build.rs", "build"] {
        println!("cargo::rerun-if-changed={input}");
    }
    if let Err(error) = build() {
        println!("cargo::error={error}");
        process::exit(1);
    }
}

fn build() -> Result<(), SpecError> {
    let text = fs::read_to_string(SPEC).map_err(|error| format!("{SPEC}: {error}"))?;
    let spec = Spec::parse(SPEC, &text)?;
    check::check(&spec)?;
    write("tables.rs", &tables::tables(&spec)?)?;
    write("client.rs", &generate::client(&spec)?)?;
    if feature("MOCK") {
        write("mocks.rs", &generate::mocks(&spec)?)?;
    }
    if feature("SCHEMARS") {
        write("schemas.rs", &schemas::schemas(&spec)?)?;
    }
    Ok(())
}

fn feature(name: &str) -> bool {
    env::var_os(format!("CARGO_FEATURE_{name}")).is_some()
}

fn write(name: &str, code: &str) -> Result<(), SpecError> {
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for a build script");
    fs::write(Path::new(&out).join(name), code).map_err(|error| format!("{name}: {error}"))
}
