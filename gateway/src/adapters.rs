//! One adapter for each role: from settings, sockets and links as they stand here to what the role's own
//! package wants. Each holds both ends of its links until its loop ends, since a link ends with them.

use crate::apps::Store;
use crate::config::{CodecPolicy, Config, InbandDtmf, Redirect, ReliableProvisional, Ringback};
use crate::link::{LinkEvent, Receiver, Sender, draw};
use crate::metrics::{Kind, Metrics};
use crate::node_id;
use crate::opened::SipKind;
use crate::pages::PAGES;
use crate::roles::{Listening, MediaParts, SignalingParts, Stopping, TrunkParts};
use media_relay::{Announce, FaceAddress, Node, NodeConfig, PeerAddress};
use signaling_server::hooks::{self, Hooks, hooks};
use signaling_server::peer::FromPeer;
use signaling_server::rate::Rate;
use signaling_server::signaling::{Peer, Signaling, Status, sockets};
use signaling_server::sip_socket::Adopted;
use signaling_server::trunk::{self, Shown, TrunkConfig};
use signaling_server::websocket::{Guard, Web};
use signaling_trunk::allowed::Entry;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

/// Events of the media workers that wait for the link; what comes beyond is lost, and said to be.
const MEDIA_EVENTS: usize = 16_384;
/// Commands and events between a role's loop and its link.
const HANDED_ON: usize = 1024;

/// Starts the media workers and hands commands and events between them and the link.
///
/// # Errors
/// A sentence that names the setting.
pub fn media(
    config: &Config,
    parts: MediaParts,
    mut stopping: Stopping,
    tasks: &mut JoinSet<()>,
    metrics: &Metrics,
) -> Result<Vec<Listening>, String> {
    let (tell, mut told) = mpsc::channel::<media_control::Event>(MEDIA_EVENTS);
    let node = Node::new(node_config(config, &parts), move |event| {
        if tell.try_send(event).is_err() {
            error!("the link does not keep up with the media workers; an event is lost");
        }
    })
    .map_err(|error| format!("media.webrtc.port: {error}."))?;
    let listening = node
        .bound()
        .iter()
        .flatten()
        .map(|address| Listening {
            what: "media.webrtc",
            address: address.to_string(),
        })
        .collect();
    let node = Arc::new(node);
    let watched = Arc::downgrade(&node);
    metrics.on_scrape(move |metrics| {
        if let Some(node) = watched.upgrade() {
            media_metrics(metrics, &node.load());
        }
    });
    let MediaParts {
        mut commands,
        events,
        ..
    } = parts;
    tasks.spawn(async move {
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(LinkEvent::Message(command)) => node.handle(command),
                    // Whoever asked for what is here is gone.
                    Some(LinkEvent::Up { fresh: true } | LinkEvent::Lost) => {
                        node.handle(media_control::Command::Retain { groups: Vec::new() });
                    }
                    Some(LinkEvent::Up { fresh: false } | LinkEvent::Down) => {}
                    None => break,
                },
                Some(event) = told.recv() => {
                    if let Err(error) = events.send(key_of(&event), event).await {
                        warn!(%error, "an event of the media role cannot be told");
                    }
                }
                // Signaling has ended its calls before this role is told to stop.
                () = stopped(&mut stopping) => break,
            }
        }
        if let Ok(node) = Arc::try_unwrap(node) {
            // It joins threads, which is no task for a runtime's worker.
            let _ = tokio::task::spawn_blocking(move || node.shutdown()).await;
        }
    });
    Ok(listening)
}

/// Events of one leg stay in order.
fn key_of(event: &media_control::Event) -> u64 {
    use media_control::Event;
    match event {
        Event::LegCreated { leg, .. }
        | Event::LegFailed { leg, .. }
        | Event::LegConnected { leg }
        | Event::MediaStarted { leg }
        | Event::MediaSilent { leg, .. }
        | Event::Digit { leg, .. }
        | Event::KeyFrameWanted { leg }
        | Event::LegClosed { leg, .. } => leg.0,
        Event::Load(_) => 0,
    }
}

