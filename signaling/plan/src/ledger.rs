//! What calls may cost: calls per second, calls at once and minutes a day, for whoever and wherever.
//!
//! *Per second* is strict: in no second more calls begin than allowed, so that a carrier who counts sees no burst.
//! *At once* counts from the first attempt to the end. *Minutes a day* are those of answered calls in the last 24
//! hours, by the hour; calls that go on count as they go. When they are used up new calls are refused, those that go on
//! are not cut: the limit is passed by at most what they still talk.

use serde::{Deserialize, Serialize};
use signaling_sip::time::Instant;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Whose calls are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// A session's token, by its hash.
    Token(String),
    /// A SIP account, a phone, or an application's number.
    Account(String),
    Trunk(String),
    /// In a limit: the beginning of numbers. Of a call: the number, which is then in every limit that it begins with.
    Prefix(String),
    /// An address, of IPv6 the /64.
    Source(String),
}

impl Scope {
    fn name(&self) -> &str {
        match self {
            Scope::Token(name)
            | Scope::Account(name)
            | Scope::Trunk(name)
            | Scope::Prefix(name)
            | Scope::Source(name) => name,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Scope::Token(_) => "session",
            Scope::Account(_) => "account",
            Scope::Trunk(_) => "trunk",
            Scope::Prefix(_) => "prefix",
            Scope::Source(_) => "address",
        }
    }
}

/// How much one scope may; 0: as much as it likes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitRule {
    /// Whom it is for; with the name [`LimitRule::EACH`] each of that kind by itself, where no limit names it.
    pub scope: Scope,
    #[serde(default)]
    pub calls_per_second: u32,
    #[serde(default)]
    pub calls: u32,
    #[serde(default)]
    pub minutes_per_day: u32,
}

impl LimitRule {
    pub const EACH: &str = "*";
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LimitKind {
    PerSecond,
    AtOnce,
    MinutesPerDay,
    /// The number is premium and not listed.
    Premium,
}

/// A call that was let through, until it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ticket(pub u64);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub scope: Option<Scope>,
    pub kind: LimitKind,
    /// SIP status and words for people.
    pub status: u16,
    pub reason: String,
    /// Seconds after which it may work.
    pub retry_after_s: Option<u32>,
}

/// The books. Bounded: [`Ledger::MAX_SCOPES`] scopes are remembered, the least recently used idle one makes room;
/// where none is idle a call is refused. Tickets are as many as calls, which their owner bounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    next: u64,
    limits: Vec<LimitRule>,
    books: BTreeMap<Scope, Book>,
    /// Books without a running call, the least recently used first.
    idle: BTreeSet<(Instant, Scope)>,
    tickets: BTreeMap<Ticket, Booking>,
    /// Emergency calls that go on.
    emergencies: u32,
    alarm_after: u32,
    /// How often that was passed.
    alarms: u64,
}

/// One scope.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Book {
    /// Calls that go on.
    running: u32,
    /// Of those the answered ones, and the sum of their answers' times in microseconds: what they have talked is
    /// `answered` × now - `answered_sum`.
    answered: u32,
    answered_sum: u128,
    /// Calls that began, by tenths of a second; what is older than a second is gone.
    begun: VecDeque<(u64, u32)>,
    /// Microseconds talked, by hours; what is older than a day is gone.
    talked: VecDeque<(u64, u64)>,
    used: Instant,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Booking {
    scopes: Vec<Scope>,
    answered: Option<Instant>,
    emergency: bool,
}

const SECOND: u64 = 1_000_000;
const TENTH: u64 = SECOND / 10;
const HOUR: u64 = 3600 * SECOND;
const HOURS: u64 = 24;

impl Ledger {
    pub const MAX_SCOPES: usize = 100_000;

    /// The limits from now on; what is booked stays booked.
    pub fn set_limits(&mut self, limits: &[LimitRule], emergency_alarm_after: u32) {
        self.limits = limits.to_vec();
        self.alarm_after = emergency_alarm_after;
    }

    /// A call begins. Nothing is booked if it is refused.
    pub fn begin(&mut self, scopes: &[Scope], now: Instant) -> Result<Ticket, Refused> {
        let mut scopes = self.with_prefixes(scopes);
        scopes.sort();
        scopes.dedup();
        for scope in &scopes {
            if let (Some(limit), Some(book)) = (self.limit_of(scope), self.books.get(scope)) {
                book.check(scope, limit, now)?;
            }
        }
        self.make_room(&scopes)?;
        Ok(self.book(scopes, now))
    }

