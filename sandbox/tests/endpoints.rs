//! The endpoints of the sandbox itself.

mod common;

use lon_sandbox::{Accepted, Sandbox};
use serde_json::{Value, json};

use common::{KEY, PATH, batch, get, post, send};

#[tokio::test]
async fn accepted_messages_by_their_number() {
    let sandbox = Sandbox::start().await.unwrap();
    let base_url = sandbox.base_url();
    assert_eq!(get(&base_url, "/sandbox/accepted").await, (200, json!([])));
    let answer = send(&base_url, ["a", "b"]).await;
    send(&base_url, ["c", "d"]).await;
    let (_, all) = get(&base_url, "/sandbox/accepted").await;
    assert_eq!(
        all[1],
        json!({
            "umid": answer["messages"][1]["umid"],
            "batchId": answer["batchId"],
            "clientMessageId": "b",
            "msisdn": "+6591234567",
        })
    );
    let read: Vec<Accepted> = serde_json::from_value(all).unwrap();
    assert_eq!(read, sandbox.accepted());

    let ids = async |query: &str| {
        let (status, messages) = get(&base_url, &format!("/sandbox/accepted?{query}")).await;
        assert_eq!(status, 200, "{query}");
        let messages: Vec<Accepted> = serde_json::from_value(messages).unwrap();
        messages.into_iter().filter_map(|it| it.client_message_id).collect::<String>()
    };
    for (query, expected) in [
        ("", "abcd"),
        ("from=1", "bcd"),
        ("limit=3", "abc"),
        ("from=1&limit=2", "bc"),
        ("limit=9&from=3", "d"),
        ("from=4", ""),
        ("from=18446744073709551615", ""),
        ("limit=0", ""),
    ] {
        assert_eq!(ids(query).await, expected, "{query}");
    }
    for (query, problem) in [
        ("from=-1", "from=-1: expected a whole number"),
        ("limit=", "limit=: expected a whole number"),
        ("first=1", "first=1: expected from=N or limit=N"),
    ] {
        let answer = get(&base_url, &format!("/sandbox/accepted?{query}")).await;
        assert_eq!(answer, (400, json!({ "error": problem })));
    }
}

#[tokio::test]
async fn numbers_stay_the_same_when_old_messages_are_dropped() {
    let sandbox = Sandbox::builder().keep(2).start().await.unwrap();
    send(&sandbox.base_url(), ["a", "b", "c", "d"]).await;
    let ids = async |query: &str| {
        let (_, messages) = get(&sandbox.base_url(), &format!("/sandbox/accepted{query}")).await;
        let messages: Vec<Accepted> = serde_json::from_value(messages).unwrap();
        messages.into_iter().filter_map(|it| it.client_message_id).collect::<String>()
    };
    assert_eq!(ids("").await, "cd");
    assert_eq!(ids("?from=1&limit=2").await, "c");
    assert_eq!(ids("?from=0&limit=2").await, "");
    assert_eq!(ids("?from=3").await, "d");
}

#[tokio::test]
async fn counts_leave_out_the_endpoints() {
    let sandbox = Sandbox::builder().approved_titles(["Hello"]).start().await.unwrap();
    let base_url = sandbox.base_url();
    let mut body: Value = batch(["a", "b", "c"]).parse().unwrap();
    body["messages"][1]["content"]["title"] = "Goodbye".into();
    post(&base_url, PATH, KEY, body.to_string()).await.unwrap();
    post(&base_url, PATH, None, body.to_string()).await.unwrap();
    for _ in 0..2 {
        let counts = json!({"requests": 2, "accepted": 2, "rejected": 1, "postsDue": 0});
        assert_eq!(get(&base_url, "/sandbox/counts").await, (200, counts));
    }
    assert_eq!(sandbox.requests(), 2);
}

