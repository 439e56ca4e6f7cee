//! Small programs that depend on this crate: without TLS, with a misuse that the types prevent, and
//! with another spec.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::spec::{FILE, text};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn programs() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("programs")
}

fn folder(name: &str) -> PathBuf {
    let folder = programs().join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Builds and runs a program that depends on a copy of this crate, without default features.
fn program(name: &str, lon_batch: &Path, main: &str) -> Output {
    let folder = folder(name);
    fs::create_dir(folder.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = '{name}'\nedition = '2024'\n[workspace]\n[dependencies]\n\
         lon-batch = {{ path = '{}', default-features = false }}\nserde_json = '1'\n",
        lon_batch.display()
    );
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    fs::write(folder.join("src/main.rs"), main).unwrap();
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--offline", "--target-dir"])
        .arg(programs().join("target"))
        .current_dir(&folder)
        .output()
        .unwrap()
}

const PROGRAM: &str = r#"#![allow(unused_imports)]

use lon_batch::{Batch, Client, Content, Message, Msisdn, NationalNumber};

fn main() {
    let number = NUMBER;
    let message = Message::new(number, Content::new("Hello"));
    let batch = Batch::builder().message(message).build();
    let client = Client::builder("abc", "key").base_url(URL).build();
    println!("{}", batch.is_ok());
    match client {
        Ok(client) => println!("{}", client.base_url()),
        Err(error) => println!("{error}"),
    }
}
"#;

fn filled(number: &str, url: &str) -> String {
    PROGRAM.replace("NUMBER", number).replace("URL", url)
}

#[test]
fn a_client_without_tls_says_so_and_a_number_without_a_country_is_no_recipient() {
    let number = r#"Msisdn::parse("+6591234567").unwrap()"#;
    let output = program("no-tls", root(), &filled(number, r#""https://example.com""#));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "true\nnothing was sent: tls: this build of lon-batch has no TLS: turn on its feature \
         `rustls-ring` or `rustls-aws-lc`, or give the client a `reqwest::Client` of your own\n"
    );
    // Plain http to this machine needs none.
    let output = program("no-tls", root(), &filled(number, r#""http://127.0.0.1:9""#));
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "true\nhttp://127.0.0.1:9\n");

    // The same program with a national number alone does not compile, for that reason alone.
    let number = r#"NationalNumber::parse("91234567").unwrap()"#;
    let output = program("no-tls", root(), &filled(number, r#""http://127.0.0.1:9""#));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert_eq!(said.matches("error[").count(), 1, "{said}");
    assert!(said.contains("Recipient: From<NationalNumber>`"), "{said}");
}

/// A program that uses what is new in another spec.
const CHANGED: &str = r##"use lon_batch::*;

fn main() {
    let mut message = Message::new("+6591234567".parse::<Msisdn>().unwrap(), Content::new("a"));
    message.campaign = Some("four".into());
    message.type_ = Some("nowhere".into());
    let content = Content { footer: Some("b".into()), ..Content::new("a").icon(Icon::RocketLaunch) };
    let other = Message::new("+6591234567".parse::<Msisdn>().unwrap(), content);
    let three = [message, other.clone(), other.clone()];
    println!("{}", Batch::builder().messages(three).build().unwrap_err());
    let sms = SmsFallback::new("a").encoding(Encoding::Utf8);
    let batch = Batch::builder().message(other.sms_fallback(sms)).build().unwrap();
    println!("{}", serde_json::to_string(&batch).unwrap());
    let json = br#"{"heldCount": 7, "messages": [{"status": {"state": "held"}}]}"#;
    let response: BatchResponse = serde_json::from_slice(json).unwrap();
    println!("{:?} {:?}", response.held_count, response.results()[0].state());
    println!("{} {}", Region::default(), MAX_MESSAGES_PER_BATCH);
}
"##;

#[test]
fn a_change_of_the_spec_reaches_the_client() {
    let folder = folder("changed-crate");
    for name in ["build", "spec", "src"] {
        copy(&root().join(name), &folder.join(name));
    }
    for name in ["build.rs", "README.md"] {
        fs::copy(root().join(name), folder.join(name)).unwrap();
    }
    // Tests and benches are not built with it.
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (before, after) = manifest.split_once("[dev-dependencies]").unwrap();
    let (_, after) = after.split_once("[build-dependencies]").unwrap();
    let (after, rest) = after.split_once("[[bench]]").unwrap();
    let (_, lints) = rest.split_once("[lints.rust]").unwrap();
    let manifest = format!("{before}[build-dependencies]{after}[lints.rust]{lints}");
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();

    let mut spec = text();
    for (from, to) in [
        // A field of a request, with a limit, and one of an object without required members.
        (
            "        clientMessageId:\n          type: string\n",
            "        campaign:\n          type: string\n          maxLength: 3\n          description: New.\n        type:\n          type: string\n          format: uri\n          maxLength: 30\n          description: New.\n        clientMessageId:\n          type: string\n",
        ),
        (
            "        greeting:\n",
            "        footer:\n          type: string\n          description: New.\n        greeting:\n",
        ),
        // A field of an answer.
        (
            "        acceptedCount:\n",
            "        heldCount:\n          type: integer\n          format: int64\n          nullable: true\n          description: New.\n        acceptedCount:\n",
        ),
        // Values of lists, open and closed, a region, a limit.
        ("        - userPlus\n", "        - userPlus\n        - rocketLaunch\n"),
        ("      enum: [AUTO, GSM7, UCS2]", "      enum: [AUTO, GSM7, UCS2, UTF8]"),
        (
            "        - {value: queued,",
            "        - {value: held, description: New.}\n        - {value: queued,",
        ),
        (
            "servers:\n",
            "servers:\n  - {url: 'https://new.example.com', description: Nowhere, x-region: Nowhere}\n",
        ),
        ("maxItems: 1000", "maxItems: 2"),
    ] {
        assert!(spec.contains(from), "{from}");
        spec = spec.replacen(from, to, 1);
    }
    fs::write(folder.join(FILE), spec).unwrap();
    let output = program("changed", &folder, CHANGED);
    let noise = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{noise}");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).lines().collect::<Vec<_>>(),
        [
            "nothing was sent, 3 problems:",
            "  messages: 3 entries, at least 1 and at most 2",
            "  messages[0].campaign: 4 characters, at most 3",
            "  messages[0].type: 7 characters that are not an absolute http or https URL, percent-encoded",
            r#"{"includeMessagesInResponse":true,"messages":[{"content":{"footer":"b","icon":"rocketLaunch","title":"a"},"smsFallback":{"encoding":"UTF8","text":"a"},"user":{"msisdn":"+6591234567"}}]}"#,
            "Some(7) Some(Held)",
            "Nowhere 2",
        ]
    );
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
