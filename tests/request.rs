//! Building, validating and parsing batches: refused values with their error texts, and kept values.

mod common;

use std::fmt;
use std::sync::LazyLock;

use jsonschema::Validator;
use lon_batch::invalid::{Rule, Subject};
use lon_batch::reqwest::Url;
use lon_batch::types::{Action, BatchRequest, Emphasis, Encoding, Text};
use lon_batch::{
    Batch, Content, Icon, Invalid, MAX_MESSAGES_PER_BATCH, Message, Msisdn, Recipient,
    SharedContent, SmsFallback,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde::ser::{Impossible, Serialize, Serializer};
use serde_json::{Value, json};

use common::receipt::contract;
use common::{assert_no_secrets, message, msisdn, printed};

/// The problems of a batch of one message, as lines.
fn refused(message: Message) -> Vec<String> {
    lines(&Batch::builder().message(message).build().unwrap_err())
}

fn lines(error: &Invalid) -> Vec<String> {
    assert_no_secrets(&printed(error));
    assert_eq!(error.subject(), Subject::Batch);
    error.problems().iter().map(ToString::to_string).collect()
}

fn is_valid(message: Message) -> bool {
    Batch::builder().message(message).build().is_ok()
}

// Building and checking

#[test]
fn a_batch_has_1_to_1000_messages() {
    let many = |count: usize| {
        let content = SharedContent::from(Content::new("Hello"));
        let message = |index| {
            Message::new(msisdn(), content.clone()).client_message_id(format!("id-{index}"))
        };
        Batch::builder().messages((0..count).map(message)).build()
    };
    assert_eq!(MAX_MESSAGES_PER_BATCH, 1000);
    assert_eq!(many(1).unwrap().len(), 1);
    assert_eq!(many(1000).unwrap().len(), 1000);
    assert_eq!(lines(&many(0).unwrap_err()), ["messages: 0 entries, at least 1 and at most 1000"]);
    let error = many(1001).unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid batch: messages: 1001 entries, at least 1 and at most 1000"
    );
    let (found, min, max) = (1001, 1, 1000);
    assert_eq!(error.problems()[0].rule, Rule::Count { found, min, max });
    assert_eq!(error.problems()[0].message(), None);
}

#[test]
fn lengths_are_counted_in_unicode_scalar_values() {
    // 50 characters in 200 bytes.
    assert!(is_valid(message(&"𝒳".repeat(50))));
    assert_eq!(
        refused(message(&"é".repeat(51))),
        ["messages[0].clientMessageId: 51 characters, at most 50"]
    );
    let source = |length: usize| SmsFallback::new("Hi").source("字".repeat(length));
    assert!(is_valid(message("a").sms_fallback(source(16))));
    assert_eq!(
        refused(message("a").sms_fallback(source(17))),
        ["messages[0].smsFallback.source: 17 characters, at most 16"]
    );
    let batch = |length: usize| {
        let id = "b".repeat(length);
        Batch::builder().client_batch_id(id).message(message("a")).build()
    };
    assert!(batch(100).is_ok());
    assert_eq!(lines(&batch(101).unwrap_err()), ["clientBatchId: 101 characters, at most 100"]);
}

#[test]
fn an_absolute_http_url_is_accepted() {
    for url in [
        "https://example.com",
        "http://example.com/a?b=c#d",
        "HTTPS://EXAMPLE.COM/",
        "https://user@example.com:8443/",
        "http://127.0.0.1:9/receipts",
        "http://[::1]/",
        "https://xn--r8jz45g.jp/%E3%83%91%E3%82%B9",
        "https://example.com?a%5B%5D=1",
    ] {
        assert!(is_valid(message("a").dlr_callback_url(url)), "{url}");
        let content = Content::new("Hello").action("Go", url);
        assert!(is_valid(Message::new(msisdn(), content)), "{url}");
    }
}

