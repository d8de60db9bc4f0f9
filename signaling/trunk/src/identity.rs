//! How a caller is shown (RFC 3323, RFC 3325, RFC 5806), and what a line tells of one.

use crate::api::{AccountSpec, CallerIdentity, Header, Identity};
use crate::inbound::identity;
use crate::registration::domain_uri;
use signaling_sip::message::{
    HeaderName, Message, NameAddr, Uri, WriteFault, addr_spec, asks_for_privacy, is_token,
    split_list, unfold,
};

const ANONYMOUS: &str = "anonymous";

/// From without its tag. A hidden caller has neither name nor host (RFC 3323 §4.1.1.3).
pub(crate) fn from_of(
    spec: &AccountSpec,
    display: &str,
    caller: &CallerIdentity,
) -> Result<Vec<u8>, WriteFault> {
    if caller.from_user.eq_ignore_ascii_case(ANONYMOUS) {
        return addr_spec("Anonymous", b"sip:anonymous@anonymous.invalid");
    }
    let user = if caller.from_user.is_empty() {
        &spec.login
    } else {
        &caller.from_user
    };
    let uri = domain_uri(
        spec,
        Some(checked(user, "caller")?).filter(|u| !u.is_empty()),
    )?;
    addr_spec(display, &uri.to_bytes())
}

/// P-Asserted-Identity, Privacy and Diversion. Who is asserted is for those alone who are trusted with it (RFC 3325
/// §9.1). `address`: the URI of a user.
pub(crate) fn identity_headers(
    address: impl Fn(&str) -> Result<Vec<u8>, WriteFault>,
    display: &str,
    caller: &CallerIdentity,
    trusted: bool,
) -> Result<Vec<(String, Vec<u8>)>, WriteFault> {
    let mut headers = Vec::new();
    if let (Some(user), true) = (&caller.asserted_user, trusted) {
        checked(user, "asserted identity")?;
        let value = addr_spec(display, &address(user)?)?;
        headers.push(("P-Asserted-Identity".into(), value));
    }
    if let Some(privacy) = caller.privacy.as_ref().filter(|p| !p.is_empty()) {
        if !privacy
            .split(';')
            .all(|word| is_token(word.trim().as_bytes()))
        {
            return Err(WriteFault::Param("Privacy".into()));
        }
        headers.push(("Privacy".into(), privacy.clone().into_bytes()));
    }
    for diversion in &caller.diversion {
        NameAddr::parse(diversion.as_bytes())?;
        headers.push(("Diversion".into(), diversion.clone().into_bytes()));
    }
    Ok(headers)
}

fn checked<'u>(user: &'u str, place: &str) -> Result<&'u [u8], WriteFault> {
    if user.chars().any(char::is_control) {
        return Err(WriteFault::Control(place.into()));
    }
    Ok(user.as_bytes())
}

/// Headers that go out on a line beside ours. Who calls is said by [`CallerIdentity`] alone; a signature of RFC 8224
/// and the Date that it counts from pass as they are, but not to the untrusted where the caller asked for privacy.
pub(crate) fn of_line(headers: Vec<Header>, caller: &CallerIdentity, trusted: bool) -> Vec<Header> {
    let private = caller
        .privacy
        .as_deref()
        .is_some_and(|p| asks_for_privacy(p.as_bytes()));
    let passes = |header: &Header| {
        if is_signature(header.name.as_bytes()) {
            return trusted || !private;
        }
        !is_about_caller(header.name.as_bytes())
    };
    headers.into_iter().filter(passes).collect()
}

/// `Identity` in full or compact (RFC 8224 §4).
pub(crate) fn is_signature(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"Identity") || name.eq_ignore_ascii_case(b"y")
}

/// What is told by words of its own, or only among those who trust each other.
pub(crate) fn is_about_caller(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 7] = [
        b"P-Asserted-Identity",
        b"P-Preferred-Identity",
        b"Remote-Party-ID",
        b"Identity-Info",
        b"n",
        b"Privacy",
        b"Diversion",
    ];
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Whom the Request-URI names. Where that is `contact_user`, which we drew, it says nothing: then whom the registrar
/// says was called (RFC 7315 §4.2), or To.
pub(crate) fn called(message: &Message<'_>, contact_user: &str) -> Identity {
    let uri = message.uri_text();
    let user = Uri::parse(uri).ok().and_then(|uri| uri.user());
    if user.as_deref() != Some(contact_user.as_bytes()) {
        let text = String::from_utf8_lossy(uri).into_owned();
        return Identity {
            user: user.map_or_else(
                || text.clone(),
                |u| String::from_utf8_lossy(&u).into_owned(),
            ),
            display: String::new(),
            uri: text,
        };
    }
    let said = message
        .value_named("P-Called-Party-ID")
        .map(NameAddr::parse);
    match said {
        Some(Ok(party)) => identity(&party),
        Some(Err(_)) | None => message.to().map(|to| identity(&to)).unwrap_or_default(),
    }
}

/// The first P-Asserted-Identity that can be read.
pub(crate) fn asserted(message: &Message<'_>) -> Option<Identity> {
    message
        .fields()
        .filter(|(_, name, _)| name.eq_ignore_ascii_case(b"P-Asserted-Identity"))
        .find_map(|(_, _, value)| {
            let value = unfold(value);
            let mut found = split_list(&value).filter_map(|one| NameAddr::parse(one).ok());
            found.next().map(|addr| identity(&addr))
        })
}

/// What else an INVITE of a line said. Privacy and Diversion are told whoever says them; who is asserted is not, since
/// [`asserted`] is where a trusted line is believed.
pub(crate) fn headers_of_line(message: &Message<'_>) -> Vec<Header> {
    message
        .fields()
        .filter(|(id, name, _)| {
            let hidden = is_about_caller(name)
                && !name.eq_ignore_ascii_case(b"Privacy")
                && !name.eq_ignore_ascii_case(b"Diversion");
            // Whoever passes the call on wants to know how many hops are left.
            let listed = matches!(
                id,
                HeaderName::Other
                    | HeaderName::Subject
                    | HeaderName::ReferredBy
                    | HeaderName::MaxForwards
            );
            listed && !hidden && !name.eq_ignore_ascii_case(b"Authentication-Info")
        })
        .map(|(_, name, value)| {
            let name = if is_signature(name) {
                b"Identity"
            } else {
                name
            };
            Header {
                name: String::from_utf8_lossy(name).into_owned(),
                value: String::from_utf8_lossy(&unfold(value)).into_owned(),
            }
        })
        .collect()
}
