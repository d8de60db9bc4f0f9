//! The sections `[trunk.NAME]` and `[phones]`: the operator's own lines, and how they carry sound.

use super::read::{Reader, Shown};
use super::values::{self, SipListen, SipTransport};
use signaling_calls::negotiate::{suite, suite_name};
use signaling_plan::{MediaProfile, NumberForm, Srtp};
use signaling_trunk::lines::{TrunkMode, TrunkSpec};
use signaling_trunk::reliable::ReliableProvisional;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// More trunks are a slip of the pen.
const TRUNKS: usize = 1000;

/// One trunk as the file says it.
#[derive(Clone, Debug, PartialEq)]
pub struct Trunk {
    /// Its `tls` is not filled in: the files are read where the lines are made, and again when they change.
    pub spec: TrunkSpec,
    pub tls: Option<TlsFiles>,
    pub numbers: NumberForm,
    pub media: MediaProfile,
    /// 0: as many as come.
    pub max_calls: u32,
    pub calls_per_second: u32,
    pub minutes_per_day: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    pub roots: Option<PathBuf>,
    pub pinned_sha256: Option<[u8; 32]>,
    pub server_name: String,
    /// Chain and key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    pub at_least_1_3: bool,
    pub client_certificate: bool,
}

pub fn read_trunks(reader: &mut Reader, listeners: Option<&[SipListen]>) -> Option<Vec<Trunk>> {
    let names = reader.sections("trunk");
    if names.len() > TRUNKS {
        reader
            .complaints
            .push(format!("There are more than {TRUNKS} trunks."));
        return None;
    }
    // Every trunk is read before any is missed.
    let trunks: Vec<_> = names
        .iter()
        .map(|name| read_trunk(reader, name, listeners))
        .collect();
    trunks.into_iter().collect()
}

