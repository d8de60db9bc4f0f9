//! One measurement: a subject, what it talks to, and what it cost.

use crate::process::{Cpu, Running, cpu, pin};
use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Settings {
    pub rate: u32,
    pub seconds: u32,
    pub core: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            rate: 500,
            seconds: 10,
            core: 0,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Calling,
    Called,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    pub calls: u32,
    pub failed: u32,
    /// Microseconds.
    pub user: f64,
    pub system: f64,
}

pub fn run(settings: &Settings, side: Side, ours: bool) -> Told {
    match (side, ours) {
        (Side::Calling, true) => we_call(settings),
        (Side::Calling, false) => sipp_calls(settings, true),
        (Side::Called, true) => we_are_called(settings),
        (Side::Called, false) => sipp_calls(settings, false),
    }
}

fn total(settings: &Settings) -> u32 {
    settings.rate * settings.seconds
}

fn other(settings: &Settings) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (settings.core + 1) % cores
}

/// A port that is free now.
fn port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port of loopback");
    socket.local_addr().expect("its address").port()
}

fn sipp(args: &[String]) -> Child {
    Command::new("sipp")
        .args(args)
        .args(["-i", "127.0.0.1", "-nostdin"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sipp is installed (sip-tester)")
}

fn uas(port: u16) -> Running {
    let args = ["-sn", "uas", "-p", &port.to_string()].map(String::from);
    let child = sipp(&args);
    // It is there when somebody else cannot bind its port.
    let until = Instant::now() + Duration::from_secs(5);
    while UdpSocket::bind(("127.0.0.1", port)).is_ok() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    Running(child)
}

fn uac(settings: &Settings, target: &str, user: &str) -> Child {
    let (rate, calls) = (settings.rate.to_string(), total(settings).to_string());
    sipp(
        &[
            "-sn",
            "uac",
            target,
            "-s",
            user,
            "-r",
            &rate,
            "-m",
            &calls,
            "-p",
            &port().to_string(),
        ]
        .map(String::from),
    )
}

/// Reads the CPU of `subject` until `caller` has ended.
fn watched(caller: &mut Child, subject: u32) -> (Cpu, bool) {
    let mut last = Cpu::default();
    loop {
        let now = cpu(subject);
        if now.total > 0.0 {
            last = now;
        }
        match caller.try_wait() {
            Ok(Some(status)) => return (last, status.success()),
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            Err(_) => return (last, false),
        }
    }
}

/// SIPp on both sides; `calling`: the caller is what is measured.
fn sipp_calls(settings: &Settings, calling: bool) -> Told {
    let port = port();
    let callee = uas(port);
    let mut caller = Running(uac(settings, &format!("127.0.0.1:{port}"), "1000"));
    let (subject, beside) = if calling {
        (caller.0.id(), callee.0.id())
    } else {
        (callee.0.id(), caller.0.id())
    };
    pin(subject, settings.core);
    pin(beside, other(settings));
    let before = cpu(subject);
    let (after, well) = watched(&mut caller.0, subject);
    let (user, system) = after.since(&before);
    Told {
        calls: total(settings),
        failed: u32::from(!well),
        user,
        system,
    }
}

struct Node {
    child: Running,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Node {
    fn start(args: &[String]) -> Node {
        let own = std::env::current_exe().expect("our own path");
        let mut child = Command::new(own)
            .arg("node")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("ourselves");
        let stdout = child.stdout.take().expect("piped");
        Node {
            child: Running(child),
            lines: BufReader::new(stdout).lines(),
        }
    }

    fn line(&mut self) -> String {
        self.lines.next().and_then(Result::ok).unwrap_or_default()
    }

    fn go(&mut self) {
        if let Some(stdin) = &mut self.child.0.stdin {
            let _ = writeln!(stdin, "go");
        }
    }

    fn id(&self) -> u32 {
        self.child.0.id()
    }
}

fn we_call(settings: &Settings) -> Told {
    let port = port();
    let callee = uas(port);
    pin(callee.0.id(), other(settings));
    let args = [
        format!("127.0.0.1:{port}"),
        settings.rate.to_string(),
        total(settings).to_string(),
    ];
    let mut node = Node::start(&args);
    node.line();
    pin(node.id(), settings.core);
    let before = cpu(node.id());
    node.go();
    // "DONE FAILED"
    let done = node.line();
    let (user, system) = cpu(node.id()).since(&before);
    let mut numbers = done.split(' ').map(|n| n.parse().unwrap_or(0));
    Told {
        calls: numbers.next().unwrap_or(0),
        failed: numbers.next().unwrap_or(0),
        user,
        system,
    }
}

fn we_are_called(settings: &Settings) -> Told {
    // Our account registers at a socket of ours, which learns the Contact.
    let registrar = UdpSocket::bind("127.0.0.1:0").expect("a port of loopback");
    let address = registrar.local_addr().expect("its address").to_string();
    let mut node = Node::start(&[address, "0".into(), "0".into()]);
    let mut buf = [0; 4096];
    let (len, from) = registrar.recv_from(&mut buf).expect("a REGISTER");
    let request = String::from_utf8_lossy(&buf[..len]).into_owned();
    let line = |name: &str| {
        request
            .lines()
            .find(|l| l.starts_with(name))
            .unwrap_or_default()
            .to_string()
    };
    let contact = line("Contact: ");
    let ok = format!(
        "SIP/2.0 200 OK\r\n{}\r\n{}\r\n{};tag=r\r\n{}\r\n{}\r\n{contact}\r\nContent-Length: 0\r\n\r\n",
        line("Via: "),
        line("From: "),
        line("To: "),
        line("Call-ID: "),
        line("CSeq: ")
    );
    let _ = registrar.send_to(ok.as_bytes(), from);
    node.line();
    let uri = contact.split("sip:").nth(1).unwrap_or_default();
    let user = uri.split('@').next().unwrap_or_default();
    pin(node.id(), settings.core);
    let before = cpu(node.id());
    let mut caller = Running(uac(settings, &from.to_string(), user));
    pin(caller.0.id(), other(settings));
    let (after, well) = watched(&mut caller.0, node.id());
    let (user, system) = after.since(&before);
    Told {
        calls: total(settings),
        failed: u32::from(!well),
        user,
        system,
    }
}
