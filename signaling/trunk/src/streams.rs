//! Connections: opened, accepted, used again, kept alive and closed.

use crate::agent::{Agent, Due, Output};
use crate::api::AccountId;
use crate::limits::{
    CONNECT_TIMEOUT, FIRST_MESSAGE, HANDSHAKE_TIMEOUT, KEEP_ALIVE, MAX_ACCEPTED,
    MAX_ACCEPTED_PER_ADDRESS, MAX_SILENCE, MAX_STREAMS,
};
use crate::lines::{Lines, TrunkSpec};
use crate::net::{Path, Stream, StreamId, Transport};
use crate::tls::{PeerCertificate, TlsOpen, is_peer_of};
use signaling_sip::message::{Message, StreamFramer, Unit};
use signaling_sip::time::Instant;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

impl Agent {
    /// Whether one more connection may be accepted from this address.
    fn has_room_for(&self, ip: IpAddr) -> bool {
        let (mut all, mut of_address) = (0, 0);
        for (stream, entry) in &self.s.streams {
            if is_accepted(*stream) {
                all += 1;
                of_address += usize::from(entry.remote.ip() == ip);
            }
        }
        self.s.streams.len() < MAX_STREAMS
            && all < MAX_ACCEPTED
            && of_address < MAX_ACCEPTED_PER_ADDRESS
    }

    pub(crate) fn on_accepted(
        &mut self,
        stream: StreamId,
        remote: SocketAddr,
        secure: bool,
        peer: Option<PeerCertificate>,
        now: Instant,
    ) {
        if !self.has_room_for(remote.ip()) || !self.lets_connect(remote, now) {
            return self.push(Output::CloseStream { stream });
        }
        let entry = Stream {
            secure,
            peer,
            ..new_stream(remote, true, now)
        };
        self.add_stream(stream, entry, KEEP_ALIVE, now);
    }

    fn add_stream(&mut self, stream: StreamId, entry: Stream, wait: Duration, now: Instant) {
        self.s.schedule.set(Due::Stream(stream), Some(now + wait));
        self.s.streams.insert(stream, entry);
    }

    /// An open or opening connection to `remote`, a new one if need be. `tls`: it must be TLS to that peer, by the
    /// rules of that trunk.
    pub(crate) fn stream_to(
        &mut self,
        from: IpAddr,
        remote: SocketAddr,
        tls: Option<TlsOpen>,
        now: Instant,
    ) -> Option<(StreamId, bool)> {
        let trunk = tls
            .as_ref()
            .and_then(|tls| self.s.lines.trunks.iter().find(|t| t.name == tls.profile));
        let is_gone = |name: &str| self.s.lines.trunks.iter().all(|trunk| trunk.name != name);
        let mut streams = self.s.streams.iter();
        let open = streams.find(|(_, s)| {
            leads_to(s, remote, tls.as_ref(), trunk)
                || is_last_way(s, remote, tls.as_ref(), is_gone)
        });
        if let Some((stream, entry)) = open {
            return Some((*stream, entry.up));
        }
        if self.s.streams.len() >= MAX_STREAMS {
            return None;
        }
        let stream = StreamId(self.draw() * 2);
        let wait = if tls.is_some() {
            HANDSHAKE_TIMEOUT
        } else {
            CONNECT_TIMEOUT
        };
        let entry = Stream {
            secure: tls.is_some(),
            tls: tls.clone(),
            ..new_stream(remote, false, now)
        };
        self.add_stream(stream, entry, wait, now);
        self.push(Output::OpenStream {
            stream,
            from,
            remote,
            tls,
        });
        Some((stream, false))
    }

    /// A request whose Via says `alias`: its sender listens at the port that this names, and takes our requests over
    /// the connection that it came by (RFC 5923 §8.1). Whether it may is settled by its certificate, at each use.
    pub(crate) fn note_alias(&mut self, message: &Message<'_>, path: Path) {
        let Path::Stream {
            stream,
            remote,
            secure: true,
        } = path
        else {
            return;
        };
        let Some(entry) = self.s.streams.get_mut(&stream) else {
            return;
        };
        if let (true, Ok(via)) = (entry.peer.is_some(), message.top_via())
            && via.params.get("alias").is_some()
        {
            let port = via.port.unwrap_or(Transport::Tls.port());
            entry.alias = Some(SocketAddr::new(remote.ip(), port));
        }
    }

