//! Which numbers a rule is for.

use crate::numbering::Numbering;
use serde::{Deserialize, Serialize};

/// Digits, `X` for any digit, and a `*` at the end for whatever follows. Alone, `*` is everything, names too.
///
/// Normalised as numbers are: `030*` of a plan for Germany is `+4930*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern {
    /// Without the `*` at the end.
    head: String,
    open: bool,
}

/// How closely a pattern fits what it matches: the longer beginning wins, then the one that says how many digits
/// follow, then the one that leaves nothing open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fit {
    fixed: usize,
    any_digit: usize,
    closed: bool,
}

impl Pattern {
    pub const LONGEST: usize = 64;

    /// # Errors
    /// The end of a sentence that begins with the pattern.
    pub fn parse(text: &str, numbering: &Numbering) -> Result<Pattern, String> {
        let (head, open) = match text.strip_suffix('*') {
            Some(head) => (head, true),
            None => (text, false),
        };
        if text.is_empty() {
            return Err("is empty; \"*\" is every number".to_owned());
        }
        if text.len() > Self::LONGEST {
            return Err(format!("is longer than {}", Self::LONGEST));
        }
        // A name, such as of an account, matches by the letter; so that no X in it is a digit, it has no wildcard.
        let is_name = |text: &str| text.chars().any(|c| c.is_alphabetic() && c != 'X');
        if is_name(head) {
            return match open || head.contains(char::is_whitespace) {
                true => {
                    Err("is neither digits with X and a * at the end nor a whole name".to_owned())
                }
                false => Ok(Pattern {
                    head: head.to_owned(),
                    open,
                }),
            };
        }
        let plain: String = head
            .chars()
            .filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')' | '/'))
            .collect();
        let fine = |(at, c): (usize, char)| {
            c.is_ascii_digit() || matches!(c, 'X' | '#' | '*') || (c == '+' && at == 0)
        };
        if !plain.char_indices().all(fine) || (plain.is_empty() && !head.is_empty()) {
            return Err(
                "is not digits with X for any digit and * at the end for the rest".to_owned(),
            );
        }
        Ok(Pattern {
            head: normalised(&plain, open, numbering),
            open,
        })
    }

    /// `None`: it does not match.
    pub fn fit(&self, number: &str) -> Option<Fit> {
        let mut rest = number.chars();
        let (mut fixed, mut any_digit) = (0, 0);
        let is_name = self.head.chars().any(|c| c.is_alphabetic() && c != 'X');
        for wanted in self.head.chars() {
            let got = rest.next()?;
            match wanted {
                'X' if !is_name => {
                    if !got.is_ascii_digit() {
                        return None;
                    }
                    any_digit += 1;
                }
                wanted if wanted == got => fixed += 1,
                _ => return None,
            }
        }
        let closed = rest.next().is_none();
        (self.open || closed).then_some(Fit {
            fixed,
            any_digit,
            closed: !self.open,
        })
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.head, if self.open { "*" } else { "" })
    }
}

/// The beginning of numbers as those numbers are: by the prefixes alone, for how long they are is not known.
fn normalised(head: &str, open: bool, numbering: &Numbering) -> String {
    if !open {
        // `X` stands for a digit; each in turn is tried with one that is no part of any prefix.
        let sample: String = head
            .chars()
            .map(|c| if c == 'X' { '5' } else { c })
            .collect();
        let whole = numbering.normalise(&sample);
        // What was put before the digits, or taken off, without looking at the X.
        let kept = head.len().min(whole.len());
        for length in (1..=kept).rev() {
            let (tail, sampled) = (
                head.get(head.len() - length..),
                sample.get(sample.len() - length..),
            );
            if let (Some(tail), Some(sampled)) = (tail, sampled)
                && let Some(before) = whole.strip_suffix(sampled)
            {
                return format!("{before}{tail}");
            }
        }
        return head.to_owned();
    }
    let after = |prefix: &str| {
        (!prefix.is_empty())
            .then(|| head.strip_prefix(prefix))
            .flatten()
    };
    if let Some(rest) = after(&numbering.international) {
        return format!("+{rest}");
    }
    match after(&numbering.national) {
        // A 1 may begin anything in North America; who means the country writes +1.
        Some(rest) if !numbering.country.is_empty() && numbering.country != "1" => {
            format!("+{}{rest}", numbering.country)
        }
        _ => head.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn berlin() -> Numbering {
        Numbering {
            country: "49".into(),
            ..Numbering::default()
        }
    }

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text, &berlin()).unwrap()
    }

    #[test]
    fn a_pattern_is_a_beginning_or_a_number_with_any_digits_in_it() {
        for (written, matching, other) in [
            ("+49*", "+4930", "+48"),
            ("+1555XXXXXXX", "+15551234567", "+155512345678"),
            ("2XX", "201", "2011"),
            ("*", "alice", ""),
            ("*98", "*98", "98"),
            ("alice", "alice", "alic"),
            ("#*", "#21", "21"),
        ] {
            assert!(
                pattern(written).fit(matching).is_some(),
                "{written} {matching}"
            );
            if !other.is_empty() {
                assert!(pattern(written).fit(other).is_none(), "{written} {other}");
            }
        }
        for wrong in ["", "12a*", "+4+9", "4 9 *x*", "()"] {
            assert!(Pattern::parse(wrong, &berlin()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_pattern_is_normalised_as_numbers_are() {
        for (written, is) in [
            ("030*", "+4930*"),
            ("0*", "+49*"),
            ("00*", "+*"),
            ("0049 30*", "+4930*"),
            ("0800 XXXXXXX", "+49800XXXXXXX"),
            ("2XX", "2XX"),
            ("112", "112"),
            ("+49*", "+49*"),
        ] {
            assert_eq!(pattern(written).to_string(), is, "{written}");
        }
    }

    proptest! {
        #[test]
        fn a_longer_match_wins(number in "[+][0-9]{4,14}", short in 1usize..4, more in 1usize..4) {
            let of = |length: usize| {
                let head: String = number.chars().take(length).collect();
                pattern(&format!("{head}*")).fit(&number)
            };
            prop_assert!(of(short + more) > of(short));
            // Any digits in the same place are less than those very digits, and more than nothing said.
            let any: String = number.chars().take(short).chain("X".repeat(more).chars()).collect();
            let any = pattern(&format!("{any}*")).fit(&number);
            if short + more <= number.len() {
                prop_assert!(any > of(short) && any < of(short + more));
            }
            prop_assert!(pattern(&number).fit(&number) > of(number.len()));
        }
    }
}
