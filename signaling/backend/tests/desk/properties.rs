//! Whatever comes in whatever order, and whatever the backend does: nothing is lost or told out of order, and
//! nothing waits for ever.

use crate::rig::{Rig, account, app, browser_answer, by_peer, config, ok, refused, unreachable};
use proptest::prelude::*;
use serde_json::{Value, json};
use signaling_backend::HookOutcome;
use signaling_protocol::HookMethod;
use signaling_trunk::api::{Command, InviteId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Clone, Debug)]
enum Step {
    Data,
    Dial(u8),
    HangUp(u8),
    Hold(u8),
    Digit(u8),
    Ring,
    Answer(u8),
    PeerAnswers(u8),
    PeerRings(u8),
    PeerEnds(u8),
    Wait(u16),
    /// From now on the backend does this to that hook.
    Backend(HookMethod, u8, u8),
    /// The page loses its socket and comes back.
    Resume,
}

/// Hooks that the steps bring about.
const HOOKS: [HookMethod; 12] = [
    HookMethod::Call,
    HookMethod::Answer,
    HookMethod::Hangup,
    HookMethod::Hold,
    HookMethod::SendDtmf,
    HookMethod::SendData,
    HookMethod::CallStatusEvent,
    HookMethod::DataStatusEvent,
    HookMethod::ErrorEvent,
    HookMethod::OnCallEvent,
    HookMethod::Connect,
    HookMethod::ConnectionStatusEvent,
];

fn hook() -> impl Strategy<Value = HookMethod> {
    (0..HOOKS.len()).prop_map(|n| HOOKS[n])
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Data),
        4 => (0u8..4).prop_map(Step::Dial),
        4 => (0u8..4).prop_map(Step::HangUp),
        2 => (0u8..4).prop_map(Step::Hold),
        2 => (0u8..4).prop_map(Step::Digit),
        3 => Just(Step::Ring),
        3 => any::<u8>().prop_map(Step::Answer),
        3 => any::<u8>().prop_map(Step::PeerAnswers),
        2 => any::<u8>().prop_map(Step::PeerRings),
        2 => any::<u8>().prop_map(Step::PeerEnds),
        6 => (0u16..4000).prop_map(Step::Wait),
        5 => (hook(), 0u8..5, 0u8..6).prop_map(|(hook, delay, what)| Step::Backend(hook, delay, what)),
    ]
}

fn policies() -> impl Strategy<Value = Value> {
    prop::collection::btree_map(hook(), (0u8..3, any::<bool>()), 0..HOOKS.len()).prop_map(|all| {
        let each = all.into_iter().map(|(hook, (policy, fails))| {
            let policy = ["NOTIFY", "OVERWRITE", "DISABLE"][usize::from(policy)];
            let on_error = if fails { "FAIL" } else { "LOG" };
            let policy = json!({"restPolicy": policy, "restOnError": on_error, "restOverwrite": "info,visibleName,callId"});
            (hook.as_str().to_owned(), policy)
        });
        Value::Object(each.collect())
    })
}

fn delay(n: u8) -> Duration {
    // The last is one that was lost.
    [0, 10, 900, 15_000, 100_000].map(Duration::from_millis)[usize::from(n)]
}

