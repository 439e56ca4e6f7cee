//! Hints: what is probably a mistake, although the API accepts it.

mod common;

use lon_batch::request::{Hint, HintKind};
use lon_batch::{Batch, Content, Icon, Message, Msisdn, Recipient};

use common::batch;

fn message(number: &str, content: Content) -> Message {
    let id = format!("to-{number}");
    Message::new(number.parse::<Msisdn>().unwrap(), content).client_message_id(id)
}

#[test]
fn a_batch_with_mistakes_is_built_and_each_has_a_hint() {
    let mut content = Content::new("x".repeat(400)).greeting("y".repeat(101));
    for index in 0..16 {
        content = content.item("", "").action("Go", format!("https://example.com/{index}"));
    }
    let content = content.icon(Icon::from("calenderCheck"));
    let hello = Content::new("Hello");
    let batch = Batch::builder()
        .include_messages_in_response(false)
        .message(message("+819012345678", hello.clone()))
        .message(message("+8109012345678", hello.clone()))
        .message(message("+6591234567", hello.clone()))
        .message(message("+66812345678", content))
        .message(Message::new(Recipient::national("0912345678", "TW").unwrap(), hello))
        .build()
        .unwrap();
    let hints = batch.hints();
    let kinds: Vec<_> = hints.iter().map(|hint| (hint.message, hint.kind.clone())).collect();
    assert_eq!(
        kinds,
        [
            (None, HintKind::NoVerdicts),
            (Some(1), HintKind::TrunkPrefix),
            (Some(2), HintKind::Country),
            (Some(3), HintKind::UnknownIcon),
            (Some(3), HintKind::Items(16)),
            (Some(3), HintKind::Actions(16)),
            (Some(3), HintKind::Characters(501)),
            (Some(4), HintKind::NoClientMessageId),
        ]
    );
    assert_eq!(
        hints.iter().map(Hint::to_string).nth(4).unwrap(),
        "messages[3].content.list: 16 entries, LINE shows at most 15"
    );
}

#[test]
fn a_batch_without_mistakes_has_no_hints() {
    let hello = Content::new("Hello").item("A", "B");
    let recipient = Recipient::national("0812345678", "th").unwrap();
    let good = Batch::builder()
        .message(message("+819012345678", hello.clone()))
        .message(Message::new(recipient, hello).client_message_id("a"));
    assert_eq!(good.build().unwrap().hints(), []);
    // The builder asks for the results, JSON has to.
    let json = r#"{"messages": [{"user": {"msisdn": "+819012345678"}, "content": {"title": "a"},
        "clientMessageId": "a"}]}"#;
    let parsed = Batch::from_json(json.as_bytes()).unwrap();
    let hints: Vec<_> = parsed.hints().into_iter().map(|hint| hint.kind).collect();
    assert_eq!(hints, [HintKind::NoVerdicts]);
    assert_eq!(batch(&["a"]).hints().len(), 1, "a number of Singapore");
}
