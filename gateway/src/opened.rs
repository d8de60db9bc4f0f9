//! Everything that is opened before anything runs, so that a taken port or an unreadable file is told at
//! once with all others, and no call has begun on a process that will not stay.

use crate::certificate::shown::Shown;
use crate::certificate::{self, CertifiedKey};
use crate::config::{Config, Listen, Role, SipListen, SipTransport};
use crate::roles::Listening;
use crate::sockets;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use signaling_server::sip_tls::SipTls;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Default)]
pub struct Opened {
    pub ws: Vec<TcpListener>,
    pub wss: Vec<TcpListener>,
    /// For `wss`.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    pub sip: Vec<SipSocket>,
    /// There where `sip` has TLS among it.
    pub sip_tls: Option<SipTls>,
    /// What these show, to be looked at from time to time.
    pub certificates: Vec<Arc<Shown>>,
    pub admin: Vec<TcpListener>,
    /// The media role's DTLS certificate.
    pub dtls: Option<CertifiedKey>,
    /// Ports that the media workers and the link bind themselves: kept from others until just before.
    pub held: Vec<UdpSocket>,
}

/// One address on which SIP arrives; never a wildcard.
pub struct SipSocket {
    pub socket: SipKind,
    pub bound: SocketAddr,
    /// What Via and Contact say instead.
    pub announce: Option<SocketAddr>,
    /// By which trunks choose it.
    pub name: String,
}

/// Non-blocking.
pub enum SipKind {
    Udp(UdpSocket),
    Tcp(TcpListener),
    Tls(TcpListener),
}

impl Opened {
    /// # Errors
    /// A sentence that names the setting for each thing that cannot be had.
    pub fn open(config: &Config) -> Result<Opened, Vec<String>> {
        let mut complaints = Vec::new();
        let mut heard = |result: Result<(), String>| {
            // An address that is not ours may be asked for more than once.
            complaints.extend(result.err().filter(|told| !complaints.contains(told)));
        };
        let mut opened = Opened::default();
        let plays = |role| config.roles.contains(&role);
        if plays(Role::Signaling) {
            heard(listen("signaling.ws", config.signaling.ws, config).map(|ws| opened.ws = ws));
            heard(
                listen("signaling.wss", config.signaling.wss, config).map(|wss| opened.wss = wss),
            );
            if config.signaling.wss.is_some() {
                heard(tls(config).map(|(tls, shown)| {
                    opened.tls = Some(tls);
                    opened.certificates.push(shown);
                }));
            }
        }
        if plays(Role::Trunk) {
            for entry in &config.sip.listen {
                heard(sip(entry, config).map(|sockets| opened.sip.extend(sockets)));
            }
            let mut listens = config.sip.listen.iter();
            if listens.any(|listen| listen.transport == SipTransport::Tls) {
                heard(sip_tls(config).map(|(tls, shown)| {
                    opened.sip_tls = Some(tls);
                    opened.certificates.push(shown);
                }));
            }
        }
        if plays(Role::Media) {
            let dtls =
                certificate::dtls(&config.link.dir).map_err(|error| format!("link.dir: {error}."));
            heard(dtls.map(|dtls| opened.dtls = Some(dtls)));
            for addresses in media(config) {
                let held = sockets::udp("media.webrtc.port", &addresses);
                heard(held.map(|held| opened.held.extend(held)));
            }
        }
        if let Some(link) = config.link.listen
            && (plays(Role::Trunk) || plays(Role::Media))
        {
            let held = sockets::udp("link.listen", &[link]);
            heard(held.map(|held| opened.held.extend(held)));
        }
        heard(
            listen("admin.listen", config.admin.listen, config).map(|admin| opened.admin = admin),
        );
        if complaints.is_empty() {
            Ok(opened)
        } else {
            Err(complaints)
        }
    }

    /// Where HTTP is served: no SIP server, whatever a page says.
    pub fn not_sip(&self) -> Vec<SocketAddr> {
        let web = [&self.ws, &self.wss, &self.admin].into_iter().flatten();
        web.filter_map(|listener| listener.local_addr().ok())
            .collect()
    }

