//! rtpengine in userspace, driven over its ng protocol: a cookie, a space, a bencoded dictionary.

use crate::process::Running;
use crate::target::{BrowserSide, Placed, Target};
use std::fmt::Write;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

pub struct RtpEngine {
    child: Running,
    control: UdpSocket,
    cookie: u64,
}

fn string(text: &str) -> String {
    format!("{}:{text}", text.len())
}

fn list(items: &[&str]) -> String {
    format!(
        "l{}e",
        items.iter().map(|item| string(item)).collect::<String>()
    )
}

/// A dictionary of these; the protocol does not mind their order.
fn dict(entries: &[(&str, String)]) -> String {
    let body: String = entries
        .iter()
        .map(|(key, value)| string(key) + value)
        .collect();
    format!("d{body}e")
}

/// The value of a string entry, found by its key: enough for the flat answers that we read.
fn entry(answer: &str, key: &str) -> Option<String> {
    let at = answer.find(&string(key))? + string(key).len();
    let (len, rest) = answer[at..].split_once(':')?;
    Some(rest.get(..len.parse().ok()?)?.to_owned())
}

impl RtpEngine {
    pub fn start() -> Option<RtpEngine> {
        let port = UdpSocket::bind("127.0.0.1:0")
            .and_then(|s| s.local_addr())
            .ok()?
            .port();
        let child = Command::new("rtpengine")
            .args([
                "--foreground",
                "--table=-1",
                "--interface=127.0.0.1",
                "--num-threads=1",
            ])
            .args([
                "--port-min=30000",
                "--port-max=45000",
                "--log-level=1",
                "--log-stderr",
            ])
            .args([
                "--config-file=none",
                &format!("--listen-ng=127.0.0.1:{port}"),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let control = UdpSocket::bind("127.0.0.1:0").ok()?;
        control.connect(("127.0.0.1", port)).ok()?;
        control
            .set_read_timeout(Some(Duration::from_millis(500)))
            .ok()?;
        let mut engine = RtpEngine {
            child: Running(child),
            control,
            cookie: 0,
        };
        // It takes a moment to listen.
        (0..10).find(|_| {
            let answer = engine.ask(&dict(&[("command", string("ping"))]));
            if answer.is_none() {
                std::thread::sleep(Duration::from_millis(200));
            }
            answer.is_some()
        })?;
        Some(engine)
    }

    fn ask(&mut self, message: &str) -> Option<String> {
        self.cookie += 1;
        let cookie = format!("c{}", self.cookie);
        for _ in 0..3 {
            let _ = self.control.send(format!("{cookie} {message}").as_bytes());
            let mut buf = [0; 8192];
            while let Ok(len) = self.control.recv(&mut buf) {
                let text = String::from_utf8_lossy(&buf[..len]).into_owned();
                if let Some(answer) = text.strip_prefix(&format!("{cookie} ")) {
                    return Some(answer.to_owned());
                }
            }
        }
        None
    }

    fn describe(&mut self, entries: &[(&str, String)]) -> String {
        let answer = self.ask(&dict(entries)).expect("rtpengine answers");
        entry(&answer, "sdp").unwrap_or_else(|| panic!("no description in {answer}"))
    }
}

fn head(address: SocketAddr, protocol: &str) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} {protocol} 0\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\na=ptime:20\r\n"
    )
}

fn port_of(sdp: &str) -> u16 {
    let line = sdp
        .lines()
        .find(|line| line.starts_with("m=audio "))
        .expect("an m-line");
    line.split(' ')
        .nth(1)
        .and_then(|port| port.parse().ok())
        .expect("a port")
}

fn attribute(sdp: &str, name: &str) -> String {
    let prefix = format!("a={name}:");
    let line = sdp.lines().find_map(|line| line.strip_prefix(&prefix));
    line.unwrap_or_else(|| panic!("no {name} in {sdp}"))
        .trim()
        .to_owned()
}

impl Target for RtpEngine {
    fn name(&self) -> String {
        "rtpengine".to_owned()
    }

    fn pid(&self) -> u32 {
        self.child.0.id()
    }

    fn place(&mut self, n: usize, browser: &BrowserSide, phone: SocketAddr) -> Placed {
        let hex: Vec<String> = browser
            .fingerprint
            .iter()
            .map(|b| format!("{b:02X}"))
            .collect();
        let mut offer = head(browser.address, "UDP/TLS/RTP/SAVPF");
        let (ip, port) = (browser.address.ip(), browser.address.port());
        let _ = write!(
            offer,
            "a=rtcp-mux\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n\
             a=candidate:1 1 udp 2130706431 {ip} {port} typ host\r\na=end-of-candidates\r\n\
             a=setup:active\r\na=fingerprint:sha-256 {}\r\n",
            browser.ufrag,
            browser.pwd,
            hex.join(":")
        );
        let id = format!("bench-{n}");
        let common = [("call-id", string(&id)), ("from-tag", string("browser"))];
        let offer = [
            &common[..],
            &[
                ("command", string("offer")),
                ("sdp", string(&offer)),
                ("ICE", string("remove")),
                ("transport-protocol", string("RTP/AVP")),
                ("rtcp-mux", list(&["demux"])),
                ("replace", list(&["origin"])),
            ],
        ]
        .concat();
        let to_phone = self.describe(&offer);
        let answer = [
            &common[..],
            &[
                ("to-tag", string("phone")),
                ("command", string("answer")),
                ("sdp", string(&head(phone, "RTP/AVP"))),
                ("ICE", string("force")),
                ("transport-protocol", string("UDP/TLS/RTP/SAVPF")),
                ("DTLS", string("passive")),
                ("rtcp-mux", list(&["accept"])),
                ("replace", list(&["origin"])),
            ],
        ]
        .concat();
        let to_browser = self.describe(&answer);
        Placed {
            browser: SocketAddr::new(ip, port_of(&to_browser)),
            ice: Some((
                attribute(&to_browser, "ice-ufrag"),
                attribute(&to_browser, "ice-pwd"),
            )),
            phone: SocketAddr::new(ip, port_of(&to_phone)),
        }
    }
}
