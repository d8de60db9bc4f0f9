//! The listening side: one socket, behind which one or more roles are served.

use super::dial::read_first;
use super::frame::{Hello, Reply, write_frame};
use super::peer::{self, CLOSE_REFUSED, Established, Finder, UnderWay, finish};
use super::session::{LANES, Ourselves, Session, agree};
use super::wire::Wire;
use super::{Identity, LinkConfig, Receiver, Sender};
use quinn::{
    AckFrequencyConfig, Connection, Endpoint, IdleTimeout, Incoming, RecvStream, SendStream,
    ServerConfig, TransportConfig, VarInt,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tracing::{info, warn};

/// From the first packet to the first frame.
const FIRST_FRAME_TIME: Duration = Duration::from_secs(5);

/// Connections that have not yet said who they are; more are refused.
const HANDSHAKES: usize = 32;

/// Knocks at one role that wait for its task; more are turned away.
const ARRIVALS: usize = 4;

/// A connection that is alive says something within this time, since both sides keep it alive
/// (three keep-alives).
const fn proof_of_life(idle: Duration) -> Duration {
    Duration::from_millis(idle.as_millis() as u64 * 3 / KEEP_ALIVES_PER_IDLE as u64)
}

const KEEP_ALIVES_PER_IDLE: u32 = 10;

/// The socket on which other roles reach those of this process.
pub struct Listener {
    endpoint: Endpoint,
    config: LinkConfig,
    roles: Roles,
}

type Roles = Arc<Mutex<HashMap<String, Served>>>;

#[derive(Clone)]
struct Served {
    us: Ourselves,
    arrivals: mpsc::Sender<Arrival>,
}

/// Somebody who has said hello in a version that we speak.
struct Arrival {
    connection: Connection,
    send: SendStream,
    recv: RecvStream,
    hello: Hello,
    version: u16,
}

impl Listener {
    /// Binds `address`; port 0 takes any. Dialers of a role that is not served yet are refused and come back.
    pub fn bind(config: LinkConfig, address: SocketAddr) -> io::Result<Listener> {
        let _inside = config.runtime.enter();
        let server = server(&config.identity, config.idle).map_err(io::Error::other)?;
        let endpoint = Endpoint::server(server, address)?;
        config.remember(&endpoint);
        let roles = Roles::default();
        config
            .runtime
            .spawn(accept(endpoint.clone(), roles.clone()));
        Ok(Listener {
            endpoint,
            config,
            roles,
        })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Serves `role`: one peer at a time, through the same two channels, whoever it is. A peer that comes with
    /// another session replaces a dead one ([`super::LinkEvent::Up`] with `fresh`) and is refused while
    /// the present one lives.
    pub fn serve<Out, In>(&self, role: &str) -> (Sender<Out>, Receiver<In>)
    where
        Out: Serialize,
        In: DeserializeOwned + Send + 'static,
    {
        let (arrivals, knocks) = mpsc::channel(ARRIVALS);
        let served = Served {
            us: self.config.ourselves(role),
            arrivals,
        };
        if let Ok(mut roles) = self.roles.lock() {
            roles.insert(role.to_owned(), served);
        }
        let doorman = Doorman {
            knocks,
            role: role.to_owned(),
            proof_of_life: proof_of_life(self.config.idle),
            arrival: None,
            contender: None,
            begun_as: 0,
            under_way: None,
        };
        peer::spawn(&self.config, format!("at {role}"), Arc::default(), doorman)
    }
}

async fn accept(endpoint: Endpoint, roles: Roles) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    while let Some(incoming) = endpoint.accept().await {
        let busy = handshakes.available_permits() < HANDSHAKES / 2;
        if busy && !incoming.remote_address_validated() && incoming.may_retry() {
            // Made-up source addresses get no further than this (RFC 9000 §8.1.2).
            let _ = incoming.retry();
            continue;
        }
        let Ok(permit) = handshakes.clone().try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let roles = roles.clone();
        tokio::spawn(async move {
            let address = incoming.remote_address();
            match timeout(FIRST_FRAME_TIME, greet(incoming, &roles)).await {
                Ok(Ok(())) => (),
                Ok(Err(error)) => {
                    info!(%address, %error, "somebody on the link's port was not let in")
                }
                Err(_) => info!(%address, "somebody on the link's port said nothing"),
            }
            drop(permit);
        });
    }
}

async fn greet(incoming: Incoming, roles: &Roles) -> Result<(), String> {
    let connection = incoming.await.map_err(|e| e.to_string())?;
    let (send, mut recv) = connection.accept_bi().await.map_err(|e| e.to_string())?;
    let hello: Hello = read_first(&mut recv).await?;
    let served = roles
        .lock()
        .ok()
        .and_then(|roles| roles.get(&hello.wants).cloned());
    let Some(served) = served else {
        let sentence = format!("The {} role is not played here.", hello.wants);
        refuse(connection, send, sentence).await;
        return Ok(());
    };
    let version = match agree(&hello, &served.us) {
        Ok(version) => version,
        Err(sentence) => {
            warn!("{sentence}");
            refuse(connection, send, sentence).await;
            return Ok(());
        }
    };
    let arrival = Arrival {
        connection,
        send,
        recv,
        hello,
        version,
    };
    served
        .arrivals
        .try_send(arrival)
        .map_err(|_| "too many knock at once".to_owned())
}

async fn refuse(connection: Connection, mut send: SendStream, sentence: String) {
    let reply = Reply {
        refused: Some(sentence),
        ..Reply::default()
    };
    let mut out = Vec::new();
    write_frame(&reply, &mut out);
    if send.write_all(&out).await.is_ok() {
        let _ = send.finish();
        // The dialer closes when it has read this; the idle timeout does if it never does.
        let _ = timeout(Duration::from_secs(1), connection.closed()).await;
    }
    connection.close(CLOSE_REFUSED, b"refused");
}

/// Decides who of those that knock at one role is let in.
struct Doorman {
    knocks: mpsc::Receiver<Arrival>,
    role: String,
    proof_of_life: Duration,
    arrival: Option<Arrival>,
    /// Another process while the present peer seems to be alive: until then, and with what had been heard.
    contender: Option<(Arrival, Instant, u64)>,
    begun_as: u64,
    under_way: UnderWay<Result<Established, String>>,
}

impl Finder for Doorman {
    fn look(&mut self, session: &Session, standing: Option<&Connection>) -> bool {
        if self.begun_as != session.instance() {
            self.under_way = None;
        }
        if let Some((arrival, until, heard_before)) = self.contender.take() {
            match standing {
                None => self.arrival = Some(arrival),
                Some(_) if Instant::now() < until => {
                    self.contender = Some((arrival, until, heard_before))
                }
                Some(standing) if heard(standing) == heard_before => {
                    self.arrival = Some(arrival);
                    return true;
                }
                Some(standing) => {
                    let sentence = format!(
                        "The {} role at {} is served here and alive.",
                        arrival.hello.role,
                        standing.remote_address()
                    );
                    tokio::spawn(refuse(arrival.connection, arrival.send, sentence));
                }
            }
        }
        let Some(arrival) = self.arrival.take() else {
            return false;
        };
        if let Some(standing) = standing {
            if session.knows(arrival.hello.session, arrival.hello.instance) {
                // The same peer has lost this connection before we noticed.
                self.arrival = Some(arrival);
                return true;
            }
            self.contender = Some((
                arrival,
                Instant::now() + self.proof_of_life,
                heard(standing),
            ));
            return false;
        }
        let mut reply = session.judge(&arrival.hello, arrival.version);
        reply.version = arrival.version;
        self.begun_as = session.instance();
        self.under_way = Some(Box::pin(async move {
            timeout(FIRST_FRAME_TIME, welcome(arrival, reply))
                .await
                .unwrap_or_else(|_| Err("it did not open its lanes".to_owned()))
        }));
        false
    }

    async fn next(&mut self) -> Option<Box<Established>> {
        let until = self.contender.as_ref().map(|(_, until, _)| *until);
        tokio::select! {
            knock = self.knocks.recv() => match knock {
                Some(arrival) => self.arrival = Some(arrival),
                // The listener is gone: nobody will ever knock again.
                None => pending().await,
            },
            established = finish(&mut self.under_way) => match established {
                Ok(established) => return Some(Box::new(established)),
                Err(why) => info!(role = self.role, "a connection of the link failed: {why}"),
            },
            () = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until.into()).await,
                    None => pending().await,
                }
            } => (),
        }
        None
    }
}

