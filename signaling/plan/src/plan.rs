//! The plan itself.
//!
//! Of the rules that are for the caller and match the number, the one that matches most closely is taken
//! ([`crate::pattern::Fit`]: the longer beginning), and of equally close ones the first in the file. So the order of rules
//! in a file never hides a rule, and a rule for `+4930*` can stand before or after one for `+49*`.

use crate::ask::{Attempt, Caller, Destination, NoWay, Route, Way};
use crate::identity::{Known, Presented};
use crate::ledger::LimitRule;
use crate::media::MediaProfile;
use crate::numbering::{NumberForm, Numbering, cleaned};
use crate::pattern::Fit;
use crate::premium::Premium;
use crate::rules::{Emergency, MOST_WAYS, Rule, Shown, Target, TrunkRules, Who};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longer is no number and no name; nothing of it is looked at.
const LONGEST_DIALLED: usize = 256;

/// What chooses among trunks by weight.
pub trait Lot {
    /// 0 to `bound` - 1.
    fn below(&mut self, bound: u64) -> u64;
}

/// All rules at one moment. Without any rule there is no way for anybody.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// By the trunk's name.
    pub trunk_media: BTreeMap<String, MediaProfile>,
    /// For phones that registered to us.
    pub phone_media: MediaProfile,
    /// For calls by the SIP accounts that pages bring themselves.
    pub account_media: MediaProfile,
    pub numbering: Numbering,
    /// All trunks that there are, by name.
    pub trunks: BTreeMap<String, TrunkRules>,
    pub rules: Vec<Rule>,
    pub emergency: Emergency,
    pub premium: Premium,
    /// For the ledger ([`crate::Ledger::set_limits`]).
    pub limits: Vec<LimitRule>,
}

/// What was dialled, at each stage of being understood.
struct Dialled {
    /// Without the marks between digits.
    raw: String,
    number: String,
}

impl Plan {
    /// Whether the plan has anything to say of calls of this session; else it dials through its own PBX as it
    /// always did.
    pub fn concerns(&self, caller: &Caller) -> bool {
        match caller {
            Caller::Phone(_) | Caller::Trunk(_) => true,
            Caller::Session { account, .. } if !account.is_empty() => self
                .rules
                .iter()
                .any(|rule| rule.from.iter().any(|who| who.is(caller))),
            Caller::Session { trunks, .. } => {
                !self.rules.is_empty()
                    || !self.emergency.numbers.is_empty()
                    || trunks.as_ref().is_some_and(|trunks| !trunks.is_empty())
            }
        }
    }

    /// The way for what was dialled. `is_up`: whether a line can be used now.
    pub fn route(
        &self,
        caller: &Caller,
        dialled: &str,
        is_up: &dyn Fn(&Destination) -> bool,
        lot: &mut dyn Lot,
    ) -> Way {
        self.route_as(caller, &Presented::default(), dialled, is_up, lot)
    }

    /// The same for a call that came in by SIP and says who calls.
    pub fn route_as(
        &self,
        caller: &Caller,
        presented: &Presented,
        dialled: &str,
        is_up: &dyn Fn(&Destination) -> bool,
        lot: &mut dyn Lot,
    ) -> Way {
        let mut steps = Vec::new();
        let answer = self.find(caller, presented, dialled, is_up, lot, &mut steps);
        if let Err(no) = &answer {
            steps.push(format!("So there is no way: {} {}.", no.status, no.reason));
        }
        Way { answer, steps }
    }

    /// What a call that came in by a trunk has called, as all trunks' calls are compared.
    pub fn number_from(&self, caller: &Caller, dialled: &str) -> String {
        match caller {
            Caller::Trunk(name) => self.numbering.from_trunk(self.form(name), dialled),
            Caller::Session { .. } | Caller::Phone(_) => self.numbering.normalise(dialled),
        }
    }

    /// Whether this is an emergency number: the whole of it, never its beginning.
    pub fn is_emergency(&self, dialled: &str) -> bool {
        let raw = cleaned(dialled);
        // RFC 5031: the service by its name, whatever its number is here.
        let by_name = dialled.trim().to_ascii_lowercase();
        let service = by_name == "urn:service:sos" || by_name.starts_with("urn:service:sos.");
        !self.emergency.numbers.is_empty() && (service || self.emergency.numbers.contains(&raw))
    }

    pub(crate) fn form(&self, trunk: &str) -> NumberForm {
        self.trunks
            .get(trunk)
            .map(|trunk| trunk.form)
            .unwrap_or_default()
    }

