//! Parses any bytes as an event: nothing panics, and parsed events are consistent.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lon_batch::receipt::{DeliveryReceipt, Event, EventError, MAX_EVENT_BYTES};

fuzz_target!(|posted: &[u8]| {
    // `from_json` skips a byte order mark.
    let body = posted.strip_prefix(b"\xef\xbb\xbf").unwrap_or(posted);
    match Event::from_json(posted) {
        Ok(event) => {
            assert!(body.trim_ascii_start().starts_with(b"{"));
            assert_printable(&event.to_string());
            let _ = format!("{event:?} {event:#?}");
            match &event {
                Event::Receipt(receipt) => assert_receipt(receipt, true),
                Event::OtherChannel(other) => {
                    assert_receipt(&other.receipt, false);
                    assert_eq!(other.body, body);
                }
                Event::OldFormat(other) | Event::Other(other) => assert_eq!(other.body, body),
                _ => unreachable!(),
            }
        }
        Err(error) => assert_error(&error, posted),
    }
});

fn assert_receipt(receipt: &DeliveryReceipt, is_lon: bool) {
    assert_eq!(receipt.is_lon(), is_lon);
    assert!(!receipt.umid().is_empty());
    assert!(!receipt.state().as_str().is_empty());
    assert_ne!(receipt.client_message_id(), Some(""));
    assert_ne!(receipt.client_batch_id(), Some(""));
    let _ = (receipt.stage(), receipt.detail(), receipt.reason());
    assert!(receipt.error_code().is_none_or(|code| code.value() != 0));
    let _ = receipt.timestamp().map(|it| it.to_system_time());

    let json = serde_json::to_vec(receipt).unwrap();
    assert_eq!(serde_json::from_slice::<DeliveryReceipt>(&json).unwrap(), *receipt);
    // As text, a number can be longer: 1e300 has 301 digits.
    if json.len() <= MAX_EVENT_BYTES {
        let again = Event::from_json(&json).unwrap();
        assert_eq!(matches!(again, Event::Receipt(_)), is_lon);
        assert_eq!(again.receipt(), Some(receipt));
    }
}

fn assert_error(error: &EventError, body: &[u8]) {
    assert_printable(&error.to_string());
    let _ = format!("{error:?} {error:#?}");
    assert_eq!(matches!(error, EventError::TooLarge { .. }), body.len() > MAX_EVENT_BYTES);
    let status = match error {
        EventError::TooLarge { found } => {
            assert_eq!(*found, body.len());
            413
        }
        EventError::NotJson { line, .. } => {
            assert!(*line >= 1);
            400
        }
        EventError::NotAnObject { .. } => 200,
        EventError::Incomplete { field, .. } => {
            assert!(field.starts_with("payload"));
            200
        }
        _ => unreachable!(),
    };
    assert_eq!(error.status(), status);
}

fn assert_printable(line: &str) {
    assert!(!line.is_empty() && !line.contains(char::is_control));
}
