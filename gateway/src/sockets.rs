//! Listening sockets, opened with a sentence for the operator when one cannot be had.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// With port 0 on several addresses the port that the first one got may be taken on the second.
const PORT_0_ATTEMPTS: usize = 16;

/// How transports are called in sentences: a port may be taken for one of them only.
pub const TCP: &str = "TCP";
pub const UDP: &str = "UDP";

/// One listener for each of `addresses`, all on one port if they ask for the same.
///
/// # Errors
/// A sentence that begins with `setting`.
pub fn tcp(setting: &str, addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, String> {
    on_one_port(setting, TCP, addresses, tcp_at, TcpListener::local_addr)
}

/// One socket for each of `addresses`, all on one port if they ask for the same.
///
/// # Errors
/// A sentence that begins with `setting`.
pub fn udp(setting: &str, addresses: &[SocketAddr]) -> Result<Vec<UdpSocket>, String> {
    on_one_port(setting, UDP, addresses, udp_at, UdpSocket::local_addr)
}

/// What to tell when `address` cannot be bound.
pub fn cannot_listen(
    setting: &str,
    transport: &str,
    address: SocketAddr,
    error: &io::Error,
) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "{setting}: {transport} port {} of {} is taken by another program.",
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
                "{setting}: the system does not let this user listen on {transport} port {}.",
                address.port()
            )
        }
        _ => format!("{setting}: {transport} {address} cannot be listened on: {error}."),
    }
}

fn on_one_port<T>(
    setting: &str,
    transport: &str,
    addresses: &[SocketAddr],
    open: impl Fn(SocketAddr) -> io::Result<T>,
    local: impl Fn(&T) -> io::Result<SocketAddr>,
) -> Result<Vec<T>, String> {
    let mut attempts = 0;
    'attempt: loop {
        attempts += 1;
        let mut chosen = None;
        let mut sockets = Vec::new();
        for wanted in addresses {
            let port = chosen
                .filter(|_| wanted.port() == 0)
                .unwrap_or(wanted.port());
            let address = SocketAddr::new(wanted.ip(), port);
            match open(address).and_then(|socket| Ok((local(&socket)?.port(), socket))) {
                Ok((bound, socket)) => {
                    chosen = Some(bound);
                    sockets.push(socket);
                }
                Err(error) => {
                    let by_chance = wanted.port() == 0 && error.kind() == io::ErrorKind::AddrInUse;
                    if by_chance && attempts < PORT_0_ATTEMPTS {
                        continue 'attempt;
                    }
                    return Err(cannot_listen(setting, transport, address, &error));
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

    #[test]
    fn a_taken_port_is_one_sentence_that_names_setting_and_transport() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(
            tcp("signaling.ws", &[address]).unwrap_err(),
            format!(
                "signaling.ws: TCP port {} of 127.0.0.1 is taken by another program.",
                address.port()
            )
        );
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(
            udp("sip.listen", &[address]).unwrap_err(),
            format!(
                "sip.listen: UDP port {} of 127.0.0.1 is taken by another program.",
                address.port()
            )
        );
    }

    #[test]
    fn all_addresses_get_one_port() {
        let addresses = ["127.0.0.1:0", "127.0.0.2:0"].map(|a| a.parse().unwrap());
        let sockets = udp("sip.listen", &addresses).unwrap();
        let ports: Vec<_> = sockets
            .iter()
            .map(|s| s.local_addr().unwrap().port())
            .collect();
        assert!(ports[0] == ports[1] && ports[0] != 0, "{ports:?}");
    }
}
