//! The sections of the dial plan: `[numbers]`, `[[route]]`, `[[inbound]]`, `[emergency]` and `[limits]`.

use super::read::{Reader, Shown, nearest};
use super::trunks::{self, Trunk};
use super::values;
use signaling_plan::{
    Asserted, Destination, Emergency, LimitRule, MOST_WAYS, NEXT_ON, NOBODY_THERE, Numbering,
    Pattern, Plan, Premium, RING_S, Rule, Scope, Shown as Caller, Target, TrunkRules,
    USUAL_PREMIUM, Who, cleaned, is_number,
};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// More of them are a program's, not a person's, and every call looks at each.
const MOST_RULES: usize = 10_000;

pub fn read_plan(reader: &mut Reader, trunks: &[Trunk]) -> Option<Plan> {
    let phone_media = trunks::read_media(reader, &|key| format!("phones.{key}"));
    let account_media = trunks::read_media(reader, &|key| format!("accounts.{key}"));
    let numbering = read_numbering(reader);
    // Patterns are normalised as numbers are. Where that is wrong, which was told, the rules are read all the same, so that
    // nobody is told that they are no settings.
    let numbering = numbering.unwrap_or_default();
    let known = Known {
        // Those that are not right are named all the same.
        trunks: reader.sections("trunk").into_iter().collect(),
        numbering: &numbering,
    };
    let mut rules = Vec::new();
    for (array, inbound) in [("route", false), ("inbound", true)] {
        for n in numbers_of(reader, array)? {
            rules.push(read_rule(reader, &format!("{array}[{n}]"), inbound, &known));
        }
    }
    let emergency = read_emergency(reader, &known);
    let premium = read_premium(reader, &numbering);
    let mut limits: Vec<Option<LimitRule>> = Vec::new();
    for n in numbers_of(reader, "limits.rule")? {
        limits.push(read_limit(reader, &format!("limits.rule[{n}]"), &known));
    }
    let mut limits = limits.into_iter().collect::<Option<Vec<_>>>();
    if let Some(limits) = &mut limits {
        let of_trunks = trunks.iter().map(|trunk| LimitRule {
            scope: Scope::Trunk(trunk.spec.name.clone()),
            calls_per_second: trunk.calls_per_second,
            calls: trunk.max_calls,
            minutes_per_day: trunk.minutes_per_day,
        });
        limits.extend(
            of_trunks
                .filter(|limit| limit.calls_per_second + limit.calls + limit.minutes_per_day > 0),
        );
    }
    let rules_of = |trunk: &Trunk| {
        let form = trunk.numbers;
        (trunk.spec.name.clone(), TrunkRules { form })
    };
    Some(Plan {
        trunk_media: trunks::media_by_name(trunks),
        phone_media: phone_media?,
        account_media: account_media?,
        trunks: trunks.iter().map(rules_of).collect(),
        rules: rules.into_iter().collect::<Option<_>>()?,
        emergency: emergency?,
        premium: premium?,
        limits: limits?,
        numbering,
    })
}

struct Known<'a> {
    trunks: BTreeSet<String>,
    numbering: &'a Numbering,
}

impl Known<'_> {
    fn trunk(&self, name: &str) -> Result<String, String> {
        if self.trunks.contains(name) {
            return Ok(name.to_owned());
        }
        Err(match nearest(name, &self.trunks) {
            Some(near) => format!("names no trunk of ours; did you mean {near}?"),
            None => format!("names no trunk of ours: there is no [trunk.{name}]"),
        })
    }

    /// `+4930123456`, or as people here dial it.
    fn number(&self, text: &str) -> Result<String, String> {
        let number = self.numbering.normalise(text);
        if number.starts_with('+') {
            Ok(number)
        } else {
            Err("is no number with its country, such as +4930123456".to_owned())
        }
    }
}

fn numbers_of(reader: &mut Reader, array: &str) -> Option<Vec<usize>> {
    let numbers = reader.entries(array);
    if numbers.len() <= MOST_RULES {
        return Some(numbers);
    }
    reader
        .complaints
        .push(format!("There are more than {MOST_RULES} [[{array}]]."));
    None
}

