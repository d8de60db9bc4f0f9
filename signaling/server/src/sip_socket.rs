//! The trunk's sockets: one UDP socket for each address, listeners for TCP and TLS, and a task for each connection.

use crate::sip_stream::{accept, accept_secure, open};
use crate::sip_tls::SipTls;
use signaling_trunk::guard::is_new_request;
use signaling_trunk::lines::Lines;
use signaling_trunk::net::{Listener, StreamId, Transport};
use signaling_trunk::tls::{PeerCertificate, TlsOpen};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What arrived and was not looked at; beyond that the kernel's buffers fill, and then datagrams are lost.
const MAX_ARRIVED: usize = 4_096;
/// Places of it that datagrams which ask for something new do not get: when we are late, calls that run go on, and
/// new ones are lost first.
const KEPT_FOR_RUNNING: usize = 1_024;
/// Messages waiting for one slow peer; one more and its connection is dropped.
pub(crate) const MAX_QUEUED: usize = 256;
/// The kernel's buffer behind a UDP socket, in bytes.
const UDP_BUFFER: usize = 4 << 20;

/// Something that the network did.
#[derive(Debug)]
pub enum Arrival {
    Datagram {
        local: SocketAddr,
        remote: SocketAddr,
        bytes: Vec<u8>,
    },
    /// With TLS: after its handshake.
    Accepted {
        stream: StreamId,
        remote: SocketAddr,
        secure: bool,
        peer: Option<PeerCertificate>,
        writer: mpsc::Sender<Vec<u8>>,
    },
    Connected {
        stream: StreamId,
    },
    Data {
        stream: StreamId,
        bytes: Vec<u8>,
    },
    Closed {
        stream: StreamId,
    },
    /// It could not be opened.
    Failed {
        stream: StreamId,
        why: String,
    },
}

/// An address to listen on, as the configuration says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    pub transport: Transport,
    /// A wildcard address means every address of this box, each with a socket of its own, so that what is
    /// sent leaves from the address that was written to.
    pub bind: SocketAddr,
    /// Address, and port if it differs, that peers are told instead.
    pub announce: Option<(IpAddr, Option<u16>)>,
    /// By which trunks choose it; empty: it has none.
    pub name: String,
}

/// A socket that was bound before, by whoever tells the operator of all taken ports at once. Non-blocking.
#[derive(Debug)]
pub enum Adopted {
    Udp {
        socket: std::net::UdpSocket,
        announce: Option<SocketAddr>,
        name: String,
    },
    Tcp {
        listener: std::net::TcpListener,
        announce: Option<SocketAddr>,
        name: String,
        /// TLS.
        secure: bool,
    },
}

/// What all SIP sockets have in common.
#[derive(Clone, Debug, Default)]
pub struct SocketRules {
    /// `None`: no TLS, neither to us nor from us.
    pub tls: Option<SipTls>,
    /// DSCP of what we send (RFC 4594: CS3, which is 24, for signalling); 0: none.
    pub dscp: u8,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {transport} {address}: {source}")]
pub struct BindError {
    pub transport: &'static str,
    pub address: SocketAddr,
    pub source: io::Error,
}

pub struct SipSockets {
    listeners: Vec<Listener>,
    udp: Vec<(SocketAddr, Arc<UdpSocket>)>,
    streams: HashMap<StreamId, mpsc::Sender<Vec<u8>>>,
    arrived: mpsc::Sender<Arrival>,
    arrivals: mpsc::Receiver<Arrival>,
    lost: Arc<AtomicU64>,
    tasks: JoinSet<()>,
    rules: SocketRules,
}

impl SipSockets {
    /// `interfaces`: this box's addresses, for wildcards.
    pub fn bind(
        listen: &[Listen],
        adopted: Vec<Adopted>,
        interfaces: &[(IpAddr, u8)],
        rules: SocketRules,
    ) -> Result<SipSockets, BindError> {
        let (arrived, arrivals) = mpsc::channel(MAX_ARRIVED);
        let mut sockets = SipSockets {
            listeners: Vec::new(),
            udp: Vec::new(),
            streams: HashMap::new(),
            arrived,
            arrivals,
            lost: Arc::default(),
            tasks: JoinSet::new(),
            rules,
        };
        let accepted = Arc::new(AtomicU64::new(0));
        for socket in adopted {
            sockets.adopt(socket, accepted.clone())?;
        }
        for listen in listen {
            let addresses = expanded(listen.bind, interfaces);
            if addresses.is_empty() {
                return Err(BindError {
                    transport: listen.transport.name(),
                    address: listen.bind,
                    source: io::ErrorKind::AddrNotAvailable.into(),
                });
            }
            for address in addresses {
                let told = |source| BindError {
                    transport: listen.transport.name(),
                    address,
                    source,
                };
                let bound = match listen.transport {
                    Transport::Udp => sockets.bind_udp(address).map_err(told)?,
                    secure => sockets
                        .bind_tcp(address, accepted.clone(), secure == Transport::Tls)
                        .map_err(told)?,
                };
                let announce = listen
                    .announce
                    .map(|(ip, port)| SocketAddr::new(ip, port.unwrap_or(bound.port())));
                sockets.listeners.push(Listener {
                    transport: listen.transport,
                    bound,
                    announce,
                    name: listen.name.clone(),
                });
            }
        }
        Ok(sockets)
    }

