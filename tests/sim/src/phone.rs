//! A PBX and its phone in one: registrar, callee and caller, written apart from our own SIP so that it is a
//! second opinion. It knows only UDP, and no more of RFC 3261 than a plain phone needs.

mod holding;
mod inside;

pub use inside::{Inside, Referee};
use signaling_sip::time::Instant;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
const GIVE_UP: Duration = Duration::from_secs(32);

const SDP: &str = "v=0\r\no=phone 1 1 IN IP4 127.0.0.2\r\ns=-\r\nc=IN IP4 127.0.0.2\r\nt=0 0\r\nm=audio 20000 RTP/AVP 0 101\r\n\
a=rtpmap:101 telephone-event/8000\r\n";

/// How the phone shows itself.
#[derive(Clone, Debug)]
pub struct Looks {
    pub user: String,
    pub display: String,
    pub host: String,
    /// Whom it calls.
    pub calls: String,
    pub sdp: String,
    /// Header lines of all that it says, and of its INVITEs.
    pub headers: String,
    pub of_invites: String,
}

impl Default for Looks {
    fn default() -> Looks {
        Looks {
            user: "1002".into(),
            display: "Bob".into(),
            host: "pbx".into(),
            calls: "<sip:1001@pbx>".into(),
            sdp: SDP.into(),
            headers: String::new(),
            of_invites: String::new(),
        }
    }
}

/// What the phone does with a call that comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Rings, and answers after so long.
    Answers(Duration),
    RingsForEver,
    Busy,
}

/// What the phone, as a PBX, makes of a REFER.
#[derive(Clone, Copy, Debug)]
pub struct Referred {
    /// Its response; of what follows nothing happens unless it is 202.
    pub status: u16,
    /// The final word of its NOTIFYs, and how long it takes.
    pub outcome: u16,
    pub after: Duration,
    /// After a good outcome it says BYE by itself.
    pub says_bye: bool,
}

/// Something that the phone does by and by.
#[derive(Clone, Debug)]
enum Later {
    Notify { call: String, status: u16 },
    Bye { call: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// An INVITE of theirs, not answered for good.
    Ringing,
    /// Our INVITE is out.
    Calling,
    Talking,
    /// We said BYE or a refusal, and wait for what that asks for.
    Ending,
    Over,
}

#[derive(Clone, Debug)]
pub struct Call {
    pub state: State,
    /// Whether it ever was talking.
    pub talked: bool,
    id: String,
    /// Our tag and URI, theirs, as they stand in From and To.
    ours: String,
    theirs: String,
    /// Where requests to them go.
    target: String,
    cseq: u32,
    /// Their INVITE, whose headers each response repeats.
    invite: String,
    cancel_when_ringing: bool,
    /// It was hung up before anybody answered: an answer that crosses the CANCEL gets a BYE.
    gives_up: bool,
    /// What is repeated until something comes for it.
    repeat: Option<Repeat>,
    answer_at: Option<Instant>,
    last_response: String,
}

#[derive(Clone, Debug)]
struct Repeat {
    text: String,
    at: Instant,
    interval: Duration,
    until: Instant,
}

pub struct Phone {
    pub address: SocketAddr,
    pub gateway: SocketAddr,
    pub manner: Manner,
    pub looks: Looks,
    /// Contact of the gateway's account, once it has registered.
    pub contact: Option<String>,
    pub calls: BTreeMap<String, Call>,
    pub out: Vec<String>,
    /// Transfers and digits.
    pub inside: Inside,
    /// REFER and NOTIFY are the business of `inside`, which does what a test tells it; else of `referred`.
    pub runs_errands: bool,
    pub referred: Referred,
    /// After the NOTIFY that its own REFER was carried out it says BYE, so long after.
    pub leaves_after: Option<Duration>,
    next: u32,
    /// Branches of re-INVITEs that are on their way, by call.
    asks_to_hold: BTreeMap<String, String>,
    /// Directions of re-INVITEs that came, by call.
    pub was_told: BTreeMap<String, Vec<String>>,
    /// Requests other than INVITE and BYE, by branch, repeated until a response comes.
    requests: BTreeMap<String, Repeat>,
    /// What was answered already, by the request's Via.
    answered: BTreeMap<String, String>,
    later: Vec<(Instant, Later)>,
}

impl Phone {
    pub fn new(address: SocketAddr, gateway: SocketAddr, manner: Manner) -> Phone {
        Phone {
            address,
            gateway,
            manner,
            looks: Looks::default(),
            contact: None,
            calls: BTreeMap::new(),
            out: Vec::new(),
            inside: Inside::default(),
            runs_errands: false,
            referred: Referred {
                status: 202,
                outcome: 200,
                after: Duration::from_secs(1),
                says_bye: true,
            },
            leaves_after: None,
            next: 1,
            asks_to_hold: BTreeMap::new(),
            was_told: BTreeMap::new(),
            requests: BTreeMap::new(),
            answered: BTreeMap::new(),
            later: Vec::new(),
        }
    }

