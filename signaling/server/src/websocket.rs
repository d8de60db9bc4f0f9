//! Browsers: the WebSocket of the JSON protocol on any path, and the pages that we serve beside it.

use crate::fields;
use crate::rate::Rate;
use crate::signaling::{FromSocket, Sockets, ToSocket};
use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Extension, FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use signaling_calls::{Input, SessionId};
use signaling_protocol::{ClientMessage, FRAME_MAX};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tower::{Service, ServiceExt};

/// TCP connections at once on one listener, whatever they are for, where the process may have as many files.
const CONNECTIONS: usize = 30_000;
/// A TLS handshake or a request's headers may take so long.
const OPENING: Duration = Duration::from_secs(10);
/// A message that the network does not take for so long ends its socket.
const WRITING: Duration = Duration::from_secs(10);
/// Longest frame that is read at all. What lies between the two limits is read and refused: closing on unread
/// bytes would reset the connection, and the page would never see why.
const FRAME_READ: usize = 2 * FRAME_MAX;
/// How long a closing handshake may take.
const CLOSING: Duration = Duration::from_secs(1);
/// Bytes read at once; axum's own 128 kB a socket would be most of an idle session's memory.
const READ_BUFFER: usize = 4 * 1024;
/// Longest Origin header: a scheme, a host name of 253 characters, a port.
const ORIGIN: usize = 300;

/// With few descriptors (1,024 is usual outside of a service manager) idle pages must not take those that SIP,
/// media and health checks need: each of the two listeners gets three eighths of what there is.
fn connections() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    open_files(&limits).map_or(CONNECTIONS, |files| CONNECTIONS.min(files / 8 * 3))
}

/// The soft limit of open files, from the text that Linux has for it; `None` where there is none.
fn open_files(limits: &str) -> Option<usize> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A file served beside the WebSocket.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// "/" or "/name".
    pub path: &'static str,
    pub content_type: &'static str,
    pub body: &'static [u8],
}

/// A listener for browsers, plain or with TLS.
pub struct Web {
    pub listener: TcpListener,
    pub tls: Option<TlsAcceptor>,
    pub pages: &'static [Page],
    pub sockets: Sockets,
    pub guard: Guard,
}

/// Who may open a session at all, whatever the application. Clones share their counts.
#[derive(Clone, Default)]
pub struct Guard {
    /// Origins whose pages may connect, in lower case; empty: any, and clients that are no browsers.
    pub origins: Arc<[String]>,
    /// `None`: an address may open as many as it likes.
    pub rate: Option<Arc<Rate>>,
}

#[derive(Clone)]
struct App {
    sockets: Sockets,
    pages: &'static [Page],
    guard: Guard,
}

/// The two ends of a connection.
#[derive(Clone, Copy)]
struct Ends {
    remote: SocketAddr,
    local: SocketAddr,
}