#[test]
fn relative_non_http_or_unencoded_url_is_refused() {
    for url in [
        "",
        "example.com",
        "/receipts",
        "//example.com/",
        "ftp://example.com/",
        "javascript:alert(1)",
        "mailto:a@example.com",
        "https:",
        "https://",
        "https:///path",
        "https:example.com",
        "https:/example.com",
        "https:\\\\example.com",
        " https://example.com",
        "https://example.com ",
        "https://example.com/a b",
        "https://example.com/\n",
        "https://exa mple.com",
        "https://1.2.3.400/",
        "https://[::1/",
        "https://example.com:99999/",
        "https://xn--/",
        "https://[@example.com/",
        "http://@@0",
        "https://[@[::1]/",
        "https://user%@example.com/",
        "https://a%41.example.com/",
        "https://例え.jp/",
        "https://example.com/パス",
        "https://example.com/a[]=1",
        "https://example.com/100%",
        "https://example.com/%zz",
        "https://example.com/#a#b",
        "https://example.com/{id}",
    ] {
        let length = url.chars().count();
        let rule = format!(
            "expected an absolute, percent-encoded http or https URL, found {length} other characters"
        );
        assert_eq!(
            refused(message("a").dlr_callback_url(url)),
            [format!("messages[0].dlrCallbackUrl: {rule}")],
            "{url:?}"
        );
        // Also after a valid URL.
        let content = Content::new("Hello").action("One", "https://example.com").action("Two", url);
        assert_eq!(
            refused(Message::new(msisdn(), content)),
            [format!("messages[0].content.actions[1].url: {rule}")],
            "{url:?}"
        );
    }
}

#[test]
fn empty_content_is_refused() {
    let mut empty_action = Content::default();
    empty_action.actions.push(Action::default());
    for content in [
        Content::default(),
        Content::new(""),
        Content::default().emphasis("", ""),
        Content::default().item("", "").item("", ""),
        Content::default().icon(Icon::from("")),
        empty_action,
    ] {
        assert_eq!(
            refused(Message::new(msisdn(), content)),
            ["messages[0].content: nothing is set, so there is nothing to show"]
        );
    }
    // Any one text is enough.
    for content in [
        Content::default().company("8x8"),
        Content::default().icon(Icon::Bell),
        Content::default().emphasis("", "a"),
        Content::default().item("a", ""),
        Content::default().greeting("a"),
        Content::default().explanation("a"),
        Content::default().action("a", "https://example.com"),
    ] {
        assert!(is_valid(Message::new(msisdn(), content)));
    }
}

#[test]
fn an_sms_fallback_without_a_text_is_refused() {
    let no_text = "messages[0].smsFallback: no text is set, so no SMS would be sent";
    let mut sms = SmsFallback::default().source("Info");
    assert_eq!(refused(message("a").sms_fallback(sms.clone())), [no_text]);
    sms.text = Some("".into());
    assert_eq!(refused(message("a").sms_fallback(sms)), [no_text]);
}

#[test]
fn a_client_message_id_that_occurs_twice_is_refused() {
    let batch = Batch::builder().messages(["a", "b", "a", "c", "a"].map(message)).build();
    let error = batch.unwrap_err();
    assert_eq!(
        lines(&error),
        [
            "messages[2].clientMessageId: the same as in messages[0]; results could not be matched",
            "messages[4].clientMessageId: the same as in messages[0]; results could not be matched",
        ]
    );
    assert_eq!(error.problems()[1].rule, Rule::Duplicate { first: 0 });
    // Ascending ids take a shortcut.
    let batch = Batch::builder().messages(["a", "b", "b", "aa"].map(message)).build();
    assert_eq!(
        lines(&batch.unwrap_err()),
        ["messages[2].clientMessageId: the same as in messages[1]; results could not be matched"]
    );
    // Any number of messages may have no id.
    let message = Message::new(msisdn(), Content::new("Hello"));
    assert!(Batch::builder().message(message.clone()).message(message).build().is_ok());
}

#[test]
fn every_broken_rule_is_reported_sorted_by_message() {
    let broken = || {
        message(&"x".repeat(60))
            .dlr_callback_url("nowhere")
            .sms_fallback(SmsFallback::default().source("more than 16 characters"))
    };
    let error = Batch::builder()
        .client_batch_id("b".repeat(200))
        .message(message("fine"))
        .message(broken())
        .message(broken())
        .build()
        .unwrap_err();
    assert_eq!(
        lines(&error),
        [
            "clientBatchId: 200 characters, at most 100",
            "messages[1].clientMessageId: 60 characters, at most 50",
            "messages[1].dlrCallbackUrl: expected an absolute, percent-encoded http or https URL, found 7 other characters",
            "messages[1].smsFallback.source: 23 characters, at most 16",
            "messages[1].smsFallback: no text is set, so no SMS would be sent",
            "messages[2].clientMessageId: 60 characters, at most 50",
            "messages[2].dlrCallbackUrl: expected an absolute, percent-encoded http or https URL, found 7 other characters",
            "messages[2].smsFallback.source: 23 characters, at most 16",
            "messages[2].clientMessageId: the same as in messages[1]; results could not be matched",
            "messages[2].smsFallback: no text is set, so no SMS would be sent",
        ]
    );
    assert_eq!(error.problems()[9].message(), Some(2));
    assert!(error.to_string().starts_with("invalid batch, 10 problems:\n  clientBatchId: 200 "));
}