fn outcome(n: u8) -> HookOutcome {
    match n {
        0 => ok(""),
        1 => ok(r#"{"info":"told","visibleName":"Zoe","callId":"other"}"#),
        2 => ok("text"),
        3 => refused(403, "Forbidden", ""),
        4 => refused(500, "Server Error", r#"{"status":500,"reason":"x"}"#),
        _ => unreachable(),
    }
}

/// One page as its test drives it: which socket it has now, and what it has said.
struct Page {
    home: u64,
    socket: u64,
    data: u32,
    dialled: u32,
    names: BTreeMap<u8, String>,
}

fn invites(rig: &Rig) -> Vec<InviteId> {
    let of = |c: &Command| match c {
        Command::Invite { invite, .. } => Some(*invite),
        _ => None,
    };
    rig.trunk.iter().filter_map(of).collect()
}

fn rung(rig: &Rig, page: &Page) -> Vec<String> {
    rig.page
        .iter()
        .filter(|told| told.session == page.socket && told.frame["message"] == "notifyIncomingCall")
        .map(|told| told.frame["data"][0]["callId"].as_str().unwrap().to_owned())
        .collect()
}

fn take(rig: &mut Rig, page: &mut Page, arrived: &mut Vec<InviteId>, step: &Step) {
    let pick = |n: u8, all: &[InviteId]| all.get(usize::from(n) % all.len().max(1)).copied();
    match step {
        Step::Data => {
            let id = format!("{}-{}", page.home, page.data);
            page.data += 1;
            rig.say(page.socket, "sendData", json!({"operationId": id}));
        }
        Step::Dial(n) => {
            let id = format!("{}-call-{}", page.home, page.dialled);
            page.dialled += 1;
            page.names.insert(*n, id.clone());
            rig.dial(page.socket, &id, "1002");
        }
        Step::HangUp(n) => {
            if let Some(id) = page.names.get(n) {
                rig.say(page.socket, "hangup", json!({"callId": id}));
            }
        }
        Step::Hold(n) => {
            if let Some(id) = page.names.get(n) {
                rig.say(page.socket, "hold", json!({"callId": id}));
            }
        }
        Step::Digit(n) => {
            if let Some(id) = page.names.get(n) {
                rig.say(page.socket, "sendDtmf", json!({"callId": id, "dtmf": "5"}));
            }
        }
        Step::Ring => arrived.push(rig.ring(page.home)),
        Step::Answer(n) => {
            let all = rung(rig, page);
            if let Some(id) = all.get(usize::from(*n) % all.len().max(1)) {
                rig.say(page.socket, "answer", browser_answer(id));
            }
        }
        Step::PeerAnswers(n) => {
            if let Some(invite) = pick(*n, &invites(rig)) {
                rig.answer(invite);
            }
        }
        Step::PeerRings(n) => {
            if let Some(invite) = pick(*n, &invites(rig)) {
                rig.progress(invite, 183, None);
            }
        }
        Step::PeerEnds(n) => {
            let mut all = invites(rig);
            all.extend(arrived.iter());
            if let Some(invite) = pick(*n, &all) {
                rig.over(invite, by_peer());
            }
        }
        Step::Wait(ms) => rig.wait(Duration::from_millis(u64::from(*ms))),
        Step::Backend(hook, late, what) => {
            rig.script.insert(*hook, (delay(*late), outcome(*what)));
        }
        Step::Resume => {
            rig.close(page.socket);
            let token = json!({"appKey": "defaultApp", "authToken": format!("token-{}", page.home), "keepAlive": true});
            page.socket += 10;
            rig.open(page.socket);
            rig.say(page.socket, "connection", token);
        }
    }
}

fn start(policies: &Value) -> (Rig, Vec<Page>) {
    let mut mine = app("defaultApp");
    mine.rest_client_config = config(policies.clone());
    let mut rig = Rig::new(vec![mine]);
    let mut pages = Vec::new();
    for home in [1, 2] {
        rig.open(home);
        rig.frame(home, account("defaultApp"));
        rig.settle();
        rig.registered_now(home);
        rig.settle();
        pages.push(Page {
            home,
            socket: home,
            data: 0,
            dialled: 0,
            names: BTreeMap::new(),
        });
    }
    (rig, pages)
}

/// Frames about one call, in the order in which a page got them.
fn calls(rig: &Rig, socket: u64) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for told in rig.page.iter().filter(|told| told.session == socket) {
        let name = told.frame["message"].as_str().unwrap();
        let id = match name {
            "setRemoteSDP" => &told.frame["data"][0],
            "fail" => &told.frame["data"][0]["id"],
            _ => &told.frame["data"][0]["callId"],
        };
        if let Some(id) = id.as_str() {
            all.entry(id.to_owned()).or_default().push(name.to_owned());
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn no_interleaving_loses_or_reorders_what_a_page_is_told_or_waits_for_ever(
        policies in policies(),
        steps in prop::collection::vec((0usize..2, step()), 1..60),
    ) {
        let (mut rig, mut pages) = start(&policies);
        let mut arrived = Vec::new();
        for (who, step) in &steps {
            take(&mut rig, &mut pages[*who], &mut arrived, step);
        }
        // Every call is ended, and every backend given its time.
        rig.wait(Duration::from_secs(400));
        for page in &pages {
            let ids: Vec<String> = calls(&rig, page.socket).into_keys().collect();
            for id in ids {
                rig.say(page.socket, "hangup", json!({"callId": id}));
                rig.wait(Duration::from_secs(70));
            }
        }
        rig.wait(Duration::from_secs(400));
        prop_assert_eq!(rig.desk.requests_waiting(), 0);
        prop_assert!(rig.closed.is_empty(), "{:?}", rig.closed);
        for page in &pages {
            let data: Vec<String> = rig.page.iter()
                .filter(|told| told.session == page.socket && told.frame["message"] == "DataStatusEvent")
                .map(|told| told.frame["data"][0]["operationId"].as_str().unwrap().to_owned())
                .collect();
            let wanted: Vec<String> = (0..page.data).map(|n| format!("{}-{n}", page.home)).collect();
            prop_assert_eq!(data, wanted);
            let all = calls(&rig, page.socket);
            for n in 0..page.dialled {
                let id = format!("{}-call-{n}", page.home);
                prop_assert!(all.contains_key(&id), "{} in {:?}", id, all.keys());
            }
            for (id, told) in all {
                let count = |name: &str| told.iter().filter(|t| *t == name).count();
                prop_assert_eq!(count("finish"), 1, "{}: {:?}", &id, &told);
                let end = told.iter().position(|t| t == "finish").unwrap();
                prop_assert!(told[end + 1..].iter().all(|t| t == "fail"), "{}: {:?}", &id, &told);
                prop_assert!(count("setRemoteSDP") <= 1, "{}: {:?}", &id, &told);
                if id.starts_with("in-") {
                    prop_assert_eq!(&told[..3], ["setRemoteSDP", "notifyIncomingCall", "ring"], "{}", &id);
                } else {
                    prop_assert_eq!(count("notifyTryingResponse"), 1, "{}: {:?}", &id, &told);
                    prop_assert_eq!(told[0].as_str(), "notifyTryingResponse", "{}: {:?}", &id, &told);
                }
                if let Some(talk) = told.iter().position(|t| t == "talk") {
                    prop_assert!(told[..talk].iter().any(|t| t == "setRemoteSDP"), "{}: {:?}", &id, &told);
                }
            }
        }
        // The two pages heard nothing of each other's.
        let ids = |page: &Page| calls(&rig, page.socket).into_keys().collect::<BTreeSet<_>>();
        prop_assert!(ids(&pages[0]).is_disjoint(&ids(&pages[1])));
    }

    #[test]
    fn pages_that_come_and_go_leave_nothing_behind(
        policies in policies(),
        steps in prop::collection::vec((0usize..2, prop_oneof![4 => step(), 1 => Just(Step::Resume)]), 1..60),
    ) {
        let (mut rig, mut pages) = start(&policies);
        let mut arrived = Vec::new();
        for (who, step) in &steps {
            take(&mut rig, &mut pages[*who], &mut arrived, step);
        }
        for page in &pages {
            rig.close(page.socket);
        }
        rig.wait(Duration::from_secs(600));
        prop_assert_eq!(rig.desk.requests_waiting(), 0);
        prop_assert_eq!(rig.desk.sessions_of_apps().count(), 0);
        prop_assert_eq!(rig.desk.board().counts().sessions, 0);
        // Each end of a session is told once to each who was told of the beginning.
        let hooks = |status: &str| rig.posted.iter()
            .filter(|p| p.request.method == HookMethod::ConnectionStatusEvent && p.body["status"] == status)
            .map(|p| p.body["sessionId"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>();
        let over = hooks("DISCONNECTED");
        let once: BTreeSet<&String> = over.iter().collect();
        prop_assert_eq!(once.len(), over.len(), "{:?}", &over);
        let began: BTreeSet<String> = hooks("ESTABLISHED").into_iter().collect();
        let on = rig.posted.iter().any(|p| p.request.method == HookMethod::ConnectionStatusEvent);
        if on {
            prop_assert!(began.iter().all(|id| once.contains(id)), "{:?} {:?}", &began, &over);
        }
    }
}
