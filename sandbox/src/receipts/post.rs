//! One post over HTTP, to this machine only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use url::{Host, Position, Url};

use super::{NotPosted, Receipts, TryOutcome};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

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
            addresses: addresses.into_iter().map(|address| (address, port).into()).collect(),
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
        // Dropping it ends the connection.
        let mut connection = JoinSet::new();
        let sent = self.send(request, &mut connection);
        let response = match timeout(Receipts::TIME_OUT, sent).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return TryOutcome::ConnectionFailed(error.to_string()),
            Err(_) => return TryOutcome::TimedOut,
        };
        let status = response.status();
        // The status decides. The rest is read so that the receiver can write it.
        let rest = Limited::new(response.into_body(), ANSWER_LIMIT).collect();
        let _ = timeout(Receipts::TIME_OUT, rest).await;
        TryOutcome::Answered(status.as_u16())
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
        connection: &mut JoinSet<hyper::Result<()>>,
    ) -> Result<Response<Incoming>, BoxError> {
        let stream = TcpStream::connect(self.addresses.as_slice()).await?;
        let (mut sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        connection.spawn(driver);
        Ok(sender.send_request(request).await?)
    }
}
