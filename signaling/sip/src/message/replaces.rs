use super::lex::{self, Params, is_token};
use super::{Fault, unfold};
use crate::dialog::Dialog;

/// The value of a Replaces header: which dialog a new INVITE takes the place of (RFC 3891 §6.1).
///
/// The tags are as the party sees them that is asked: `to_tag` is its own, `from_tag` the other one's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaces {
    pub call_id: Vec<u8>,
    pub to_tag: Vec<u8>,
    pub from_tag: Vec<u8>,
    pub early_only: bool,
}

impl Replaces {
    /// Of a Call-ID only what the grammar allows is taken: the value is printed into headers and URIs again.
    pub fn parse(value: &[u8]) -> Result<Replaces, Fault> {
        let value = unfold(value);
        let end = value.iter().position(|b| *b == b';');
        let (call_id, params) = value.split_at(end.unwrap_or(value.len()));
        let call_id = lex::trim(call_id);
        if call_id.is_empty() || !call_id.iter().all(|b| is_word_byte(*b) || *b == b'@') {
            return Err(Fault::CallId);
        }
        let params = Params::parse(params)?;
        let once = |wanted: &'static str| {
            let mut found = params
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()));
            match (found.next(), found.next()) {
                (None, _) => Ok(None),
                (Some((_, value)), None) => Ok(Some(value)),
                (Some(_), Some(_)) => Err(Fault::Repeated(wanted)),
            }
        };
        let tag = |name: &'static str| match once(name)? {
            Some(Some(tag)) if is_token(tag) => Ok(tag.to_vec()),
            Some(Some(_)) => Err(Fault::Params),
            Some(None) | None => Err(Fault::Missing(name)),
        };
        Ok(Replaces {
            call_id: call_id.to_vec(),
            to_tag: tag("to-tag")?,
            from_tag: tag("from-tag")?,
            early_only: once("early-only")?.is_some(),
        })
    }

    /// What the other end of `dialog` is to be told about it. A peer of RFC 2543 has no tag, which is written as 0.
    pub fn of_far_end(dialog: &Dialog) -> Replaces {
        let tag = |tag: &[u8]| {
            if tag.is_empty() {
                b"0".to_vec()
            } else {
                tag.to_vec()
            }
        };
        Replaces {
            call_id: dialog.call_id.clone(),
            to_tag: tag(&dialog.remote_tag),
            from_tag: tag(&dialog.local_tag),
            early_only: false,
        }
    }

    /// Whether it names this dialog of ours (RFC 3891 §3: a tag of 0 also stands for none).
    pub fn names(&self, dialog: &Dialog) -> bool {
        let same = |said: &[u8], tag: &[u8]| said == tag || (said == b"0" && tag.is_empty());
        self.call_id == dialog.call_id
            && same(&self.to_tag, &dialog.local_tag)
            && same(&self.from_tag, &dialog.remote_tag)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let early = if self.early_only {
            b";early-only".as_slice()
        } else {
            b""
        };
        [
            &self.call_id,
            b";to-tag=".as_slice(),
            &self.to_tag,
            b";from-tag=",
            &self.from_tag,
            early,
        ]
        .concat()
    }
}

/// A byte of a `word` (RFC 3261 §25.1).
fn is_word_byte(byte: u8) -> bool {
    lex::is_token_byte(byte) || b"()<>:\\\"/[]?{}".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaces_is_read_with_both_tags_in_any_order() {
        let value = b" 98732@sip.example.com ;from-tag=r33th4x0r; to-tag=ff87ff;early-only;x=1";
        let replaces = Replaces::parse(value).unwrap();
        assert_eq!(replaces.call_id, b"98732@sip.example.com");
        assert_eq!(replaces.to_tag, b"ff87ff");
        assert_eq!(replaces.from_tag, b"r33th4x0r");
        assert!(replaces.early_only);
        assert_eq!(Replaces::parse(&replaces.to_bytes()), Ok(replaces));
    }

    #[test]
    fn a_replaces_without_either_tag_or_with_two_is_none() {
        for value in [
            "",
            ";to-tag=a;from-tag=b",
            "c;to-tag=a",
            "c;from-tag=a",
            "c;to-tag;from-tag=b",
            "c;to-tag=\"a b\";from-tag=b",
            "c;to-tag=a;to-tag=b;from-tag=c",
            "c,d;to-tag=a;from-tag=b",
            "c d;to-tag=a;from-tag=b",
            "c\0;to-tag=a;from-tag=b",
        ] {
            assert!(Replaces::parse(value.as_bytes()).is_err(), "{value:?}");
        }
    }
}
