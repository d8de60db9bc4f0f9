//! Each policy with each outcome, for each type of hook (protocol §5.2, §5.3, §5.5).

use crate::rig::{Rig, account, app, browser_answer, config, ok, refused, unreachable};
use serde_json::{Value, json};
use signaling_backend::HookOutcome;
use signaling_protocol::HookMethod;
use signaling_trunk::api::Command;
use std::time::Duration;

const REASON: &str = r#"{"status":403,"reason":"no money"}"#;

/// What a backend may do, and what an error of it is told as.
fn outcomes() -> Vec<(&'static str, HookOutcome, Option<&'static str>)> {
    let json = r#"{"callId":"c9","callee":"1009","visibleName":"Zoe","sdp":"v=0","info":"told","target":"1009",
        "dtmf":"9","payload":"new","status":"FINISH","nodeId":"x","sessionId":"y","appKey":"z"}"#;
    vec![
        ("200 empty", ok(""), None),
        ("200 JSON", ok(json), None),
        ("200 text", ok("<html>"), None),
        ("403", refused(403, "Forbidden", ""), Some("Forbidden")),
        (
            "403 with a reason",
            refused(403, "Forbidden", REASON),
            Some(REASON),
        ),
        (
            "404",
            refused(404, "Not Found", "<html>"),
            Some("Not Found"),
        ),
        ("500", refused(500, "", ""), Some("HTTP 500")),
        (
            "unreachable",
            unreachable(),
            Some("The application's backend cannot be reached"),
        ),
    ]
}

const OVERWRITTEN: &str =
    "callId, callee, visibleName, sdp, info, target, dtmf, payload, status, nodeId";

/// Policy and restOnError, and whether the hook is called, fails and overwrites.
const POLICIES: [(&str, &str, bool, bool, bool); 6] = [
    ("NOTIFY", "LOG", true, false, false),
    ("NOTIFY", "FAIL", true, true, false),
    ("OVERWRITE", "LOG", true, false, true),
    ("OVERWRITE", "FAIL", true, true, true),
    ("DISABLE", "FAIL", false, false, false),
    ("DISABLED", "LOG", false, false, false),
];

fn configured(method: &str, policy: &str, on_error: &str) -> signaling_backend::App {
    let mut mine = app("defaultApp");
    mine.rest_client_config = config(json!({
        method: {"restPolicy": policy, "restOnError": on_error, "restOverwrite": OVERWRITTEN}
    }));
    mine
}

/// What the SIP side, media and the page got.
fn done(rig: &Rig) -> (Vec<String>, Vec<String>, Vec<Value>) {
    let page = rig.page.iter().map(|told| told.frame.clone()).collect();
    let trunk = rig.trunk.iter().map(|c| format!("{c:?}")).collect();
    let media = rig.media.iter().map(|c| format!("{c:?}")).collect();
    (trunk, media, page)
}

/// One direct invocation: how it is asked in a rig that talks on `c1` and is is rung, and what a page is
/// told instead of it. `%` stands for the reason, `@` for the callId of the call that rings.
struct Invocation {
    method: HookMethod,
    ask: fn(&mut Rig),
    refusal: &'static [&'static str],
    /// What is overwritten, and by what.
    overwritten: &'static [(&'static str, &'static str)],
}