    pub fn handle(&mut self, bytes: &[u8], now: Instant) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let id = header(&text, "Call-ID");
        if id.is_empty() {
            // Keep-alive (RFC 5626 §3.5.1).
            return;
        }
        if let Some(status) = text.strip_prefix("SIP/2.0 ") {
            let status: u16 = status[..3].parse().expect("a status");
            return self.response(&text, &id, status, now);
        }
        let method = text.split(' ').next().unwrap_or_default().to_owned();
        match method.as_str() {
            "REGISTER" => self.register(&text),
            "OPTIONS" => self.respond(&text, 200, "OK", ""),
            "INVITE" => self.invited(text, id, now),
            "REFER" | "NOTIFY" if !self.runs_errands => {
                // A repetition gets what the first one got.
                if let Some(response) = self.answered.get(&header(&text, "Via")) {
                    self.out.push(response.clone());
                } else if method == "REFER" {
                    self.refer_came(&text, id, now);
                } else {
                    self.notify_came(&text, id, now);
                }
            }
            "ACK" => {
                if let Some(call) = self.calls.get_mut(&id) {
                    call.repeat = None;
                    if call.state == State::Ending {
                        call.state = State::Over;
                    }
                }
            }
            "CANCEL" => {
                self.respond(&text, 200, "OK", "");
                if self
                    .calls
                    .get(&id)
                    .is_some_and(|c| c.state == State::Ringing)
                {
                    self.finally(&id, 487, "Request Terminated", now);
                }
            }
            "BYE" => {
                let known = self.calls.get_mut(&id);
                match known {
                    Some(call) => {
                        call.state = State::Over;
                        call.repeat = None;
                        call.answer_at = None;
                        self.respond(&text, 200, "OK", "");
                    }
                    None => self.respond(&text, 481, "Call/Transaction Does Not Exist", ""),
                }
            }
            "REFER" | "NOTIFY" | "INFO" => self.asked_inside(&method, &text, &id, now),
            _ => self.respond(&text, 501, "Not Implemented", ""),
        }
    }

    fn refer_came(&mut self, text: &str, id: String, now: Instant) {
        let talks = self
            .calls
            .get(&id)
            .is_some_and(|c| c.state == State::Talking);
        let Referred {
            status,
            outcome,
            after,
            says_bye,
        } = self.referred;
        let status = if talks { status } else { 481 };
        self.respond(text, status, "Whatever", "");
        self.remember_answer(text);
        if status != 202 {
            return;
        }
        let call = id.clone();
        self.later.push((now, Later::Notify { call, status: 100 }));
        let call = id.clone();
        let status = outcome;
        self.later
            .push((now + after, Later::Notify { call, status }));
        if outcome != 200 {
            return;
        }
        if says_bye {
            let moment = Duration::from_millis(50);
            self.later
                .push((now + after + moment, Later::Bye { call: id }));
        }
        // Attended: the new party hangs up the call that was replaced.
        if let Some((_, rest)) = header(text, "Refer-To").split_once("Replaces=") {
            let call = rest.split("%3B").next().unwrap_or_default();
            let call = call.replace("%40", "@");
            self.later.push((now + after, Later::Bye { call }));
        }
    }