    /// Connections of trunks whose TLS is judged otherwise from now on are not theirs any more: they are closed, and
    /// opened again where they are needed. Those of a trunk that is gone stay for the calls that still go over them.
    pub(crate) fn close_misjudged(&mut self, before: &Lines, now: Instant) {
        let judged = |lines: &Lines, name: &str| {
            let trunk = lines.trunks.iter().find(|trunk| trunk.name == name);
            trunk.map(|trunk| trunk.tls.clone())
        };
        let changed = |name: &String| match (judged(before, name), judged(&self.s.lines, name)) {
            (Some(before), Some(now)) => before != now,
            (None, _) | (_, None) => false,
        };
        let over: Vec<StreamId> = self
            .s
            .streams
            .iter()
            .filter(|(_, entry)| match (&entry.tls, &entry.peer) {
                (Some(tls), _) => changed(&tls.profile),
                (None, Some(peer)) => peer.trusted_by.iter().any(changed),
                (None, None) => false,
            })
            .map(|(stream, _)| *stream)
            .collect();
        for stream in over {
            self.push(Output::CloseStream { stream });
            self.on_stream_closed(stream, now);
        }
    }

    pub(crate) fn on_connected(&mut self, stream: StreamId, now: Instant) {
        let Some(entry) = self.s.streams.get_mut(&stream) else {
            self.push(Output::CloseStream { stream });
            return;
        };
        entry.up = true;
        let waiting = std::mem::take(&mut entry.waiting);
        self.s
            .schedule
            .set(Due::Stream(stream), Some(now + KEEP_ALIVE));
        for request in waiting {
            self.send_over_stream(request, stream, now);
        }
    }

    pub(crate) fn on_stream_closed(&mut self, stream: StreamId, now: Instant) {
        self.stream_gone(stream, "connection failed", now);
    }

    /// `why` is told where it was the last way of a request.
    pub(crate) fn on_stream_failed(&mut self, stream: StreamId, why: &str, now: Instant) {
        self.stream_gone(stream, why, now);
    }

    fn stream_gone(&mut self, stream: StreamId, why: &str, now: Instant) {
        let Some(entry) = self.s.streams.remove(&stream) else {
            return;
        };
        self.s.schedule.set(Due::Stream(stream), None);
        for request in entry.waiting {
            self.on_hop_failed(request, why, now);
        }
        let over: Vec<String> = self
            .s
            .client
            .iter()
            .filter(|(_, tx)| matches!(tx.path, Path::Stream { stream: s, .. } if s == stream))
            .map(|(branch, _)| branch.clone())
            .collect();
        for branch in over {
            self.on_flow_lost(&branch, now);
        }
        let lost: Vec<AccountId> = self
            .s
            .accounts
            .iter()
            .filter(|(_, a)| matches!(a.flow, Some(Path::Stream { stream: s, .. }) if s == stream))
            .map(|(account, _)| *account)
            .collect();
        for account in lost {
            self.on_account_flow_lost(account, now);
        }
        self.on_phone_stream_closed(stream);
    }

    pub(crate) fn on_stream_data(&mut self, stream: StreamId, bytes: &[u8], now: Instant) {
        let Some(entry) = self.s.streams.get_mut(&stream) else {
            return;
        };
        let path = Path::Stream {
            stream,
            remote: entry.remote,
            secure: entry.secure,
        };
        entry.framer.push(bytes);
        // Taken out, because a message may close the stream or send over it.
        let mut framer = std::mem::take(&mut entry.framer);
        let (mut heard, mut pinged) = (false, false);
        while let Some(unit) = framer.next_unit() {
            match unit {
                Unit::Message(message) => {
                    heard = true;
                    if self.lets_in(path, message.raw(), now) {
                        self.on_message(&message, path, now);
                    }
                }
                Unit::Ping => {
                    pinged = true;
                    self.push(Output::StreamData {
                        stream,
                        bytes: b"\r\n".to_vec(),
                    });
                }
                Unit::Broken(_) => self.charge_garbage(path, now),
            }
        }
        let broken = framer.is_broken();
        if let Some(entry) = self.s.streams.get_mut(&stream) {
            entry.framer = framer;
            if heard || pinged && entry.heard.is_some() {
                entry.heard = Some(now);
            }
        }
        if broken {
            self.push(Output::CloseStream { stream });
            self.on_stream_closed(stream, now);
        }
    }