    fn find(
        &self,
        caller: &Caller,
        presented: &Presented,
        dialled: &str,
        is_up: &dyn Fn(&Destination) -> bool,
        lot: &mut dyn Lot,
        steps: &mut Vec<String>,
    ) -> Result<Route, NoWay> {
        if dialled.trim().is_empty() || dialled.len() > LONGEST_DIALLED {
            return Err(no_way(484, "What was dialled is no number"));
        }
        let who = Caller::describe(caller);
        steps.push(format!("{who} dials {}.", quoted(dialled)));
        let known = self.known(caller, presented);
        if self.is_emergency(dialled) {
            return self.emergency_route(caller, &known, dialled, is_up, steps);
        }
        let number = self.number_from(caller, dialled);
        // A local number of elsewhere (RFC 3966 §5.1.5) is another one without its context.
        let has_context = dialled.to_ascii_lowercase().contains("phone-context=");
        let dialled = Dialled {
            raw: match has_context {
                true => number.clone(),
                false => cleaned(dialled),
            },
            number,
        };
        steps.push(match dialled.number == dialled.raw {
            true if dialled.number.starts_with('+') => "It is in E.164 already.".to_owned(),
            true => "It is taken as it is: a short number, a name, or a number whose country is not known.".to_owned(),
            false => format!("In E.164 that is {}.", quoted(&dialled.number)),
        });
        let mut by_digits = false;
        let rule = match self.best_rule(caller, &dialled, steps) {
            Some((rule, digits)) => {
                by_digits = digits;
                rule.clone()
            }
            None => match self.given_trunks(caller, &dialled.number) {
                Some(rule) => {
                    steps.push(
                        "No rule is for it, but the session was given trunks of its own."
                            .to_owned(),
                    );
                    rule
                }
                None => {
                    return Err(no_way(404, "The dial plan has no rule for this number"));
                }
            },
        };
        let dialled = self.rewritten(&rule, dialled, by_digits, steps);
        if self.is_emergency(&dialled.number) {
            return self.emergency_route(caller, &known, &dialled.number, is_up, steps);
        }
        self.may_call(caller, &dialled.number, steps)?;
        let attempts = self.attempts(&rule, caller, &known, &dialled, is_up, lot, steps)?;
        steps.push(format!(
            "It may ring {} s altogether; the next way is tried after silence and after {}.",
            rule.ring_s,
            list(rule.next_on.iter())
        ));
        Ok(Route {
            name: rule.name,
            number: dialled.number,
            emergency: false,
            attempts,
            ring_s: rule.ring_s,
            next_on: rule.next_on,
        })
    }

    /// The closest rule, and whether it is for the digits as they were dialled: `9*` means who dials a 9 first, not
    /// numbers of the area that begin so.
    fn best_rule(
        &self,
        caller: &Caller,
        dialled: &Dialled,
        steps: &mut Vec<String>,
    ) -> Option<(&Rule, bool)> {
        let mut found: Vec<((bool, Fit), String, &Rule)> = Vec::new();
        let mut others: Vec<&str> = Vec::new();
        for rule in &self.rules {
            let fits = rule.matches.iter().filter_map(|p| {
                let whole = p.fit(&dialled.number).map(|fit| (false, fit));
                let digits = || p.fit(&dialled.raw).map(|fit| (true, fit));
                Some((whole.or_else(digits)?, p))
            });
            let Some((fit, pattern)) = fits.max_by_key(|(fit, _)| *fit) else {
                continue;
            };
            if is_for(rule, caller) {
                found.push((fit, pattern.to_string(), rule));
            } else {
                others.push(&rule.name);
            }
        }
        // Stable: of equally close ones the first in the file stays first.
        found.sort_by_key(|(fit, ..)| std::cmp::Reverse(*fit));
        if !others.is_empty() {
            steps.push(format!("Not for this caller: {}.", list(others.iter())));
        }
        let mut found = found.into_iter();
        let ((by_digits, _), pattern, rule) = found.next()?;
        steps.push(format!(
            "Rule {} matches {} by {pattern}.",
            quoted(&rule.name),
            if by_digits {
                "the digits as they were dialled"
            } else {
                "it"
            }
        ));
        let rest: Vec<String> = found
            .map(|(_, pattern, rule)| format!("{} ({pattern})", rule.name))
            .collect();
        if !rest.is_empty() {
            steps.push(format!(
                "Less close, or later in the file: {}.",
                list(rest.iter())
            ));
        }
        Some((rule, by_digits))
    }

