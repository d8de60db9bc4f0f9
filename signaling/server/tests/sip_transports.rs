//! SIP over real sockets of each transport, against peers made of rustls and a page of SIP: TLS in both directions,
//! each trunk's own rules, IPv6, and requests that are too long for a datagram.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use sha2::{Digest, Sha256};
use signaling_server::peer::FromPeer;
use signaling_server::sip_socket::{Arrival, Listen, SipSockets, SocketRules};
use signaling_server::sip_tls::{MAX_HANDSHAKES_PER_ADDRESS, SipTls};
use signaling_server::trunk::{TrunkConfig, run};
use signaling_sip::message::{HeaderName, Message, StreamFramer, Unit};
use signaling_trunk::api::{AccountId, AccountSpec, Cause, Command, End, Event, InviteId, Target};
use signaling_trunk::lines::{Lines, TlsSpec, TrunkSpec};
use signaling_trunk::net::{Listener, StreamId, Transport};
use signaling_trunk::tls::{PeerCertificate, TlsOpen, admits};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName,
};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, version,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const PATIENCE: Duration = Duration::from_secs(10);
const TLS12: &[&SupportedProtocolVersion] = &[&version::TLS12];
const TLS13: &[&SupportedProtocolVersion] = &[&version::TLS13];
const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

/// An authority that signs what a test needs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
struct Identity {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key: KeyPair,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        // Authorities of one name are told apart by their keys alone, and by few peers.
        let name = Sha256::digest(key.public_key_raw())[..8]
            .escape_ascii()
            .to_string();
        params.distinguished_name.push(DnType::CommonName, name);
        Authority(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// For names and addresses, or for `sip:` URIs.
    fn sign(&self, names: &[&str]) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names
            .iter()
            .map(|name| match name.parse::<IpAddr>() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_) if name.starts_with("sip:") => SanType::URI((*name).try_into().unwrap()),
                Err(_) => SanType::DnsName((*name).try_into().unwrap()),
            })
            .collect();
        let signed = params.signed_by(&key, &self.0).unwrap();
        Identity {
            certificate: signed.der().clone(),
            certificate_pem: signed.pem(),
            key,
        }
    }
}

impl Identity {
    fn private(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.certificate).into()
    }
}

/// Our side: shows `own`, believes `authority` beside the system's.
fn sip_tls(own: &Identity, authority: &Authority) -> SipTls {
    let provider = aws_lc_rs::default_provider();
    let key = CertifiedKey::from_der(vec![own.certificate.clone()], own.private(), &provider);
    let shown = Arc::new(SingleCertAndKey::from(key.unwrap()));
    SipTls::new(shown, vec![authority.der()]).unwrap()
}

fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).unwrap();
    roots
}

/// A PBX's side. `clients`: who signs the certificates that it wants of its peers.
fn acceptor(
    own: &Identity,
    versions: &[&'static SupportedProtocolVersion],
    clients: Option<&Authority>,
) -> TlsAcceptor {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let roots = Arc::new(roots(authority));
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let config = builder.with_single_cert(vec![own.certificate.clone()], own.private());
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

/// A peer that connects to us and believes `authority`.
fn connector(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    own: Option<&Identity>,
) -> TlsConnector {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots(authority));
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => builder
            .with_client_auth_cert(vec![own.certificate.clone()], own.private())
            .unwrap(),
    };
    TlsConnector::from(Arc::new(config))
}

/// 200 to everything but ACK.
fn ok(request: &[u8], contact: &str) -> Option<Vec<u8>> {
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
        "Contact: <{contact}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Some(out.into_bytes())
}

