//! The name of this gateway in hooks: 32 alphanumerics that stay, `@`, an address (protocol §1.9).

use crate::config::Config;
use crate::files::{self, FileError};
use std::net::{IpAddr, Ipv4Addr};

const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const LENGTH: usize = 32;

/// Reads the letters from `data_dir/node_id`, which the first start makes.
pub fn load_or_make(config: &Config) -> Result<String, FileError> {
    let _lock = files::lock_dir(&config.data_dir)?;
    let path = config.data_dir.join("node_id");
    let letters = if path.exists() {
        let text = files::read_text(&path)?;
        let letters = text.trim();
        if letters.len() != LENGTH || !letters.bytes().all(|b| b.is_ascii_alphanumeric()) {
            let why = "it does not hold 32 letters and digits; removed, it is made anew";
            return Err(FileError::unusable(&path, why));
        }
        letters.to_owned()
    } else {
        let letters = draw().map_err(|why| FileError::unusable(&path, why))?;
        files::write_public(&path, format!("{letters}\n").as_bytes())?;
        letters
    };
    Ok(format!("{letters}@{}", address(config)))
}

fn draw() -> Result<String, getrandom::Error> {
    let mut letters = String::new();
    while letters.len() < LENGTH {
        let mut dice = [0; LENGTH];
        getrandom::fill(&mut dice)?;
        // Those of the 256 that are no whole multiple of 62 would favour the first letters.
        let fair = dice.iter().filter(|die| **die < 248);
        letters.extend(fair.map(|die| char::from(LETTERS[usize::from(*die) % LETTERS.len()])));
    }
    letters.truncate(LENGTH);
    Ok(letters)
}

/// What browsers are told first, else this box's first address.
fn address(config: &Config) -> IpAddr {
    let announced = config.media.webrtc.announce.first().map(|told| told.ip);
    let own = || config.interfaces.first().map(|(ip, _)| *ip);
    announced.or_else(own).unwrap_or(Ipv4Addr::LOCALHOST.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Arguments, Surroundings};
    use crate::files::test_dir;

    #[test]
    fn the_letters_stay_over_a_restart_and_the_address_is_the_announced_one() {
        let dir = test_dir();
        let load = |more: &[&str]| {
            let mut set = vec![format!("data_dir={:?}", dir.path())];
            set.extend(more.iter().map(|set| (*set).to_owned()));
            let arguments = Arguments {
                set,
                ..Arguments::default()
            };
            let around = Surroundings {
                interfaces: vec![([192, 0, 2, 7].into(), 24)],
                ..Surroundings::default()
            };
            load_or_make(&Config::load(&arguments, &around).unwrap())
        };
        let first = load(&[]).unwrap();
        let (letters, address) = first.split_once('@').unwrap();
        assert_eq!((letters.len(), address), (LENGTH, "192.0.2.7"));
        let again = load(&["media.webrtc.announce=203.0.113.7"]).unwrap();
        assert_eq!(again, format!("{letters}@203.0.113.7"));
        std::fs::write(dir.path().join("node_id"), "short").unwrap();
        assert!(load(&[]).is_err());
    }
}