    /// The way of a session whose application or backend named its trunks, where no rule says anything.
    fn given_trunks(&self, caller: &Caller, number: &str) -> Option<Rule> {
        let Caller::Session {
            account,
            trunks: Some(trunks),
            ..
        } = caller
        else {
            return None;
        };
        let known = trunks.iter().filter(|name| self.trunks.contains_key(*name));
        let to: Vec<Target> = known
            .take(MOST_WAYS)
            .map(|name| Target::To(Destination::Trunk(name.clone())))
            .collect();
        let usable = account.is_empty() && number.starts_with('+') && !to.is_empty();
        usable.then(|| Rule {
            name: "given to the session".to_owned(),
            to,
            ..Rule::default()
        })
    }

    fn rewritten(
        &self,
        rule: &Rule,
        dialled: Dialled,
        by_digits: bool,
        steps: &mut Vec<String>,
    ) -> Dialled {
        if rule.strip == 0 && rule.prefix.is_empty() {
            return dialled;
        }
        // A + is no digit: it goes with the first one.
        let digits = match rule.strip {
            0 => dialled.number.as_str(),
            _ if by_digits => dialled.raw.trim_start_matches('+'),
            _ => dialled.number.trim_start_matches('+'),
        };
        let rest: String = digits.chars().skip(rule.strip).collect();
        let raw = format!("{}{rest}", rule.prefix);
        let number = self.numbering.normalise(&raw);
        steps.push(format!(
            "The rule makes it {}{}.",
            quoted(&raw),
            if raw == number {
                String::new()
            } else {
                format!(", in E.164 {}", quoted(&number))
            }
        ));
        Dialled { raw, number }
    }

