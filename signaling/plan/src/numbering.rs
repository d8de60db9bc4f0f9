//! How numbers are written: by people, in E.164, and as each trunk wants them.

use serde::{Deserialize, Serialize};

/// Shorter numbers are extensions and short codes: an area or a country code is never put before them.
const SHORTEST_LOCAL: usize = 6;
/// The same where people dial whole national numbers without a prefix.
const SHORTEST_NATIONAL: usize = 7;

/// How a trunk writes numbers, in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NumberForm {
    /// `+493012345`
    #[default]
    PlusE164,
    /// `493012345`
    E164,
    /// `00493012345`, with the numbering's own international prefix.
    International,
    /// `03012345` within the country, else as `International`.
    National,
    /// What was dialled.
    AsIs,
}

/// How people here write numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Numbering {
    /// Country code without `+`; empty: only numbers that name their country become E.164.
    pub country: String,
    /// Area code without the national prefix, for numbers that are dialled without one; empty: they stay as they are.
    pub area: String,
    /// What stands before a country code; empty: nothing does.
    pub international: String,
    /// What stands before an area code; empty: whole national numbers are dialled as they are.
    pub national: String,
}

impl Default for Numbering {
    fn default() -> Self {
        Numbering {
            country: String::new(),
            area: String::new(),
            international: "00".into(),
            national: "0".into(),
        }
    }
}

impl Numbering {
    /// The prefixes that a country dials, where nothing else is said: international and national (ITU-T's list of
    /// dialling procedures).
    pub fn usual_prefixes(country: &str) -> (&'static str, &'static str) {
        match country {
            "1" => ("011", "1"),
            "7" => ("810", "8"),
            "81" => ("010", "0"),
            "82" => ("00", "0"),
            "61" => ("0011", "0"),
            "852" | "65" => ("00", ""),
            // Without a trunk prefix: the first digit belongs to the number.
            "30" | "34" | "39" | "45" | "47" | "48" | "351" | "352" | "354" | "356" | "357"
            | "370" | "371" | "372" | "376" | "377" | "378" | "420" => ("00", ""),
            "36" => ("00", "06"),
            _ => ("00", "0"),
        }
    }

    /// What was dialled, in E.164 (`+493012345`) where it is a number that has one. Short numbers and names stay as
    /// they are, numbers without what people put between digits.
    ///
    /// Takes `tel:` URIs (RFC 3966), and the user part of `sip:` URIs where that is a number.
    pub fn normalise(&self, dialled: &str) -> String {
        let (text, context) = bare(dialled);
        let Some(number) = digits(text) else {
            return dialled.trim().to_owned();
        };
        match context {
            // RFC 3966 §5.1.5: a local number's context is what stands before it all over the world.
            Some(context) if !number.starts_with('+') => format!("{context}{number}"),
            _ => self.to_e164(number),
        }
    }

    fn to_e164(&self, number: String) -> String {
        if number.starts_with('+') || !is_decimal(&number) {
            return number;
        }
        let after = |prefix: &str| {
            let rest = (!prefix.is_empty()).then(|| number.strip_prefix(prefix))??;
            (!rest.is_empty()).then_some(rest)
        };
        let country = &self.country;
        let international = after(&self.international);
        let national = after(&self.national).filter(|_| !country.is_empty());
        // The longer prefix is meant where one begins with the other.
        let national_first = self.national.len() > self.international.len();
        match (international, national) {
            (Some(rest), None) => return format!("+{rest}"),
            (Some(rest), Some(_)) if !national_first => return format!("+{rest}"),
            // The North American 1 is a prefix before ten digits only: 112 is not.
            (_, Some(rest)) if country != "1" || rest.len() == 10 => {
                return format!("+{country}{rest}");
            }
            (_, _) => {}
        }
        if country.is_empty() {
            return number;
        }
        let length = number.len();
        let area = &self.area;
        let whole = match country.as_str() {
            "1" => length == 10,
            _ => self.national.is_empty() && area.is_empty() && length >= SHORTEST_NATIONAL,
        };
        if whole {
            return format!("+{country}{number}");
        }
        let local = match country.as_str() {
            "1" => length == 7,
            _ => length >= SHORTEST_LOCAL,
        };
        if local && !area.is_empty() {
            return format!("+{country}{area}{number}");
        }
        number
    }