    fn adopt(&mut self, adopted: Adopted, accepted: Arc<AtomicU64>) -> Result<(), BindError> {
        let (transport, announce, name, bound) = match adopted {
            Adopted::Udp {
                socket,
                announce,
                name,
            } => {
                let socket = Socket::from(socket);
                let _ = socket.set_recv_buffer_size(UDP_BUFFER);
                let bound =
                    UdpSocket::from_std(socket.into()).and_then(|socket| self.serve_udp(socket));
                (Transport::Udp, announce, name, bound)
            }
            Adopted::Tcp {
                listener,
                announce,
                name,
                secure,
            } => {
                let bound = TcpListener::from_std(listener)
                    .and_then(|listener| self.serve_tcp(listener, accepted, secure));
                let transport = if secure {
                    Transport::Tls
                } else {
                    Transport::Tcp
                };
                (transport, announce, name, bound)
            }
        };
        let told = |source| BindError {
            transport: transport.name(),
            address: announce.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0))),
            source,
        };
        self.listeners.push(Listener {
            transport,
            bound: bound.map_err(told)?,
            announce,
            name,
        });
        Ok(())
    }

    /// The addresses really bound, port 0 replaced.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    fn bind_udp(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // As much as the system allows; less is not a reason not to start.
        let _ = socket.set_recv_buffer_size(UDP_BUFFER);
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        self.serve_udp(UdpSocket::from_std(socket.into())?)
    }

    fn serve_udp(&mut self, socket: UdpSocket) -> io::Result<SocketAddr> {
        let socket = Arc::new(socket);
        let bound = socket.local_addr()?;
        mark(SockRef::from(&*socket), bound, self.rules.dscp);
        self.udp.push((bound, socket.clone()));
        self.tasks.spawn(read_datagrams(
            socket,
            bound,
            self.arrived.clone(),
            self.lost.clone(),
        ));
        Ok(bound)
    }

    fn bind_tcp(
        &mut self,
        address: SocketAddr,
        accepted: Arc<AtomicU64>,
        secure: bool,
    ) -> io::Result<SocketAddr> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        self.serve_tcp(TcpListener::from_std(socket.into())?, accepted, secure)
    }

    fn serve_tcp(
        &mut self,
        listener: TcpListener,
        accepted: Arc<AtomicU64>,
        secure: bool,
    ) -> io::Result<SocketAddr> {
        let bound = listener.local_addr()?;
        // Connections have what their listener has.
        mark(SockRef::from(&listener), bound, self.rules.dscp);
        let arrived = self.arrived.clone();
        if !secure {
            self.tasks.spawn(accept(listener, accepted, arrived));
        } else if let Some(tls) = self.rules.tls.clone() {
            self.tasks
                .spawn(accept_secure(listener, tls, accepted, arrived));
        } else {
            return Err(io::Error::other("there is no certificate for TLS"));
        }
        Ok(bound)
    }

    /// New requests that were lost because too much had arrived.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// The operator's trunks, whose TLS may differ; before the agent hears of them.
    pub fn take_lines(&self, lines: &Lines) {
        if let Some(tls) = &self.rules.tls {
            tls.take_lines(lines);
        }
    }

    pub async fn next(&mut self) -> Option<Arrival> {
        // Finished tasks are swept here, or their remains would pile up.
        while self.tasks.try_join_next().is_some() {}
        let arrival = self.arrivals.recv().await?;
        Some(self.noted(arrival))
    }

    /// What has arrived already, without waiting.
    pub fn try_next(&mut self) -> Option<Arrival> {
        let arrival = self.arrivals.try_recv().ok()?;
        Some(self.noted(arrival))
    }

    fn noted(&mut self, arrival: Arrival) -> Arrival {
        match &arrival {
            Arrival::Accepted { stream, writer, .. } => {
                self.streams.insert(*stream, writer.clone());
            }
            Arrival::Closed { stream } | Arrival::Failed { stream, .. } => {
                self.streams.remove(stream);
            }
            Arrival::Datagram { .. } | Arrival::Connected { .. } | Arrival::Data { .. } => {}
        }
        arrival
    }

    pub fn send_datagram(&self, local: SocketAddr, remote: SocketAddr, bytes: &[u8]) {
        let Some((_, socket)) = self.udp.iter().find(|(bound, _)| *bound == local) else {
            return;
        };
        if let Err(error) = socket.try_send_to(bytes, remote) {
            tracing::debug!(%remote, %error, "SIP datagram not sent");
        }
    }

    /// False if the peer takes too little: the connection is dropped.
    pub fn send_stream(&mut self, stream: StreamId, bytes: Vec<u8>) -> bool {
        let Some(writer) = self.streams.get(&stream) else {
            return true;
        };
        match writer.try_send(bytes) {
            Ok(()) => true,
            Err(_) => {
                self.streams.remove(&stream);
                false
            }
        }
    }

    /// `tls`: it is up when the far end has proved to be that.
    pub fn open(
        &mut self,
        stream: StreamId,
        from: IpAddr,
        remote: SocketAddr,
        tls: Option<TlsOpen>,
    ) {
        let (writer, queue) = mpsc::channel(MAX_QUEUED);
        self.streams.insert(stream, writer);
        let (rules, arrived) = (self.rules.clone(), self.arrived.clone());
        self.tasks
            .spawn(open(stream, from, remote, tls, rules, queue, arrived));
    }

    /// What was written before still goes out.
    pub fn close(&mut self, stream: StreamId) {
        self.streams.remove(&stream);
    }
}

