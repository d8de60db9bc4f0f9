//! The program as an operator meets it: its lines, its exit codes, its signals. On loopback, on free ports.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn trunkgate(folder: &Folder, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkgate"));
    command.args(arguments);
    for (variable, value) in [
        ("SIGNALING__WS", "127.0.0.1:0"),
        ("SIGNALING__WSS", "127.0.0.1:0"),
        ("SIP__LISTEN", "[\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"]"),
        ("ADMIN__LISTEN", "127.0.0.1:0"),
        ("MEDIA__ADDRESS", "127.0.0.1"),
        ("MEDIA__WEBRTC__PORT", "0"),
        ("MEDIA__RTP__PORTS", "0"),
        ("DATA_DIR", folder.0.to_str().unwrap()),
    ] {
        command.env(format!("TRUNKGATE_{variable}"), value);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A process that is killed with the test.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    lines: Vec<String>,
}

impl Running {
    fn start(mut command: Command) -> Running {
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut running = Running {
            child,
            out,
            lines: Vec::new(),
        };
        loop {
            let mut line = String::new();
            let read = running.out.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "ended before it was ready: {:?}", running.lines);
            let line = line.trim_end().to_owned();
            if line == "ready" {
                return running;
            }
            running.lines.push(line);
        }
    }

    fn address(&self, what: &str) -> &str {
        let begin = format!("listening {what} ");
        self.lines
            .iter()
            .find_map(|line| line.strip_prefix(&begin))
            .unwrap_or_else(|| panic!("{what}: {:?}", self.lines))
    }

    fn signal(&self, name: &str) {
        let killed = Command::new("kill")
            .args([name, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(killed.success());
    }

    fn get(&self, path: &str, headers: &str) -> String {
        self.ask("GET", path, headers)
    }

    fn post(&self, path: &str, headers: &str) -> String {
        self.ask("POST", path, headers)
    }

    fn ask(&self, method: &str, path: &str, headers: &str) -> String {
        let mut stream = std::net::TcpStream::connect(self.address("admin")).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn complaints(output: &Output) -> Vec<&str> {
    std::str::from_utf8(&output.stderr)
        .unwrap()
        .lines()
        .collect()
}

#[test]
fn it_tells_where_it_listens_and_ends_politely_at_sigterm() {
    let folder = Folder::new("politely");
    let mut running = Running::start(trunkgate(&folder, &[]));
    for what in [
        "signaling.ws",
        "signaling.wss",
        "admin",
        "sip udp:127.0.0.1",
        "sip tcp:127.0.0.1",
    ] {
        let begin = format!("listening {what}");
        assert!(
            running.lines.iter().any(|line| line.starts_with(&begin)),
            "{what}: {:?}",
            running.lines
        );
    }
    let told = running.lines.join("\n");
    assert!(
        told.contains("http://localhost:") && told.contains("sip.allowed_targets"),
        "{told}"
    );
    assert!(running.get("/healthz", "").starts_with("HTTP/1.1 200"));
    running.signal("-TERM");
    let mut rest = String::new();
    running.out.read_to_string(&mut rest).unwrap();
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_roles_of_two_processes_find_each_other_over_the_link() {
    let folder = Folder::new("apart");
    let media = ["--roles", "media", "--set", "link.listen=127.0.0.1:0"];
    let media = Running::start(trunkgate(&folder, &media));
    let peer = format!("link.peers=media={}", media.address("link"));
    let token = [
        "--set",
        "admin.token=sesam",
        "--roles",
        "signaling,trunk",
        "--set",
        &peer,
    ];
    let signaling = Running::start(trunkgate(&folder, &token));
    let up = |wanted: bool| {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let status = signaling.get("/api/status", "Authorization: Bearer sesam\r\n");
            let body = status.split("\r\n\r\n").nth(1).unwrap();
            let links = &serde_json::from_str::<serde_json::Value>(body).unwrap()["links"];
            if links["media"]["up"] == wanted {
                return;
            }
            std::thread::yield_now();
        }
        panic!("the link to media did not become {wanted}");
    };
    up(true);
    media.signal("-TERM");
    up(false);
}

#[test]
fn all_wrong_settings_are_told_at_once_with_code_2() {
    let folder = Folder::new("wrong");
    for action in ["run", "check-config"] {
        let wrong = [
            action,
            "--set",
            "calls.codec_policy=mp3",
            "--set",
            "link.grase=3",
        ];
        let output = trunkgate(&folder, &wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let complaints = complaints(&output);
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        assert!(
            complaints[1].contains("did you mean link.grace?"),
            "{complaints:?}"
        );
    }
    let output = trunkgate(&folder, &["check-config"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"configuration is right\n");
}

#[test]
fn taken_ports_are_told_by_their_settings_with_code_2() {
    let folder = Folder::new("taken");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let ws = format!("signaling.ws={}", taken.local_addr().unwrap());
    let admin = format!("admin.listen={}", taken.local_addr().unwrap());
    let output = trunkgate(&folder, &["--set", &ws, "--set", &admin])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let complaints = complaints(&output);
    assert_eq!(complaints.len(), 2, "{complaints:?}");
    assert!(
        complaints[0].starts_with("signaling.ws: TCP port "),
        "{complaints:?}"
    );
    assert!(
        complaints[1].starts_with("admin.listen: TCP port "),
        "{complaints:?}"
    );
}

#[test]
fn applications_are_set_up_by_commands_with_exit_codes_that_scripts_can_use() {
    let folder = Folder::new("apps");
    let run = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let output = trunkgate(&folder, &words).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (code, told, _) = run("add app shop shopKey https://shop.example/hooks");
    assert_eq!(code, Some(0));
    assert!(
        told.contains("No hook is on yet") && told.contains(folder.0.to_str().unwrap()),
        "{told}"
    );
    assert_eq!(run("app add-nothing").0, Some(2));
    assert_eq!(run("add app-rest-method shopKey connect").0, Some(0));
    let (code, told, _) = run("show app-rest-methods shopKey");
    assert_eq!((code, told.as_str()), (Some(0), "connect\n"));
    let (code, told, complaint) = run("add app shop other http://b");
    assert_eq!((code, told.as_str()), (Some(1), ""));
    assert_eq!(complaint, "There is an application named shop already.\n");
    assert_eq!(run("show apps --set link.grase=3").0, Some(2));
    let (code, told, _) = run("show rest-methods");
    assert!(code == Some(0) && told.lines().count() > 40);
    let (_, help, _) = run("add app --help");
    assert!(help.contains("<name> <appKey> <url>"), "{help}");
}

#[test]
fn a_file_of_applications_that_cannot_be_used_keeps_the_gateway_from_starting_and_is_told() {
    let folder = Folder::new("wrong-apps");
    std::fs::write(
        folder.0.join("apps.toml"),
        "[[app]]\nname = \"a\"\nkey = \"b c\"\n",
    )
    .unwrap();
    let output = trunkgate(&folder, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(
        text.contains("apps.toml") && text.contains("appKey must be"),
        "{text}"
    );
}

/// A port of loopback that hears what is sent to it.
fn ear() -> (std::net::UdpSocket, u16) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

fn hears(socket: &std::net::UdpSocket, method: &str) -> String {
    let until = Instant::now() + PATIENCE;
    let mut buf = [0; 4096];
    while Instant::now() < until {
        let n = socket.recv(&mut buf).expect("something is heard");
        let text = String::from_utf8_lossy(&buf[..n]).into_owned();
        if text.starts_with(method) {
            return text;
        }
    }
    panic!("no {method} came");
}

#[test]
fn a_reload_takes_up_a_trunk_without_a_restart_by_command_and_by_signal() {
    let folder = Folder::new("reload");
    let file = folder.0.join("trunkgate.toml");
    let (first, first_port) = ear();
    let (second, second_port) = ear();
    let trunk = |name: &str, port: u16| {
        format!(
            "[trunk.{name}]\nmode = \"register\"\nservers = \"127.0.0.1:{port}\"\nlogin = \"{name}\"\npassword = \"geheim\"\n"
        )
    };
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("[admin]\ntoken = \"sesam\"\n");
    let name = file.to_str().unwrap().to_owned();
    let running = Running::start(trunkgate(&folder, &["run", "--config", &name]));
    let admin = format!("admin.listen={}", running.address("admin"));
    let reload = || {
        trunkgate(&folder, &["reload", "--config", &name, "--set", &admin])
            .output()
            .unwrap()
    };

    write(&format!(
        "[admin]\ntoken = \"sesam\"\n{}",
        trunk("one", first_port)
    ));
    let output = reload();
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), told.as_str()),
        (Some(0), "Trunk one is new.\n")
    );
    assert!(hears(&first, "REGISTER").contains("<sip:one@"));

    // What is broken changes nothing, and what cannot be taken up is told.
    write("[admin]\ntoken = \"sesam\"\n[trunk.one]\nmode = \"sideways\"\n");
    let output = trunkgate(&folder, &["check-config", "--config", &name])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let answer = running.post("/reload", "Authorization: Bearer sesam\r\n");
    assert!(
        answer.starts_with("HTTP/1.1 422") && answer.contains("sideways"),
        "{answer}"
    );
    let closed = running.post("/reload", "");
    assert!(closed.starts_with("HTTP/1.1 401"), "{closed}");

    write(&format!(
        "[admin]\ntoken = \"sesam\"\n[calls]\nringback = \"us\"\n{}{}",
        trunk("one", first_port),
        trunk("two", second_port)
    ));
    running.signal("-HUP");
    assert!(hears(&second, "REGISTER").contains("<sip:two@"));
    let output = reload();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(
        told.contains("Needs a restart, and stays as it was until then: calls.ringback."),
        "{told}"
    );
}