const INVOCATIONS: &[Invocation] = &[
    Invocation {
        method: HookMethod::Call,
        ask: |rig| rig.dial(1, "c2", "1003"),
        refusal: &[
            r#"{"data":[{"callId":"c2","callee":"1003","caller":"1001","custom":{"c":1},"hasAudio":true,"hasVideo":false,"holdForTransfer":false,"incoming":false,"isMsrp":false,"mediaProvider":"WebRTC","status":"TRYING","visibleName":"Al"}],"message":"notifyTryingResponse"}"#,
            r#"{"data":[{"callId":"c2","callee":"1003","caller":"1001","custom":{"c":1},"hasAudio":true,"hasVideo":false,"holdForTransfer":false,"incoming":false,"info":"%","isMsrp":false,"mediaProvider":"WebRTC","status":"FAILED","visibleName":"Al"}],"message":"finish"}"#,
            r#"{"data":[{"apiMethod":"CallStatusEvent","id":"c2","info":"%","status":"FAILED"}],"message":"fail"}"#,
        ],
        overwritten: &[("1003", "1009"), ("Al", "Zoe")],
    },
    Invocation {
        method: HookMethod::Answer,
        ask: |rig| {
            let id = rig.rung.clone();
            rig.say(1, "answer", browser_answer(&id));
        },
        refusal: &[
            r#"{"data":[{"callId":"@","callee":"1001","caller":"1002","hasAudio":true,"hasVideo":false,"holdForTransfer":false,"incoming":true,"info":"%","isMsrp":false,"mediaProvider":"WebRTC","sipStatus":403,"status":"FAILED","visibleName":"Bob"}],"message":"finish"}"#,
            r#"{"data":[{"apiMethod":"CallStatusEvent","id":"@","info":"%","sipStatus":403,"status":"FAILED"}],"message":"fail"}"#,
        ],
        overwritten: &[],
    },
    Invocation {
        method: HookMethod::Hold,
        ask: |rig| rig.say(1, "hold", json!({"callId": "c1"})),
        refusal: &[
            r#"{"data":[{"callId":"c1","callee":"1002","caller":"1001","custom":{"c":1},"hasAudio":true,"hasVideo":false,"holdForTransfer":false,"incoming":false,"isMsrp":false,"mediaProvider":"WebRTC","status":"ESTABLISHED","visibleName":"Al"}],"message":"talk"}"#,
            r#"{"data":[{"info":"%","status":"FAILED"}],"message":"fail"}"#,
        ],
        overwritten: &[],
    },
    Invocation {
        method: HookMethod::Unhold,
        ask: |rig| rig.say(1, "unhold", json!({"callId": "c1"})),
        refusal: &[
            r#"{"data":[{"callId":"c1","callee":"1002","caller":"1001","custom":{"c":1},"hasAudio":true,"hasVideo":false,"holdForTransfer":false,"incoming":false,"isMsrp":false,"mediaProvider":"WebRTC","status":"ESTABLISHED","visibleName":"Al"}],"message":"talk"}"#,
            r#"{"data":[{"info":"%","status":"FAILED"}],"message":"fail"}"#,
        ],
        overwritten: &[],
    },
    Invocation {
        method: HookMethod::Transfer,
        ask: |rig| rig.say(1, "transfer", json!({"callId": "c1", "target": "1003"})),
        refusal: &[
            r#"{"data":[{"callId":"c1","hasVideo":false,"incoming":false,"info":"%","status":"FAILED"}],"message":"notifyTransferEvent"}"#,
            r#"{"data":[{"apiMethod":"TransferStatusEvent","info":"%","status":"FAILED"}],"message":"fail"}"#,
        ],
        overwritten: &[("1003", "1009")],
    },
    Invocation {
        method: HookMethod::SendDtmf,
        ask: |rig| rig.say(1, "sendDtmf", json!({"callId": "c1", "dtmf": "5"})),
        refusal: &[r#"{"data":[{"info":"%","status":"FAILED"}],"message":"fail"}"#],
        overwritten: &[("5", "9")],
    },
    Invocation {
        method: HookMethod::SendData,
        ask: |rig| {
            rig.say(
                1,
                "sendData",
                json!({"operationId": "o1", "payload": "old"}),
            )
        },
        refusal: &[
            r#"{"data":[{"info":"%","operationId":"o1","status":"FAILED"}],"message":"DataStatusEvent"}"#,
        ],
        overwritten: &[],
    },
    Invocation {
        method: HookMethod::PublishStream,
        ask: |rig| {
            rig.say(
                1,
                "publishStream",
                json!({"mediaSessionId": "m1", "name": "s"}),
            )
        },
        refusal: &[
            r#"{"data":[{"apiMethod":"StreamStatusEvent","id":"m1","info":"%","status":"FAILED"}],"message":"fail"}"#,
        ],
        overwritten: &[],
    },
    Invocation {
        method: HookMethod::PlayStream,
        ask: |rig| {
            rig.say(
                1,
                "playStream",
                json!({"mediaSessionId": "m1", "name": "s"}),
            )
        },
        refusal: &[
            r#"{"data":[{"apiMethod":"StreamStatusEvent","id":"m1","info":"%","status":"FAILED"}],"message":"fail"}"#,
        ],
        overwritten: &[],
    },
    Invocation {
        method: HookMethod::Snapshot,
        ask: |rig| rig.say(1, "snapshot", json!({"mediaSessionId": "m1", "name": "s"})),
        refusal: &[
            r#"{"data":[{"mediaSessionId":"m1","payload":{"info":"%"},"type":"snapshotFailed"}],"message":"notifyStreamEvent"}"#,
        ],
        overwritten: &[],
    },
    Invocation {
        method: HookMethod::SendMessage,
        ask: |rig| {
            rig.say(
                1,
                "sendMessage",
                json!({"id": "i1", "from": "1001", "to": "1002", "body": "hello"}),
            )
        },
        refusal: &[
            r#"{"data":[{"contentType":"text/plain","from":"1001","id":"i1","info":"%","isImdnRequired":false,"status":"FAILED","to":"1002"},{}],"message":"notifyMessage"}"#,
        ],
        overwritten: &[],
    },
    Invocation {
        method: HookMethod::Subscribe,
        ask: |rig| rig.say(1, "subscribe", json!({"event": "presence", "expires": 60})),
        refusal: &[
            r#"{"data":[{"event":"presence","expires":0,"info":"%","status":"Terminated","terminate":false}],"message":"notifySubscription"}"#,
        ],
        overwritten: &[],
    },
    Invocation {
        method: HookMethod::SendXcapRequest,
        ask: |rig| rig.say(1, "sendXcapRequest", json!({"url": "http://x/"})),
        refusal: &[
            r#"{"data":[{"apiMethod":"XcapStatusEvent","info":"%","status":"FAILED"}],"message":"fail"}"#,
        ],
        overwritten: &[],
    },
    Invocation {
        method: HookMethod::SubmitBugReport,
        ask: |rig| {
            rig.say(
                1,
                "submitBugReport",
                json!({"text": "x", "type": "no_media"}),
            )
        },
        refusal: &[
            r#"{"data":[{"apiMethod":"BugReportStatusEvent","info":"%","status":"FAILED"}],"message":"fail"}"#,
        ],
        overwritten: &[],
    },
];

/// Talks on `c1` and is rung.
fn busy_rig(mine: signaling_backend::App) -> Rig {
    let mut rig = Rig::registered(mine);
    rig.talk(1, "c1");
    rig.ring(1);
    rig.settle();
    let id = rig.last("notifyIncomingCall")["callId"].clone();
    rig.rung = id.as_str().unwrap().to_owned();
    rig.forget();
    rig
}

#[test]
fn a_direct_invocation_is_carried_out_refused_or_changed_as_its_policy_says() {
    for invocation in INVOCATIONS {
        let name = invocation.method.as_str();
        let mut without = busy_rig({
            let mut mine = app("defaultApp");
            mine.methods.remove(&invocation.method);
            mine.methods.remove(&HookMethod::OnDataEvent);
            mine
        });
        (invocation.ask)(&mut without);
        without.settle();
        let usual = done(&without);
        for (policy, on_error, called, fails, overwrites) in POLICIES {
            for (title, outcome, info) in outcomes() {
                let row = format!("{name} {policy} {on_error} {title}");
                // The rig's own call must get through whatever becomes of the next.
                let mut rig = busy_rig(configured(name, policy, on_error));
                let late = Duration::from_secs(3);
                rig.script.insert(invocation.method, (late, outcome));
                (invocation.ask)(&mut rig);
                let asked = rig
                    .posted
                    .iter()
                    .any(|p| p.request.method == invocation.method);
                assert_eq!(asked, called, "{row}");
                if called {
                    assert!(rig.posted[0].request.awaited, "{row}");
                    assert!(
                        rig.trunk.is_empty() && rig.media.is_empty(),
                        "{row}: it waits"
                    );
                }
                rig.wait(late);
                rig.settle();
                match info {
                    Some(info) if called && fails => {
                        let wanted: Vec<Value> = invocation
                            .refusal
                            .iter()
                            .map(|frame| {
                                let info = info.replace('"', "\\\"");
                                serde_json::from_str(
                                    &frame.replace('%', &info).replace('@', &rig.rung),
                                )
                                .unwrap()
                            })
                            .collect();
                        let (trunk, media, page) = done(&rig);
                        let page: Vec<_> = page
                            .into_iter()
                            .filter(|m| m["message"] != "ping")
                            .collect();
                        assert_eq!(page, wanted, "{row}");
                        let refused = r#"Refusal { status: 403, reason: "Forbidden","#;
                        if invocation.method == HookMethod::Answer {
                            assert!(trunk[0].contains(refused), "{row}: {trunk:?}");
                        } else {
                            assert!(trunk.is_empty() && media.is_empty(), "{row}");
                        }
                    }
                    _ => {
                        let (trunk, media, page) = done(&rig);
                        let page: Vec<_> = page
                            .into_iter()
                            .filter(|m| m["message"] != "ping")
                            .collect();
                        let changed = overwrites && title == "200 JSON";
                        let put = |usual: &Vec<String>| -> Vec<String> {
                            let each = |text: &String| {
                                invocation.overwritten.iter().filter(|_| changed).fold(
                                    text.clone(),
                                    |text, (old, new)| {
                                        text.replace(&format!("{old:?}"), &format!("{new:?}"))
                                    },
                                )
                            };
                            usual.iter().map(each).collect()
                        };
                        assert_eq!((trunk, media), (put(&usual.0), put(&usual.1)), "{row}");
                        if !changed {
                            assert_eq!(page, usual.2, "{row}");
                        }
                    }
                }
                rig.wait(Duration::from_secs(1));
                assert_eq!(rig.desk.requests_waiting(), 0, "{row}");
            }
        }
    }
}

#[test]
fn a_hangup_is_carried_out_at_once_whatever_the_backend_says() {
    for (policy, on_error, called, ..) in POLICIES {
        for (title, outcome, _) in outcomes() {
            let mut rig = Rig::talking(configured("hangup", policy, on_error));
            let late = Duration::from_secs(9);
            rig.script
                .insert(HookMethod::Hangup, (late, outcome.clone()));
            rig.say(1, "hangup", json!({"callId": "c1"}));
            let row = format!("{policy} {on_error} {title}");
            let hung_up = |c: &Command| matches!(c, Command::Hangup { .. });
            assert!(rig.trunk.iter().any(hung_up), "{row}");
            assert_eq!(rig.told(1), ["finish FINISH"], "{row}");
            assert_eq!(
                rig.posted[0].request.method == HookMethod::Hangup,
                called,
                "{row}"
            );
        }
    }
}

#[test]
fn connect_takes_what_a_backend_adds_and_any_error_refuses() {
    for (policy, on_error, called, ..) in POLICIES {
        for (title, outcome, info) in outcomes() {
            let row = format!("{policy} {on_error} {title}");
            let mut rig = Rig::new(vec![configured("connect", policy, on_error)]);
            let late = Duration::from_secs(14);
            rig.script.insert(HookMethod::Connect, (late, outcome));
            rig.open(1);
            rig.frame(1, account("defaultApp"));
            if called {
                assert_eq!(rig.told(1), Vec::<String>::new(), "{row}");
            }
            // Longer than a socket may stay without a connection: it has said one.
            rig.wait(late);
            match info.filter(|_| called) {
                Some(info) => {
                    assert_eq!(rig.told(1), ["fail FAILED"], "{row}");
                    assert_eq!(
                        rig.last("fail"),
                        json!({"status": "FAILED", "info": info, "apiMethod": "ConnectionStatusEvent"}),
                        "{row}"
                    );
                    assert_eq!(rig.closed, [1], "{row}");
                    assert_eq!(
                        rig.body("ConnectionStatusEvent"),
                        json!({"nodeId": "node@192.0.2.1", "appKey": "defaultApp",
                            "sessionId": "/203.0.113.9:51512/198.51.100.2:8443-u1", "status": "FAILED", "info": info}),
                        "{row}"
                    );
                    rig.close(1);
                    rig.wait(Duration::from_secs(70));
                    assert_eq!(
                        rig.hooks(),
                        ["connect", "ConnectionStatusEvent FAILED"],
                        "{row}"
                    );
                }
                None => {
                    assert_eq!(
                        rig.told(1),
                        ["getUserData ESTABLISHED", "getVersion"],
                        "{row}"
                    );
                    assert!(rig.closed.is_empty(), "{row}");
                }
            }
        }
    }
}

#[test]
fn a_backend_supplies_the_account_and_the_policies_of_a_page_that_brings_none() {
    let mut mine = app("clickToCallApp");
    mine.rest_client_config = config(json!({
        "hold": {"restOnError": "FAIL"},
        "sendDtmf": {"restOnError": "FAIL"}
    }));
    let mut rig = Rig::new(vec![mine]);
    let reply = r#"{"sipLogin":"1001","sipPassword":"hidden","sipDomain":"pbx.test","sipRegisterRequired":false,
        "sipVisibleName":"Shop","custom":{"b":2},"appKey":"stolen","authToken":"stolen","mediaProviders":["Flash"],
        "restClientConfig":{"hold":{"restOnError":"LOG"},"unhold":{"restPolicy":"DISABLE"}}}"#;
    rig.script
        .insert(HookMethod::Connect, (Duration::ZERO, ok(reply)));
    rig.open(1);
    rig.say(
        1,
        "connection",
        json!({"appKey": "clickToCallApp", "mediaProviders": ["WebRTC"]}),
    );
    rig.settle();
    let told = rig.last("getUserData");
    assert_eq!(
        (
            &told["sipLogin"],
            &told["sipVisibleName"],
            &told["appKey"],
            &told["authToken"],
            &told["custom"]
        ),
        (
            &json!("1001"),
            &json!("Shop"),
            &json!("clickToCallApp"),
            &json!("token-1"),
            &json!({"b": 2})
        )
    );
    assert_eq!(told["mediaProviders"], json!(["WebRTC"]));
    assert!(told["sipPassword"].is_null() && told["restClientConfig"].is_null());
    rig.talk(1, "c1");
    rig.forget();
    for method in [HookMethod::Hold, HookMethod::Unhold, HookMethod::SendDtmf] {
        rig.script
            .insert(method, (Duration::ZERO, refused(403, "Forbidden", "")));
    }
    // The backend's word over the application's, the application's where the backend said nothing.
    rig.say(1, "hold", json!({"callId": "c1"}));
    rig.settle();
    assert!(matches!(rig.trunk.last(), Some(Command::Offer { .. })));
    assert_eq!(rig.told(1), Vec::<String>::new());
    rig.say(1, "unhold", json!({"callId": "c1"}));
    rig.say(1, "sendDtmf", json!({"callId": "c1", "dtmf": "5"}));
    rig.settle();
    assert_eq!(rig.told(1).last().unwrap(), "fail FAILED");
    assert!(!rig.hooks().iter().any(|hook| hook.starts_with("unhold")));
}