fn read_trunk(reader: &mut Reader, name: &str, listeners: Option<&[SipListen]>) -> Option<Trunk> {
    let key = |key: &str| format!("trunk.{name}.{key}");
    if !is_name(name) {
        reader.complaints.push(format!(
            "trunk.{name}{} has a name other than small letters, digits, - and _.",
            reader.place_of_section(&format!("trunk.{name}"))
        ));
    }
    let usual = TrunkSpec::default();
    let mode = reader.text(&key("mode"), "address", Shown::Plainly, |text| match text {
        "register" => Ok(TrunkMode::Register),
        "address" => Ok(TrunkMode::Address),
        "accept" => Ok(TrunkMode::Accept),
        _ => Err("is none of \"register\", \"address\" and \"accept\"".to_owned()),
    });
    // Where the listeners cannot be read themselves, that is told.
    let has_tls = listeners.is_none_or(|all| {
        all.iter()
            .any(|listen| listen.transport == SipTransport::Tls)
    });
    let servers = reader.list(&key("servers"), &[], |text| {
        let lower = text.to_ascii_lowercase();
        let by_tls = lower.starts_with("sips:") || lower.contains(";transport=tls");
        match by_tls && !has_tls {
            true => {
                Err("is reached by TLS, and sip.listen has no tls: address to go out by".to_owned())
            }
            false => server(text),
        }
    });
    let domain = reader.text(&key("domain"), "", Shown::Plainly, plain);
    let login = reader.text(&key("login"), "", Shown::Plainly, plain);
    let auth_name = reader.text(&key("auth_name"), "", Shown::Plainly, plain);
    let password = reader.secret(&key("password"));
    let expires = reader.integer(&key("expires"), 300, 60..=86_400, " seconds");
    let sources = reader.list(&key("sources"), &[], network);
    let probe = reader.integer(&key("probe"), 30, 0..=3600, " seconds");
    let attempt = reader.integer(&key("attempt_ms"), 4000, 500..=32_000, " milliseconds");
    let numbers = reader.text(&key("numbers"), "+e164", Shown::Plainly, number_form);
    let trusted = reader.flag(&key("trusted"), false);
    let reliable = reader.text(
        &key("reliable_provisional"),
        "",
        Shown::Plainly,
        |text| match text {
            "" => Ok(None),
            "off" => Ok(Some(ReliableProvisional::Off)),
            "when-sdp" => Ok(Some(ReliableProvisional::WhenSdp)),
            "always" => Ok(Some(ReliableProvisional::Always)),
            _ => Err("is none of \"off\", \"when-sdp\" and \"always\"".to_owned()),
        },
    );
    let session_expires = match reader.has(&key("session_expires")) {
        true => reader
            .integer(&key("session_expires"), 0, 0..=86_400, " seconds")
            .map(Some),
        false => {
            reader.know(&key("session_expires"));
            Some(None)
        }
    };
    let listener = reader.text(&key("listener"), "", Shown::Plainly, |text| {
        let there = listeners.is_none_or(|all| all.iter().any(|listen| listen.name == text));
        match text.is_empty() || there {
            true => Ok(text.to_owned()),
            false => Err(format!(
                "is the name of no listener: say ;name={text} in sip.listen"
            )),
        }
    });
    let tls = read_tls(reader, &key);
    let media = read_media(reader, &key);
    let limit = |reader: &mut Reader, what: &str| {
        let n = reader.integer(&key(what), 0, 0..=1_000_000, "")?;
        u32::try_from(n).ok()
    };
    let max_calls = limit(reader, "max_calls");
    let calls_per_second = limit(reader, "calls_per_second");
    let minutes_per_day = limit(reader, "minutes_per_day");
    let (mode, servers, login, password, sources) = (mode?, servers?, login?, password?, sources?);
    let tls = tls?;
    let mut missing = |wants: &str| {
        let place = reader.place_of_section(&format!("trunk.{name}"));
        reader
            .complaints
            .push(format!("trunk.{name}{place} {wants}."));
    };
    match mode {
        TrunkMode::Register => {
            if servers.is_empty() {
                missing("registers, so it needs servers: servers = [\"sip.carrier.example\"]");
            }
            if login.is_empty() {
                missing("registers, so it needs a login");
            }
            if password.is_empty() {
                missing(
                    "registers, so it needs a password (\"file:/path\" and \"env:NAME\" keep it out of this file)",
                );
            }
        }
        TrunkMode::Address => {
            let by_certificate = tls.as_ref().is_some_and(|tls| tls.client_certificate);
            if servers.is_empty() && sources.is_empty() && !by_certificate {
                missing(
                    "is known by its addresses, so it needs servers, sources or tls_client_certificate (or mode = \"register\" or \"accept\")",
                );
            }
            let has_name = tls.as_ref().is_some_and(|tls| {
                tls.roots.is_some() || tls.pinned_sha256.is_some() || !tls.server_name.is_empty()
            });
            let has_domain = domain.as_ref().is_some_and(|domain| !domain.is_empty());
            if by_certificate && servers.is_empty() && !has_name && !has_domain {
                missing(
                    "is known by its certificate alone, so it needs tls_server_name, tls_pin, tls_roots or domain: else whoever has any certificate of a public authority is it",
                );
            }
        }
        TrunkMode::Accept => {
            if !servers.is_empty() {
                missing(
                    "registers to us, so it has no servers; `trunkgate add phone` makes its login",
                );
            }
        }
    }
    Some(Trunk {
        spec: TrunkSpec {
            name: name.to_owned(),
            mode,
            servers,
            domain: domain?,
            login,
            auth_name: auth_name?,
            password,
            expires_s: u32::try_from(expires?).ok()?,
            sources,
            probe_s: u32::try_from(probe?).ok()?,
            attempt_ms: u32::try_from(attempt?).ok()?,
            reliable_provisional: reliable?,
            session_expires_s: match session_expires? {
                Some(seconds) => Some(u32::try_from(seconds).ok()?),
                None => None,
            },
            trusted: trusted?,
            listener: listener?,
            ..usual
        },
        tls,
        numbers: numbers?,
        media: media?,
        max_calls: max_calls?,
        calls_per_second: calls_per_second?,
        minutes_per_day: minutes_per_day?,
    })
}

