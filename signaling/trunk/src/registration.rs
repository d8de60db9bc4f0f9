//! Accounts and their registrations (RFC 3261 §10).

use crate::agent::{Agent, Due};
use crate::api::{AccountId, AccountSpec, Cause, Event, Failure, Line};
use crate::limits::{KEEP_ALIVE, MAX_ACCOUNTS};
use crate::net::{Hop, Path};
use crate::requests::{Draft, Purpose};
use crate::trunks::is_of_line;
use serde::{Deserialize, Serialize};
use signaling_sip::dialog::MAX_ROUTES;
use signaling_sip::digest::Session;
use signaling_sip::message::{
    HeaderName, Host, Message, Method, NameAddr, SipUri, Uri, WriteFault, addr_spec, blotted,
    print_params, split_list, unfold,
};
use signaling_sip::time::Instant;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Account {
    pub spec: AccountSpec,
    /// The line that it stands for; `None`: it is a page's. Nobody outside is told of a line's account.
    #[serde(default)]
    pub line: Option<Line>,
    /// 128 random bits: who knows it has seen our REGISTER.
    pub contact_user: String,
    /// What the registration went over last.
    pub flow: Option<Path>,
    /// Addresses that registrar and proxy were found at.
    pub peers: Vec<IpAddr>,
    /// Nonces in use; true: those for REGISTER.
    pub digest: Vec<(bool, Session)>,
    /// Where its requests go, as URIs in the order in which they are tried. Empty: its proxy or domain.
    #[serde(default)]
    pub servers: Vec<Vec<u8>>,
    /// What they were found at last.
    #[serde(default)]
    pub found: BTreeMap<Vec<u8>, Vec<Hop>>,
    /// The server that said 2xx last.
    #[serde(default)]
    pub registered_by: Option<Vec<u8>>,
    /// Route values that its 2xx asked for (RFC 3608).
    #[serde(default)]
    pub service_route: Vec<Vec<u8>>,
    /// Realms that its own servers speak for.
    #[serde(default)]
    pub realms: Vec<Vec<u8>>,
    /// INVITEs that are not forgotten.
    #[serde(default)]
    pub calls: usize,
    state: State,
    call_id: String,
    tag: String,
    pub cseq: u32,
    asked_s: u32,
    failures: u32,
    /// The REGISTER under way.
    request: Option<u64>,
    /// The calls know that it is registered.
    told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    /// It never registers.
    Unneeded,
    Asking,
    Registered,
    /// Tried again later.
    Waiting,
    /// REGISTER with expires 0 is under way.
    Leaving,
    /// Gone for the calls; here only while INVITEs need its credentials.
    Gone,
}

impl Account {
    pub fn is_gone(&self) -> bool {
        self.state == State::Gone
    }

    pub fn is_live(&self) -> bool {
        !matches!(self.state, State::Leaving | State::Gone)
    }
}

const FIRST_RETRY: Duration = Duration::from_secs(1);
/// A registrar that grants more is still asked after this, lest one that grants for ever is never noticed to be gone.
const LONGEST_TRUST_S: u32 = 3_600;
const LONGEST_RETRY: Duration = Duration::from_secs(20);
/// A line has nobody who waits before a screen, and there may be thousands of them (RFC 5626 §4.5 doubles up to half
/// an hour).
const LONGEST_LINE_RETRY: Duration = Duration::from_secs(300);
/// Seconds until a registrar that refused a line's credentials is asked again: not often enough to lock them out.
const REFUSED_S: u32 = 120;

impl Agent {
    pub(crate) fn open_account(&mut self, id: AccountId, spec: AccountSpec, now: Instant) {
        if is_of_line(id) {
            return;
        }
        if self.s.accounts.get(&id).is_some_and(Account::is_live) {
            return;
        }
        let mut problem = None;
        if self.s.accounts.len() >= MAX_ACCOUNTS {
            problem = Some((Cause::Overloaded, "too many accounts".to_string()));
        } else if let Err(fault) = check_spec(&spec) {
            problem = Some((Cause::BadRequest, fault));
        }
        if let Some((cause, reason)) = problem {
            let failure = Failure {
                cause,
                reason,
                ..Failure::default()
            };
            self.event(Event::RegistrationFailed {
                account: id,
                failure,
                retry_s: None,
            });
            return;
        }
        let asked_s = if self.config.register_expires_s == 0 {
            60
        } else {
            self.config.register_expires_s
        };
        let registers = spec.register;
        self.add_account(id, None, spec, asked_s);
        if registers {
            self.send_register(id, asked_s, now);
        }
    }