fn node_config(config: &Config, parts: &MediaParts) -> NodeConfig {
    let outside = config.media.webrtc.addresses.iter().map(|ip| FaceAddress {
        bind: SocketAddr::new(*ip, config.media.webrtc_port),
        announce: config.media.webrtc.announce_for(*ip).map(|told| Announce {
            ip: told.ip,
            port: told.port,
        }),
    });
    let inside = config.media.rtp.addresses.iter().map(|ip| PeerAddress {
        bind: *ip,
        announce: config.media.rtp.announce_for(*ip).map(|told| told.ip),
    });
    NodeConfig {
        outside: outside.collect(),
        inside: inside.collect(),
        rtp_ports: config.media.rtp_ports.clone(),
        dscp: config.media.dscp,
        workers: config.media.workers,
        certificate: parts.dtls.certificate.clone(),
        key: parts.dtls.key.clone(),
    }
}

/// Starts the trunk role.
pub fn trunk(
    config: &Config,
    parts: TrunkParts,
    mut stopping: Stopping,
    tasks: &mut JoinSet<()>,
    metrics: &Metrics,
) -> Result<(), String> {
    let counted = Arc::new(Mutex::new(Shown::default()));
    let shown = counted.clone();
    metrics.on_scrape(move |metrics| {
        let shown = *counted.lock().unwrap_or_else(PoisonError::into_inner);
        sip_metrics(metrics, &shown);
    });
    let entry = |text: &String| {
        Entry::parse(text).map_err(|why| format!("sip.allowed_targets: \"{text}\" {why}."))
    };
    let adopted = parts.sockets.into_iter().map(|sip| match sip.socket {
        SipKind::Udp(socket) => Adopted::Udp {
            socket,
            announce: sip.announce,
            name: sip.name,
        },
        SipKind::Tcp(listener) => Adopted::Tcp {
            listener,
            announce: sip.announce,
            name: sip.name,
            secure: false,
        },
        SipKind::Tls(listener) => Adopted::Tcp {
            listener,
            announce: sip.announce,
            name: sip.name,
            secure: true,
        },
    });
    let trunk_config = TrunkConfig {
        adopted: adopted.collect(),
        allowed_targets: config
            .sip
            .allowed_targets
            .iter()
            .map(entry)
            .collect::<Result<_, _>>()?,
        others: parts.others,
        tls: parts.tls,
        dscp: config.sip.dscp,
        lines: Some(parts.lines),
        interfaces: config.interfaces.clone(),
        dns_servers: config.dns.servers.clone(),
        user_agent: format!("trunkgate/{}", env!("CARGO_PKG_VERSION")),
        session_expires_s: Some(config.sip.session_expires),
        min_se_s: Some(config.sip.min_se),
        reliable_provisional: match config.sip.reliable_provisional {
            ReliableProvisional::Off => signaling_trunk::reliable::ReliableProvisional::Off,
            ReliableProvisional::WhenSdp => signaling_trunk::reliable::ReliableProvisional::WhenSdp,
            ReliableProvisional::Always => signaling_trunk::reliable::ReliableProvisional::Always,
        },
        redirect: match config.sip.redirect {
            Redirect::Follow => signaling_trunk::redirect::Redirect::Follow,
            Redirect::Refuse => signaling_trunk::redirect::Redirect::Refuse,
        },
        max_calls_per_second: config.sip.max_calls_per_second,
        max_calls: config.sip.max_calls,
        shown,
        ..TrunkConfig::default()
    };
    let commands = from_peer(parts.commands);
    let (events, mut told) = mpsc::channel(HANDED_ON);
    let link = parts.events;
    tasks.spawn(async move {
        // Beside the loop, not in it: a link that is slow must not make SIP late.
        let teller = tokio::spawn(async move {
            while let Some((key, event)) = told.recv().await {
                if let Err(error) = link.send(key, event).await {
                    warn!(%error, "an event of the trunk cannot be told");
                }
            }
        });
        let stop = async move {
            stopped(&mut stopping).await;
        };
        if let Err(error) = trunk::run(trunk_config, commands, events, stop).await {
            error!(%error, "the trunk has ended");
        }
        let _ = teller.await;
    });
    Ok(())
}

