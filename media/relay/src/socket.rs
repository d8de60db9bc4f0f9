//! UDP sockets, many datagrams per system call, each answered from the address that it came to.
//!
//! The only home of `unsafe` in this project.

use media_engine::{Datagram, Path, SocketId};
use mio::net::UdpSocket;
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::Duration;

/// Datagrams per system call.
pub const CHUNK: usize = 64;
/// Room for one control message with the larger of `in_pktinfo` and `in6_pktinfo`, 40 bytes on Linux.
const CONTROL: usize = 64;

pub struct Socket {
    inner: UdpSocket,
    /// Bound to all addresses, so that packets must say which of them they use.
    wildcard: bool,
}

impl Socket {
    /// `dscp`: how its packets are to be treated on their way, 0 to 63 (RFC 2474).
    pub fn bind(
        address: SocketAddr,
        receive_buffer: Option<usize>,
        dscp: u8,
    ) -> io::Result<Socket> {
        let socket = RawSocket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        socket.set_nonblocking(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if let Some(bytes) = receive_buffer {
            // The system may give less; then it is less.
            let _ = socket.set_recv_buffer_size(bytes);
            let _ = socket.set_send_buffer_size(bytes);
        }
        mark(&socket, address.is_ipv6(), dscp);
        let wildcard = address.ip().is_unspecified();
        if wildcard {
            request_packet_info(&socket, address.is_ipv6())?;
        }
        socket.bind(&address.into())?;
        Ok(Socket {
            inner: UdpSocket::from_std(socket.into()),
            wildcard,
        })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    pub fn source(&mut self) -> &mut UdpSocket {
        &mut self.inner
    }
}

/// The six upper bits of the octet; the lower two are for congestion (RFC 3168 §5). A system that does not let us is
/// no reason to be silent.
fn mark(socket: &RawSocket, v6: bool, dscp: u8) {
    let octet = u32::from(dscp.min(63)) << 2;
    let marked = if v6 {
        socket.set_tclass_v6(octet)
    } else {
        socket.set_tos_v4(octet)
    };
    if let Err(error) = marked {
        tracing::debug!(%error, dscp, "packets cannot be marked");
    }
}

fn request_packet_info(socket: &RawSocket, v6: bool) -> io::Result<()> {
    let on: libc::c_int = 1;
    let (level, name) = if v6 {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    } else {
        (libc::IPPROTO_IP, libc::IP_PKTINFO)
    };
    // SAFETY: the descriptor is open for the whole call, and the option is an int, whose address and
    // size are given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            ptr::from_ref(&on).cast(),
            mem::size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[repr(C, align(16))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// Headers of a batch of system calls, kept between them.
pub struct Calls {
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
}

// SAFETY: the raw pointers in `headers` and `vectors` are written anew at the start of every call that
// uses them and never read outside of it, so that they may be anywhere when the thread changes.
unsafe impl Send for Calls {}

impl Calls {
    pub fn new() -> Calls {
        // SAFETY: all three are plain C structures, for which all bytes zero is a valid value.
        let (header, vector, name) = unsafe {
            (
                MaybeUninit::<libc::mmsghdr>::zeroed().assume_init(),
                MaybeUninit::<libc::iovec>::zeroed().assume_init(),
                MaybeUninit::<libc::sockaddr_storage>::zeroed().assume_init(),
            )
        };
        Calls {
            headers: vec![header; CHUNK],
            vectors: vec![vector; CHUNK],
            names: vec![name; CHUNK],
            controls: vec![Control([0; CONTROL]); CHUNK],
        }
    }

    /// Receives into the first slots of `batch`. Fewer than asked for means that the socket is empty.
    pub fn receive(
        &mut self,
        socket: &Socket,
        id: SocketId,
        batch: &mut [Datagram],
    ) -> io::Result<Received> {
        let asked = batch.len().min(CHUNK);
        for (i, slot) in batch.iter_mut().take(asked).enumerate() {
            let area = slot.buf.receive_area();
            self.vectors[i] = libc::iovec {
                iov_base: area.as_mut_ptr().cast(),
                iov_len: area.len(),
            };
            self.prepare(i, socket.wildcard);
        }
        // SAFETY: the first `asked` headers point to live vectors, names and controls of `self` and
        // through the vectors to the buffers of `batch`, each with its true length; none of them moves
        // or is otherwise touched during the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.inner.as_raw_fd(),
                self.headers.as_mut_ptr(),
                asked as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock => Ok(Received {
                    count: 0,
                    drained: true,
                }),
                // An ICMP error of an earlier send, or a signal: there may be more behind it.
                io::ErrorKind::Interrupted
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable => Ok(Received {
                    count: 0,
                    drained: false,
                }),
                _ => Err(error),
            };
        };
        for (i, slot) in batch.iter_mut().take(count).enumerate() {
            let header = &self.headers[i];
            let truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            let remote = decode(&self.names[i]);
            match remote {
                Some(remote) if !truncated => {
                    let local = if socket.wildcard {
                        local_address(&header.msg_hdr)
                    } else {
                        None
                    };
                    slot.received(
                        Path {
                            socket: id,
                            local,
                            remote,
                        },
                        header.msg_len as usize,
                    );
                }
                _ => slot.discard(),
            }
        }
        Ok(Received {
            count,
            drained: count < asked,
        })
    }

    /// Sends datagrams of one socket. What the network does not take is lost, as on any network.
    pub fn send<'a>(
        &mut self,
        socket: &Socket,
        packets: impl Iterator<Item = (Path, &'a [u8])>,
    ) -> usize {
        let mut sent = 0;
        let mut count = 0;
        for (path, packet) in packets {
            let i = count;
            self.vectors[i] = libc::iovec {
                iov_base: packet.as_ptr().cast_mut().cast(),
                iov_len: packet.len(),
            };
            self.prepare(i, false);
            self.headers[i].msg_hdr.msg_namelen = encode(path.remote, &mut self.names[i]);
            if socket.wildcard
                && let Some(local) = path.local
            {
                let len = write_source(local, &mut self.controls[i]);
                let header = &mut self.headers[i].msg_hdr;
                header.msg_control = self.controls[i].0.as_mut_ptr().cast();
                header.msg_controllen = len as _;
            }
            count += 1;
            if count == CHUNK {
                sent += self.flush(socket, count);
                count = 0;
            }
        }
        sent + self.flush(socket, count)
    }

    fn flush(&mut self, socket: &Socket, count: usize) -> usize {
        let mut from = 0;
        let mut sent = 0;
        while from < count {
            // SAFETY: headers `from..count` point to names and controls of `self` and to packets that
            // `send` borrows for 'a, longer than this call; the kernel only reads them.
            let done = unsafe {
                libc::sendmmsg(
                    socket.inner.as_raw_fd(),
                    self.headers.as_mut_ptr().add(from),
                    (count - from) as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                )
            };
            match usize::try_from(done) {
                Ok(done) if done > 0 => {
                    from += done;
                    sent += done;
                }
                // The first one is refused (no route, a full queue, an old ICMP error): not the others.
                _ => from += 1,
            }
        }
        sent
    }

    fn prepare(&mut self, i: usize, with_control: bool) {
        let header = &mut self.headers[i].msg_hdr;
        header.msg_name = ptr::from_mut(&mut self.names[i]).cast();
        header.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        header.msg_iov = &mut self.vectors[i];
        header.msg_iovlen = 1;
        header.msg_flags = 0;
        if with_control {
            header.msg_control = self.controls[i].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL as _;
        } else {
            header.msg_control = ptr::null_mut();
            header.msg_controllen = 0;
        }
        self.headers[i].msg_len = 0;
    }
}

pub struct Received {
    pub count: usize,
    /// Nothing is left; the poll will tell of more.
    pub drained: bool,
}

fn decode(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the kernel wrote a `sockaddr_in`, which is smaller than the
            // storage and needs no stricter alignment.
            let v4 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::V4(SocketAddrV4::new(
                ip,
                u16::from_be(v4.sin_port),
            )))
        }
        libc::AF_INET6 => {
            // SAFETY: as above, with `sockaddr_in6`.
            let v6 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(SocketAddr::V6(SocketAddrV6::new(
                ip,
                port,
                0,
                v6.sin6_scope_id,
            )))
        }
        _ => None,
    }
}

