//! Any bytes that are posted to a webhook: nothing panics, and what is read is sound.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lon_batch::receipt::{DeliveryReceipt, Event, MAX_EVENT_BYTES, UnreadableEvent};

fuzz_target!(|posted: &[u8]| {
    // Passed over.
    let body = posted.strip_prefix(b"\xef\xbb\xbf").unwrap_or(posted);
    match Event::from_json(posted) {
        Ok(event) => {
            assert!(body.trim_ascii_start().starts_with(b"{"));
            assert_printable(&event.to_string());
            let _ = format!("{event:?} {event:#?}");
            match &event {
                Event::Receipt(receipt) => assert_receipt(receipt, true),
                Event::OtherChannel(receipt) => assert_receipt(receipt, false),
                Event::OldFormat(other) | Event::Other(other) => assert_eq!(other.body, body),
                _ => unreachable!(),
            }
        }
        Err(error) => assert_unreadable(&error, posted),
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
    // A number of five bytes can be a text of three hundred.
    if json.len() <= MAX_EVENT_BYTES {
        let again = Event::from_json(&json).unwrap();
        assert_eq!(matches!(again, Event::Receipt(_)), is_lon);
        assert_eq!(again.receipt(), Some(receipt));
    }
}

fn assert_unreadable(error: &UnreadableEvent, body: &[u8]) {
    assert_printable(&error.to_string());
    let _ = format!("{error:?} {error:#?}");
    assert!(body.starts_with(error.body()));
    let status = error.status().as_u16();
    assert!(matches!(status, 200 | 400 | 413));
    assert_eq!(status == 413, body.len() > MAX_EVENT_BYTES);
    assert!(error.field().is_none_or(|field| field.starts_with("payload")));
}

fn assert_printable(line: &str) {
    assert!(!line.is_empty() && !line.contains(char::is_control));
}