/// Starts the signaling role and its listeners.
///
/// # Errors
/// A sentence that names the setting.
pub fn signaling(
    config: &Config,
    parts: SignalingParts,
    stopping: Stopping,
    tasks: &mut JoinSet<()>,
    metrics: &Metrics,
) -> Result<Arc<Mutex<Status>>, String> {
    let status = Arc::new(Mutex::new(Status::default()));
    let shown = status.clone();
    metrics.on_scrape(move |metrics| {
        let status = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        signaling_metrics(metrics, &status);
    });
    let hook_settings = hook_settings(config)?;
    let answer_within = hook_settings.answers_within();
    let hooks = hooks(hook_settings);
    let (watched, told) = (hooks.0.clone(), Mutex::default());
    metrics.on_scrape(move |metrics| hook_metrics(metrics, &watched, &told));
    let apps = Store::new(&config.data_dir)
        .watch(config.backend.enabled)
        .map_err(|error| format!("{error}."))?;
    let settings = signaling_backend::Settings {
        node_id: node_id::load_or_make(config).map_err(|error| format!("data_dir: {error}."))?,
        sip_message_raw: config.signaling.sip_message_raw,
        lost_after: answer_within,
    };
    let calls = metrics.counter("trunkgate_calls_total", "Calls that are over.", &[]);
    let signaling = Signaling {
        config: signaling_calls::Config {
            codec_policy: match config.calls.codec_policy {
                CodecPolicy::Relay => signaling_calls::CodecPolicy::Relay,
                CodecPolicy::Opus => signaling_calls::CodecPolicy::Opus,
            },
            inband_dtmf: match config.calls.inband_dtmf {
                InbandDtmf::Auto => signaling_calls::InbandDtmf::Auto,
                InbandDtmf::Off => signaling_calls::InbandDtmf::Off,
            },
            max_calls: config.calls.max_calls,
            calls_per_second: config.calls.max_calls_per_second,
            emergency_reserve: config.calls.emergency_reserve,
            max_echo_calls: config.calls.max_echo_calls,
            max_echo_seconds: u32::try_from(config.calls.max_echo.as_secs()).unwrap_or(u32::MAX),
            ringback: match config.calls.ringback {
                Ringback::Off => signaling_calls::Ringback::Off,
                Ringback::Eu => signaling_calls::Ringback::Eu,
                Ringback::Us => signaling_calls::Ringback::Us,
                Ringback::Gb => signaling_calls::Ringback::Gb,
            },
            follow_refer: config.calls.follow_refer,
            busy_as_failed: config.calls.busy_as_failed,
            tell_hold_by_peer: config.calls.tell_hold_by_peer,
            page_headers: config.calls.page_headers.clone(),
            bridge_headers: config.calls.bridge_headers.clone(),
            close_on_registration_failure: config.signaling.close_on_registration_failure,
            version: format!("trunkgate {}", env!("CARGO_PKG_VERSION")),
            // Below 2^53, so that any JSON reader keeps it, and far above the numbers of sessions.
            first_number: (1 << 40) | (draw() >> 24),
            ..signaling_calls::Config::default()
        },
        settings,
        apps,
        plan: parts.plan,
        hooks,
        trunk: peer(parts.to_trunk, parts.from_trunk),
        media: peer(parts.to_media, parts.from_media),
        record: Box::new(move |record| {
            calls.increment();
            match serde_json::to_string(record) {
                Ok(line) => info!(target: "trunkgate::record", "call_record {line}"),
                Err(error) => warn!(%error, "a call's record cannot be written"),
            }
        }),
        status: status.clone(),
    };
    let (sockets, inputs) = sockets();
    let rate = config.signaling.connections_per_second_per_address;
    let guard = Guard {
        origins: config.signaling.origins.clone().into(),
        rate: (rate > 0).then(|| Arc::new(Rate::new(rate))),
    };
    let acceptor = parts.tls.map(tokio_rustls::TlsAcceptor::from);
    let plain = parts
        .ws
        .into_iter()
        .map(|listener| ("signaling.ws", listener, None));
    let secured = parts
        .wss
        .into_iter()
        .map(|listener| ("signaling.wss", listener, acceptor.clone()));
    for (setting, listener, tls) in plain.chain(secured) {
        let listener = tokio::net::TcpListener::from_std(listener)
            .map_err(|error| format!("{setting}: the listener cannot be used: {error}."))?;
        let web = Web {
            listener,
            tls,
            pages: PAGES,
            sockets: sockets.clone(),
            guard: guard.clone(),
        };
        tokio::spawn(web.run(stopping.clone()));
    }
    tasks.spawn(signaling.run(inputs, stopping));
    Ok(status)
}

