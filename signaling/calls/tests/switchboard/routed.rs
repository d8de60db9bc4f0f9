//! Pages dial telephone numbers by the dial plan.

use crate::planned::{CALLED, NUMBER, identity, plan, target};
use crate::rig::{PHONE, Rig, account};
use serde_json::json;
use signaling_calls::{Config, Input, SessionId};
use signaling_plan::{Pattern, Plan, Rule, Who};
use signaling_protocol::LineIdentity;
use signaling_trunk::api::{AccountId, Command, End, Event};
use std::time::Duration;

#[test]
fn a_page_without_a_sip_account_dials_a_number_and_the_telephone_rings() {
    let mut rig = Rig::planned(plan(&["trunk:carrier"]));
    rig.dial("c1", "+1 (555) 123-4567");
    let (invite, line, user, options) = rig.by_line();
    assert_eq!((line.as_str(), user.as_str()), ("trunk:carrier", CALLED));
    assert_eq!(options.identity.from_user, NUMBER);
    assert!(options.tell_redirects);
    rig.progress(invite, 180, None);
    rig.answer(invite, PHONE);
    assert_eq!(
        rig.told(),
        [
            "notifyTryingResponse TRYING",
            "ring RING",
            "setRemoteSDP",
            "talk ESTABLISHED"
        ]
    );
    rig.hang_up("c1");
    assert!(rig.hung_up(invite));
    rig.over(invite, End::ByUs { raw: String::new() });
    let record = rig.records.pop().unwrap();
    assert_eq!(
        (record.route.as_str(), record.number.as_str()),
        ("out", CALLED)
    );
    assert_eq!(record.caller, NUMBER);
    assert_eq!(record.attempts.len(), 1);
    assert_eq!(record.attempts[0].to, "trunk:carrier");
}

#[test]
fn the_name_shown_to_a_line_is_the_applications_and_never_the_pages() {
    let mut rig = Rig::planned(plan(&["trunk:carrier"]));
    let sdp = crate::rig::BROWSER_OFFER;
    rig.frame(
        json!({"message": "call", "data": [{"callId": "c1", "callee": CALLED, "sdp": sdp,
        "visibleName": "The Bank", "caller": "+4930999", "trunkgate": {"number": "+4930999"}}]}),
    );
    let shown = rig.trunk.iter().find_map(|c| match c {
        Command::Invite { from_display, .. } => Some(from_display.clone()),
        _ => None,
    });
    assert_eq!(shown.as_deref(), Some("Shop"));
    assert_eq!(rig.by_line().3.identity.from_user, NUMBER);
}

#[test]
fn a_page_without_account_and_identity_is_told_so_and_can_dial_echo() {
    let mut rig = Rig::planned_with(Config::default(), plan(&["trunk:carrier"]), None);
    rig.dial("c1", CALLED);
    let fail = rig.last("fail")[0].clone();
    assert!(fail["info"].as_str().unwrap().starts_with("No SIP account"));
    assert_eq!(rig.invites_out(), 0);
    rig.told();
    rig.dial("c2", "echo");
    assert_eq!(
        rig.told().last().map(String::as_str),
        Some("talk ESTABLISHED")
    );
}

#[test]
fn where_there_is_no_way_the_page_hears_the_plans_reason_and_status() {
    for (dialled, status) in [("12345678", 404), ("+4930", 403)] {
        let who = LineIdentity {
            prefixes: Some(vec!["+1".into()]),
            ..identity()
        };
        let mut rig = Rig::planned_with(Config::default(), plan(&["trunk:carrier"]), Some(who));
        rig.dial("c1", dialled);
        let finish = rig.last("finish")[0].clone();
        assert_eq!(finish["status"], "FAILED");
        assert_eq!(finish["sipStatus"], status);
        assert_eq!(
            rig.told(),
            [
                "notifyTryingResponse TRYING",
                "finish FAILED",
                "fail FAILED"
            ]
        );
        assert_eq!(rig.invites_out(), 0);
        assert!(rig.media_asked().is_empty());
    }
}

#[test]
fn a_session_uses_only_the_trunks_that_it_was_given() {
    let who = LineIdentity {
        trunks: Some(vec!["backup".into()]),
        ..identity()
    };
    let plan = plan(&["trunk:carrier", "trunk:backup"]);
    let mut rig = Rig::planned_with(Config::default(), plan, Some(who));
    rig.dial("c1", CALLED);
    let (invite, line, ..) = rig.by_line();
    assert_eq!(line, "trunk:backup");
    rig.refused(invite, 503);
    assert_eq!(rig.invites_out(), 0);
    assert_eq!(rig.last("finish")[0]["sipStatus"], 503);
}

#[test]
fn a_registered_phone_is_called_by_its_user_name() {
    let mut rig = Rig::planned(plan(&["phone:201"]));
    rig.dial("c1", CALLED);
    assert_eq!(rig.by_line().1, "phone:201");
}

#[test]
fn a_page_with_a_sip_account_goes_by_its_pbx_unless_the_plan_names_it() {
    let by_account = |who: &str| {
        let mut plan = plan(&["trunk:carrier"]);
        plan.rules.push(Rule {
            name: "accounts".into(),
            from: vec![Who::Account(Some(who.into()))],
            matches: vec![Pattern::parse("+*", &plan.numbering).unwrap()],
            to: vec![target("trunk:backup")],
            ..Rule::default()
        });
        plan
    };
    for (named, by_plan) in [("1001@pbx.test", true), ("1002@pbx.test", false)] {
        let mut rig = Rig::registered(Config::default());
        rig.give(Input::Plan(Box::new(by_account(named))));
        rig.dial("c1", CALLED);
        if by_plan {
            assert_eq!(rig.by_line().1, "trunk:backup");
        } else {
            let account = rig.trunk.iter().find_map(|c| match c {
                Command::Invite {
                    account, options, ..
                } => Some((*account, options.line.clone())),
                _ => None,
            });
            assert_eq!(account, Some((AccountId(1), None)));
        }
    }
}