    /// What a trunk that writes numbers so has sent, in E.164 where it can be told.
    pub fn from_trunk(&self, form: NumberForm, text: &str) -> String {
        let number = self.normalise(text);
        let plain = is_decimal(&number) && number.len() > SHORTEST_NATIONAL;
        let (bare, context) = bare(text);
        match form {
            // A national prefix was taken for one, but this trunk writes none.
            NumberForm::E164 if context.is_none() && !self.is_international(bare) => {
                match digits(bare) {
                    Some(digits) if is_decimal(&digits) && digits.len() > SHORTEST_NATIONAL => {
                        format!("+{digits}")
                    }
                    _ => number,
                }
            }
            NumberForm::E164 if plain => format!("+{number}"),
            _ => number,
        }
    }

    fn is_international(&self, text: &str) -> bool {
        !self.international.is_empty() && text.starts_with(&self.international)
    }

    /// A number in E.164 as a trunk wants it; others stay as they are. [`NumberForm::AsIs`] is the caller's to know.
    pub fn for_trunk(&self, form: NumberForm, number: &str) -> String {
        let Some(digits) = number.strip_prefix('+') else {
            return number.to_owned();
        };
        match form {
            NumberForm::PlusE164 | NumberForm::AsIs => number.to_owned(),
            NumberForm::E164 => digits.to_owned(),
            NumberForm::National => {
                let own = (!self.country.is_empty()).then(|| digits.strip_prefix(&self.country));
                match own.flatten() {
                    Some(rest) => format!("{}{rest}", self.national),
                    None => format!("{}{digits}", self.international),
                }
            }
            NumberForm::International => format!("{}{digits}", self.international),
        }
    }
}

/// Whether a text is a number at all, by people's or by machines' writing.
pub fn is_number(text: &str) -> bool {
    digits(bare(text).0).is_some()
}

/// What was dialled without the marks between digits; names as they are.
pub fn cleaned(text: &str) -> String {
    digits(bare(text).0).unwrap_or_else(|| text.trim().to_owned())
}

/// The number inside a URI, and the digits that a `phone-context` puts before it.
fn bare(text: &str) -> (&str, Option<&str>) {
    let text = text.trim();
    if let Some(tel) = without_scheme(text, "tel:") {
        let mut parts = tel.split(';');
        let number = parts.next().unwrap_or_default();
        let context = parts.find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            let global = value.starts_with('+') && value.len() > 1;
            let digits = value.get(1..)?.bytes().all(|b| b.is_ascii_digit());
            (name.eq_ignore_ascii_case("phone-context") && global && digits).then_some(value)
        });
        return (number, context);
    }
    let sip = without_scheme(text, "sip:").or_else(|| without_scheme(text, "sips:"));
    if let Some((user, _)) = sip.and_then(|uri| uri.split_once('@')) {
        // RFC 3261 §19.1.6: the user part is a telephone-subscriber with its parameters.
        return (user.split([';', ':']).next().unwrap_or_default(), None);
    }
    (text, None)
}

fn without_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// The number without visual separators (RFC 3966 §5.1.1, and what people use beside them); `None`: it is none.
fn digits(text: &str) -> Option<String> {
    let text = text.trim();
    // +49 (0)30 …: the bracket says what to dial inside the country instead.
    let without_zero = match text.starts_with('+') {
        true => text.replacen("(0)", "", 1),
        false => text.to_owned(),
    };
    let mut number = String::with_capacity(without_zero.len());
    for (at, c) in without_zero.chars().enumerate() {
        match c {
            '0'..='9' | '*' | '#' => number.push(c),
            '+' if at == 0 => number.push(c),
            '-' | '.' | '(' | ')' | '/' | ' ' | '\u{a0}' | '\u{2011}' | '\u{2013}' => {}
            _ => return None,
        }
    }
    number.bytes().any(|b| b != b'+').then_some(number)
}