    /// What the caller itself may call, and what nobody may.
    fn may_call(
        &self,
        caller: &Caller,
        number: &str,
        steps: &mut Vec<String>,
    ) -> Result<(), NoWay> {
        if let Caller::Session {
            prefixes: Some(prefixes),
            ..
        } = caller
        {
            let begins = prefixes
                .iter()
                .map(|prefix| self.numbering.normalise(prefix))
                .find(|prefix| !prefix.is_empty() && number.starts_with(prefix.as_str()));
            match begins {
                Some(prefix) => steps.push(format!("The session may call {prefix}….")),
                None => {
                    return Err(no_way(
                        403,
                        "This session may not call numbers that begin so",
                    ));
                }
            }
        }
        if let Some(pattern) = self.premium.refuses(number) {
            steps.push(format!(
                "Numbers of {pattern} are premium and off: limits.allowed_premium turns them on."
            ));
            return Err(no_way(403, "Premium numbers are off"));
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn attempts(
        &self,
        rule: &Rule,
        caller: &Caller,
        known: &Known,
        dialled: &Dialled,
        is_up: &dyn Fn(&Destination) -> bool,
        lot: &mut dyn Lot,
        steps: &mut Vec<String>,
    ) -> Result<Vec<Attempt>, NoWay> {
        let mut ways: Vec<(Destination, u32)> = Vec::new();
        let (mut looped, mut forbidden) = (false, false);
        for (at, target) in rule.to.iter().enumerate() {
            let to = match target {
                Target::To(to) => to.clone(),
                Target::PhoneDialled => Destination::Phone(dialled.number.clone()),
                Target::Number => Destination::App {
                    app: String::new(),
                    number: Some(dialled.number.clone()),
                },
            };
            if let (
                Destination::Trunk(name),
                Caller::Session {
                    trunks: Some(given),
                    ..
                },
            ) = (&to, caller)
                && !given.contains(name)
            {
                steps.push(format!("The session may not use {to}."));
                forbidden = true;
                continue;
            }
            if let (Destination::Trunk(name), Caller::Trunk(came_by)) = (&to, caller)
                && name == came_by
                && rule.strip == 0
                && rule.prefix.is_empty()
                && !rule.hairpin
            {
                steps.push(format!("It came by {to}, and would go back there: a loop."));
                looped = true;
                continue;
            }
            let weight = rule.weights.get(at).copied().unwrap_or_default();
            ways.push((to, weight));
        }
        if ways.is_empty() {
            return Err(match (looped, forbidden) {
                (true, _) => no_way(482, "Loop Detected"),
                (false, true) => no_way(403, "This session may use none of the rule's trunks"),
                (false, false) => no_way(404, "The rule names no way"),
            });
        }
        if !rule.weights.is_empty() {
            ways = by_weight(ways, lot, steps);
        }
        // What is down may be up again when its turn comes: it is tried last instead of not at all.
        let (up, down): (Vec<_>, Vec<_>) = ways.into_iter().partition(|(to, _)| is_up(to));
        for (to, _) in &down {
            steps.push(format!("{to} is down now, so it is tried last."));
        }
        let mut refused = None;
        let mut usable = Vec::new();
        for (to, weight) in up.into_iter().chain(down) {
            match self.is_judged(caller, &to, dialled, steps) {
                Ok(()) => usable.push((to, weight)),
                Err(no) => refused = Some(no),
            }
        }
        if let (true, Some(no)) = (usable.is_empty(), refused) {
            return Err(no);
        }
        let attempts: Vec<Attempt> = usable
            .into_iter()
            .take(MOST_WAYS)
            .map(|(to, _)| {
                let identity = self.identity(rule, known, &to, &dialled.number);
                let user = self.user(&to, dialled);
                Attempt {
                    to,
                    user,
                    identity,
                    attempt_ms: rule.attempt_ms,
                }
            })
            .collect();
        for (at, attempt) in attempts.iter().enumerate() {
            steps.push(format!("Way {}: {attempt}", at + 1));
        }
        Ok(attempts)
    }

    /// Whether what a trunk would be asked for is what the rules and limits have judged: a carrier may read a spelling
    /// otherwise than we do, and what it reads is what is paid for.
    fn is_judged(
        &self,
        caller: &Caller,
        to: &Destination,
        dialled: &Dialled,
        steps: &mut Vec<String>,
    ) -> Result<(), NoWay> {
        let Destination::Trunk(name) = to else {
            return Ok(());
        };
        let user = self.user(to, dialled);
        let mut other = |why: &str| {
            steps.push(format!(
                "{to} could read {} otherwise: {why}.",
                quoted(&user)
            ));
            Err(no_way(
                484,
                "What was dialled could be read as another number",
            ))
        };
        if dialled.number.starts_with("+0") {
            return other("no country begins with 0");
        }
        if user.contains([';', '?']) {
            return other("it has parameters");
        }
        let international = &self.numbering.international;
        let goes_abroad = !international.is_empty() && user.starts_with(international.as_str());
        let again = self.numbering.normalise(&user);
        if goes_abroad && again != dialled.number {
            return other("it begins as numbers abroad do");
        }
        let as_is = self.form(name) == NumberForm::AsIs && !matches!(caller, Caller::Trunk(_));
        if as_is && again != dialled.number {
            return other("written as it was dialled it is another number");
        }
        // What stands behind digits is not always heard, and short numbers have their country, too.
        let head: String = user
            .chars()
            .take_while(|c| c.is_ascii_digit() || *c == '+')
            .collect();
        let mut spellings = Vec::new();
        if head != user && head.len() >= SHORTEST_PREMIUM {
            spellings.push(self.numbering.normalise(&head));
        }
        if head == user && !dialled.number.starts_with('+') && head.len() >= SHORTEST_PREMIUM {
            spellings.push(format!("+{}{head}", self.numbering.country));
        }
        spellings
            .iter()
            .try_for_each(|number| self.may_call(caller, number, steps))
    }

    fn user(&self, to: &Destination, dialled: &Dialled) -> String {
        match to {
            Destination::Trunk(name) => match self.form(name) {
                NumberForm::AsIs => dialled.raw.clone(),
                form => self.numbering.for_trunk(form, &dialled.number),
            },
            Destination::Phone(_) | Destination::App { .. } | Destination::Account(_) => {
                dialled.number.clone()
            }
        }
    }

    /// Who calls for help is shown by the number that the rules give it towards this trunk, else towards any: an
    /// extension alone would be nobody, and nobody could call back.
    fn shown_in_need(&self, caller: &Caller, to: &Destination) -> Rule {
        let numbered = |rule: &&Rule| matches!(rule.caller, Shown::Number(_) | Shown::Extension(_));
        let leads_there = |rule: &&Rule| rule.to.contains(&Target::To(to.clone()));
        let mine = || {
            self.rules
                .iter()
                .filter(|rule| is_for(rule, caller))
                .filter(numbered)
        };
        let rule = mine().find(leads_there).or_else(|| mine().next());
        Rule {
            caller: rule.map(|rule| rule.caller.clone()).unwrap_or_default(),
            ..Rule::default()
        }
    }

    fn emergency_route(
        &self,
        caller: &Caller,
        known: &Known,
        dialled: &str,
        is_up: &dyn Fn(&Destination) -> bool,
        steps: &mut Vec<String>,
    ) -> Result<Route, NoWay> {
        let raw = cleaned(dialled);
        let number = match self.emergency.numbers.contains(&raw) {
            true => raw,
            false => self.emergency.numbers.first().cloned().unwrap_or(raw),
        };
        steps.push(format!(
            "{number} is an emergency number: no other rule and no limit is asked."
        ));
        let is_known = match caller {
            Caller::Session {
                account,
                number,
                trunks,
                ..
            } => !account.is_empty() || !number.is_empty() || trunks.is_some(),
            Caller::Phone(_) => true,
            Caller::Trunk(name) => self.emergency.from_trunks.contains(name),
        };
        if !is_known {
            return Err(no_way(
                403,
                "Emergency numbers are for callers that have signed in",
            ));
        }
        // From and P-Asserted-Identity are how they find and call back who needs help: nothing is hidden.
        let shown = known.open();
        let dialled = Dialled {
            raw: number.clone(),
            number: number.clone(),
        };
        let came_by = |name: &String| matches!(caller, Caller::Trunk(trunk) if trunk == name);
        let ways = self.emergency.trunks.iter().filter(|name| !came_by(name));
        let ways = ways.map(|name| Destination::Trunk(name.clone()));
        let (up, down): (Vec<_>, Vec<_>) = ways.partition(|to| is_up(to));
        let attempts: Vec<Attempt> = up
            .into_iter()
            .chain(down)
            .map(|to| Attempt {
                identity: self.identity(&self.shown_in_need(caller, &to), &shown, &to, &number),
                user: self.user(&to, &dialled),
                to,
                attempt_ms: 0,
            })
            .collect();
        if attempts.is_empty() {
            return Err(no_way(503, "No trunk is there for emergency calls"));
        }
        for (at, attempt) in attempts.iter().enumerate() {
            steps.push(format!("Way {}: {attempt}", at + 1));
        }
        Ok(Route {
            name: "emergency".to_owned(),
            number,
            emergency: true,
            attempts,
            ring_s: EMERGENCY_RING_S,
            // Whatever a trunk says against it, another one may take it; 487 is the caller's own.
            next_on: (300..700).filter(|status| *status != 487).collect(),
        })
    }
}

/// Shorter ones are extensions, and cost nothing.
const SHORTEST_PREMIUM: usize = 5;

/// Emergency desks may take long at bad times.
const EMERGENCY_RING_S: u32 = 180;

/// Drawn one after the other, each by its weight among those left; those of weight 0 at the end, in order.
fn by_weight(
    ways: Vec<(Destination, u32)>,
    lot: &mut dyn Lot,
    steps: &mut Vec<String>,
) -> Vec<(Destination, u32)> {
    let all: u64 = ways.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let shares = ways
        .iter()
        .map(|(to, weight)| format!("{to} {weight} of {all}"));
    let shares: Vec<String> = shares.collect();
    steps.push(format!("Drawn by weight: {}.", list(shares.iter())));
    let (mut left, last): (Vec<_>, Vec<_>) = ways.into_iter().partition(|(_, weight)| *weight > 0);
    let mut order = Vec::new();
    while !left.is_empty() {
        let sum: u64 = left.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut drawn = lot.below(sum);
        let at = left
            .iter()
            .position(|(_, weight)| {
                let weight = u64::from(*weight);
                let here = drawn < weight;
                drawn = drawn.saturating_sub(weight);
                here
            })
            .unwrap_or_default();
        order.push(left.remove(at));
    }
    order.extend(last);
    order
}

fn no_way(status: u16, reason: &str) -> NoWay {
    NoWay {
        status,
        reason: reason.to_owned(),
    }
}

/// What comes from outside, on one line.
fn quoted(text: &str) -> String {
    format!("“{}”", text.trim().escape_debug())
}

fn list<T: std::fmt::Display>(items: impl Iterator<Item = T>) -> String {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    match items.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

fn is_for(rule: &Rule, caller: &Caller) -> bool {
    match rule.from.as_slice() {
        [] => Who::usual(caller),
        some => some.iter().any(|who| who.is(caller)),
    }
}
