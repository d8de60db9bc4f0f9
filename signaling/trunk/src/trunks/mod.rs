//! The trunks of the configuration that we register to, or that are known by their addresses: each has an account
//! inside, so that its requests, dialogs and credentials go the way of every other account's.

mod calling;
mod probes;
mod sources;

use crate::agent::{Agent, Due};
use crate::api::{AccountId, AccountSpec, Event, Line};
use crate::limits::{BETWEEN_REGISTRATIONS, MAX_SERVERS, MAX_TRUNKS};
use crate::lines::{TrunkMode, TrunkSpec};
use crate::registration::{check_spec, next_hop};
use crate::reliable::ReliableProvisional;
pub(crate) use probes::Heard;
use serde::{Deserialize, Serialize};
use signaling_sip::message::Uri;
use signaling_sip::time::Instant;
use sources::Sources;
use std::collections::BTreeMap;

/// Accounts of lines have numbers from here on; those of pages are drawn from below.
pub(crate) const LINES: u64 = 1 << 63;

/// Whether an account is a line's, which no command may name.
pub(crate) fn is_of_line(account: AccountId) -> bool {
    account.0 >= LINES
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Trunks {
    by_name: BTreeMap<String, Trunk>,
    drawn: u64,
    sources: Sources,
    /// Everything is told at the end of the turn.
    quiet: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Trunk {
    pub spec: TrunkSpec,
    pub account: AccountId,
    /// What was told last; `None`: nothing yet.
    up: Option<bool>,
    why: String,
    #[serde(default)]
    probes: probes::Probes,
}

impl Trunks {
    pub fn account(&self, name: &str) -> Option<AccountId> {
        self.by_name.get(name).map(|trunk| trunk.account)
    }

    fn of_account(&mut self, name: &str, account: AccountId) -> Option<&mut Trunk> {
        let trunk = self.by_name.get_mut(name)?;
        (trunk.account == account).then_some(trunk)
    }
}

impl Agent {
    /// What the operator said of the trunk that an account stands for; `None`: it is a page's or a phone's, or the
    /// trunk is gone and only its calls are still there.
    pub(crate) fn trunk_of(&self, account: AccountId) -> Option<&TrunkSpec> {
        let Some(Line::Trunk(name)) = &self.s.accounts.get(&account)?.line else {
            return None;
        };
        self.s.trunks.by_name.get(name).map(|trunk| &trunk.spec)
    }

    pub(crate) fn reliable_provisional(&self, account: AccountId) -> ReliableProvisional {
        let own = self
            .trunk_of(account)
            .and_then(|trunk| trunk.reliable_provisional);
        own.unwrap_or(self.config.reliable_provisional)
    }

    pub(crate) fn session_expires_s(&self, account: AccountId) -> u32 {
        let own = self
            .trunk_of(account)
            .and_then(|trunk| trunk.session_expires_s);
        own.unwrap_or(self.config.session_expires_s)
    }

    /// What did not change goes on undisturbed; what changed begins anew, and its calls run to their end by what it
    /// was.
    pub(crate) fn take_trunks(&mut self, now: Instant) {
        self.s.trunks.quiet = true;
        let wanted = self.s.lines.trunks.clone();
        let names: std::collections::BTreeSet<&str> =
            wanted.iter().map(|spec| spec.name.as_str()).collect();
        let gone: Vec<String> = self
            .s
            .trunks
            .by_name
            .keys()
            .filter(|name| !names.contains(name.as_str()))
            .cloned()
            .collect();
        for name in gone {
            self.close_trunk(&name, now);
        }
        let mut first = now;
        for spec in wanted.into_iter().take(MAX_TRUNKS) {
            if let Some(trunk) = self.s.trunks.by_name.get_mut(&spec.name) {
                if trunk.spec == spec {
                    continue;
                }
                if stays(&trunk.spec, &spec) {
                    let account = trunk.account;
                    trunk.spec = spec;
                    self.set_sources(account);
                    self.watch(account, now);
                    continue;
                }
                let name = spec.name.clone();
                self.close_trunk(&name, now);
            }
            self.open_trunk(spec, first, now);
            first += BETWEEN_REGISTRATIONS;
        }
        self.s.trunks.quiet = false;
        self.tell_trunks();
    }

    fn open_trunk(&mut self, spec: TrunkSpec, first: Instant, now: Instant) {
        self.s.trunks.drawn += 1;
        let id = AccountId(LINES + self.s.trunks.drawn);
        let (name, mode) = (spec.name.clone(), spec.mode);
        let servers: Vec<Vec<u8>> = spec
            .servers
            .iter()
            .take(MAX_SERVERS)
            .map(|server| server_uri(server))
            .collect();
        let account = account_spec(&spec, servers.first().map(Vec::as_slice));
        let mut trunk = Trunk {
            account: id,
            up: None,
            why: String::new(),
            probes: probes::Probes::default(),
            spec,
        };
        let problem = match mode {
            // Its contacts are those of its phone.
            TrunkMode::Accept => None,
            TrunkMode::Register => check_spec(&account).err(),
            TrunkMode::Address if servers.is_empty() && trunk.spec.sources.is_empty() => {
                Some("no server and no source".to_string())
            }
            TrunkMode::Address => None,
        };
        let usable = problem.is_none();
        if let Some(problem) = problem {
            trunk.up = Some(false);
            trunk.why = problem;
        }
        let (asked_s, registers) = (trunk.spec.expires_s.max(1), account.register && usable);
        self.s.trunks.by_name.insert(name.clone(), trunk);
        self.add_account(id, Some(Line::Trunk(name)), account, asked_s);
        if let Some(account) = self.s.accounts.get_mut(&id) {
            account.servers = servers;
        }
        if registers {
            self.register_at(id, first);
        }
        self.set_sources(id);
        if usable {
            self.watch(id, now);
        }
    }

    /// All of them unregister; nothing is told of it.
    pub(crate) fn close_trunks(&mut self, now: Instant) {
        let trunks = self.s.trunks.by_name.values();
        let accounts: Vec<AccountId> = trunks.map(|trunk| trunk.account).collect();
        for account in accounts {
            self.s.schedule.set(Due::Probe(account), None);
            self.close_account(account, now);
        }
    }

    fn close_trunk(&mut self, name: &str, now: Instant) {
        let Some(account) = self.s.trunks.account(name) else {
            return;
        };
        self.s.trunks.sources.forget(account);
        self.s.schedule.set(Due::Probe(account), None);
        // As long as the trunk is known: its last REGISTER goes by its own TLS.
        self.close_account(account, now);
        self.s.trunks.by_name.remove(name);
    }

    /// A line has a registrar, an answer, or a contact.
    pub(crate) fn trunk_is_up(&mut self, account: AccountId) {
        self.set_trunk(account, true, "");
    }

    pub(crate) fn trunk_is_down(&mut self, account: AccountId, why: &str) {
        self.set_trunk(account, false, why);
    }

    fn set_trunk(&mut self, account: AccountId, up: bool, why: &str) {
        let Some(Line::Trunk(name)) = self.s.accounts.get(&account).and_then(|a| a.line.clone())
        else {
            return;
        };
        let Some(trunk) = self.s.trunks.of_account(&name, account) else {
            return;
        };
        if trunk.up == Some(up) && (up || trunk.why == why) {
            return;
        }
        trunk.up = Some(up);
        trunk.why = why.into();
        if !self.s.trunks.quiet {
            self.event(Event::Line {
                line: Line::Trunk(name),
                up,
                reason: why.into(),
            });
        }
    }

    /// To a new listener, and after a change.
    pub(crate) fn tell_trunks(&mut self) {
        let known: Vec<Event> = self
            .s
            .trunks
            .by_name
            .iter()
            .filter_map(|(name, trunk)| {
                Some(Event::Line {
                    line: Line::Trunk(name.clone()),
                    up: trunk.up?,
                    reason: trunk.why.clone(),
                })
            })
            .collect();
        for event in known {
            self.event(event);
        }
    }

    /// Where requests of an account that begin something go, the likeliest first.
    pub(crate) fn ways(&mut self, id: AccountId, now: Instant) -> Vec<Vec<u8>> {
        let lot = self.s.dice.below(1000);
        let Some(account) = self.s.accounts.get(&id) else {
            return Vec::new();
        };
        if account.servers.is_empty() {
            return match account.line {
                Some(_) => Vec::new(),
                None => vec![next_hop(&account.spec)],
            };
        }
        let standing = |way: &Vec<u8>| {
            let hops = account.found.get(way).into_iter().flatten();
            hops.map(|hop| self.s.resting.standing(hop, lot, now)).min()
        };
        let mut ways = account.servers.clone();
        ways.sort_by_cached_key(standing);
        ways
    }
}

/// Whether the same registration, servers and credentials serve the new words.
fn stays(before: &TrunkSpec, after: &TrunkSpec) -> bool {
    let same = |spec: &TrunkSpec| TrunkSpec {
        sources: Vec::new(),
        probe_s: 0,
        attempt_ms: 0,
        reliable_provisional: None,
        session_expires_s: None,
        trusted: false,
        ..spec.clone()
    };
    same(before) == same(after)
}

/// `host`, `host:port` or a URI, as a URI.
fn server_uri(server: &str) -> Vec<u8> {
    let lower = server.to_ascii_lowercase();
    if lower.starts_with("sip:") || lower.starts_with("sips:") {
        server.as_bytes().to_vec()
    } else {
        format!("sip:{server}").into_bytes()
    }
}

fn account_spec(spec: &TrunkSpec, server: Option<&[u8]>) -> AccountSpec {
    let host = server.and_then(|server| match Uri::parse(server) {
        Ok(Uri::Sip(uri)) => Some(uri.host.to_string()),
        Ok(_) | Err(_) => None,
    });
    let domain = if spec.domain.is_empty() {
        host.unwrap_or_default()
    } else {
        spec.domain.clone()
    };
    AccountSpec {
        login: spec.login.clone(),
        auth_name: spec.auth_name.clone(),
        password: spec.password.clone(),
        domain,
        proxy: server.map_or_else(String::new, |s| String::from_utf8_lossy(s).into_owned()),
        port: 0,
        register: spec.mode == TrunkMode::Register,
        display: String::new(),
        contact_params: Vec::new(),
    }
}
