//! Who a session is on the operator's telephone lines: its application says it, its backend may say another, its page
//! never.

use crate::rig::{BROWSER_OFFER, Rig, app, ok};
use serde_json::{Value, json};
use signaling_backend::{App, Input};
use signaling_calls::Input as Calls;
use signaling_plan::{Pattern, Plan, Rule, Target, TrunkRules};
use signaling_protocol::{HookMethod, LineIdentity};
use signaling_trunk::api::Command;
use std::time::Duration;

const CALLED: &str = "+15551234567";

fn given(number: &str) -> App {
    App {
        line: Some(LineIdentity {
            number: number.into(),
            display: "Shop".into(),
            ..LineIdentity::default()
        }),
        ..app("defaultApp")
    }
}

fn plan() -> Plan {
    let trunks = ["carrier", "backup"].map(|name| (name.to_owned(), TrunkRules::default()));
    let mut plan = Plan {
        trunks: trunks.into(),
        ..Plan::default()
    };
    let to = |name: &str| Target::To(signaling_plan::Destination::Trunk(name.into()));
    plan.rules.push(Rule {
        name: "out".into(),
        matches: vec![Pattern::parse("+*", &plan.numbering).unwrap()],
        to: vec![to("carrier"), to("backup")],
        ..Rule::default()
    });
    plan
}

/// Whom the call of a page goes out by and as whom, or the status that its page is told.
fn dials(
    app: App,
    connection: Value,
    answer: Option<&str>,
) -> Result<(String, String, String), Value> {
    let mut rig = Rig::new(vec![app]);
    rig.give(Input::Calls(Calls::Plan(Box::new(plan()))));
    if let Some(answer) = answer {
        rig.script
            .insert(HookMethod::Connect, (Duration::ZERO, ok(answer)));
    }
    rig.open(1);
    rig.frame(1, json!({"message": "connection", "data": [connection]}));
    rig.settle();
    rig.page.clear();
    let call = json!({"callId": "c1", "callee": CALLED, "sdp": BROWSER_OFFER,
        "visibleName": "Bank", "trunkgate": {"number": "+4930999"}});
    rig.frame(1, json!({"message": "call", "data": [call]}));
    rig.settle();
    let invite = rig.trunk.iter().find_map(|command| match command {
        Command::Invite {
            options,
            from_display,
            ..
        } => Some((options.clone(), from_display.clone())),
        _ => None,
    });
    let Some((options, display)) = invite else {
        let finish = rig.page.iter().find(|t| t.frame["message"] == "finish");
        return Err(finish.expect("finish").frame["data"][0]["info"].clone());
    };
    let line = format!("{:?}", options.line.expect("a line"));
    Ok((line, options.identity.from_user, display))
}

fn page() -> Value {
    json!({"appKey": "defaultApp"})
}

#[test]
fn an_application_gives_its_sessions_a_number() {
    let mut app = given("+4930123456");
    app.methods.clear();
    let (line, from, display) = dials(app, page(), None).unwrap();
    assert_eq!(line, "Trunk(\"carrier\")");
    assert_eq!((from.as_str(), display.as_str()), ("+4930123456", "Shop"));
}

#[test]
fn the_backends_answer_to_connect_gives_a_session_a_number_and_trunks_of_its_own() {
    let answer = r#"{"trunkgate":{"number":"+4930777","display":"Ann","trunks":["backup"]}}"#;
    for app in [app("defaultApp"), given("+4930123456")] {
        let (line, from, display) = dials(app, page(), Some(answer)).unwrap();
        assert_eq!(line, "Trunk(\"backup\")");
        assert_eq!((from.as_str(), display.as_str()), ("+4930777", "Ann"));
    }
}

#[test]
fn what_the_backend_does_not_name_stays_as_the_application_says() {
    let answer = r#"{"trunkgate":{"display":"Ann"}}"#;
    let (_, from, display) = dials(given("+4930123456"), page(), Some(answer)).unwrap();
    assert_eq!((from.as_str(), display.as_str()), ("+4930123456", "Ann"));
}

#[test]
fn an_answer_that_makes_no_sense_gives_no_line_at_all() {
    for answer in [
        r#"{"trunkgate":{"prefixes":"+49"}}"#,
        r#"{"trunkgate":{"prefixes":["49"]}}"#,
        r#"{"trunkgate":"+49"}"#,
        r#"{"trunkgate":{"trunk":"backup"}}"#,
    ] {
        let refused = dials(given("+4930123456"), page(), Some(answer)).unwrap_err();
        assert!(
            refused.as_str().unwrap().starts_with("No SIP account"),
            "{answer}"
        );
    }
}

#[test]
fn a_page_cannot_give_itself_a_number_trunks_or_prefixes() {
    let claimed = json!({"appKey": "defaultApp", "trunkgate": {"number": "+4930999", "trunks": ["carrier"],
        "prefixes": ["+"]}, "number": "+4930999", "line": {"number": "+4930999"}});
    let refused = dials(app("defaultApp"), claimed.clone(), None).unwrap_err();
    assert!(refused.as_str().unwrap().starts_with("No SIP account"));
    let (_, from, _) = dials(given("+4930123456"), claimed, None).unwrap();
    assert_eq!(from, "+4930123456");
}

#[test]
fn neither_page_nor_hooks_are_told_trunks_and_prefixes() {
    let mut rig = Rig::new(vec![given("+4930123456")]);
    let answer = r#"{"trunkgate":{"number":"+4930777","trunks":["backup"],"prefixes":["+49"]}}"#;
    rig.script
        .insert(HookMethod::Connect, (Duration::ZERO, ok(answer)));
    rig.open(1);
    rig.frame(1, json!({"message": "connection", "data": [page()]}));
    rig.settle();
    let told = rig
        .page
        .iter()
        .any(|t| t.frame.to_string().contains("backup"));
    let posted = rig
        .posted
        .iter()
        .any(|p| p.body.to_string().contains("backup"));
    assert!(!told && !posted);
}