#[test]
fn an_event_is_told_whatever_its_hook_says_and_waits_only_under_fail_or_overwrite() {
    for (policy, on_error, called, fails, overwrites) in POLICIES {
        for (title, outcome, info) in outcomes() {
            let row = format!("{policy} {on_error} {title}");
            let mut rig = Rig::registered(configured("CallStatusEvent", policy, on_error));
            rig.dial(1, "c1", "1002");
            rig.settle();
            rig.forget_all_but_invite();
            let late = Duration::from_secs(3);
            rig.script
                .insert(HookMethod::CallStatusEvent, (late, outcome));
            let invite = rig.invite();
            rig.progress(invite, 180, None);
            let waits = called && (fails || overwrites);
            let now = rig.told(1);
            assert_eq!(now.is_empty(), waits, "{row}: {now:?}");
            assert_eq!(rig.hooks().len(), usize::from(called), "{row}");
            if called {
                assert_eq!(rig.posted[0].request.awaited, waits, "{row}");
            }
            rig.wait(late);
            let mut wanted = vec!["ring RING"];
            if called && fails && info.is_some() {
                wanted.push("fail FAILED");
                let fail = json!({"status": "FAILED", "info": info});
                assert_eq!(rig.last("fail"), fail, "{row}");
            }
            assert_eq!(rig.told(1), wanted, "{row}");
            let ring = rig.last("ring");
            let changed = overwrites && called && title == "200 JSON";
            assert_eq!(
                ring["callee"],
                if changed { "1009" } else { "1002" },
                "{row}"
            );
            assert_eq!(
                ring["info"],
                if changed { json!("told") } else { Value::Null },
                "{row}"
            );
            assert_eq!(
                (&ring["callId"], &ring["status"]),
                (&json!("c1"), &json!("RING")),
                "{row}"
            );
            // An error about an event is no event.
            assert_eq!(rig.hooks().len(), usize::from(called), "{row}");
        }
    }
}

