//! For tests: typed mocks of the API. Feature `mock`.
//!
//! [`MockServerExt`] adds a typed `send_lon_batch` to the server of [`httpmock`], generated from
//! the spec with every documented answer: for tests that say what is asked and what is answered.
//!
//! ```
//! use lon_batch::mock::{MockServerExt, httpmock::MockServer};
//! use lon_batch::types::ErrorBody;
//! use lon_batch::{Batch, Client, Content, ErrorCode, Message, Msisdn, RetryPolicy};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = MockServer::start_async().await;
//! let mut body = ErrorBody::default();
//! body.code = Some(ErrorCode::TooManyRequests);
//! body.error_id = Some("91b106f0-c0da-4aba-a43a-7af9c5893a80".into());
//! let mock = server.send_lon_batch(|_when, then| {
//!     then.too_many_requests(&body);
//! });
//!
//! let client = Client::builder("my-subaccount", "my-api-key")
//!     .base_url(server.base_url())
//!     .retry(RetryPolicy::never())
//!     .build()?;
//! let message = Message::new("+6591234567".parse::<Msisdn>()?, Content::new("Hello"));
//! let batch = Batch::builder().message(message).build()?;
//! let error = client.send(&batch).await.unwrap_err();
//! assert!(error.retry_is_safe() && error.retry_can_help());
//! mock.assert();
//! # Ok(())
//! # }
//! ```
//!
//! The mock takes requests to the path of the API. `when.body(..)` takes exactly that request,
//! `when.sub_account_id(..)` one sub-account. What the spec does not say, such as the key or a
//! header of the answer, is set on httpmock's own type, which `into_inner()` gives:
//! `then.too_many_requests(&body).into_inner().header("retry-after", "2")`.
//!
//! For a server that keeps the contract of the API by itself, use the crate `lon-sandbox`.

mod generated {
    #![allow(missing_docs, clippy::all, clippy::pedantic)]
    include!(concat!(env!("OUT_DIR"), "/mocks.rs"));
}

pub use generated::{MockServerExt, operations};
pub use httpmock;