    pub(crate) fn add_account(
        &mut self,
        id: AccountId,
        line: Option<Line>,
        spec: AccountSpec,
        asked_s: u32,
    ) {
        let contact_user = self.s.dice.hex(16);
        self.s.contacts.insert(contact_user.clone(), id);
        // One of the same number may be gone but for its calls.
        let calls = self.s.accounts.get(&id).map_or(0, |a| a.calls);
        let account = Account {
            state: if spec.register {
                State::Asking
            } else {
                State::Unneeded
            },
            contact_user,
            flow: None,
            peers: Vec::new(),
            digest: Vec::new(),
            call_id: self.s.dice.hex(16),
            tag: self.s.dice.hex(8),
            cseq: 0,
            asked_s,
            failures: 0,
            request: None,
            told: false,
            line,
            servers: Vec::new(),
            found: BTreeMap::new(),
            registered_by: None,
            service_route: Vec::new(),
            realms: Vec::new(),
            calls,
            spec,
        };
        self.s.accounts.insert(id, account);
    }

    /// A line's account registers for the first time then.
    pub(crate) fn register_at(&mut self, id: AccountId, at: Instant) {
        self.s.schedule.set(Due::Account(id), Some(at));
    }

    fn tell_unregistered(&mut self, id: AccountId) {
        if !is_of_line(id) {
            self.event(Event::Unregistered { account: id });
        }
    }

    fn tell_registration_failed(&mut self, id: AccountId, failure: Failure, retry_s: Option<u32>) {
        if is_of_line(id) {
            return self.trunk_is_down(id, &words(&failure));
        }
        self.event(Event::RegistrationFailed {
            account: id,
            failure,
            retry_s,
        });
    }

    pub(crate) fn close_account(&mut self, id: AccountId, now: Instant) {
        let Some(account) = self.s.accounts.get_mut(&id) else {
            // It had failed for good before: whoever waits for the end is told.
            return self.tell_unregistered(id);
        };
        if !account.is_live() {
            return;
        }
        let leaves = !matches!(account.state, State::Unneeded | State::Gone);
        self.s.contacts.remove(&account.contact_user);
        self.s.schedule.set(Due::Account(id), None);
        self.s.schedule.set(Due::AccountKeepAlive(id), None);
        if leaves {
            account.state = State::Leaving;
            self.send_register(id, 0, now);
        } else {
            self.tell_unregistered(id);
            self.account_gone(id);
        }
    }

    fn account_gone(&mut self, id: AccountId) {
        let Some(account) = self.s.accounts.get_mut(&id) else {
            return;
        };
        account.state = State::Gone;
        self.s.contacts.remove(&account.contact_user);
        self.s.schedule.set(Due::Account(id), None);
        self.s.schedule.set(Due::AccountKeepAlive(id), None);
        self.forget_account_if_gone(id);
    }

    pub(crate) fn forget_account_if_gone(&mut self, id: AccountId) {
        let gone = self
            .s
            .accounts
            .get(&id)
            .is_some_and(|a| a.state == State::Gone);
        if gone && self.s.accounts.get(&id).is_some_and(|a| a.calls == 0) {
            self.s.accounts.remove(&id);
        }
    }