fn is_decimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn berlin() -> Numbering {
        Numbering {
            country: "49".into(),
            area: "30".into(),
            ..Numbering::default()
        }
    }

    fn new_york() -> Numbering {
        Numbering {
            country: "1".into(),
            area: "212".into(),
            international: "011".into(),
            national: "1".into(),
        }
    }

    #[test]
    fn a_number_becomes_e164_however_people_write_it() {
        for written in [
            "+49 30 123456",
            "+49 (0)30 123456",
            "0049-30-123456",
            "030/12 34 56",
            "(030) 123.456",
            "123456",
            "tel:+49-30-123456",
            "TEL:030123456",
            "tel:123456;phone-context=+4930",
            "sip:+4930123456@gateway.example;user=phone",
            "sip:030123456;isub=1@gateway.example",
        ] {
            assert_eq!(berlin().normalise(written), "+4930123456", "{written}");
        }
        for written in [
            "+1 (212) 555-1234",
            "1-212-555-1234",
            "212 555 1234",
            "555-1234",
        ] {
            assert_eq!(new_york().normalise(written), "+12125551234", "{written}");
        }
        assert_eq!(new_york().normalise("011 49 30 123456"), "+4930123456");
    }

    #[test]
    fn what_is_no_number_and_short_numbers_stay_as_they_are() {
        for name in [
            "alice",
            "alice.smith",
            "echo",
            "1-800-FLOWERS",
            "",
            "+",
            "x42",
            "sip:alice@example.org",
        ] {
            assert_eq!(berlin().normalise(name), name);
        }
        for short in ["112", "201", "*98", "*21#", "11833", "0"] {
            assert_eq!(berlin().normalise(short), short);
        }
        for short in ["112", "911", "1001"] {
            assert_eq!(new_york().normalise(short), short);
        }
        assert_eq!(Numbering::default().normalise("030 123456"), "030123456");
        assert_eq!(Numbering::default().normalise("0049 30 1"), "+49301");
    }

    #[test]
    fn where_there_is_no_national_prefix_whole_numbers_are_national() {
        let (international, national) = Numbering::usual_prefixes("39");
        let italy = Numbering {
            country: "39".into(),
            area: String::new(),
            international: international.into(),
            national: national.into(),
        };
        assert_eq!(italy.normalise("06 1234567"), "+39061234567");
        assert_eq!(italy.normalise("112"), "112");
    }

    #[test]
    fn each_trunk_gets_and_is_read_in_its_own_form() {
        let berlin = berlin();
        for (form, here, abroad) in [
            (NumberForm::PlusE164, "+4930123456", "+12125551234"),
            (NumberForm::E164, "4930123456", "12125551234"),
            (NumberForm::International, "004930123456", "0012125551234"),
            (NumberForm::National, "030123456", "0012125551234"),
        ] {
            for (number, written) in [("+4930123456", here), ("+12125551234", abroad)] {
                assert_eq!(berlin.for_trunk(form, number), written);
                assert_eq!(berlin.from_trunk(form, written), number, "{form:?}");
            }
            assert_eq!(berlin.for_trunk(form, "112"), "112");
            assert_eq!(berlin.from_trunk(form, "201"), "201");
        }
        // Some who write none still put a + before it.
        assert_eq!(
            berlin.from_trunk(NumberForm::E164, "+4930123456"),
            "+4930123456"
        );
    }

    proptest! {
        #[test]
        fn normalising_twice_is_normalising_once(
            country in "|1|49|39|7",
            area in "|30|212",
            international in "|00|011|0",
            national in "|0|1|8|00",
            dialled in "[+]?[0-9*#() /.-]{0,20}|tel:[+0-9-]{1,12}(;phone-context=[+a-z0-9.]{0,6})?|\\PC{0,20}",
        ) {
            let numbering = Numbering { country, area, international, national };
            let once = numbering.normalise(&dialled);
            prop_assert_eq!(numbering.normalise(&once), once);
        }
    }
}