/// A mark that the system refuses is no reason not to speak.
pub(crate) fn mark(socket: SockRef<'_>, local: SocketAddr, dscp: u8) {
    let byte = u32::from(dscp) << 2;
    let marked = if local.is_ipv4() {
        socket.set_tos_v4(byte)
    } else {
        socket.set_tclass_v6(byte)
    };
    if let Err(error) = marked {
        tracing::debug!(%local, %error, "SIP socket without its DSCP");
    }
}

fn expanded(bind: SocketAddr, interfaces: &[(IpAddr, u8)]) -> Vec<SocketAddr> {
    if !bind.ip().is_unspecified() {
        return vec![bind];
    }
    let fits = |ip: &IpAddr| match ip {
        IpAddr::V4(_) => bind.is_ipv4(),
        // A link-local address needs its interface beside it: nobody's SIP lives there.
        IpAddr::V6(v6) => bind.is_ipv6() && v6.segments()[0] & 0xffc0 != 0xfe80,
    };
    let mut found: Vec<SocketAddr> = Vec::new();
    for ip in interfaces.iter().map(|(ip, _)| *ip).filter(fits) {
        let address = SocketAddr::new(ip, bind.port());
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

async fn read_datagrams(
    socket: Arc<UdpSocket>,
    local: SocketAddr,
    arrived: mpsc::Sender<Arrival>,
    lost: Arc<AtomicU64>,
) {
    let mut buf = vec![0; 65_536];
    loop {
        let (len, remote) = match socket.recv_from(&mut buf).await {
            Ok(received) => received,
            Err(error) => {
                // An ICMP error of an earlier send; the socket itself is well.
                tracing::debug!(%local, %error, "SIP socket");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let bytes = buf.get(..len).unwrap_or_default();
        if arrived.capacity() <= KEPT_FOR_RUNNING && is_new_request(bytes) {
            lost.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let bytes = bytes.to_vec();
        if arrived
            .send(Arrival::Datagram {
                local,
                remote,
                bytes,
            })
            .await
            .is_err()
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn what_sip_sockets_send_has_the_dscp_of_the_settings() {
        for ip in ["127.0.0.1", "::1"] {
            let listen = [Transport::Udp, Transport::Tcp].map(|transport| Listen {
                transport,
                bind: SocketAddr::new(ip.parse().unwrap(), 0),
                announce: None,
                name: String::new(),
            });
            let rules = SocketRules {
                tls: None,
                dscp: 24,
            };
            let sockets = SipSockets::bind(&listen, Vec::new(), &[], rules).unwrap();
            let marked = |socket: SockRef<'_>| {
                let byte = if ip == "::1" {
                    socket.tclass_v6()
                } else {
                    socket.tos_v4()
                };
                assert_eq!(byte.unwrap(), 24 << 2);
            };
            marked(SockRef::from(&*sockets.udp[0].1));
            // A connection takes the mark of the listener that it was accepted by.
            let plain = TcpListener::bind(SocketAddr::new(ip.parse().unwrap(), 0))
                .await
                .unwrap();
            let at = plain.local_addr().unwrap();
            mark(SockRef::from(&plain), at, 24);
            let (ours, accepted) =
                tokio::join!(crate::sip_stream::connect(at.ip(), at, 24), plain.accept());
            marked(SockRef::from(&ours.unwrap()));
            marked(SockRef::from(&accepted.unwrap().0));
        }
    }

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn when_too_much_arrives_new_requests_are_lost_and_those_of_running_calls_are_not() {
        let listen = [Listen {
            transport: Transport::Udp,
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            announce: None,
            name: String::new(),
        }];
        let rules = SocketRules { tls: None, dscp: 0 };
        let mut sockets = SipSockets::bind(&listen, Vec::new(), &[], rules).unwrap();
        let to = sockets.listeners()[0].bound;
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut sent = 0;
        // Nobody takes what arrives.
        for n in 0..MAX_ARRIVED {
            let new = format!("INVITE sip:{n}@x SIP/2.0\r\nTo: <sip:{n}@x>\r\n\r\n");
            peer.send_to(new.as_bytes(), to).await.unwrap();
            sent += 1;
            taken_up(&sockets, sent).await;
        }
        assert_eq!(sockets.lost(), KEPT_FOR_RUNNING as u64);
        for running in [
            "BYE sip:a@x SIP/2.0\r\nTo: <sip:a@x>;tag=1\r\n\r\n",
            "INVITE sip:a@x SIP/2.0\r\nTo: <sip:a@x>;tag=1\r\n\r\n",
            "CANCEL sip:a@x SIP/2.0\r\nTo: <sip:a@x>\r\n\r\n",
            "SIP/2.0 200 OK\r\n\r\n",
        ] {
            peer.send_to(running.as_bytes(), to).await.unwrap();
            sent += 1;
            taken_up(&sockets, sent).await;
        }
        assert_eq!(sockets.lost(), KEPT_FOR_RUNNING as u64);
        let mut last = Vec::new();
        while let Some(Arrival::Datagram { bytes, .. }) = sockets.try_next() {
            last = bytes;
        }
        assert!(last.starts_with(b"SIP/2.0 200"));
    }

    async fn taken_up(sockets: &SipSockets, sent: usize) {
        let all = async {
            while sockets.arrivals.len() + sockets.lost() as usize != sent {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, all).await.unwrap();
    }
}
