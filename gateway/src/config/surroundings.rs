//! What defaults depend on: this box, as it is at the start.

use if_addrs::IfAddr;
use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;

#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The environment.
    pub variables: Vec<(String, String)>,
    /// Addresses of interfaces that are up with the lengths of their prefixes, loopback included, link-local
    /// ones left out.
    pub interfaces: Vec<(IpAddr, u8)>,
    pub ipv6: bool,
    pub cores: usize,
    pub root: bool,
    /// For a command that asks or shows and does not run: secrets are the gateway's, and its environment and files may
    /// be nobody else's. One that cannot be read here is taken as given.
    pub secrets_elsewhere: bool,
}

impl Surroundings {
    pub fn look() -> Surroundings {
        Surroundings {
            // What is not Unicode is none of ours.
            variables: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
            interfaces: interfaces(),
            ipv6: UdpSocket::bind("[::]:0").is_ok(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            root: is_root(),
            secrets_elsewhere: false,
        }
    }

    pub fn addresses(&self) -> Vec<IpAddr> {
        self.interfaces.iter().map(|(ip, _)| *ip).collect()
    }

    /// A service has its place under /var/lib; somebody who tries it out has it where they are.
    pub fn default_data_dir(&self) -> PathBuf {
        if self.root {
            PathBuf::from("/var/lib/trunkgate")
        } else {
            PathBuf::from("data")
        }
    }
}

fn interfaces() -> Vec<(IpAddr, u8)> {
    let mut addresses: Vec<(IpAddr, u8)> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .filter(|interface| interface.is_oper_up() || interface.is_loopback())
        .map(|interface| match interface.addr {
            IfAddr::V4(v4) => (IpAddr::V4(v4.ip), v4.prefixlen),
            IfAddr::V6(v6) => (IpAddr::V6(v6.ip), v6.prefixlen),
        })
        .filter(|(ip, _)| !is_link_local(*ip))
        .collect();
    // IPv4 first, loopback last within its family: the order in which peers are told.
    addresses.sort_by_key(|(ip, prefix)| (ip.is_ipv6(), ip.is_loopback(), *ip, *prefix));
    addresses.dedup();
    addresses
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(target_os = "linux")]
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    // Files of a process belong to its effective user.
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

#[cfg(not(target_os = "linux"))]
fn is_root() -> bool {
    false
}