#[test]
fn an_account_opens_a_line_only_when_its_own_registrar_or_the_backend_has_taken_it() {
    let plan = || {
        let mut plan = Plan::default();
        plan.rules.push(Rule {
            name: "accounts".into(),
            from: vec![Who::Account(Some("1001@pbx.test".into()))],
            matches: vec![Pattern::parse("+*", &plan.numbering).unwrap()],
            to: vec![target("trunk:carrier")],
            ..Rule::default()
        });
        plan
    };
    let dials_by_line = |connection: serde_json::Value, approved: bool, registered: bool| {
        let mut rig = Rig::new(Config::default());
        rig.give(Input::Plan(Box::new(plan())));
        rig.open(1);
        rig.board.vouch(SessionId(1), None, approved);
        rig.frame(connection);
        if registered {
            rig.give(Input::Trunk(Event::Registered {
                account: AccountId(1),
                expires_s: 60,
                raw: String::new(),
            }));
        }
        rig.dial("c1", CALLED);
        rig.trunk
            .iter()
            .any(|c| matches!(c, Command::Invite { options, .. } if options.line.is_some()))
    };
    let elsewhere = || {
        let mut connection = account(true);
        connection["data"][0]["sipOutboundProxy"] = "evil.test".into();
        connection
    };
    assert!(dials_by_line(account(true), false, true));
    assert!(
        !dials_by_line(account(false), false, false),
        "it only says so"
    );
    assert!(
        !dials_by_line(elsewhere(), false, true),
        "its own registrar"
    );
    assert!(
        dials_by_line(elsewhere(), true, true),
        "the backend knows it"
    );
    assert!(dials_by_line(account(false), true, false));
}

#[test]
fn a_call_that_waits_for_the_registration_asks_the_plan_once_it_is_there() {
    let mut plan = plan(&["trunk:carrier"]);
    plan.rules[0].from = vec![Who::Account(None)];
    let mut rig = Rig::new(Config::default());
    rig.give(Input::Plan(Box::new(plan)));
    rig.open(1);
    rig.frame(account(true));
    rig.dial("c1", CALLED);
    assert_eq!(rig.invites_out(), 0);
    rig.give(Input::Trunk(Event::Registered {
        account: AccountId(1),
        expires_s: 60,
        raw: String::new(),
    }));
    let (invite, line, ..) = rig.by_line();
    assert_eq!(line, "trunk:carrier");
    rig.answer(invite, PHONE);
    assert_eq!(
        rig.told().last().map(String::as_str),
        Some("talk ESTABLISHED")
    );
}

#[test]
fn a_new_plan_counts_for_the_next_call_and_leaves_running_ones_alone() {
    let mut rig = Rig::planned(plan(&["trunk:carrier"]));
    rig.dial("c1", CALLED);
    let (invite, ..) = rig.by_line();
    rig.answer(invite, PHONE);
    rig.give(Input::Plan(Box::new(plan(&["trunk:backup"]))));
    rig.told();
    rig.wait(Duration::from_secs(20));
    assert!(rig.told().is_empty());
    rig.dial("c2", CALLED);
    assert_eq!(rig.by_line().1, "trunk:backup");
}

#[test]
fn a_resumed_session_is_who_its_backend_says_now() {
    let mut rig = Rig::new(Config::default());
    rig.give(Input::Plan(Box::new(plan(&["trunk:carrier"]))));
    rig.open(1);
    rig.board.vouch(SessionId(1), Some(identity()), true);
    rig.frame(
        json!({"message": "connection", "data": [{"appKey": "defaultApp", "keepAlive": true}]}),
    );
    rig.give(Input::SessionClosed {
        session: SessionId(1),
    });
    rig.open(2);
    let who = LineIdentity {
        number: "+4930777".into(),
        ..identity()
    };
    rig.board.vouch(SessionId(2), Some(who), true);
    rig.frame_from(
        2,
        json!({"message": "connection", "data": [{"appKey": "defaultApp", "authToken": "token-1"}]}),
    );
    rig.dial_from(2, "c1", CALLED);
    assert_eq!(rig.by_line().3.identity.from_user, "+4930777");
}

#[test]
fn an_emergency_number_goes_out_by_its_own_trunk_for_sessions_that_somebody_vouches_for() {
    let mut rig = Rig::planned(plan(&["trunk:carrier"]));
    rig.dial("c1", "112");
    let (_, line, user, _) = rig.by_line();
    assert_eq!((line.as_str(), user.as_str()), ("trunk:backup", "112"));
    assert_eq!(rig.board.counts().emergency_calls, 1);
    // Only the whole number.
    rig.dial("c2", "1123");
    assert_eq!(rig.last("finish")[0]["sipStatus"], 404);

    // Nobody: not even with a rule for its application.
    let mut rig = Rig::planned_with(Config::default(), plan(&["trunk:carrier"]), None);
    rig.dial("c1", "112");
    assert_eq!(rig.last("finish")[0]["status"], "FAILED");
    assert_eq!(rig.invites_out(), 0);
}