impl Web {
    /// Accepts until `shutdown` turns true; sockets that are open then are closed by their sessions' end.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let app = App {
            sockets: self.sockets,
            pages: self.pages,
            guard: self.guard,
        };
        let router = Router::new().fallback(any_path).with_state(app);
        let places = Arc::new(Semaphore::new(connections()));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                changed = shutdown.changed() => {
                    if changed.is_err() || *shutdown.borrow() { return }
                    continue;
                }
            };
            let (stream, remote) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, mostly; at once again would only spin.
                    tracing::warn!(%error, "a browser's connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                continue;
            };
            let _ = stream.set_nodelay(true);
            // A connection that is gone already has no local end.
            let Ok(local) = stream.local_addr() else {
                continue;
            };
            let ends = Ends { remote, local };
            let (router, tls) = (router.clone(), self.tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => serve(stream, ends, router).await,
                    Some(tls) => match tokio::time::timeout(OPENING, tls.accept(stream)).await {
                        Ok(Ok(stream)) => serve(stream, ends, router).await,
                        Ok(Err(error)) => tracing::debug!(%remote, %error, "TLS handshake failed"),
                        Err(_) => tracing::debug!(%remote, "TLS handshake took too long"),
                    },
                }
                drop(place);
            });
        }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    ends: Ends,
    router: Router,
) {
    let service = tower::service_fn(move |request: Request<hyper::body::Incoming>| {
        let mut router = router.clone();
        async move {
            let mut request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(ends);
            router.as_service().ready().await?.call(request).await
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(OPENING)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    if let Err(error) = connection.await {
        tracing::debug!(remote = %ends.remote, %error, "connection ended");
    }
}

/// Pages append a stream's name or `/websocket` to the address, so every path that asks for an upgrade is
/// the protocol's (protocol §1.1); what does not ask is a page of ours or nothing.
async fn any_path(
    State(app): State<App>,
    Extension(ends): Extension<Ends>,
    request: Request,
) -> Response {
    let asks = request
        .headers()
        .get(header::UPGRADE)
        .is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if !asks {
        return page(&app, request.method(), request.uri().path());
    }
    let origin = match app.guard.admit(ends.remote, request.headers()) {
        Ok(origin) => origin,
        Err((status, why)) => {
            tracing::debug!(remote = %ends.remote, status = status.as_u16(), why, "upgrade refused");
            return (status, why).into_response();
        }
    };
    let (mut parts, _) = request.into_parts();
    match WebSocketUpgrade::from_request_parts(&mut parts, &app).await {
        Ok(upgrade) => upgrade
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(4 * FRAME_MAX)
            .max_message_size(FRAME_READ)
            .max_frame_size(FRAME_READ)
            .on_upgrade(move |socket| session(socket, ends, origin, app.sockets)),
        Err(refusal) => refusal.into_response(),
    }
}

impl Guard {
    /// The page's origin, or why the upgrade is refused.
    fn admit(
        &self,
        remote: SocketAddr,
        headers: &HeaderMap,
    ) -> Result<Option<String>, (StatusCode, &'static str)> {
        if self
            .rate
            .as_ref()
            .is_some_and(|rate| !rate.take(remote.ip()))
        {
            let why = "Too many connections from this address; wait a moment.\n";
            return Err((StatusCode::TOO_MANY_REQUESTS, why));
        }
        let origin = match headers.get(header::ORIGIN).map(HeaderValue::to_str) {
            None => None,
            Some(Ok(origin)) if origin.len() <= ORIGIN => Some(origin.to_owned()),
            Some(_) => return Err((StatusCode::BAD_REQUEST, "The Origin header is no origin.\n")),
        };
        let is_listed = origin.as_ref().is_some_and(|origin| {
            self.origins
                .iter()
                .any(|listed| listed.eq_ignore_ascii_case(origin))
        });
        if !self.origins.is_empty() && !is_listed {
            let why = "Pages of this origin may not connect here.\n";
            return Err((StatusCode::FORBIDDEN, why));
        }
        Ok(origin)
    }
}

fn page(app: &App, method: &Method, path: &str) -> Response {
    let path = if path == "/index.html" { "/" } else { path };
    let Some(page) = app.pages.iter().find(|page| page.path == path) else {
        let hint =
            "Nothing is here. The softphone page is at /; WebSocket clients may use any path.\n";
        return (StatusCode::NOT_FOUND, hint).into_response();
    };
    if method != Method::GET && method != Method::HEAD {
        return (
            StatusCode::METHOD_NOT_ALLOWED,
            [(header::ALLOW, "GET, HEAD")],
        )
            .into_response();
    }
    const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; media-src 'self' blob:; \
                          frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    let headers: [(HeaderName, HeaderValue); 5] = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static(page.content_type),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(POLICY),
        ),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
    ];
    (headers, page.body).into_response()
}

/// One browser's connection, from upgrade to close.
async fn session(socket: WebSocket, ends: Ends, origin: Option<String>, sockets: Sockets) {
    let Ends { remote, local } = ends;
    let session = sockets.next_session();
    let (outgoing, receiver) = Sockets::outgoing();
    // The name that hooks and logs know says nothing about the token: each has dice of its own.
    let (Some(dice), Some(unique)) = (draw::<24>(session), draw::<16>(session)) else {
        return;
    };
    let opened = FromSocket::Opened {
        session,
        remote,
        local,
        // The look that WCS gives its tokens, with 192 random bits behind it (protocol §1.8).
        token: format!("/{remote}-{dice}"),
        unique,
        origin,
        outgoing,
    };
    if sockets.inputs.send(opened).await.is_err() {
        return;
    }
    let (sink, mut stream) = socket.split();
    let (close, closing) = oneshot::channel();
    let mut writer = tokio::spawn(write(sink, receiver, closing));
    let code = loop {
        let frame = tokio::select! {
            frame = stream.next() => frame,
            // The loop has dropped or closed this session.
            _ = &mut writer => break None,
        };
        let input = match frame {
            Some(Ok(Message::Text(text))) if text.len() > FRAME_MAX => {
                break Some(close_code::SIZE);
            }
            Some(Ok(Message::Text(text))) => match ClientMessage::parse(&text) {
                Ok(message) => Input::Frame { session, message },
                Err(error) => Input::Unreadable {
                    session,
                    error: error.to_string(),
                },
            },
            // No client of this protocol sends one; saying so costs no more than ignoring it.
            Some(Ok(Message::Binary(_))) => {
                let error = "binary frames are not part of this protocol".to_owned();
                Input::Unreadable { session, error }
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Close(_))) => break Some(close_code::NORMAL),
            None => break None,
            Some(Err(error)) => {
                tracing::debug!(%remote, session = session.0, %error, "socket error");
                break Some(code_of(&error));
            }
        };
        if sockets
            .inputs
            .send(FromSocket::Input(Box::new(input)))
            .await
            .is_err()
        {
            break None;
        }
    };
    // A frame that says why, for pages that tell a clean end from a broken one.
    let says_why = code.is_some_and(|code| close.send(code).is_ok());
    let closed = FromSocket::Input(Box::new(Input::SessionClosed { session }));
    let _ = sockets.inputs.send(closed).await;
    if says_why {
        let _ = tokio::time::timeout(CLOSING, &mut writer).await;
    }
    writer.abort();
}

