//! The exact JSON on the wire, and the documented responses as typed mocks send them.

mod common;

use lon_batch::mock::httpmock::{HttpMockRequest, MockServer};
use lon_batch::mock::operations::SendLonBatchThen;
use lon_batch::mock::{MockServerExt, httpmock};
use lon_batch::types::{Encoding, ErrorBody, SubAccountId};
use lon_batch::{
    Batch, BatchResponse, Client, Content, Error, ErrorCode, Icon, Message, Msisdn, OutcomeKind,
    Recipient, SharedContent, SmsFallback,
};
use serde_json::{Value, json};

use common::{ACCEPTED, KEY, batch, client_without_retries};

fn counts_only() -> BatchResponse {
    BatchResponse::from_json(ACCEPTED.as_bytes()).unwrap()
}

/// Sends a batch to a mock that accepts exactly this body.
async fn assert_on_the_wire(batch: &Batch, body: Value) {
    let server = MockServer::start_async().await;
    let mock = server
        .mock_async(|when, then| {
            when.method(httpmock::Method::POST)
                .path("/api/v1/subaccounts/my-subaccount/lon/batch")
                .header("authorization", format!("Bearer {KEY}"))
                .header("content-type", "application/json")
                .header("accept", "application/json")
                .header("user-agent", concat!("lon-batch/", env!("CARGO_PKG_VERSION")))
                .header_missing("api-version")
                .is_true(move |request: &HttpMockRequest| {
                    // Compared here, so that a difference shows both bodies.
                    let sent: Value = serde_json::from_slice(request.body_ref()).unwrap();
                    assert_eq!(sent, body);
                    true
                });
            then.status(200).body(ACCEPTED);
        })
        .await;
    let client = client_without_retries(server.base_url()).build().unwrap();
    client.send(batch).await.unwrap();
    assert_eq!(mock.calls_async().await, 1);
}

#[tokio::test]
async fn a_minimal_message_has_a_user_and_content() {
    let message = Message::new("+6591234567".parse::<Msisdn>().unwrap(), Content::new("Hello"));
    let batch = Batch::builder().message(message).build().unwrap();
    assert_on_the_wire(
        &batch,
        json!({
            "messages": [{"user": {"msisdn": "+6591234567"}, "content": {"title": "Hello"}}],
            "includeMessagesInResponse": true,
        }),
    )
    .await;
}

#[tokio::test]
async fn a_shared_content_is_sent_with_each_message() {
    let content = SharedContent::from(Content::new("Hello \"you\"").item("Date", "Tue"));
    let to = "+6591234567".parse::<Msisdn>().unwrap();
    let shared = |id: &str| Message::new(to, content.clone()).client_message_id(id);
    let own = Message::new(to, Content::new("Bye")).client_message_id("c");
    let messages = [shared("a"), shared("b"), own];
    let batch = Batch::builder().messages(messages).build().unwrap();
    let message = |id| {
        json!({
            "user": {"msisdn": "+6591234567"},
            "clientMessageId": id,
            "content": {"title": "Hello \"you\"", "list": [{"label": "Date", "content": "Tue"}]},
        })
    };
    let own = json!({
        "user": {"msisdn": "+6591234567"}, "clientMessageId": "c", "content": {"title": "Bye"},
    });
    let body = json!({
        "messages": [message("a"), message("b"), own],
        "includeMessagesInResponse": true,
    });
    assert_on_the_wire(&batch, body.clone()).await;
    // A second time it is the same.
    assert_on_the_wire(&batch, body.clone()).await;
    assert_eq!(serde_json::to_value(&batch).unwrap(), body);
}

#[tokio::test]
async fn members_that_are_not_set_are_absent() {
    let mut request = batch(&["a"]).into_request();
    request.include_messages_in_response = None;
    let batch = Batch::try_from(request).unwrap();
    let message = json!({
        "user": {"msisdn": "+6591234567"},
        "content": {"title": "Hello"},
        "clientMessageId": "a",
    });
    assert_on_the_wire(&batch, json!({ "messages": [message] })).await;
}

