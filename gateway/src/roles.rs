//! Which roles run here, and which link joins which.
//!
//! Roles talk over the QUIC link and nothing else, in one process as well: there the listener takes a port of
//! loopback that the system chooses, and signaling dials it. What a role needs from here is its side of the links
//! and the configuration; what it gives back is where it listens and how to end it.

use crate::adapters;
use crate::certificate::{CertifiedKey, shown};
use crate::config::{Config, Role};
use crate::link::{self, Identity, LinkConfig, Listener, Receiver, Sender, Watch};
use crate::metrics::Metrics;
use crate::opened::{Opened, SipSocket};
use crate::operated::Operated;
use crate::sockets;
use signaling_plan::Plan;
use signaling_server::signaling::Status;
use signaling_server::sip_tls::SipTls;
use signaling_trunk::api as trunk;
use signaling_trunk::lines::Lines;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::warn;

/// How long each stage of the end may take.
const STOP_TIME: Duration = Duration::from_secs(5);

/// One line for machines at the start: `listening signaling.ws 127.0.0.1:40123`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    pub what: &'static str,
    pub address: String,
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listening {} {}", self.what, self.address)
    }
}

/// What the signaling role is started with.
pub struct SignalingParts {
    pub to_trunk: Sender<trunk::Command>,
    pub from_trunk: Receiver<trunk::Event>,
    pub to_media: Sender<media_control::Command>,
    pub from_media: Receiver<media_control::Event>,
    /// Non-blocking.
    pub ws: Vec<TcpListener>,
    pub wss: Vec<TcpListener>,
    /// There when `wss` is.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    pub plan: watch::Receiver<Plan>,
}

/// What the trunk role is started with.
pub struct TrunkParts {
    pub commands: Receiver<trunk::Command>,
    pub events: Sender<trunk::Event>,
    pub sockets: Vec<SipSocket>,
    /// There when TLS is among them.
    pub tls: Option<SipTls>,
    /// Where this process listens for anything else than SIP.
    pub others: Vec<SocketAddr>,
    pub lines: watch::Receiver<Lines>,
}

/// What the media role is started with.
pub struct MediaParts {
    pub commands: Receiver<media_control::Command>,
    pub events: Sender<media_control::Event>,
    pub dtls: CertifiedKey,
}

/// Turns true when the process is asked to end: finish what there is, take nothing new.
pub type Stopping = watch::Receiver<bool>;

/// Everything that runs.
pub struct Running {
    pub listening: Vec<Listening>,
    /// By the role at the far end, from the side that dials, else from the one that serves.
    pub links: Vec<(&'static str, Watch)>,
    /// Ends first, while those that it speaks with are still there …
    front: Stage,
    /// … which end after it.
    back: Stage,
    link: LinkConfig,
    listener: Option<Listener>,
    /// What the signaling role shows, where it runs here.
    pub signaling: Option<Arc<Mutex<Status>>>,
}

impl Running {
    /// Ends calls politely: first signaling, which hangs up, then trunk and media, which carry that out.
    pub async fn stop(mut self) {
        self.front.stop().await;
        self.back.stop().await;
        self.link.close().await;
    }

    /// Waits until a role that should run for ever has ended: the process is of no use then.
    pub async fn role_ended(&mut self) {
        tokio::select! {
            Some(_) = self.front.tasks.join_next() => (),
            Some(_) = self.back.tasks.join_next() => (),
            else => (),
        }
    }
}

/// Roles that end together.
struct Stage {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Stage {
    fn new() -> Stage {
        Stage {
            tasks: JoinSet::new(),
            stop: watch::Sender::new(false),
        }
    }

