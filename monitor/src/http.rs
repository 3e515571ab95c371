//! The HTTP server: `/metrics`, `/healthz` and `/readyz`.
//!
//! What a client can take is bounded: connections, the time to ask, to be answered and to read, and how many scrapes
//! read the kernel's counters at one time. Bodies of requests are not read. It has a thread of its own, so that no client,
//! handshake or password takes time from the events.

mod bind;
mod health;
mod web;

use std::{convert::Infallible, net, net::IpAddr, pin::pin, sync::Arc, thread, time::Duration};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    extract::{Extension, Request, State as Extract},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    task,
    time::{sleep, timeout},
};

pub use bind::bind;
pub use health::{Health, STALE};
pub use web::Web;

use crate::{
    metrics::{Exposition, HttpPath, HttpStatus, Metrics},
    overview, webpage,
};

/// Scrapes that read the kernel's counters at one time.
const SCRAPES: usize = 2;
/// Threads for scrapes, and for what is read or computed for a connection.
const BLOCKING: usize = 6;
/// Bytes of the head of a request; hyper's least.
const HEAD: usize = 8 * 1024;

/// What one client, and all together, may take.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Connections at one time; further ones wait in the kernel's backlog.
    connections: usize,
    /// To send the whole head of a request.
    head: Duration,
    /// To answer it.
    answer: Duration,
    /// A whole connection: the above, and to read the answer.
    connection: Duration,
}

const LIMITS: Limits = Limits {
    connections: 64,
    head: Duration::from_secs(2),
    answer: Duration::from_secs(10),
    connection: Duration::from_secs(30),
};

const INDEX: &str = "monitor\n\n/metrics  Prometheus metrics\n/healthz  200 while the agent is alive\n/readyz   200 \
                     once it watches and enforces\n";

/// What the server tells of.
#[derive(Clone)]
pub struct State {
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// For `/healthz` and `/readyz`.
    pub health: Arc<Health>,
    /// Who may ask, and over what; `None`: everybody, in the clear.
    pub web: Option<Arc<Web>>,
    /// For the page at `/`; none without it.
    pub page: Option<overview::Parts>,
}

/// Who asks.
#[derive(Clone, Copy)]
struct Peer(IpAddr);

#[derive(Clone)]
struct Server {
    state: State,
    scrapes: Arc<Semaphore>,
    answer: Duration,
}

/// Serves on a thread until `stopped` is told so, or its sender is gone.
///
/// # Errors
/// When there can be no more threads.
pub fn start(
    listener: net::TcpListener,
    state: State,
    stopped: oneshot::Receiver<()>,
) -> Result<thread::JoinHandle<()>> {
    let run = move || -> Result<()> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(BLOCKING).build();
        let runtime = runtime.context("can't start the runtime of the metrics endpoint")?;
        let served = runtime.block_on(serve(listener, state, async {
            let _ = stopped.await;
        }));
        // A scrape that nobody waits for any more ends by itself.
        runtime.shutdown_background();
        served
    };
    let run = || run().unwrap_or_else(|error| tracing::error!("the metrics endpoint failed: {error:#}"));
    let thread = thread::Builder::new().name("http".to_owned()).spawn(run);
    thread.context("can't start the thread of the metrics endpoint")
}

/// Serves until `shutdown` completes; requests that are being answered then are answered, for a second at most.
///
/// # Errors
/// If the listener can't be used at all. What goes wrong with a connection ends that connection only.
pub async fn serve(
    listener: net::TcpListener,
    state: State,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    serve_within(listener, state, shutdown, LIMITS).await
}

