use super::lex::{self, Params};
use super::uri::host_port;
use super::{Fault, Host};
use std::net::IpAddr;

/// One hop of a Via (RFC 3261 §20.42).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// As written; unknown ones are no fault.
    pub transport: &'a [u8],
    pub host: Host,
    pub port: Option<u16>,
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    /// `SIP / 2.0 / UDP host : port ; params`, white space allowed nearly everywhere.
    pub fn parse(value: &'a [u8]) -> Result<Via<'a>, Fault> {
        let (protocol, rest) = token(value)?;
        let (version, rest) = token(slash(rest)?)?;
        let (transport, rest) = token(slash(rest)?)?;
        if !protocol.eq_ignore_ascii_case(b"SIP") || !rest.first().is_some_and(|b| lex::is_lws(*b))
        {
            return Err(Fault::Via);
        }
        if version != b"2.0" {
            return Err(Fault::Version);
        }
        let rest = lex::trim(rest);
        let end = rest.iter().position(|b| *b == b';').unwrap_or(rest.len());
        let (sent_by, params) = rest.split_at(end);
        let compact: Vec<u8>;
        let sent_by = lex::trim(sent_by);
        let (host, port) = if sent_by.iter().any(|b| lex::is_lws(*b)) {
            // Only around the colon (HCOLON): "host : 5060".
            let mut halves = sent_by.splitn(2, |b| *b == b':').map(lex::trim);
            let (host, port) = (
                halves.next().unwrap_or_default(),
                halves.next().ok_or(Fault::Via)?,
            );
            compact = [host, b":", port].concat();
            host_port(&compact).map_err(|_| Fault::Via)?
        } else {
            host_port(sent_by).map_err(|_| Fault::Via)?
        };
        let params = Params::parse(params).map_err(|_| Fault::Via)?;
        Ok(Via {
            transport,
            host,
            port,
            params,
        })
    }

    pub fn branch(&self) -> Option<&'a [u8]> {
        self.params.get("branch").filter(|b| !b.is_empty())
    }

    /// The branch where it is unique by RFC 3261 §8.1.1.7: the cookie, and something behind it.
    pub fn unique_branch(&self) -> Option<&'a [u8]> {
        let branch = self.branch()?;
        let cookie = branch.get(..7)?;
        (cookie.eq_ignore_ascii_case(b"z9hG4bK") && branch.len() > 7).then_some(branch)
    }

    /// Asks for the source port (RFC 3581).
    pub fn wants_rport(&self) -> bool {
        self.params.has("rport")
    }

    pub fn is_sent_by(&self, ip: IpAddr) -> bool {
        self.host == Host::Ip(ip)
    }
}

fn token(text: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let mut text = text;
    while let [first, rest @ ..] = text
        && lex::is_lws(*first)
    {
        text = rest;
    }
    let len = text.iter().take_while(|b| lex::is_token_byte(**b)).count();
    if len == 0 {
        Err(Fault::Via)
    } else {
        Ok(text.split_at(len))
    }
}

fn slash(text: &[u8]) -> Result<&[u8], Fault> {
    let lead = text.iter().take_while(|b| lex::is_lws(**b)).count();
    text.get(lead..)
        .and_then(|t| t.strip_prefix(b"/"))
        .ok_or(Fault::Via)
}