/// `Some(None)`: nothing is said of TLS.
fn read_tls(reader: &mut Reader, key: &dyn Fn(&str) -> String) -> Option<Option<TlsFiles>> {
    let path = |text: &str| Ok((!text.is_empty()).then(|| PathBuf::from(text)));
    let roots = reader.text(&key("tls_roots"), "", Shown::Plainly, path);
    let pin = reader.text(&key("tls_pin"), "", Shown::Plainly, fingerprint);
    let server_name = reader.text(&key("tls_server_name"), "", Shown::Plainly, plain);
    let certificate = reader.text(&key("tls_certificate"), "", Shown::Plainly, path);
    let private_key = reader.text(&key("tls_key"), "", Shown::Plainly, path);
    let at_least_1_3 = reader.text(&key("tls_min"), "1.2", Shown::Plainly, |text| match text {
        "1.2" => Ok(false),
        "1.3" => Ok(true),
        _ => Err("is neither \"1.2\" nor \"1.3\"".to_owned()),
    });
    let client_certificate = reader.flag(&key("tls_client_certificate"), false);
    let certificate = match (certificate?, private_key?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (certificate, _) => {
            let (given, missing) = match certificate {
                Some(_) => ("tls_certificate", "tls_key"),
                None => ("tls_key", "tls_certificate"),
            };
            let given = key(given);
            let place = reader.place(&given);
            reader
                .complaints
                .push(format!("{given}{place} is of no use without {missing}."));
            None
        }
    };
    let tls = TlsFiles {
        roots: roots?,
        pinned_sha256: pin?,
        server_name: server_name?,
        certificate,
        at_least_1_3: at_least_1_3?,
        client_certificate: client_certificate?,
    };
    Some((tls != TlsFiles::default()).then_some(tls))
}

/// The keys of sound, the same for a trunk and for all phones.
pub fn read_media(reader: &mut Reader, key: &dyn Fn(&str) -> String) -> Option<MediaProfile> {
    let codecs = reader.list(&key("codecs"), &[], |text| {
        const SPOKEN: [&str; 4] = ["opus", "G722", "PCMU", "PCMA"];
        let known = SPOKEN.iter().find(|name| name.eq_ignore_ascii_case(text));
        known
            .map(|name| (*name).to_owned())
            .ok_or_else(|| "is none of opus, G722, PCMU and PCMA".to_owned())
    });
    let srtp = reader.text(&key("srtp"), "off", Shown::Plainly, |text| match text {
        "off" => Ok(Srtp::Off),
        "offer" => Ok(Srtp::Offer),
        "require" => Ok(Srtp::Require),
        "forbid" => Ok(Srtp::Forbid),
        _ => Err("is none of \"off\", \"offer\", \"require\" and \"forbid\"".to_owned()),
    });
    let suites = reader.list(&key("srtp_suites"), &[], |text| {
        let known = suite(text).map(|suite| suite_name(suite).to_owned());
        known.ok_or_else(|| {
            "is none of AES_CM_128_HMAC_SHA1_80, AES_CM_128_HMAC_SHA1_32, AEAD_AES_128_GCM and AEAD_AES_256_GCM"
                .to_owned()
        })
    });
    let ice = reader.flag(&key("ice"), false);
    let ptime = reader.integer(&key("ptime"), 20, 10..=60, " milliseconds");
    let late_offer = reader.flag(&key("late_offer"), false);
    let policy = reader.text(
        &key("codec_policy"),
        "",
        Shown::Plainly,
        |text| match text {
            "" => Ok(None),
            "relay" => Ok(Some(false)),
            "opus" => Ok(Some(true)),
            _ => Err("is neither \"relay\" nor \"opus\"".to_owned()),
        },
    );
    let ptime = ptime.filter(|ms| {
        let whole = ms % 10 == 0;
        if !whole {
            let name = key("ptime");
            let place = reader.place(&name);
            reader.complaints.push(format!(
                "{name} = {ms}{place} is not a multiple of 10 milliseconds."
            ));
        }
        whole
    });
    Some(MediaProfile {
        codecs: codecs?,
        srtp: srtp?,
        suites: suites?,
        ice: ice?,
        // The usual: as the other side says (an answer repeats its word).
        ptime_ms: match u8::try_from(ptime?).ok()? {
            20 => 0,
            ms => ms,
        },
        late_offer: late_offer?,
        opus_to_browsers: policy?,
    })
}

