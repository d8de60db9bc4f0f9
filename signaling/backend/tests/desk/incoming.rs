//! A call for a page under `OnCallEvent` (protocol §5.3, type 4).

use crate::rig::{Rig, app, by_peer, config, ok, refused, unreachable};
use serde_json::{Value, json};
use signaling_protocol::HookMethod;
use signaling_trunk::api::{Command, InviteId};
use std::time::Duration;

const LATE: Duration = Duration::from_secs(3);
const RUNG: [&str; 3] = ["setRemoteSDP", "notifyIncomingCall PENDING", "ring RING"];

fn asked(policy: Value) -> Rig {
    let mut mine = app("defaultApp");
    mine.rest_client_config = config(json!({ "OnCallEvent": policy }));
    Rig::registered(mine)
}

fn was_refused(rig: &Rig, with: InviteId) -> bool {
    rig.trunk.iter().any(|command| {
        matches!(command, Command::Hangup { invite, status: Some(refusal) } if *invite == with && refusal.status == 403)
    })
}

#[test]
fn a_page_hears_of_a_call_after_its_backend_and_not_at_all_of_one_that_is_refused() {
    for (policy, called, fails, overwrites) in [
        (json!({}), true, false, false),
        (json!({"restOnError": "FAIL"}), true, true, false),
        (
            json!({"restPolicy": "OVERWRITE", "restOverwrite": "caller,callee,visibleName,custom,inviteParameters,callId,status,sdp"}),
            true,
            false,
            true,
        ),
        (
            json!({"restPolicy": "OVERWRITE", "restOnError": "FAIL", "restOverwrite": "caller,callee,visibleName,custom,inviteParameters,callId,status,sdp"}),
            true,
            true,
            true,
        ),
        (
            json!({"restPolicy": "DISABLE", "restOnError": "FAIL"}),
            false,
            false,
            false,
        ),
    ] {
        let new = r#"{"caller":"+49","callee":"sales","visibleName":"Zoe","custom":{"k":1},"inviteParameters":{"p":"1"},"callId":"no","status":"NEW"}"#;
        for (title, outcome, failed) in [
            ("200 empty", ok(""), false),
            ("200 JSON", ok(new), false),
            ("200 text", ok("yes"), false),
            ("403", refused(403, "Forbidden", ""), true),
            ("404", refused(404, "Not Found", ""), true),
            ("500", refused(500, "Server Error", ""), true),
            ("unreachable", unreachable(), true),
        ] {
            let row = format!("{policy} {title}");
            let mut rig = asked(policy.clone());
            rig.script.insert(HookMethod::OnCallEvent, (LATE, outcome));
            let invite = rig.ring(1);
            assert_eq!(rig.told(1).is_empty(), called, "{row}");
            if called {
                assert_eq!(rig.hooks(), ["OnCallEvent PENDING"], "{row}");
                assert!(rig.posted[0].request.awaited, "{row}");
            }
            rig.wait(LATE + LATE);
            if called && fails && failed {
                assert_eq!(rig.told(1), ["fail FAILED"], "{row}");
                assert!(rig.last("fail")["apiMethod"].is_null(), "{row}");
                assert!(was_refused(&rig, invite), "{row}");
                assert_eq!(
                    rig.hooks(),
                    ["OnCallEvent PENDING", "CallStatusEvent FAILED"],
                    "{row}"
                );
                continue;
            }
            assert_eq!(rig.told(1), RUNG, "{row}");
            assert!(!was_refused(&rig, invite), "{row}");
            let told = rig.last("notifyIncomingCall");
            let changed = called && overwrites && title == "200 JSON";
            let (caller, name) = if changed {
                ("+49", "Zoe")
            } else {
                ("1002", "Bob")
            };
            assert_eq!(
                (&told["caller"], &told["visibleName"]),
                (&json!(caller), &json!(name)),
                "{row}"
            );
            assert_eq!(told["status"], "PENDING", "{row}");
            assert!(told["callId"].as_str().unwrap().starts_with("in-"), "{row}");
            if changed {
                assert_eq!(
                    (&told["callee"], &told["custom"], &told["inviteParameters"]),
                    (&json!("sales"), &json!({"k": 1}), &json!({"p": "1"})),
                    "{row}"
                );
            }
            // What is told of the call later has the same names.
            assert_eq!(rig.last("ring")["caller"], caller, "{row}");
            assert_eq!(rig.body("CallStatusEvent")["caller"], caller, "{row}");
        }
    }
}

