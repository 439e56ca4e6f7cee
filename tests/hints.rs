//! Hints: probable mistakes that the API accepts.

mod common;

use lon_batch::request::{Hint, HintKind};
use lon_batch::types::Encoding;
use lon_batch::{
    Batch, Content, Icon, Message, Msisdn, Recipient, SharedContent, SmsFallback, types,
};

use common::{assert_no_secrets, message as to_singapore};

/// Thai for "water": one grapheme cluster of three UTF-16 units.
const WATER: &str = "น้ำ";

fn to_japan(content: impl Into<lon_batch::request::MessageContent>) -> Message {
    Message::new(Msisdn::parse("+819012345678").unwrap(), content).client_message_id("a")
}

fn to(recipient: impl Into<Recipient>) -> Vec<HintKind> {
    Message::new(recipient, Content::new("Hello")).client_message_id("a").hints()
}

fn e164(number: &str) -> Vec<HintKind> {
    to(Msisdn::parse(number).unwrap())
}

fn national(country: &str) -> Vec<HintKind> {
    to(Recipient::national("0912345678", country).unwrap())
}

#[test]
fn message_without_mistakes_has_no_hints() {
    let content = Content::new("Hello").icon(Icon::CalendarCheck).item("A", "B");
    let sms = SmsFallback::new("Hello");
    assert_eq!(to_japan(content).sms_fallback(sms).hints(), []);
}

#[test]
fn message_without_an_id_has_a_hint() {
    let mut message = to_japan(Content::new("Hello"));
    message.client_message_id = None;
    assert_eq!(message.hints(), [HintKind::NoClientMessageId]);
}

#[test]
fn number_outside_japan_thailand_and_taiwan_has_a_hint() {
    for number in ["+819012345678", "+66812345678", "+886912345678"] {
        assert_eq!(e164(number), [], "{number}");
    }
    // 82 is Korea, 65 Singapore, 852 and 880 share digits with Taiwan.
    for number in ["+821012345678", "+6591234567", "+85251234567", "+8801712345678"] {
        assert_eq!(e164(number), [HintKind::Country], "{number}");
    }
    for country in ["JP", "th", "TW"] {
        assert_eq!(national(country), [], "{country}");
    }
    for country in ["SG", "uk", "TR"] {
        assert_eq!(national(country), [HintKind::Country], "{country}");
    }
}

#[test]
fn trunk_prefix_after_the_country_code_has_a_hint() {
    for number in ["+8109012345678", "+660812345678", "+8860912345678"] {
        assert_eq!(e164(number), [HintKind::TrunkPrefix], "{number}");
    }
    for number in ["+6208123456789", "+4407911123456"] {
        assert_eq!(e164(number), [HintKind::TrunkPrefix, HintKind::Country], "{number}");
    }
}

#[test]
fn missing_or_blank_title_has_a_hint() {
    let untitled = Content::default().explanation("Hello");
    assert_eq!(to_japan(untitled).hints(), [HintKind::NoTitle]);
    for title in ["", " ", "\u{3000}\n"] {
        let content = Content::new(title).explanation("Hello");
        assert_eq!(to_japan(content).hints(), [HintKind::NoTitle], "{title:?}");
    }
}

#[test]
fn unlisted_icon_has_a_hint() {
    let content = Content::new("Hello").icon(Icon::from("calenderCheck"));
    assert_eq!(to_japan(content).hints(), [HintKind::UnknownIcon]);
}

#[test]
fn more_than_15_items_or_2_buttons_have_a_hint() {
    let with = |items: usize, buttons: usize| {
        let content = (0..items).fold(Content::new("Hello"), |it, _| it.item("a", "b"));
        let content = (0..buttons).fold(content, |it, _| it.action("Go", "https://example.com"));
        to_japan(content).hints()
    };
    assert_eq!(with(15, 2), []);
    assert_eq!(with(16, 2), [HintKind::Items(16)]);
    assert_eq!(with(15, 3), [HintKind::Actions(3)]);
}

#[test]
fn more_than_500_characters_in_any_unit_will_probably_be_refused() {
    for character in ["x", "ก", WATER, "👍🏽"] {
        let long = to_japan(Content::new(character.repeat(501))).hints();
        assert_eq!(long, [HintKind::TooLong(501)], "{character}");
    }
}

#[test]
fn more_than_500_units_alone_may_be_refused() {
    let thai = |clusters: usize, letters: usize| {
        let title = WATER.repeat(clusters) + &"ก".repeat(letters);
        to_japan(Content::new(title)).hints()
    };
    assert_eq!(thai(0, 500), []);
    assert_eq!(thai(166, 2), [], "168 clusters, 500 units");
    assert_eq!(thai(167, 0), [HintKind::PossiblyTooLong(501)], "167 clusters");
    assert_eq!(thai(500, 0), [HintKind::PossiblyTooLong(1500)]);
    assert_eq!(thai(500, 1), [HintKind::TooLong(501)], "1501 units");
    let emoji = |count| to_japan(Content::new("👍".repeat(count))).hints();
    assert_eq!(emoji(250), []);
    assert_eq!(emoji(251), [HintKind::PossiblyTooLong(502)]);
}

