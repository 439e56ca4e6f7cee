//! For tests: typed mocks of the API. Feature `mock`.
//!
//! [`MockServerExt`] adds a typed `send_lon_batch` to the server of [`httpmock`], generated from
//! the spec with every documented response. Use it to assert exact requests and responses.
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
//! let message = Message::new("+66812345678".parse::<Msisdn>()?, Content::new("Hello"));
//! let batch = Batch::builder().message(message).build()?;
//! let error = client.send(&batch).await.unwrap_err();
//! assert!(error.retry_is_safe() && error.retry_can_help());
//! mock.assert();
//! # Ok(())
//! # }
//! ```
//!
//! The mock answers requests to the path of the API. `when.body(..)` requires exactly this JSON body.
//! `when.sub_account_id(..)` matches a sub-account, where `.` matches any character. For headers and
//! other details outside the spec, call `into_inner()` and use httpmock directly:
//! `then.too_many_requests(&body).into_inner().header("retry-after", "2")`.
//!
//! For a server that validates requests and answers by itself, use the crate `lon-sandbox`.

mod generated {
    #![allow(missing_docs, clippy::all, clippy::pedantic)]
    include!(concat!(env!("OUT_DIR"), "/mocks.rs"));
}

pub use generated::{MockServerExt, operations};
pub use httpmock;