#[test]
fn both_halves_of_one_change_are_overwritten_together() {
    let mut rig = Rig::registered(configured("CallStatusEvent", "OVERWRITE", "LOG"));
    rig.script.insert(
        HookMethod::CallStatusEvent,
        (Duration::from_secs(1), ok(r#"{"info":"told"}"#)),
    );
    rig.dial(1, "c1", "1002");
    rig.wait(Duration::from_secs(2));
    let invite = rig.invite();
    rig.progress(invite, 183, None);
    rig.wait(Duration::from_secs(2));
    assert_eq!(rig.last("sessionProgress")["info"], "told");
    assert_eq!(rig.last("ring")["info"], "told");
    assert_eq!(
        rig.hooks()[2..],
        ["CallStatusEvent SESSION_PROGRESS".to_owned()]
    );
}

#[test]
fn an_error_of_an_error_event_ends_there() {
    let mut rig = Rig::talking(configured("ErrorEvent", "NOTIFY", "FAIL"));
    rig.script.insert(
        HookMethod::ErrorEvent,
        (Duration::ZERO, refused(500, "Server Error", "")),
    );
    rig.dial(1, "c1", "1003");
    rig.settle();
    assert_eq!(rig.told(1), ["fail FAILED"]);
    assert_eq!(rig.hooks(), ["ErrorEvent"]);
}

#[test]
fn trying_waits_for_no_hook_of_its_own_either() {
    let mut rig = Rig::registered(configured("CallStatusEvent", "OVERWRITE", "FAIL"));
    rig.silent = true;
    rig.dial(1, "c1", "1002");
    assert_eq!(rig.told(1), ["notifyTryingResponse TRYING"]);
    rig.reply(HookMethod::Call, ok(""));
    assert_eq!(rig.hooks(), ["call PENDING", "CallStatusEvent TRYING"]);
    rig.reply(HookMethod::CallStatusEvent, refused(403, "Forbidden", ""));
    assert_eq!(rig.told(1), ["notifyTryingResponse TRYING", "fail FAILED"]);
}