    fn send_register(&mut self, id: AccountId, expires_s: u32, now: Instant) {
        let Some(account) = self.s.accounts.get_mut(&id) else {
            return;
        };
        account.cseq += 1;
        let draft = match register_draft(account, expires_s) {
            Ok(draft) => draft,
            Err(fault) => {
                let failure = Failure {
                    cause: Cause::BadRequest,
                    reason: fault.to_string(),
                    ..Failure::default()
                };
                return self.on_register_failed(id, failure, now);
            }
        };
        // A binding is taken back where it is.
        let holder = account.registered_by.clone().filter(|_| expires_s == 0);
        if let Some(before) = account.request.take() {
            // A later number would overtake it; at the end it must not come last.
            self.abandon(before);
        }
        let ways = holder.map_or_else(|| self.ways(id, now), |holder| vec![holder]);
        let attempt_ms = self.trunk_of(id).map_or(0, |trunk| trunk.attempt_ms);
        let purpose = Purpose::Register(id);
        let number = self.request_by(purpose, id, draft, ways, attempt_ms, now);
        if self.s.requests.contains_key(&number)
            && let Some(account) = self.s.accounts.get_mut(&id)
        {
            account.request = Some(number);
        }
    }

    pub(crate) fn on_register_response(
        &mut self,
        id: AccountId,
        response: &Message<'_>,
        path: Path,
        way: Vec<u8>,
        now: Instant,
    ) {
        let Some(account) = self.s.accounts.get_mut(&id) else {
            return;
        };
        account.request = None;
        if !account.is_live() {
            self.tell_unregistered(id);
            return self.account_gone(id);
        }
        let status = response.status();
        match status {
            200..=299 => {
                let expires_s = granted(account, response);
                if expires_s == 0 {
                    let failure = crate::responses::failure_of(response);
                    return self.on_register_failed(id, failure, now);
                }
                account.state = State::Registered;
                account.failures = 0;
                account.flow = Some(path);
                account.registered_by = Some(way);
                if account.line.is_some() {
                    account.service_route = service_route(response);
                }
                let first = !std::mem::replace(&mut account.told, true);
                self.s
                    .schedule
                    .set(Due::Account(id), Some(now + refresh_after(expires_s)));
                self.s
                    .schedule
                    .set(Due::AccountKeepAlive(id), Some(now + KEEP_ALIVE));
                if first && is_of_line(id) {
                    self.trunk_is_up(id);
                } else if first {
                    let raw = blotted(response.raw());
                    self.event(Event::Registered {
                        account: id,
                        expires_s,
                        raw,
                    });
                }
            }
            423 => {
                let least = response
                    .number(HeaderName::MinExpires)
                    .ok()
                    .flatten()
                    .unwrap_or(0);
                if least > account.asked_s && least <= 86_400 {
                    account.asked_s = least;
                    if account.failures > 0 {
                        // One that always wants a little more would have us ask without a pause.
                        let failure = crate::responses::failure_of(response);
                        return self.register_later(id, failure, 0, now);
                    }
                    account.failures = 1;
                    self.send_register(id, least, now);
                } else {
                    self.on_register_failed(id, crate::responses::failure_of(response), now);
                }
            }
            401 | 403 | 404 | 407 if is_of_line(id) => {
                // The operator may mend it at the other end: asked again, but seldom.
                self.register_later(id, crate::responses::failure_of(response), REFUSED_S, now);
            }
            401 | 403 | 404 | 407 => {
                // With credentials refused, or without any to give: asking again would lock the user out.
                let failure = crate::responses::failure_of(response);
                self.tell_registration_failed(id, failure, None);
                self.account_gone(id);
            }
            _ => {
                let asked = response
                    .number(HeaderName::RetryAfter)
                    .ok()
                    .flatten()
                    .unwrap_or(0);
                self.register_later(
                    id,
                    crate::responses::failure_of(response),
                    asked.min(300),
                    now,
                );
            }
        }
    }

    pub(crate) fn on_register_failed(&mut self, id: AccountId, failure: Failure, now: Instant) {
        let Some(account) = self.s.accounts.get_mut(&id) else {
            return;
        };
        account.request = None;
        if !account.is_live() {
            self.tell_unregistered(id);
            return self.account_gone(id);
        }
        if !is_of_line(id) && matches!(failure.cause, Cause::BadRequest | Cause::NotAllowed) {
            self.tell_registration_failed(id, failure, None);
            return self.account_gone(id);
        }
        self.register_later(id, failure, 0, now);
    }