/// What a broken frame is answered with (RFC 6455 §7.4.1).
fn code_of(error: &axum::Error) -> u16 {
    let text = error.to_string();
    if text.contains("too long") || text.contains("too large") || text.contains("space limit") {
        close_code::SIZE
    } else {
        close_code::PROTOCOL
    }
}

async fn write(
    mut sink: futures_util::stream::SplitSink<WebSocket, Message>,
    mut messages: mpsc::Receiver<ToSocket>,
    mut closing: oneshot::Receiver<u16>,
) {
    loop {
        let message = tokio::select! {
            biased;
            code = &mut closing => match code {
                Ok(code) => {
                    let _ = send(&mut sink, close(code)).await;
                    break;
                }
                Err(_) => break,
            },
            message = messages.recv() => message,
        };
        let frame = match message {
            Some(ToSocket::Message { message, without }) => {
                let text = message.to_text();
                let text = if without.is_empty() {
                    text
                } else {
                    fields::without_in_arguments(text, &without)
                };
                Message::Text(text.into())
            }
            Some(ToSocket::Close) => close(close_code::NORMAL),
            None => break,
        };
        let last = matches!(frame, Message::Close(_));
        if !send(&mut sink, frame).await || last {
            break;
        }
    }
    let _ = tokio::time::timeout(CLOSING, sink.close()).await;
}

fn close(code: u16) -> Message {
    Message::Close(Some(CloseFrame {
        code,
        reason: "".into(),
    }))
}

async fn send(
    sink: &mut futures_util::stream::SplitSink<WebSocket, Message>,
    frame: Message,
) -> bool {
    matches!(
        tokio::time::timeout(WRITING, sink.send(frame)).await,
        Ok(Ok(()))
    )
}

/// That many random bytes in hex.
fn draw<const N: usize>(session: SessionId) -> Option<String> {
    let mut dice = [0u8; N];
    if let Err(error) = getrandom::fill(&mut dice) {
        tracing::error!(%error, session = session.0, "the system gives no random numbers; the session is refused");
        return None;
    }
    Some(dice.iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::open_files;

    #[test]
    fn the_limit_of_open_files_is_read_where_there_is_one() {
        let text = "Max processes  95  95  processes\nMax open files            1024                 4096                 files\n";
        assert_eq!(open_files(text), Some(1024));
        assert_eq!(
            open_files("Max open files  unlimited  unlimited  files\n"),
            None
        );
        assert_eq!(open_files(""), None);
    }
}
