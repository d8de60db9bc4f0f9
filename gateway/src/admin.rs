//! Health, metrics and operation over HTTP, on a port of their own.
//!
//! Open to everybody who reaches the port: `/healthz`, `/readyz` and `/metrics`, which name nobody. All
//! else wants the token, on loopback too: other users of the box and pages in its browsers are there as well.
//! A page elsewhere may point a name of its own at our address and read us through its visitor's browser
//! (DNS rebinding), so the `Host` header must be one of ours.

use crate::config::{Admin, Secret};
use crate::metrics::Metrics;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::task::JoinHandle;
use tracing::debug;

/// Open connections; one more ends the oldest, so that nobody can keep health checks out by sitting here.
const CONNECTIONS: usize = 64;

/// From one request to the end of the next one's headers.
const HEADER_TIME: Duration = Duration::from_secs(15);

/// Who guesses tokens waits so long for each answer.
const WRONG_TOKEN_TIME: Duration = Duration::from_millis(300);

/// What `/readyz` asks: each part says whether it can do its work.
#[derive(Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, Probe>>>);

type Probe = Box<dyn Fn() -> bool + Send + Sync>;

impl Readiness {
    pub fn set(&self, part: &'static str, ready: bool) {
        self.probe(part, move || ready);
    }

    pub fn probe(&self, part: &'static str, ready: impl Fn() -> bool + Send + Sync + 'static) {
        if let Ok(mut parts) = self.0.lock() {
            parts.insert(part, Box::new(ready));
        }
    }

    /// The parts that are not ready.
    pub fn missing(&self) -> Vec<&'static str> {
        let Ok(parts) = self.0.lock() else {
            return vec!["everything"];
        };
        parts
            .iter()
            .filter(|(_, ready)| !ready())
            .map(|(part, _)| *part)
            .collect()
    }
}

/// What the pages show.
#[derive(Clone)]
pub struct Pages {
    pub metrics: Arc<Metrics>,
    pub readiness: Readiness,
    /// The body of `/api/status`.
    pub status: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
}

/// Who may see them.
struct Guard {
    token: Option<Secret>,
    cors: Vec<String>,
    /// Lower case, without ports.
    hosts: Vec<String>,
}

/// `closed`: further pages, which want the token as `/api/status` does.
pub fn router(config: &Admin, own_addresses: &[IpAddr], pages: Pages, closed: Router) -> Router {
    let mut hosts: Vec<String> = ["localhost", "127.0.0.1", "::1"]
        .map(str::to_owned)
        .to_vec();
    hosts.extend(own_addresses.iter().map(IpAddr::to_string));
    hosts.extend(
        config
            .listen
            .and_then(|listen| listen.ip)
            .map(|ip| ip.to_string()),
    );
    hosts.extend(config.hosts.iter().cloned());
    let guard = Arc::new(Guard {
        token: config.token.clone(),
        cors: config.cors.clone(),
        hosts,
    });
    let status = pages.status.clone();
    let closed = closed
        .route(
            "/api/status",
            get(move || async move { axum::Json(status()) }),
        )
        .layer(middleware::from_fn_with_state(guard.clone(), want_token));
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(pages)
        .merge(closed)
        .layer(middleware::from_fn_with_state(guard, check_host_and_origin))
}

