use std::fmt;

/// Digits of an MKI's length and value, and of a lifetime; longer ones are nobody's.
const MAX_DIGITS: usize = 40;

/// `a=crypto:<tag> <suite> inline:<key||salt in base64>[|lifetime][|MKI:length] [session parameters]`
/// (RFC 4568 §9.1, §9.2).
#[derive(Clone, PartialEq, Eq)]
pub struct Crypto {
    pub tag: u32,
    /// In upper case.
    pub suite: String,
    /// Base64 of master key and salt. A secret: `Debug` leaves it out.
    pub key: String,
    /// Packets that may be sent under this key; `None`: as many as SRTP allows (RFC 4568 §6.1).
    pub lifetime: Option<u128>,
    /// Packets carry a master key identifier, or there are several keys, which need one.
    pub has_mki: bool,
    /// Session parameters as they stand: `UNENCRYPTED_SRTP`, `KDR=5`, `WSH=128` …
    pub parameters: Vec<String>,
}

impl Crypto {
    pub fn parse(value: &str) -> Option<Crypto> {
        let mut parts = value.split_ascii_whitespace();
        // 1*9DIGIT without leading zeros (RFC 4568 §9.1), but "01" hurts nobody.
        let tag = parts
            .next()
            .filter(|text| text.len() <= 9 && digits(text))?;
        let tag = tag.parse().ok()?;
        let suite = parts.next()?.to_ascii_uppercase();
        let keys = parts.next()?;
        let mut several = keys.split(';').filter(|key| !key.is_empty());
        let (method, inline) = several.next()?.split_once(':')?;
        if !method.eq_ignore_ascii_case("inline") {
            return None;
        }
        let mut has_mki = several.next().is_some();
        let mut fields = inline.split('|');
        let key = fields.next()?.to_owned();
        let mut lifetime = None;
        for field in fields {
            match field.split_once(':') {
                Some((mki, length)) if digits(mki) && digits(length) => has_mki = true,
                Some(_) => return None,
                None => lifetime = Some(read_lifetime(field)?),
            }
        }
        Some(Crypto {
            tag,
            suite,
            key,
            lifetime,
            has_mki,
            parameters: parts.map(str::to_owned).collect(),
        })
    }
}

/// `2^20` or `1048576`; none at all is no lifetime.
fn read_lifetime(text: &str) -> Option<u128> {
    let packets = match text.split_once('^') {
        Some(("2", power)) if digits(power) => 1_u128.checked_shl(power.parse().ok()?)?,
        Some(_) => return None,
        None if digits(text) => text.parse().ok()?,
        None => return None,
    };
    (packets > 0).then_some(packets)
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_DIGITS && text.bytes().all(|b| b.is_ascii_digit())
}

/// Without lifetime, MKI and session parameters: we send none.
impl fmt::Display for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} inline:{}", self.tag, self.suite, self.key)
    }
}

impl fmt::Debug for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Crypto {{ tag: {}, suite: {}, … }}",
            self.tag, self.suite
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetime_mki_and_parameters_of_a_key_are_read() {
        let read = |text: &str| {
            let crypto = Crypto::parse(text)?;
            Some((
                crypto.tag,
                crypto.lifetime,
                crypto.has_mki,
                crypto.parameters.len(),
            ))
        };
        for (text, wanted) in [
            (
                "1 AES_CM_128_HMAC_SHA1_80 inline:QUJD",
                Some((1, None, false, 0)),
            ),
            (
                "1 aes_cm_128_hmac_sha1_80 INLINE:QUJD|2^20",
                Some((1, Some(1 << 20), false, 0)),
            ),
            (
                "7 A inline:QUJD|1048576|1:4",
                Some((7, Some(1 << 20), true, 0)),
            ),
            (
                "7 A inline:QUJD|1:32 UNENCRYPTED_SRTP KDR=5",
                Some((7, None, true, 2)),
            ),
            (
                "7 A inline:QUJD|2^20|1:4;inline:REVG|2^20|2:4",
                Some((7, Some(1 << 20), true, 0)),
            ),
            ("x A inline:QUJD", None),
            ("1234567890 A inline:QUJD", None),
            ("1 A inline:QUJD|", None),
            ("1 A inline:QUJD|2^", None),
            ("1 A inline:QUJD|2^500", None),
            ("1 A inline:QUJD|0", None),
            ("1 A inline:QUJD|3^4", None),
            ("1 A inline:QUJD|a:b", None),
            ("1 A uri:https://keys.example", None),
            ("1 A", None),
            ("", None),
        ] {
            assert_eq!(read(text), wanted, "{text}");
        }
        let shown = format!("{:?}", Crypto::parse("1 A inline:QUJD"));
        assert!(!shown.contains("QUJD"), "{shown}");
    }
}