    /// An emergency call begins: it is counted and never refused. `true`: with it there are more at once than the
    /// operator thinks likely, which somebody should be told.
    pub fn begin_emergency(&mut self, now: Instant) -> (Ticket, bool) {
        self.emergencies = self.emergencies.saturating_add(1);
        let alarm = self.alarm_after > 0 && self.emergencies > self.alarm_after;
        self.alarms += u64::from(alarm);
        let ticket = self.begin_anyway(&[], now);
        if let Some(booking) = self.tickets.get_mut(&ticket) {
            booking.emergency = true;
        }
        (ticket, alarm)
    }

    /// What an emergency call uses besides, its caller and its line: counted, whatever the limits say.
    pub fn begin_anyway(&mut self, scopes: &[Scope], now: Instant) -> Ticket {
        let mut scopes = self.with_prefixes(scopes);
        scopes.sort();
        scopes.dedup();
        if self.make_room(&scopes).is_err() {
            scopes.clear();
        }
        self.book(scopes, now)
    }

    /// Emergency calls that go on, and how many began above the alarm.
    pub fn emergencies(&self) -> (u32, u64) {
        (self.emergencies, self.alarms)
    }

    /// From now on its minutes count.
    pub fn answered(&mut self, ticket: Ticket, now: Instant) {
        let Some(booking) = self.tickets.get_mut(&ticket) else {
            return;
        };
        if booking.answered.is_some() {
            return;
        }
        booking.answered = Some(now);
        for scope in &booking.scopes {
            if let Some(book) = self.books.get_mut(scope) {
                book.answered += 1;
                book.answered_sum += u128::from(now.0);
            }
        }
    }

    pub fn ended(&mut self, ticket: Ticket, now: Instant) {
        let Some(booking) = self.tickets.remove(&ticket) else {
            return;
        };
        if booking.emergency {
            self.emergencies = self.emergencies.saturating_sub(1);
        }
        for scope in booking.scopes {
            let limited = self.limit_of(&scope).is_some();
            let Some(book) = self.books.get_mut(&scope) else {
                continue;
            };
            book.running = book.running.saturating_sub(1);
            if let Some(since) = booking.answered {
                book.answered = book.answered.saturating_sub(1);
                book.answered_sum = book.answered_sum.saturating_sub(u128::from(since.0));
                book.talked(since, now);
            }
            if book.running > 0 {
                continue;
            }
            if limited {
                book.used = now;
                self.idle.insert((now, scope));
            } else {
                self.books.remove(&scope);
            }
        }
    }

    /// The same with the prefixes that limits name instead of numbers.
    fn with_prefixes(&self, scopes: &[Scope]) -> Vec<Scope> {
        let mut all = Vec::with_capacity(scopes.len());
        for scope in scopes {
            let Scope::Prefix(number) = scope else {
                all.push(scope.clone());
                continue;
            };
            let named = self.limits.iter().map(|limit| &limit.scope);
            let begins =
                |limit: &&Scope| matches!(limit, Scope::Prefix(head) if number.starts_with(head));
            all.extend(named.filter(begins).cloned());
        }
        all
    }

    /// The limit that names it, else the one for each of its kind.
    fn limit_of(&self, scope: &Scope) -> Option<&LimitRule> {
        let each = |limit: &&LimitRule| {
            limit.scope.name() == LimitRule::EACH
                && std::mem::discriminant(&limit.scope) == std::mem::discriminant(scope)
        };
        let named = self.limits.iter().find(|limit| limit.scope == *scope);
        named.or_else(|| self.limits.iter().find(each))
    }

    fn make_room(&mut self, scopes: &[Scope]) -> Result<(), Refused> {
        let new = scopes
            .iter()
            .filter(|s| !self.books.contains_key(*s))
            .count();
        while self.books.len() + new > Self::MAX_SCOPES {
            // One that this very call needs would only be made again, with nothing in it.
            let oldest = self.idle.iter().find(|(_, scope)| !scopes.contains(scope));
            let Some(oldest) = oldest.cloned() else {
                return Err(Refused {
                    scope: None,
                    kind: LimitKind::AtOnce,
                    status: 503,
                    reason: "More callers at once than can be counted".to_owned(),
                    retry_after_s: Some(10),
                });
            };
            self.books.remove(&oldest.1);
            self.idle.remove(&oldest);
        }
        Ok(())
    }