fn read_numbering(reader: &mut Reader) -> Option<Numbering> {
    let digits = |most: usize| {
        move |text: &str| match text.len() <= most && text.bytes().all(|b| b.is_ascii_digit()) {
            true => Ok(text.to_owned()),
            false => Err(format!("is not up to {most} digits")),
        }
    };
    let prefix = |text: &str| match text {
        "auto" => Ok(None),
        text => digits(6)(text).map(Some),
    };
    let country = reader.text("numbers.country", "", Shown::Plainly, |text| {
        digits(3)(text.trim_start_matches('+'))
    });
    let area = reader.text("numbers.area", "", Shown::Plainly, digits(8));
    let international = reader.text("numbers.international", "auto", Shown::Plainly, prefix);
    let national = reader.text("numbers.national", "auto", Shown::Plainly, prefix);
    let country = country?;
    let (usual_international, usual_national) = Numbering::usual_prefixes(&country);
    Some(Numbering {
        area: area?,
        international: international?.unwrap_or_else(|| usual_international.to_owned()),
        national: national?.unwrap_or_else(|| usual_national.to_owned()),
        country,
    })
}

fn read_rule(reader: &mut Reader, entry: &str, inbound: bool, known: &Known<'_>) -> Option<Rule> {
    let key = |key: &str| format!("{entry}.{key}");
    let number = |text: &str| known.number(text);
    let pattern = |text: &str| Pattern::parse(text, known.numbering);
    let name = reader.text(&key("name"), "", Shown::Plainly, rule_name);
    let from = if inbound {
        let trunks = reader.list(&key("trunk"), &[], |text| match text {
            "*" => Ok(Who::Trunk(None)),
            name => known.trunk(name).map(|name| Who::Trunk(Some(name))),
        });
        if trunks.as_ref().is_some_and(Vec::is_empty) {
            missing(
                reader,
                entry,
                "needs a trunk: trunk = \"carrier\", or \"*\" for all",
            );
        }
        trunks
    } else {
        reader.list(&key("from"), &[], |text| who(text, known))
    };
    let matches = if inbound {
        reader.list(&key("match"), &["*"], pattern)
    } else {
        reader.list(&key("match"), &[], pattern)
    };
    if matches.as_ref().is_some_and(Vec::is_empty) {
        missing(
            reader,
            entry,
            "needs a match: match = [\"+49*\"], or \"*\" for all numbers",
        );
    }
    let to = reader.list(&key("to"), &[], |text| target(text, known));
    let weighted = read_weights(reader, entry, known);
    let caller = reader.text(&key("caller"), "keep", Shown::Plainly, |text| match text {
        "keep" => Ok(Caller::Keep),
        "anonymous" => Ok(Caller::Anonymous),
        text => match text.strip_suffix('*') {
            Some(head) => number(head).map(Caller::Extension),
            None => number(text).map(Caller::Number),
        }
        .map_err(|why| format!("is neither \"keep\" nor \"anonymous\", and {why}")),
    });
    let asserted = reader.text(
        &key("asserted"),
        "caller",
        Shown::Plainly,
        |text| match text {
            "caller" => Ok(Asserted::Caller),
            "off" => Ok(Asserted::Off),
            text => number(text)
                .map(Asserted::Number)
                .map_err(|why| format!("is neither \"caller\" nor \"off\", and {why}")),
        },
    );
    let diversion = reader.flag(&key("diversion"), false);
    let strip = reader.integer(&key("strip"), 0, 0..=20, " digits");
    let prefix = reader.text(&key("prefix"), "", Shown::Plainly, |text| {
        match text.is_empty() || (is_number(text) && cleaned(text) == text && text.len() <= 20) {
            true => Ok(text.to_owned()),
            false => Err("is not up to 20 digits".to_owned()),
        }
    });
    let ring = reader.integer(&key("ring"), RING_S.into(), 5..=600, " seconds");
    let attempt = reader.integer(&key("attempt_ms"), 0, 0..=32_000, " milliseconds");
    let hairpin = reader.flag(&key("hairpin"), false);
    let next_on = reader.integers(&key("next_on"), 300..=699);
    let (mut to, mut weights) = (to?, Vec::new());
    match weighted? {
        weighted if to.is_empty() && weighted.is_empty() => {
            missing(reader, entry, "goes nowhere: to = [\"trunk:carrier\"]");
        }
        weighted if to.is_empty() => {
            (to, weights) = weighted.into_iter().unzip();
        }
        weighted if !weighted.is_empty() => {
            missing(
                reader,
                entry,
                "has to and weights; the one is in order, the other by chance",
            );
        }
        _ => {}
    }
    if to.len() > MOST_WAYS {
        missing(reader, entry, &format!("names more than {MOST_WAYS} ways"));
    }
    let only_trunks = to
        .iter()
        .all(|to| matches!(to, Target::To(Destination::Trunk(_))));
    let usual = || match only_trunks {
        true => NEXT_ON.to_vec(),
        false => [&NEXT_ON[..], &NOBODY_THERE].concat(),
    };
    let name = name?;
    Some(Rule {
        name: match name.is_empty() {
            true => entry.to_owned(),
            false => name,
        },
        from: from?,
        matches: matches?,
        to,
        weights,
        caller: caller?,
        asserted: asserted?,
        diversion: diversion?,
        strip: usize::try_from(strip?).ok()?,
        prefix: prefix?,
        ring_s: u32::try_from(ring?).ok()?,
        attempt_ms: u32::try_from(attempt?).ok()?,
        next_on: match next_on? {
            Some(statuses) => statuses
                .into_iter()
                .filter_map(|s| u16::try_from(s).ok())
                .collect(),
            None => usual(),
        },
        hairpin: hairpin?,
    })
}

