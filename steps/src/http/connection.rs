//! How a connection is opened: straight, through a proxy, over TLS, or to a port of a pod.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::certificate;
use super::forward::Forward;
use super::line::{Line, Wire};
use super::trouble::{Broken, Trouble};

/// How connections are opened.
#[derive(Clone)]
pub(crate) struct Route {
    /// A proxy for everything, if there is one.
    pub(crate) proxy: Option<Url>,
    /// Whom to trust.
    pub(crate) tls: Arc<ClientConfig>,
    /// The name that the certificate must have, where it is not the address's.
    pub(crate) server_name: Option<String>,
    /// How long connecting may take, on the machine's clock.
    pub(crate) patience: Duration,
    /// A port of a pod in place of the address's host.
    pub(crate) forward: Option<Forward>,
    /// What a certificate's remaining days count from.
    pub(crate) now: Timestamp,
}

impl Route {
    /// The same way, but to the address itself.
    pub(crate) fn without_forward(&self) -> Self {
        Self { forward: None, ..self.clone() }
    }

    /// Opens a connection to where an address leads.
    pub(crate) async fn open(&self, url: &Url) -> Result<Line, Broken> {
        let opened = tokio::time::timeout(self.patience, self.opened(url)).await;
        opened.unwrap_or_else(|_| {
            Err(Broken::new(Trouble::Timeout, format!("no connection within {}", in_words(self.patience))))
        })
    }

    async fn opened(&self, url: &Url) -> Result<Line, Broken> {
        let wire = self.wire(url).await?;
        if url.scheme() != "https" {
            let absolute = self.proxy.is_some() && self.forward.is_none();
            return Ok(Line::new(wire, Value::Null, absolute));
        }
        let name = self.name(url)?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, wire).await?;
        let tls = tls_facts(stream.get_ref().1, self.now);
        Ok(Line::new(Box::new(stream), tls, false))
    }

    async fn wire(&self, url: &Url) -> Result<Box<dyn Wire>, Broken> {
        if let Some(forward) = &self.forward {
            return Ok(Box::new(forward.open().await?));
        }
        let Some(proxy) = &self.proxy else { return Ok(Box::new(socket(url).await?)) };
        let mut socket = socket(proxy).await?;
        if url.scheme() == "https" {
            tunnel(&mut socket, url).await?;
        }
        Ok(Box::new(socket))
    }

    fn name(&self, url: &Url) -> Result<ServerName<'static>, Broken> {
        let given = self.server_name.clone().unwrap_or_else(|| plain_host(url));
        ServerName::try_from(given.clone())
            .map_err(|_| Broken::new(Trouble::Tls, format!("`{given}` is no name that a certificate can have")))
    }
}

/// The host without the brackets of an IPv6 address.
fn plain_host(url: &Url) -> String {
    match url.host() {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        None => String::new(),
    }
}

async fn socket(url: &Url) -> Result<TcpStream, Broken> {
    let (host, port) = (plain_host(url), url.port_or_known_default().unwrap_or(80));
    let socket = TcpStream::connect((host.as_str(), port)).await?;
    // Without it, a request of two packets waits for an acknowledgement.
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Asks a proxy for a way through.
async fn tunnel(socket: &mut TcpStream, url: &Url) -> Result<(), Broken> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(443);
    socket.write_all(format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n").as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 8192 {
        head.push(socket.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let first = head.lines().next().unwrap_or_default();
    if first.split(' ').nth(1) == Some("200") {
        return Ok(());
    }
    Err(Broken::new(Trouble::Unreachable, format!("the proxy did not connect: {first}")))
}

fn tls_facts(session: &rustls::ClientConnection, now: Timestamp) -> Value {
    let version = session.protocol_version().and_then(|version| version.as_str()).map(|text| text.replace('_', "."));
    let cipher = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
    let first = session.peer_certificates().and_then(<[_]>::first);
    json!({ "version": version, "cipher": cipher, "certificate": first.map(|der| certificate::shown(der, now)) })
}

/// A span for a message, such as `2 s` or `250 ms`.
pub(super) fn in_words(span: Duration) -> String {
    match span.as_millis() {
        short @ ..1000 => format!("{short} ms"),
        long if long % 1000 == 0 => format!("{} s", long / 1000),
        long => format!("{:.1} s", Duration::from_millis(u64::try_from(long).unwrap_or(u64::MAX)).as_secs_f64()),
    }
}
