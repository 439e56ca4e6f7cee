//! The sandbox keeps the contract, fails on demand, and records what it accepted.

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use lon_sandbox::{Answer, Failures, Rejection, Sandbox, reject_at_random};
use serde_json::{Value, json};

use common::{KEY, PATH, batch, message, post, send};

#[tokio::test]
async fn a_request_is_judged_by_the_documented_rules() {
    let sandbox = Sandbox::start().await.unwrap();
    let fine = message("a");
    let body = |messages: Value| json!({ "messages": messages }).to_string();
    let good = body(json!([fine]));
    let with = |name: &str, value: Value| json!({"messages": [fine], name: value}).to_string();
    for (path, key, body, status, code) in [
        ("/", KEY, good.clone(), 404, 1300),
        ("/api/v1/subaccounts/sandbox/lon/batch/", KEY, good.clone(), 404, 1300),
        (PATH, None, good.clone(), 401, 1200),
        (PATH, Some("other"), good.clone(), 401, 1200),
        ("/api/v1/subaccounts/other/lon/batch", KEY, good.clone(), 400, 1001),
        (PATH, KEY, "<xml/>".to_owned(), 400, 1000),
        (PATH, KEY, "[]".to_owned(), 400, 1000),
        (PATH, KEY, with("clientBatchID", "b".into()), 400, 1000),
        (PATH, KEY, with("clientBatchId", Value::Null), 400, 1000),
        (PATH, KEY, with("includeMessagesInResponse", "yes".into()), 400, 1000),
        (PATH, KEY, "{}".to_owned(), 400, 3012),
        (PATH, KEY, body(json!([])), 400, 3012),
        (PATH, KEY, body(json!({})), 400, 3012),
        (PATH, KEY, body(vec![fine.clone(); 1001].into()), 400, 3013),
        (PATH, KEY, with("clientBatchId", "ü".repeat(101).into()), 400, 3014),
        (PATH, KEY, " ".repeat(8 * 1024 * 1024 + 1), 413, 1100),
    ] {
        let size = body.len();
        let (answered, envelope) = post(&sandbox.base_url(), path, key, body).await.unwrap();
        assert_eq!((answered, &envelope["code"]), (status, &json!(code)), "{path} {size}");
        assert!(envelope["message"].is_string() && envelope["errorId"].is_string());
        assert!(envelope["timestamp"].is_string());
    }
    assert_eq!((sandbox.accepted_count(), sandbox.requests()), (0, 16));

    // The largest of everything.
    let mut largest =
        json!({"messages": vec![fine.clone(); 1000], "clientBatchId": "ü".repeat(100)});
    largest["messages"][0]["clientMessageId"] = "ü".repeat(50).into();
    largest["messages"][0]["smsFallback"] = json!({"source": "ü".repeat(16)});
    let mut body = largest.to_string();
    body += &" ".repeat(8 * 1024 * 1024 - body.len());
    let (status, answer) = post(&sandbox.base_url(), PATH, KEY, body).await.unwrap();
    assert_eq!((status, &answer["acceptedCount"]), (200, &json!(1000)));
    // Unless the request asks for the messages, there are none.
    assert_eq!(answer.get("messages"), Some(&Value::Null));
}