#[test]
fn a_call_that_ends_while_its_backend_thinks_is_never_told_to_the_page() {
    for answer in [ok(""), refused(403, "Forbidden", "")] {
        let mut rig = asked(json!({"restOnError": "FAIL"}));
        rig.script.insert(HookMethod::OnCallEvent, (LATE, answer));
        let invite = rig.ring(1);
        rig.over(invite, by_peer());
        rig.wait(LATE + LATE);
        assert_eq!(rig.told(1), Vec::<String>::new());
        assert_eq!(
            rig.hooks(),
            ["OnCallEvent PENDING", "CallStatusEvent FINISH"]
        );
        assert_eq!(rig.desk.requests_waiting(), 0);
    }
}

#[test]
fn only_the_call_that_its_backend_thinks_about_is_kept_back() {
    let mut rig = asked(json!({}));
    rig.talk(1, "c1");
    rig.forget();
    rig.silent = true;
    rig.ring(1);
    rig.ring(1);
    rig.say(1, "hangup", json!({"callId": "c1"}));
    assert_eq!(rig.told(1), ["finish FINISH"]);
    let first = rig.posted[0].request.id;
    let second = rig.posted[1].request.id;
    rig.answer_request(second, ok(""));
    assert_eq!(rig.told(1)[1..], RUNG);
    assert_eq!(rig.last("ring")["callId"], rig.posted[1].body["callId"]);
    rig.answer_request(first, ok(""));
    assert_eq!(rig.told(1)[4..], RUNG);
    assert_eq!(rig.last("ring")["callId"], rig.posted[0].body["callId"]);
}

#[test]
fn a_page_that_comes_back_is_told_of_a_ringing_call_without_asking_again() {
    let overwrites = json!({"restPolicy": "OVERWRITE", "restOverwrite": "visibleName"});
    let mut rig = asked(overwrites);
    rig.script.insert(
        HookMethod::OnCallEvent,
        (LATE, ok(r#"{"visibleName":"Zoe"}"#)),
    );
    rig.ring(1);
    let resume = |rig: &mut Rig, session: u64| {
        rig.close(session - 1);
        rig.open(session);
        rig.say(
            session,
            "connection",
            json!({"appKey": "defaultApp", "authToken": "token-1", "keepAlive": true}),
        );
    };
    // The first time the backend still thinks, the second time it has spoken.
    rig.script
        .insert(HookMethod::Connect, (Duration::ZERO, ok("")));
    resume(&mut rig, 2);
    rig.wait(LATE + LATE);
    assert_eq!(rig.told(1), Vec::<String>::new());
    let mut wanted = vec![
        "getUserData ESTABLISHED",
        "getVersion",
        "registered REGISTERED",
    ];
    wanted.extend(RUNG);
    assert_eq!(rig.told(2), wanted);
    assert_eq!(rig.last("notifyIncomingCall")["visibleName"], "Zoe");
    resume(&mut rig, 3);
    rig.settle();
    assert_eq!(rig.told(3), wanted);
    assert_eq!(rig.last("notifyIncomingCall")["visibleName"], "Zoe");
    let asked = rig
        .hooks()
        .iter()
        .filter(|hook| hook.starts_with("OnCall"))
        .count();
    assert_eq!(asked, 1);
    let rang = rig
        .hooks()
        .iter()
        .filter(|hook| hook.ends_with("RING"))
        .count();
    assert_eq!(rang, 1, "{:?}", rig.hooks());
}
