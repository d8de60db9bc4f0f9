//! All settings, read whole before a socket opens: text in, typed [`Config`] or every complaint out.
//!
//! Each key has a default that works on one box. A file is overruled by the environment, and that by `--set`.
//! `deploy/trunkgate.toml` shows every key with its unit and reason; a test holds the two together.

mod read;
mod rules;
mod source;
mod surroundings;
#[cfg(test)]
mod tests;
mod trunks;
mod values;

pub use surroundings::Surroundings;
pub use trunks::{TlsFiles, Trunk};
pub use values::{Announce, LinkPeer, Listen, Role, Secret, SipListen, SipTransport, origin};

use crate::cli::phones;
use crate::files;
use crate::phones::check_realm;
use read::{Reader, Shown};
use signaling_backend::RawSip;
use signaling_plan::Plan;
use signaling_sip::digest::Hash;
use signaling_trunk::lines::{RegistrarSpec, TrunkMode};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;
use values::Address;

/// What the command line says about settings.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    pub file: Option<PathBuf>,
    /// `KEY=VALUE` each.
    pub set: Vec<String>,
    /// Empty: all of them.
    pub roles: Vec<Role>,
}

impl Arguments {
    /// Those that come later on the command line win.
    pub fn overruled_by(mut self, later: Arguments) -> Arguments {
        self.set.extend(later.set);
        Arguments {
            file: later.file.or(self.file),
            set: self.set,
            roles: match later.roles.is_empty() {
                true => self.roles,
                false => later.roles,
            },
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub roles: BTreeSet<Role>,
    pub signaling: Signaling,
    pub backend: Backend,
    pub sip: Sip,
    pub calls: Calls,
    pub media: Media,
    pub link: Link,
    pub admin: Admin,
    pub dns: Dns,
    /// Everything that the gateway makes for itself.
    pub data_dir: PathBuf,
    /// As for `tracing_subscriber::EnvFilter`.
    pub log_level: String,
    /// Whether this box speaks IPv6 at all.
    pub ipv6: bool,
    /// The operator's lines and rules, which can change while the gateway runs.
    pub dial: Dial,
    /// Addresses of this box with the lengths of their networks' prefixes.
    pub interfaces: Vec<(IpAddr, u8)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Signaling {
    pub ws: Option<Listen>,
    pub wss: Option<Listen>,
    /// Certificate chain and key in PEM; `None`: made and kept under `data_dir`.
    pub certificate: Option<(PathBuf, PathBuf)>,
    pub close_on_registration_failure: bool,
    /// Origins, in lower case, whose pages may connect; empty: any.
    pub origins: Vec<String>,
    pub sip_message_raw: RawSip,
    /// New sessions of one address; 0: as many as it likes.
    pub connections_per_second_per_address: u32,
}

/// The hooks' way to the applications' backends.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    pub enabled: bool,
    /// Zero: none.
    pub request_timeout: Duration,
    pub connections: usize,
    pub queue: usize,
    /// Authorities that are believed beside the system's, PEM.
    pub ca: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sip {
    pub listen: Vec<SipListen>,
    /// Certificate chain and key in PEM of `tls:`; `None`: made and kept under `data_dir`.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Authorities that are believed beside the system's, PEM.
    pub ca: Option<PathBuf>,
    pub dscp: u8,
    /// Beyond loopback and the private networks of this box's interfaces.
    pub allowed_targets: Vec<String>,
    /// Seconds; 0: we ask for no session timer.
    pub session_expires: u32,
    pub min_se: u32,
    pub reliable_provisional: ReliableProvisional,
    pub redirect: Redirect,
    /// New calls of others in a second, and calls at once; 0: as many as there is room for.
    pub max_calls_per_second: u32,
    pub max_calls: u32,
}

/// Which of our provisional responses a caller must acknowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReliableProvisional {
    Off,
    WhenSdp,
    Always,
}

/// What a 3xx does to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirect {
    Follow,
    Refuse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodecPolicy {
    /// The SIP side's codec first, so that nothing is transcoded.
    Relay,
    /// Opus first, whatever the SIP side speaks.
    Opus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InbandDtmf {
    /// Heard and made as tones where a SIP peer has no telephone-event.
    Auto,
    Off,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Calls {
    pub codec_policy: CodecPolicy,
    pub inband_dtmf: InbandDtmf,
    /// Calls at once, new ones per second (0: no limit), and emergency calls beyond the first.
    pub max_calls: usize,
    pub max_calls_per_second: u32,
    pub emergency_reserve: usize,
    pub max_echo_calls: usize,
    pub max_echo: Duration,
    pub ringback: Ringback,
    /// REFER of the far side.
    pub follow_refer: bool,
    pub busy_as_failed: bool,
    /// Pages are told HOLD when the far side holds.
    pub tell_hold_by_peer: bool,
    /// Names of header fields that a page may add to an INVITE beside those that begin with `X-`.
    pub page_headers: Vec<String>,
    /// Names of header fields that pass from line to line, beside `Identity`.
    pub bridge_headers: Vec<String>,
}

/// Whose ringback tone pages hear where the PBX sends none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ringback {
    Off,
    Eu,
    Us,
    Gb,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Media {
    pub webrtc: Face,
    /// Worker n listens on this port plus n, on each address; 0: any port for each.
    pub webrtc_port: u16,
    pub rtp: Face,
    /// `0..=0`: any.
    pub rtp_ports: RangeInclusive<u16>,
    /// Of all media packets (RFC 2474).
    pub dscp: u8,
    /// At least 1.
    pub workers: usize,
}

/// The addresses of one side of the media role.
#[derive(Clone, Debug, PartialEq)]
pub struct Face {
    /// To bind, none of them unspecified.
    pub addresses: Vec<IpAddr>,
    /// What is told to peers instead, by family.
    pub announce: Vec<Announce>,
}

impl Face {
    /// What peers are told of a socket that is bound to `ip`; `None`: the truth.
    ///
    /// Loopback beside other addresses is announced as itself, for the page that came over loopback.
    pub fn announce_for(&self, ip: IpAddr) -> Option<Announce> {
        let same_family = |other: &IpAddr| other.is_ipv4() == ip.is_ipv4();
        let mut family = self.addresses.iter().filter(|other| same_family(other));
        let only_loopback = family.all(IpAddr::is_loopback);
        let announce = self
            .announce
            .iter()
            .find(|announce| same_family(&announce.ip));
        announce
            .filter(|_| only_loopback || !ip.is_loopback())
            .copied()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    pub listen: Option<SocketAddr>,
    pub peers: Vec<LinkPeer>,
    pub dir: PathBuf,
    pub grace: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    pub listen: Option<Listen>,
    /// `None`: what needs it is refused to everybody.
    pub token: Option<Secret>,
    /// Origins.
    pub cors: Vec<String>,
    /// Names in the `Host` header beyond loopback's and our own addresses, in lower case.
    pub hosts: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dial {
    pub trunks: Vec<Trunk>,
    pub plan: Plan,
    /// The realm is empty where the file names none.
    pub registrar: RegistrarSpec,
    /// What phones are challenged with.
    pub digests: Vec<Hash>,
}

impl Dial {
    /// For the commands that change who may register.
    pub fn phone_rules(&self) -> phones::Rules {
        let accepting = self.trunks.iter().map(|trunk| &trunk.spec);
        let accepting = accepting.filter(|spec| spec.mode == TrunkMode::Accept);
        phones::Rules {
            realm: self.registrar.realm.clone(),
            accepting: accepting.map(|spec| spec.name.clone()).collect(),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Dns {
    /// Empty: the system's.
    pub servers: Vec<SocketAddr>,
}

/// What a configuration was read from, so that it can be read again while the gateway runs.
pub struct Kept {
    arguments: Arguments,
    around: Surroundings,
    written: source::Settings,
}

impl Kept {
    /// Reads everything anew: the file and those that it names, with the environment and the command line of the start.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn again(&self) -> Result<(Config, Kept), Vec<String>> {
        Config::load_and_keep(&self.arguments, &self.around)
    }

    /// The settings outside the lines and rules that are others in `next`.
    pub fn differences(&self, next: &Kept) -> Vec<String> {
        const TAKEN_UP: [&str; 9] = [
            "trunk.",
            "phones.",
            "accounts.",
            "numbers.",
            "route[",
            "inbound[",
            "emergency.",
            "limits.",
            "registrar.",
        ];
        let names = self.written.keys().chain(next.written.keys());
        let names: BTreeSet<&String> = names.collect();
        let value = |kept: &Kept, name: &str| kept.written.get(name).map(|s| s.value.clone());
        names
            .into_iter()
            .filter(|name| !TAKEN_UP.iter().any(|begin| name.starts_with(begin)))
            .filter(|name| value(self, name) != value(next, name))
            .cloned()
            .collect()
    }
}

impl Config {
    /// Reads everything and keeps how.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn load_and_keep(
        arguments: &Arguments,
        around: &Surroundings,
    ) -> Result<(Config, Kept), Vec<String>> {
        let (settings, complaints) = collect(arguments, around);
        let kept = Kept {
            arguments: arguments.clone(),
            around: around.clone(),
            written: settings.clone(),
        };
        let (config, _) = Self::from_settings(settings, complaints, arguments, around)?;
        Ok((config, kept))
    }

    /// Whether everything but the lines and rules is the same.
    pub fn same_but_dial(&self, other: &Config) -> bool {
        let mut other = other.clone();
        other.dial.clone_from(&self.dial);
        *self == other
    }

    /// Reads everything. The error is all that is wrong, a sentence each.
    pub fn load(arguments: &Arguments, around: &Surroundings) -> Result<Config, Vec<String>> {
        Self::load_and_name(arguments, around).map(|(config, _)| config)
    }

    fn load_and_name(
        arguments: &Arguments,
        around: &Surroundings,
    ) -> Result<(Config, Vec<String>), Vec<String>> {
        let (settings, complaints) = collect(arguments, around);
        Self::from_settings(settings, complaints, arguments, around)
    }

    fn from_settings(
        settings: source::Settings,
        complaints: Vec<String>,
        arguments: &Arguments,
        around: &Surroundings,
    ) -> Result<(Config, Vec<String>), Vec<String>> {
        let mut reader = Reader::new(
            settings,
            complaints,
            around.variables.clone(),
            around.secrets_elsewhere,
        );
        let config = read_all(&mut reader, arguments, around);
        let names = reader.names();
        let complaints = reader.finish();
        match config {
            Some(config) if complaints.is_empty() => Ok((config, names)),
            _ => Err(complaints),
        }
    }
}

/// File, environment and command line in one table, the later over the earlier, and what could not be read.
fn collect(arguments: &Arguments, around: &Surroundings) -> (source::Settings, Vec<String>) {
    let mut settings = source::Settings::new();
    let mut complaints = Vec::new();
    if let Some(path) = &arguments.file {
        match files::read_text(path) {
            Ok(text) => source::add_file(&mut settings, path, &text, &mut complaints),
            Err(error) => complaints.push(format!("--config: {error}.")),
        }
    }
    source::add_environment(&mut settings, around.variables.clone());
    for argument in &arguments.set {
        source::add_argument(&mut settings, argument, &mut complaints);
    }
    (settings, complaints)
}

/// Every setting is asked for before any `?`, so that all complaints are heard.
fn read_all(reader: &mut Reader, arguments: &Arguments, around: &Surroundings) -> Option<Config> {
    let roles: BTreeSet<Role> = match arguments.roles.as_slice() {
        [] => [Role::Signaling, Role::Trunk, Role::Media].into(),
        some => some.iter().copied().collect(),
    };
    let data_dir = reader.text("data_dir", "auto", Shown::Plainly, path_or_auto);
    let data_dir = data_dir.map(|dir| dir.unwrap_or_else(|| around.default_data_dir()));
    let log_level = reader.text("log.level", "info", Shown::Plainly, values::log_level);
    let signaling = read_signaling(reader);
    let backend = read_backend(reader);
    let sip = read_sip(reader);
    let calls = read_calls(reader);
    let media = read_media(reader, around);
    let link = read_link(reader, &roles, data_dir.as_deref());
    let admin = read_admin(reader);
    let servers = reader.list("dns.servers", &[], |text| {
        values::ip(text)
            .map(|ip| SocketAddr::new(ip, 53))
            .or_else(|_| values::socket_address(text))
    });
    let dial = read_dial(reader, sip.as_ref());
    Some(Config {
        roles,
        dial: dial?,
        signaling: signaling?,
        backend: backend?,
        sip: sip?,
        calls: calls?,
        media: media?,
        link: link?,
        admin: admin?,
        dns: Dns { servers: servers? },
        data_dir: data_dir?,
        log_level: log_level?,
        ipv6: around.ipv6,
        interfaces: around.interfaces.clone(),
    })
}

fn read_dial(reader: &mut Reader, sip: Option<&Sip>) -> Option<Dial> {
    let listeners = sip.map(|sip| sip.listen.as_slice());
    let trunks = trunks::read_trunks(reader, listeners);
    let registrar = read_registrar(reader);
    let digests = reader.list("registrar.digest", &["MD5"], |text| {
        let all = [Hash::Sha512_256, Hash::Sha256, Hash::Md5];
        all.into_iter()
            .find(|hash| hash.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| "is none of SHA-512-256, SHA-256 and MD5".to_owned())
    });
    let plan = rules::read_plan(reader, trunks.as_deref().unwrap_or_default());
    Some(Dial {
        trunks: trunks?,
        plan: plan?,
        registrar: registrar?,
        digests: digests?,
    })
}

fn read_registrar(reader: &mut Reader) -> Option<RegistrarSpec> {
    let realm = reader.text("registrar.realm", "", Shown::Plainly, |text| {
        if text.is_empty() || check_realm(text).is_ok() {
            Ok(text.to_owned())
        } else {
            Err("is no word like a domain: letters, digits, dots, - and _".to_owned())
        }
    });
    let longest = reader.integer("registrar.max_expires", 3_600, 60..=86_400, " s");
    let least = reader.integer("registrar.min_expires", 60, 10..=86_400, " s");
    let (longest, least) = (longest?, least?);
    if least > longest {
        let why = "registrar.min_expires is longer than registrar.max_expires.".to_owned();
        reader.complaints.push(why);
        return None;
    }
    let seconds = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
    Some(RegistrarSpec {
        realm: realm?,
        max_expires_s: seconds(longest),
        min_expires_s: seconds(least),
    })
}

fn read_signaling(reader: &mut Reader) -> Option<Signaling> {
    let ws = reader.text(
        "signaling.ws",
        ":8080",
        Shown::Plainly,
        values::listen_or_off,
    );
    let wss = reader.text(
        "signaling.wss",
        ":8443",
        Shown::Plainly,
        values::listen_or_off,
    );
    let certificate = read_certificate(reader, "signaling.certificate", "signaling.key");
    let close_on_failure = reader.flag("signaling.close_on_registration_failure", true);
    let origins = reader.list("signaling.origins", &[], values::origin);
    let raw = reader.text(
        "signaling.sip_message_raw",
        "full",
        Shown::Plainly,
        |text| match text {
            "full" => Ok(RawSip::Full),
            "status-line" => Ok(RawSip::StatusLine),
            "off" => Ok(RawSip::Off),
            _ => Err("is none of \"full\", \"status-line\" and \"off\"".to_owned()),
        },
    );
    let rate = reader.integer(
        "signaling.connections_per_second_per_address",
        20,
        0..=1_000_000,
        "",
    );
    if let (Some(Some(ws)), Some(Some(wss))) = (&ws, &wss)
        && ws == wss
        && ws.port != 0
    {
        let places = (reader.place("signaling.ws"), reader.place("signaling.wss"));
        reader.complaints.push(format!(
            "signaling.ws{} and signaling.wss{} cannot both be {ws}.",
            places.0, places.1
        ));
    }
    Some(Signaling {
        ws: ws?,
        wss: wss?,
        certificate: certificate?,
        close_on_registration_failure: close_on_failure?,
        origins: origins?,
        sip_message_raw: raw?,
        connections_per_second_per_address: u32::try_from(rate?).ok()?,
    })
}

/// Chain and key, both or none.
fn read_certificate(
    reader: &mut Reader,
    certificate: &'static str,
    key: &'static str,
) -> Option<Option<(PathBuf, PathBuf)>> {
    let chain = reader.text(certificate, "auto", Shown::Plainly, path_or_auto);
    let private = reader.text(key, "auto", Shown::Plainly, path_or_auto);
    let (given, missing) = match (chain?, private?) {
        (Some(chain), Some(private)) => return Some(Some((chain, private))),
        (None, None) => return Some(None),
        (Some(_), None) => (certificate, key),
        (None, Some(_)) => (key, certificate),
    };
    let place = reader.place(given);
    reader
        .complaints
        .push(format!("{given}{place} is of no use without {missing}."));
    None
}

fn read_backend(reader: &mut Reader) -> Option<Backend> {
    let enabled = reader.flag("backend.enabled", true);
    let timeout = reader.integer("backend.request_timeout", 15, 0..=600, " seconds");
    let connections = reader.integer("backend.connections", 8, 1..=1000, "");
    let queue = reader.integer("backend.queue", 1000, 1..=100_000, "");
    let ca = reader.text("backend.ca", "", Shown::Plainly, |text| {
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    });
    Some(Backend {
        enabled: enabled?,
        request_timeout: seconds(timeout?)?,
        connections: usize::try_from(connections?).ok()?,
        queue: usize::try_from(queue?).ok()?,
        ca: ca?,
    })
}

fn read_sip(reader: &mut Reader) -> Option<Sip> {
    let listen = reader.list(
        "sip.listen",
        &["udp::5060", "tcp::5060", "tls::5061"],
        values::sip_listen,
    );
    let certificate = read_certificate(reader, "sip.certificate", "sip.key");
    let ca = reader.text("sip.ca", "", Shown::Plainly, |text| {
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    });
    let dscp = reader.integer("sip.dscp", 24, 0..=63, "");
    let allowed_targets = reader.list("sip.allowed_targets", &[], values::target);
    let session_expires = reader.integer("sip.session_expires", 1800, 0..=86_400, " seconds");
    let min_se = reader.integer("sip.min_se", 90, 90..=86_400, " seconds");
    if let (Some(expires), Some(least)) = (session_expires, min_se)
        && expires != 0
        && expires < least
    {
        let places = (
            reader.place("sip.session_expires"),
            reader.place("sip.min_se"),
        );
        reader.complaints.push(format!(
            "sip.session_expires = {expires}{} must be 0 or at least sip.min_se = {least}{}.",
            places.0, places.1
        ));
    }
    let reliable_provisional = reader.text(
        "sip.reliable_provisional",
        "when-sdp",
        Shown::Plainly,
        values::reliable_provisional,
    );
    let redirect = reader.text("sip.redirect", "follow", Shown::Plainly, values::redirect);
    let rate = reader.integer("sip.max_calls_per_second", 0, 0..=100_000, "");
    let at_once = reader.integer("sip.max_calls", 0, 0..=20_000, "");
    Some(Sip {
        listen: listen?,
        certificate: certificate?,
        ca: ca?,
        dscp: u8::try_from(dscp?).ok()?,
        allowed_targets: allowed_targets?,
        session_expires: u32::try_from(session_expires?).ok()?,
        min_se: u32::try_from(min_se?).ok()?,
        reliable_provisional: reliable_provisional?,
        redirect: redirect?,
        max_calls_per_second: u32::try_from(rate?).ok()?,
        max_calls: u32::try_from(at_once?).ok()?,
    })
}

fn read_calls(reader: &mut Reader) -> Option<Calls> {
    let codec_policy = reader.text(
        "calls.codec_policy",
        "relay",
        Shown::Plainly,
        |text| match text {
            "relay" => Ok(CodecPolicy::Relay),
            "opus" => Ok(CodecPolicy::Opus),
            _ => Err("is neither \"relay\" nor \"opus\"".to_owned()),
        },
    );
    let inband_dtmf = reader.text(
        "calls.inband_dtmf",
        "auto",
        Shown::Plainly,
        |text| match text {
            "auto" => Ok(InbandDtmf::Auto),
            "off" => Ok(InbandDtmf::Off),
            _ => Err("is neither \"auto\" nor \"off\"".to_owned()),
        },
    );
    let max_calls = reader.integer("calls.max_calls", 5_000, 1..=100_000, "");
    let per_second = reader.integer("calls.max_calls_per_second", 0, 0..=100_000, "");
    let emergency_reserve = reader.integer("calls.emergency_reserve", 20, 0..=10_000, "");
    let max_echo_calls = reader.integer("calls.max_echo_calls", 16, 0..=100_000, "");
    let max_echo = reader.integer("calls.max_echo_seconds", 180, 1..=86_400, " seconds");
    let ringback = reader.text("calls.ringback", "eu", Shown::Plainly, |text| match text {
        "off" => Ok(Ringback::Off),
        "eu" => Ok(Ringback::Eu),
        "us" => Ok(Ringback::Us),
        "gb" => Ok(Ringback::Gb),
        _ => Err("is none of \"off\", \"eu\", \"us\" and \"gb\"".to_owned()),
    });
    let follow_refer = reader.flag("calls.follow_refer", true);
    let busy_as_failed = reader.flag("calls.busy_as_failed", false);
    let hold_by_peer = reader.text(
        "calls.hold_by_peer",
        "tell",
        Shown::Plainly,
        |text| match text {
            "tell" => Ok(true),
            "silent" => Ok(false),
            _ => Err("is neither \"tell\" nor \"silent\"".to_owned()),
        },
    );
    let page_headers = reader.list("calls.page_headers", &[], values::page_header);
    let bridge_headers = reader.list("calls.bridge_headers", &[], values::page_header);
    Some(Calls {
        codec_policy: codec_policy?,
        inband_dtmf: inband_dtmf?,
        max_calls: usize::try_from(max_calls?).ok()?,
        max_calls_per_second: u32::try_from(per_second?).ok()?,
        emergency_reserve: usize::try_from(emergency_reserve?).ok()?,
        max_echo_calls: usize::try_from(max_echo_calls?).ok()?,
        max_echo: seconds(max_echo?)?,
        ringback: ringback?,
        follow_refer: follow_refer?,
        busy_as_failed: busy_as_failed?,
        tell_hold_by_peer: hold_by_peer?,
        page_headers: page_headers?,
        bridge_headers: bridge_headers?,
    })
}

fn read_media(reader: &mut Reader, around: &Surroundings) -> Option<Media> {
    let addresses = reader.list("media.address", &["auto"], values::address);
    let mut face = |bind: &str, announce: &str| {
        let own = reader.list(bind, &[], values::address);
        let announce = reader.list(announce, &[], values::announce);
        let own = own?;
        let bind = if own.is_empty() {
            addresses.clone()?
        } else {
            own
        };
        let mut resolved = Vec::new();
        for address in bind {
            let found = match address {
                Address::Auto => around.addresses(),
                Address::Ip(ip) => vec![ip],
            };
            for ip in found {
                if !resolved.contains(&ip) {
                    resolved.push(ip);
                }
            }
        }
        Some(Face {
            addresses: resolved,
            announce: announce?,
        })
    };
    let webrtc = face("media.webrtc.bind", "media.webrtc.announce");
    let rtp = face("media.rtp.bind", "media.rtp.announce");
    if addresses.as_ref().is_some_and(Vec::is_empty) {
        let place = reader.place("media.address");
        reader.complaints.push(format!(
            "media.address{place} names no address; \"auto\" takes them all."
        ));
    }
    let port = reader.integer("media.webrtc.port", 10_000, 0..=65_535, "");
    let ports = reader.text(
        "media.rtp.ports",
        "20000-29999",
        Shown::Plainly,
        values::ports,
    );
    let workers = reader.integer("media.workers", 0, 0..=1024, "");
    // EF (RFC 3246) is what telephony asks of a network (RFC 4594 §4.1).
    let dscp = reader.integer("media.dscp", 46, 0..=63, "");
    let (webrtc_port, rtp_ports) = (u16::try_from(port?).ok()?, ports?);
    let workers = match usize::try_from(workers?).ok()? {
        0 => around.cores.max(1),
        workers => workers,
    };
    let last = u32::from(webrtc_port) + u32::try_from(workers).ok()? - 1;
    let place = reader.place("media.webrtc.port");
    if webrtc_port != 0 && last > 65_535 {
        reader.complaints.push(format!(
            "media.webrtc.port = {webrtc_port} leaves no room for a port for each of {workers} workers{place}."
        ));
    } else if webrtc_port != 0
        && u32::from(*rtp_ports.start()) <= last
        && rtp_ports.end() >= &webrtc_port
    {
        reader.complaints.push(format!(
            "media.rtp.ports{} overlap media.webrtc.port{place}, which takes {webrtc_port} to {last}, one for each worker.",
            reader.place("media.rtp.ports")
        ));
    }
    if *rtp_ports.end() != 0 && rtp_ports.end() - rtp_ports.start() < 1 {
        let place = reader.place("media.rtp.ports");
        reader.complaints.push(format!(
            "media.rtp.ports{place} must hold at least one pair of ports."
        ));
    }
    Some(Media {
        webrtc: webrtc?,
        webrtc_port,
        rtp: rtp?,
        rtp_ports,
        dscp: u8::try_from(dscp?).ok()?,
        workers,
    })
}

fn read_link(reader: &mut Reader, roles: &BTreeSet<Role>, data_dir: Option<&Path>) -> Option<Link> {
    let listen = reader.text("link.listen", "off", Shown::Plainly, |text| {
        if text == "off" {
            Ok(None)
        } else {
            values::socket_address(text).map(Some)
        }
    });
    let peers = reader.list("link.peers", &[], values::link_peer);
    let dir = reader.text("link.dir", "auto", Shown::Plainly, path_or_auto);
    let grace = reader.integer("link.grace", 30, 0..=3600, " seconds");
    let (listen, peers) = (listen?, peers?);
    if roles.contains(&Role::Signaling) {
        for role in [Role::Trunk, Role::Media] {
            let named = peers.iter().filter(|peer| peer.role == role).count();
            let name = role.name();
            if !roles.contains(&role) && named == 0 {
                reader.complaints.push(format!(
                    "link.peers must name where the {name} role is ({name}=ADDR:PORT), since it is not played here."
                ));
            } else if roles.contains(&role) && named > 0 {
                reader.complaints.push(format!(
                    "link.peers{} names a {name} role elsewhere, but it is played here: use --roles.",
                    reader.place("link.peers")
                ));
            } else if named > 1 {
                reader.complaints.push(format!(
                    "link.peers{} names more than one {name} role, which is not there yet.",
                    reader.place("link.peers")
                ));
            }
        }
    } else if listen.is_none() {
        reader.complaints.push(
            "link.listen must be set (ADDR:PORT) where the signaling role is not played, or nothing could reach this process.".to_owned(),
        );
    }
    let dir = match dir? {
        Some(dir) => dir,
        None => data_dir?.join("link"),
    };
    Some(Link {
        listen,
        peers,
        dir,
        grace: seconds(grace?)?,
    })
}

fn read_admin(reader: &mut Reader) -> Option<Admin> {
    let listen = reader.text(
        "admin.listen",
        "127.0.0.1:9090",
        Shown::Plainly,
        values::listen_or_off,
    );
    let token = reader.text("admin.token", "", Shown::Secret, |text| match text {
        "" => Ok(None),
        text if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Some(Secret::new(text.to_owned()))),
        _ => Err("has characters that no Authorization header can carry; use visible ASCII without spaces".to_owned()),
    });
    let cors = reader.list("admin.cors", &[], values::origin);
    let hosts = reader.list("admin.hosts", &[], |text| {
        let plain = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
        if plain && !text.is_empty() {
            Ok(text.to_ascii_lowercase())
        } else {
            Err("is not a host name without a port".to_owned())
        }
    });
    Some(Admin {
        listen: listen?,
        token: token?,
        cors: cors?,
        hosts: hosts?,
    })
}

fn path_or_auto(text: &str) -> Result<Option<PathBuf>, String> {
    match text {
        "" => Err("is empty".to_owned()),
        "auto" => Ok(None),
        path => Ok(Some(PathBuf::from(path))),
    }
}

fn seconds(value: i64) -> Option<Duration> {
    u64::try_from(value).ok().map(Duration::from_secs)
}