    /// A line for each, in the order of the fields.
    pub fn listening(&self) -> Vec<Listening> {
        let mut lines = Vec::new();
        for (what, listeners) in [
            ("signaling.ws", &self.ws),
            ("signaling.wss", &self.wss),
            ("admin", &self.admin),
        ] {
            let addresses = listeners
                .iter()
                .filter_map(|listener| listener.local_addr().ok());
            lines.extend(addresses.map(|address| Listening {
                what,
                address: address.to_string(),
            }));
        }
        lines.extend(self.sip.iter().map(|sip| {
            let transport = match sip.socket {
                SipKind::Udp(_) => SipTransport::Udp,
                SipKind::Tcp(_) => SipTransport::Tcp,
                SipKind::Tls(_) => SipTransport::Tls,
            };
            Listening {
                what: "sip",
                address: format!("{transport}:{}", sip.bound),
            }
        }));
        lines
    }
}

fn listen(
    setting: &str,
    listen: Option<Listen>,
    config: &Config,
) -> Result<Vec<TcpListener>, String> {
    match listen {
        Some(listen) => sockets::tcp(setting, &listen.addresses(config.ipv6)),
        None => Ok(Vec::new()),
    }
}

fn tls(config: &Config) -> Result<(Arc<rustls::ServerConfig>, Arc<Shown>), String> {
    let given = config.signaling.certificate.as_ref();
    let setting = if given.is_some() {
        "signaling.certificate and signaling.key"
    } else {
        "data_dir"
    };
    let shown = shown(setting, given, "wss", config)?;
    let tls = certificate::wss(shown.clone()).map_err(|error| format!("{setting}: {error}."))?;
    Ok((Arc::new(tls), shown))
}

/// What SIP over TLS is spoken with.
fn sip_tls(config: &Config) -> Result<(SipTls, Arc<Shown>), String> {
    let given = config.sip.certificate.as_ref();
    let setting = if given.is_some() {
        "sip.certificate and sip.key"
    } else {
        "data_dir"
    };
    let shown = shown(setting, given, "sip", config)?;
    let authorities = match &config.sip.ca {
        None => Vec::new(),
        Some(path) => {
            let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
            let read: Vec<_> = read
                .map_err(|error| format!("sip.ca: {} cannot be read: {error}.", path.display()))?;
            if read.is_empty() {
                let path = path.display();
                return Err(format!("sip.ca: {path} holds no certificate."));
            }
            read
        }
    };
    let tls =
        SipTls::new(shown.clone(), authorities).map_err(|why| format!("{setting}: {why}."))?;
    Ok((tls, shown))
}

fn shown(
    setting: &'static str,
    given: Option<&(PathBuf, PathBuf)>,
    stem: &'static str,
    config: &Config,
) -> Result<Arc<Shown>, String> {
    let addresses: Vec<_> = config.interfaces.iter().map(|(ip, _)| *ip).collect();
    let host = certificate::host_name();
    let source = certificate::source(given, stem, &config.data_dir, host.as_deref(), &addresses);
    Shown::load(setting, source).map_err(|error| format!("{setting}: {error}."))
}

/// What each media worker will bind towards browsers. Ports that the system chooses are never taken.
fn media(config: &Config) -> impl Iterator<Item = Vec<SocketAddr>> {
    let first = config.media.webrtc_port;
    let workers = if first == 0 { 0 } else { config.media.workers };
    let ports = (first..=u16::MAX).take(workers);
    ports.map(|port| {
        let addresses = config.media.webrtc.addresses.iter();
        addresses.map(|ip| SocketAddr::new(*ip, port)).collect()
    })
}

