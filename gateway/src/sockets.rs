//! Listening sockets, opened with a sentence for the operator when one cannot be had.

use crate::config::Listen;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// With port 0 on several addresses the port that the first one got may be taken on the second.
const PORT_0_ATTEMPTS: usize = 16;

/// One listener for each address of `listen`, all on one port.
///
/// # Errors
/// A sentence that begins with `setting`.
pub fn tcp(setting: &str, listen: Listen, ipv6: bool) -> Result<Vec<TcpListener>, String> {
    on_one_port(setting, listen, ipv6, tcp_at, TcpListener::local_addr)
}

/// One socket for each address of `listen`, all on one port.
///
/// # Errors
/// A sentence that begins with `setting`.
pub fn udp(setting: &str, listen: Listen, ipv6: bool) -> Result<Vec<UdpSocket>, String> {
    on_one_port(setting, listen, ipv6, udp_at, UdpSocket::local_addr)
}

/// What to tell when `address` cannot be bound.
pub fn cannot_listen(setting: &str, address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "{setting}: port {} of {} is taken by another program.",
                address.port(),
                address.ip()
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            format!(
                "{setting}: {} is no address of this computer.",
                address.ip()
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "{setting}: the system does not let this user listen on port {}.",
                address.port()
            )
        }
        _ => format!("{setting}: {address} cannot be listened on: {error}."),
    }
}

fn on_one_port<T>(
    setting: &str,
    listen: Listen,
    ipv6: bool,
    open: impl Fn(SocketAddr) -> io::Result<T>,
    local: impl Fn(&T) -> io::Result<SocketAddr>,
) -> Result<Vec<T>, String> {
    let addresses = listen.addresses(ipv6);
    let mut attempts = 0;
    'attempt: loop {
        attempts += 1;
        let mut port = listen.port;
        let mut sockets = Vec::new();
        for address in &addresses {
            let address = SocketAddr::new(address.ip(), port);
            match open(address).and_then(|socket| Ok((local(&socket)?.port(), socket))) {
                Ok((bound, socket)) => {
                    port = bound;
                    sockets.push(socket);
                }
                Err(error) => {
                    let by_chance = listen.port == 0 && error.kind() == io::ErrorKind::AddrInUse;
                    if by_chance && attempts < PORT_0_ATTEMPTS {
                        continue 'attempt;
                    }
                    return Err(cannot_listen(setting, address, &error));
                }
            }
        }
        return Ok(sockets);
    }
}

fn tcp_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    // A restart must not wait for connections of the process before to be forgotten.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn udp_at(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Ready for an event loop; IPv6 sockets are for IPv6 alone, so that no v4-mapped address ever shows up.
fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    #[test]
    fn a_taken_port_is_one_sentence_that_names_the_setting() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let listen = Listen {
            ip: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            port,
        };
        assert_eq!(
            tcp("signaling.ws", listen, true).unwrap_err(),
            format!("signaling.ws: port {port} of 127.0.0.1 is taken by another program.")
        );
    }

    #[test]
    fn all_addresses_get_one_port() {
        let ipv6 = UdpSocket::bind("[::]:0").is_ok();
        let sockets = udp("sip.listen", Listen { ip: None, port: 0 }, ipv6).unwrap();
        let ports: Vec<_> = sockets
            .iter()
            .map(|s| s.local_addr().unwrap().port())
            .collect();
        assert!(
            ports.iter().all(|port| *port == ports[0] && *port != 0),
            "{ports:?}"
        );
    }
}