async fn readyz(State(pages): State<Pages>) -> Response {
    match pages.readiness.missing().as_slice() {
        [] => "ready\n".into_response(),
        missing => {
            let text = format!("not ready: {}\n", missing.join(", "));
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

async fn metrics(State(pages): State<Pages>) -> Response {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], pages.metrics.text()).into_response()
}

async fn check_host_and_origin(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    // Browsers always send Host; a health check in HTTP/1.0 may not.
    let host = request
        .headers()
        .get(header::HOST)
        .map(|host| host.to_str().unwrap_or_default().to_owned());
    if let Some(host) = host.or_else(|| request.uri().host().map(str::to_owned))
        && !guard
            .hosts
            .contains(&without_port(&host).to_ascii_lowercase())
    {
        let text = "This host name is not ours. If it is, list it in admin.hosts.\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    let origin = request
        .headers()
        .get(header::ORIGIN)
        .cloned()
        .filter(|origin| {
            let origin = origin.to_str().unwrap_or_default().to_ascii_lowercase();
            guard.cors.contains(&origin)
        });
    let preflight = request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match (&origin, preflight) {
        (Some(_), true) => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if let Some(origin) = origin {
        allow(headers, origin);
    }
    response
}

fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, PUT, DELETE"),
    );
}

/// `localhost:9090`, `[::1]:9090` and `127.0.0.1` without port and brackets.
fn without_port(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

async fn want_token(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let Some(token) = &guard.token else {
        let text = "This page is closed: set admin.token to open it.\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    };
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().split_at_checked("Bearer ".len()))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "))
        .map(|(_, given)| given.trim_ascii().to_vec());
    let right = given.is_some_and(|given| bool::from(given.ct_eq(token.reveal().as_bytes())));
    if right {
        return next.run(request).await;
    }
    tokio::time::sleep(WRONG_TOKEN_TIME).await;
    let text = Body::from("This page wants `Authorization: Bearer` with the admin.token.\n");
    (
        StatusCode::UNAUTHORIZED,
        [(header::WWW_AUTHENTICATE, "Bearer")],
        text,
    )
        .into_response()
}

/// Serves until dropped.
pub async fn serve(listener: TcpListener, router: Router) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut open: VecDeque<JoinHandle<()>> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, for one: trying again at once would only burn.
                debug!(%error, "admin connection not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() >= CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let service = TowerToHyperService::new(router.clone());
        open.push_back(tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIME)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                debug!(%error, "admin connection ended");
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tower::ServiceExt;

    fn admin(token: &str) -> Router {
        let config = Admin {
            listen: None,
            token: Some(token)
                .filter(|t| !t.is_empty())
                .map(|t| Secret::new(t.to_owned())),
            cors: vec!["https://console.example".to_owned()],
            hosts: vec!["gate.example".to_owned()],
        };
        let pages = Pages {
            metrics: Arc::default(),
            readiness: Readiness::default(),
            status: Arc::new(|| serde_json::json!({ "secretive": true })),
        };
        pages.metrics.gauge("trunkgate_up", "Whether.", &[]).set(1);
        pages.readiness.set("link to media", token != "unready");
        router(
            &config,
            &["192.0.2.1".parse().unwrap()],
            pages,
            Router::new(),
        )
    }

    async fn get(
        router: Router,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (StatusCode, HeaderMap, String) {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = router
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        (
            parts.status,
            parts.headers,
            String::from_utf8_lossy(&body).into_owned(),
        )
    }

    #[tokio::test]
    async fn health_and_metrics_are_open() {
        for path in ["/healthz", "/readyz", "/metrics"] {
            let (status, headers, _) = get(admin("t"), path, &[("host", "localhost:9090")]).await;
            assert_eq!(status, StatusCode::OK, "{path}");
            assert!(headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).is_none());
        }
    }

    #[tokio::test]
    async fn what_is_not_ready_is_named() {
        let (status, _, body) = get(admin("unready"), "/readyz", &[]).await;
        assert_eq!(
            (status, body.as_str()),
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "not ready: link to media\n"
            )
        );
    }

    #[tokio::test]
    async fn the_status_wants_the_token() {
        async fn with(value: &str) -> (StatusCode, HeaderMap, String) {
            get(admin("sesam"), "/api/status", &[("authorization", value)]).await
        }
        assert_eq!(with("Bearer sesam").await.0, StatusCode::OK);
        assert_eq!(with("bearer sesam").await.0, StatusCode::OK);
        for wrong in ["Bearer sesa", "Bearer", "Basic sesam", ""] {
            let (status, _, body) = with(wrong).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{wrong}");
            assert!(!body.contains("secretive"));
        }
        let (status, ..) = get(admin(""), "/api/status", &[("authorization", "Bearer ")]).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
    }

    #[tokio::test]
    async fn a_host_that_is_not_ours_is_refused() {
        for (host, wanted) in [
            ("localhost", StatusCode::OK),
            ("LocalHost:9090", StatusCode::OK),
            ("[::1]:9090", StatusCode::OK),
            ("192.0.2.1:9090", StatusCode::OK),
            ("gate.example", StatusCode::OK),
            ("evil.example:9090", StatusCode::FORBIDDEN),
            ("localhost.evil.example", StatusCode::FORBIDDEN),
            ("", StatusCode::FORBIDDEN),
        ] {
            let (status, ..) = get(admin("t"), "/metrics", &[("host", host)]).await;
            assert_eq!(status, wanted, "{host}");
        }
    }

    #[tokio::test]
    async fn only_listed_origins_may_read() {
        async fn origin(origin: &str) -> (StatusCode, HeaderMap, String) {
            get(admin("t"), "/metrics", &[("origin", origin)]).await
        }
        let allowed = origin("https://console.example").await.1;
        assert_eq!(
            allowed[header::ACCESS_CONTROL_ALLOW_ORIGIN],
            "https://console.example"
        );
        let refused = origin("https://evil.example").await.1;
        assert!(refused.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).is_none());
    }

    #[tokio::test]
    async fn idle_connections_do_not_keep_a_health_check_out() {
        use std::io::{Read, Write};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, admin("t")));
        let asked = tokio::task::spawn_blocking(move || {
            let connect = || std::net::TcpStream::connect(address).unwrap();
            let idle: Vec<_> = (0..2 * CONNECTIONS).map(|_| connect()).collect();
            let mut asking = connect();
            asking
                .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .unwrap();
            let mut answer = String::new();
            asking.read_to_string(&mut answer).unwrap();
            drop(idle);
            answer
        });
        let answer = tokio::time::timeout(HEADER_TIME / 2, asked).await;
        assert!(answer.unwrap().unwrap().starts_with("HTTP/1.1 200"));
        serving.abort();
    }
}