    /// Doubling from 1 to 20 s, spread by a quarter so that a PBX coming back is not met by all at once.
    fn register_later(&mut self, id: AccountId, failure: Failure, at_least_s: u32, now: Instant) {
        let spread = self.s.dice.below(250);
        let Some(account) = self.s.accounts.get_mut(&id) else {
            return;
        };
        let (doublings, longest) = if is_of_line(id) {
            (account.failures.min(9), LONGEST_LINE_RETRY)
        } else {
            (account.failures.min(5), LONGEST_RETRY)
        };
        let doubled = FIRST_RETRY * 2u32.saturating_pow(doublings);
        let wait = doubled
            .min(longest)
            .max(Duration::from_secs(at_least_s.into()));
        let wait = wait + wait * u32::try_from(spread).unwrap_or(0) / 1000;
        account.failures = account.failures.saturating_add(1);
        account.state = State::Waiting;
        account.told = false;
        account.flow = None;
        self.s.schedule.set(Due::Account(id), Some(now + wait));
        self.s.schedule.set(Due::AccountKeepAlive(id), None);
        let retry_s = u32::try_from(wait.as_secs_f32().ceil() as u64).unwrap_or(u32::MAX);
        self.tell_registration_failed(id, failure, Some(retry_s));
    }

    pub(crate) fn on_account_due(&mut self, id: AccountId, now: Instant) {
        let Some(account) = self.s.accounts.get_mut(&id) else {
            return;
        };
        if account.is_live() && account.state != State::Unneeded {
            let asked_s = account.asked_s;
            self.send_register(id, asked_s, now);
        }
    }

    /// The connection that the registration hangs on is gone: the registrar cannot reach us any more.
    pub(crate) fn on_account_flow_lost(&mut self, id: AccountId, now: Instant) {
        let spread = Duration::from_millis(self.s.dice.below(500));
        let Some(account) = self.s.accounts.get_mut(&id) else {
            return;
        };
        account.flow = None;
        if account.state == State::Registered {
            self.s.schedule.set(Due::Account(id), Some(now + spread));
        }
    }

    pub(crate) fn on_account_keep_alive(&mut self, id: AccountId, now: Instant) {
        let Some(account) = self.s.accounts.get(&id) else {
            return;
        };
        if let (true, Some(path @ Path::Datagram { .. })) = (account.is_live(), account.flow) {
            self.transmit(path, b"\r\n\r\n".to_vec());
            self.s
                .schedule
                .set(Due::AccountKeepAlive(id), Some(now + KEEP_ALIVE));
        }
    }
}

/// Why, in one line.
pub(crate) fn words(failure: &Failure) -> String {
    match failure.status {
        0 => failure.reason.clone(),
        status => format!("{status} {}", failure.reason),
    }
}

/// The Service-Route of a 2xx in its order; none where it is no loose route of SIP URIs (RFC 3608 §5).
fn service_route(response: &Message<'_>) -> Vec<Vec<u8>> {
    let mut routes = Vec::new();
    for (_, name, value) in response.fields() {
        if !name.eq_ignore_ascii_case(b"Service-Route") {
            continue;
        }
        let value = unfold(value);
        for element in split_list(&value) {
            let uri = NameAddr::parse(element).and_then(|route| Uri::parse(route.uri));
            let loose = uri.is_ok_and(|uri| uri.sip().is_some_and(|s| s.param("lr").is_some()));
            if !loose || routes.len() >= MAX_ROUTES {
                return Vec::new();
            }
            routes.push(element.to_vec());
        }
    }
    routes
}

/// Half of a short time, all but half a minute of a long one, and never later than in an hour, whatever was granted.
fn refresh_after(expires_s: u32) -> Duration {
    let expires_s = expires_s.min(LONGEST_TRUST_S);
    let seconds = if expires_s > 120 {
        expires_s - 30
    } else {
        expires_s / 2
    };
    Duration::from_secs(seconds.max(1).into())
}

/// The expiry of the Contact that is ours: the list may hold others of the same user.
fn granted(account: &Account, response: &Message<'_>) -> u32 {
    let ours = response
        .list(HeaderName::Contact)
        .filter_map(|c| NameAddr::parse(c).ok())
        .find(|c| {
            Uri::parse(c.uri).ok().and_then(|u| u.user()).as_deref()
                == Some(account.contact_user.as_bytes())
        });
    let of_contact = ours
        .and_then(|c| c.params.get("expires"))
        .and_then(|text| std::str::from_utf8(text).ok()?.parse::<u32>().ok());
    let of_header = || response.number(HeaderName::Expires).ok().flatten();
    of_contact.or_else(of_header).unwrap_or(account.asked_s)
}