    /// Tells the tasks, and waits for them as long as is decent.
    async fn stop(&mut self) {
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_TIME, all).await.is_err() {
            warn!("not everything ended in time");
        }
    }
}

/// Starts the roles of this process. `others`: where it listens for anything else than SIP, the roles' own left out.
///
/// # Errors
/// A sentence that names the setting.
pub async fn start(
    config: &Config,
    opened: Opened,
    operated: &Operated,
    mut others: Vec<SocketAddr>,
    metrics: &Metrics,
) -> Result<Running, String> {
    let Opened {
        ws,
        wss,
        tls,
        sip,
        sip_tls,
        certificates,
        dtls,
        held,
        ..
    } = opened;
    // From here on the media workers and the link bind these themselves.
    drop(held);
    if !certificates.is_empty() {
        tokio::spawn(shown::watch(certificates));
    }
    let plays = |role| config.roles.contains(&role);
    let identity =
        Identity::load_or_make(&config.link.dir).map_err(|e| format!("link.dir: {e}."))?;
    let runtime = link::thread("link")
        .map_err(|e| format!("No thread could be started for the link: {e}."))?;
    let mut link_config = LinkConfig::new(Arc::new(identity), runtime);
    link_config.grace = config.link.grace;
    let serves = plays(Role::Trunk) || plays(Role::Media);
    let listener = if serves {
        Some(listen(&link_config, config)?)
    } else {
        None
    };
    let here = listener
        .as_ref()
        .and_then(|listener| listener.local_addr().ok())
        .map(reachable);

    let mut running = Running {
        listening: Vec::new(),
        links: Vec::new(),
        front: Stage::new(),
        back: Stage::new(),
        link: link_config.clone(),
        listener,
        signaling: None,
    };
    if let (Some(_), Some(here)) = (config.link.listen, here) {
        running.listening.push(Listening {
            what: "link",
            address: here.to_string(),
        });
    }
    // Who is dialed first, so that the first dial finds somebody.
    if let (Some(dtls), Some(listener)) = (dtls, &running.listener) {
        let (events, commands) = listener.serve(Role::Media.name());
        running.watch_link("signaling to media", &events, metrics);
        let parts = MediaParts {
            commands,
            events,
            dtls,
        };
        let bound = adapters::media(
            config,
            parts,
            running.back.stop.subscribe(),
            &mut running.back.tasks,
            metrics,
        )?;
        others.extend(
            bound
                .iter()
                .filter_map(|l| l.address.parse::<SocketAddr>().ok()),
        );
        running.listening.extend(bound);
    }
    if let (true, Some(listener)) = (plays(Role::Trunk), &running.listener) {
        let (events, commands) = listener.serve(Role::Trunk.name());
        running.watch_link("signaling to trunk", &events, metrics);
        let parts = TrunkParts {
            commands,
            events,
            sockets: sip,
            tls: sip_tls,
            others: others.into_iter().chain(here).collect(),
            lines: operated.lines(),
        };
        adapters::trunk(
            config,
            parts,
            running.back.stop.subscribe(),
            &mut running.back.tasks,
            metrics,
        )?;
    }
    if plays(Role::Signaling) {
        let (to_trunk, from_trunk) = dial(&link_config, config, Role::Trunk, here)?;
        let (to_media, from_media) = dial(&link_config, config, Role::Media, here)?;
        running.watch_link("trunk", &to_trunk, metrics);
        running.watch_link("media", &to_media, metrics);
        let parts = SignalingParts {
            to_trunk,
            from_trunk,
            to_media,
            from_media,
            ws,
            wss,
            tls,
            plan: operated.plan(),
        };
        let status = adapters::signaling(
            config,
            parts,
            running.front.stop.subscribe(),
            &mut running.front.tasks,
            metrics,
        )?;
        running.signaling = Some(status);
    }
    Ok(running)
}

impl Running {
    fn watch_link<Out: serde::Serialize + 'static>(
        &mut self,
        name: &'static str,
        sender: &Sender<Out>,
        metrics: &Metrics,
    ) {
        let watched = sender.watch();
        let stats = watched.clone();
        metrics.on_scrape(move |metrics| {
            let stats = stats();
            let labels = [("link", name)];
            let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            metrics
                .gauge(
                    "trunkgate_link_up",
                    "Whether the link is connected.",
                    &labels,
                )
                .set(stats.up.into());
            for (name, help, n) in [
                (
                    "trunkgate_link_sent_total",
                    "Messages given to the link.",
                    stats.sent,
                ),
                (
                    "trunkgate_link_received_total",
                    "Messages that came over the link.",
                    stats.received,
                ),
                (
                    "trunkgate_link_skipped_total",
                    "Messages of a variant that this version does not know.",
                    stats.skipped,
                ),
                (
                    "trunkgate_link_dropped_total",
                    "Messages for a peer that was lost or replaced.",
                    stats.dropped,
                ),
                (
                    "trunkgate_link_connections_total",
                    "Connections of the link.",
                    stats.connections,
                ),
            ] {
                metrics.counter(name, help, &labels).set(count(n));
            }
        });
        self.links.push((name, watched));
    }
}

fn listen(link: &LinkConfig, config: &Config) -> Result<Listener, String> {
    let address = config
        .link
        .listen
        .unwrap_or(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0));
    Listener::bind(link.clone(), address)
        .map_err(|error| sockets::cannot_listen("link.listen", sockets::UDP, address, &error))
}

fn dial<Out, In>(
    link: &LinkConfig,
    config: &Config,
    role: Role,
    here: Option<SocketAddr>,
) -> Result<(Sender<Out>, Receiver<In>), String>
where
    Out: serde::Serialize,
    In: serde::de::DeserializeOwned + Send + 'static,
{
    let elsewhere = config
        .link
        .peers
        .iter()
        .find(|peer| peer.role == role)
        .map(|peer| peer.address);
    let address = if config.roles.contains(&role) {
        here
    } else {
        elsewhere
    };
    let address = address
        .ok_or_else(|| format!("link.peers does not say where the {} role is.", role.name()))?;
    link::dial(link, Role::Signaling.name(), role.name(), address)
        .map_err(|error| format!("link.peers: {address} cannot be dialed from here: {error}."))
}

/// An address of our own as we can dial it.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}