fn heard(connection: &Connection) -> u64 {
    connection.stats().udp_rx.datagrams
}

async fn welcome(arrival: Arrival, reply: Reply) -> Result<Established, String> {
    let Arrival {
        connection,
        mut send,
        recv,
        hello,
        ..
    } = arrival;
    let mut out = Vec::new();
    write_frame(&reply, &mut out);
    send.write_all(&out).await.map_err(|e| e.to_string())?;
    let mut streams = vec![(send, recv)];
    for _ in 0..LANES {
        streams.push(connection.accept_bi().await.map_err(|e| e.to_string())?);
    }
    Ok(Established {
        wire: Wire::new(connection, streams, false).ok_or("the lanes do not fit")?,
        session: hello.session,
        peer_instance: hello.instance,
        resumed: reply.resumed,
        peer_seen: hello.seen,
    })
}

/// For both sides: nobody waits for anything but the network.
pub fn transport(idle: Duration) -> TransportConfig {
    let mut acks = AckFrequencyConfig::default();
    acks.max_ack_delay(Some(Duration::from_millis(5)));
    let mut config = TransportConfig::default();
    let streams = u32::try_from(LANES + 1).unwrap_or(u32::MAX);
    config
        .max_concurrent_bidi_streams(streams.into())
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(idle / KEEP_ALIVES_PER_IDLE))
        .max_idle_timeout(IdleTimeout::try_from(idle).ok())
        // Nodes are in one data centre: a first loss is to be noticed in tens of milliseconds, not a second.
        .initial_rtt(Duration::from_millis(20))
        .ack_frequency_config(Some(acks));
    config
}

fn server(identity: &Identity, idle: Duration) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::with_crypto(Arc::new(identity.server()?));
    config.transport_config(Arc::new(transport(idle)));
    Ok(config)
}
