//! One hook on the wire: HTTP/1.1, plain or TLS, over a connection that is kept if the backend keeps it.
//!
//! Redirects are not followed and proxies not used: a hook goes where the operator said, or nowhere.

use super::limits::{AGE, BODY, CONNECTING, HEAD, IDLE, REASON};
use super::roots::Roots;
use super::sign::sign;
use http::{HeaderValue, Method, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use signaling_backend::{App, HookOutcome, Request};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// The connections of one application that nobody uses now.
#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<Connection>>,
}

/// Ended when it is dropped, with whatever it is at.
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    task: AbortHandle,
    place: Place,
    /// The far end is on this computer.
    loopback: bool,
    born: Instant,
    used: Instant,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where connections of one URL lead.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    tls: bool,
    host: String,
    port: u16,
}

/// Why a backend could not be asked; a sentence for the log.
#[derive(Debug)]
pub(super) struct Fault {
    pub why: String,
    /// The backend was there all the same, and must not be taken for dead.
    pub alive: bool,
}

impl Fault {
    fn new(why: impl fmt::Display) -> Fault {
        Fault {
            why: why.to_string(),
            alive: false,
        }
    }
}

impl Pool {
    #[cfg(test)]
    pub fn idle(&self) -> usize {
        let open = |connection: &&Connection| !connection.sender.is_closed();
        self.lock().iter().filter(open).count()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that was used last: those beyond the present need grow old and are closed.
    fn take(&self, place: &Place) -> Option<Connection> {
        let mut idle = self.lock();
        idle.retain(|c| {
            !c.sender.is_closed()
                && c.place == *place
                && c.used.elapsed() < IDLE
                && c.born.elapsed() < AGE
        });
        idle.pop()
    }

    fn keep(&self, mut connection: Connection) {
        connection.used = Instant::now();
        self.lock().push(connection);
    }
}

/// Posts the hook. Takes as long as it takes: the caller has the time-out.
pub(super) async fn post(
    request: &Request,
    pool: &Pool,
    roots: &Roots,
    warn: impl Fn(),
) -> Result<HookOutcome, Fault> {
    let (place, uri) = read_url(&request.app, request.method.as_str())?;
    loop {
        let kept = pool.take(&place);
        let is_kept = kept.is_some();
        let mut connection = match kept {
            Some(connection) => connection,
            None => connect(&place, roots).await?,
        };
        if let Err(error) = connection.sender.ready().await {
            if is_kept {
                continue;
            }
            return Err(Fault::new(error));
        }
        let body = body(request, &connection, &warn);
        let message = message(request, &place, &uri, body)?;
        let response = match connection.sender.try_send_request(message).await {
            Ok(response) => response,
            Err(mut error) => {
                // Closed by the far end before anything was written: as good as never tried.
                if is_kept && error.take_message().is_some() {
                    continue;
                }
                return Err(Fault::new(explain(error.error())));
            }
        };
        let outcome = read(response).await?;
        pool.keep(connection);
        return Ok(outcome);
    }
}

fn read_url(app: &App, method: &str) -> Result<(Place, Uri), Fault> {
    let wrong = || Fault::new("the application's URL cannot be used");
    let url: Uri = app.url.parse().map_err(|_| wrong())?;
    let tls = match url.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(wrong()),
    };
    let host = url.host().ok_or_else(wrong)?;
    let port = url.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let place = Place {
        tls,
        host: host.to_owned(),
        port,
    };
    let path = format!("{}/{method}", url.path().trim_end_matches('/'));
    Ok((place, path.parse().map_err(|_| wrong())?))
}

async fn connect(place: &Place, roots: &Roots) -> Result<Connection, Fault> {
    let bare = place.host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((bare, place.port))
        .await
        .map_err(|error| Fault::new(format_args!("{bare} is not found: {error}")))?
        .collect();
    let stream = first_that_answers(bare, &addresses).await?;
    let _ = stream.set_nodelay(true);
    let loopback = stream
        .peer_addr()
        .is_ok_and(|peer| peer.ip().to_canonical().is_loopback());
    let (sender, task) = if place.tls {
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| Fault::new(format_args!("{bare} can be in no certificate")))?;
        let connector = TlsConnector::from(roots.client().await.map_err(Fault::new)?);
        let stream = connector
            .connect(name, stream)
            .await
            .map_err(|error| Fault::new(format_args!("TLS with {bare} failed: {error}")))?;
        shake_hands(TokioIo::new(stream)).await?
    } else {
        shake_hands(TokioIo::new(stream)).await?
    };
    let now = Instant::now();
    Ok(Connection {
        sender,
        task,
        place: place.clone(),
        loopback,
        born: now,
        used: now,
    })
}