/// Answers on one connection; tells each request.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    mut connection: S,
    contact: String,
    heard: mpsc::UnboundedSender<Vec<u8>>,
) {
    let mut framer = StreamFramer::default();
    let mut buf = vec![0; 16_384];
    while let Ok(len @ 1..) = connection.read(&mut buf).await {
        framer.push(&buf[..len]);
        let mut answers = Vec::new();
        while let Some(unit) = framer.next_unit() {
            if let Unit::Message(message) = unit {
                let _ = heard.send(message.raw().to_vec());
                answers.extend(ok(message.raw(), &contact));
            }
        }
        for answer in answers {
            if connection.write_all(&answer).await.is_err() || connection.flush().await.is_err() {
                return;
            }
        }
    }
}

/// A PBX of one transport, and what it hears.
struct Pbx {
    address: SocketAddr,
    heard: mpsc::UnboundedReceiver<Vec<u8>>,
}

impl Pbx {
    async fn udp(bind: &str) -> Pbx {
        let socket = UdpSocket::bind(bind).await.unwrap();
        let address = socket.local_addr().unwrap();
        let (tell, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut buf = vec![0; 65_536];
            while let Ok((len, from)) = socket.recv_from(&mut buf).await {
                let _ = tell.send(buf[..len].to_vec());
                if let Some(answer) = ok(&buf[..len], &format!("sip:bob@{address}")) {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        Pbx { address, heard }
    }

    async fn stream(bind: &str, tls: Option<TlsAcceptor>) -> Pbx {
        let listener = TcpListener::bind(bind).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (tls, tell) = (tls.clone(), tell.clone());
                tokio::spawn(async move {
                    match tls {
                        None => {
                            let contact = format!("sip:bob@{address};transport=tcp");
                            answer(connection, contact, tell).await;
                        }
                        Some(tls) => {
                            if let Ok(connection) = tls.accept(connection).await {
                                let contact = format!("sip:bob@{address};transport=tls");
                                answer(connection, contact, tell).await;
                            }
                        }
                    }
                });
            }
        });
        Pbx { address, heard }
    }

    /// The next request's method, top Via and Contact.
    async fn next(&mut self) -> (String, String, String) {
        let raw = tokio::time::timeout(PATIENCE, self.heard.recv()).await;
        let raw = raw.expect("a request in time").expect("running");
        let message = Message::parse(&raw).unwrap();
        let text = |id| {
            let value = message.value(id).unwrap_or_default();
            String::from_utf8_lossy(value).into_owned()
        };
        (
            String::from_utf8_lossy(message.method_text()).into_owned(),
            text(HeaderName::Via),
            text(HeaderName::Contact),
        )
    }
}

struct Role {
    commands: mpsc::Sender<FromPeer<Command>>,
    events: mpsc::Receiver<(u64, Event)>,
    listeners: Vec<Listener>,
    /// Ends the role when it goes.
    _stop: oneshot::Sender<()>,
}

impl Role {
    async fn start(ip: &str, tls: SipTls) -> Role {
        let transports = [Transport::Udp, Transport::Tcp, Transport::Tls];
        let listen = transports.map(|transport| Listen {
            transport,
            bind: SocketAddr::new(ip.parse().unwrap(), 0),
            announce: None,
            name: String::new(),
        });
        let (bound, listeners) = oneshot::channel();
        let config = TrunkConfig {
            listen: listen.to_vec(),
            interfaces: vec![(ip.parse().unwrap(), 8)],
            tls: Some(tls),
            dscp: 24,
            bound: Some(bound),
            ..TrunkConfig::default()
        };
        let (commands, taken) = mpsc::channel(64);
        let (told, events) = mpsc::channel(64);
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            run(config, taken, told, stopped).await.unwrap();
        });
        Role {
            commands,
            events,
            listeners: listeners.await.unwrap(),
            _stop: stop,
        }
    }

    fn address(&self, transport: Transport) -> SocketAddr {
        let mut listeners = self.listeners.iter();
        listeners.find(|l| l.transport == transport).unwrap().bound
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

    async fn register(&mut self, proxy: &str) -> Event {
        self.command(Command::OpenAccount {
            account: AccountId(1),
            spec: AccountSpec {
                login: "me".into(),
                auth_name: String::new(),
                password: "secret".into(),
                domain: "pbx.test".into(),
                proxy: proxy.into(),
                port: 0,
                register: true,
                display: String::new(),
                contact_params: Vec::new(),
            },
        })
        .await;
        self.event().await
    }

    async fn call(&mut self, target: Target, sdp: Vec<u8>) -> Event {
        self.command(Command::Invite {
            invite: InviteId(2),
            account: AccountId(1),
            target,
            from_display: String::new(),
            headers: Vec::new(),
            sdp,
            options: Default::default(),
        })
        .await;
        self.event().await
    }
}

