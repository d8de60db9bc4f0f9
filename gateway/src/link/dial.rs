//! The dialing side: one connection after the other, for as long as somebody uses the link.

use super::frame::{FrameReader, MAX_FRAME_BYTES, Reply, write_frame};
use super::peer::{self, CLOSE_REFUSED, Established, Finder, UnderWay, finish};
use super::session::{LANES, Ourselves, Session};
use super::wire::Wire;
use super::{Identity, LinkConfig, Receiver, Sender, Shared};
use quinn::{ClientConfig, Connection, Endpoint, RecvStream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tracing::warn;

/// The whole of one attempt.
const ATTEMPT_TIME: Duration = Duration::from_secs(5);

/// Between two attempts: from the first to the last value, doubling.
const BACK_OFF_FIRST: Duration = Duration::from_millis(50);
const BACK_OFF_LAST: Duration = Duration::from_secs(2);

/// Keeps a link from `role` to the role `wants` at `address`.
///
/// # Errors
/// If no socket can be had for dialing, or the identity does not serve.
pub fn dial<Out, In>(
    config: &LinkConfig,
    role: &str,
    wants: &str,
    address: SocketAddr,
) -> io::Result<(Sender<Out>, Receiver<In>)>
where
    Out: Serialize,
    In: DeserializeOwned + Send + 'static,
{
    let _inside = config.runtime.enter();
    let any: IpAddr = match address.ip() {
        // A peer on this box is spoken to from this box.
        ip if ip.is_loopback() => ip,
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let mut endpoint = Endpoint::client(SocketAddr::new(any, 0))?;
    endpoint.set_default_client_config(
        client(&config.identity, config.idle).map_err(io::Error::other)?,
    );
    config.remember(&endpoint);
    let shared = Arc::new(Shared::default());
    let dialer = Dialer {
        endpoint,
        address,
        us: config.ourselves(role),
        wants: wants.to_owned(),
        back_off: Duration::ZERO,
        begun_as: 0,
        under_way: None,
        shared: shared.clone(),
    };
    Ok(peer::spawn(
        config,
        format!("{role} to {wants}"),
        shared,
        dialer,
    ))
}

struct Dialer {
    endpoint: Endpoint,
    address: SocketAddr,
    us: Ourselves,
    wants: String,
    back_off: Duration,
    /// Our number when the attempt under way began; void when it has changed.
    begun_as: u64,
    under_way: UnderWay<Result<Established, String>>,
    shared: Arc<Shared>,
}

impl Finder for Dialer {
    fn look(&mut self, session: &Session, _: Option<&Connection>) -> bool {
        if session.is_connected() {
            self.back_off = Duration::ZERO;
            self.under_way = None;
        } else if self.under_way.is_none() || self.begun_as != session.instance() {
            if self.begun_as != session.instance() && self.begun_as != 0 {
                // The peer was given up, perhaps because it makes no sense: that must not spin.
                self.grow_back_off();
            }
            let hello = session.hello(&self.us, &self.wants);
            let (endpoint, address, wait) = (self.endpoint.clone(), self.address, self.back_off);
            self.begun_as = session.instance();
            self.under_way = Some(Box::pin(async move {
                tokio::time::sleep(wait).await;
                let attempt = timeout(ATTEMPT_TIME, attempt(&endpoint, address, &hello));
                attempt
                    .await
                    .unwrap_or_else(|_| Err("it does not answer".to_owned()))
            }));
        }
        false
    }

    async fn next(&mut self) -> Option<Box<Established>> {
        match finish(&mut self.under_way).await {
            Ok(established) => Some(Box::new(established)),
            Err(why) => {
                self.grow_back_off();
                if self.shared.set_trouble(Some(why.clone())) {
                    warn!(
                        "the {} role at {} cannot be reached: {why}",
                        self.wants, self.address
                    );
                }
                None
            }
        }
    }
}

impl Dialer {
    fn grow_back_off(&mut self) {
        self.back_off = (self.back_off * 2).clamp(BACK_OFF_FIRST, BACK_OFF_LAST);
    }
}

async fn attempt(
    endpoint: &Endpoint,
    address: SocketAddr,
    hello: &super::frame::Hello,
) -> Result<Established, String> {
    fn say(error: impl std::fmt::Display) -> String {
        error.to_string()
    }
    let connection = endpoint
        .connect(address, super::identity::NODE_NAME)
        .map_err(say)?
        .await
        .map_err(say)?;
    let (mut send, mut recv) = connection.open_bi().await.map_err(say)?;
    let mut out = Vec::new();
    write_frame(hello, &mut out);
    send.write_all(&out).await.map_err(say)?;
    let reply: Reply = read_first(&mut recv).await?;
    if let Some(sentence) = reply.refused {
        connection.close(CLOSE_REFUSED, b"");
        return Err(sentence);
    }
    if reply.version < hello.oldest || reply.version > hello.newest {
        return Err(format!(
            "it chose version {} of the link, which was not offered",
            reply.version
        ));
    }
    let mut streams = vec![(send, recv)];
    for _ in 0..LANES {
        streams.push(connection.open_bi().await.map_err(say)?);
    }
    Ok(Established {
        wire: Wire::new(connection, streams, true).ok_or("the lanes do not fit")?,
        session: hello.session,
        peer_instance: reply.instance,
        resumed: reply.resumed,
        peer_seen: reply.seen,
    })
}

/// The first frame of a control stream. Nothing else may follow it before our own first frame.
pub async fn read_first<T: DeserializeOwned>(recv: &mut RecvStream) -> Result<T, String> {
    let mut reader = FrameReader::default();
    let mut piece = [0; 1024];
    let mut read = 0;
    // Byte by byte after the length would be exact; frames of the listener that follow its reply can only
    // come after our lanes have opened, so reading on is safe.
    while read < MAX_FRAME_BYTES {
        match recv.read(&mut piece).await.map_err(|e| e.to_string())? {
            Some(n) => reader.extend(&piece[..n]),
            None => return Err("it ended the first stream".to_owned()),
        }
        if let Some(frame) = reader.read().map_err(|e| e.to_string())? {
            return Ok(frame);
        }
        read += piece.len();
    }
    Err("its first frame is too large".to_owned())
}

fn client(identity: &Identity, idle: Duration) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::new(Arc::new(identity.client()?));
    config.transport_config(Arc::new(super::listen::transport(idle)));
    Ok(config)
}
