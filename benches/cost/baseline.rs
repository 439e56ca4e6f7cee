//! The work done by hand: structs of owned strings, serde and reqwest. Nothing is checked.

use serde::{Deserialize, Serialize};

use crate::work::{CALLBACK, Customer, EXPLANATION, Sink};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    #[serde(skip_serializing_if = "Option::is_none")]
    client_batch_id: Option<String>,
    include_messages_in_response: bool,
    messages: Vec<Message>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    #[serde(skip_serializing_if = "Option::is_none")]
    client_message_id: Option<String>,
    content: Content,
    #[serde(skip_serializing_if = "Option::is_none")]
    dlr_callback_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sms_fallback: Option<SmsFallback>,
    user: User,
}

#[derive(Serialize)]
struct User {
    msisdn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<String>,
}

#[derive(Serialize)]
struct Content {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    actions: Vec<Action>,
    #[serde(skip_serializing_if = "Option::is_none")]
    company: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    emphasis: Option<Labelled>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    greeting: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icon: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    list: Vec<Labelled>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
}

#[derive(Serialize)]
struct Labelled {
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
}

#[derive(Serialize)]
struct Action {
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

#[derive(Serialize)]
struct SmsFallback {
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "read, and looked at by nobody here")]
pub struct Answer {
    batch_id: String,
    client_batch_id: Option<String>,
    accepted_count: i64,
    rejected_count: i64,
    messages: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "read, and looked at by nobody here")]
struct Entry {
    umid: String,
    client_message_id: Option<String>,
    user: AnsweredUser,
    status: Status,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "read, and looked at by nobody here")]
struct AnsweredUser {
    msisdn: Option<String>,
    country: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "read, and looked at by nobody here")]
struct Status {
    state: Option<String>,
    detail: Option<String>,
    error_code: Option<i64>,
    error_message: Option<String>,
    timestamp: Option<String>,
}

fn some(text: &str) -> Option<String> {
    Some(text.to_string())
}

fn request(customers: &[Customer]) -> Request {
    let messages = customers.iter().map(|customer| Message {
        client_message_id: some(&customer.id),
        content: Content {
            actions: vec![Action {
                title: some("See direction"),
                url: some(&customer.url),
            }],
            company: some("8x8"),
            emphasis: Some(Labelled {
                content: some(&customer.event),
                label: some("Event name"),
            }),
            explanation: some(EXPLANATION),
            greeting: some(&customer.greeting),
            icon: some("calendarCheck"),
            list: vec![
                Labelled {
                    content: some(&customer.date),
                    label: some("Date"),
                },
                Labelled {
                    content: some(&customer.place),
                    label: some("Place"),
                },
            ],
            title: some("Event reminder"),
        },
        dlr_callback_url: some(CALLBACK),
        sms_fallback: Some(SmsFallback {
            encoding: some("AUTO"),
            source: some("8x8"),
            text: some(&customer.sms),
        }),
        user: User {
            msisdn: customer.number.clone(),
            country: None,
        },
    });
    Request {
        client_batch_id: some("campaign-7"),
        include_messages_in_response: true,
        messages: messages.collect(),
    }
}

pub fn body(customers: &[Customer]) -> Vec<u8> {
    serde_json::to_vec(&request(customers)).expect("JSON")
}

pub fn read(answer: &[u8]) -> Answer {
    serde_json::from_slice(answer).expect("an answer")
}

pub async fn rate(sink: &Sink, at_a_time: usize, batches: usize) -> f64 {
    let client = http_client();
    let url = format!(
        "http://{}/api/v1/subaccounts/my-subaccount/lon/batch",
        sink.address
    );
    crate::rate(at_a_time, batches, || {
        let request = client.post(&url).bearer_auth("benchmark-key");
        async move {
            let body = self::request(&crate::customers_for_a_batch());
            let response = request.json(&body).send().await.expect("an answer");
            let answer: Answer = response.json().await.expect("JSON");
            assert_eq!(
                answer.messages.map_or(0, |all| all.len()),
                body.messages.len()
            );
        }
    })
    .await
}

/// The crate's reqwest is built without a default for TLS, so one is given; http needs none.
fn http_client() -> lon_batch::reqwest::Client {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    lon_batch::reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .build()
        .expect("a client")
}