/// `weights = { carrier = 3, backup = 1 }`.
fn read_weights(reader: &mut Reader, entry: &str, known: &Known<'_>) -> Option<Vec<(Target, u32)>> {
    let table = format!("{entry}.weights");
    let mut weights = Some(Vec::new());
    for name in reader.keys_of(&table) {
        let key = format!("{table}.{name}");
        let weight = reader.integer(&key, 1, 0..=1_000_000, "");
        let trunk = known.trunk(&name);
        if let Err(why) = &trunk {
            let place = reader.place(&key);
            reader.complaints.push(format!("{key}{place} {why}."));
        }
        weights = match (weights, weight, trunk) {
            (Some(mut weights), Some(weight), Ok(trunk)) => {
                let weight = u32::try_from(weight).ok()?;
                weights.push((Target::To(Destination::Trunk(trunk)), weight));
                Some(weights)
            }
            _ => None,
        };
    }
    weights
}

fn read_emergency(reader: &mut Reader, known: &Known<'_>) -> Option<Emergency> {
    let numbers = reader.list("emergency.numbers", &[], |text| {
        match !text.is_empty() && text.len() <= 8 && text.bytes().all(|b| b.is_ascii_digit()) {
            true => Ok(text.to_owned()),
            false => Err("is not a short number as it is dialled, such as 112".to_owned()),
        }
    });
    let trunk = |text: &str| known.trunk(text.strip_prefix("trunk:").unwrap_or(text));
    let trunks = reader.list("emergency.trunks", &[], trunk);
    let from_trunks = reader.list("emergency.from_trunks", &[], trunk);
    let alarm_after = reader.integer("emergency.alarm_after", 5, 0..=1_000_000, " calls");
    let (numbers, trunks) = (numbers?, trunks?);
    if !numbers.is_empty() && trunks.is_empty() {
        let place = reader.place("emergency.numbers");
        reader.complaints.push(format!(
            "emergency.numbers{place} lead nowhere without emergency.trunks."
        ));
    }
    Some(Emergency {
        numbers,
        trunks,
        from_trunks: from_trunks?,
        alarm_after: u32::try_from(alarm_after?).ok()?,
    })
}

fn read_premium(reader: &mut Reader, numbering: &Numbering) -> Option<Premium> {
    let beginning = |text: &str| {
        let open = format!("{}*", text.trim_end_matches('*'));
        Pattern::parse(&open, numbering)
    };
    let off = reader.list("limits.premium", USUAL_PREMIUM, beginning);
    let allowed = reader.list("limits.allowed_premium", &[], beginning);
    Some(Premium {
        off: off?,
        allowed: allowed?,
    })
}

