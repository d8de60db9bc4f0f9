//! What a page dialled, as a target for the trunk.

use crate::limits::TEXT_BYTES;
use signaling_sip::message::unescape;
use signaling_trunk::api::Target;

/// The user part that needs no account and no PBX.
pub const ECHO: &str = "echo";

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Callee {
    Echo,
    Sip(Target),
}

/// A number, a name, or a URI. White space around it is dropped, and inside a number that somebody typed
/// the way people write numbers (`+1 (555) 123-4567`) so are separators (RFC 3966 §5.1.1).
pub(crate) fn read(
    text: &str,
    params: Vec<(String, Option<String>)>,
) -> Result<Callee, &'static str> {
    let text = text.trim();
    if text.is_empty() {
        return Err("callee is missing");
    }
    if text.len() > TEXT_BYTES || text.chars().any(char::is_control) {
        return Err("callee holds characters that cannot be dialled");
    }
    if text == ECHO {
        return Ok(Callee::Echo);
    }
    let lower = text.to_ascii_lowercase();
    if ["sip:", "sips:", "tel:"]
        .iter()
        .any(|scheme| lower.starts_with(scheme))
    {
        return Ok(Callee::Sip(Target::Uri {
            uri: text.to_owned(),
            params,
        }));
    }
    if text.contains('@') {
        return Ok(Callee::Sip(Target::Uri {
            uri: format!("sip:{text}"),
            params,
        }));
    }
    let is_number = text.chars().any(|c| c.is_ascii_digit())
        && text.chars().all(|c| {
            c.is_ascii_digit() || matches!(c, '+' | '*' | '#' | ' ' | '(' | ')' | '-' | '.' | '/')
        });
    let user = if is_number {
        text.chars()
            .filter(|c| c.is_ascii_digit() || matches!(c, '+' | '*' | '#'))
            .collect()
    } else {
        text.to_owned()
    };
    Ok(Callee::Sip(Target::User { user, params }))
}

/// The number, or name, that a text or URI asks for: what the dial plan looks at.
pub(crate) fn dialled(text: &str) -> String {
    let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
    let user = match scheme.to_ascii_lowercase().as_str() {
        "tel" => rest.split(';').next().unwrap_or_default(),
        "sip" | "sips" => match rest.rsplit_once('@') {
            // Digits after a password's colon, or parameters of the user, are no number.
            Some((user, _)) => user.split([';', ':']).next().unwrap_or_default(),
            None => "",
        },
        _ => text.rsplit_once('@').map_or(text, |(user, _)| user),
    };
    let plain = unescape(user.as_bytes()).and_then(|user| String::from_utf8(user).ok());
    plain
        .filter(|user| !user.chars().any(char::is_control))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_uri_the_plan_sees_the_user() {
        for (text, user) in [
            ("+15551234567", "+15551234567"),
            ("tel:+1-555;phone-context=x", "+1-555"),
            ("sip:+1555@pbx.test;user=phone", "+1555"),
            ("SIPS:00%315@x", "0015"),
            ("sip:+1555;npdi@x", "+1555"),
            ("sip:x:secret@y", "x"),
            ("sip:pbx.test", ""),
            ("bob@pbx.test", "bob"),
            ("sip:a%0d@x", ""),
        ] {
            assert_eq!(dialled(text), user, "{text}");
        }
    }

    #[test]
    fn numbers_names_and_uris_are_told_apart() {
        let user = |text: &str| match read(text, Vec::new()) {
            Ok(Callee::Sip(Target::User { user, .. })) => user,
            other => panic!("{other:?}"),
        };
        assert_eq!(user(" +1 (555) 123-4567 "), "+15551234567");
        assert_eq!(user("alice smith"), "alice smith");
        assert_eq!(user("*43#"), "*43#");
        for uri in ["sip:bob@example.com", "tel:+15551234567", "SIPS:x@y"] {
            assert!(
                matches!(read(uri, Vec::new()), Ok(Callee::Sip(Target::Uri { .. }))),
                "{uri}"
            );
        }
        assert_eq!(
            read("bob@example.com", Vec::new()),
            Ok(Callee::Sip(Target::Uri {
                uri: "sip:bob@example.com".into(),
                params: Vec::new()
            }))
        );
        assert_eq!(read("echo", Vec::new()), Ok(Callee::Echo));
        assert!(read("  ", Vec::new()).is_err());
        assert!(read("1001\r\nVia: x", Vec::new()).is_err());
    }
}
