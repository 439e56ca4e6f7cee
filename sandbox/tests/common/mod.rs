//! Plain HTTP requests, as any client may make them.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use serde_json::{Value, json};

pub const PATH: &str = "/api/v1/subaccounts/sandbox/lon/batch";
pub const KEY: Option<&str> = Some("sandbox-api-key");

/// Posts a body: the status and the JSON of the answer.
pub async fn post(
    base_url: &str,
    path: &str,
    key: Option<&str>,
    body: impl Into<reqwest::Body>,
) -> reqwest::Result<(u16, Value)> {
    let mut request = reqwest::Client::new().post(format!("{base_url}{path}")).body(body);
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    let response = request.send().await?;
    let status = response.status().as_u16();
    Ok((status, response.json().await?))
}

pub async fn get(base_url: &str, path: &str) -> (u16, Value) {
    let response = reqwest::get(format!("{base_url}{path}")).await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

pub fn message(id: &str) -> Value {
    json!({"user": {"msisdn": "+6591234567"}, "content": {"title": "Hello"}, "clientMessageId": id})
}

/// The body of a batch of messages with these ids.
pub fn batch<T: AsRef<str>>(ids: impl IntoIterator<Item = T>) -> String {
    let messages: Vec<_> = ids.into_iter().map(|id| message(id.as_ref())).collect();
    json!({ "messages": messages, "includeMessagesInResponse": true }).to_string()
}

/// Sends a batch that is accepted.
pub async fn send<T: AsRef<str>>(base_url: &str, ids: impl IntoIterator<Item = T>) -> Value {
    let (status, answer) = post(base_url, PATH, KEY, batch(ids)).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    answer
}