#[tokio::test]
async fn a_full_message_has_every_member_under_its_name() {
    let content = Content::new("Event reminder")
        .company("8x8")
        .icon(Icon::CalendarCheck)
        .emphasis("Event name", "8x8 Conference")
        .item("Date", "Tue 26/09/2023")
        .item("Place", "\"Hall\" 1 \\ 漢字 🎫")
        .greeting("Can't wait to see you there!")
        .explanation("We would like to remind you about your reservation")
        .action("See direction", "https://www.google.com/maps")
        .action("Cancel", "http://example.com/cancel?id=1&x=%20#top");
    let sms = SmsFallback::new("Your event is tomorrow").source("Info").encoding(Encoding::Auto);
    let full = Message::new(Recipient::national("91234567", "sg").unwrap(), content)
        .client_message_id("abc-123")
        .dlr_callback_url("https://example.com/receipts")
        .sms_fallback(sms);
    let unlisted = Content::default().icon(Icon::Other("newIcon".into()));
    let other = Message::new("+81312345678".parse::<Msisdn>().unwrap(), unlisted);
    let batch = Batch::builder()
        .client_batch_id("my-batch-123")
        .message(full)
        .message(other)
        .include_messages_in_response(false)
        .build()
        .unwrap();
    assert_on_the_wire(
        &batch,
        json!({
            "clientBatchId": "my-batch-123",
            "messages": [
                {
                    "user": {"msisdn": "91234567", "country": "SG"},
                    "clientMessageId": "abc-123",
                    "content": {
                        "title": "Event reminder",
                        "company": "8x8",
                        "icon": "calendarCheck",
                        "emphasis": {"label": "Event name", "content": "8x8 Conference"},
                        "list": [
                            {"label": "Date", "content": "Tue 26/09/2023"},
                            {"label": "Place", "content": "\"Hall\" 1 \\ 漢字 🎫"},
                        ],
                        "greeting": "Can't wait to see you there!",
                        "explanation": "We would like to remind you about your reservation",
                        "actions": [
                            {"title": "See direction", "url": "https://www.google.com/maps"},
                            {"title": "Cancel", "url": "http://example.com/cancel?id=1&x=%20#top"},
                        ],
                    },
                    "dlrCallbackUrl": "https://example.com/receipts",
                    "smsFallback": {
                        "text": "Your event is tomorrow",
                        "source": "Info",
                        "encoding": "AUTO",
                    },
                },
                {"user": {"msisdn": "+81312345678"}, "content": {"icon": "newIcon"}},
            ],
            "includeMessagesInResponse": false,
        }),
    )
    .await;
}

#[test]
fn every_icon_of_the_reference_page_is_known() {
    let page = "userPlus, chatEllipsis, phone, note, gear, bell, checkCircle, slashCircle, search, \
        link, wallet, store, mapMarker, idCard, utensils, medicalKit, train, planeDeparture, \
        questionCircle, infoCircle, boxCheck, calendarCheck, calendar, file, envelope, usdCircle, \
        thbCircle, usdCircleSend, thbCircleSend, invoice, couponStar, coupon, creditCard, \
        starCard, shoppingBag, megaphone, shieldCheck, history";
    let page: Vec<_> = page.split(", ").collect();
    assert_eq!((page.len(), Icon::KNOWN.len()), (38, 38));

    for name in page {
        let icon = Icon::from(name);
        assert!(!matches!(icon, Icon::Other(_)));
        assert_eq!(serde_json::to_value(&icon).unwrap(), name);
    }
    assert_eq!(serde_json::to_value(Icon::from("newIcon")).unwrap(), "newIcon");
}

#[tokio::test]
async fn every_character_of_a_sub_account_id_appears_in_the_path_unchanged() {
    let characters: Vec<char> =
        ('a'..='z').chain('A'..='Z').chain('0'..='9').chain("-._&".chars()).collect();
    let ids = characters.chunks(25).map(|chunk| chunk.iter().collect::<String>()).chain([
        "...".to_owned(),
        "&&&".to_owned(),
        "a".repeat(50),
    ]);
    for id in ids {
        let server = MockServer::start_async().await;
        let mock = server
            .mock_async(|when, then| {
                when.path(format!("/v2/api/v1/subaccounts/{id}/lon/batch"));
                then.status(200).body(ACCEPTED);
            })
            .await;
        // A base URL with a path and a slash at its end.
        let base_url = format!("{}/v2/", server.base_url());
        let client = Client::builder(id.as_str(), KEY).base_url(base_url);
        client.build().unwrap().send(&batch(&["a"])).await.unwrap();
        mock.assert_async().await;
    }
}

#[tokio::test]
async fn a_typed_mock_matches_the_request_it_expects_and_no_other() {
    let server = MockServer::start_async().await;
    let batch = batch(&["a", "b"]);
    let sub_account: SubAccountId = "my-subaccount".parse().unwrap();
    let mock = server.send_lon_batch(|when, then| {
        when.sub_account_id(&sub_account).body(batch.request());
        then.ok(&counts_only());
    });
    let client = client_without_retries(server.base_url()).build().unwrap();
    client.send(&batch).await.unwrap();
    mock.assert_async().await;
    let other = common::batch(&["c"]);
    assert_eq!(client.send(&other).await.unwrap_err().status().unwrap(), 404);
}