    pub(crate) fn on_stream_due(&mut self, stream: StreamId, now: Instant) {
        let Some(entry) = self.s.streams.get_mut(&stream) else {
            return;
        };
        if !entry.up {
            self.push(Output::CloseStream { stream });
            self.on_stream_closed(stream, now);
            return;
        }
        let accepted = is_accepted(stream);
        let silent = match entry.heard {
            None => now - entry.since >= FIRST_MESSAGE,
            Some(heard) => now - heard >= MAX_SILENCE,
        };
        let is_kept = entry.heard.is_some() && self.has_phone_on(stream);
        if accepted && silent && !is_kept {
            self.push(Output::CloseStream { stream });
            return self.on_stream_closed(stream, now);
        }
        self.s
            .schedule
            .set(Due::Stream(stream), Some(now + KEEP_ALIVE));
        // Only where we are the client: a server is not the one to ping (RFC 5626 §4.4).
        if !accepted {
            self.push(Output::StreamData {
                stream,
                bytes: b"\r\n\r\n".to_vec(),
            });
        }
    }
}

/// What a call of a trunk that is gone has left: its own requests name the bare address, by no trunk's rules.
fn is_last_way(
    entry: &Stream,
    remote: SocketAddr,
    tls: Option<&TlsOpen>,
    is_gone: impl Fn(&str) -> bool,
) -> bool {
    let (Some(own), Some(wanted)) = (&entry.tls, tls) else {
        return false;
    };
    let by_address = wanted.server_name.parse() == Ok(remote.ip());
    let was_a_trunks = !own.profile.is_empty() && is_gone(&own.profile);
    entry.remote == remote && wanted.profile.is_empty() && by_address && was_a_trunks
}

fn new_stream(remote: SocketAddr, up: bool, now: Instant) -> Stream {
    Stream {
        remote,
        secure: false,
        tls: None,
        peer: None,
        alias: None,
        up,
        waiting: VecDeque::new(),
        heard: None,
        since: now,
        in_call: false,
        framer: StreamFramer::default(),
    }
}

/// Whether requests to `remote` may go over this connection.
///
/// One trunk's TLS is never another's: the far end was checked by other rules. One that we opened has shown the name
/// that it was opened for. Of one that was opened to us the certificate must be for whom we want to reach (RFC 5923
/// §8.2); where the URI names nobody but the very address at the other end, there is nobody else to be.
fn leads_to(
    entry: &Stream,
    remote: SocketAddr,
    tls: Option<&TlsOpen>,
    trunk: Option<&TrunkSpec>,
) -> bool {
    let Some(wanted) = tls else {
        return !entry.secure && entry.remote == remote;
    };
    if !entry.secure {
        return false;
    }
    let by_address = wanted.server_name.parse() == Ok(remote.ip());
    if let Some(own) = &entry.tls {
        let same_name = own.server_name.eq_ignore_ascii_case(&wanted.server_name);
        return entry.remote == remote
            && own.profile == wanted.profile
            && (same_name || by_address);
    }
    let is_for_it = entry.peer.as_ref().is_some_and(|peer| match trunk {
        Some(trunk) => is_peer_of(trunk, peer).is_ok(),
        None => {
            let trusted = peer.trusted_by.contains(&wanted.profile);
            trusted && peer.is_for(&wanted.server_name)
        }
    });
    match trunk {
        None if by_address && entry.remote == remote => true,
        _ => is_for_it && (entry.remote == remote || entry.alias == Some(remote)),
    }
}

/// Odd numbers are the shell's, drawn for what it accepted.
pub(crate) fn is_accepted(stream: StreamId) -> bool {
    !stream.0.is_multiple_of(2)
}
