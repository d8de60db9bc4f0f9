//! A real server on loopback, with every fault that backends have.

use super::*;
use signaling_calls::SessionId;
use signaling_protocol::rest_client_config::RestClientConfig;
use signaling_protocol::{HookMethod, Secret};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// Longer than anything here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn app(url: &str) -> Arc<App> {
    Arc::new(App {
        name: "shop".into(),
        key: "shopKey".into(),
        url: url.into(),
        owner: String::new(),
        rest_user: String::new(),
        rest_password: None,
        methods: HookMethod::ALL.iter().copied().collect(),
        rest_client_config: RestClientConfig::default(),
        origins: Vec::new(),
        password_over_http: false,
        hook_secret: None,
        sip_message_raw: None,
        line: None,
        max_sessions: 0,
        connections_per_second: 0,
        messages_per_second: 0,
    })
}

pub(crate) fn request(app: &Arc<App>, id: u64, session: u64) -> Request {
    Request {
        id: RequestId(id),
        session: SessionId(session),
        method: HookMethod::Connect,
        app: app.clone(),
        body: format!(r#"{{"nodeId":"n","id":{id},"sipPassword":"geheim"}}"#),
        with_password: false,
        awaited: true,
    }
}

/// What the server does with a request.
#[derive(Clone)]
enum Reply {
    /// An answer with this status line and body, and the connection stays.
    Whole(&'static str, String),
    /// These bytes, then the connection is closed.
    Broken(String),
    /// The first bytes, then a byte every moment for ever.
    Drip(&'static str),
    Nothing,
}

#[derive(Clone, Debug)]
struct Seen {
    connection: usize,
    head: String,
    body: String,
}

impl Seen {
    fn id(&self) -> u64 {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        body["id"].as_u64().unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

struct Backend {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Requests that are begun and not yet answered, and the most there were at once.
    most: Arc<Mutex<(usize, usize)>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Backend {
    async fn start(reply: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Backend {
        Backend::at("127.0.0.1:0".parse().unwrap(), None, reply).await
    }

    async fn at(
        address: SocketAddr,
        tls: Option<tokio_rustls::TlsAcceptor>,
        reply: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Backend {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, most) = (
            Arc::<Mutex<Vec<Seen>>>::default(),
            Arc::<Mutex<(usize, usize)>>::default(),
        );
        let reply: Arc<dyn Fn(&Seen) -> Reply + Send + Sync> = Arc::new(reply);
        let task = tokio::spawn(accept(listener, tls, reply, seen.clone(), most.clone()));
        Backend {
            address,
            seen,
            most,
            task,
        }
    }

    fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

type Replies = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

async fn accept(
    listener: TcpListener,
    tls: Option<tokio_rustls::TlsAcceptor>,
    reply: Replies,
    seen: Arc<Mutex<Vec<Seen>>>,
    most: Arc<Mutex<(usize, usize)>>,
) {
    // Dropped with the listener, so that a backend that ends takes its connections along.
    let mut connections = tokio::task::JoinSet::new();
    for connection in 0.. {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        let (reply, seen, most) = (reply.clone(), seen.clone(), most.clone());
        match tls.clone() {
            None => connections.spawn(serve(stream, connection, reply, seen, most)),
            Some(tls) => connections.spawn(async move {
                if let Ok(stream) = tls.accept(stream).await {
                    serve(stream, connection, reply, seen, most).await;
                }
            }),
        };
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    connection: usize,
    reply: Replies,
    seen: Arc<Mutex<Vec<Seen>>>,
    most: Arc<Mutex<(usize, usize)>>,
) {
    let mut buf = Vec::new();
    while let Some((head, body)) = read_request(&mut stream, &mut buf).await {
        let request = Seen {
            connection,
            head,
            body,
        };
        seen.lock().unwrap().push(request.clone());
        {
            let mut most = most.lock().unwrap();
            most.0 += 1;
            most.1 = most.1.max(most.0);
        }
        let reply = reply(&request);
        tokio::time::sleep(Duration::from_millis(5)).await;
        most.lock().unwrap().0 -= 1;
        let whole = |status: &str, body: &str| {
            format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        match reply {
            Reply::Whole(status, body) => {
                let _ = stream.write_all(whole(status, &body).as_bytes()).await;
            }
            Reply::Broken(bytes) => {
                let _ = stream.write_all(bytes.as_bytes()).await;
                let _ = stream.shutdown().await;
                return;
            }
            Reply::Drip(first) => {
                let mut bytes = first.as_bytes();
                while stream.write_all(bytes).await.is_ok() {
                    bytes = b"1";
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                return;
            }
            Reply::Nothing => std::future::pending().await,
        }
    }
}

async fn read_request<S: AsyncRead + Unpin>(
    stream: &mut S,
    buf: &mut Vec<u8>,
) -> Option<(String, String)> {
    loop {
        if let Some(end) = buf.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(buf[..end].to_vec()).unwrap();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "))
                .unwrap();
            let whole = end + 4 + length.parse::<usize>().unwrap();
            if buf.len() >= whole {
                let body = String::from_utf8(buf[end + 4..whole].to_vec()).unwrap();
                buf.drain(..whole);
                return Some((head, body));
            }
        }
        if stream.read_buf(buf).await.ok()? == 0 {
            return None;
        }
    }
}

fn ok(_: &Seen) -> Reply {
    Reply::Whole("200 OK", "{}".into())
}

/// Hooks with a short time-out.
fn short() -> (Hooks, Answers) {
    hooks(Settings {
        request_timeout: Duration::from_millis(300),
        ..Settings::default()
    })
}

async fn next(answers: &mut Answers) -> Answer {
    tokio::time::timeout(PATIENCE, answers.next())
        .await
        .expect("an answer")
        .unwrap()
}

/// Posts one and waits for what became of it.
async fn ask((hooks, answers): &mut (Hooks, Answers), request: Request) -> HookOutcome {
    let id = request.id;
    let mut unsent = hooks.post(request);
    let (answered, outcome) = match unsent.pop() {
        Some(answer) => answer,
        None => next(answers).await,
    };
    assert_eq!(answered, id);
    outcome
}

fn why(outcome: HookOutcome) -> String {
    match outcome {
        HookOutcome::Unreachable { why } => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_hook_is_a_post_with_exactly_the_headers_of_the_protocol() {
    let backend = Backend::start(|_| Reply::Whole("200 OK", r#"{"callee":"2002"}"#.into())).await;
    let mut settings = Arc::unwrap_or_clone(app(&backend.url()));
    settings.rest_user = "user".into();
    settings.rest_password = Some(Secret::new("pass"));
    settings.hook_secret = Some(Secret::new("key"));
    let outcome = ask(&mut short(), request(&Arc::new(settings), 1, 1)).await;
    assert_eq!(
        outcome,
        HookOutcome::Accepted {
            body: r#"{"callee":"2002"}"#.into()
        }
    );
    let seen = &backend.seen()[0];
    assert!(
        seen.head.starts_with("POST /hooks/connect HTTP/1.1\r\n"),
        "{}",
        seen.head
    );
    assert_eq!(
        seen.header("Host"),
        Some(backend.address.to_string().as_str())
    );
    assert_eq!(
        seen.header("Accept"),
        Some("application/json, application/*+json")
    );
    assert_eq!(
        seen.header("Content-Type"),
        Some("application/json;charset=UTF-8")
    );
    assert_eq!(seen.header("Authorization"), Some("Basic dXNlcjpwYXNz"));
    assert!(
        seen.header("X-Trunkgate-Timestamp")
            .is_some_and(|stamp| stamp.parse::<u64>().is_ok())
    );
    assert!(
        seen.header("X-Trunkgate-Signature")
            .is_some_and(|code| code.starts_with("sha256="))
    );
    assert_eq!(seen.head.lines().count(), 8, "{}", seen.head);
}

#[tokio::test]
async fn a_connection_is_used_again_and_no_more_than_the_bound_are_open() {
    let backend = Backend::start(ok).await;
    let app = app(&backend.url());
    let mut hooks = hooks(Settings {
        connections: 3,
        ..Settings::default()
    });
    for id in 0..10 {
        assert!(matches!(
            ask(&mut hooks, request(&app, id, 1)).await,
            HookOutcome::Accepted { .. }
        ));
    }
    assert!(backend.seen().iter().all(|seen| seen.connection == 0));
    for id in 10..40 {
        assert_eq!(hooks.0.post(request(&app, id, id)), []);
    }
    for _ in 10..40 {
        assert!(matches!(
            next(&mut hooks.1).await.1,
            HookOutcome::Accepted { .. }
        ));
    }
    assert!(backend.seen().iter().all(|seen| seen.connection < 3));
    assert_eq!(backend.most.lock().unwrap().1, 3);
    assert!(hooks.0.is_idle());
    assert_eq!(hooks.0.counts().accepted, 40);
}

#[tokio::test]
async fn the_hooks_of_a_session_go_strictly_one_after_the_other() {
    let backend = Backend::start(ok).await;
    let app = app(&backend.url());
    let (hooks, mut answers) = short();
    for id in 0..60 {
        assert_eq!(hooks.post(request(&app, id, id % 3)), []);
    }
    for _ in 0..60 {
        next(&mut answers).await;
    }
    for session in 0..3 {
        let seen = backend.seen();
        let ids: Vec<u64> = seen
            .iter()
            .map(Seen::id)
            .filter(|id| id % 3 == session)
            .collect();
        assert!(ids.is_sorted(), "{ids:?}");
        assert_eq!(ids.len(), 20);
    }
}

#[tokio::test]
async fn a_connection_that_the_backend_closed_meanwhile_costs_no_hook() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    let backend = Backend::start(move |_| Reply::Broken(answer.into())).await;
    let app = app(&backend.url());
    let mut hooks = short();
    for id in 0..20 {
        assert!(
            matches!(
                ask(&mut hooks, request(&app, id, 1)).await,
                HookOutcome::Accepted { .. }
            ),
            "{id}"
        );
        // As long as the close takes to get here.
        while hooks.0.lock()["shopKey"].pool.idle() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert_eq!(backend.seen().len(), 20);
}

#[tokio::test]
async fn whatever_is_no_2xx_is_a_refusal_with_its_reason_and_body() {
    let backend = Backend::start(|seen| match seen.id() {
        0 => Reply::Whole(
            "403 Forbidden",
            r#"{"status":403,"reason":"no money"}"#.into(),
        ),
        1 => Reply::Whole("404 Not Found", String::new()),
        2 => Reply::Whole("500 Out of order", "x".into()),
        _ => Reply::Whole("299 Fine", "not JSON".into()),
    })
    .await;
    let app = app(&backend.url());
    let mut hooks = short();
    for (id, status, reason, body) in [
        (0, 403, "Forbidden", r#"{"status":403,"reason":"no money"}"#),
        (1, 404, "Not Found", ""),
        (2, 500, "Out of order", "x"),
    ] {
        let outcome = ask(&mut hooks, request(&app, id, 1)).await;
        assert_eq!(
            outcome,
            HookOutcome::Refused {
                status,
                reason: reason.into(),
                body: body.into()
            }
        );
    }
    let outcome = ask(&mut hooks, request(&app, 3, 1)).await;
    assert_eq!(
        outcome,
        HookOutcome::Accepted {
            body: "not JSON".into()
        }
    );
    assert_eq!(
        (hooks.0.counts().refused, hooks.0.counts().accepted),
        (3, 1)
    );
}

#[tokio::test]
async fn a_redirect_is_a_refusal_and_is_not_followed() {
    let other = Backend::start(ok).await;
    let location = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
        other.url()
    );
    let backend = Backend::start(move |_| Reply::Broken(location.clone())).await;
    let outcome = ask(&mut short(), request(&app(&backend.url()), 1, 1)).await;
    assert!(
        matches!(outcome, HookOutcome::Refused { status: 307, .. }),
        "{outcome:?}"
    );
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn a_refused_connection_a_name_that_is_not_there_and_a_host_that_speaks_no_http_are_told_in_a_sentence()
 {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = taken.local_addr().unwrap();
    drop(taken);
    let refused = ask(
        &mut short(),
        request(&app(&format!("http://{closed}")), 1, 1),
    )
    .await;
    assert!(why(refused).contains("refused"));
    let unknown = ask(
        &mut hooks(Settings::default()),
        request(&app("http://nowhere.invalid"), 1, 1),
    )
    .await;
    assert!(why(unknown).contains("nowhere.invalid is not found"));
    let strange = Backend::start(|_| Reply::Broken("SSH-2.0-OpenSSH_9.2\r\n".into())).await;
    let strange = ask(&mut short(), request(&app(&strange.url()), 1, 1)).await;
    assert!(!why(strange).is_empty());
}

#[tokio::test]
async fn a_backend_that_hangs_drips_or_breaks_off_is_given_up() {
    let backend = Backend::start(|seen| match seen.id() {
        0 => Reply::Nothing,
        // There is always a next byte, of the head or of the body.
        1 => Reply::Drip("HTTP/1.1 200 OK\r\nX-More: "),
        5 => Reply::Drip("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"),
        2 => Reply::Broken("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"half\":".into()),
        3 => Reply::Broken(String::new()),
        _ => Reply::Whole("200 OK", "{}".into()),
    })
    .await;
    let app = app(&backend.url());
    let mut hooks = short();
    for (id, wanted) in [
        (0, "no answer within 0.3 s"),
        (1, "0.3 s"),
        (5, "0.3 s"),
        (2, "broke off"),
        (3, "closed"),
    ] {
        let told = why(ask(&mut hooks, request(&app, id, 1)).await);
        assert!(told.contains(wanted), "{id}: {told}");
        // The session goes on, and its hooks too.
        let after = ask(&mut hooks, request(&app, 4, 1)).await;
        assert!(matches!(after, HookOutcome::Accepted { .. }));
    }
    assert_eq!(hooks.0.counts().unreachable, 5);
}

#[tokio::test]
async fn an_answer_too_long_is_no_answer_but_no_sign_of_death_either() {
    let backend = Backend::start(|seen| match seen.id() {
        99 => ok(seen),
        id if id % 2 == 0 => Reply::Whole("200 OK", "x".repeat(limits::BODY + 1)),
        // The same without saying so before.
        _ => Reply::Broken(format!(
            "HTTP/1.1 200 OK\r\n\r\n{}",
            "x".repeat(limits::BODY + 1)
        )),
    })
    .await;
    let app = app(&backend.url());
    let mut hooks = hooks(Settings::default());
    for id in 0..2 * u64::from(limits::FAILURES) {
        let told = why(ask(&mut hooks, request(&app, id, 1)).await);
        assert!(told.contains("longer than"), "{told}");
    }
    assert!(matches!(
        ask(&mut hooks, request(&app, 99, 1)).await,
        HookOutcome::Accepted { .. }
    ));
}

#[tokio::test]
async fn a_slow_backend_delays_no_other_application() {
    let slow = Backend::start(|_| Reply::Nothing).await;
    let fast = Backend::start(ok).await;
    let slow_app = app(&slow.url());
    let mut fast_app = Arc::unwrap_or_clone(app(&fast.url()));
    fast_app.key = "fastKey".into();
    let fast_app = Arc::new(fast_app);
    let mut hooks = hooks(Settings::default());
    for id in 1000..1200 {
        assert_eq!(hooks.0.post(request(&slow_app, id, id)), []);
    }
    let begun = Instant::now();
    for id in 0..50 {
        assert!(matches!(
            ask(&mut hooks, request(&fast_app, id, 1)).await,
            HookOutcome::Accepted { .. }
        ));
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    let mut states = hooks.0.apps();
    states.sort_by(|a, b| a.app.cmp(&b.app));
    assert_eq!(
        (states[1].running, states[1].waiting),
        (limits::CONNECTIONS, 200 - limits::CONNECTIONS)
    );
    hooks.0.retain(&Apps::default());
    assert_eq!(
        hooks.0.apps().len(),
        1,
        "what is under way is not forgotten"
    );
}

#[tokio::test]
async fn every_request_gets_exactly_one_answer_when_the_queue_is_full_and_the_breaker_opens() {
    let backend = Backend::start(|_| Reply::Nothing).await;
    let app = app(&backend.url());
    let (hooks, mut answers) = hooks(Settings {
        request_timeout: Duration::from_millis(200),
        queue: 20,
        ..Settings::default()
    });
    let mut heard = BTreeMap::<u64, u32>::new();
    for id in 0..100 {
        let mut request = request(&app, id, id);
        request.awaited = id % 2 == 0;
        for (id, _) in hooks.post(request) {
            *heard.entry(id.0).or_default() += 1;
        }
    }
    while heard.len() < 100 {
        *heard.entry(next(&mut answers).await.0.0).or_default() += 1;
    }
    assert!(heard.values().all(|n| *n == 1), "{heard:?}");
    assert!(hooks.apps()[0].breaker_open);
    while !hooks.is_idle() {
        tokio::task::yield_now().await;
    }
    let counts = hooks.counts();
    assert_eq!(counts.unreachable, limits::CONNECTIONS as u64);
    assert_eq!(counts.unsent, 100 - counts.unreachable);
}

#[tokio::test]
async fn the_breaker_opens_fails_at_once_and_closes_when_the_backend_is_back() {
    let backend = Backend::start(ok).await;
    let address = backend.address;
    let app = app(&backend.url());
    drop(backend);
    let mut hooks = short();
    let failures = u64::from(limits::FAILURES);
    for id in 0..failures {
        assert!(why(ask(&mut hooks, request(&app, id, 1)).await).contains("refused"));
    }
    assert!(hooks.0.apps()[0].breaker_open);
    let at_once = hooks.0.post(request(&app, 50, 1));
    assert!(why(at_once[0].1.clone()).contains("not asked again yet"));

    let backend = Backend::at(address, None, ok).await;
    let begun = Instant::now();
    let mut id = 100;
    while !matches!(
        ask(&mut hooks, request(&app, id, 1)).await,
        HookOutcome::Accepted { .. }
    ) {
        assert!(begun.elapsed() < PATIENCE, "the breaker never tries again");
        assert!(backend.seen().is_empty());
        tokio::time::sleep(Duration::from_millis(20)).await;
        id += 1;
    }
    assert!(!hooks.0.apps()[0].breaker_open);
    assert!(matches!(
        ask(&mut hooks, request(&app, 999, 1)).await,
        HookOutcome::Accepted { .. }
    ));
}

#[tokio::test]
async fn a_new_url_is_a_new_backend() {
    let mut hooks = short();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = app(&format!("http://{}", taken.local_addr().unwrap()));
    drop(taken);
    for id in 0..u64::from(limits::FAILURES) {
        ask(&mut hooks, request(&dead, id, 1)).await;
    }
    assert!(hooks.0.apps()[0].breaker_open);
    let backend = Backend::start(ok).await;
    let moved = app(&backend.url());
    assert!(matches!(
        ask(&mut hooks, request(&moved, 9, 1)).await,
        HookOutcome::Accepted { .. }
    ));
}

/// An authority, and a server's settings with its certificate for `localhost`.
fn authority() -> (CertificateDer<'static>, tokio_rustls::TlsAcceptor) {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    (
        issuer.der().clone(),
        tokio_rustls::TlsAcceptor::from(Arc::new(config)),
    )
}

#[tokio::test]
async fn over_tls_the_backend_must_have_a_certificate_for_its_name_from_an_authority_that_is_believed()
 {
    let (authority, acceptor) = authority();
    let backend = Backend::at("127.0.0.1:0".parse().unwrap(), Some(acceptor), ok).await;
    let port = backend.address.port();
    let believing = || {
        hooks(Settings {
            authorities: vec![authority.clone()],
            ..Settings::default()
        })
    };
    let named = app(&format!("https://localhost:{port}/hooks"));
    let mut hooks = believing();
    for id in 0..3 {
        assert!(matches!(
            ask(&mut hooks, request(&named, id, 1)).await,
            HookOutcome::Accepted { .. }
        ));
    }
    assert_eq!(backend.seen().len(), 3);
    assert!(
        backend
            .seen()
            .iter()
            .all(|seen| seen.connection == backend.seen()[0].connection)
    );
    let other_name = app(&format!("https://127.0.0.1:{port}/hooks"));
    let told = why(ask(&mut believing(), request(&other_name, 4, 1)).await);
    assert!(told.contains("TLS with 127.0.0.1 failed"), "{told}");
    let strangers = super::hooks(Settings {
        authorities: vec![self::authority().0],
        ..Settings::default()
    });
    let told = why(ask(&mut { strangers }, request(&named, 5, 1)).await);
    assert!(told.contains("TLS with localhost failed"), "{told}");
    assert_eq!(backend.seen().len(), 3);
}

#[tokio::test]
async fn the_password_goes_to_loopback_and_over_tls_but_not_to_another_machine_in_the_clear() {
    let backend = Backend::start(ok).await;
    let sent = |app: Arc<App>, id| {
        let seen = backend.seen.clone();
        async move {
            let mut request = request(&app, id, 1);
            request.with_password = true;
            let outcome = ask(&mut hooks(Settings::default()), request).await;
            assert!(
                matches!(outcome, HookOutcome::Accepted { .. }),
                "{outcome:?}"
            );
            let body = seen.lock().unwrap().last().unwrap().body.clone();
            body.contains("sipPassword")
        }
    };
    let port = backend.address.port();
    assert!(sent(app(&backend.url()), 1).await);
    assert!(sent(app(&format!("http://localhost:{port}")), 2).await);

    // An address of this machine that is not loopback stands for another one.
    let Some(ip) = if_addrs::get_if_addrs()
        .unwrap()
        .into_iter()
        .map(|i| i.ip())
        .find(|ip| ip.is_ipv4() && !ip.is_loopback())
    else {
        eprintln!("this machine has no address but loopback: the rest cannot be tried");
        return;
    };
    let (authority, acceptor) = authority();
    let elsewhere = Backend::at(SocketAddr::new(ip, 0), None, ok).await;
    let far = app(&elsewhere.url());
    let mut hooks = hooks(Settings {
        authorities: vec![authority],
        ..Settings::default()
    });
    let mut asked = request(&far, 3, 1);
    asked.with_password = true;
    assert!(matches!(
        ask(&mut hooks, asked.clone()).await,
        HookOutcome::Accepted { .. }
    ));
    assert_eq!(elsewhere.seen()[0].body, r#"{"nodeId":"n","id":3}"#);
    let mut opted_in = Arc::unwrap_or_clone(far);
    opted_in.password_over_http = true;
    asked.app = Arc::new(opted_in);
    ask(&mut hooks, asked).await;
    assert!(elsewhere.seen()[1].body.contains("geheim"));
    drop(acceptor);
}