fn read_limit(reader: &mut Reader, entry: &str, known: &Known<'_>) -> Option<LimitRule> {
    type Make = fn(String) -> Scope;
    let key = |key: &str| format!("{entry}.{key}");
    let make = reader.text(&key("scope"), "", Shown::Plainly, |text| {
        let make: Make = match text {
            "token" => Scope::Token,
            "account" => Scope::Account,
            "trunk" => Scope::Trunk,
            "prefix" => Scope::Prefix,
            "source" => Scope::Source,
            _ => {
                return Err(
                    "is none of \"token\", \"account\", \"trunk\", \"prefix\" and \"source\""
                        .to_owned(),
                );
            }
        };
        Ok((make, text.to_owned()))
    });
    let scope = match &make {
        None => {
            reader.know(&key("match"));
            None
        }
        Some((make, kind)) => reader.text(&key("match"), LimitRule::EACH, Shown::Plainly, |text| {
            let name = match (kind.as_str(), text) {
                (_, LimitRule::EACH) => text.to_owned(),
                ("token", _) => {
                    return Err(
                        "can only be \"*\" for tokens, which are drawn anew for each session"
                            .to_owned(),
                    );
                }
                ("trunk", name) => known.trunk(name)?,
                ("prefix", text) => {
                    let open = format!("{}*", text.trim_end_matches('*'));
                    let pattern = Pattern::parse(&open, known.numbering)?.to_string();
                    let head = pattern.trim_end_matches('*');
                    if head.contains('X') || head.is_empty() {
                        return Err("is not the beginning of numbers, such as +49".to_owned());
                    }
                    head.to_owned()
                }
                ("source", text) => source(text)?,
                (_, text) => text.to_owned(),
            };
            Ok(make(name))
        }),
    };
    if matches!(&scope, Some(Scope::Prefix(prefix)) if prefix == LimitRule::EACH) {
        missing(
            reader,
            entry,
            "must name the beginning of numbers: match = \"+49\"",
        );
    }
    let mut limit = |what: &str| {
        let n = reader.integer(&key(what), 0, 0..=1_000_000, "")?;
        u32::try_from(n).ok()
    };
    let calls_per_second = limit("calls_per_second");
    let calls = limit("calls");
    let minutes_per_day = limit("minutes_per_day");
    let limit = LimitRule {
        scope: scope?,
        calls_per_second: calls_per_second?,
        calls: calls?,
        minutes_per_day: minutes_per_day?,
    };
    if limit.calls_per_second + limit.calls + limit.minutes_per_day == 0 {
        missing(
            reader,
            entry,
            "limits nothing: calls_per_second, calls or minutes_per_day",
        );
    }
    Some(limit)
}

/// An address; of IPv6 its /64, which is one subscriber, as the calls write it.
fn source(text: &str) -> Result<String, String> {
    Ok(match values::ip(text.trim_end_matches("/64"))? {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    })
}

fn who(text: &str, known: &Known<'_>) -> Result<Who, String> {
    const FORM: &str =
        "is none of app:KEY, account:USER@DOMAIN, phone:USER and trunk:NAME, * for all of a kind";
    let (kind, name) = text.split_once(':').ok_or(FORM)?;
    let name = match name {
        "" => return Err(FORM.to_owned()),
        "*" => None,
        name => Some(name.to_owned()),
    };
    match (kind, name) {
        ("app", name) => Ok(Who::App(name)),
        ("account", name) => Ok(Who::Account(name)),
        ("phone", name) => Ok(Who::Phone(name)),
        ("trunk", Some(name)) => known.trunk(&name).map(|name| Who::Trunk(Some(name))),
        ("trunk", None) => Ok(Who::Trunk(None)),
        _ => Err(FORM.to_owned()),
    }
}

fn target(text: &str, known: &Known<'_>) -> Result<Target, String> {
    const FORM: &str = "is none of trunk:NAME, phone:USER, phone:* (the one whose name was dialled), \
                        account:USER@DOMAIN, app:KEY and number (the session that has the number)";
    if text == "number" {
        return Ok(Target::Number);
    }
    let (kind, name) = text.split_once(':').ok_or(FORM)?;
    if name.is_empty() || (name == "*" && kind != "phone") {
        return Err(FORM.to_owned());
    }
    let name = name.to_owned();
    Ok(match kind {
        "trunk" => Target::To(Destination::Trunk(known.trunk(&name)?)),
        "phone" if name == "*" => Target::PhoneDialled,
        "phone" => Target::To(Destination::Phone(name)),
        "account" => Target::To(Destination::Account(name)),
        "app" => Target::To(Destination::App {
            app: name,
            number: None,
        }),
        _ => return Err(FORM.to_owned()),
    })
}

fn rule_name(text: &str) -> Result<String, String> {
    match text.len() <= 64 && !text.chars().any(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err("is longer than 64 bytes, or has control characters".to_owned()),
    }
}

fn missing(reader: &mut Reader, entry: &str, what: &str) {
    let place = reader.place_of_section(entry);
    reader.complaints.push(format!("{entry}{place} {what}."));
}