#[test]
fn length_counts_the_texts_of_the_template_and_no_others() {
    // Eight texts, each of another length, of 500 characters together.
    let text = |length: usize| "x".repeat(length);
    let full = Content::new(text(1))
        .greeting(text(2))
        .emphasis(text(4), text(8))
        .item(text(16), text(32))
        .item(text(64), text(128))
        .explanation(text(245));
    let others = full
        .clone()
        .company(text(600))
        .action(text(600), format!("https://example.com/{}", text(600)));
    assert_eq!(to_japan(others).hints(), []);
    let more: [fn(&mut Content) -> &mut Option<types::Text>; 7] = [
        |it| &mut it.title,
        |it| &mut it.greeting,
        |it| &mut it.explanation,
        |it| &mut it.emphasis.as_mut().unwrap().label,
        |it| &mut it.emphasis.as_mut().unwrap().content,
        |it| &mut it.list[1].label,
        |it| &mut it.list[1].content,
    ];
    for (index, text) in more.into_iter().enumerate() {
        let mut content = full.clone();
        let text = text(&mut content);
        *text = Some(format!("{}x", text.as_deref().unwrap()).into());
        assert_eq!(to_japan(content).hints(), [HintKind::TooLong(501)], "text {index}");
    }
}

#[test]
fn sms_fallback_of_several_segments_has_a_hint() {
    let with = |text: String, encoding: Option<Encoding>| {
        let mut sms = SmsFallback::new(text);
        sms.encoding = encoding;
        let segments = sms.segments();
        (to_japan(Content::new("Hello")).sms_fallback(sms).hints(), segments)
    };
    assert_eq!(with("a".repeat(160), None).0, []);
    assert_eq!(with("a".repeat(71), Some(Encoding::Auto)).0, []);
    let (hints, segments) = with("a".repeat(161), None);
    assert_eq!(hints, [HintKind::SmsSegments(segments)]);
    let (hints, segments) = with("a".repeat(71), Some(Encoding::Ucs2));
    assert_eq!(hints, [HintKind::SmsSegments(segments)]);
}

/// A batch in which every hint occurs.
fn batch_with_every_hint() -> Batch {
    let mut content =
        Content::default().icon(Icon::from("+6591234567")).explanation("x".repeat(501));
    for _ in 0..16 {
        content = content.item("", "").action("Go", "https://example.com");
    }
    let thai = SharedContent::from(Content::new(WATER.repeat(167)));
    let mut singapore = to_singapore("+6591234567");
    singapore.client_message_id = None;
    Batch::builder()
        .include_messages_in_response(false)
        .message(to_japan(content).sms_fallback(SmsFallback::new("a".repeat(161))))
        .message(singapore)
        .message(Message::new(Msisdn::parse("+660812345678").unwrap(), thai))
        .build()
        .unwrap()
}

#[test]
fn each_hint_names_its_place_and_its_reason() {
    let texts: Vec<_> = batch_with_every_hint().hints().iter().map(Hint::to_string).collect();
    assert_eq!(
        texts,
        [
            "includeMessagesInResponse: not true, so the response will list no results",
            "messages[0].content.title: not set or blank, but a template has a title",
            "messages[0].content.icon: not one that the API lists",
            "messages[0].content.list: 16 items, LINE allows at most 15",
            "messages[0].content.actions: 16 buttons, LINE allows at most 2",
            "messages[0].content: 501 characters, more than 500, so it will probably be refused",
            "messages[0].smsFallback.text: probably 2 segments in GSM-7, each charged as one SMS",
            "messages[1].clientMessageId: not set, so the message may not be matched with its result",
            "messages[1].user: not a number of Japan, Thailand or Taiwan, where LINE has notifications",
            "messages[2].clientMessageId: not set, so the message may not be matched with its result",
            "messages[2].user.msisdn: the 0 after the country code is probably a trunk prefix; leave it out",
            "messages[2].content: 501 UTF-16 units, more than 500, so it may be refused",
        ]
    );
}

#[test]
fn hints_contain_no_phone_number() {
    let hints = batch_with_every_hint().hints();
    let displayed: Vec<_> = hints.iter().map(Hint::to_string).collect();
    let printed = format!("{displayed:?}\n{hints:?}");
    assert_no_secrets(&printed);
    assert!(!printed.contains("812345678"), "{printed}");
}

#[test]
fn hints_of_a_message_are_those_of_a_batch_of_one() {
    for (index, message) in batch_with_every_hint().messages().iter().enumerate() {
        let batch = Batch::builder().message(message.clone()).build().unwrap();
        let expected: Vec<_> = message.hints().into_iter().map(|kind| (Some(0), kind)).collect();
        let found: Vec<_> = batch.hints().into_iter().map(|it| (it.message, it.kind)).collect();
        assert_eq!(found, expected, "messages[{index}]");
    }
}

#[test]
fn batch_that_does_not_ask_for_results_has_a_hint() {
    let json = |member: &str| {
        let json = r#"{"messages": [{"user": {"msisdn": "+819012345678"}, "clientMessageId": "a",
            "content": {"title": "a"}}]MEMBER}"#;
        let batch = Batch::from_json(json.replace("MEMBER", member).as_bytes()).unwrap();
        batch.hints().into_iter().map(|hint| (hint.message, hint.kind)).collect::<Vec<_>>()
    };
    assert_eq!(json(r#", "includeMessagesInResponse": true"#), []);
    assert_eq!(json(r#", "includeMessagesInResponse": false"#), [(None, HintKind::NoResults)]);
    assert_eq!(json(""), [(None, HintKind::NoResults)]);
}
