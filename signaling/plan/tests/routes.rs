//! The plan as the switchboard asks it.

use signaling_plan::*;

/// Draws what it is told, then 0.
struct Drawn(Vec<u64>);

impl Lot for Drawn {
    fn below(&mut self, bound: u64) -> u64 {
        let drawn = if self.0.is_empty() {
            0
        } else {
            self.0.remove(0)
        };
        assert!(drawn < bound);
        drawn
    }
}

fn berlin() -> Plan {
    let trunk = |form| TrunkRules { form };
    Plan {
        numbering: Numbering {
            country: "49".into(),
            area: "30".into(),
            ..Numbering::default()
        },
        trunks: [
            ("carrier".to_owned(), trunk(NumberForm::PlusE164)),
            ("backup".to_owned(), trunk(NumberForm::International)),
            ("pbx".to_owned(), trunk(NumberForm::AsIs)),
        ]
        .into(),
        ..Plan::default()
    }
}

impl Rules for Plan {
    fn rule(
        mut self,
        name: &str,
        matches: &[&str],
        to: &[&str],
        more: impl FnOnce(&mut Rule),
    ) -> Plan {
        let pattern = |text: &&str| Pattern::parse(text, &self.numbering).unwrap();
        let mut rule = Rule {
            name: name.into(),
            matches: matches.iter().map(pattern).collect(),
            to: to.iter().map(|text| target(text)).collect(),
            ..Rule::default()
        };
        more(&mut rule);
        self.rules.push(rule);
        self
    }
}

trait Rules {
    fn rule(self, name: &str, matches: &[&str], to: &[&str], more: impl FnOnce(&mut Rule)) -> Plan;
}

fn target(text: &str) -> Target {
    match text.split_once(':') {
        Some(("trunk", name)) => Target::To(Destination::Trunk(name.into())),
        Some(("phone", "*")) => Target::PhoneDialled,
        Some(("phone", name)) => Target::To(Destination::Phone(name.into())),
        Some(("account", name)) => Target::To(Destination::Account(name.into())),
        _ => Target::Number,
    }
}

fn session(number: &str) -> Caller {
    Caller::Session {
        app: "shop".into(),
        account: String::new(),
        number: number.into(),
        trunks: None,
        prefixes: None,
    }
}

fn phone(user: &str) -> Caller {
    Caller::Phone(user.into())
}

fn trunk(name: &str) -> Caller {
    Caller::Trunk(name.into())
}

fn ask(plan: &Plan, caller: &Caller, dialled: &str) -> Result<Route, NoWay> {
    plan.route(caller, dialled, &|_| true, &mut Drawn(Vec::new()))
        .answer
}

fn name(plan: &Plan, caller: &Caller, dialled: &str) -> String {
    ask(plan, caller, dialled).map_or_else(|no| no.status.to_string(), |route| route.name)
}

fn ways(route: &Route) -> Vec<(String, &str)> {
    let way = |attempt: &'_ Attempt| attempt.to.to_string();
    route
        .attempts
        .iter()
        .map(|attempt| (way(attempt), attempt.user.as_str()))
        .collect()
}

fn nothing(_: &mut Rule) {}

#[test]
fn the_closest_rule_wins_wherever_it_stands_and_the_first_of_equals() {
    let rules = [
        ("world", "+*"),
        ("germany", "0*"),
        ("berlin", "030*"),
        ("again", "030*"),
        ("short", "2XX"),
        ("names", "*"),
    ];
    for reversed in [false, true] {
        let mut order = rules;
        if reversed {
            order.reverse();
        }
        let plan = order.iter().fold(berlin(), |plan, (name, pattern)| {
            plan.rule(name, &[pattern], &["trunk:carrier"], nothing)
        });
        let found = |dialled| name(&plan, &phone("201"), dialled);
        assert_eq!(found("+1 212 5551234"), "world");
        assert_eq!(found("089 123456"), "germany");
        assert_eq!(found("123456"), if reversed { "again" } else { "berlin" });
        assert_eq!(found("205"), "short");
        assert_eq!(found("alice"), "names");
    }
}

