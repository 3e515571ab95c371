use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::Instant,
};

use tokio::sync::oneshot;

use super::*;
use crate::metrics::{Counters, Facts, KernelState, Snapshot};

/// A server on a thread of its own.
struct Running {
    addr: SocketAddr,
    state: State,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Running {
    fn start() -> Self {
        Self::within(LIMITS)
    }

    fn within(limits: Limits) -> Self {
        let metrics = Arc::new(Metrics::new(Arc::new(Counters::default()), Facts::default()));
        let state = State { metrics, health: Arc::default(), web: None, page: None };
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = state.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime
                .block_on(serve_within(listener, served, async { stopped.await.unwrap_or(()) }, limits))
                .unwrap();
        });
        Self { addr, state, stop: Some(stop), thread: Some(thread) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends a request as it is, and returns all that comes.
    fn raw(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }

    fn get(&self, path: &str) -> String {
        self.raw(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"))
    }

    fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

fn status(response: &str) -> &str {
    response.split(' ').nth(1).unwrap_or(response)
}

#[test]
fn metrics_come_in_the_format_asked_for() {
    let server = Running::start();
    let plain = server.get("/metrics");
    assert_eq!(status(&plain), "200");
    assert!(plain.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{plain}");
    assert!(plain.contains("\n# TYPE monitor_events_delivered_total counter\n"), "{plain}");
    let openmetrics = server
        .raw("GET /metrics HTTP/1.1\r\nhost: x\r\naccept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n\r\n");
    let content_type = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(openmetrics.contains(content_type) && openmetrics.ends_with("# EOF\n"), "{openmetrics}");
    assert!(openmetrics.contains("monitor_http_requests_total{path=\"/metrics\",status=\"2xx\"} 1\n"));
}

#[test]
fn health_and_readiness_say_why_not() {
    let server = Running::start();
    assert_eq!(status(&server.get("/healthz")), "200");
    let starting = server.get("/readyz");
    assert!(status(&starting) == "503" && starting.ends_with("\r\n\r\nnot ready: starting\n"), "{starting}");
    server.state.health.set_ready();
    assert_eq!(status(&server.get("/readyz")), "200");
}

#[test]
fn only_what_is_there_can_be_got() {
    let server = Running::start();
    assert!(server.get("/").ends_with("once it watches and enforces\n"));
    for path in ["/metrics/", "/favicon.ico", "/../metrics", "/metrics%00"] {
        assert_eq!(status(&server.get(path)), "404", "{path}");
    }
    let head = server.raw("HEAD /metrics HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(status(&head) == "200" && head.ends_with("\r\n\r\n"), "{head}");
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let request = format!("{method} /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(status(&server.raw(&request)), "405", "{method}");
    }
    assert_eq!(status(&server.raw("nonsense\r\n\r\n")), "400");
}

#[test]
fn a_body_is_not_waited_for() {
    let server = Running::start();
    let before = Instant::now();
    let response = server.raw("GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000000\r\n\r\nx");
    assert!(status(&response) == "200" && before.elapsed() < Duration::from_secs(5), "{response}");
}

#[test]
fn a_head_has_a_bound() {
    let server = Running::start();
    let request = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(HEAD));
    let mut stream = server.connect();
    // The server may close before it has read everything.
    let _ = stream.write_all(request.as_bytes());
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response);
    let response = String::from_utf8_lossy(&response);
    assert!(response.is_empty() || status(&response) == "431", "{response}");
    assert_eq!(status(&server.get("/healthz")), "200");
}

#[test]
fn who_says_nothing_is_cut_off_and_others_wait_their_turn() {
    let head = Duration::from_millis(700);
    let server = Running::within(Limits { connections: 3, head, ..LIMITS });
    let before = Instant::now();
    let idle: Vec<_> = (0..3).map(|_| server.connect()).collect();
    // All places are taken: this one is answered when an idle one has been cut off.
    assert_eq!(status(&server.get("/healthz")), "200");
    assert!(before.elapsed() > head / 2, "{:?}", before.elapsed());
    for mut stream in idle {
        let mut response = String::new();
        // Closed without an answer, or with 408.
        let _ = stream.read_to_string(&mut response);
        assert!(response.is_empty() || status(&response) == "408", "{response}");
    }
}

#[test]
fn a_connection_has_a_time_limit() {
    let connection = Duration::from_millis(700);
    let server = Running::within(Limits { connections: 1, connection, ..LIMITS });
    let mut slow = server.connect();
    slow.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let before = Instant::now();
    assert_eq!(status(&server.get("/healthz")), "200");
    assert!(before.elapsed() > connection / 2, "{:?}", before.elapsed());
}

#[derive(Debug)]
struct Slow(Duration);

impl KernelState for Slow {
    fn snapshot(&self) -> Snapshot {
        thread::sleep(self.0);
        Snapshot::default()
    }
}

#[test]
fn a_slow_scrape_holds_up_nobody_else() {
    let server = Running::start();
    server.state.metrics.attach(Arc::new(Slow(Duration::from_secs(2))));
    thread::scope(|scope| {
        let scrape = scope.spawn(|| server.get("/metrics"));
        let before = Instant::now();
        assert_eq!(status(&server.get("/healthz")), "200");
        assert!(before.elapsed() < Duration::from_secs(1));
        assert_eq!(status(&scrape.join().unwrap()), "200");
    });
}

#[test]
fn the_answer_has_a_time_limit() {
    let server = Running::within(Limits { answer: Duration::from_millis(100), ..LIMITS });
    server.state.metrics.attach(Arc::new(Slow(Duration::from_secs(1))));
    let response = server.get("/metrics");
    assert!(status(&response) == "503" && response.ends_with("no answer within 100ms\n"), "{response}");
    let counters = server.state.metrics.counters();
    assert_eq!(counters.http_requests(HttpPath::Metrics, HttpStatus::ServerError), 1);
}

#[test]
fn it_stops_when_told_although_clients_idle() {
    let mut server = Running::start();
    let _idle = server.connect();
    assert_eq!(status(&server.get("/healthz")), "200");
    let before = Instant::now();
    server.stop();
    assert!(before.elapsed() < Duration::from_secs(3));
    assert!(TcpStream::connect(server.addr).is_err());
}