#[tokio::test]
async fn the_samples_of_the_reference_page_decode() {
    let server = MockServer::start_async().await;
    let sample = json!({
        "batchId": "cf3cbbf5-3e2d-ea11-815d-020897df5459",
        "clientBatchId": "aaa_batch",
        "acceptedCount": 1,
        "rejectedCount": 1,
        "messages": [
            {
                "umid": "d03cbbf5-3e2d-ea11-815d-020897df5459",
                "user": {"msisdn": "+6500000000"},
                "clientMessageId": "aaa-1",
                "status": {"state": "queued", "timestamp": "2020-01-04T08:19:45.99Z"},
            },
            {
                "umid": "15bb8ad1-d06e-418c-8dc7-ac8a00ffeb70",
                "user": {"msisdn": "+65000001"},
                "clientMessageId": "aaa-2",
                "status": {
                    "state": "rejected",
                    "timestamp": "2020-01-04T08:19:45.99Z",
                    "errorCode": 3038,
                    "errorMessage": "Template not found for provided name and language",
                },
            },
        ],
    });
    let answer: BatchResponse = serde_json::from_value(sample.clone()).unwrap();
    assert_eq!(serde_json::to_value(&answer).unwrap(), sample);
    server.send_lon_batch(|_, then| {
        then.ok(&answer);
    });
    let batch = batch(&["aaa-1", "aaa-2"]);
    let client = client_without_retries(server.base_url()).build().unwrap();
    let response = client.send(&batch).await.unwrap();
    assert_eq!(response, answer);
    let report = response.report(&batch);
    assert_eq!(report.disagreements(), [""; 0]);
    assert!(!report.all_accepted());
    let [accepted, rejected] = report.outcomes() else {
        panic!("{report:?}");
    };
    assert_eq!(accepted.kind, OutcomeKind::Accepted);
    assert_eq!(accepted.umid.as_deref(), Some("d03cbbf5-3e2d-ea11-815d-020897df5459"));
    assert_eq!(rejected.kind, OutcomeKind::Rejected);
    assert_eq!(rejected.umid.as_deref(), Some("15bb8ad1-d06e-418c-8dc7-ac8a00ffeb70"));
    assert_eq!(rejected.code, Some(ErrorCode::TemplateNotFound));
    let reason = "Template not found for provided name and language";
    assert_eq!(rejected.reason.as_deref(), Some(reason));
}

#[tokio::test]
async fn a_202_with_the_same_body_is_a_success() {
    let server = MockServer::start_async().await;
    let body = r#"{"batchId": "x", "acceptedCount": 1, "rejectedCount": 0}"#;
    server
        .mock_async(|_, then| {
            then.status(202).body(body);
        })
        .await;
    let client = client_without_retries(server.base_url()).build().unwrap();
    let batch = batch(&["a"]);
    let response = client.send(&batch).await.unwrap();
    assert!(response.report(&batch).all_accepted());
}

type Then = fn(SendLonBatchThen, &ErrorBody) -> SendLonBatchThen;

#[tokio::test]
async fn every_documented_error_arrives_with_all_its_members() {
    let answers: [(u16, Then, i64); 10] = [
        (400, SendLonBatchThen::bad_request, 1001),
        (401, SendLonBatchThen::unauthorized, 1200),
        (403, SendLonBatchThen::forbidden, 1201),
        (404, SendLonBatchThen::not_found, 1300),
        (410, SendLonBatchThen::gone, 2002),
        (413, SendLonBatchThen::payload_too_large, 1100),
        (422, SendLonBatchThen::unprocessable_entity, 3013),
        (426, SendLonBatchThen::upgrade_required, 1014),
        (429, SendLonBatchThen::too_many_requests, 429),
        (500, SendLonBatchThen::internal_server_error, 2000),
    ];
    for (status, then_answer, code) in answers {
        let server = MockServer::start_async().await;
        let mut body = ErrorBody::default();
        body.code = Some(code.into());
        body.message = Some("In the platform's words".into());
        body.error_id = Some("91b106f0-c0da-4aba-a43a-7af9c5893a80".into());
        body.timestamp = Some("2017-04-19T02:31:19.4297387+00:00".into());
        let mock = server.send_lon_batch(|_, then| {
            then_answer(then, &body);
        });
        let client = client_without_retries(server.base_url()).build().unwrap();
        let error = client.send(&batch(&["a"])).await.unwrap_err();
        assert_eq!(mock.calls_async().await, 1, "sent once");
        assert_eq!(error.status().unwrap(), status);
        assert_eq!(error.code(), Some(ErrorCode::from(code)));
        assert_eq!(error.error_id(), body.error_id.as_ref());
        assert_eq!(error.retry_is_safe(), status != 500, "{status}");
        assert_eq!(error.retry_can_help(), status == 429 || status == 500, "{status}");
        let text = error.to_string();
        for part in [
            &format!("HTTP {status}"),
            &format!("code {code}"),
            "In the platform's words",
            "91b106f0-c0da-4aba-a43a-7af9c5893a80",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
        assert_eq!(matches!(error, Error::Refused(_)), status < 500, "{status}");
        let error = error.api_error().unwrap();
        assert_eq!(error.timestamp(), body.timestamp.as_ref());
        assert_eq!(error.excerpt(), None);
    }
}
