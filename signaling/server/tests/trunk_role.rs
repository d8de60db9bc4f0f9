//! The trunk role over real sockets on loopback, against peers of a page each.

use hickory_resolver::proto::op::{Message as DnsMessage, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, NAPTR, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use signaling_server::peer::FromPeer;
use signaling_server::sip_socket::Listen;
use signaling_server::trunk::{TrunkConfig, run};
use signaling_sip::message::{HeaderName, Message};
use signaling_trunk::api::{AccountId, AccountSpec, Cause, Command, End, Event, InviteId, Target};
use signaling_trunk::net::{Listener, Transport};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// How long anything may take before the test is given up.
const PATIENCE: Duration = Duration::from_secs(10);

struct Role {
    commands: mpsc::Sender<FromPeer<Command>>,
    events: mpsc::Receiver<(u64, Event)>,
    listeners: Vec<Listener>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Role {
    async fn start(dns_servers: Vec<SocketAddr>) -> Role {
        let listen = [Transport::Udp, Transport::Tcp].map(|transport| Listen {
            transport,
            bind: "127.0.0.1:0".parse().unwrap(),
            announce: None,
            name: String::new(),
        });
        let (bound, listeners) = oneshot::channel();
        let config = TrunkConfig {
            listen: listen.to_vec(),
            interfaces: vec![("127.0.0.1".parse().unwrap(), 8)],
            dns_servers,
            bound: Some(bound),
            ..TrunkConfig::default()
        };
        let (commands, taken) = mpsc::channel(64);
        let (told, events) = mpsc::channel(64);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            run(config, taken, told, stopped).await.unwrap();
        });
        let listeners = listeners.await.unwrap();
        Role {
            commands,
            events,
            listeners,
            stop,
            task,
        }
    }

    fn address(&self, transport: Transport) -> SocketAddr {
        self.listeners
            .iter()
            .find(|l| l.transport == transport)
            .unwrap()
            .bound
    }

    async fn command(&self, command: Command) {
        self.commands
            .send(FromPeer::Message(command))
            .await
            .unwrap();
    }

    async fn event(&mut self) -> Event {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        event.expect("an event in time").expect("running").1
    }
}

fn spec(proxy: &str) -> AccountSpec {
    AccountSpec {
        login: "me".into(),
        auth_name: String::new(),
        password: "secret".into(),
        domain: "pbx.test".into(),
        proxy: proxy.into(),
        port: 0,
        register: true,
        display: String::new(),
        contact_params: Vec::new(),
    }
}

/// 200 to everything but ACK, with what the request said.
fn ok(request: &[u8], contact: SocketAddr) -> Option<Vec<u8>> {
    let message = Message::parse(request).ok()?;
    if !message.is_request() || message.method_text() == b"ACK" {
        return None;
    }
    let mut out = "SIP/2.0 200 OK\r\n".to_string();
    for (id, _, value) in message.fields() {
        let value = String::from_utf8_lossy(value);
        match id {
            HeaderName::To if message.to().unwrap().tag().is_none() => {
                out += &format!("To: {value};tag=t\r\n");
            }
            HeaderName::Via
            | HeaderName::From
            | HeaderName::To
            | HeaderName::CallId
            | HeaderName::CSeq
            | HeaderName::Expires => out += &format!("{}: {value}\r\n", id.as_str()),
            _ => {}
        }
    }
    let body = if message.method_text() == b"INVITE" {
        "v=0\r\n"
    } else {
        ""
    };
    out += &format!(
        "Contact: <sip:bob@{contact}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Some(out.into_bytes())
}

async fn udp_pbx() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buf = vec![0; 65_536];
        while let Ok((len, from)) = socket.recv_from(&mut buf).await {
            if let Some(answer) = ok(&buf[..len], address) {
                socket.send_to(&answer, from).await.unwrap();
            }
        }
    });
    address
}

