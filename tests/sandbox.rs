//! The sandbox keeps the contract.

mod common;

use http::{HeaderMap, StatusCode};
use lon_batch::mock::{Answer, Rejection, Sandbox};
use lon_batch::{
    Batch, Client, Content, Error, ErrorCode, Message, Msisdn, OutcomeKind, SharedContent,
};
use serde_json::{Value, json};

use crate::common::{batch, custom_http_client};

/// Posts a body as no client of this crate would.
async fn post(sandbox: &Sandbox, path: &str, key: Option<&str>, body: String) -> (u16, Value) {
    let client = custom_http_client().build().unwrap();
    let mut request = client.post(format!("{}{path}", sandbox.base_url())).body(body);
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

const PATH: &str = "/api/v1/subaccounts/sandbox/lon/batch";
const KEY: Option<&str> = Some("sandbox-api-key");

#[tokio::test]
async fn requests_are_judged_by_the_documented_rules() {
    let sandbox = Sandbox::start().await.unwrap();
    let fine = json!({"user": {"msisdn": "+6591234567"}, "content": {"title": "Hello"}});
    let body = |messages: Value| json!({ "messages": messages }).to_string();
    let good = body(json!([fine]));
    let long_id = json!({"clientBatchId": "b".repeat(101), "messages": [fine]}).to_string();
    for (path, key, body, status, code) in [
        ("/", KEY, good.clone(), 404, 1300),
        ("/api/v1/subaccounts/sandbox/lon/batch/", KEY, good.clone(), 404, 1300),
        (PATH, None, good.clone(), 401, 1200),
        (PATH, Some("other"), good.clone(), 401, 1200),
        ("/api/v1/subaccounts/other/lon/batch", KEY, good.clone(), 400, 1001),
        (PATH, KEY, "<xml/>".to_owned(), 400, 1000),
        (PATH, KEY, "[]".to_owned(), 400, 1000),
        (PATH, KEY, "{}".to_owned(), 400, 3012),
        (PATH, KEY, body(json!([])), 400, 3012),
        (PATH, KEY, body(vec![fine.clone(); 1001].into()), 400, 3013),
        (PATH, KEY, long_id, 400, 3014),
        (PATH, KEY, " ".repeat(9 * 1024 * 1024), 413, 1100),
    ] {
        let size = body.len();
        let (answered, envelope) = post(&sandbox, path, key, body).await;
        assert_eq!((answered, &envelope["code"]), (status, &json!(code)), "{path} {size}");
        assert!(envelope["message"].is_string() && envelope["errorId"].is_string());
        assert!(envelope["timestamp"].is_string());
    }
    assert_eq!(sandbox.accepted_count(), 0);
    let (status, answer) = post(&sandbox, PATH, KEY, good).await;
    assert_eq!(status, 200);
    assert_eq!(answer["messages"], Value::Null);
    assert_eq!(answer["acceptedCount"], 1);
    assert_eq!((sandbox.accepted_count(), sandbox.requests()), (1, 13));
}

#[tokio::test]
async fn messages_are_judged_each_for_itself() {
    let sandbox = Sandbox::builder()
        .approved_titles(["Hello"])
        .judge(|message| {
            let blocked = message.user.msisdn().ends_with("99");
            blocked.then(|| ErrorCode::Other(1234).into())
        })
        .start()
        .await
        .unwrap();
    let user = json!({"msisdn": "+6591234567"});
    let content = json!({"title": "Hello"});
    let cases = [
        (json!({"content": content}), Some(3001)),
        (json!({"user": {}, "content": content}), Some(3002)),
        (json!({"user": {"msisdn": "91234567"}, "content": content}), Some(3003)),
        (json!({"user": {"msisdn": "9123", "country": "X"}, "content": content}), Some(3018)),
        (json!({"user": user}), Some(3004)),
        (json!({"user": user, "content": {}}), Some(3004)),
        (json!({"user": user, "content": content, "clientMessageId": "x".repeat(51)}), Some(3009)),
        (
            json!({"user": user, "content": content, "smsFallback": {"source": "x".repeat(17)}}),
            Some(3011),
        ),
        (json!({"user": user, "content": content, "dlrCallbackUrl": "nowhere"}), Some(3020)),
        (json!({"user": user, "content": {"titel": "Hello"}}), Some(1000)),
        (json!({"user": user, "content": {"title": "Goodbye"}}), Some(3038)),
        (json!({"user": {"msisdn": "+6591234599"}, "content": content}), Some(1234)),
        (json!({"user": user, "content": content}), None),
    ];
    let messages: Vec<_> = cases.iter().map(|(message, _)| message).collect();
    let body = json!({"messages": messages, "includeMessagesInResponse": true});
    let (status, answer) = post(&sandbox, PATH, KEY, body.to_string()).await;
    assert_eq!(status, 200);
    assert_eq!((&answer["acceptedCount"], &answer["rejectedCount"]), (&json!(1), &json!(12)));
    for ((message, code), result) in cases.iter().zip(answer["messages"].as_array().unwrap()) {
        let state = if code.is_some() { "rejected" } else { "queued" };
        assert_eq!(result["status"]["state"], state, "{message}");
        assert_eq!(result["status"]["errorCode"], json!(code), "{message}");
    }
    assert_eq!((sandbox.accepted_count(), sandbox.rejected_count()), (1, 12));
}

#[tokio::test]
async fn answers_on_demand() {
    let sandbox = Sandbox::start().await.unwrap();
    let once = lon_batch::RetryPolicy::never();
    let client = sandbox.client().retry(once).build().unwrap();
    let batch = batch(&["a"]);
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "text/html".parse().unwrap());
    let status = StatusCode::BAD_GATEWAY;
    let (body, code) = ("<html>".into(), ErrorCode::InternalError);
    sandbox.answer_next([
        Answer::TooManyRequests { retry_after: Some(3) },
        Answer::TooManyRequests { retry_after: None },
        Answer::Error { status: StatusCode::SERVICE_UNAVAILABLE, code },
        Answer::Exactly { status, headers, body },
        Answer::HangUp,
        Answer::AcceptAndHangUp,
        Answer::AcceptAndFail,
        Answer::Late(std::time::Duration::from_millis(1)),
    ]);
    let mut seen = Vec::new();
    for _ in 0..9 {
        let result = client.send(&batch).await;
        let accepted = sandbox.accepted_count();
        seen.push(match result {
            Ok(response) => (200, response.report(&batch).all_accepted(), accepted),
            Err(error) => {
                let status = error.status().map_or(0, |status| status.as_u16());
                (status, error.outcome() == OutcomeKind::Unknown, accepted)
            }
        });
    }
    assert_eq!(
        seen,
        [
            (429, false, 0),
            (429, false, 0),
            (503, true, 0),
            (502, true, 0),
            (0, true, 0),
            (0, true, 1),
            (500, true, 2),
            (200, true, 3),
            (200, true, 4),
        ]
    );
    assert_eq!(sandbox.requests(), 9);
}

