//! One task for each connection of the trunk, over TCP or TLS.

use crate::sip_socket::{Arrival, MAX_QUEUED, SocketRules, mark};
use crate::sip_tls::{MAX_HANDSHAKES, MAX_HANDSHAKES_PER_ADDRESS, SipTls};
use signaling_trunk::net::StreamId;
use signaling_trunk::tls::{PeerCertificate, TlsOpen};
use socket2::SockRef;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that takes nothing for this long is dropped.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) async fn accept(
    listener: TcpListener,
    accepted: Arc<AtomicU64>,
    arrived: mpsc::Sender<Arrival>,
) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let (connection, remote) = next(&listener).await;
        let peer = Peer {
            remote,
            secure: false,
            certificate: None,
        };
        let Some((stream, queue)) = announce(peer, &accepted, &arrived).await else {
            return;
        };
        connections.spawn(serve(stream, connection, queue, arrived.clone()));
    }
}

/// The same with TLS; the trunk hears of a connection when its handshake is over.
pub(crate) async fn accept_secure(
    listener: TcpListener,
    tls: SipTls,
    accepted: Arc<AtomicU64>,
    arrived: mpsc::Sender<Arrival>,
) {
    let mut connections = JoinSet::new();
    let (over, mut overs) = mpsc::unbounded_channel::<IpAddr>();
    let mut handshakes: HashMap<IpAddr, usize> = HashMap::new();
    let mut all = 0;
    loop {
        while connections.try_join_next().is_some() {}
        let (connection, remote) = tokio::select! {
            accepted = next(&listener) => accepted,
            Some(ip) = overs.recv() => {
                all -= 1;
                if let Some(count) = handshakes.get_mut(&ip) {
                    *count -= 1;
                    if *count == 0 {
                        handshakes.remove(&ip);
                    }
                }
                continue;
            }
        };
        let of_address = handshakes.get(&remote.ip()).copied().unwrap_or(0);
        if all >= MAX_HANDSHAKES || of_address >= MAX_HANDSHAKES_PER_ADDRESS {
            // Dropped before anything costly is done for it.
            continue;
        }
        all += 1;
        handshakes.insert(remote.ip(), of_address + 1);
        let (tls, over) = (tls.clone(), over.clone());
        let (accepted, arrived) = (accepted.clone(), arrived.clone());
        connections.spawn(async move {
            let done = tls.accept(connection, remote).await;
            let _ = over.send(remote.ip());
            let (connection, certificate) = match done {
                Ok(done) => done,
                Err(error) => {
                    tracing::debug!(%remote, error, "TLS handshake of a SIP peer failed");
                    return;
                }
            };
            let peer = Peer {
                remote,
                secure: true,
                certificate,
            };
            if let Some((stream, queue)) = announce(peer, &accepted, &arrived).await {
                serve(stream, connection, queue, arrived).await;
            }
        });
    }
}

async fn next(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((connection, remote)) => {
                let _ = connection.set_nodelay(true);
                return (connection, remote);
            }
            Err(error) => {
                // Out of descriptors, say: waiting is all that helps.
                tracing::warn!(%error, "SIP connection not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

struct Peer {
    remote: SocketAddr,
    secure: bool,
    certificate: Option<PeerCertificate>,
}

/// Gives it a number; `None` when nobody is there any more to hear of it.
async fn announce(
    peer: Peer,
    accepted: &AtomicU64,
    arrived: &mpsc::Sender<Arrival>,
) -> Option<(StreamId, mpsc::Receiver<Vec<u8>>)> {
    // Odd numbers are the shell's.
    let stream = StreamId(accepted.fetch_add(1, Ordering::Relaxed) * 2 + 1);
    let (writer, queue) = mpsc::channel(MAX_QUEUED);
    let arrival = Arrival::Accepted {
        stream,
        remote: peer.remote,
        secure: peer.secure,
        peer: peer.certificate,
        writer,
    };
    arrived.send(arrival).await.ok()?;
    Some((stream, queue))
}

pub(crate) async fn open(
    stream: StreamId,
    from: IpAddr,
    remote: SocketAddr,
    open: Option<TlsOpen>,
    rules: SocketRules,
    queue: mpsc::Receiver<Vec<u8>>,
    arrived: mpsc::Sender<Arrival>,
) {
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connect(from, remote, rules.dscp)).await;
    let why = match (connected, open, rules.tls) {
        (Ok(Ok(connection)), None, _) => {
            return serve_opened(stream, connection, queue, arrived).await;
        }
        (Ok(Ok(connection)), Some(open), Some(tls)) => match tls.connect(&open, connection).await {
            Ok(connection) => {
                return serve_opened(stream, connection, queue, arrived).await;
            }
            Err(why) => {
                let (trunk, name) = (&open.profile, &open.server_name);
                if trunk.is_empty() {
                    tracing::info!(%remote, name, "no SIP over TLS: {why}");
                } else {
                    tracing::warn!(trunk, %remote, name, "no SIP over TLS: {why}");
                }
                why
            }
        },
        (Ok(Ok(_)), Some(_), None) => "there is no TLS here".into(),
        (Ok(Err(error)), ..) => {
            tracing::debug!(%remote, %error, "SIP connection failed");
            return closed(stream, &arrived).await;
        }
        (Err(_), ..) => return closed(stream, &arrived).await,
    };
    let _ = arrived.send(Arrival::Failed { stream, why }).await;
}

async fn closed(stream: StreamId, arrived: &mpsc::Sender<Arrival>) {
    let _ = arrived.send(Arrival::Closed { stream }).await;
}

pub(crate) async fn connect(from: IpAddr, remote: SocketAddr, dscp: u8) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    mark(SockRef::from(&socket), remote, dscp);
    if !from.is_unspecified() && from.is_ipv4() == remote.is_ipv4() {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    let connection = socket.connect(remote).await?;
    connection.set_nodelay(true)?;
    Ok(connection)
}

async fn serve_opened<S: AsyncRead + AsyncWrite + Unpin>(
    stream: StreamId,
    connection: S,
    queue: mpsc::Receiver<Vec<u8>>,
    arrived: mpsc::Sender<Arrival>,
) {
    if arrived.send(Arrival::Connected { stream }).await.is_ok() {
        serve(stream, connection, queue, arrived).await;
    }
}

/// One connection until either side closes it.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: StreamId,
    connection: S,
    mut queue: mpsc::Receiver<Vec<u8>>,
    arrived: mpsc::Sender<Arrival>,
) {
    let (mut reader, mut writer) = tokio::io::split(connection);
    let mut buf = vec![0; 16_384];
    loop {
        tokio::select! {
            read = reader.read(&mut buf) => {
                let Ok(len @ 1..) = read else { break };
                let bytes = buf.get(..len).unwrap_or_default().to_vec();
                if arrived.send(Arrival::Data { stream, bytes }).await.is_err() {
                    return;
                }
            }
            message = queue.recv() => {
                let Some(bytes) = message else { break };
                let written = async {
                    writer.write_all(&bytes).await?;
                    // What TLS holds back would wait for the next message.
                    writer.flush().await
                };
                let written = tokio::time::timeout(WRITE_TIMEOUT, written).await;
                if !matches!(written, Ok(Ok(()))) {
                    break;
                }
            }
        }
    }
    let _ = tokio::time::timeout(WRITE_TIMEOUT, writer.shutdown()).await;
    closed(stream, &arrived).await;
}