fn hook_settings(config: &Config) -> Result<hooks::Settings, String> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let authorities = match &config.backend.ca {
        None => Vec::new(),
        Some(path) => {
            let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
            let read: Vec<_> = read.map_err(|error| {
                format!("backend.ca: {} cannot be read: {error}.", path.display())
            })?;
            if read.is_empty() {
                return Err(format!(
                    "backend.ca: {} holds no certificate.",
                    path.display()
                ));
            }
            read
        }
    };
    Ok(hooks::Settings {
        request_timeout: config.backend.request_timeout,
        connections: config.backend.connections,
        queue: config.backend.queue,
        authorities,
    })
}

fn peer<C, E>(to: Sender<C>, from: Receiver<E>) -> Peer<C, E>
where
    C: serde::Serialize + 'static,
    E: Send + 'static,
{
    let say = Box::new(move |key, command| match to.try_send(key, command) {
        Ok(()) => true,
        Err(error) => {
            warn!(%error, "a command cannot be said");
            false
        }
    });
    Peer {
        say,
        events: from_peer(from),
    }
}

/// The link's events in the words of the roles.
fn from_peer<T: Send + 'static>(mut link: Receiver<T>) -> mpsc::Receiver<FromPeer<T>> {
    let (hand_on, handed_on) = mpsc::channel(HANDED_ON);
    tokio::spawn(async move {
        while let Some(event) = link.recv().await {
            let event = match event {
                LinkEvent::Up { fresh } => FromPeer::Up { fresh },
                LinkEvent::Message(message) => FromPeer::Message(message),
                LinkEvent::Down => FromPeer::Down,
                LinkEvent::Lost => FromPeer::Lost,
            };
            if hand_on.send(event).await.is_err() {
                break;
            }
        }
    });
    handed_on
}

/// When the process is asked to end, or whoever could ask is gone.
async fn stopped(stopping: &mut Stopping) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

fn count(n: impl TryInto<i64>) -> i64 {
    n.try_into().unwrap_or(i64::MAX)
}

fn signaling_metrics(metrics: &Metrics, status: &Status) {
    let gauge = |name, help, n: usize| metrics.gauge(name, help, &[]).set(count(n));
    gauge(
        "trunkgate_sessions",
        "Browser connections.",
        status.counts.sessions,
    );
    gauge("trunkgate_calls", "Calls that go on.", status.counts.calls);
    gauge(
        "trunkgate_echo_calls",
        "Echo calls among them.",
        status.counts.echo_calls,
    );
    gauge(
        "trunkgate_registered",
        "Sessions whose SIP account is registered.",
        status.counts.registered,
    );
    for (name, help, n) in [
        (
            "trunkgate_emergency_calls_total",
            "Calls to emergency numbers.",
            status.counts.emergency_calls,
        ),
        (
            "trunkgate_emergency_alarms_total",
            "Emergency calls above emergency.alarm_after at once.",
            status.counts.emergency_alarms,
        ),
        (
            "trunkgate_refused_calls_total",
            "Calls refused for a limit.",
            status.counts.refused_calls,
        ),
    ] {
        metrics.counter(name, help, &[]).set(count(n));
    }
    metrics
        .counter(
            "trunkgate_emergency_calls_total",
            "Calls to emergency numbers.",
            &[],
        )
        .set(count(status.counts.emergency_calls));
    metrics
        .counter(
            "trunkgate_calls_refused_total",
            "Calls refused for a limit.",
            &[],
        )
        .set(count(status.counts.refused_calls));
    metrics
        .counter(
            "trunkgate_slow_sockets_total",
            "Browser sockets dropped because they did not read.",
            &[],
        )
        .set(count(status.slow_sockets));
}

/// `told`: applications that had a number once; without one of them it would stay as it was last.
fn hook_metrics(metrics: &Metrics, hooks: &Hooks, told: &Mutex<BTreeSet<String>>) {
    let counts = hooks.counts();
    for (outcome, n) in [
        ("accepted", counts.accepted),
        ("refused", counts.refused),
        ("unreachable", counts.unreachable),
        ("unsent", counts.unsent),
    ] {
        metrics
            .counter(
                "trunkgate_hooks_total",
                "Hooks by what became of them.",
                &[("outcome", outcome)],
            )
            .set(count(n));
    }
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    let states = hooks.apps();
    let there: BTreeSet<String> = states.iter().map(|state| state.app.clone()).collect();
    let before = std::mem::replace(&mut *told, there.clone());
    let none = before.difference(&there).map(|app| hooks::AppState {
        app: app.clone(),
        waiting: 0,
        running: 0,
        breaker_open: false,
    });
    for state in states.into_iter().chain(none) {
        let app = [("app", state.app.as_str())];
        let gauge = |name, help, n| metrics.gauge(name, help, &app).set(n);
        gauge(
            "trunkgate_hook_breaker_open",
            "Whether an application's hooks fail at once because its backend did not answer.",
            state.breaker_open.into(),
        );
        gauge(
            "trunkgate_hooks_waiting",
            "Hooks that wait for a connection to the application's backend.",
            count(state.waiting),
        );
        gauge(
            "trunkgate_hooks_running",
            "Hooks that an application's backend is asked now.",
            count(state.running),
        );
    }
}

