//! The work done with this crate.

use lon_batch::{
    Batch, BatchResponse, Client, Content, Encoding, Icon, Message, Msisdn, SmsFallback,
};

use crate::work::{CALLBACK, Customer, EXPLANATION, Sink};

pub fn batch(customers: &[Customer]) -> Batch {
    let messages = customers.iter().map(|customer| {
        let content = Content::new("Event reminder")
            .company("8x8")
            .icon(Icon::CalendarCheck)
            .emphasis("Event name", customer.event.as_str())
            .item("Date", customer.date.as_str())
            .item("Place", customer.place.as_str())
            .greeting(customer.greeting.as_str())
            .explanation(EXPLANATION)
            .action("See direction", customer.url.as_str());
        let sms = SmsFallback::new(customer.sms.as_str())
            .source("8x8")
            .encoding(Encoding::Auto);
        Message::new(Msisdn::parse(&customer.number).expect("a number"), content)
            .client_message_id(customer.id.as_str())
            .dlr_callback_url(CALLBACK)
            .sms_fallback(sms)
    });
    Batch::builder()
        .client_batch_id("campaign-7")
        .messages(messages)
        .build()
        .expect("a batch")
}

pub fn body(customers: &[Customer]) -> Vec<u8> {
    serde_json::to_vec(batch(customers).request()).expect("JSON")
}

pub fn read(answer: &[u8]) -> BatchResponse {
    serde_json::from_slice(answer).expect("an answer")
}

pub async fn rate(sink: &Sink, at_a_time: usize, batches: usize) -> f64 {
    let client = Client::builder("my-subaccount", "benchmark-key")
        .base_url(format!("http://{}", sink.address))
        .build()
        .expect("a client");
    crate::rate(at_a_time, batches, || {
        let client = client.clone();
        async move {
            let batch = batch(&crate::customers_for_a_batch());
            let response = client.send(&batch).await.expect("an answer");
            assert_eq!(response.results().len(), batch.len());
        }
    })
    .await
}
