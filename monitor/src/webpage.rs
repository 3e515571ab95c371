//! A page for people on the metrics listener: how the agent is, read-only. Off unless `[web] enable = true`.
//!
//! Everything comes from this agent: no external style, script, font or picture, and the browser is told to refuse any. The
//! page is whole without its script, which only keeps it current.

mod page;
mod parts;

use std::net::IpAddr;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::get,
};

use crate::{
    control::status::Finding,
    overview::{Parts, picture},
};

/// Findings that the page has.
const FINDINGS: usize = 50;

/// What the browser is told besides the page.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// The page and what it needs.
pub fn router<S: Clone + Send + Sync + 'static>(parts: Parts) -> Router<S> {
    Router::new()
        .route("/", get(page))
        .route(
            "/web.css",
            get(async || ([(header::CONTENT_TYPE, "text/css")], include_str!("webpage/page.css"))),
        )
        .route(
            "/web.js",
            get(async || ([(header::CONTENT_TYPE, "text/javascript")], include_str!("webpage/page.js"))),
        )
        .layer(middleware::from_fn(guarded))
        .with_state(parts)
}

async fn page(State(parts): State<Parts>) -> Response {
    // Reading maps blocks.
    let rendered = tokio::task::spawn_blocking(move || {
        page::page(&picture(&parts), &Finding::last(&parts.recent, FINDINGS)).into_string()
    });
    match rendered.await {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("can't make the page: {error}\n")).into_response()
        }
    }
}

/// Around each of these: who may read it, and what the browser must not do with it.
async fn guarded(request: Request, next: Next) -> Response {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut response = if is_own(request.headers(), &host) {
        next.run(request).await
    } else {
        let why =
            "this host isn't known by that name: ask for it by its address, `localhost` or its host name\n";
        (StatusCode::FORBIDDEN, why).into_response()
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether it is asked for by a name that is this host's. A stranger's page can give a name of its own an address of this
/// host (DNS rebinding), and would then read what the browser may.
fn is_own(headers: &HeaderMap, own: &str) -> bool {
    let Some(asked) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match asked.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => asked,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    address.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || (!own.is_empty() && name.eq_ignore_ascii_case(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_stranger_gave_this_host_is_refused() {
        let own = |host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            is_own(&headers, "db7")
        };
        for good in
            ["127.0.0.1:9469", "[::1]:9469", "[::1]", "localhost", "LOCALHOST:80", "db7:9469", "10.0.0.1"]
        {
            assert!(own(good), "{good}");
        }
        for bad in ["evil.example:9469", "127.0.0.1.evil.example", "db7.evil.example", "", "localhost.x:1"] {
            assert!(!own(bad), "{bad}");
        }
        assert!(!is_own(&HeaderMap::new(), "db7"));
    }
}