fn sip_metrics(metrics: &Metrics, shown: &Shown) {
    let agent = &shown.agent;
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    for (name, help, n) in [
        (
            "trunkgate_sip_requests_total",
            "SIP requests received and read.",
            agent.requests,
        ),
        (
            "trunkgate_sip_responses_total",
            "SIP responses received and read.",
            agent.responses,
        ),
        (
            "trunkgate_sip_refused_total",
            "SIP requests of strangers that were refused.",
            agent.refused,
        ),
        (
            "trunkgate_sip_slowed_total",
            "SIP answers held back because their source asks much.",
            agent.slowed,
        ),
        (
            "trunkgate_sip_dropped_total",
            "SIP messages not read because their source asked too much or is banned.",
            agent.dropped,
        ),
        (
            "trunkgate_sip_withheld_total",
            "SIP answers not sent because they would have been longer than the request of an unproven source.",
            agent.withheld,
        ),
        (
            "trunkgate_sip_garbage_total",
            "What came to the SIP ports and was no SIP.",
            agent.garbage,
        ),
        (
            "trunkgate_sip_lost_total",
            "New SIP requests lost because more arrived than was handled.",
            shown.lost,
        ),
        (
            "trunkgate_sip_overloaded_total",
            "SIP calls that got 503 for sip.max_calls_per_second or sip.max_calls.",
            agent.overloaded,
        ),
        (
            "trunkgate_sip_bans_total",
            "Bans of addresses begun.",
            agent.bans,
        ),
        (
            "trunkgate_sip_connections_refused_total",
            "SIP connections refused.",
            agent.connections_refused,
        ),
    ] {
        metrics.counter(name, help, &[]).set(count(n));
    }
    for (class, n) in ["1xx", "2xx", "3xx", "4xx", "5xx", "6xx"]
        .iter()
        .zip(agent.answered)
    {
        let name = "trunkgate_sip_answers_total";
        let help = "SIP responses sent, by class.";
        metrics
            .counter(name, help, &[("class", class)])
            .set(count(n));
    }
    for (name, help, n) in [
        (
            "trunkgate_sip_registrations",
            "Registrations of ours that stand.",
            agent.registrations,
        ),
        (
            "trunkgate_sip_contacts",
            "Contacts that phones and PBXs have registered with us.",
            agent.contacts,
        ),
        ("trunkgate_sip_calls", "SIP legs that go on.", agent.calls),
        (
            "trunkgate_sip_banned",
            "Addresses banned now.",
            agent.banned,
        ),
    ] {
        metrics.gauge(name, help, &[]).set(count(n));
    }
}

fn media_metrics(metrics: &Metrics, load: &media_control::Load) {
    let gauge = |name, help, n: i64| metrics.gauge(name, help, &[]).set(n);
    gauge(
        "trunkgate_media_workers",
        "Media workers.",
        count(load.workers),
    );
    gauge(
        "trunkgate_media_groups",
        "Groups of legs.",
        count(load.groups),
    );
    gauge("trunkgate_media_legs", "Legs.", count(load.legs));
    metrics
        .number(
            Kind::Ratio,
            "trunkgate_media_busiest_ratio",
            "Busiest worker's share of its core.",
            &[],
        )
        .set((load.busiest * 1000.0) as i64);
    for (name, help, n) in [
        (
            "trunkgate_media_received_total",
            "Packets received.",
            load.received,
        ),
        ("trunkgate_media_sent_total", "Packets sent.", load.sent),
        (
            "trunkgate_media_strangers_total",
            "Packets dropped because nobody signalled their source.",
            load.strangers,
        ),
        (
            "trunkgate_media_unauthentic_total",
            "Packets dropped for a bad SRTP tag or a replay.",
            load.unauthentic,
        ),
    ] {
        metrics.counter(name, help, &[]).set(count(n));
    }
}