#[tokio::test]
async fn each_message_is_judged_by_itself() {
    let sandbox = Sandbox::builder()
        .approved_titles(["Hello"])
        .judge(|message| {
            let msisdn = message["user"]["msisdn"].as_str().unwrap();
            msisdn.ends_with("99").then(|| 1234.into())
        })
        .start()
        .await
        .unwrap();
    let mut cases = vec![
        (json!(5), Some(3001)),
        (json!({"content": {"title": "Hello"}}), Some(3001)),
        (json!({"user": {"msisdn": "+6591234567"}}), Some(3004)),
    ];
    let mut case = |pointer: &str, value: Value, code: Option<i64>| {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let mut message = message("a");
        message.pointer_mut(parent).unwrap()[name] = value;
        cases.push((message, code));
    };
    let user = |msisdn: &str, country: &str| json!({"msisdn": msisdn, "country": country});
    for (value, code) in [
        (json!({}), Some(3002)),
        (json!({"msisdn": 7}), Some(3002)),
        (json!({"msisdn": ""}), Some(3003)),
        (json!({"msisdn": "91234567"}), Some(3003)),
        (json!({"msisdn": "+0591234567"}), Some(3003)),
        (json!({"msisdn": "+65 91234567"}), Some(3003)),
        (json!({"msisdn": "+659123"}), Some(3003)),
        (json!({"msisdn": "+6591234567890123"}), Some(3003)),
        (json!({"msisdn": "+٦٥٩١٢٣٤٥٦٧"}), Some(3003)),
        (user("912-345-67", "SG"), Some(3003)),
        (user("91234567", "S"), Some(3018)),
        (user("91234567", "SGP"), Some(3018)),
        (user("+6591234567", "S1"), Some(3018)),
        (user("+6591234599", "SG"), Some(1234)),
        (json!({"msisdn": "+6591234567", "channelUserId": "U1"}), Some(1000)),
        (json!({"msisdn": "+6591234567", "country": null}), Some(1000)),
        (json!({"msisdn": "+6591234"}), None),
        (json!({"msisdn": "+659123456789012"}), None),
        (user("+6591234567", "SG"), None),
        (user("0912345678", "tw"), None),
    ] {
        case("/user", value, code);
    }
    for (pointer, value, code) in [
        ("/content", json!({}), Some(3004)),
        ("/content", json!("Hello"), Some(3004)),
        ("/content/title", json!("Goodbye"), Some(3038)),
        ("/content/titel", json!("Hello"), Some(1000)),
        ("/content/company", json!(8), Some(1000)),
        ("/content/emphasis", json!({"Content": "x"}), Some(1000)),
        ("/content/list", json!({"label": "Date"}), Some(1000)),
        ("/content/list", json!([{"label": "Date", "text": "x"}]), Some(1000)),
        ("/content/actions", json!([{"title": "x", "content": "y"}]), Some(1000)),
        ("/content/greeting", Value::Null, Some(1000)),
        ("/clientMessageId", json!("x".repeat(51)), Some(3009)),
        ("/clientMessageId", json!(7), Some(1000)),
        ("/smsFallback", json!({"source": "x".repeat(17)}), Some(3011)),
        ("/smsFallback", json!({"text": "x", "encoding": "auto"}), Some(1000)),
        ("/smsFallback", Value::Null, Some(1000)),
        ("/dlrCallbackUrl", json!("nowhere"), Some(3020)),
        ("/dlrCallbackUrl", json!("ftp://example.com"), Some(3020)),
        ("/channel", json!("sms"), Some(1000)),
        ("/dlrCallbackUrl", json!("https://example.com/receipts"), None),
        ("/smsFallback", json!({"text": "x", "source": "Info", "encoding": "GSM7"}), None),
        ("/content/icon", json!("aNewIcon"), None),
        ("/content/emphasis", json!({"label": "Event name", "content": "x"}), None),
        ("/content/list", json!([{"label": "Date", "content": "x"}]), None),
        ("/content/actions", json!([{"title": "x", "url": "https://example.com"}]), None),
    ] {
        case(pointer, value, code);
    }

    let messages: Vec<_> = cases.iter().map(|(message, _)| message).collect();
    let body = json!({"messages": messages, "includeMessagesInResponse": true});
    let answer = post(&sandbox.base_url(), PATH, KEY, body.to_string()).await.unwrap().1;
    let results = answer["messages"].as_array().unwrap();
    assert_eq!(results.len(), cases.len());
    let mut accepted = 0;
    for ((message, code), result) in cases.iter().zip(results) {
        let status = &result["status"];
        assert_eq!(status["errorCode"], json!(code), "{message}");
        let state = if code.is_some() { "rejected" } else { "queued" };
        assert_eq!(status["state"], state, "{message}");
        assert_eq!(status["errorMessage"].is_string(), code.is_some(), "{message}");
        accepted += u64::from(code.is_none());
    }
    let rejected = cases.len() as u64 - accepted;
    assert_eq!(
        (&answer["acceptedCount"], &answer["rejectedCount"]),
        (&accepted.into(), &rejected.into())
    );
    assert_eq!((sandbox.accepted_count(), sandbox.rejected_count()), (accepted, rejected));
}