async fn serve_within(
    listener: net::TcpListener,
    state: State,
    shutdown: impl Future<Output = ()>,
    limits: Limits,
) -> Result<()> {
    listener.set_nonblocking(true).context("can't use the [metrics] listener")?;
    let listener = TcpListener::from_std(listener).context("can't use the [metrics] listener")?;
    let web = state.web.clone();
    let router = router(state, limits.answer);
    let connections = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &connections) => accepted,
        };
        if let Some((stream, peer, permit)) = accepted {
            let service = TowerToHyperService::new(router.clone().layer(Extension(peer)));
            let connection = converse(stream, web.clone(), service, graceful.watcher(), limits.head);
            task::spawn(async move {
                // Too late: the connection is dropped, and so closed.
                let _ = timeout(limits.connection, connection).await;
                drop(permit);
            });
        }
    }
    drop(listener);
    let _ = timeout(Duration::from_secs(1), graceful.shutdown()).await;
    Ok(())
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> Option<(TcpStream, Peer, OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, Peer(peer.ip()), permit)),
        Err(error) => {
            // Out of file descriptors or memory, or the client is gone already: in the first cases, trying again at
            // once would only burn time.
            tracing::warn!("can't accept a connection on [metrics] listen: {error}");
            sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// Talks with a client, in the clear or over TLS as it is asked for now.
async fn converse(
    stream: TcpStream,
    web: Option<Arc<Web>>,
    service: TowerToHyperService<Router>,
    watcher: Watcher,
    head: Duration,
) {
    let tls = match rules(web).await {
        Ok(rules) => rules.and_then(|rules| rules.tls),
        Err(error) => return tracing::error!("can't tell who may ask for metrics: {error}"),
    };
    let Some(tls) = tls else { return answer(stream, service, watcher, head).await };
    match timeout(head, tls.accept(stream)).await {
        Ok(Ok(stream)) => answer(stream, service, watcher, head).await,
        Ok(Err(error)) => tracing::debug!("TLS connection ended: {error}"),
        Err(_) => tracing::debug!("TLS connection ended: no handshake within {head:?}"),
    }
}

/// What is asked of clients now. Files may have to be read for it.
async fn rules(web: Option<Arc<Web>>) -> Result<Option<web::Rules>, task::JoinError> {
    let Some(web) = web else { return Ok(None) };
    task::spawn_blocking(move || web.rules()).await.map(Some)
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    service: TowerToHyperService<Router>,
    watcher: Watcher,
    head: Duration,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(HEAD)
        // One request a connection: nobody can hold one open by asking slowly again and again.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!("HTTP connection ended: {error}");
    }
}

fn router(state: State, answer: Duration) -> Router {
    let server = Server { state, scrapes: Arc::new(Semaphore::new(SCRAPES)), answer };
    let pages = match &server.state.page {
        Some(parts) => webpage::router(parts.clone()),
        None => Router::new().route("/", get(async || INDEX)),
    };
    pages
        .route("/metrics", get(metrics))
        .route("/healthz", get(async |Extract(server): Extract<Server>| told(server.state.health.alive())))
        .route("/readyz", get(async |Extract(server): Extract<Server>| told(server.state.health.ready())))
        .layer(middleware::from_fn_with_state(server.clone(), bounded))
        .with_state(server)
}

/// Around every request: the time limit, and the count.
async fn bounded(
    Extract(server): Extract<Server>,
    request: Request,
    next: Next,
) -> Result<Response, Infallible> {
    let path = HttpPath::of(request.uri().path());
    let admitted = async {
        match admit(&server, request.headers()).await {
            Ok(()) => next.run(request).await,
            Err(refusal) => refusal,
        }
    };
    let response = timeout(server.answer, admitted).await.unwrap_or_else(|_| {
        (StatusCode::SERVICE_UNAVAILABLE, format!("no answer within {:?}\n", server.answer)).into_response()
    });
    server.state.metrics.counters().http_request(path, HttpStatus::of(response.status().as_u16()));
    Ok(response)
}

/// Whether somebody may ask; else what they are answered.
async fn admit(server: &Server, headers: &HeaderMap) -> Result<(), Response> {
    let rules = rules(server.state.web.clone()).await;
    let Some(rules) = rules.map_err(|error| unavailable(&error.to_string()))? else { return Ok(()) };
    rules.users.admit(headers).await.map_err(|web::Denied| {
        let how = [(header::WWW_AUTHENTICATE, "Basic realm=\"monitor\"")];
        (StatusCode::UNAUTHORIZED, how, "Unauthorized\n").into_response()
    })
}

async fn metrics(
    Extract(server): Extract<Server>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    let accept: Vec<_> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let exposition = Exposition::negotiate(Some(&accept.join(",")));
    let Ok(permit) = server.scrapes.clone().acquire_owned().await else { return unavailable("ending") };
    let metrics = Arc::clone(&server.state.metrics);
    // Reading maps blocks. The permit goes along: a scrape goes on when its client has been given up.
    let rendered = task::spawn_blocking(move || {
        let rendered = metrics.render(exposition);
        drop(permit);
        rendered
    });
    match rendered.await {
        Ok(Ok(text)) => {
            server.state.metrics.readers().saw(peer);
            ([(header::CONTENT_TYPE, exposition.content_type())], text).into_response()
        }
        Ok(Err(error)) => unavailable(&format!("can't encode the metrics: {error}")),
        Err(error) => unavailable(&format!("can't read the metrics: {error}")),
    }
}

fn told(state: Result<(), String>) -> Response {
    match state {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => unavailable(&reason),
    }
}

fn unavailable(reason: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()
}

#[cfg(test)]
mod tests;