#[test]
fn display_writes_the_first_20_of_many_problems() {
    let bad = (0..1000).map(|_| message("the same"));
    let error = Batch::builder().messages(bad).build().unwrap_err();
    assert_eq!(error.problems().len(), 999);
    let text = error.to_string();
    assert_eq!(text.lines().count(), 22);
    assert!(text.ends_with("\n  and 979 more"), "{text}");
}

#[test]
fn a_request_made_by_hand_is_checked_the_same() {
    let mut content = Content::default();
    content.emphasis = Some(Emphasis::default());
    let mut action = Action::default();
    action.url = Some("nowhere".into());
    content.actions.push(action);
    let request = BatchRequest::new(vec![Message::new(msisdn(), content)]);
    let error = Batch::try_from(request).unwrap_err();
    assert_eq!(error.problems()[0].path, "messages[0].content.actions[0].url");
    assert_eq!(error.problems()[0].rule, Rule::NotHttpUrl { found: 7 });
}

#[test]
fn debug_of_a_batch_shows_no_message_and_that_of_a_message_no_number() {
    let batch = Batch::builder().message(message("a")).build().unwrap();
    assert_eq!(format!("{batch:?}"), "Batch { client_batch_id: None, messages: 1, .. }");
    let builder = Batch::builder().message(message("a"));
    assert_eq!(format!("{builder:?}"), "BatchBuilder { messages: 1, .. }");
    assert_no_secrets(&format!("{:?}", batch.request()));

    // Numbers are masked in every text of a message, but not in the caller's id.
    let text = "Call +65 9123 4567 or 6591234567";
    let content = Content::new(text)
        .company(text)
        .icon(Icon::from(text))
        .emphasis(text, text)
        .item(text, text)
        .greeting(text)
        .explanation(text)
        .action(text, "https://example.com/?to=+65/9123/4567");
    let sms = SmsFallback::new(text).source("+6591234567");
    let to = Recipient::national("91234567", "SG").unwrap();
    let shared = SharedContent::from(content.clone());
    for message in [Message::new(to, content), Message::new(to, shared)] {
        let message = message
            .client_message_id("20261124-0001234")
            .dlr_callback_url("https://example.com/91234567")
            .sms_fallback(sms.clone());
        let debug = format!("{message:?} {message:#?}");
        assert_no_secrets(&debug);
        assert!(!debug.contains("9123"), "{debug}");
        assert!(debug.contains("Call +** **** **67 or ********67"), "{debug}");
        assert!(debug.contains(r#""20261124-0001234""#), "{debug}");
    }
}

// Shared content

#[test]
fn a_shared_content_is_checked_wherever_it_is_used() {
    let bad = SharedContent::from(Content::new("Hello").action("Go", "nowhere"));
    let good = SharedContent::from(Content::new("Hello"));
    let contents = [&good, &bad, &good, &bad, &bad].map(Clone::clone);
    let error = Batch::builder()
        .messages(contents.map(|content| Message::new(msisdn(), content)))
        .build()
        .unwrap_err();
    let places: Vec<_> = error.problems().iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(
        places,
        [
            "messages[1].content.actions[0].url",
            "messages[3].content.actions[0].url",
            "messages[4].content.actions[0].url"
        ]
    );
}

#[test]
fn a_shared_content_equals_the_same_content_of_a_messages_own() {
    let content = || Content::new("Hello \"you\"").item("Date", "Tue");
    let own = Message::new(msisdn(), content());
    let shared = Message::new(msisdn(), SharedContent::from(content()));
    assert_eq!(own, shared);
    assert_eq!(shared, own);
    assert_eq!(SharedContent::from(content()), SharedContent::from(content()));
    assert_ne!(shared, Message::new(msisdn(), Content::new("Hello")));
    assert_eq!(*SharedContent::from(content()), content());
    let batch = |message| Batch::builder().message(message).build().unwrap();
    assert_eq!(batch(own), batch(shared));
}

#[test]
fn a_shared_content_has_the_json_of_an_own_one_byte_for_byte() {
    let content = Content::new("Hello \"you\" \u{1f}").item("Date", "Tue\n漢字").icon(Icon::Bell);
    let json = r#"{"icon":"bell","list":[{"content":"Tue\n漢字","label":"Date"}],"title":"Hello \"you\" \u001f"}"#;
    let shared = SharedContent::from(content.clone());
    assert_eq!(serde_json::to_string(&content).unwrap(), json);
    assert_eq!(serde_json::to_string(&shared).unwrap(), json);
    assert_eq!(serde_json::to_value(&shared).unwrap(), serde_json::to_value(&content).unwrap());
    assert_eq!(serde_json::from_str::<SharedContent>(json).unwrap(), shared);
    let user = r#""user":{"msisdn":"+6591234567"}"#;
    let message = Message::new(msisdn(), shared);
    let batch = Batch::builder().message(message.clone()).message(message).build().unwrap();
    assert_eq!(
        serde_json::to_string(&batch).unwrap(),
        format!(
            r#"{{"includeMessagesInResponse":true,"messages":[{{"content":{json},{user}}},{{"content":{json},{user}}}]}}"#
        )
    );
}

#[test]
fn a_shared_content_is_copied_as_json_but_written_itself_in_a_binary_format() {
    let raw = "$serde_json::private::RawValue";
    let shared = SharedContent::from(Content::new("Hello"));
    assert_eq!(first_struct(&shared, true), raw);
    assert_eq!(first_struct(&shared, false), "Content");
    let own = Content::new("Hello");
    assert_eq!(first_struct(&own, true), "Content");
    assert_eq!(first_struct(&own, false), "Content");
}

/// The name of the struct that a value serialises as, in a format that is human-readable or not.
fn first_struct(value: &impl Serialize, is_human_readable: bool) -> String {
    value.serialize(StructName { is_human_readable }).unwrap_err().0
}

/// A format that fails with the name of the first struct.
struct StructName {
    is_human_readable: bool,
}

#[derive(Debug)]
struct Found(String);

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Found {}

impl serde::ser::Error for Found {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

type Never = Impossible<(), Found>;

macro_rules! no_struct {
    ($($name:ident $(<$of:ident>)? ($($type:ty),*) -> $ok:ty;)+) => {$(
        fn $name $(<$of: Serialize + ?Sized>)? (self $(, _: $type)*) -> Result<$ok, Found> {
            Err(Found(stringify!($name).to_owned()))
        }
    )+};
}

impl Serializer for StructName {
    type Ok = ();
    type Error = Found;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Never, Found> {
        Err(Found(name.to_owned()))
    }

    fn is_human_readable(&self) -> bool {
        self.is_human_readable
    }

    no_struct! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_some<T>(&T) -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_newtype_struct<T>(&'static str, &T) -> ();
        serialize_newtype_variant<T>(&'static str, u32, &'static str, &T) -> ();
        serialize_seq(Option<usize>) -> Never;
        serialize_tuple(usize) -> Never;
        serialize_tuple_struct(&'static str, usize) -> Never;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Never;
        serialize_map(Option<usize>) -> Never;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Never;
    }
}

// Parsing

#[test]
fn a_batch_parses_from_its_own_json() {
    let content = Content::new("Hello").item("A", "B").action("Go", "https://example.com");
    let batch = Batch::builder()
        .client_batch_id("b")
        .message(Message::new(Recipient::national("0912345678", "tw").unwrap(), content))
        .message(message("a").sms_fallback(SmsFallback::new("Hi").source("Me")))
        .build()
        .unwrap();
    let json = serde_json::to_vec(&batch).unwrap();
    assert_eq!(Batch::from_json(&json).unwrap(), batch);
    assert_eq!(serde_json::from_slice::<Batch>(&json).unwrap(), batch);
    assert_eq!(Batch::try_from(batch.clone().into_request()).unwrap(), batch);
    let with_mark = [b"\xef\xbb\xbf", json.as_slice()].concat();
    assert_eq!(Batch::from_json(&with_mark).unwrap(), batch);
}

#[test]
fn a_member_that_is_null_counts_as_not_set() {
    let batch = Batch::from_json(
        br#"{"clientBatchId": null, "includeMessagesInResponse": null, "messages": [{
            "user": {"msisdn": "+6591234567", "country": null}, "clientMessageId": null,
            "dlrCallbackUrl": null, "smsFallback": {"text": "Hi", "source": null, "encoding": null},
            "content": {"title": "Hello", "company": null, "icon": null, "emphasis": null,
                "actions": [{"title": "Go", "url": null}]}}]}"#,
    )
    .unwrap();
    assert_eq!(
        serde_json::to_value(&batch).unwrap(),
        json!({"messages": [{
            "user": {"msisdn": "+6591234567"},
            "content": {"title": "Hello", "actions": [{"title": "Go"}]},
            "smsFallback": {"text": "Hi"},
        }]})
    );
}

/// A batch of two messages. The second has these members.
fn second(message: &str) -> String {
    format!(
        r#"{{"messages": [{{"user": {{"msisdn": "+6591234567"}}, "content": {{"title": "a"}}}}, {message}]}}"#
    )
}

/// The same, with this content or user.
fn second_with(name: &str, value: &str) -> String {
    let (user, content) = (r#"{"msisdn": "+6591234567"}"#, r#"{"title": "a"}"#);
    second(&match name {
        "user" => format!(r#"{{"user": {value}, "content": {content}}}"#),
        "content" => format!(r#"{{"user": {user}, "content": {value}}}"#),
        _ => format!(r#"{{"user": {user}, "content": {content}, "{name}": {value}}}"#),
    })
}

/// Parsing reports this one problem, by its path and without the value.
fn assert_malformed(json: &str, problem: &str) {
    let error = Batch::from_json(json.as_bytes()).unwrap_err();
    assert_eq!(lines(&error), [problem], "{json}");
    let rule = &error.problems()[0].rule;
    assert!(matches!(rule, Rule::Malformed(_) | Rule::NotJson { .. }), "{json}");
}

#[test]
fn text_that_is_not_json_is_reported_with_line_and_column() {
    for (json, problem) in [
        (String::new(), "not JSON, line 1, column 0"),
        ("\u{feff}".into(), "not JSON, line 1, column 0"),
        ("{\n  \"messages\": [}".into(), "not JSON, line 2, column 16"),
        (r#"{"messages": []} {}"#.into(), "not JSON, line 1, column 18"),
    ] {
        assert_malformed(&json, problem);
    }
}

#[test]
fn a_value_of_another_type_is_malformed() {
    for (json, problem) in [
        ("[]".into(), "wrong type, expected an object"),
        ("null".into(), "wrong type, expected an object"),
        (r#""+6591234567""#.into(), "wrong type, expected an object"),
        (r#"{"messages": {}}"#.into(), "messages: wrong type, expected an array"),
        (r#"{"messages": null}"#.into(), "messages: wrong type, expected an array"),
        (second("null"), "messages[1]: wrong type, expected an object"),
        (second(r#""+6591234567""#), "messages[1]: wrong type, expected an object"),
        (
            second_with("clientMessageId", "{}"),
            "messages[1].clientMessageId: wrong type, expected a string",
        ),
        (
            second_with("clientMessageId", r#"["+6591234567"]"#),
            "messages[1].clientMessageId: wrong type, expected a string",
        ),
        (
            second_with("content", r#""+6591234567""#),
            "messages[1].content: wrong type, expected an object",
        ),
        (
            second_with("content", r#"{"title": {}}"#),
            "messages[1].content.title: wrong type, expected a string",
        ),
        (
            r#"{"messages": [], "includeMessagesInResponse": "yes"}"#.into(),
            "includeMessagesInResponse: wrong type, expected a boolean",
        ),
        // `null` for an array may mean an empty array or a mistake.
        (
            second_with("content", r#"{"title": "a", "list": null}"#),
            "messages[1].content.list: wrong type, expected an array",
        ),
        (
            second_with("content", r#"{"title": "a", "actions": null}"#),
            "messages[1].content.actions: wrong type, expected an array",
        ),
    ] {
        assert_malformed(&json, problem);
    }
}

#[test]
fn a_number_for_a_text_is_malformed() {
    for (json, problem) in [
        (
            second_with("clientMessageId", "6591234567"),
            "messages[1].clientMessageId: wrong type, expected a string",
        ),
        (
            r#"{"clientBatchId": 6591234567, "messages": []}"#.into(),
            "clientBatchId: wrong type, expected a string",
        ),
        (
            second_with("content", r#"{"title": 6591234567}"#),
            "messages[1].content.title: wrong type, expected a string",
        ),
        (
            second_with("content", r#"{"icon": true}"#),
            "messages[1].content.icon: wrong type, expected a string",
        ),
        (
            second_with("content", r#"{"list": [{"label": "A"}, {"label": 5}]}"#),
            "messages[1].content.list[1].label: wrong type, expected a string",
        ),
        (
            second_with("smsFallback", r#"{"text": 6591234567}"#),
            "messages[1].smsFallback.text: wrong type, expected a string",
        ),
        (
            second_with("dlrCallbackUrl", "6591234567"),
            "messages[1].dlrCallbackUrl: wrong type, expected a string",
        ),
    ] {
        assert_malformed(&json, problem);
    }
}

#[test]
fn a_list_for_an_object_is_malformed() {
    for (json, problem) in [
        (
            second(r#"["a", {"title": "a"}, null, null, {"msisdn": "+6591234567"}]"#),
            "messages[1]: wrong type, expected an object",
        ),
        (
            second_with("content", r#"[[], "8x8", null, null, null, null, [], "a"]"#),
            "messages[1].content: wrong type, expected an object",
        ),
        (
            second_with("content", r#"{"title": "a", "emphasis": ["A", "B"]}"#),
            "messages[1].content.emphasis: wrong type, expected an object",
        ),
        (
            second_with("content", r#"{"title": "a", "list": [["A", "B"]]}"#),
            "messages[1].content.list[0]: wrong type, expected an object",
        ),
        (
            second_with("smsFallback", r#"["AUTO", "Info", "Hi"]"#),
            "messages[1].smsFallback: wrong type, expected an object",
        ),
        (
            second_with("smsFallback", r#"{"text": "Hi", "encoding": {"AUTO": null}}"#),
            "messages[1].smsFallback.encoding: wrong type, expected a string",
        ),
    ] {
        assert_malformed(&json, problem);
    }
}

#[test]
fn a_member_that_is_missing_unknown_or_there_twice_is_malformed() {
    for (json, problem) in [
        ("{}".into(), "missing field `messages`"),
        (second(r#"{"content": {"title": "a"}}"#), "messages[1]: missing field `user`"),
        (second(r#"{"user": {"msisdn": "+6591234567"}}"#), "messages[1]: missing field `content`"),
        (
            r#"{"priority": 1, "messages": []}"#.into(),
            "priority: not a member of the API, expected one of `clientBatchId`, `includeMessagesInResponse`, `messages`",
        ),
        (
            second_with("content", r#"{"titel": "Hello"}"#),
            "messages[1].content.titel: not a member of the API, expected one of `actions`, `company`, `emphasis`, `explanation`, `greeting`, `icon`, `list`, `title`",
        ),
        (
            second_with("+6591234567", "1"),
            "messages[1].+********67: not a member of the API, expected one of `clientMessageId`, `content`, `dlrCallbackUrl`, `smsFallback`, `user`",
        ),
        (
            second_with("titel, expected +65 9123 4567", "1"),
            "messages[1].titel, expected +** **** **67: not a member of the API, expected one of `clientMessageId`, `content`, `dlrCallbackUrl`, `smsFallback`, `user`",
        ),
        (
            second_with("smsFallback", r#"{"text": "Hi", "encoding": "auto"}"#),
            "messages[1].smsFallback.encoding: not a value of the API, expected one of `AUTO`, `GSM7`, `UCS2`",
        ),
        (r#"{"messages": [], "messages": []}"#.into(), "duplicate field `messages`"),
        (
            second_with("content", r#"{"title": "a"}, "content": {"title": "b"}"#),
            "messages[1]: duplicate field `content`",
        ),
        (
            second_with("content", r#"{"title": "a", "title": "b"}"#),
            "messages[1].content: duplicate field `title`",
        ),
    ] {
        assert_malformed(&json, problem);
    }
}

#[test]
fn a_malformed_recipient_is_reported_without_its_number() {
    for (json, problem) in [
        (
            second_with("user", r#"{"msisdn": "+65 91234567"}"#),
            "messages[1].user: the phone number is not E.164: the character at position 4 is not a digit",
        ),
        (
            second_with("user", r#"{"msisdn": "91234567"}"#),
            "messages[1].user: the phone number does not start with `+`, so it needs a country",
        ),
        (
            second_with("user", r#"{"msisdn": "9123-4567", "country": "SG"}"#),
            "messages[1].user: the phone number is not a national number: the character at position 5 is not a digit",
        ),
        (
            second_with("user", r#"{"msisdn": "91234567", "country": "SGP"}"#),
            "messages[1].user: a country is two ASCII letters, such as SG",
        ),
        (
            second_with("user", r#"{"msisdn": 6591234567}"#),
            "messages[1].user.msisdn: expected an object with the string `msisdn` and optionally `country`",
        ),
        (
            second_with("user", r#""+6591234567""#),
            "messages[1].user: expected an object with the string `msisdn` and optionally `country`",
        ),
        (
            second_with("user", r#"["+6591234567"]"#),
            "messages[1].user: expected an object with the string `msisdn` and optionally `country`",
        ),
        (
            second_with("user", r#"{"msisdn": "+6591234567", "6591234567": 1}"#),
            "messages[1].user.********67: expected an object with the string `msisdn` and optionally `country`",
        ),
    ] {
        assert_malformed(&json, problem);
    }
}

#[test]
fn a_problem_of_a_malformed_value_names_its_message() {
    let error = Batch::from_json(second("{}").as_bytes()).unwrap_err();
    assert_eq!(error.problems()[0].message(), Some(1));
    assert_eq!(error.to_string(), "invalid batch: messages[1]: missing field `content`");
}

#[test]
fn parsing_a_well_formed_batch_reports_every_broken_rule() {
    let json = json!({
        "clientBatchId": "b".repeat(101),
        "messages": [
            {
                "user": {"msisdn": "0812345678", "country": "th"},
                "clientMessageId": "a",
                "content": {},
                "dlrCallbackUrl": "nowhere",
                "smsFallback": {"text": "", "source": "x".repeat(17), "encoding": "AUTO"},
            },
            {"user": {"msisdn": "+6591234567"}, "clientMessageId": "a", "content": {"title": "Hello"}},
        ],
    });
    let expected = [
        "clientBatchId: 101 characters, at most 100",
        "messages[0].dlrCallbackUrl: expected an absolute, percent-encoded http or https URL, found 7 other characters",
        "messages[0].smsFallback.source: 17 characters, at most 16",
        "messages[0].content: nothing is set, so there is nothing to show",
        "messages[0].smsFallback: no text is set, so no SMS would be sent",
        "messages[1].clientMessageId: the same as in messages[0]; results could not be matched",
    ];
    assert_eq!(lines(&Batch::from_json(json.to_string().as_bytes()).unwrap_err()), expected);
    // Other formats have the same text in their own error.
    let error = serde_json::from_value::<Batch>(json).unwrap_err().to_string();
    let expected = format!("invalid batch, 6 problems:\n  {}", expected.join("\n  "));
    assert_eq!(error, expected);
}

#[test]
fn no_format_repeats_a_malformed_value_in_its_error() {
    for user in [
        json!({"msisdn": 6_591_234_567_u64}),
        json!("+6591234567"),
        json!({"+6591234567": 1}),
        json!({"msisdn": "+6591234567", "6591234567": 1}),
        json!({"msisdn": "6591234567"}),
        json!({"msisdn": "+6591234567", "country": 91_234_567}),
    ] {
        let error = serde_json::from_value::<Recipient>(user.clone()).unwrap_err();
        assert_no_secrets(&printed(&error));
        let message = json!({"user": user, "content": {"title": "Hello"}});
        let error = serde_json::from_value::<Message>(message.clone()).unwrap_err();
        assert_no_secrets(&printed(&error));
        let batch = json!({ "messages": [message] });
        let error = serde_json::from_value::<Batch>(batch).unwrap_err();
        assert_no_secrets(&printed(&error));
    }
    for json in [
        json!("+6591234567"),
        json!(6_591_234_567_u64),
        json!({"messages": "+6591234567"}),
        json!({"messages": ["+6591234567"]}),
        json!({"+6591234567": 1}),
        json!({"messages": [], "includeMessagesInResponse": "+6591234567"}),
    ] {
        let text = json.to_string();
        let error = serde_json::from_value::<Batch>(json).unwrap_err();
        assert_no_secrets(&printed(&error));
        let error = serde_json::from_str::<Batch>(&text).unwrap_err();
        assert_no_secrets(&printed(&error));
    }
    let error = serde_json::from_value::<Batch>(json!({"messages": [5]})).unwrap_err();
    assert_eq!(error.to_string(), "wrong type, expected an object");
    let twice = r#"{"messages": [], "messages": []}"#;
    let error = serde_json::from_str::<Batch>(twice).unwrap_err().to_string();
    assert!(error.starts_with("duplicate field `messages`"), "{error}");
    let error = serde_json::from_str::<Batch>("[]").unwrap_err().to_string();
    assert!(error.starts_with("wrong type, expected an object"), "{error}");
}

// Properties

/// Validates requests independently, with the schemas of the spec.
static BATCH_REQUEST: LazyLock<Validator> = LazyLock::new(|| {
    let mut schema = contract();
    schema["$ref"] = Value::from("#/components/schemas/BatchRequest");
    jsonschema::options().with_draft(jsonschema::Draft::Draft4).build(&schema).unwrap()
});

#[test]
fn the_schemas_of_the_spec_refuse_invalid_requests() {
    let fine = r#"{"messages": [{"user": {"msisdn": "+6591234567"}, "content": {"title": "a"}}]}"#;
    let parse_json = |json: &str| serde_json::from_str::<Value>(json).unwrap();
    assert!(BATCH_REQUEST.is_valid(&parse_json(fine)));
    for json in [
        "{}".to_owned(),
        r#"{"messages": []}"#.to_owned(),
        fine.replace("title", "titel"),
        fine.replace(r#""a""#, "null"),
        fine.replace("content", "contents"),
        fine.replace(r#""title": "a""#, r#""icon": "newIcon""#),
        fine.replace("}}]", &format!("}}, \"clientMessageId\": \"{}\"}}]", "x".repeat(51))),
    ] {
        assert!(!BATCH_REQUEST.is_valid(&parse_json(&json)), "{json}");
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
fn text() -> impl Strategy<Value = Text> {
    any::<String>().prop_map(Text::from)
}

fn content() -> impl Strategy<Value = Content> {
    let icon = proptest::sample::select(Icon::KNOWN).prop_map(|icon| icon.clone());
    let texts = (option::of(text()), option::of(text()), option::of(text()), option::of(text()));
    let emphasis = option::of((text(), text()));
    let (list, actions) = (vec((text(), text()), 0..4), vec((text(), url()), 0..3));
    (texts, option::of(icon), emphasis, list, actions).prop_map(
        |((title, company, greeting, explanation), icon, emphasis, list, actions)| {
            let mut content = Content::default();
            content.title = title;
            content.company = company;
            content.greeting = greeting;
            content.explanation = explanation;
            content.icon = icon;
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
    ("\\PC{1,20}", option::of("\\PC{0,16}"), option::of(encoding)).prop_map(
        |(text, source, encoding)| {
            let mut sms = SmsFallback::new(text);
            sms.source = source.map(Text::from);
            sms.encoding = encoding;
            sms
        },
    )
}

/// A valid batch. Content that could be empty gets an explanation.
fn batch() -> impl Strategy<Value = Batch> {
    let flags = (any::<bool>(), any::<bool>());
    let one = (recipient(), content(), option::of(sms()), option::of(url()), flags);
    let head = (option::of("\\PC{0,100}"), any::<bool>());
    (head, vec(one, 1..20)).prop_map(|((id, include), messages)| {
        let messages = messages.into_iter().enumerate();
        let messages = messages.map(|(index, (to, content, sms, url, (has_id, is_shared)))| {
            let content = match content.icon {
                Some(_) => content,
                None => content.explanation("There is something to show"),
            };
            let mut message = if is_shared {
                Message::new(to, SharedContent::from(content))
            } else {
                Message::new(to, content)
            };
            message.client_message_id =
                has_id.then(|| format!("{index}-{}", "字".repeat(46)).into());
            message.dlr_callback_url = url.map(Text::from);
            message.sms_fallback = sms;
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
    fn a_text_that_is_accepted_as_a_url_is_one(
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
    fn a_plain_url_is_always_accepted(text in url()) {
        prop_assert!(Url::parse(&text).is_ok());
        let sent = Batch::builder().message(Message::new(msisdn(), Content::new("a").action("", text)));
        prop_assert!(sent.build().is_ok());
    }

    #[test]
    fn a_batch_is_valid_by_the_contract_and_parses_back_equal(batch in batch()) {
        let json = serde_json::to_vec(&batch).unwrap();
        let value: Value = serde_json::from_slice(&json).unwrap();
        let errors: Vec<_> = BATCH_REQUEST.iter_errors(&value).map(|it| it.to_string()).collect();
        prop_assert_eq!(errors, Vec::<String>::new());
        prop_assert_eq!(&Batch::from_json(&json).unwrap(), &batch);
        prop_assert_eq!(&serde_json::from_value::<Batch>(value).unwrap(), &batch);
    }

    #[test]
    fn no_json_makes_parsing_panic(text in any::<String>(), messages in "[\\[\\]{}\":,a-z0-9 ]{0,40}") {
        let _ = Batch::from_json(text.as_bytes());
        let _ = Batch::from_json(format!("{{\"messages\": {messages}}}").as_bytes());
    }
}
