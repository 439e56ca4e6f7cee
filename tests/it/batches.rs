//! What a batch refuses, and what it says of it.

use lon_batch::{
    Action, Batch, BatchRequest, Content, Emphasis, Hint, HintKind, Icon, Invalid,
    MAX_MESSAGES_PER_BATCH, Message, Msisdn, Recipient, Rule, SharedContent, SmsFallback,
};
use serde_json::json;

use crate::support::{assert_no_secrets, message, msisdn, printed};

/// The problems of a batch of one message, as lines.
fn refused(message: Message) -> Vec<String> {
    lines(&Batch::builder().message(message).build().unwrap_err())
}

fn lines(error: &Invalid) -> Vec<String> {
    assert_no_secrets(&printed(error));
    error.problems().iter().map(ToString::to_string).collect()
}

fn sorted(error: &Invalid) -> Vec<String> {
    let places = |problem: &lon_batch::Problem| (problem.message(), problem.to_string());
    let mut problems: Vec<_> = error.problems().iter().map(places).collect();
    assert!(problems.is_sorted_by_key(|(message, _)| *message), "by message");
    problems.sort();
    problems.into_iter().map(|(_, line)| line).collect()
}

fn many(count: usize) -> Result<Batch, Invalid> {
    let content = SharedContent::from(Content::new("Hello"));
    let message =
        |index| Message::new(msisdn(), content.clone()).client_message_id(format!("id-{index}"));
    Batch::builder().messages((0..count).map(message)).build()
}

#[test]
fn the_number_of_messages() {
    assert_eq!(MAX_MESSAGES_PER_BATCH, 1000);
    assert_eq!(many(1).unwrap().len(), 1);
    assert_eq!(many(1000).unwrap().len(), 1000);
    assert_eq!(lines(&many(0).unwrap_err()), ["messages: 0 entries, at least 1 and at most 1000"]);
    let error = many(1001).unwrap_err();
    assert_eq!(lines(&error), ["messages: 1001 entries, at least 1 and at most 1000"]);
    let (found, min, max) = (1001, 1, 1000);
    assert_eq!(error.problems()[0].rule, Rule::Count { found, min, max });
    assert_eq!(error.problems()[0].message(), None);
}

#[test]
fn lengths_are_counted_in_characters() {
    // 50 characters in 200 bytes.
    let fits = "𝒳".repeat(50);
    assert!(Batch::builder().message(message(&fits)).build().is_ok());
    assert_eq!(
        refused(message(&"é".repeat(51))),
        ["messages[0].clientMessageId: 51 characters, at most 50"]
    );
    let source = |length: usize| SmsFallback::new("Hi").source("字".repeat(length));
    assert!(Batch::builder().message(message("a").sms_fallback(source(16))).build().is_ok());
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
fn urls_are_absolute_http_urls() {
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
        let sent = message("a").dlr_callback_url(url);
        assert!(Batch::builder().message(sent).build().is_ok(), "{url}");
    }
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
            "{length} characters that are not an absolute http or https URL, percent-encoded"
        );
        assert_eq!(
            refused(message("a").dlr_callback_url(url)),
            [format!("messages[0].dlrCallbackUrl: {rule}")],
            "{url:?}"
        );
        let content = Content::new("Hello").action("One", "https://example.com").action("Two", url);
        assert_eq!(
            refused(Message::new(msisdn(), content)),
            [format!("messages[0].content.actions[1].url: {rule}")],
            "{url:?}"
        );
    }
}

#[test]
fn what_no_schema_can_say() {
    assert_eq!(
        refused(Message::new(msisdn(), Content::default())),
        ["messages[0].content: nothing is set; there would be nothing to show"]
    );
    let blank = [
        Content::new(""),
        Content::default().emphasis("", ""),
        Content::default().item("", "").item("", ""),
        Content::default().icon(Icon::from("")),
        Content { actions: vec![Action::default()], ..Content::default() },
    ];
    for content in blank {
        assert_eq!(
            refused(Message::new(msisdn(), content)),
            ["messages[0].content: nothing is set; there would be nothing to show"]
        );
    }
    let no_text = "no text is set; without one there is no SMS and the rest does nothing";
    let mut source = SmsFallback::default().source("Info");
    assert_eq!(
        refused(message("a").sms_fallback(source.clone())),
        [format!("messages[0].smsFallback: {no_text}")]
    );
    source.text = Some("".into());
    assert_eq!(
        refused(message("a").sms_fallback(source)),
        [format!("messages[0].smsFallback: {no_text}")]
    );
    let ids = ["a", "b", "a", "c", "a"];
    let batch = Batch::builder().messages(ids.map(message)).build();
    assert_eq!(
        lines(&batch.unwrap_err()),
        [
            "messages[2].clientMessageId: the same as in messages[0]; verdicts could not be told apart",
            "messages[4].clientMessageId: the same as in messages[0]; verdicts could not be told apart",
        ]
    );
    // Any number of messages may have none.
    let message = Message::new(msisdn(), Content::new("Hello"));
    assert!(Batch::builder().message(message.clone()).message(message).build().is_ok());
}