#[test]
fn each_trunk_is_asked_in_order_for_the_number_in_its_own_form() {
    let plan = berlin().rule(
        "all",
        &["+*"],
        &["trunk:carrier", "trunk:backup", "trunk:pbx"],
        nothing,
    );
    let route = ask(&plan, &phone("201"), "030 123456").unwrap();
    assert_eq!(route.number, "+4930123456");
    assert_eq!(
        ways(&route),
        [
            ("trunk:carrier".into(), "+4930123456"),
            ("trunk:backup".into(), "004930123456"),
            ("trunk:pbx".into(), "030123456"),
        ]
    );
}

#[test]
fn trunks_by_weight_are_drawn_and_a_weight_of_nothing_comes_last() {
    let plan = berlin().rule(
        "all",
        &["+*"],
        &["trunk:pbx", "trunk:carrier", "trunk:backup"],
        |rule| {
            rule.weights = vec![0, 3, 1];
        },
    );
    let order = |drawn: &[u64]| {
        let way = plan.route(
            &phone("201"),
            "+1212",
            &|_| true,
            &mut Drawn(drawn.to_vec()),
        );
        let route = way.answer.unwrap();
        route
            .attempts
            .iter()
            .map(|a| a.to.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };
    for drawn in 0..3 {
        assert_eq!(order(&[drawn]), "trunk:carrier trunk:backup trunk:pbx");
    }
    assert_eq!(order(&[3]), "trunk:backup trunk:carrier trunk:pbx");
}

#[test]
fn what_is_down_is_tried_last() {
    let plan = berlin().rule("all", &["+*"], &["trunk:carrier", "trunk:backup"], nothing);
    let carrier = Destination::Trunk("carrier".into());
    let way = plan.route(
        &phone("201"),
        "+1212",
        &|to| *to != carrier,
        &mut Drawn(Vec::new()),
    );
    let route = way.answer.unwrap();
    assert_eq!(ways(&route)[0].0, "trunk:backup");
    assert_eq!(route.attempts.len(), 2);
    assert!(
        way.steps
            .iter()
            .any(|step| step.contains("trunk:carrier is down now")),
        "{:?}",
        way.steps
    );
}

#[test]
fn only_what_is_about_the_trunk_leads_on_to_the_next_one() {
    let plan = berlin().rule("all", &["+*"], &["trunk:carrier", "trunk:backup"], nothing);
    let route = ask(&plan, &phone("201"), "+1212").unwrap();
    for status in [0, 403, 408, 500, 503] {
        assert!(route.leads_on(status), "{status}");
    }
    for status in [404, 480, 486, 487, 488, 600, 603, 604] {
        assert!(!route.leads_on(status), "{status}");
    }
}

#[test]
fn a_caller_is_shown_as_the_rule_says_in_the_form_of_each_trunk() {
    let shown = |caller: Shown, asserted: Asserted, from: &Caller, presented: &Presented| {
        let plan = berlin().rule("all", &["+*"], &["trunk:backup"], |rule| {
            rule.from = vec![Who::App(None), Who::Phone(None), Who::Trunk(None)];
            rule.caller = caller;
            rule.asserted = asserted;
            rule.diversion = matches!(from, Caller::Trunk(_));
        });
        let way = plan.route_as(from, presented, "+49891", &|_| true, &mut Drawn(Vec::new()));
        let identity = way.answer.unwrap().attempts.remove(0).identity;
        let or = |text: Option<String>| text.unwrap_or("-".into());
        format!(
            "{} {} {} {}",
            identity.from_user,
            or(identity.asserted_user),
            or(identity.privacy),
            or(identity.diversion)
        )
    };
    let nobody = Presented::default();
    let own = session("+4930777");
    assert_eq!(
        shown(Shown::Keep, Asserted::Caller, &own, &nobody),
        "004930777 004930777 - -"
    );
    assert_eq!(
        shown(Shown::Keep, Asserted::Off, &own, &nobody),
        "004930777 - - -"
    );
    assert_eq!(
        shown(Shown::Anonymous, Asserted::Caller, &own, &nobody),
        "anonymous 004930777 id -"
    );
    let fixed = Shown::Number("+4930999".into());
    assert_eq!(
        shown(fixed.clone(), Asserted::Caller, &own, &nobody),
        "004930999 004930999 - -"
    );
    let main = Asserted::Number("+4930990".into());
    assert_eq!(shown(fixed, main, &own, &nobody), "004930999 004930990 - -");
    // An extension means nothing to a carrier …
    assert_eq!(
        shown(Shown::Keep, Asserted::Caller, &phone("201"), &nobody),
        " - - -"
    );
    // … but behind the office's number.
    let head = Shown::Extension("+4930999".into());
    assert_eq!(
        shown(head, Asserted::Caller, &phone("201"), &nobody),
        "004930999201 004930999201 - -"
    );
    // Who called by a trunk and wished not to be shown is not shown, and where the call was diverted is told.
    let presented = Presented {
        from_user: "+1212".into(),
        asserted_user: Some("+12125551234".into()),
        privacy: Some("id".into()),
    };
    assert_eq!(
        shown(Shown::Keep, Asserted::Caller, &trunk("carrier"), &presented),
        "anonymous 0012125551234 id 0049891"
    );
}

#[test]
fn a_phone_is_asserted_to_trunks_only_and_shows_its_extension_inside() {
    let plan = berlin().rule("inside", &["2XX"], &["phone:*"], nothing);
    let route = ask(&plan, &phone("201"), "202").unwrap();
    let attempt = &route.attempts[0];
    assert_eq!(attempt.to, Destination::Phone("202".into()));
    assert_eq!(attempt.identity.from_user, "201");
    assert_eq!(attempt.identity.asserted_user, None);
}

fn with_emergency() -> Plan {
    let mut plan = berlin().rule("all", &["*"], &["trunk:carrier"], |rule| {
        rule.from = vec![Who::App(None), Who::Phone(None), Who::Trunk(None)];
    });
    plan.emergency = Emergency {
        numbers: vec!["112".into(), "110".into()],
        trunks: vec!["backup".into(), "carrier".into()],
        from_trunks: vec!["pbx".into()],
        alarm_after: 5,
    };
    plan
}

#[test]
fn an_emergency_number_is_matched_whole_after_normalisation_and_never_as_a_beginning() {
    let plan = with_emergency();
    for dialled in [
        "112",
        "1-1-2",
        " 110 ",
        "tel:112;phone-context=+49",
        "sip:112@gateway.example",
        "urn:service:sos",
        "urn:service:sos.police",
    ] {
        let route = ask(&plan, &phone("201"), dialled).unwrap();
        assert!(route.emergency, "{dialled}");
        assert!(["112", "110"].contains(&route.number.as_str()));
        assert_eq!(
            ways(&route)[0],
            ("trunk:backup".into(), route.number.as_str())
        );
    }
    for dialled in ["1121", "11", "0112", "+112", "112345", "+49112", "1 1 2 3"] {
        let route = ask(&plan, &phone("201"), dialled).unwrap();
        assert!(!route.emergency, "{dialled}");
    }
}

#[test]
fn emergency_calls_are_for_callers_who_signed_in() {
    let plan = with_emergency();
    assert_eq!(ask(&plan, &session(""), "112").unwrap_err().status, 403);
    assert!(ask(&plan, &session("+4930777"), "112").unwrap().emergency);
    assert_eq!(
        ask(&plan, &trunk("carrier"), "112").unwrap_err().status,
        403
    );
    assert!(ask(&plan, &trunk("pbx"), "112").unwrap().emergency);
}

#[test]
fn an_emergency_call_comes_before_every_restriction_and_hides_nobody() {
    let mut plan = with_emergency();
    plan.premium.off = vec![Pattern::parse("1*", &Numbering::default()).unwrap()];
    let caller = Caller::Session {
        app: "shop".into(),
        account: String::new(),
        number: "+4930777".into(),
        trunks: Some(vec!["pbx".into()]),
        prefixes: Some(vec!["+1".into()]),
    };
    let presented = Presented {
        privacy: Some("id".into()),
        ..Presented::default()
    };
    let way = plan.route_as(
        &caller,
        &presented,
        "112",
        &|_| false,
        &mut Drawn(Vec::new()),
    );
    let route = way.answer.unwrap();
    assert_eq!(route.attempts.len(), 2);
    let identity = &route.attempts[0].identity;
    assert_eq!(
        (identity.from_user.as_str(), &identity.privacy),
        ("004930777", &None)
    );
    for status in [403, 404, 480, 486, 503, 603] {
        assert!(route.leads_on(status), "{status}");
    }
    assert!(!route.leads_on(487));
    // Behind the prefix of an outside line it is one as well.
    let plan = plan.rule("out", &["9*"], &["trunk:carrier"], |rule| rule.strip = 1);
    assert!(ask(&plan, &phone("201"), "9112").unwrap().emergency);
}

#[test]
fn a_session_uses_only_the_trunks_and_prefixes_that_it_was_given() {
    let plan = berlin().rule("all", &["+*"], &["trunk:carrier", "trunk:backup"], nothing);
    let given = |trunks: Option<&[&str]>, prefixes: Option<&[&str]>| {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Caller::Session {
            app: "shop".into(),
            account: String::new(),
            number: String::new(),
            trunks: trunks.map(own),
            prefixes: prefixes.map(own),
        }
    };
    let route = ask(&plan, &given(Some(&["backup"]), None), "+1212").unwrap();
    assert_eq!(ways(&route), [("trunk:backup".into(), "001212")]);
    assert_eq!(
        name(&plan, &given(Some(&["nowhere"]), None), "+1212"),
        "403"
    );
    assert_eq!(
        name(&plan, &given(None, Some(&["+49", "0043"])), "089 1234567"),
        "all"
    );
    assert_eq!(
        name(&plan, &given(None, Some(&["+49", "0043"])), "+431"),
        "all"
    );
    assert_eq!(name(&plan, &given(None, Some(&["+49"])), "+1212"), "403");
    assert_eq!(name(&plan, &given(None, Some(&[])), "+1212"), "403");
    // Without a rule the trunks that it was given are the way.
    assert_eq!(
        name(&berlin(), &given(Some(&["backup"]), None), "+1212"),
        "given to the session"
    );
    assert_eq!(name(&berlin(), &given(None, None), "+1212"), "404");
}

#[test]
fn a_session_with_a_sip_account_dials_its_own_pbx_unless_a_rule_names_it() {
    let account = |account: &str| Caller::Session {
        app: "shop".into(),
        account: account.into(),
        number: String::new(),
        trunks: None,
        prefixes: None,
    };
    let plan = berlin().rule("all", &["+*"], &["trunk:carrier"], nothing);
    assert!(plan.concerns(&account("")) && !plan.concerns(&account("alice@pbx.example")));
    let plan = plan.rule("alice", &["+*"], &["trunk:backup"], |rule| {
        rule.from = vec![Who::Account(Some("alice@pbx.example".into()))];
    });
    assert!(
        plan.concerns(&account("alice@pbx.example")) && !plan.concerns(&account("bob@pbx.example"))
    );
    assert_eq!(name(&plan, &account("alice@pbx.example"), "+1212"), "alice");
    assert!(!Plan::default().concerns(&account("")));
}

#[test]
fn what_comes_in_by_a_trunk_goes_out_only_where_a_rule_names_the_trunk_and_never_back_by_itself() {
    let plan = berlin().rule("all", &["+*"], &["trunk:carrier"], nothing);
    assert_eq!(name(&plan, &trunk("carrier"), "+1212"), "404");
    let hairpin = |hairpin: bool| {
        berlin().rule("through", &["+*"], &["trunk:carrier"], move |rule| {
            rule.from = vec![Who::Trunk(None)];
            rule.hairpin = hairpin;
        })
    };
    assert_eq!(name(&hairpin(false), &trunk("carrier"), "+1212"), "482");
    assert_eq!(name(&hairpin(true), &trunk("carrier"), "+1212"), "through");
    assert_eq!(name(&hairpin(false), &trunk("pbx"), "+1212"), "through");
}

#[test]
fn a_did_leads_to_an_account_a_phone_or_the_session_that_has_the_number() {
    let inbound = |rule: &mut Rule| rule.from = vec![Who::Trunk(Some("backup".into()))];
    let plan = berlin()
        .rule(
            "main",
            &["+493012300"],
            &["account:alice@pbx.example"],
            inbound,
        )
        .rule("sessions", &["+4930123*"], &["number"], inbound)
        .rule("direct", &["030 1235XXX"], &["phone:*"], move |rule| {
            inbound(rule);
            rule.strip = 8;
        });
    let to = |dialled| {
        let route = ask(&plan, &trunk("backup"), dialled).unwrap();
        route.attempts[0].to.to_string()
    };
    // In the form in which that trunk writes numbers.
    assert_eq!(to("00493012300"), "account:alice@pbx.example");
    assert_eq!(to("00493012345"), "the session with number +493012345");
    assert_eq!(to("00 49 30 123 5201"), "phone:201");
    assert_eq!(name(&plan, &trunk("carrier"), "+493012345"), "404");
}

#[test]
fn premium_numbers_are_refused_before_any_trunk_is_asked_unless_listed() {
    let mut plan = berlin().rule("all", &["+*"], &["trunk:carrier"], nothing);
    let patterns = |texts: &[&str]| -> Vec<Pattern> {
        let parse =
            |text: &&str| Pattern::parse(&format!("{text}*"), &Numbering::default()).unwrap();
        texts.iter().map(parse).collect()
    };
    plan.premium.off = patterns(USUAL_PREMIUM);
    for dialled in ["0900 1234567", "+881 6123456", "001 900 5551234"] {
        let no = ask(&plan, &phone("201"), dialled).unwrap_err();
        assert_eq!(no.status, 403, "{dialled}");
    }
    plan.premium.allowed = patterns(&["+49900"]);
    assert_eq!(name(&plan, &phone("201"), "0900 1234567"), "all");
}

#[test]
fn the_steps_tell_the_way_in_order_and_cannot_break_a_line() {
    let plan = berlin()
        .rule("germany", &["0*"], &["trunk:carrier"], nothing)
        .rule("world", &["+*"], &["trunk:backup"], nothing);
    let way = plan.route(
        &session("+4930777"),
        "030 123456",
        &|_| true,
        &mut Drawn(Vec::new()),
    );
    let told = way.steps.join("\n");
    for part in [
        "application shop",
        "+4930123456",
        "germany",
        "world (+*)",
        "trunk:carrier is asked for +4930123456",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let way = plan.route(
        &session(""),
        "a\nb\u{1b}[31m",
        &|_| true,
        &mut Drawn(Vec::new()),
    );
    assert!(way.answer.is_err());
    assert!(
        !way.steps.iter().any(|step| step.contains(['\n', '\u{1b}'])),
        "{:?}",
        way.steps
    );
    assert!(ask(&plan, &phone("201"), &"1".repeat(10_000)).is_err());
}

#[test]
fn who_calls_for_help_is_shown_by_the_number_that_ordinary_calls_have() {
    let mut plan = with_emergency()
        .rule("out", &["+*"], &["trunk:carrier"], |rule| {
            rule.caller = Shown::Extension("+4930123".into());
        })
        .rule("other way out", &["+1*"], &["trunk:backup"], |rule| {
            rule.caller = Shown::Number("+4930999".into());
        });
    let shown = |plan: &Plan| {
        let route = ask(plan, &phone("201"), "112").unwrap();
        let users = route.attempts.iter().map(|a| a.identity.from_user.clone());
        users.collect::<Vec<_>>()
    };
    assert_eq!(shown(&plan), ["004930999", "+4930123201"]);
    // Without a rule for that trunk it is the number towards another one.
    plan.rules.retain(|rule| rule.name != "other way out");
    assert_eq!(shown(&plan), ["004930123201", "+4930123201"]);
    // Who wants to be nobody otherwise is shown all the same.
    plan.rules.retain(|rule| rule.name != "out");
    let plan = plan.rule("hidden", &["+*"], &["trunk:carrier"], |rule| {
        rule.caller = Shown::Anonymous;
    });
    let caller = session("+4930777");
    let route = ask(&plan, &caller, "112").unwrap();
    assert_eq!(route.attempts[1].identity.from_user, "+4930777");
    assert_eq!(route.attempts[1].identity.privacy, None);
}

#[test]
fn a_digit_for_an_outside_line_is_taken_off_what_was_dialled_and_premium_numbers_stay_off() {
    let mut plan = berlin()
        .rule("outside", &["9*"], &["trunk:carrier"], |rule| {
            rule.strip = 1
        })
        .rule("all", &["+*"], &["trunk:backup"], |_| {});
    plan.premium.off = vec![Pattern::parse("+49900*", &plan.numbering).unwrap()];
    let route = ask(&plan, &phone("201"), "9030123456").unwrap();
    assert_eq!(
        (route.name.as_str(), route.number.as_str()),
        ("outside", "+4930123456")
    );
    let route = ask(&plan, &phone("201"), "9 00 1 555 1234567").unwrap();
    assert_eq!(
        (route.name.as_str(), route.number.as_str()),
        ("outside", "+15551234567")
    );
    assert_eq!(
        ask(&plan, &phone("201"), "90900123456").unwrap_err().status,
        403
    );
    // In full it is another number.
    let route = ask(&plan, &phone("201"), "+49309030123456").unwrap();
    assert_eq!(route.name, "all");
}

#[test]
fn no_spelling_makes_a_carrier_dial_another_number_than_was_judged() {
    let mut plan = berlin()
        .rule("all", &["*"], &["trunk:national"], |_| {})
        .rule("outside", &["9*"], &["trunk:national"], |rule| {
            rule.strip = 1
        });
    for (name, form) in [
        ("national", NumberForm::National),
        ("plain", NumberForm::E164),
        ("as-is", NumberForm::AsIs),
    ] {
        plan.trunks.insert(name.into(), TrunkRules { form });
    }
    plan.premium.off = ["+881*", "+49118*", "+49900*"]
        .map(|text| Pattern::parse(text, &plan.numbering).unwrap())
        .into();
    let spellings = [
        "+490881612345678",
        "0049 0881 612345678",
        "tel:00881612345;phone-context=+49",
        "00881612345;x",
        "9 00881612345;x",
        "9 00881612345#",
        "00881612345#",
        "00881612345x",
        "+00881612345",
        "11880",
        "0900123456*",
    ];
    for to in ["national", "plain", "as-is"] {
        for rule in &mut plan.rules {
            rule.to = vec![target(&format!("trunk:{to}"))];
        }
        for dialled in spellings {
            for caller in [phone("201"), session("+4930777")] {
                if let Ok(route) = ask(&plan, &caller, dialled) {
                    // With its country in front it is a number that does not exist, and calls nobody.
                    let users: Vec<&str> = route.attempts.iter().map(|a| a.user.as_str()).collect();
                    let in_full =
                        |user: &&str| user.trim_start_matches(['+', '0']).starts_with("490");
                    assert!(users.iter().all(in_full), "{dialled} by {to}: {users:?}");
                }
            }
        }
        for honest in [
            "+4930123456",
            "030 123456",
            "0171 2345678",
            "0044 20 79460000",
            "201",
        ] {
            assert!(
                ask(&plan, &phone("201"), honest).is_ok(),
                "{honest} by {to}"
            );
        }
    }
}
