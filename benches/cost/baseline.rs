//! The work done by hand: structs of owned strings, serde and reqwest. Nothing is checked.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::work::{CALLBACK, Customer, EXPLANATION};

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

#[derive(Clone, Serialize)]
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

#[derive(Clone, Serialize)]
struct Labelled {
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
}

#[derive(Clone, Serialize)]
struct Action {
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

#[derive(Clone, Serialize)]
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

fn content(customer: &Customer) -> Content {
    Content {
        actions: vec![Action { title: some("See direction"), url: some(&customer.url) }],
        company: some("8x8"),
        emphasis: Some(Labelled { content: some(&customer.event), label: some("Event name") }),
        explanation: some(EXPLANATION),
        greeting: some(&customer.greeting),
        icon: some("calendarCheck"),
        list: vec![
            Labelled { content: some(&customer.date), label: some("Date") },
            Labelled { content: some(&customer.place), label: some("Place") },
        ],
        title: some("Event reminder"),
    }
}

fn sms(customer: &Customer) -> SmsFallback {
    SmsFallback { encoding: some("AUTO"), source: some("8x8"), text: some(&customer.sms) }
}

fn message(customer: &Customer, content: Content, sms: SmsFallback) -> Message {
    Message {
        client_message_id: some(&customer.id),
        content,
        dlr_callback_url: some(CALLBACK),
        sms_fallback: Some(sms),
        user: User { msisdn: customer.number.clone(), country: None },
    }
}

fn request(messages: impl Iterator<Item = Message>) -> Request {
    Request {
        client_batch_id: some("campaign-7"),
        include_messages_in_response: true,
        messages: messages.collect(),
    }
}

/// A content of its own for each customer.
fn personal(customers: &[Customer]) -> Request {
    let messages = customers.iter();
    request(messages.map(|customer| message(customer, content(customer), sms(customer))))
}

/// The content of the first customer for all of them.
fn shared(customers: &[Customer]) -> Request {
    let (content, sms) = (content(&customers[0]), sms(&customers[0]));
    let messages = customers.iter();
    request(messages.map(|customer| message(customer, content.clone(), sms.clone())))
}

pub fn body(customers: &[Customer]) -> Vec<u8> {
    serde_json::to_vec(&personal(customers)).expect("JSON")
}

pub fn read(answer: &[u8]) -> Answer {
    serde_json::from_slice(answer).expect("an answer")
}

async fn send(request: lon_batch::reqwest::RequestBuilder, body: Request) {
    let response = request.json(&body).send().await.expect("an answer");
    let answer: Answer = response.json().await.expect("JSON");
    let answered = answer.messages.map_or(0, |all| all.len());
    assert_eq!(answered, body.messages.len());
}

pub async fn rate(address: SocketAddr, at_a_time: usize, batches: usize) -> f64 {
    let client = http_client();
    let url = url(address);
    crate::rate(at_a_time, batches, || {
        let request = client.post(&url).bearer_auth("benchmark-key");
        async move { send(request, personal(&crate::customers_for_a_batch())).await }
    })
    .await
}

/// Sends a number of batches to the same customers, with a content for each or one for all.
pub async fn many(
    client: &lon_batch::reqwest::Client,
    address: SocketAddr,
    batches: usize,
    one_content: bool,
) {
    let url = url(address);
    let customers: Arc<[Customer]> = crate::customers_for_a_batch().into();
    crate::rate(crate::many::AT_A_TIME, batches, || {
        let request = client.post(&url).bearer_auth("benchmark-key");
        let customers = Arc::clone(&customers);
        async move {
            let body = if one_content { shared(&customers) } else { personal(&customers) };
            send(request, body).await;
        }
    })
    .await;
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}/api/v1/subaccounts/my-subaccount/lon/batch")
}

/// Plain http needs no certificates, so none have to be installed.
pub fn http_client() -> lon_batch::reqwest::Client {
    let client = lon_batch::reqwest::Client::builder();
    #[cfg(feature = "rustls")]
    let client = client.tls_certs_only([]);
    client.build().expect("a client")
}