#[test]
fn every_problem_of_every_message_is_told_in_order() {
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
            "messages[1].dlrCallbackUrl: 7 characters that are not an absolute http or https URL, percent-encoded",
            "messages[1].smsFallback.source: 23 characters, at most 16",
            "messages[1].smsFallback: no text is set; without one there is no SMS and the rest does nothing",
            "messages[2].clientMessageId: 60 characters, at most 50",
            "messages[2].dlrCallbackUrl: 7 characters that are not an absolute http or https URL, percent-encoded",
            "messages[2].smsFallback.source: 23 characters, at most 16",
            "messages[2].smsFallback: no text is set; without one there is no SMS and the rest does nothing",
            "messages[2].clientMessageId: the same as in messages[1]; verdicts could not be told apart",
        ]
    );
    assert_eq!(error.problems()[9].message(), Some(2));
    assert!(error.to_string().starts_with("nothing was sent, 10 problems:\n  clientBatchId: "));
}

#[test]
fn a_long_list_of_problems_is_printed_in_part() {
    let bad = (0..1000).map(|_| message("the same"));
    let error = Batch::builder().messages(bad).build().unwrap_err();
    assert_eq!(error.problems().len(), 999);
    let text = error.to_string();
    assert_eq!(text.lines().count(), 22);
    assert!(text.ends_with("\n  and 979 more"), "{text}");
}

#[test]
fn a_shared_content_is_checked_wherever_it_stands() {
    let bad = SharedContent::from(Content::new("Hello").action("Go", "nowhere"));
    let good = SharedContent::from(Content::new("Hello"));
    let contents = [&good, &bad, &good, &bad].map(Clone::clone);
    let error = Batch::builder()
        .messages(contents.map(|content| Message::new(msisdn(), content)))
        .build()
        .unwrap_err();
    let places: Vec<_> = error.problems().iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(
        places,
        ["messages[1].content.actions[0].url", "messages[3].content.actions[0].url"]
    );
}

#[test]
fn a_batch_reads_back_from_what_it_writes() {
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
}

#[test]
fn null_stands_for_what_is_not_set() {
    let batch = Batch::from_json(
        br#"{"clientBatchId": null, "messages": [{"user": {"msisdn": "+6591234567", "country": null},
            "content": {"title": "Hello", "list": null, "actions": [{"title": "Go", "url": null}]},
            "clientMessageId": null, "smsFallback": null}]}"#,
    )
    .unwrap();
    assert_eq!(
        serde_json::to_value(&batch).unwrap(),
        json!({"messages": [{
            "user": {"msisdn": "+6591234567"},
            "content": {"title": "Hello", "actions": [{"title": "Go"}]},
        }]})
    );
}

#[test]
fn reading_tells_every_problem_with_its_place() {
    let json = json!({
        "clientBatchId": "b".repeat(101),
        "includeMessagesInResponse": "yes",
        "priority": 1,
        "messages": [
            {"user": {"msisdn": "+65 91234567"}, "content": {"title": "Hello"}},
            {"user": {"msisdn": "91234567"}, "content": {"title": "Hello"}},
            {"user": {"msisdn": "91234567", "country": "SGP"}, "content": {"title": "Hello"}},
            {"user": {"msisdn": 6_591_234_567_u64}, "content": {"title": "Hello"}},
            {"content": {"title": "Hello"}},
            {"user": {"msisdn": "+6591234567"}},
            "+6591234567",
            {"user": {"msisdn": "+6591234567", "6591234567": 1}, "content": {"titel": "Hello"}},
            {
                "user": {"msisdn": "+6591234567"},
                "clientMessageId": "x".repeat(51),
                "content": {"title": "Hello", "list": [{"label": "A"}, {"label": 5}]},
                "smsFallback": {"text": "Hi", "encoding": "auto"},
            },
            {"user": {"msisdn": "+6591234567"}, "clientMessageId": "x".repeat(51), "content": {}},
            {"user": {"msisdn": "+6591234567"}, "content": {"title": "Fine"}},
        ],
    });
    let error = Batch::from_json(json.to_string().as_bytes()).unwrap_err();
    assert_eq!(
        sorted(&error),
        [
            "clientBatchId: 101 characters, at most 100",
            "includeMessagesInResponse: a text where true or false is due",
            "priority: not a member of the API; expected one of clientBatchId, includeMessagesInResponse, messages",
            "messages[0].user.msisdn: the phone number is not E.164: the character at position 4 is not a digit",
            "messages[1].user: the phone number has neither `+` and a country code nor a country beside it",
            "messages[2].user.country: a country is two ASCII letters, such as SG",
            "messages[3].user.msisdn: a number where a text is due",
            "messages[4].user: is missing",
            "messages[5].content: is missing",
            "messages[6]: a text where an object is due",
            "messages[7].content.titel: not a member of the API; expected one of actions, company, emphasis, explanation, greeting, icon, list, title",
            "messages[7].user.(a member): not a member of the API; expected one of country, msisdn",
            "messages[8].clientMessageId: 51 characters, at most 50",
            "messages[8].content.list[1].label: a number where a text is due",
            "messages[8].smsFallback.encoding: 4 characters that are none of AUTO, GSM7, UCS2",
            "messages[9].clientMessageId: 51 characters, at most 50",
            "messages[9].clientMessageId: the same as in messages[8]; verdicts could not be told apart",
            "messages[9].content: nothing is set; there would be nothing to show",
        ]
    );
    // In any other format the same problems are in the format's own error.
    let error = serde_json::from_value::<Batch>(json).unwrap_err().to_string();
    assert!(error.contains("messages[4].user: is missing"), "{error}");
    assert_no_secrets(&error);
}

