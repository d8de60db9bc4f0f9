//! Plans, sessions and lines for the tests of calls by the dial plan.

use crate::rig::{BROWSER_OFFER, Rig, SOURCE};
use serde_json::json;
use signaling_calls::{Config, Input, SessionId};
use signaling_plan::{
    Destination, Emergency, LimitRule, Pattern, Plan, Rule, Scope, Target, TrunkRules, Who,
};
use signaling_protocol::LineIdentity;
use signaling_trunk::api::{
    self as trunk, ByLine, Command, End, Event, Failure, Header, Identity, InviteId, InviteOptions,
    Line, NO_ACCOUNT,
};

pub const NUMBER: &str = "+4930123456";
pub const CALLED: &str = "+15551234567";

/// Everything in E.164 goes to these, in order; 112 to the last of them.
pub fn plan(to: &[&str]) -> Plan {
    let trunks = ["carrier", "backup", "third"];
    let mut plan = Plan {
        trunks: trunks
            .map(|name| (name.to_owned(), TrunkRules::default()))
            .into(),
        emergency: Emergency {
            numbers: vec!["112".into()],
            trunks: vec!["backup".into()],
            ..Emergency::default()
        },
        ..Plan::default()
    };
    let pattern = Pattern::parse("+*", &plan.numbering).unwrap();
    plan.rules.push(Rule {
        name: "out".into(),
        from: vec![Who::App(None), Who::Phone(None)],
        matches: vec![pattern],
        to: to.iter().map(|text| target(text)).collect(),
        ring_s: 40,
        ..Rule::default()
    });
    plan
}

/// What comes in by a trunk, or is called by a phone, for `number`, goes to these.
pub fn inbound(mut plan: Plan, number: &str, to: Vec<Target>) -> Plan {
    let pattern = Pattern::parse(number, &plan.numbering).unwrap();
    plan.rules.push(Rule {
        name: "in".into(),
        from: vec![Who::Trunk(None), Who::Phone(None), Who::App(None)],
        matches: vec![pattern],
        to,
        ring_s: 25,
        ..Rule::default()
    });
    plan
}

pub fn target(text: &str) -> Target {
    match text.split_once(':') {
        Some(("trunk", name)) => Target::To(Destination::Trunk(name.into())),
        Some(("phone", name)) => Target::To(Destination::Phone(name.into())),
        Some(("account", name)) => Target::To(Destination::Account(name.into())),
        Some(("app", app)) => Target::To(Destination::App {
            app: app.into(),
            number: None,
        }),
        _ => Target::Number,
    }
}

pub fn limit(scope: Scope, change: impl FnOnce(&mut LimitRule)) -> LimitRule {
    let mut limit = LimitRule {
        scope,
        calls_per_second: 0,
        calls: 0,
        minutes_per_day: 0,
    };
    change(&mut limit);
    limit
}

pub fn identity() -> LineIdentity {
    LineIdentity {
        number: NUMBER.into(),
        display: "Shop".into(),
        ..LineIdentity::default()
    }
}

impl Rig {
    /// Page 1 has no SIP account but a number, and the plan is this.
    pub fn planned(plan: Plan) -> Rig {
        Rig::planned_with(Config::default(), plan, Some(identity()))
    }

    pub fn planned_with(config: Config, plan: Plan, who: Option<LineIdentity>) -> Rig {
        let mut rig = Rig::new(config);
        rig.give(Input::Plan(Box::new(plan)));
        for name in ["carrier", "backup", "third"] {
            rig.line(Line::Trunk(name.into()), true);
        }
        rig.join_as(1, who);
        rig.page.clear();
        rig
    }

    /// A further page of `defaultApp`.
    pub fn join_as(&mut self, session: u64, who: Option<LineIdentity>) {
        self.open(session);
        self.board.vouch(SessionId(session), who, false);
        self.frame_from(
            session,
            json!({"message": "connection", "data": [{"appKey": "defaultApp"}]}),
        );
    }

    pub fn line(&mut self, line: Line, up: bool) {
        let reason = String::new();
        self.give(Input::Trunk(Event::Line { line, up, reason }));
    }