    fn notify_came(&mut self, text: &str, id: String, now: Instant) {
        let talks = self
            .calls
            .get(&id)
            .is_some_and(|c| c.state == State::Talking);
        let (status, reason) = if talks { (200, "OK") } else { (481, "Gone") };
        self.respond(text, status, reason, "");
        self.remember_answer(text);
        let done = text.contains("\r\n\r\nSIP/2.0 200");
        if let (Some(after), true) = (self.leaves_after, done) {
            self.later.push((now + after, Later::Bye { call: id }));
        }
    }

    fn remember_answer(&mut self, request: &str) {
        if let Some(response) = self.out.last() {
            let via = header(request, "Via");
            self.answered.insert(via, response.clone());
        }
    }

    /// Asks the gateway to call somebody else.
    pub fn refer_to(&mut self, id: &str, user: &str, now: Instant) {
        let to = format!("Refer-To: <sip:{user}@{}>\r\n", self.address);
        self.ask(id, "REFER", &to, "", now);
    }

    /// Calls the gateway's account for the place of a call that stands.
    pub fn replace(&mut self, id: &str, now: Instant) -> Option<String> {
        let call = self.calls.get(id)?;
        let tag = |text: &str| {
            let after = text.split(";tag=").nth(1).unwrap_or_default();
            after.split(';').next().unwrap_or_default().to_owned()
        };
        let header = format!(
            "Replaces: {id};to-tag={};from-tag={}\r\n",
            tag(&call.theirs),
            tag(&call.ours)
        );
        self.call_with(&header, now)
    }

    /// Sends a request inside a call, if that stands.
    fn ask(&mut self, id: &str, method: &str, headers: &str, body: &str, now: Instant) {
        let Some(mut call) = self.calls.get(id).cloned() else {
            return;
        };
        if call.state != State::Talking {
            return;
        }
        call.cseq += 1;
        let branch = self.branch(&call, method);
        let text = self.request_with(&call, method, call.cseq, headers, body, &branch);
        self.calls.insert(id.to_owned(), call);
        let repeat = Repeat {
            text: text.clone(),
            at: now + T1,
            interval: T1,
            until: now + GIVE_UP,
        };
        self.requests.insert(branch, repeat);
        self.out.push(text);
    }

    /// Once challenged, any answer is taken: whether the digest is right is tested elsewhere.
    fn register(&mut self, text: &str) {
        if header(text, "Authorization").is_empty() {
            let challenge = "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n1\", qop=\"auth\", algorithm=SHA-256\r\n";
            return self.respond(text, 401, "Unauthorized", challenge);
        }
        let contact = header(text, "Contact");
        let uri = contact
            .split(['<', '>'])
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        let gone = header(text, "Expires") == "0" || contact.contains("expires=0");
        let line = if gone {
            String::new()
        } else {
            format!("Contact: <{uri}>;expires=60\r\n")
        };
        self.contact = (!gone).then_some(uri);
        self.respond(text, 200, "OK", &line);
    }

    fn invited(&mut self, text: String, id: String, now: Instant) {
        if let Some(call) = self.calls.get(&id) {
            // A repetition gets the last response once more.
            if same_transaction(&call.invite, &text) {
                if !call.last_response.is_empty() {
                    self.out.push(call.last_response.clone());
                }
                return;
            }
            return self.invited_again(text, id, now);
        }
        if header(&text, "Proxy-Authorization").is_empty() {
            let challenge =
                "Proxy-Authenticate: Digest realm=\"pbx\", nonce=\"n2\", algorithm=MD5\r\n";
            return self.respond(&text, 407, "Proxy Authentication Required", challenge);
        }
        let tag = self.tag();
        let contact = header(&text, "Contact");
        let call = Call {
            state: State::Ringing,
            talked: false,
            id: id.clone(),
            ours: format!("{};tag={tag}", header(&text, "To")),
            theirs: header(&text, "From"),
            target: contact
                .split(['<', '>'])
                .nth(1)
                .unwrap_or_default()
                .to_owned(),
            cseq: 1,
            invite: text,
            cancel_when_ringing: false,
            gives_up: false,
            repeat: None,
            answer_at: match self.manner {
                Manner::Answers(after) => Some(now + after),
                Manner::RingsForEver | Manner::Busy => None,
            },
            last_response: String::new(),
        };
        self.calls.insert(id.clone(), call);
        if self.manner == Manner::Busy {
            self.finally(&id, 486, "Busy Here", now);
        } else {
            self.provisional(&id);
        }
    }