fn user() -> Target {
    Target::User {
        user: "7001".into(),
        params: Vec::new(),
    }
}

fn localhost(authority: &Authority) -> Identity {
    authority.sign(&["127.0.0.1", "::1", "localhost"])
}

#[tokio::test]
async fn registration_and_calls_go_over_tls_1_2_and_1_3_to_an_authority_of_ours() {
    for versions in [TLS12, TLS13] {
        let authority = Authority::new();
        let own = localhost(&authority);
        let mut pbx = Pbx::stream("127.0.0.1:0", Some(acceptor(&own, versions, None))).await;
        let mut role = Role::start("127.0.0.1", sip_tls(&own, &authority)).await;
        let proxy = format!("{};transport=tls", pbx.address);
        let told = role.register(&proxy).await;
        assert!(matches!(told, Event::Registered { .. }), "{told:?}");
        let told = role.call(user(), b"v=0\r\n".to_vec()).await;
        assert!(
            matches!(told, Event::Answered { status: 200, .. }),
            "{told:?}"
        );
        let us = role.address(Transport::Tls);
        for expected in ["REGISTER", "INVITE", "ACK"] {
            let (method, via, contact) = pbx.next().await;
            assert_eq!(method, expected);
            assert!(via.starts_with(&format!("SIP/2.0/TLS {us};")), "{via}");
            let contact_is = contact.contains(&format!("@{us};transport=tls>"));
            assert!(contact_is || method == "ACK", "{contact}");
        }
    }
}