#[tokio::test]
async fn a_late_answer_comes_to_nobody_and_the_messages_are_accepted() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.answer_next([Answer::Late(std::time::Duration::from_secs(600))]);
    let client = sandbox.client().timeout(std::time::Duration::from_millis(300)).build().unwrap();
    let error = client.send(&batch(&["a"])).await.unwrap_err();
    assert_eq!(error.outcome(), OutcomeKind::Unknown, "{error:?}");
    assert_eq!(sandbox.accepted_count(), 1);
}

#[tokio::test]
async fn it_records_what_it_accepted_within_bounds() {
    let sandbox = Sandbox::builder().keep(3).start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let response = client.send(&batch(&["a", "b", "c", "d", "e"])).await.unwrap();
    let kept = sandbox.accepted();
    let ids: Vec<_> = kept.iter().map(|it| it.message.client_message_id.as_deref()).collect();
    assert_eq!(ids, [Some("c"), Some("d"), Some("e")]);
    assert_eq!(kept[2].message.user.msisdn(), "+6591234567");
    assert_eq!(Some(&kept[2].batch_id), response.batch_id.as_ref());
    assert_eq!(Some(&kept[2].umid), response.results()[4].umid.as_ref());
    assert_eq!(sandbox.accepted_count(), 5);
}

#[tokio::test]
async fn a_full_batch_goes_through() {
    let sandbox =
        Sandbox::builder().sub_account_id("my-lon").api_key("my-api-key").start().await.unwrap();
    let content = SharedContent::from(Content::new("Hello"));
    let messages = (0..1000).map(|index| {
        let number: Msisdn = format!("+6681{index:07}").parse().unwrap();
        Message::new(number, content.clone()).client_message_id(format!("id-{index}"))
    });
    let batch = Batch::builder().messages(messages).build().unwrap();
    let client =
        Client::builder("my-lon", "my-api-key").base_url(sandbox.base_url()).build().unwrap();
    let response = client.send(&batch).await.unwrap();
    let report = response.report(&batch);
    assert!(report.all_accepted());
    assert_eq!(report.of_kind(OutcomeKind::Accepted).count(), 1000);
    let other =
        Client::builder("my-lon", "another-key").base_url(sandbox.base_url()).build().unwrap();
    let error = other.send(&batch).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Unauthorized));
}

#[tokio::test]
async fn it_stops_when_it_is_dropped() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    client.send(&batch(&["a"])).await.unwrap();
    let base_url = sandbox.base_url();
    drop(sandbox);
    // The task is aborted at its next turn; then its port is closed, and so are its connections.
    let error = loop {
        tokio::task::yield_now().await;
        let result = client.send(&batch(&["a"])).await;
        if matches!(result, Err(Error::NoConnection(_))) {
            break result.unwrap_err();
        }
    };
    assert!(error.retry_is_safe() && error.retry_can_help(), "{base_url}");
}

#[test]
fn rejections_say_the_reason_of_their_code() {
    let rejection = Rejection::from(ErrorCode::TemplateNotFound);
    assert_eq!(rejection.reason, "No approved template matches the content.");
}