#[tokio::test]
async fn answers_on_demand() {
    let sandbox = Sandbox::start().await.unwrap();
    let exactly = || (502, vec![("x-a".to_owned(), "b".to_owned())], "\"no\"".into());
    let (status, headers, body) = exactly();
    let nothing_accepted = Answer::Exactly { status, headers, body };
    let (status, headers, body) = exactly();
    let accepted = Answer::AcceptAndAnswer { status, headers, body };
    sandbox.answer_next([
        Answer::TooManyRequests { retry_after: Some(3) },
        Answer::TooManyRequests { retry_after: None },
        Answer::Error { status: 426, code: 1014 },
        nothing_accepted,
        Answer::HangUp,
        Answer::AcceptAndHangUp,
        Answer::AcceptAndFail,
        Answer::AcceptAndCut,
        accepted,
        Answer::Edited(|answer| answer["acceptedCount"] = 7.into()),
        Answer::Late(Duration::from_millis(1)),
    ]);
    let mut seen = Vec::new();
    for _ in 0..12 {
        let request = reqwest::Client::new().post(sandbox.base_url() + PATH);
        let response = request.bearer_auth("sandbox-api-key").body(batch(["a"])).send().await;
        let (status, notes) = match response {
            Err(_) => (0, String::new()),
            Ok(response) => {
                let header = |name: &str| {
                    let value = response.headers().get(name)?;
                    Some(format!("{name}: {} ", value.to_str().unwrap()))
                };
                let headers = ["retry-after", "upgrade", "x-a"].map(header);
                let headers: String = headers.into_iter().flatten().collect();
                let status = response.status().as_u16();
                let notes = match response.json::<Value>().await {
                    Ok(json) => {
                        json.get("code").or(json.get("acceptedCount")).unwrap_or(&json).to_string()
                    }
                    Err(_) => "cut".to_owned(),
                };
                (status, headers + &notes)
            }
        };
        seen.push((status, notes, sandbox.accepted_count()));
    }
    let seen: Vec<_> =
        seen.iter().map(|(status, notes, count)| (*status, &**notes, *count)).collect();
    assert_eq!(
        seen,
        [
            (429, "retry-after: 3 429", 0),
            (429, "429", 0),
            (426, "upgrade: TLS/1.3 1014", 0),
            (502, "x-a: b \"no\"", 0),
            (0, "", 0),
            (0, "", 1),
            (500, "2000", 2),
            (200, "cut", 3),
            (502, "x-a: b \"no\"", 4),
            (200, "7", 5),
            (200, "1", 6),
            (200, "1", 7),
        ]
    );
    assert_eq!(sandbox.requests(), 12);
}

#[tokio::test]
async fn a_late_answer_reaches_nobody_and_its_messages_are_accepted() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.answer_next([Answer::Late(Duration::from_secs(600))]);
    let client = reqwest::Client::builder().timeout(Duration::from_millis(500)).build().unwrap();
    let request = client.post(sandbox.base_url() + PATH).bearer_auth("sandbox-api-key");
    let error = request.body(batch(["a"])).send().await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!(sandbox.accepted_count(), 1);
}

#[tokio::test]
async fn answers_can_be_chosen_by_number() {
    let builder = Sandbox::builder().answer_with(|number| match number {
        1 => Answer::Error { status: 503, code: 2000 },
        _ => Answer::Contract,
    });
    let sandbox = builder.start().await.unwrap();
    // It goes first, and its request counts.
    sandbox.answer_next([Answer::Error { status: 500, code: 2000 }]);
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(post(&sandbox.base_url(), PATH, KEY, batch(["a"])).await.unwrap().0);
    }
    assert_eq!(seen, [500, 503, 200]);
}

#[tokio::test]
#[should_panic(expected = "status 99: expected 200 to 999")]
async fn a_status_that_http_does_not_have_is_refused() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.answer_next([Answer::Error { status: 99, code: 2000 }]);
}

#[tokio::test]
async fn every_accepted_message_is_kept() {
    let sandbox = Sandbox::start().await.unwrap();
    for number in 0..12 {
        send(&sandbox.base_url(), (0..1000).map(|index| format!("{number}-{index}"))).await;
    }
    let accepted = sandbox.accepted();
    assert_eq!((accepted.len(), sandbox.accepted_count()), (12_000, 12_000));
    for (index, accepted) in accepted.iter().enumerate() {
        let id = format!("{}-{}", index / 1000, index % 1000);
        assert_eq!(accepted.client_message_id, Some(id));
    }
    let mut umids: Vec<_> = accepted.into_iter().map(|it| it.umid).collect();
    umids.sort_unstable();
    umids.dedup();
    assert_eq!(umids.len(), 12_000);
}

#[tokio::test]
async fn only_the_latest_are_kept_on_demand() {
    let sandbox = Sandbox::builder().keep(3).start().await.unwrap();
    let mut body: Value = batch(["a", "b", "c", "d", "e"]).parse().unwrap();
    body["clientBatchId"] = "batch-1".into();
    body["messages"][4]["user"] = json!({"msisdn": "0812345678", "country": "th"});
    let (_, answer) = post(&sandbox.base_url(), PATH, KEY, body.to_string()).await.unwrap();
    let kept = sandbox.accepted();
    let ids: Vec<_> = kept.iter().map(|it| it.client_message_id.as_deref().unwrap()).collect();
    assert_eq!(ids, ["c", "d", "e"]);
    assert_eq!((&*kept[0].msisdn, &*kept[2].msisdn), ("+6591234567", "0812345678"));
    assert_eq!(kept[2].umid, answer["messages"][4]["umid"]);
    assert_eq!(kept[2].batch_id, answer["batchId"]);
    assert_eq!(kept[2].client_batch_id.as_deref(), Some("batch-1"));
    assert_eq!(answer["clientBatchId"], "batch-1");
    assert_eq!(sandbox.accepted_count(), 5);
}