    fn book(&mut self, scopes: Vec<Scope>, now: Instant) -> Ticket {
        for scope in &scopes {
            let book = self.books.entry(scope.clone()).or_default();
            if book.running == 0 {
                self.idle.remove(&(book.used, scope.clone()));
            }
            book.running += 1;
            book.begins(now);
        }
        self.next += 1;
        let ticket = Ticket(self.next);
        let booking = Booking {
            scopes,
            answered: None,
            emergency: false,
        };
        self.tickets.insert(ticket, booking);
        ticket
    }
}

impl Book {
    fn check(&self, scope: &Scope, limit: &LimitRule, now: Instant) -> Result<(), Refused> {
        let (kind, name) = (scope.kind(), scope.name());
        let refused = |limit: LimitKind, status, reason, retry_after_s| Refused {
            scope: Some(scope.clone()),
            kind: limit,
            status,
            reason,
            retry_after_s,
        };
        // What a trunk or a destination has room for is 503, so that another trunk is tried; what a caller may is
        // about this caller alone.
        let of_caller = |status| match scope {
            Scope::Trunk(_) | Scope::Prefix(_) => 503,
            Scope::Token(_) | Scope::Account(_) | Scope::Source(_) => status,
        };
        // Tokens and addresses are not for the other side to read.
        let whose = match scope {
            Scope::Token(_) | Scope::Source(_) => format!("this {kind}"),
            Scope::Account(_) | Scope::Trunk(_) | Scope::Prefix(_) => format!("{kind} {name}"),
        };
        if limit.calls_per_second > 0
            && self.in_last_second(now) >= u64::from(limit.calls_per_second)
        {
            let reason = format!("Too many calls a second for {whose}");
            return Err(refused(LimitKind::PerSecond, 503, reason, Some(1)));
        }
        if limit.calls > 0 && self.running >= limit.calls {
            let reason = format!("Too many calls at once for {whose}");
            return Err(refused(LimitKind::AtOnce, of_caller(480), reason, None));
        }
        let most = u128::from(limit.minutes_per_day) * 60 * u128::from(SECOND);
        if limit.minutes_per_day > 0 && self.in_last_day(now) >= most {
            let reason = format!("The minutes a day of {whose} are used up");
            return Err(refused(
                LimitKind::MinutesPerDay,
                of_caller(403),
                reason,
                None,
            ));
        }
        Ok(())
    }

    fn begins(&mut self, now: Instant) {
        let slot = now.0 / TENTH;
        match self.begun.back_mut() {
            Some((last, count)) if *last == slot => *count += 1,
            _ => self.begun.push_back((slot, 1)),
        }
        while self.begun.front().is_some_and(|(old, _)| old + 10 < slot) {
            self.begun.pop_front();
        }
    }

    /// The tenth that has just begun and the ten before it: never less than a second.
    fn in_last_second(&self, now: Instant) -> u64 {
        let slot = now.0 / TENTH;
        let recent = self.begun.iter().filter(|(at, _)| at + 10 >= slot);
        recent.map(|(_, count)| u64::from(*count)).sum()
    }

    /// Books a call's talk to the hours in which it was.
    fn talked(&mut self, since: Instant, until: Instant) {
        let since = since.0.max(until.0.saturating_sub(HOURS * HOUR));
        let mut at = since;
        while at < until.0 {
            let hour = at / HOUR;
            let end = ((hour + 1) * HOUR).min(until.0);
            match self.talked.iter_mut().find(|(other, _)| *other == hour) {
                Some((_, talked)) => *talked += end - at,
                None => self.talked.push_back((hour, end - at)),
            }
            at = end;
        }
        let now = until.0 / HOUR;
        self.talked.retain(|(hour, _)| hour + HOURS >= now);
    }