    pub fn dial_from(&mut self, session: u64, id: &str, callee: &str) {
        let call = json!({"callId": id, "callee": callee, "sdp": BROWSER_OFFER});
        self.frame_from(session, json!({"message": "call", "data": [call]}));
    }

    /// The INVITE by a line that went out: its number, the line, whom it asks for, and its options.
    pub fn by_line(&mut self) -> (InviteId, String, String, InviteOptions) {
        let at = self
            .trunk
            .iter()
            .position(|c| matches!(c, Command::Invite { .. }))
            .unwrap_or_else(|| panic!("no INVITE in {:?}", self.trunk));
        let Some(Command::Invite {
            invite,
            account,
            target,
            options,
            ..
        }) = self.trunk.remove(at)
        else {
            unreachable!("it was an INVITE")
        };
        assert_eq!(account, NO_ACCOUNT);
        let line = match options.line.as_ref().expect("a line") {
            Line::Trunk(name) => format!("trunk:{name}"),
            Line::Phone(user) => format!("phone:{user}"),
        };
        let trunk::Target::User { user, .. } = target else {
            panic!("{target:?}")
        };
        (invite, line, user, *options)
    }

    pub fn invites_out(&self) -> usize {
        let is_invite = |c: &&Command| matches!(c, Command::Invite { .. });
        self.trunk.iter().filter(is_invite).count()
    }

    /// A final response without anybody having answered.
    pub fn refused(&mut self, invite: InviteId, status: u16) {
        self.refused_to(invite, status, &[]);
    }

    pub fn refused_to(&mut self, invite: InviteId, status: u16, contacts: &[&str]) {
        let raw = match status {
            0 => String::new(),
            _ => format!("SIP/2.0 {status} No\r\n"),
        };
        let failure = Failure {
            status,
            reason: "No".into(),
            raw,
            contacts: contacts.iter().map(|c| (*c).to_owned()).collect(),
            ..Failure::default()
        };
        self.over(invite, End::Failed(failure));
    }

    /// An INVITE by a trunk for `called`.
    pub fn comes_in(&mut self, invite: u64, line: Line, called: &str) -> InviteId {
        self.comes_in_from(invite, line, called, "+4989777", None, &[])
    }

    pub fn comes_in_from(
        &mut self,
        invite: u64,
        line: Line,
        called: &str,
        from: &str,
        asserted: Option<&str>,
        headers: &[(&str, &str)],
    ) -> InviteId {
        let who = |user: &str| Identity {
            user: user.into(),
            display: String::new(),
            uri: format!("sip:{user}@carrier.test"),
        };
        let header = |(name, value): &(&str, &str)| Header {
            name: (*name).into(),
            value: (*value).into(),
        };
        let invite = InviteId(invite);
        self.give(Input::Trunk(Event::Incoming {
            invite,
            account: NO_ACCOUNT,
            from: who(from),
            to: who("something-else"),
            sdp: Some(crate::rig::PHONE.as_bytes().to_vec()),
            headers: headers.iter().map(header).collect(),
            source: SOURCE.parse().unwrap(),
            raw: "INVITE sip:x SIP/2.0\r\n".into(),
            replaces: None,
            by_line: Some(Box::new(ByLine {
                line,
                called: who(called),
                asserted: asserted.map(who),
            })),
        }));
        invite
    }

    /// How the trunk was asked to refuse it: status and Retry-After.
    pub fn refusal_of(&mut self, invite: InviteId) -> (u16, Option<u32>) {
        let asked = self.asked();
        let found = asked.iter().find_map(|c| match c {
            Command::Hangup { invite: i, status } if *i == invite => status.clone(),
            _ => None,
        });
        let refusal = found.unwrap_or_else(|| panic!("no refusal in {asked:?}"));
        (refusal.status, refusal.retry_after_s)
    }

    /// What one page was told, with the status where there is one.
    pub fn hung_up(&mut self, invite: InviteId) -> bool {
        let asked = self.asked();
        let is_it = |c: &Command| matches!(c, Command::Hangup { invite: i, .. } if *i == invite);
        asked.iter().any(is_it)
    }
}

pub fn carrier() -> Line {
    Line::Trunk("carrier".into())
}