fn encode(address: SocketAddr, name: &mut libc::sockaddr_storage) -> libc::socklen_t {
    match address {
        SocketAddr::V4(v4) => {
            // SAFETY: the storage is larger than a `sockaddr_in` and aligned for it, and any bytes are a
            // valid one.
            let out = unsafe { &mut *ptr::from_mut(name).cast::<libc::sockaddr_in>() };
            out.sin_family = libc::AF_INET as libc::sa_family_t;
            out.sin_port = v4.port().to_be();
            out.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
            mem::size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(v6) => {
            // SAFETY: as above, with `sockaddr_in6`.
            let out = unsafe { &mut *ptr::from_mut(name).cast::<libc::sockaddr_in6>() };
            out.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            out.sin6_port = v6.port().to_be();
            out.sin6_flowinfo = 0;
            out.sin6_addr.s6_addr = v6.ip().octets();
            out.sin6_scope_id = v6.scope_id();
            mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

/// The address of ours that a datagram came to.
fn local_address(header: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: the kernel filled in the control buffer and its length; the CMSG functions walk it within
    // that length, and the payload is read unaligned and only if it is long enough.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            let kind = ((*control).cmsg_level, (*control).cmsg_type);
            let len = (*control).cmsg_len as usize;
            let data = libc::CMSG_DATA(control);
            if kind == (libc::IPPROTO_IP, libc::IP_PKTINFO)
                && len >= libc::CMSG_LEN(mem::size_of::<libc::in_pktinfo>() as u32) as usize
            {
                let info: libc::in_pktinfo = ptr::read_unaligned(data.cast());
                return Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into());
            }
            if kind == (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO)
                && len >= libc::CMSG_LEN(mem::size_of::<libc::in6_pktinfo>() as u32) as usize
            {
                let info: libc::in6_pktinfo = ptr::read_unaligned(data.cast());
                return Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    None
}

/// Writes the control message that makes a datagram leave from `local`; returns the length used.
fn write_source(local: IpAddr, control: &mut Control) -> usize {
    fn put<T>(control: &mut Control, level: libc::c_int, kind: libc::c_int, info: T) -> usize {
        let size = mem::size_of::<T>() as u32;
        // SAFETY: `Control` is aligned for a `cmsghdr`, and its 64 bytes hold one with either payload
        // (CMSG_SPACE of 12 and of 20 bytes is 32 and 40); the payload is written unaligned.
        unsafe {
            debug_assert!(libc::CMSG_SPACE(size) as usize <= CONTROL);
            let header: *mut libc::cmsghdr = control.0.as_mut_ptr().cast();
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            (*header).cmsg_len = libc::CMSG_LEN(size) as _;
            ptr::write_unaligned(libc::CMSG_DATA(header).cast(), info);
            libc::CMSG_SPACE(size) as usize
        }
    }
    match local {
        IpAddr::V4(v4) => {
            let address = libc::in_addr {
                s_addr: u32::from(v4).to_be(),
            };
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: address,
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            put(control, libc::IPPROTO_IP, libc::IP_PKTINFO, info)
        }
        IpAddr::V6(v6) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: v6.octets(),
                },
                ipi6_ifindex: 0,
            };
            put(control, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
        }
    }
}

/// CPU time that this thread has used.
pub fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live timespec, which the call only writes.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    if result != 0 {
        return Duration::ZERO;
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
