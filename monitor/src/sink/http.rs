//! Services that are posted to: a webhook, Alertmanager, a collector of OpenTelemetry.
//!
//! One connection is kept as long as the service keeps it. A batch counts as taken when the service has answered with 2xx.

mod alertmanager;
mod body;
mod otlp;
mod secret;

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use axum::http::{Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::Runtime,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    remote::{Failure, Remote},
    tls,
};
use crate::{
    config::{HttpKind, Secret, Url},
    event::Event,
    metrics::Loss,
    render::Style,
};

/// How long the service may take to be reached, and to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const ANSWER: usize = 64 * 1024;

/// A service that is posted to.
pub(super) struct Http {
    kind: HttpKind,
    url: Url,
    token: Option<Secret>,
    /// The value of the header; read anew when the sinks are opened anew.
    authorization: Option<header::HeaderValue>,
    style: Style,
    tls: Option<Arc<ClientConfig>>,
    runtime: Runtime,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Http {
    /// # Errors
    /// If the token or the certificates to trust can't be read.
    pub fn new(kind: HttpKind, url: Url, token: Option<Secret>, style: Style) -> Result<Self> {
        let tls = url.tls.as_ref().map(|ca| tls::client(ca.as_deref())).transpose()?;
        let authorization = token.as_ref().map(secret::bearer).transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("can't start the asynchronous runtime")?;
        Ok(Self { kind, url, token, authorization, style, tls, runtime, sender: None })
    }

    fn body(&self, events: &[Arc<Event>]) -> (&'static str, Vec<u8>) {
        match self.kind {
            HttpKind::Webhook => ("application/json", body::array(events, self.style)),
            HttpKind::Alertmanager => ("application/json", alertmanager::alerts(events)),
            HttpKind::Otlp => ("application/x-protobuf", otlp::request(events)),
        }
    }

    fn post(&mut self, body: Vec<u8>, content: &'static str) -> Result<(StatusCode, Bytes)> {
        let Self { url, tls, runtime, sender, authorization, .. } = self;
        let asked = async {
            let mut connected = match sender.take().filter(|sender| !sender.is_closed()) {
                Some(sender) => sender,
                None => connect(url, tls.clone()).await?,
            };
            connected.ready().await.context("the connection ended")?;
            let mut request = Request::post(&url.path)
                .header(header::HOST, host(url))
                .header(header::USER_AGENT, concat!("monitor/", env!("CARGO_PKG_VERSION")))
                .header(header::CONTENT_TYPE, content);
            if let Some(value) = authorization {
                request = request.header(header::AUTHORIZATION, value.clone());
            }
            let request = request.body(Full::new(body.into())).context("can't make a request")?;
            let answer = connected.send_request(request).await.context("no answer")?;
            let status = answer.status();
            let text = Limited::new(answer.into_body(), ANSWER).collect().await;
            let text = text.map_err(|error| anyhow!("the answer can't be read: {error}"))?.to_bytes();
            *sender = Some(connected);
            Ok((status, text))
        };
        let answer = runtime.block_on(async { timeout(PATIENCE, asked).await });
        let answer = answer.unwrap_or_else(|_| bail!("no answer within {} seconds", PATIENCE.as_secs()));
        answer.with_context(|| format!("can't post to {} port {}", url.endpoint.host, url.endpoint.port))
    }
}

impl Remote for Http {
    fn batch(&self) -> usize {
        512
    }

    fn gather(&self) -> Duration {
        Duration::from_millis(200)
    }

    fn send(&mut self, events: &[Arc<Event>]) -> (usize, Result<(), Failure>) {
        let (content, body) = self.body(events);
        let (status, text) = match self.post(body, content) {
            Ok(answer) => answer,
            Err(error) => {
                self.sender = None;
                return (0, Err(Failure::Away(error)));
            }
        };
        let count = events.len();
        if status.is_success() {
            let refused = if self.kind == HttpKind::Otlp { otlp::refused(&text) } else { None };
            return match refused {
                Some((refused, why)) => {
                    let refused = refused.min(count);
                    (count - refused, Err(Failure::Never(refused, Loss::Rejected, anyhow!(why))))
                }
                None => (count, Ok(())),
            };
        }
        let error = anyhow!("{} answered {status}: {}", self.url.endpoint.host, excerpt(&text));
        match status {
            StatusCode::PAYLOAD_TOO_LARGE if count > 1 => {
                let (taken, result) = self.send(&events[..count / 2]);
                if result.is_err() { (taken, result) } else { (taken, Ok(())) }
            }
            StatusCode::PAYLOAD_TOO_LARGE => (0, Err(Failure::Never(1, Loss::TooLarge, error))),
            // A token may be renewed, so a refusal for that reason isn't for good.
            StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN => {
                self.reopen();
                (0, Err(Failure::Away(error)))
            }
            _ if status.is_server_error() => (0, Err(Failure::Away(error))),
            _ => (0, Err(Failure::Never(count, Loss::Rejected, error))),
        }
    }

    fn reopen(&mut self) {
        self.sender = None;
        match self.token.as_ref().map(secret::bearer).transpose() {
            Ok(authorization) => self.authorization = authorization,
            Err(error) => tracing::error!("the token of a sink stays as it was: {error:#}"),
        }
    }
}

/// The beginning of an answer, as text that can be shown.
fn excerpt(text: &[u8]) -> crate::event::Text {
    crate::event::Text::new(&text[..text.len().min(300)])
}

/// The `Host` header.
fn host(url: &Url) -> String {
    let (name, port) = (&url.endpoint.host, url.endpoint.port);
    let name = if name.contains(':') { format!("[{name}]") } else { name.clone() };
    let usual = if url.tls.is_some() { 443 } else { 80 };
    if port == usual { name } else { format!("{name}:{port}") }
}

async fn connect(url: &Url, tls: Option<Arc<ClientConfig>>) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect((&*url.endpoint.host, url.endpoint.port)).await?;
    let Some(config) = tls else { return handshake(stream).await };
    let name = tls::name(&url.endpoint.host)?;
    let stream = TlsConnector::from(config).connect(name, stream).await.context("no TLS with it")?;
    handshake(stream).await
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Full<Bytes>>> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It is driven while a request is under way, and ends with the sender.
    tokio::spawn(connection);
    Ok(sender)
}

#[cfg(test)]
mod tests;