#[tokio::test]
async fn answers_of_a_script_come_in_turn() {
    let sandbox = Sandbox::start().await.unwrap();
    let base_url = sandbox.base_url();
    let answers = json!([
        {"answer": "tooManyRequests", "retryAfter": 2},
        {"answer": "tooManyRequests"},
        {"answer": "error", "status": 503, "code": 2000},
        {"answer": "exactly", "status": 404, "headers": [["x-a", "b"]], "body": "{}"},
        {"answer": "contract"},
        {"answer": "hangUp"},
        {"answer": "acceptAndHangUp"},
    ]);
    let first = post(&base_url, "/sandbox/answers", None, answers.to_string()).await.unwrap();
    assert_eq!(first, (200, json!({"waiting": 7})));
    let more = json!([
        {"answer": "acceptAndFail"},
        {"answer": "acceptAndCut"},
        {"answer": "acceptAndAnswer", "status": 202, "body": "{}"},
        {"answer": "late", "milliseconds": 1},
    ]);
    let more = post(&base_url, "/sandbox/answers", None, more.to_string()).await.unwrap();
    assert_eq!(more, (200, json!({"waiting": 11})));
    let mut seen = Vec::new();
    for _ in 0..12 {
        let answer = post(&base_url, PATH, KEY, batch(["a"])).await;
        seen.push((answer.map_or(0, |(status, _)| status), sandbox.accepted_count()));
    }
    assert_eq!(
        seen,
        [
            (429, 0),
            (429, 0),
            (503, 0),
            (404, 0),
            (200, 1),
            (0, 1),
            (0, 2),
            (500, 3),
            (0, 4),
            (202, 5),
            (200, 6),
            (200, 7),
        ]
    );
}

#[tokio::test]
async fn a_malformed_script_is_refused_as_a_whole() {
    let sandbox = Sandbox::start().await.unwrap();
    let base_url = sandbox.base_url();
    let fine = json!({"answer": "hangUp"});
    for (script, problem) in [
        (json!({"answer": "hangUp"}), "expected an array: invalid type: map"),
        (json!([fine, "hangUp"]), "answers[1]: "),
        (json!([fine, {}]), "answers[1]: missing field `answer`"),
        (
            json!([fine, {"answer": "hangup"}]),
            "answers[1]: unknown variant `hangup`, expected one of",
        ),
        (
            json!([fine, {"answer": "hangUp", "retryAfter": 2}]),
            "answers[1]: expected no member but `answer`",
        ),
        (json!([{"answer": "edited"}]), "answers[0]: unknown variant `edited`"),
        (
            json!([{"answer": "tooManyRequests", "retry_after": 2}]),
            "answers[0]: unknown field `retry_after`, expected `retryAfter`",
        ),
        (json!([{"answer": "error", "status": 500}]), "answers[0]: missing field `code`"),
        (
            json!([{"answer": "error", "status": 42, "code": 1}]),
            "answers[0]: status 42: expected 200 to 999",
        ),
        (
            json!([{"answer": "exactly", "status": 200, "headers": [["a b", "c"]]}]),
            "answers[0]: header \"a b\": bad name",
        ),
        (
            json!([{"answer": "exactly", "status": 200, "headers": [["a", "b\nc"]]}]),
            "answers[0]: header a: bad value",
        ),
        (json!([{"answer": "late"}]), "answers[0]: missing field `milliseconds`"),
        (json!([{"answer": "late", "seconds": 1}]), "answers[0]: unknown field `seconds`"),
    ] {
        let answer = post(&base_url, "/sandbox/answers", None, script.to_string()).await.unwrap();
        assert_eq!(answer.0, 400, "{script}");
        let error = answer.1["error"].as_str().unwrap();
        assert!(error.starts_with(problem), "{script}: {error}");
    }
    let answer = post(&base_url, "/sandbox/answers", None, "[").await.unwrap();
    assert_eq!(answer.0, 400);
    let large = " ".repeat(8 * 1024 * 1024 + 1);
    assert_eq!(post(&base_url, "/sandbox/answers", None, large).await.unwrap().0, 413);
    // No answer waits.
    send(&base_url, ["a"]).await;
}

#[tokio::test]
async fn another_endpoint_says_which_there_are() {
    let sandbox = Sandbox::start().await.unwrap();
    let base_url = sandbox.base_url();
    let other = [
        get(&base_url, "/sandbox/").await,
        get(&base_url, "/sandbox/answers").await,
        post(&base_url, "/sandbox/accepted", None, "").await.unwrap(),
    ];
    for (status, answer) in other {
        assert_eq!(status, 404);
        assert!(answer["error"].as_str().unwrap().contains("GET /sandbox/accepted"), "{answer}");
    }
    assert_eq!(sandbox.requests(), 0);
}
