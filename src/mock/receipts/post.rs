//! One post over HTTP, to this machine only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::{Host, Position, Url};

use super::{NotPosted, Receipts, TryOutcome};

/// Bytes that are read of the body of an answer.
const ANSWER_LIMIT: usize = 64 * 1024;

/// Where receipts are posted to: on this machine.
pub(super) struct Target {
    /// Tried in this order, all of them loopback.
    addresses: Vec<SocketAddr>,
    host: HeaderValue,
    path: Uri,
}

impl Target {
    pub fn parse(url: &str) -> Result<Self, NotPosted> {
        let url = Url::parse(url).map_err(|_| NotPosted::NotHttp)?;
        if url.scheme() != "http" {
            return Err(NotPosted::NotHttp);
        }
        // No resolver is asked, which might ask another machine.
        let addresses: Vec<IpAddr> = match url.host() {
            Some(Host::Ipv4(address)) => vec![address.into()],
            Some(Host::Ipv6(address)) => vec![address.into()],
            Some(Host::Domain("localhost")) => {
                vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
            }
            _ => return Err(NotPosted::NotLoopback),
        };
        if !addresses.iter().all(IpAddr::is_loopback) {
            return Err(NotPosted::NotLoopback);
        }
        let port = url.port_or_known_default().unwrap_or(80);
        let host = &url[Position::BeforeHost..Position::AfterPort];
        let path = &url[Position::BeforePath..Position::AfterQuery];
        Ok(Self {
            addresses: addresses
                .into_iter()
                .map(|address| (address, port).into())
                .collect(),
            host: host.parse().map_err(|_| NotPosted::NotHttp)?,
            path: path.parse().map_err(|_| NotPosted::NotHttp)?,
        })
    }

    /// Posts a receipt, over a connection of its own.
    pub async fn post(&self, body: Bytes, authorization: Option<&HeaderValue>) -> TryOutcome {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.path.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.clone());
        }
        match timeout(Receipts::TIME_OUT, self.send(request)).await {
            Ok(Ok(status)) => TryOutcome::Answered(status),
            Ok(Err(error)) => TryOutcome::ConnectionFailed(error.to_string()),
            Err(_) => TryOutcome::TimedOut,
        }
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<StatusCode, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(self.addresses.as_slice()).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut exchange = pin!(async move {
            let response = sender.send_request(request).await?;
            let status = response.status();
            // The status decides. The rest is read so that the receiver can write it.
            let _ = Limited::new(response.into_body(), ANSWER_LIMIT)
                .collect()
                .await;
            Ok(status)
        });
        tokio::select! {
            biased;
            status = &mut exchange => status,
            _ = connection => exchange.await,
        }
    }
}
