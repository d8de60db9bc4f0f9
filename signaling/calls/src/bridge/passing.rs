//! What of the caller's INVITE goes into ours: nothing that was not asked for by name.

use crate::limits::EXTRAS;
use signaling_trunk::api::Header;

/// Header fields that pass, in their order: `Identity` as it is, since a changed one proves nothing (RFC 8224 §4), the
/// `Date` that it was signed with, and what the operator lists.
pub(crate) fn passing(headers: &[Header], listed: &[String]) -> Vec<Header> {
    let is = |header: &Header, name: &str| header.name.eq_ignore_ascii_case(name);
    // `y` is its compact form (RFC 8224 §13.1).
    let signed = |header: &Header| is(header, "Identity") || is(header, "y");
    let is_signed = headers.iter().any(signed);
    let passes = |header: &&Header| {
        signed(header)
            || is_signed && is(header, "Date")
            || listed.iter().any(|name| is(header, name))
    };
    headers
        .iter()
        .filter(passes)
        .take(EXTRAS)
        .cloned()
        .collect()
}

/// The value of a header, if it is there.
pub(crate) fn value<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
    found.map(|header| header.value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_identity_its_date_and_what_the_operator_lists_pass() {
        let header = |name: &str| Header {
            name: name.into(),
            value: format!("of {name}"),
        };
        let all: Vec<Header> = [
            "X-Host",
            "Identity",
            "Date",
            "User-To-User",
            "P-Charging-Vector",
        ]
        .iter()
        .map(|name| header(name))
        .collect();
        let names = |headers: &[Header], listed: &[&str]| {
            let listed: Vec<String> = listed.iter().map(|l| (*l).to_owned()).collect();
            passing(headers, &listed)
                .into_iter()
                .map(|header| header.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&all, &[]), ["Identity", "Date"]);
        assert_eq!(
            names(&all, &["user-to-user"]),
            ["Identity", "Date", "User-To-User"]
        );
        assert!(names(&[header("Date"), header("Server")], &[]).is_empty());
    }
}
