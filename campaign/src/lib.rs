//! Durable campaigns over 8x8's LINE Official Notification (LON) batch endpoint.
//!
//! A campaign sends one message to each of any number of recipients, on one machine or several, and
//! accounts for every recipient after any crash. Its ledger is a SQLite file or a PostgreSQL
//! database.
//!
//! The API has no idempotency key. So a chunk of recipients is claimed in the ledger before its
//! request, and its outcomes are recorded after it. Time never makes a claimed chunk sendable again:
//! if a process dies with a request in flight, the recipients of that chunk are unknown, and nobody
//! repeats it.
//!
//! ```
//! use lon_batch::{Content, Message, Msisdn};
//! use lon_campaign::{Ledger, Recipient, SendOptions, State};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = std::env::temp_dir().join(format!("lon-campaign-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # let url = format!("sqlite:{}", folder.join("ledger.sqlite").display());
//! # let sandbox = lon_sandbox::Sandbox::start().await?;
//! # let client = lon_batch::Client::builder(sandbox.sub_account_id(), sandbox.api_key()).base_url(sandbox.base_url()).build()?;
//! let ledger = Ledger::open(&url).await?;
//! let campaign = ledger.campaign("spring sale", "Spring sale, 20 % off").await?;
//! campaign.import([Recipient::new("customer-1", Msisdn::parse("+66812345678")?)]).await?;
//! campaign.seal().await?;
//!
//! let render = |recipient: &Recipient| {
//!     Message::new(recipient.to, Content::new("Spring sale, 20 % off"))
//! };
//! let ended = campaign.send(&client, SendOptions::new(), render).await?;
//! assert_eq!(ended.state, State::Done);
//! assert_eq!(campaign.totals().await?.accepted, 1);
//! # std::fs::remove_dir_all(folder)?;
//! # Ok(())
//! # }
//! ```

// The tests in this crate share helpers with those outside of it.
#[cfg(test)]
extern crate self as lon_campaign;

mod campaign;
mod error;
mod evidence;
mod import;
mod journal;
mod ledger;
#[cfg(test)]
mod model;
mod recipient;
mod report;
mod store;
mod worker;

pub use campaign::{Campaign, Retry, State};
pub use error::{Error, Result};
pub use import::Imported;
pub use ledger::Ledger;
pub use recipient::Recipient;
pub use report::{RecipientReport, Recipients, Standing, Totals};
pub use store::Duplicate;
pub use worker::{Ended, SendOptions};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
