//! Properties of phone numbers, of URLs, and of every batch that can be built.

use std::sync::LazyLock;

use jsonschema::Validator;
use lon_batch::reqwest::Url;
use lon_batch::{
    Batch, Content, Encoding, Icon, Message, Msisdn, MsisdnError, Recipient, SmolStr, SmsFallback,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;

use crate::spec::committed;
use crate::support::{message, msisdn};

/// An independent judge of requests: the schemas of the YAML, as they are committed.
static BATCH_REQUEST: LazyLock<Validator> = LazyLock::new(|| {
    let mut schema = committed().value;
    schema["$ref"] = Value::from("#/components/schemas/BatchRequest");
    jsonschema::options().with_draft(jsonschema::Draft::Draft4).build(&schema).unwrap()
});

#[test]
fn the_judge_refuses_what_is_no_request() {
    let fine = r#"{"messages": [{"user": {"msisdn": "+6591234567"}, "content": {"title": "a"}}]}"#;
    let of = |json: &str| serde_json::from_str::<Value>(json).unwrap();
    assert!(BATCH_REQUEST.is_valid(&of(fine)));
    for json in [
        "{}".to_owned(),
        r#"{"messages": []}"#.to_owned(),
        fine.replace("title", "titel"),
        fine.replace(r#""a""#, "null"),
        fine.replace("content", "contents"),
        fine.replace(r#""title": "a""#, r#""icon": "newIcon""#),
        fine.replace("}}]", &format!("}}, \"clientMessageId\": \"{}\"}}]", "x".repeat(51))),
    ] {
        assert!(!BATCH_REQUEST.is_valid(&of(&json)), "{json}");
    }
}

fn number() -> impl Strategy<Value = Msisdn> {
    "\\+[1-9][0-9]{6,14}".prop_map(|text| text.parse().unwrap())
}

fn recipient() -> impl Strategy<Value = Recipient> {
    prop_oneof![
        3 => number().prop_map(Recipient::from),
        1 => ("[0-9]{4,15}", "[A-Za-z]{2}")
            .prop_map(|(number, country)| Recipient::national(&number, &country).unwrap()),
    ]
}

fn url() -> impl Strategy<Value = String> {
    "https?://[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,5})?\\.[a-z]{2,5}(/([a-zA-Z0-9/?&=+.~_:@!$'()*,;-]|%[0-9A-F]{2}){0,20})?(#[a-z]*)?"
}

/// Any text, of any characters.
fn text() -> impl Strategy<Value = SmolStr> {
    any::<String>().prop_map(SmolStr::from)
}

fn content() -> impl Strategy<Value = Content> {
    let icon = proptest::sample::select(Icon::KNOWN).prop_map(|icon| icon.clone());
    let texts = (option::of(text()), option::of(text()), option::of(text()), option::of(text()));
    let emphasis = option::of((text(), text()));
    let (list, actions) = (vec((text(), text()), 0..4), vec((text(), url()), 0..3));
    (texts, option::of(icon), emphasis, list, actions).prop_map(
        |((title, company, greeting, explanation), icon, emphasis, list, actions)| {
            let mut content =
                Content { title, company, greeting, explanation, icon, ..Content::default() };
            if let Some((label, text)) = emphasis {
                content = content.emphasis(label, text);
            }
            for (label, text) in list {
                content = content.item(label, text);
            }
            for (title, url) in actions {
                content = content.action(title, url);
            }
            content
        },
    )
}

fn sms() -> impl Strategy<Value = SmsFallback> {
    let encoding = prop_oneof![Just(Encoding::Auto), Just(Encoding::Gsm7), Just(Encoding::Ucs2)];
    ("\\PC{1,20}", option::of("\\PC{0,16}".prop_map(SmolStr::from)), option::of(encoding)).prop_map(
        |(text, source, encoding)| SmsFallback { source, encoding, ..SmsFallback::new(text) },
    )
}

/// A batch that is valid but for contents with nothing set, which are given a title.
fn batch() -> impl Strategy<Value = Batch> {
    let one = (recipient(), content(), option::of(sms()), option::of(url()), any::<bool>());
    let head = (option::of("\\PC{0,100}"), any::<bool>());
    (head, vec(one, 1..20)).prop_map(|((id, include), messages)| {
        let messages = messages.into_iter().enumerate();
        let messages = messages.map(|(index, (to, content, sms, url, has_id))| {
            let content = match content.icon {
                Some(_) => content,
                None => content.explanation("There is something to show"),
            };
            let mut message = Message::new(to, content);
            message.client_message_id =
                has_id.then(|| format!("{index}-{}", "字".repeat(46)).into());
            message.dlr_callback_url = url.map(SmolStr::from);
            message.sms_fallback = sms.map(Into::into);
            message
        });
        let batch = Batch::builder().messages(messages).include_messages_in_response(include);
        let batch = match id {
            Some(id) => batch.client_batch_id(id),
            None => batch,
        };
        batch.build().unwrap()
    })
}

proptest! {
    #[test]
    fn a_number_is_accepted_by_its_shape_alone(text in "\\+?[0-9a ]{0,20}") {
        let digits = text.strip_prefix('+').unwrap_or("");
        let by_the_rule = (7..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        prop_assert_eq!(Msisdn::parse(&text).is_ok(), by_the_rule);
        prop_assert_eq!(text.parse::<Msisdn>().is_ok(), by_the_rule);
    }

    #[test]
    fn no_text_makes_the_parsers_panic_or_change_a_number(text in any::<String>()) {
        if let Ok(number) = Msisdn::parse(&text) {
            prop_assert_eq!(number.as_str(), &text);
        }
        let _ = Msisdn::parse_lenient(&text);
        let _ = Recipient::parse(&text, Some(&text));
    }

    #[test]
    fn lenient_reading_keeps_every_digit(number in number(), noise in vec("[ .()\u{200b}-]{0,2}", 17)) {
        let mut typed = String::new();
        for (letter, noise) in number.as_str().chars().zip(&noise) {
            typed += noise;
            typed.push(letter);
        }
        match Msisdn::parse_lenient(&typed) {
            Ok(read) => prop_assert_eq!(read, number),
            Err(error) => prop_assert_eq!(error, MsisdnError::TrunkPrefix),
        }
    }

    #[test]
    fn numbers_are_masked(number in number()) {
        let debug = format!("{number:?}");
        let digits = number.as_str().len() - 1;
        prop_assert!(debug.contains(&"*".repeat(digits - 2)));
        prop_assert!(!debug.contains(&number.as_str()[1..5]));
    }

    #[test]
    fn what_is_taken_for_a_url_is_one(
        text in "(https?|HTTP)(://|:/|:)[a-z0-9.:@?#/\\[\\]\\\\%x{ -]{0,20}"
    ) {
        let sent = Batch::builder().message(message("a").dlr_callback_url(text.as_str())).build();
        if let Ok(batch) = sent {
            let url = Url::parse(&text).unwrap();
            prop_assert!(url.has_host() && matches!(url.scheme(), "http" | "https"));
            prop_assert!(BATCH_REQUEST.is_valid(&serde_json::to_value(&batch).unwrap()));
        }
    }

    #[test]
    fn a_plain_url_is_always_one(text in url()) {
        prop_assert!(Url::parse(&text).is_ok());
        let sent = Batch::builder().message(Message::new(msisdn(), Content::new("a").action("", text)));
        prop_assert!(sent.build().is_ok());
    }

    #[test]
    fn a_batch_validates_against_the_spec_and_reads_back_equal(batch in batch()) {
        let json = serde_json::to_vec(&batch).unwrap();
        let value: Value = serde_json::from_slice(&json).unwrap();
        let errors: Vec<_> = BATCH_REQUEST.iter_errors(&value).map(|it| it.to_string()).collect();
        prop_assert_eq!(errors, Vec::<String>::new());
        prop_assert_eq!(&Batch::from_json(&json).unwrap(), &batch);
        prop_assert_eq!(&serde_json::from_value::<Batch>(value).unwrap(), &batch);
    }

    #[test]
    fn no_json_makes_reading_panic(text in any::<String>(), messages in "[\\[\\]{}\":,a-z0-9 ]{0,40}") {
        let _ = Batch::from_json(text.as_bytes());
        let _ = Batch::from_json(format!("{{\"messages\": {messages}}}").as_bytes());
    }
}