fn call() -> Command {
    Command::Invite {
        invite: InviteId(2),
        account: AccountId(1),
        target: Target::User {
            user: "7001".into(),
            params: Vec::new(),
        },
        from_display: String::new(),
        headers: Vec::new(),
        options: Default::default(),
        sdp: b"v=0\r\n".to_vec(),
    }
}

#[tokio::test]
async fn registers_calls_and_says_goodbye_over_udp() {
    let pbx = udp_pbx().await;
    let mut role = Role::start(Vec::new()).await;
    let open = Command::OpenAccount {
        account: AccountId(1),
        spec: spec(&pbx.to_string()),
    };
    role.command(open).await;
    assert!(matches!(
        role.event().await,
        Event::Registered { expires_s: 60, .. }
    ));
    role.command(call()).await;
    assert!(matches!(
        role.event().await,
        Event::Answered {
            status: 200,
            sdp: Some(_),
            ..
        }
    ));
    // The end of the role ends the call and the registration.
    role.stop.send(()).unwrap();
    let mut left = Vec::new();
    while let Some((_, event)) = role.events.recv().await {
        left.push(event);
    }
    assert!(
        left.iter().any(|e| matches!(
            e,
            Event::Ended {
                end: End::ByUs { .. },
                ..
            }
        )),
        "{left:?}"
    );
    assert!(
        left.iter().any(|e| matches!(e, Event::Unregistered { .. })),
        "{left:?}"
    );
    role.task.await.unwrap();
}

#[tokio::test]
async fn one_connection_serves_registration_and_call_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pbx = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut framer = signaling_sip::message::StreamFramer::default();
        let mut buf = vec![0; 4096];
        let mut methods = Vec::new();
        loop {
            let len = connection.read(&mut buf).await.unwrap();
            if len == 0 {
                return methods;
            }
            framer.push(&buf[..len]);
            let mut answers = Vec::new();
            while let Some(unit) = framer.next_unit() {
                if let signaling_sip::message::Unit::Message(message) = unit {
                    methods.push(String::from_utf8_lossy(message.method_text()).into_owned());
                    answers.extend(ok(message.raw(), pbx));
                }
            }
            for answer in answers {
                let answer = String::from_utf8(answer).unwrap();
                let answer =
                    answer.replace(&format!("bob@{pbx}"), &format!("bob@{pbx};transport=tcp"));
                connection.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    let mut role = Role::start(Vec::new()).await;
    let proxy = format!("{pbx};transport=tcp");
    role.command(Command::OpenAccount {
        account: AccountId(1),
        spec: spec(&proxy),
    })
    .await;
    assert!(matches!(role.event().await, Event::Registered { .. }));
    role.command(call()).await;
    assert!(matches!(role.event().await, Event::Answered { .. }));
    role.stop.send(()).unwrap();
    while role.events.recv().await.is_some() {}
    role.task.await.unwrap();
    let mut methods = served.await.unwrap();
    methods.sort();
    assert_eq!(methods, ["ACK", "BYE", "INVITE", "REGISTER", "REGISTER"]);
}

#[tokio::test]
async fn a_new_peer_ends_what_the_old_one_had() {
    let pbx = udp_pbx().await;
    let mut role = Role::start(Vec::new()).await;
    role.command(Command::OpenAccount {
        account: AccountId(1),
        spec: spec(&pbx.to_string()),
    })
    .await;
    assert!(matches!(role.event().await, Event::Registered { .. }));
    role.commands.send(FromPeer::Down).await.unwrap();
    role.commands
        .send(FromPeer::Up { fresh: true })
        .await
        .unwrap();
    assert!(matches!(role.event().await, Event::Unregistered { .. }));
}

#[tokio::test]
async fn a_name_is_found_by_srv_of_the_configured_server() {
    let pbx = udp_pbx().await;
    let names = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = names.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buf = vec![0; 4096];
        while let Ok((len, from)) = names.recv_from(&mut buf).await {
            let Ok(asked) = DnsMessage::from_vec(&buf[..len]) else {
                continue;
            };
            let question = asked.queries[0].clone();
            let mut answer = DnsMessage::response(asked.metadata.id, asked.metadata.op_code);
            answer.metadata.message_type = MessageType::Response;
            answer.metadata.recursion_available = true;
            answer.add_query(question.clone());
            let name = question.name().to_ascii().to_ascii_lowercase();
            let data = match (name.as_str(), question.query_type()) {
                ("_sip._udp.pbx.test.", RecordType::SRV) => {
                    let target = Name::from_ascii("host.pbx.test.").unwrap();
                    Some(RData::SRV(SRV::new(1, 1, pbx.port(), target)))
                }
                ("host.pbx.test.", RecordType::A) => Some(RData::A(A::new(127, 0, 0, 1))),
                ("far.test.", RecordType::NAPTR) => {
                    let to = Name::from_ascii("_sip._udp.pbx.test.").unwrap();
                    let text = |text: &str| text.as_bytes().into();
                    let (flags, service) = (text("s"), text("SIP+D2U"));
                    Some(RData::NAPTR(NAPTR::new(1, 1, flags, service, text(""), to)))
                }
                ("evil.test.", RecordType::A) => Some(RData::A(A::new(169, 254, 169, 254))),
                _ => None,
            };
            match data {
                Some(data) => {
                    answer.add_answer(Record::from_rdata(question.name().clone(), 60, data));
                }
                None => answer.metadata.response_code = ResponseCode::NXDomain,
            }
            names
                .send_to(&answer.to_vec().unwrap(), from)
                .await
                .unwrap();
        }
    });
    let mut role = Role::start(vec![server]).await;
    // By its own SRV, and by another domain's NAPTR.
    for (account, proxy) in [(1, ""), (3, "far.test")] {
        role.command(Command::OpenAccount {
            account: AccountId(account),
            spec: spec(proxy),
        })
        .await;
        assert!(matches!(role.event().await, Event::Registered { .. }));
    }
    role.command(Command::OpenAccount {
        account: AccountId(2),
        spec: spec("evil.test:5060"),
    })
    .await;
    let Event::RegistrationFailed { failure, .. } = role.event().await else {
        panic!("not refused")
    };
    assert_eq!(failure.cause, Cause::NotAllowed);
}

