//! One process from its first line to its last: logs, roles, admin, the words for whoever started it, and
//! the signal to stop.

use crate::admin::{self, Pages, Readiness};
use crate::config::{Config, Kept, Role};
use crate::metrics::Metrics;
use crate::opened::Opened;
use crate::operated::Operated;
use crate::roles::{self, Listening, Running};
use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

/// How long the first line to people waits for the links.
const LINK_TIME: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Runs until a signal.
///
/// # Errors
/// Sentences for the operator: what the settings ask for and cannot be had.
pub fn run(config: &Config, kept: Kept) -> Result<(), Vec<String>> {
    let filter = EnvFilter::try_new(&config.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // Another subscriber can only be there in a test.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        .try_init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| vec![format!("The process cannot start its threads: {error}.")])?;
    let ended = runtime.block_on(live(config, kept));
    // Whatever still runs has had its time.
    runtime.shutdown_background();
    ended
}

async fn live(config: &Config, kept: Kept) -> Result<(), Vec<String>> {
    // Before anything can be interrupted: a signal that comes early must not be the system's default.
    let mut signals =
        Signals::new().map_err(|error| vec![format!("Signals cannot be listened to: {error}.")])?;
    let mut opened = Opened::open(config)?;
    let operated = Operated::new(config, kept).map_err(|sentence| vec![sentence])?;
    let operated = Arc::new(operated);
    let roles: Vec<&str> = config.roles.iter().map(|role| role.name()).collect();
    info!(
        "trunkgate {} starts as {}",
        env!("CARGO_PKG_VERSION"),
        roles.join(", ")
    );
    let mut listening = opened.listening();
    let others = opened.not_sip();
    let admin = std::mem::take(&mut opened.admin);
    let metrics = Arc::new(Metrics::default());
    let readiness = Readiness::default();
    readiness.set("roles", false);

    let mut running = roles::start(config, opened, &operated, others, &metrics)
        .await
        .map_err(|sentence| vec![sentence])?;
    listening.extend(running.listening.iter().cloned());
    if let Some(status) = running.signaling.clone() {
        readiness.probe("calls", move || {
            status.lock().is_ok_and(|status| status.ready)
        });
    }
    tokio::spawn(operated.clone().watch_files());
    start_admin(admin, config, &metrics, &readiness, &running, &operated);
    readiness.set("roles", true);
    for (name, watch) in &running.links {
        if config.roles.contains(&Role::Signaling) {
            let watch = watch.clone();
            readiness.probe(name, move || watch().up);
        }
    }
    wait_for_links(&readiness).await;
    tell(config, &listening);

    let first = loop {
        tokio::select! {
            signal = signals.next() => match signal {
                // What is wrong is in the log; nobody waits for an answer.
                Told::Reload => drop(operated.reload_and_log()),
                Told::End(signal) => break signal,
            },
            () = running.role_ended() => return Err(vec!["A part of the gateway has ended that never should; see the log.".to_owned()]),
        }
    };
    info!("{first}: ending calls");
    readiness.set("roles", false);
    tokio::select! {
        () = running.stop() => info!("all has ended"),
        second = signals.end() => info!("{second} again: ending at once"),
    }
    Ok(())
}

/// Whoever reads `ready` may call at once. Roles elsewhere may come later.
async fn wait_for_links(readiness: &Readiness) {
    let ready = async {
        while !readiness.missing().is_empty() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    if tokio::time::timeout(LINK_TIME, ready).await.is_err() {
        warn!("not there yet: {}", readiness.missing().join(", "));
    }
}

fn start_admin(
    listeners: Vec<TcpListener>,
    config: &Config,
    metrics: &Arc<Metrics>,
    readiness: &Readiness,
    running: &Running,
    operated: &Arc<Operated>,
) {
    let begun = Instant::now();
    let links = running.links.clone();
    let roles: Vec<&str> = config.roles.iter().map(|role| role.name()).collect();
    let status = move || {
        let links: serde_json::Map<String, serde_json::Value> = links
            .iter()
            .map(|(name, stats)| {
                let stats = stats();
                let told = serde_json::json!({
                    "up": stats.up,
                    "sent": stats.sent,
                    "received": stats.received,
                    "skipped": stats.skipped,
                    "dropped": stats.dropped,
                    "connections": stats.connections,
                    "trouble": stats.trouble,
                });
                ((*name).to_owned(), told)
            })
            .collect();
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "roles": roles,
            "up_seconds": begun.elapsed().as_secs(),
            "links": links,
        })
    };
    let pages = Pages {
        metrics: metrics.clone(),
        readiness: readiness.clone(),
        status: Arc::new(status),
    };
    let own: Vec<_> = config.interfaces.iter().map(|(ip, _)| *ip).collect();
    let router = admin::router(&config.admin, &own, pages, reload_page(operated.clone()));
    for listener in listeners {
        tokio::spawn(admin::serve(listener, router.clone()));
    }
}

