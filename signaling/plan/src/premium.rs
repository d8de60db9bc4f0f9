//! Numbers that cost so much that nobody may call them unless the operator says so.

use crate::pattern::Pattern;
use serde::{Deserialize, Serialize};

/// What is off where the operator says nothing: satellites, international networks, and the premium services of
/// countries by their national numbering plans. In the form of `limits.premium`.
pub const USUAL: &[&str] = &[
    // Satellites, international networks, shared cost, premium rate (ITU-T E.164, list of assigned codes).
    "+808", "+870", "+878", "+881", "+882", "+883", "+888", "+979",
    // North America, its 976 exchanges too.
    "+1900", "+1XXX976", // Europe.
    "+30901", "+30909", "+31900", "+31906", "+31909", "+3290", "+3389", "+34803", "+34806",
    "+34807", "+34905", "+34907", "+351760", "+351761", "+352900", "+352901", "+352905", "+358600",
    "+358700", "+359900", "+3690", "+3691", "+370900", "+37190", "+372900", "+380900", "+38560",
    "+38561", "+38564", "+38690", "+39144", "+39166", "+39892", "+39895", "+39899", "+40900",
    "+40903", "+40906", "+41900", "+41901", "+41906", "+42090", "+421900", "+43900", "+43901",
    "+43930", "+43931", "+43939", "+4470", "+449", "+4590", "+46900", "+46939", "+46944", "+4699",
    "+47820", "+47829", "+4870", "+49118", "+49137", "+49900", // Elsewhere.
    "+61190", "+64900", "+7803", "+7809", "+81990", "+90900",
];

/// What is off, and what of it is on again; the longer beginning decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Premium {
    pub off: Vec<Pattern>,
    pub allowed: Vec<Pattern>,
}

impl Premium {
    /// The beginning by which a number is off.
    pub fn refuses(&self, number: &str) -> Option<&Pattern> {
        let best = |patterns: &'_ [Pattern]| {
            patterns
                .iter()
                .enumerate()
                .filter_map(|(at, pattern)| Some((pattern.fit(number)?, at)))
                .max()
        };
        let (fit, at) = best(&self.off)?;
        let allowed = best(&self.allowed).is_some_and(|(allowed, _)| allowed >= fit);
        if allowed { None } else { self.off.get(at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbering::Numbering;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts
            .iter()
            .map(|text| Pattern::parse(&format!("{text}*"), &Numbering::default()).unwrap())
            .collect()
    }

    #[test]
    fn premium_prefixes_are_off_until_listed() {
        let mut premium = Premium {
            off: patterns(USUAL),
            allowed: Vec::new(),
        };
        for number in [
            "+8816123",
            "+19005551234",
            "+12129761234",
            "+499001234",
            "+449098790",
            "+33899123",
        ] {
            assert!(premium.refuses(number).is_some(), "{number}");
        }
        for number in [
            "+4930123456",
            "+12125551234",
            "+442079460000",
            "+33170000000",
            "112",
            "201",
        ] {
            assert!(premium.refuses(number).is_none(), "{number}");
        }
        premium.allowed = patterns(&["+4990055", "+881"]);
        assert!(premium.refuses("+8816123").is_none());
        assert!(premium.refuses("+4990055123").is_none());
        assert!(premium.refuses("+4990056123").is_some());
    }
}