fn register_draft(account: &Account, expires_s: u32) -> Result<Draft, WriteFault> {
    let spec = &account.spec;
    let mut uri = domain_uri(spec, None)?;
    uri.user = None;
    let aor = domain_uri(spec, Some(spec.login.as_bytes()))?.to_bytes();
    let mut from = addr_spec(&spec.display, &aor)?;
    from.extend_from_slice(format!(";tag={}", account.tag).as_bytes());
    let mut params = Vec::new();
    print_params(&spec.contact_params, &mut params)?;
    params.extend_from_slice(format!(";expires={expires_s}").as_bytes());
    Ok(Draft {
        method: Method::Register,
        uri: uri.to_bytes(),
        routes: Vec::new(),
        from,
        to: addr_spec(&spec.display, &aor)?,
        call_id: account.call_id.clone().into_bytes(),
        cseq: account.cseq,
        contact: Some((account.contact_user.clone(), params)),
        headers: vec![("Expires".into(), expires_s.to_string().into_bytes())],
        content_type: None,
        sdp: Vec::new(),
    })
}

/// `sip:user@domain`. A numeric domain keeps an unusual port, as it names one server and no other; a name
/// is the PBX's own and goes without.
pub(crate) fn domain_uri(spec: &AccountSpec, user: Option<&[u8]>) -> Result<SipUri, WriteFault> {
    let text = format!("sip:{}", spec.domain);
    let parsed = Uri::parse(text.as_bytes())?;
    let domain = parsed.sip().ok_or(WriteFault::Uri)?;
    let mut uri = SipUri::new(user, domain.host.clone(), domain.port);
    let is_number = matches!(domain.host, Host::Ip(_));
    if is_number && uri.port.is_none() && !matches!(spec.port, 0 | 5060) {
        uri.port = Some(spec.port);
    }
    Ok(uri)
}

/// The URI that says where this account's requests go.
pub(crate) fn next_hop(spec: &AccountSpec) -> Vec<u8> {
    let place = if spec.proxy.is_empty() {
        &spec.domain
    } else {
        &spec.proxy
    };
    let lower = place.to_ascii_lowercase();
    let has_scheme = lower.starts_with("sip:") || lower.starts_with("sips:");
    let text = if has_scheme {
        place.clone()
    } else {
        format!("sip:{place}")
    };
    match Uri::parse(text.as_bytes()) {
        Ok(Uri::Sip(mut uri)) => {
            let tls = uri.secure
                || uri
                    .param("transport")
                    .is_some_and(|t| t.eq_ignore_ascii_case(b"tls"));
            // Pages say 5060 where nobody chose a port; TLS is not there.
            if uri.port.is_none() && spec.port != 0 && !(tls && spec.port == 5060) {
                uri.port = Some(spec.port);
            }
            uri.user = None;
            uri.to_bytes()
        }
        Ok(_) | Err(_) => text.into_bytes(),
    }
}

pub(crate) fn check_spec(spec: &AccountSpec) -> Result<(), String> {
    if spec.domain.is_empty() {
        return Err("no SIP domain".into());
    }
    if spec.login.is_empty() {
        return Err("no SIP login".into());
    }
    let controls = |text: &str| text.chars().any(char::is_control);
    for (name, text) in [
        ("login", &spec.login),
        ("authentication name", &spec.auth_name),
        ("domain", &spec.domain),
        ("proxy", &spec.proxy),
        ("display name", &spec.display),
    ] {
        if controls(text) {
            return Err(format!("control character in the {name}"));
        }
    }
    domain_uri(spec, Some(spec.login.as_bytes()))
        .map_err(|_| "the SIP domain is not a host".to_string())?;
    Uri::parse(&next_hop(spec)).map_err(|_| "the SIP proxy is not an address".to_string())?;
    print_params(&spec.contact_params, &mut Vec::new()).map_err(|fault| fault.to_string())?;
    Ok(())
}