async fn first_that_answers(host: &str, addresses: &[SocketAddr]) -> Result<TcpStream, Fault> {
    let mut last = Fault::new(format_args!("{host} has no address"));
    for address in addresses {
        match timeout(CONNECTING, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = Fault::new(format_args!("{address}: {error}")),
            Err(_) => last = Fault::new(format_args!("{address} does not answer")),
        }
    }
    Err(last)
}

async fn shake_hands<S>(
    stream: TokioIo<S>,
) -> Result<(http1::SendRequest<Full<Bytes>>, AbortHandle), Fault>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .title_case_headers(true)
        .max_buf_size(HEAD)
        .handshake(stream)
        .await
        .map_err(Fault::new)?;
    let task = tokio::spawn(async move {
        // Whoever asked has heard of it.
        let _ = connection.await;
    });
    Ok((sender, task.abort_handle()))
}

/// The body as it may go over this connection: a SIP password crosses no network in the clear, unless the operator
/// wants it so.
fn body(request: &Request, connection: &Connection, warn: &dyn Fn()) -> Bytes {
    let safe = connection.place.tls || connection.loopback || request.app.password_over_http;
    if !request.with_password || safe {
        return Bytes::from(request.body.clone());
    }
    warn();
    Bytes::from(without_password(&request.body))
}

/// The object without `sipPassword`, its other fields in the order they had. What is no object has no such field.
fn without_password(body: &str) -> String {
    crate::fields::without(body, &["sipPassword"]).unwrap_or_default()
}

fn message(
    request: &Request,
    place: &Place,
    path: &Uri,
    body: Bytes,
) -> Result<http::Request<Full<Bytes>>, Fault> {
    let default = if place.tls { 443 } else { 80 };
    let host = if place.port == default {
        place.host.clone()
    } else {
        format!("{}:{}", place.host, place.port)
    };
    let host = HeaderValue::from_str(&host).map_err(Fault::new)?;
    let mut message = http::Request::new(Full::new(body.clone()));
    *message.method_mut() = Method::POST;
    *message.uri_mut() = path.clone();
    let headers = message.headers_mut();
    headers.insert(header::HOST, host);
    let accept = HeaderValue::from_static("application/json, application/*+json");
    headers.insert(header::ACCEPT, accept);
    let json = HeaderValue::from_static("application/json;charset=UTF-8");
    headers.insert(header::CONTENT_TYPE, json);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    sign(headers, &request.app, &body, now.as_secs());
    Ok(message)
}

async fn read(response: http::Response<hyper::body::Incoming>) -> Result<HookOutcome, Fault> {
    let (head, body) = response.into_parts();
    let bytes = match Limited::new(body, BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(Fault {
                why: format!("the answer is longer than {BODY} bytes"),
                alive: true,
            });
        }
        Err(error) => {
            let why = match error.downcast_ref::<hyper::Error>() {
                Some(error) => explain(error),
                None => error.to_string(),
            };
            return Err(Fault::new(format_args!("the answer broke off: {why}")));
        }
    };
    let body = String::from_utf8_lossy(&bytes).into_owned();
    if head.status.is_success() {
        return Ok(HookOutcome::Accepted { body });
    }
    let said = head.extensions.get::<hyper::ext::ReasonPhrase>();
    let reason = match said.map(|said| String::from_utf8_lossy(said.as_bytes())) {
        Some(said) => said
            .chars()
            .filter(|c| !c.is_control())
            .take(REASON)
            .collect(),
        None => head.status.canonical_reason().unwrap_or("").to_owned(),
    };
    Ok(HookOutcome::Refused {
        status: head.status.as_u16(),
        reason,
        body,
    })
}

/// hyper's sentence with what is behind it.
fn explain(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::tests::app;

    #[test]
    fn a_hooks_address_is_the_applications_with_the_method_behind_it() {
        for (url, tls, host, port, path) in [
            (
                "http://backend:8081/apps/EchoApp",
                false,
                "backend",
                8081,
                "/apps/EchoApp/connect",
            ),
            ("https://backend", true, "backend", 443, "/connect"),
            ("http://[::1]/x/", false, "[::1]", 80, "/x/connect"),
        ] {
            let (place, uri) = read_url(&app(url), "connect").unwrap();
            assert_eq!(
                (place.tls, place.host.as_str(), place.port),
                (tls, host, port)
            );
            assert_eq!(uri.to_string(), path);
        }
        for url in ["", "/x", "ftp://backend", "backend:80"] {
            assert!(read_url(&app(url), "connect").is_err(), "{url}");
        }
    }
}