#[test]
fn reading_what_is_no_batch() {
    for (json, problem) in [
        ("", "not JSON, line 1, column 0"),
        ("{\n  \"messages\": [}", "not JSON, line 2, column 16"),
        ("[]", "a list where an object is due"),
        ("{}", "messages: is missing"),
        (r#"{"messages": {}}"#, "messages: an object where a list is due"),
        (r#"{"messages": []}"#, "messages: 0 entries, at least 1 and at most 1000"),
    ] {
        assert_eq!(lines(&Batch::from_json(json.as_bytes()).unwrap_err()), [problem], "{json}");
    }
}

#[test]
fn a_request_made_by_hand_is_checked_the_same() {
    let request = |emphasis| BatchRequest {
        client_batch_id: None,
        include_messages_in_response: None,
        messages: vec![Message::new(
            msisdn(),
            Content {
                emphasis,
                actions: vec![Action { title: None, url: Some("nowhere".into()) }],
                ..Content::default()
            },
        )],
    };
    let error = Batch::try_from(request(Some(Emphasis::default()))).unwrap_err();
    assert_eq!(error.problems()[0].path, "messages[0].content.actions[0].url");
}

#[test]
fn debug_tells_no_messages() {
    let batch = Batch::builder().message(message("a")).build().unwrap();
    assert_eq!(format!("{batch:?}"), "Batch { client_batch_id: None, messages: 1, .. }");
    assert_no_secrets(&format!("{:?}", batch.request()));
    assert_no_secrets(&format!("{:?}", Batch::builder().message(message("a"))));
}

#[test]
fn hints_are_told_and_do_not_refuse() {
    let mut content = Content::new("x".repeat(400)).greeting("y".repeat(101));
    for index in 0..16 {
        content = content.item("", "").action("Go", format!("https://example.com/{index}"));
    }
    let content = content.icon(Icon::from("calenderCheck"));
    let hello = Content::new("Hello");
    let message = |number: &str, content: Content| {
        let id = format!("to-{number}");
        Message::new(number.parse::<Msisdn>().unwrap(), content).client_message_id(id)
    };
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
fn one_mistake_in_a_message_does_not_hide_the_others() {
    let json = json!({"messages": [
        {
            "user": {"msisdn": "0812345678"},
            "clientMessageId": "a",
            "content": {"titel": "Hello"},
            "dlrCallbackUrl": "nowhere",
            "smsFallback": {"text": 5, "source": "x".repeat(17), "encoding": "auto"},
        },
        {"user": {"msisdn": "+6591234567"}, "clientMessageId": "a", "content": {"title": "Hello"}},
    ]});
    let error = Batch::from_json(json.to_string().as_bytes()).unwrap_err();
    assert_eq!(
        sorted(&error),
        [
            "messages[0].content.titel: not a member of the API; expected one of actions, company, emphasis, explanation, greeting, icon, list, title",
            "messages[0].dlrCallbackUrl: 7 characters that are not an absolute http or https URL, percent-encoded",
            "messages[0].smsFallback.encoding: 4 characters that are none of AUTO, GSM7, UCS2",
            "messages[0].smsFallback.source: 17 characters, at most 16",
            "messages[0].smsFallback.text: a number where a text is due",
            "messages[0].user: the phone number has neither `+` and a country code nor a country beside it",
            "messages[1].clientMessageId: the same as in messages[0]; verdicts could not be told apart",
        ]
    );
}

#[test]
fn a_member_that_stands_twice_is_refused() {
    let message = r#"{"user": {"msisdn": "+6591234567"}, "content": {"title": "a"}}"#;
    let twice = "a member stands twice in one object, line 1, column ";
    for json in [
        format!(r#"{{"messages": [{message}], "messages": [{message}]}}"#),
        format!(r#"{{"messages": [{}]}}"#, message.replace("}}", "}, \"content\": {}}")),
    ] {
        let error = Batch::from_json(json.as_bytes()).unwrap_err();
        assert!(lines(&error)[0].starts_with(twice), "{error}");
        let error = serde_json::from_str::<Batch>(&json).unwrap_err().to_string();
        assert!(error.starts_with("a member stands twice in one object"), "{error}");
    }
}

#[test]
fn no_reader_of_a_user_repeats_what_it_refuses() {
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
}