    fn in_last_day(&self, now: Instant) -> u128 {
        let hour = now.0 / HOUR;
        let recent = self.talked.iter().filter(|(at, _)| at + HOURS >= hour);
        let talked: u128 = recent.map(|(_, talked)| u128::from(*talked)).sum();
        let going_on = u128::from(self.answered) * u128::from(now.0);
        talked + going_on.saturating_sub(self.answered_sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn limit(scope: Scope, calls_per_second: u32, calls: u32, minutes_per_day: u32) -> LimitRule {
        LimitRule {
            scope,
            calls_per_second,
            calls,
            minutes_per_day,
        }
    }

    fn ledger(limits: &[LimitRule]) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.set_limits(limits, 0);
        ledger
    }

    fn at(seconds: u64) -> Instant {
        Instant(1_000 * HOUR + seconds * SECOND)
    }

    fn every_scope(name: &str) -> [Scope; 5] {
        let name = || name.to_owned();
        [
            Scope::Token(name()),
            Scope::Account(name()),
            Scope::Trunk(name()),
            Scope::Prefix(name()),
            Scope::Source(name()),
        ]
    }

    #[test]
    fn calls_per_second_at_once_and_minutes_a_day_are_kept_for_every_scope() {
        for (scope, other) in every_scope("a").into_iter().zip(every_scope("b")) {
            let one = std::slice::from_ref(&scope);
            let two = std::slice::from_ref(&other);

            let mut books = ledger(&[limit(scope.clone(), 2, 0, 0)]);
            for _ in 0..2 {
                books.begin(one, at(0)).unwrap();
            }
            let refused = books.begin(one, at(0)).unwrap_err();
            assert_eq!(
                (refused.kind, refused.retry_after_s),
                (LimitKind::PerSecond, Some(1))
            );
            books.begin(two, at(0)).unwrap();
            books.begin(one, at(2)).unwrap();

            let mut books = ledger(&[limit(scope.clone(), 0, 1, 0)]);
            let ticket = books.begin(one, at(0)).unwrap();
            assert_eq!(books.begin(one, at(9)).unwrap_err().kind, LimitKind::AtOnce);
            books.begin(two, at(9)).unwrap();
            books.ended(ticket, at(10));
            books.begin(one, at(10)).unwrap();

            let mut books = ledger(&[limit(scope.clone(), 0, 0, 1)]);
            let ticket = books.begin(one, at(0)).unwrap();
            books.answered(ticket, at(10));
            books.begin(one, at(69)).unwrap();
            // What goes on counts as it goes, and is not cut.
            assert_eq!(
                books.begin(one, at(70)).unwrap_err().kind,
                LimitKind::MinutesPerDay
            );
            books.ended(ticket, at(100));
            assert!(books.begin(one, at(100)).is_err());
            assert!(books.begin(one, at(23 * 3600)).is_err());
            books.begin(one, at(26 * 3600)).unwrap();
        }
    }

    #[test]
    fn a_limit_for_each_counts_each_by_itself_and_gives_way_to_one_that_names() {
        let account = |name: &str| [Scope::Account(name.to_owned())];
        let [each] = account(LimitRule::EACH);
        let [alice] = account("alice");
        let mut books = ledger(&[limit(each, 0, 1, 0), limit(alice, 0, 2, 0)]);
        books.begin(&account("bob"), at(0)).unwrap();
        assert!(books.begin(&account("bob"), at(0)).is_err());
        books.begin(&account("carol"), at(0)).unwrap();
        books.begin(&account("alice"), at(0)).unwrap();
        books.begin(&account("alice"), at(0)).unwrap();
        assert!(books.begin(&account("alice"), at(0)).is_err());
    }

    #[test]
    fn a_number_counts_in_every_prefix_that_a_limit_names() {
        let prefix = |text: &str| Scope::Prefix(text.to_owned());
        let mut books = ledger(&[
            limit(prefix("+49"), 0, 2, 0),
            limit(prefix("+4930"), 0, 1, 0),
        ]);
        books.begin(&[prefix("+4930111")], at(0)).unwrap();
        let refused = books.begin(&[prefix("+4930222")], at(0)).unwrap_err();
        assert_eq!(
            (refused.scope, refused.status),
            (Some(prefix("+4930")), 503)
        );
        books.begin(&[prefix("+4989")], at(0)).unwrap();
        assert!(books.begin(&[prefix("+4940")], at(0)).is_err());
        books.begin(&[prefix("+1")], at(0)).unwrap();
    }

    #[test]
    fn emergency_calls_raise_an_alarm_above_their_limit_and_are_never_refused() {
        let used_up = [Scope::Trunk("t".into())];
        let mut books = Ledger::default();
        books.set_limits(&[limit(used_up[0].clone(), 1, 1, 1)], 2);
        let other = books.begin(&used_up, at(0)).unwrap();
        assert!(books.begin(&used_up, at(0)).is_err());
        let line = books.begin_anyway(&used_up, at(0));
        let tickets: Vec<_> = (0..5).map(|_| books.begin_emergency(at(0))).collect();
        let alarms: Vec<bool> = tickets.iter().map(|(_, alarm)| *alarm).collect();
        assert_eq!(alarms, [false, false, true, true, true]);
        assert_eq!(books.emergencies(), (5, 3));
        for (ticket, _) in tickets {
            books.ended(ticket, at(1));
        }
        assert_eq!(books.emergencies(), (0, 3));
        books.ended(other, at(1));
        assert!(books.begin(&used_up, at(9)).is_err(), "the line is in use");
        books.ended(line, at(9));
        assert!(books.begin(&used_up, at(9)).is_ok());
    }

    #[test]
    fn a_call_over_many_hours_counts_in_those_of_the_last_day() {
        let scope = [Scope::Trunk("t".into())];
        let mut books = ledger(&[limit(scope[0].clone(), 0, 0, 24 * 60)]);
        let ticket = books.begin(&scope, at(0)).unwrap();
        books.answered(ticket, at(0));
        books.ended(ticket, at(30 * 3600));
        assert!(books.begin(&scope, at(30 * 3600)).is_err());
        books.begin(&scope, at(33 * 3600)).unwrap();
    }

    #[test]
    fn the_books_are_bounded_and_running_calls_are_never_forgotten() {
        let each = limit(Scope::Source(LimitRule::EACH.to_owned()), 0, 1, 0);
        let mut books = ledger(&[each]);
        let running = [Scope::Source("running".to_owned())];
        books.begin(&running, at(0)).unwrap();
        for n in 0..Ledger::MAX_SCOPES + 10 {
            let scope = [Scope::Source(n.to_string())];
            let ticket = books.begin(&scope, at(1)).unwrap();
            books.ended(ticket, at(1));
        }
        assert!(books.books.len() <= Ledger::MAX_SCOPES);
        assert_eq!(books.idle.len() + 1, books.books.len());
        assert!(books.begin(&running, at(2)).is_err());
    }

    proptest! {
        #[test]
        fn no_second_and_no_moment_has_more_calls_than_allowed(
            per_second in 1u32..5, at_once in 1u32..6,
            steps in proptest::collection::vec((0u64..700, 0usize..4, any::<bool>()), 1..200),
        ) {
            let scope = [Scope::Trunk("t".into()), Scope::Account("a".into())];
            let mut books = ledger(&[limit(scope[0].clone(), per_second, 0, 0), limit(scope[1].clone(), 0, at_once, 0)]);
            let (mut now, mut begun, mut running) = (at(0), Vec::new(), Vec::new());
            for (wait, end, answer) in steps {
                now += Duration::from_millis(wait);
                if end < running.len() {
                    books.ended(running.swap_remove(end), now);
                }
                if let Ok(ticket) = books.begin(&scope, now) {
                    if answer {
                        books.answered(ticket, now);
                    }
                    begun.push(now);
                    running.push(ticket);
                }
                prop_assert!(running.len() <= at_once as usize);
                let recent = begun.iter().filter(|then| now - **then < Duration::from_secs(1));
                prop_assert!(recent.count() <= per_second as usize);
            }
            // Whoever waits long enough is let through again.
            for ticket in running {
                books.ended(ticket, now);
            }
            prop_assert!(books.begin(&scope, now + Duration::from_secs(2)).is_ok());
        }

        #[test]
        fn a_call_that_ended_leaves_nothing_but_what_it_talked(
            calls in proptest::collection::vec((0u64..100, 0u64..5000, 0u64..5000), 0..30),
            limited in any::<bool>(),
        ) {
            let scope = [Scope::Account("a".into()), Scope::Source("b".into())];
            let limits = [limit(scope[0].clone(), 0, 1_000, 1_000_000)];
            let mut books = ledger(if limited { &limits } else { &[] });
            let (mut last, mut talked) = (at(0), 0);
            let tickets: Vec<_> = calls.iter().map(|(begin, ring, talk)| {
                let ticket = books.begin(&scope, at(*begin)).unwrap();
                (ticket, at(begin + ring), at(begin + ring + talk), *talk)
            }).collect();
            for (ticket, answered, ended, talk) in tickets {
                books.answered(ticket, answered);
                books.ended(ticket, ended);
                // Twice is once.
                books.answered(ticket, ended);
                books.ended(ticket, ended);
                talked += talk;
                last = last.max(ended);
            }
            prop_assert!(books.tickets.is_empty());
            prop_assert_eq!(books.books.len(), books.idle.len());
            prop_assert_eq!(books.books.len(), usize::from(limited && !calls.is_empty()));
            for book in books.books.values() {
                prop_assert_eq!((book.running, book.answered, book.answered_sum), (0, 0, 0));
                prop_assert_eq!(book.in_last_day(last), u128::from(talked * SECOND));
            }
        }
    }
}