    /// A re-INVITE: taken, unless something else is under way.
    fn invited_again(&mut self, text: String, id: String, now: Instant) {
        self.note_direction(&text, &id);
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let asks = self.asks_to_hold.contains_key(&id);
        if call.state != State::Talking || call.repeat.is_some() || asks {
            let state = call.state;
            let (status, reason) = match state {
                State::Talking => (491, "Request Pending"),
                _ => (481, "Gone"),
            };
            return self.respond(&text, status, reason, "");
        }
        let sdp = self.looks.sdp.clone();
        let answer = response(
            &text,
            200,
            "OK",
            &call.ours,
            self.address,
            &self.looks,
            "",
            &sdp,
        );
        call.invite = text;
        call.last_response = answer.clone();
        call.repeat = Some(Repeat {
            text: answer.clone(),
            at: now + T1,
            interval: T1,
            until: now + GIVE_UP,
        });
        self.out.push(answer);
    }

    fn provisional(&mut self, id: &str) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let response = response(
            &call.invite,
            180,
            "Ringing",
            &call.ours,
            self.address,
            &self.looks,
            "",
            "",
        );
        call.last_response = response.clone();
        self.out.push(response);
    }

    /// A final response of ours, repeated until the ACK.
    fn finally(&mut self, id: &str, status: u16, reason: &str, now: Instant) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let body = if status == 200 {
            self.looks.sdp.as_str()
        } else {
            ""
        };
        let text = response(
            &call.invite,
            status,
            reason,
            &call.ours,
            self.address,
            &self.looks,
            "",
            body,
        );
        call.state = if status == 200 {
            State::Talking
        } else {
            State::Ending
        };
        call.talked |= status == 200;
        call.answer_at = None;
        call.last_response = text.clone();
        call.repeat = Some(Repeat {
            text: text.clone(),
            at: now + T1,
            interval: T1,
            until: now + GIVE_UP,
        });
        self.out.push(text);
    }

    fn respond(&mut self, request: &str, status: u16, reason: &str, more: &str) {
        let to = header(request, "To");
        let to = if to.contains("tag=") {
            to
        } else {
            format!("{to};tag={}", self.tag())
        };
        self.out.push(response(
            request,
            status,
            reason,
            &to,
            self.address,
            &self.looks,
            more,
            "",
        ));
    }

    /// Calls the gateway's account.
    pub fn call(&mut self, now: Instant) -> Option<String> {
        self.call_with("", now)
    }

    fn call_with(&mut self, headers: &str, now: Instant) -> Option<String> {
        let target = self.contact.clone()?;
        self.next += 1;
        let Looks {
            user,
            display,
            host,
            calls,
            sdp,
            of_invites,
            ..
        } = self.looks.clone();
        let id = format!("phone-{}@{host}", self.next);
        let call = Call {
            state: State::Calling,
            talked: false,
            id: id.clone(),
            ours: format!("\"{display}\" <sip:{user}@{host}>;tag={}", self.tag()),
            theirs: calls,
            target,
            cseq: 1,
            invite: String::new(),
            cancel_when_ringing: false,
            gives_up: false,
            repeat: None,
            answer_at: None,
            last_response: String::new(),
        };
        let text = self.request_with(
            &call,
            "INVITE",
            call.cseq,
            &format!("{headers}{of_invites}"),
            &sdp,
            &self.branch(&call, "INVITE"),
        );
        self.begin(call, text, now);
        Some(id)
    }

    pub fn hang_up(&mut self, id: &str, now: Instant) {
        let Some(mut call) = self.calls.get(id).cloned() else {
            return;
        };
        match call.state {
            State::Talking => {
                call.cseq += 1;
                call.state = State::Ending;
                let text = self.request(&call, "BYE", call.cseq, "", &self.branch(&call, "BYE"));
                self.begin(call, text, now);
            }
            State::Ringing => self.finally(id, 480, "Temporarily Unavailable", now),
            // CANCEL may go only after a provisional response (RFC 3261 §9.1).
            State::Calling => {
                call.gives_up = true;
                // Nothing is repeated any more: one has come.
                if call.repeat.is_none() && !call.cancel_when_ringing {
                    let branch = self.branch(&call, "INVITE");
                    let text = self.request(&call, "CANCEL", call.cseq, "", &branch);
                    return self.begin(call, text, now);
                }
                call.cancel_when_ringing = true;
                self.calls.insert(id.to_owned(), call);
            }
            State::Ending | State::Over => {}
        }
    }

    fn begin(&mut self, mut call: Call, text: String, now: Instant) {
        call.repeat = Some(Repeat {
            text: text.clone(),
            at: now + T1,
            interval: T1,
            until: now + GIVE_UP,
        });
        self.calls.insert(call.id.clone(), call);
        self.out.push(text);
    }

    fn response(&mut self, text: &str, id: &str, status: u16, now: Instant) {
        let Some(mut call) = self.calls.get(id).cloned() else {
            return;
        };
        let cseq = header(text, "CSeq");
        if ["REFER", "NOTIFY", "INFO"]
            .iter()
            .any(|m| cseq.ends_with(m))
        {
            if self.runs_errands {
                return self.errand_answered(&cseq, id, status, now);
            }
            let via = header(text, "Via");
            let branch = via.split("branch=").nth(1).unwrap_or_default();
            let branch = branch.split(';').next().unwrap_or_default();
            if status >= 200 {
                self.requests.remove(branch);
            }
            return;
        }
        if cseq.ends_with("BYE") && status >= 200 {
            call.state = State::Over;
            call.repeat = None;
        } else if cseq.ends_with("INVITE") && status < 200 {
            if call.state == State::Calling {
                call.repeat = None;
                if call.cancel_when_ringing {
                    let cancel = self.request(
                        &call,
                        "CANCEL",
                        call.cseq,
                        "",
                        &self.branch(&call, "INVITE"),
                    );
                    call.cancel_when_ringing = false;
                    let text = cancel.clone();
                    call.repeat = Some(Repeat {
                        text,
                        at: now + T1,
                        interval: T1,
                        until: now + GIVE_UP,
                    });
                    self.out.push(cancel);
                }
            }
        } else if self.is_about_hold(&call, text, &cseq, status) {
            return;
        } else if cseq.ends_with("INVITE") && status < 300 {
            call.theirs = header(text, "To");
            let contact = header(text, "Contact");
            call.target = contact
                .split(['<', '>'])
                .nth(1)
                .unwrap_or_default()
                .to_owned();
            // Each 200 gets its ACK, a transaction of its own (RFC 3261 §13.2.2.4).
            let ack = self.request(&call, "ACK", 1, "", &self.branch(&call, "ACK"));
            self.out.push(ack);
            if call.state == State::Calling {
                call.state = State::Talking;
                call.talked = true;
                call.repeat = None;
            }
            if std::mem::take(&mut call.gives_up) {
                call.cancel_when_ringing = false;
                self.calls.insert(id.to_owned(), call);
                return self.hang_up(id, now);
            }
        } else if cseq.ends_with("INVITE") {
            call.theirs = header(text, "To");
            let ack = self.request(&call, "ACK", 1, "", &self.branch(&call, "INVITE"));
            self.out.push(ack);
            call.state = State::Over;
            call.repeat = None;
        }
        self.calls.insert(id.to_owned(), call);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.inside_timeout(now);
        let due: Vec<String> = self
            .calls
            .values()
            .filter(|c| c.answer_at.is_some_and(|at| at <= now))
            .map(|c| c.id.clone())
            .collect();
        for id in due {
            self.finally(&id, 200, "OK", now);
        }
        let (due, later) = std::mem::take(&mut self.later)
            .into_iter()
            .partition::<Vec<_>, _>(|(at, _)| *at <= now);
        self.later = later;
        for (_, what) in due {
            match what {
                Later::Bye { call } => self.hang_up(&call, now),
                Later::Notify { call, status } => {
                    let state = match status {
                        100..=199 => "active;expires=60",
                        _ => "terminated;reason=noresource",
                    };
                    let headers = format!(
                        "Event: refer\r\nSubscription-State: {state}\r\nContent-Type: message/sipfrag;version=2.0\r\n"
                    );
                    let body = format!("SIP/2.0 {status} Whatever\r\n");
                    self.ask(&call, "NOTIFY", &headers, &body, now);
                }
            }
        }
        let out = &mut self.out;
        self.requests.retain(|_, repeat| {
            if repeat.at <= now {
                out.push(repeat.text.clone());
                repeat.interval = (repeat.interval * 2).min(T2);
                repeat.at = now + repeat.interval;
            }
            now < repeat.until
        });
        for call in self.calls.values_mut() {
            let Some(repeat) = call.repeat.as_mut().filter(|r| r.at <= now) else {
                continue;
            };
            if now >= repeat.until {
                call.repeat = None;
                call.state = State::Over;
                continue;
            }
            self.out.push(repeat.text.clone());
            repeat.interval = (repeat.interval * 2).min(T2);
            repeat.at = now + repeat.interval;
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let times = |c: &Call| [c.answer_at, c.repeat.as_ref().map(|r| r.at)];
        let calls = self.calls.values().flat_map(times).flatten();
        let requests = self.requests.values().map(|repeat| repeat.at);
        let later = self.later.iter().map(|(at, _)| *at);
        let errands = self.inside_next();
        calls.chain(requests).chain(later).chain(errands).min()
    }

    fn request(&self, call: &Call, method: &str, cseq: u32, body: &str, branch: &str) -> String {
        self.request_with(call, method, cseq, "", body, branch)
    }

    /// `headers` says what the body is, if that is no description.
    fn request_with(
        &self,
        call: &Call,
        method: &str,
        cseq: u32,
        headers: &str,
        body: &str,
        branch: &str,
    ) -> String {
        let Call {
            target,
            ours,
            theirs,
            id,
            ..
        } = call;
        let address = self.address;
        let Looks {
            user,
            headers: always,
            ..
        } = &self.looks;
        let kind = if body.is_empty() || headers.contains("Content-Type") {
            ""
        } else {
            "Content-Type: application/sdp\r\n"
        };
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: {ours}\r\nTo: {theirs}\r\nCall-ID: {id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:{user}@{address}>\r\n\
             {always}{headers}{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn branch(&self, call: &Call, method: &str) -> String {
        format!(
            "z9hG4bK{}{}{}",
            call.id.replace('@', "-"),
            method,
            call.cseq
        )
    }

    fn tag(&mut self) -> String {
        self.next += 1;
        format!("p{}", self.next)
    }
}

#[allow(clippy::too_many_arguments, reason = "the parts of a response")]
fn response(
    request: &str,
    status: u16,
    reason: &str,
    to: &str,
    address: SocketAddr,
    looks: &Looks,
    more: &str,
    body: &str,
) -> String {
    let vias: String = headers(request, "Via")
        .map(|v| format!("Via: {v}\r\n"))
        .collect();
    let (from, id, cseq) = (
        header(request, "From"),
        header(request, "Call-ID"),
        header(request, "CSeq"),
    );
    let kind = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/sdp\r\n"
    };
    let makes_dialog = cseq.ends_with("INVITE") || cseq.ends_with("REFER");
    let contact = if makes_dialog && status < 300 {
        format!("Contact: <sip:{}@{address}>\r\n", looks.user)
    } else {
        String::new()
    };
    format!(
        "SIP/2.0 {status} {reason}\r\n{vias}From: {from}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: {cseq}\r\n{contact}{}{more}{kind}\
         Content-Length: {}\r\n\r\n{body}",
        looks.headers,
        body.len()
    )
}

fn headers<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    head.split("\r\n").skip(1).filter_map(move |line| {
        let (found, value) = line.split_once(':')?;
        found
            .trim()
            .eq_ignore_ascii_case(name)
            .then_some(value.trim())
    })
}

fn header(text: &str, name: &str) -> String {
    headers(text, name).next().unwrap_or_default().to_owned()
}

fn same_transaction(a: &str, b: &str) -> bool {
    header(a, "Via") == header(b, "Via")
}
