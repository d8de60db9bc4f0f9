use std::fmt;

/// `a=crypto:<tag> <suite> inline:<key||salt in base64>[|lifetime][|MKI]` (RFC 4568 §9.1).
#[derive(Clone, PartialEq, Eq)]
pub struct Crypto {
    pub tag: u32,
    pub suite: String,
    /// Base64 of master key and salt.
    pub key: String,
    /// The peer wants an MKI in every packet, which we do not write.
    pub has_mki: bool,
}

impl Crypto {
    pub fn parse(value: &str) -> Option<Crypto> {
        let mut parts = value.split_ascii_whitespace();
        let tag = parts.next()?.parse().ok()?;
        let suite = parts.next()?.to_ascii_uppercase();
        let keys = parts.next()?;
        // Several keys (`;`) would need an MKI to tell them apart.
        let inline = keys.split(';').next()?.strip_prefix("inline:")?;
        let mut fields = inline.split('|');
        let key = fields.next()?.to_owned();
        Some(Crypto {
            tag,
            suite,
            key,
            has_mki: fields.any(|field| field.contains(':')),
        })
    }
}

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
