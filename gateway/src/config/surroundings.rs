//! What defaults depend on: this box, as it is at the start.

use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;

#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The environment.
    pub variables: Vec<(String, String)>,
    /// Addresses of interfaces that are up, loopback included, link-local ones left out.
    pub interfaces: Vec<IpAddr>,
    pub ipv6: bool,
    pub cores: usize,
    pub root: bool,
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
        }
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

fn interfaces() -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .filter(|interface| interface.is_oper_up() || interface.is_loopback())
        .map(|interface| interface.ip())
        .filter(|ip| !is_link_local(*ip))
        .collect();
    // IPv4 first, loopback last within its family: the order in which peers are told.
    addresses.sort_by_key(|ip| (ip.is_ipv6(), ip.is_loopback(), *ip));
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