#[tokio::test]
async fn peers_reach_us_over_tls_1_2_and_1_3() {
    let authority = Authority::new();
    let own = localhost(&authority);
    let role = Role::start("127.0.0.1", sip_tls(&own, &authority)).await;
    for versions in [TLS12, TLS13] {
        let us = role.address(Transport::Tls);
        let tcp = TcpStream::connect(us).await.unwrap();
        let source = tcp.local_addr().unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let connector = connector(&authority, versions, None);
        let mut tls = connector.connect(name, tcp).await.unwrap();
        let options = format!(
            "OPTIONS sip:{us} SIP/2.0\r\nVia: SIP/2.0/TLS {source};branch=z9hG4bKo;rport\r\n\
             From: <sip:x@pbx.test>;tag=1\r\nTo: <sips:{us}>\r\nCall-ID: o\r\nCSeq: 1 OPTIONS\r\n\
             Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        tls.write_all(options.as_bytes()).await.unwrap();
        let mut buf = vec![0; 4096];
        let read = tokio::time::timeout(PATIENCE, tls.read(&mut buf)).await;
        let len = read.expect("an answer in time").unwrap();
        let answer = String::from_utf8_lossy(&buf[..len]).into_owned();
        assert!(
            answer.starts_with("SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS "),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_sips_call_of_a_plain_account_goes_by_tls_or_fails_with_its_cause() {
    let authority = Authority::new();
    let own = localhost(&authority);
    let mut secure = Pbx::stream("127.0.0.1:0", Some(acceptor(&own, BOTH, None))).await;
    let mut role = Role::start("127.0.0.1", sip_tls(&own, &authority)).await;
    // A domain that is an address: what a target names is where it goes.
    let place = format!("sip:{}", secure.address);
    role.command(Command::OpenAccount {
        account: AccountId(1),
        spec: AccountSpec {
            login: "me".into(),
            auth_name: String::new(),
            password: String::new(),
            domain: "127.0.0.1".into(),
            proxy: place,
            port: 0,
            register: false,
            display: String::new(),
            contact_params: Vec::new(),
        },
    })
    .await;
    let target = |uri: &str| Target::Uri {
        uri: uri.into(),
        params: Vec::new(),
    };
    let told = role
        .call(target("sips:bob@127.0.0.1"), b"v=0\r\n".to_vec())
        .await;
    assert!(
        matches!(told, Event::Answered { status: 200, .. }),
        "{told:?}"
    );
    let (method, via, contact) = secure.next().await;
    assert_eq!(method, "INVITE");
    assert!(via.starts_with("SIP/2.0/TLS "), "{via}");
    assert!(contact.starts_with("<sips:"), "{contact}");

    // The same where nobody whom we believe has signed the PBX's certificate.
    let stranger = Authority::new();
    let theirs = localhost(&stranger);
    let doubtful = Pbx::stream("127.0.0.1:0", Some(acceptor(&theirs, BOTH, None))).await;
    let mut role = Role::start("127.0.0.1", sip_tls(&own, &authority)).await;
    let told = role.register(&format!("sips:{}", doubtful.address)).await;
    let Event::RegistrationFailed { failure, .. } = told else {
        panic!("{told:?}")
    };
    assert_eq!(failure.cause, Cause::Unreachable);
    assert!(
        failure.reason.contains("put its authority into sip.ca"),
        "{}",
        failure.reason
    );
    let told = role
        .call(target("sips:bob@127.0.0.1"), b"v=0\r\n".to_vec())
        .await;
    let Event::Ended {
        end: End::Failed(failure),
        ..
    } = told
    else {
        panic!("{told:?}")
    };
    assert!(failure.reason.contains("certificate"), "{}", failure.reason);
}

#[tokio::test]
async fn ipv6_serves_udp_tcp_and_tls_in_both_directions() {
    let authority = Authority::new();
    let own = localhost(&authority);
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        let mut pbx = match transport {
            Transport::Udp => Pbx::udp("[::1]:0").await,
            Transport::Tcp => Pbx::stream("[::1]:0", None).await,
            Transport::Tls => Pbx::stream("[::1]:0", Some(acceptor(&own, BOTH, None))).await,
        };
        let mut role = Role::start("::1", sip_tls(&own, &authority)).await;
        let name = transport.name().to_ascii_lowercase();
        let told = role
            .register(&format!("{};transport={name}", pbx.address))
            .await;
        assert!(matches!(told, Event::Registered { .. }), "{told:?}");
        let told = role.call(user(), b"v=0\r\n".to_vec()).await;
        assert!(
            matches!(told, Event::Answered { status: 200, .. }),
            "{told:?}"
        );
        let us = role.address(transport);
        assert!(us.is_ipv6());
        for _ in ["REGISTER", "INVITE"] {
            let (_, via, contact) = pbx.next().await;
            let protocol = transport.name();
            assert!(
                via.starts_with(&format!("SIP/2.0/{protocol} [::1]:{};", us.port())),
                "{via}"
            );
            assert!(
                contact.contains(&format!("@[::1]:{}", us.port())),
                "{contact}"
            );
        }
        // And a request to us, answered to where it came from.
        let options = |source: SocketAddr| {
            format!(
                "OPTIONS sip:{us} SIP/2.0\r\nVia: SIP/2.0/{} [2001:db8::1]:5060;branch=z9hG4bKo;rport\r\n\
                 From: <sip:x@pbx.test>;tag={}\r\nTo: <sip:{us}>\r\nCall-ID: o\r\nCSeq: 1 OPTIONS\r\n\
                 Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
                transport.name(),
                source.port()
            )
        };
        let mut buf = vec![0; 4096];
        let (len, source) = if transport == Transport::Udp {
            let socket = UdpSocket::bind("[::1]:0").await.unwrap();
            let source = socket.local_addr().unwrap();
            socket
                .send_to(options(source).as_bytes(), us)
                .await
                .unwrap();
            let read = tokio::time::timeout(PATIENCE, socket.recv(&mut buf)).await;
            (read.unwrap().unwrap(), source)
        } else {
            let mut tcp = TcpStream::connect(us).await.unwrap();
            let source = tcp.local_addr().unwrap();
            let request = options(source);
            let exchange = async {
                if transport == Transport::Tcp {
                    tcp.write_all(request.as_bytes()).await?;
                    tcp.read(&mut buf).await
                } else {
                    let name = ServerName::try_from("::1").unwrap();
                    let connector = connector(&authority, BOTH, None);
                    let mut tls = connector.connect(name, tcp).await?;
                    tls.write_all(request.as_bytes()).await?;
                    tls.read(&mut buf).await
                }
            };
            let read = tokio::time::timeout(PATIENCE, exchange).await;
            (read.unwrap().unwrap(), source)
        };
        let answer = String::from_utf8_lossy(&buf[..len]).into_owned();
        assert!(answer.starts_with("SIP/2.0 200 OK"), "{answer}");
        assert!(
            answer.contains(&format!(";received=::1;rport={}", source.port())),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_large_invite_leaves_udp_for_tcp_and_comes_back_where_tcp_is_refused() {
    let authority = Authority::new();
    let own = localhost(&authority);
    let large = [b"v=0\r\n".to_vec(), b"a=x\r\n".repeat(400)].concat();
    for tcp_is_there in [true, false] {
        let mut udp = Pbx::udp("127.0.0.1:0").await;
        let at = udp.address.to_string();
        // Taken in both cases, so that nobody else listens there meanwhile.
        let held = TcpSocket::new_v4().unwrap();
        let mut tcp = if tcp_is_there {
            Some(Pbx::stream(&at, None).await)
        } else {
            held.bind(udp.address).unwrap();
            None
        };
        let mut role = Role::start("127.0.0.1", sip_tls(&own, &authority)).await;
        let told = role.register(&at).await;
        assert!(matches!(told, Event::Registered { .. }), "{told:?}");
        assert_eq!(udp.next().await.0, "REGISTER");
        let told = role.call(user(), large.clone()).await;
        assert!(
            matches!(told, Event::Answered { status: 200, .. }),
            "{told:?}"
        );
        let (by, (method, via, _)) = match &mut tcp {
            Some(tcp) => ("TCP", tcp.next().await),
            None => ("UDP", udp.next().await),
        };
        assert_eq!(method, "INVITE");
        assert!(via.starts_with(&format!("SIP/2.0/{by} ")), "{via}");
    }
}

fn trunk(name: &str, tls: TlsSpec) -> TrunkSpec {
    TrunkSpec {
        name: name.into(),
        tls: Some(tls),
        ..TrunkSpec::default()
    }
}

/// Opens one connection by the rules of a trunk; the error is why not.
async fn opened(
    sockets: &mut SipSockets,
    number: u64,
    to: SocketAddr,
    profile: &str,
    name: &str,
) -> Result<(), String> {
    let stream = StreamId(number * 2);
    let open = TlsOpen {
        profile: profile.into(),
        server_name: name.into(),
    };
    sockets.open(stream, "127.0.0.1".parse().unwrap(), to, Some(open));
    loop {
        let arrival = tokio::time::timeout(PATIENCE, sockets.next()).await;
        match arrival.expect("something in time").expect("running") {
            Arrival::Connected { stream: s } if s == stream => return Ok(()),
            Arrival::Failed { stream: s, why } if s == stream => return Err(why),
            Arrival::Closed { stream: s } if s == stream => return Err("closed".into()),
            _ => {}
        }
    }
}

#[tokio::test]
async fn each_trunk_has_roots_pin_name_certificate_and_least_version_of_its_own() {
    let [usual, carrier, clients] = [Authority::new(), Authority::new(), Authority::new()];
    let ours = localhost(&usual);
    let theirs = carrier.sign(&["carrier.test", "sip:uri.carrier.test"]);
    let client = clients.sign(&["us.test"]);
    let plain = Pbx::stream("127.0.0.1:0", Some(acceptor(&theirs, BOTH, None))).await;
    let old = Pbx::stream("127.0.0.1:0", Some(acceptor(&theirs, TLS12, None))).await;
    let wary = Pbx::stream(
        "127.0.0.1:0",
        Some(acceptor(&theirs, TLS12, Some(&clients))),
    )
    .await;
    let [plain, old, wary] = [plain, old, wary].map(|pbx| pbx.address);

    let rooted = TlsSpec {
        roots_pem: carrier.pem(),
        ..TlsSpec::default()
    };
    let lines = Lines {
        trunks: vec![
            trunk("usual", TlsSpec::default()),
            trunk("rooted", rooted.clone()),
            trunk(
                "elsewhere",
                TlsSpec {
                    roots_pem: usual.pem(),
                    ..TlsSpec::default()
                },
            ),
            trunk(
                "listed",
                TlsSpec {
                    roots_pem: theirs.certificate_pem.clone(),
                    ..TlsSpec::default()
                },
            ),
            trunk(
                "pinned",
                TlsSpec {
                    pinned_sha256: Some(theirs.sha256()),
                    ..TlsSpec::default()
                },
            ),
            trunk(
                "other-pin",
                TlsSpec {
                    pinned_sha256: Some(ours.sha256()),
                    ..rooted.clone()
                },
            ),
            trunk(
                "modern",
                TlsSpec {
                    at_least_1_3: true,
                    ..rooted.clone()
                },
            ),
            trunk(
                "shown",
                TlsSpec {
                    certificate_pem: client.certificate_pem.clone(),
                    key_pem: client.key.serialize_pem(),
                    ..rooted.clone()
                },
            ),
            trunk(
                "broken",
                TlsSpec {
                    roots_pem: "nonsense".into(),
                    ..TlsSpec::default()
                },
            ),
            trunk(
                "half",
                TlsSpec {
                    key_pem: client.key.serialize_pem(),
                    ..rooted
                },
            ),
        ],
        ..Lines::default()
    };
    let rules = SocketRules {
        tls: Some(sip_tls(&ours, &usual)),
        dscp: 24,
    };
    let mut sockets = SipSockets::bind(&[], Vec::new(), &[], rules).unwrap();
    sockets.take_lines(&lines);
    for (number, (profile, to, name, wanted)) in [
        (
            "",
            plain,
            "carrier.test",
            Err("put its authority into sip.ca"),
        ),
        (
            "usual",
            plain,
            "carrier.test",
            Err("put its authority into the trunk's tls_roots"),
        ),
        ("rooted", plain, "carrier.test", Ok(())),
        ("rooted", plain, "uri.carrier.test", Ok(())),
        (
            "rooted",
            plain,
            "other.test",
            Err("not for other.test; say in tls_server_name whom it is for"),
        ),
        ("rooted", plain, "127.0.0.1", Err("not for 127.0.0.1")),
        (
            "elsewhere",
            plain,
            "carrier.test",
            Err("nobody whom we believe"),
        ),
        ("listed", plain, "carrier.test", Ok(())),
        ("listed", plain, "other.test", Err("not for other.test")),
        ("pinned", plain, "whatever.test", Ok(())),
        (
            "other-pin",
            plain,
            "carrier.test",
            Err("not the pinned one"),
        ),
        ("modern", plain, "carrier.test", Ok(())),
        (
            "modern",
            old,
            "carrier.test",
            Err("no TLS that we may speak"),
        ),
        ("rooted", old, "carrier.test", Ok(())),
        ("shown", wary, "carrier.test", Ok(())),
        (
            "rooted",
            wary,
            "carrier.test",
            Err("does it ask for a certificate of ours?"),
        ),
        (
            "broken",
            plain,
            "carrier.test",
            Err("no certificate authority is known"),
        ),
        (
            "half",
            plain,
            "carrier.test",
            Err("a key of its own but no certificate"),
        ),
        ("gone", plain, "carrier.test", Err("the trunk is gone")),
        (
            "rooted",
            plain,
            "no name",
            Err("is no name that a certificate could hold"),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let told = opened(&mut sockets, number as u64 + 1, to, profile, name).await;
        match (&told, wanted) {
            (Ok(()), Ok(())) => {}
            (Err(why), Err(part)) if why.contains(part) => {}
            _ => panic!("{profile} to {name}: {told:?}, and not {wanted:?}"),
        }
    }
}

#[tokio::test]
async fn the_certificate_of_who_connects_is_told_and_admitted_for_the_trunk_whose_it_is() {
    let [usual, carrier, stranger] = [Authority::new(), Authority::new(), Authority::new()];
    let ours = localhost(&usual);
    let listen = Listen {
        transport: Transport::Tls,
        bind: "127.0.0.1:0".parse().unwrap(),
        announce: None,
        name: "carrier".into(),
    };
    let rules = SocketRules {
        tls: Some(sip_tls(&ours, &usual)),
        dscp: 0,
    };
    let mut sockets = SipSockets::bind(&[listen], Vec::new(), &[], rules).unwrap();
    let us = sockets.listeners()[0].bound;
    assert_eq!(sockets.listeners()[0].name, "carrier");
    let spec = TrunkSpec {
        domain: "carrier.test".into(),
        ..trunk(
            "carrier",
            TlsSpec {
                roots_pem: carrier.pem(),
                client_certificate: true,
                ..TlsSpec::default()
            },
        )
    };
    let lines = Lines {
        trunks: vec![spec.clone()],
        ..Lines::default()
    };
    sockets.take_lines(&lines);
    for (shown, admitted) in [
        (None, false),
        (Some(carrier.sign(&["carrier.test"])), true),
        (Some(carrier.sign(&["sip:carrier.test"])), true),
        (Some(carrier.sign(&["other.test"])), false),
        (Some(stranger.sign(&["carrier.test"])), false),
        (Some(usual.sign(&["carrier.test"])), false),
    ] {
        let connector = connector(&usual, BOTH, shown.as_ref());
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let tcp = TcpStream::connect(us).await.unwrap();
        // The handshake of 1.3 is over for the client before the server has seen the certificate.
        let _open = connector.connect(name, tcp).await.unwrap();
        let arrival = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(Arrival::Accepted { secure, peer, .. }) = sockets.next().await {
                    return (secure, peer);
                }
            }
        });
        let (secure, peer) = arrival.await.expect("accepted in time");
        assert!(secure);
        assert_eq!(peer.is_some(), shown.is_some());
        let sha256 = peer.as_ref().map(|peer: &PeerCertificate| peer.sha256);
        assert_eq!(sha256, shown.as_ref().map(Identity::sha256));
        assert_eq!(admits(&spec, peer.as_ref()).is_ok(), admitted, "{peer:?}");
    }
}

#[tokio::test]
async fn handshakes_that_nobody_finishes_are_few_and_keep_nobody_else_out() {
    let authority = Authority::new();
    let own = localhost(&authority);
    let role = Role::start("127.0.0.1", sip_tls(&own, &authority)).await;
    let us = role.address(Transport::Tls);
    let mut silent = Vec::new();
    for _ in 0..MAX_HANDSHAKES_PER_ADDRESS {
        silent.push(TcpStream::connect(us).await.unwrap());
    }
    // One more is closed at once, without a word.
    let mut more = TcpStream::connect(us).await.unwrap();
    let read = tokio::time::timeout(PATIENCE, more.read(&mut [0; 1])).await;
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "{read:?}");
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let tcp = socket.connect(us).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connector = connector(&authority, BOTH, None);
    let connected = tokio::time::timeout(PATIENCE, connector.connect(name, tcp)).await;
    assert!(matches!(connected, Ok(Ok(_))));
}