/// `POST /reload`: what became of it, as JSON.
fn reload_page(operated: Arc<Operated>) -> axum::Router {
    use axum::http::StatusCode;
    let reload = move || {
        let operated = operated.clone();
        async move {
            // It reads files.
            let taken = tokio::task::spawn_blocking(move || operated.reload_and_log()).await;
            match taken {
                Ok(Ok(taken)) => (StatusCode::OK, axum::Json(serde_json::json!(taken))),
                Ok(Err(complaints)) => (
                    StatusCode::UNPROCESSABLE_ENTITY,
                    axum::Json(serde_json::json!({ "complaints": complaints })),
                ),
                Err(_) => (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    axum::Json(serde_json::json!({ "complaints": ["The gateway is ending."] })),
                ),
            }
        }
    };
    axum::Router::new().route("/reload", axum::routing::post(reload))
}

/// Lines for machines, then sentences for people, then `ready`. Nobody may be reading.
fn tell(config: &Config, listening: &[Listening]) {
    let mut out = std::io::stdout().lock();
    for line in listening {
        let _ = writeln!(out, "{line}");
    }
    for sentence in welcome(config, listening) {
        let _ = writeln!(out, "{sentence}");
    }
    let _ = writeln!(out, "ready");
    let _ = out.flush();
}

fn welcome(config: &Config, listening: &[Listening]) -> Vec<String> {
    let port = |what: &str| {
        let line = listening.iter().find(|line| line.what == what)?;
        line.address.rsplit(':').next()?.parse::<u16>().ok()
    };
    let mut sentences = Vec::new();
    if let Some(port) = port("signaling.ws") {
        sentences.push(format!(
            "On this computer open http://localhost:{port}/ and dial echo."
        ));
    }
    if let Some(port) = port("signaling.wss") {
        let host = crate::certificate::host_name().unwrap_or_else(|| "HOST".to_owned());
        sentences.push(format!(
            "On other computers open https://{host}:{port}/ (or this computer's address): only there a browser gives a microphone."
        ));
        if config.signaling.certificate.is_none() {
            sentences.push(
                "The browser will warn once, since the certificate is our own: choose Advanced, then Proceed (Firefox: Accept the Risk and Continue).".to_owned(),
            );
        }
    }
    if config.roles.contains(&Role::Trunk) {
        sentences.push(if config.sip.allowed_targets.is_empty() {
            "SIP goes to loopback and the private networks of this computer only; list other PBXs that pages may name in sip.allowed_targets. Trunks need not be there.".to_owned()
        } else {
            format!(
                "SIP goes to loopback, the private networks of this computer and {} more in sip.allowed_targets.",
                config.sip.allowed_targets.len()
            )
        });
    }
    sentences
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End("SIGTERM"),
            _ = self.interrupt.recv() => Told::End("SIGINT"),
            _ = self.hangup.recv() => Told::Reload,
        }
    }

    async fn end(&mut self) -> &'static str {
        loop {
            if let Told::End(signal) = self.next().await {
                return signal;
            }
        }
    }
}

enum Told {
    End(&'static str),
    /// The lines and rules are to be read again.
    Reload,
}