#[tokio::test]
async fn torture_over_real_sockets_gets_answers_and_harms_nobody() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/bed/torture");
    let role = Role::start(Vec::new()).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut buf = vec![0; 65_536];
    for (file, wanted) in [
        ("badinv01", 400),
        ("bext01", 420),
        ("badvers", 505),
        ("unkscm", 416),
        ("invut", 415),
        ("sdp01", 406),
    ] {
        let bytes = std::fs::read(format!("{folder}/{file}.dat")).unwrap();
        socket
            .send_to(&bytes, role.address(Transport::Udp))
            .await
            .unwrap();
        let len = tokio::time::timeout(PATIENCE, socket.recv(&mut buf))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            Message::parse(&buf[..len]).unwrap().status(),
            wanted,
            "{file}"
        );
        let mut connection = TcpStream::connect(role.address(Transport::Tcp))
            .await
            .unwrap();
        let (first, second) = bytes.split_at(bytes.len() / 3);
        connection.write_all(first).await.unwrap();
        connection.write_all(second).await.unwrap();
        let len = tokio::time::timeout(PATIENCE, connection.read(&mut buf))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            Message::parse(&buf[..len]).unwrap().status(),
            wanted,
            "{file} over TCP"
        );
    }
    // A stream that is no SIP is closed; the others go on.
    let mut connection = TcpStream::connect(role.address(Transport::Tcp))
        .await
        .unwrap();
    connection
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let len = tokio::time::timeout(PATIENCE, connection.read(&mut buf))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(len, 0);
    let options = std::fs::read(format!("{folder}/zeromf.dat")).unwrap();
    socket
        .send_to(&options, role.address(Transport::Udp))
        .await
        .unwrap();
    let len = tokio::time::timeout(PATIENCE, socket.recv(&mut buf))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(Message::parse(&buf[..len]).unwrap().status(), 200);
}