pub fn number_form(text: &str) -> Result<NumberForm, String> {
    match text {
        "+e164" => Ok(NumberForm::PlusE164),
        "e164" => Ok(NumberForm::E164),
        "00" => Ok(NumberForm::International),
        "national" => Ok(NumberForm::National),
        "as-is" => Ok(NumberForm::AsIs),
        _ => Err(
            "is none of \"+e164\" (+493012345), \"e164\" (493012345), \"00\" (00493012345), \"national\" (03012345) and \"as-is\""
                .to_owned(),
        ),
    }
}

pub fn media_by_name(trunks: &[Trunk]) -> BTreeMap<String, MediaProfile> {
    let media = trunks
        .iter()
        .map(|trunk| (trunk.spec.name.clone(), trunk.media.clone()));
    media.collect()
}

/// Such as can be a key of TOML, part of an environment variable's name and a word of `to = [...]`.
pub fn is_name(text: &str) -> bool {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    !text.is_empty() && text.len() <= 64 && text.bytes().all(fine)
}

fn plain(text: &str) -> Result<String, String> {
    if text.len() <= 255 && text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("has characters other than visible ASCII without spaces".to_owned())
    }
}

/// A host, `host:port` or a SIP URI.
fn server(text: &str) -> Result<String, String> {
    let bare = text
        .strip_prefix("sip:")
        .or_else(|| text.strip_prefix("sips:"))
        .unwrap_or(text);
    let host = bare.split(';').next().unwrap_or_default();
    let fine = !host.contains(['/', '@']) && values::target(host).is_ok();
    // Parameters belong to a URI.
    let whole = bare != text || !text.contains(';');
    if fine && whole && text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err(
            "is not a host, HOST:PORT or a SIP URI such as sip:carrier.example;transport=tls"
                .to_owned(),
        )
    }
}

/// An address or a network.
fn network(text: &str) -> Result<(IpAddr, u8), String> {
    let (ip, prefix) = match text.split_once('/') {
        Some((ip, prefix)) => (ip, Some(prefix)),
        None => (text, None),
    };
    let wrong = || "is not an address or a network such as 198.51.100.0/24".to_owned();
    let ip = values::ip(ip).map_err(|_| wrong())?;
    let longest = if ip.is_ipv4() { 32 } else { 128 };
    match prefix.map_or(Ok(longest), str::parse::<u8>) {
        Ok(0) => Err("is the whole internet".to_owned()),
        Ok(prefix) if prefix <= longest => Ok((ip, prefix)),
        _ => Err(wrong()),
    }
}

/// SHA-256 in hex, with or without colons.
fn fingerprint(text: &str) -> Result<Option<[u8; 32]>, String> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    if digits.is_empty() {
        return Ok(None);
    }
    let mut pin = [0; 32];
    let wrong = || {
        "is not a SHA-256 fingerprint: 64 hex digits, as `openssl x509 -fingerprint -sha256` prints them"
            .to_owned()
    };
    if digits.len() != 64 || !digits.is_ascii() {
        return Err(wrong());
    }
    for (byte, two) in pin.iter_mut().zip(digits.as_bytes().chunks(2)) {
        let two = std::str::from_utf8(two).map_err(|_| wrong())?;
        *byte = u8::from_str_radix(two, 16).map_err(|_| wrong())?;
    }
    Ok(Some(pin))
}
