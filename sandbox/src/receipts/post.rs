//! One post over HTTP, to this machine only.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, Uri};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Receipts;

/// The address and URI of an `http` URL on this machine. `None` for any other URL. No name is
/// resolved, because that could ask another machine.
pub(super) fn target(url: &str) -> Option<(SocketAddr, Uri)> {
    let uri: Uri = url.parse().ok()?;
    if uri.scheme_str() != Some("http") {
        return None;
    }
    let host = uri.host()?.trim_matches(['[', ']']);
    let ip = if host.eq_ignore_ascii_case("localhost") {
        Ipv4Addr::LOCALHOST.into()
    } else {
        host.parse::<IpAddr>().ok()?
    };
    let port = uri.port_u16().unwrap_or(80);
    ip.is_loopback().then(|| (SocketAddr::new(ip, port), uri))
}

/// Posts a receipt over a connection of its own. The status of the answer, if there was one.
pub(super) async fn post(
    address: SocketAddr,
    uri: &Uri,
    authorization: Option<&HeaderValue>,
    body: Bytes,
) -> Option<u16> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    // The path of `http://127.0.0.1?x=1` is empty.
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::post(path)
        .header(HOST, host)
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "close")
        .body(Full::new(body))
        .ok()?;
    if let Some(value) = authorization {
        request.headers_mut().insert(AUTHORIZATION, value.clone());
    }
    // Dropping it ends the connection.
    let mut connection = JoinSet::new();
    let answer = async {
        let stream = TcpStream::connect(address).await.ok()?;
        let (mut sender, driver) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        connection.spawn(driver);
        let response = sender.send_request(request).await.ok()?;
        Some(response.status().as_u16())
    };
    timeout(Receipts::TIMEOUT, answer).await.ok().flatten()
}