#[tokio::test]
async fn account_and_port_are_settings() {
    let sandbox =
        Sandbox::builder().sub_account_id("my-lon").api_key("my-key").start().await.unwrap();
    assert_eq!((sandbox.sub_account_id(), sandbox.api_key()), ("my-lon", "my-key"));
    let path = "/api/v1/subaccounts/my-lon/lon/batch";
    let (status, _) = post(&sandbox.base_url(), path, Some("my-key"), batch(["a"])).await.unwrap();
    assert_eq!(status, 200);
    // The port is taken.
    let port = sandbox.base_url().rsplit(':').next().unwrap().parse().unwrap();
    let error = Sandbox::builder().port(port).start().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn other_machines_reach_it_only_on_demand() {
    let everywhere = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    let error = Sandbox::builder().listen(everywhere).start().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("other machines reach 0.0.0.0"), "{error}");
    let sandbox = Sandbox::builder().listen(everywhere).allow_remote().start().await.unwrap();
    assert!(sandbox.base_url().starts_with("http://0.0.0.0:"));
    let other = Sandbox::builder().listen(Ipv4Addr::new(127, 0, 0, 2).into()).start().await;
    // Some systems have no other loopback address.
    assert!(
        other.is_ok_and(|it| it.base_url().contains("127.0.0.2")) || !cfg!(target_os = "linux")
    );
}

#[tokio::test]
async fn it_stops_when_it_is_dropped() {
    let sandbox = Sandbox::start().await.unwrap();
    let base_url = sandbox.base_url();
    send(&base_url, ["a"]).await;
    drop(sandbox);
    // The task is aborted at its next turn; then its port and its connections close.
    let error = loop {
        tokio::task::yield_now().await;
        if let Err(error) = post(&base_url, PATH, KEY, batch(["a"])).await
            && error.is_connect()
        {
            break error;
        }
    };
    assert!(error.is_connect());
}

#[test]
fn a_rejection_has_the_text_of_its_code() {
    let rejection = Rejection::from(3038);
    assert_eq!(rejection.reason, "Template not found for provided name and language");
    assert_eq!(Rejection::from(4711), Rejection { code: 4711, reason: "Rejected".to_owned() });
}

#[test]
fn failures_are_the_same_for_the_same_seed_and_have_their_shares() {
    let plan = "busy=0.05,hang-up=0.02,fail=0.03,accept-and-hang-up=0.02,accept-and-fail=0.02,\
        cut=0.01,late=0.01";
    let answers = |seed: u64, numbers: std::ops::Range<u64>| -> Vec<String> {
        let mut answers = plan.parse::<Failures>().unwrap().with_seed(seed);
        numbers.map(|number| format!("{:?}", answers(number))).collect()
    };
    let first = answers(7, 0..100_000);
    assert_eq!(first, answers(7, 0..100_000));
    // A request depends on its own number only.
    assert_eq!(first[500..600], answers(7, 500..600));
    assert_ne!(first, answers(8, 0..100_000));
    let share = |start: &str| {
        let hits = first.iter().filter(|answer| answer.starts_with(start)).count();
        hits * 1000 / first.len()
    };
    for (start, expected) in [
        ("TooManyRequests", 50),
        ("HangUp", 20),
        ("Error { status: 500", 30),
        ("AcceptAndHangUp", 20),
        ("AcceptAndFail", 20),
        ("AcceptAndCut", 10),
        ("Late(90s)", 10),
        ("Contract", 840),
    ] {
        assert!(share(start).abs_diff(expected) <= 3, "{start}: {}", share(start));
    }

    let rejections = |seed| {
        let judge = reject_at_random(0.1, seed);
        (0..10_000).map(|_| judge(&Value::Null).is_some()).collect::<Vec<_>>()
    };
    assert_eq!(rejections(7), rejections(7));
    assert_ne!(rejections(7), rejections(8));
    let rejected = rejections(7).into_iter().filter(|it| *it).count();
    assert!(rejected.abs_diff(1000) < 100, "{rejected}");
}

#[test]
fn a_malformed_plan_of_failures_is_refused() {
    for (plan, problem) in [
        ("", "\"\": expected name=share"),
        ("busy", "\"busy\": expected name=share"),
        ("slow=0.1", "\"slow\": expected one of busy, fail, hang-up"),
        ("busy=5%", "busy=5%: expected a share from 0 to 1"),
        ("busy=1.5", "busy=1.5: expected a share from 0 to 1"),
        ("busy=nan", "busy=nan: expected a share from 0 to 1"),
        ("busy=0.6,cut=0.6", "the shares add up to 1.2, at most 1"),
    ] {
        let error = plan.parse::<Failures>().unwrap_err().to_string();
        assert!(error.starts_with(problem), "{error}");
    }
    for fine in ["busy=1", "busy=0.1,fail=0.2,hang-up=0.7", "late=0"] {
        fine.parse::<Failures>().unwrap();
    }
}