/// A wildcard becomes one socket for each address, since every answer leaves from where its request came to.
fn sip(entry: &SipListen, config: &Config) -> Result<Vec<SipSocket>, String> {
    let addresses = entry.listen.on_each(&config.interfaces);
    if addresses.is_empty() {
        return Err(format!(
            "sip.listen: this computer has no address for {}:{}.",
            entry.transport, entry.listen
        ));
    }
    let opened: Vec<(SipKind, Option<SocketAddr>)> = match entry.transport {
        SipTransport::Udp => sockets::udp("sip.listen", &addresses)?
            .into_iter()
            .map(|socket| (socket.local_addr().ok(), socket))
            .map(|(bound, socket)| (SipKind::Udp(socket), bound))
            .collect(),
        SipTransport::Tcp | SipTransport::Tls => sockets::tcp("sip.listen", &addresses)?
            .into_iter()
            .map(|socket| {
                let bound = socket.local_addr().ok();
                let kind = match entry.transport {
                    SipTransport::Tls => SipKind::Tls(socket),
                    SipTransport::Tcp | SipTransport::Udp => SipKind::Tcp(socket),
                };
                (kind, bound)
            })
            .collect(),
    };
    let sockets = opened.into_iter().filter_map(|(socket, bound)| {
        let bound = bound?;
        let announce = entry.announce.filter(|announce| {
            // Beside other addresses, loopback is the way of PBXs on this very box.
            announce.ip.is_ipv4() == bound.is_ipv4()
                && (addresses.len() == 1 || !bound.ip().is_loopback())
        });
        let announce = announce
            .map(|announce| SocketAddr::new(announce.ip, announce.port.unwrap_or(bound.port())));
        Some(SipSocket {
            socket,
            bound,
            announce,
            name: entry.name.clone(),
        })
    });
    Ok(sockets.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Arguments, Surroundings};
    use crate::files::{TestDir, test_dir};

    fn config(set: &[String]) -> (TestDir, Config) {
        let dir = test_dir();
        let mut all = vec![
            format!("data_dir={}", dir.path().display()),
            "signaling.ws=127.0.0.1:0".to_owned(),
            "signaling.wss=127.0.0.1:0".to_owned(),
            "admin.listen=127.0.0.1:0".to_owned(),
            "sip.listen=[\"udp:127.0.0.1:0\"]".to_owned(),
            "media.webrtc.port=0".to_owned(),
        ];
        all.extend_from_slice(set);
        let around = Surroundings {
            interfaces: vec![
                ("127.0.0.2".parse().unwrap(), 8),
                ("127.0.0.1".parse().unwrap(), 8),
            ],
            ..Surroundings::default()
        };
        (
            dir,
            Config::load(
                &Arguments {
                    set: all,
                    ..Arguments::default()
                },
                &around,
            )
            .unwrap(),
        )
    }

    #[test]
    fn all_that_cannot_be_had_is_told_at_once() {
        let taken = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let _taken = TcpListener::bind(taken).unwrap();
        let (_dir, config) = config(&[
            format!("signaling.ws={taken}"),
            format!("admin.listen={taken}"),
            format!("sip.listen=tcp:{taken}"),
            "signaling.certificate=/nowhere/c.pem".to_owned(),
            "signaling.key=/nowhere/k.pem".to_owned(),
        ]);
        let complaints = Opened::open(&config).err().unwrap();
        let begins: Vec<_> = complaints
            .iter()
            .map(|c| c.split(' ').next().unwrap())
            .collect();
        assert_eq!(
            begins,
            [
                "signaling.ws:",
                "signaling.certificate",
                "sip.listen:",
                "admin.listen:"
            ]
        );
    }

    #[test]
    fn taken_media_and_link_ports_are_told_with_all_others() {
        let taken = ["127.0.0.1:0"; 3].map(|at| UdpSocket::bind(at).unwrap());
        let [media, sip, link] = taken.each_ref().map(|s| s.local_addr().unwrap());
        let (_dir, config) = config(&[
            "media.address=127.0.0.1".to_owned(),
            "media.workers=1".to_owned(),
            format!("media.webrtc.port={}", media.port()),
            "media.rtp.ports=0-0".to_owned(),
            format!("sip.listen=udp:{sip}"),
            format!("link.listen={link}"),
        ]);
        let told = |setting: &str, address: SocketAddr| {
            let port = address.port();
            format!("{setting}: UDP port {port} of 127.0.0.1 is taken by another program.")
        };
        assert_eq!(
            Opened::open(&config).err().unwrap(),
            [
                told("sip.listen", sip),
                told("media.webrtc.port", media),
                told("link.listen", link)
            ]
        );
    }

    #[test]
    fn each_worker_has_its_port_on_each_media_address() {
        let (_dir, mut config) =
            config(&["media.address=[\"127.0.0.1\",\"127.0.0.2\"]".to_owned()]);
        (config.media.webrtc_port, config.media.workers) = (65_534, 2);
        let wanted: Vec<_> = media(&config)
            .flatten()
            .map(|address| address.to_string())
            .collect();
        assert_eq!(
            wanted,
            [
                "127.0.0.1:65534",
                "127.0.0.2:65534",
                "127.0.0.1:65535",
                "127.0.0.2:65535"
            ]
        );
        config.media.webrtc_port = 0;
        assert_eq!(media(&config).count(), 0);
    }

    #[test]
    fn sip_on_all_addresses_is_a_socket_for_each() {
        let (_dir, config) = config(&["sip.listen=udp::0;announce=203.0.113.7:5060".to_owned()]);
        let opened = Opened::open(&config).unwrap();
        let bound: Vec<_> = opened
            .sip
            .iter()
            .map(|sip| sip.bound.ip().to_string())
            .collect();
        assert_eq!(bound, ["127.0.0.2", "127.0.0.1"]);
        assert_eq!(opened.sip[0].bound.port(), opened.sip[1].bound.port());
    }
}
