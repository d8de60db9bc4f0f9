//! Browsers over real sockets, with a media role and a trunk that answer at once.

use futures_util::{SinkExt, StreamExt};
use media_control as media;
use media_control::{Candidate, Fingerprint, LegSpec, LegStats, LocalTransport};
use serde_json::{Value, json};
use signaling_backend::{App, Apps};
use signaling_calls::Config;
use signaling_protocol::HookMethod;
use signaling_server::hooks::{Settings, hooks};
use signaling_server::peer::FromPeer;
use signaling_server::rate::Rate;
use signaling_server::signaling::{Peer, Signaling, sockets};
use signaling_server::websocket::{Guard, Page, Web};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Longer than anything here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

struct Gateway {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    role: tokio::task::JoinHandle<()>,
}

async fn gateway() -> Gateway {
    gateway_with(Guard::default()).await
}

/// `defaultApp`, which works without a backend.
fn apps() -> Apps {
    let app = App {
        name: "defaultApp".into(),
        key: "defaultApp".into(),
        url: String::new(),
        owner: String::new(),
        rest_user: String::new(),
        rest_password: None,
        methods: Default::default(),
        rest_client_config: Default::default(),
        origins: Vec::new(),
        password_over_http: false,
        hook_secret: None,
        sip_message_raw: None,
        line: None,
        max_sessions: 0,
        connections_per_second: 0,
        messages_per_second: 0,
    };
    Apps {
        by_key: [(app.key.clone(), Arc::new(app))].into(),
    }
}

async fn gateway_with(guard: Guard) -> Gateway {
    gateway_of(guard, apps()).await
}

async fn gateway_of(guard: Guard, apps: Apps) -> Gateway {
    let (stop, stopped) = watch::channel(false);
    let (tell, media_events) = mpsc::channel(64);
    tell.send(FromPeer::Up { fresh: true }).await.unwrap();
    let (trunk_tell, trunk_events) = mpsc::channel(64);
    trunk_tell.send(FromPeer::Up { fresh: true }).await.unwrap();
    let signaling = Signaling {
        config: Config::default(),
        settings: "Hw47CFMBEchVOpBMDr29IxudnJ1sjOY0@127.0.0.1"
            .to_owned()
            .into(),
        apps: watch::channel(apps).1,
        plan: watch::channel(signaling_plan::Plan::default()).1,
        hooks: hooks(Settings::default()),
        trunk: Peer {
            say: Box::new(move |_, _| {
                let _held = &trunk_tell;
                true
            }),
            events: trunk_events,
        },
        media: Peer {
            say: Box::new(move |_, command| {
                reply(command).is_none_or(|e| tell.try_send(FromPeer::Message(e)).is_ok())
            }),
            events: media_events,
        },
        record: Box::new(|_| {}),
        status: Default::default(),
    };
    let (sockets, inputs) = sockets();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let pages: &'static [Page] = &[Page {
        path: "/",
        content_type: "text/html; charset=utf-8",
        body: b"<p>softphone",
    }];
    tokio::spawn(
        Web {
            listener,
            tls: None,
            pages,
            sockets,
            guard,
        }
        .run(stopped.clone()),
    );
    let role = tokio::spawn(signaling.run(inputs, stopped));
    Gateway {
        address,
        stop,
        role,
    }
}

fn reply(command: media::Command) -> Option<media::Event> {
    match command {
        media::Command::CreateLeg {
            leg,
            spec: LegSpec::WebRtc { .. },
            ..
        } => Some(media::Event::LegCreated {
            leg,
            local: LocalTransport::WebRtc {
                ufrag: "abcdefgh".into(),
                pwd: "0123456789abcdefghijklmn".into(),
                fingerprint: Fingerprint {
                    hash: "sha-256".into(),
                    digest: vec![7; 32],
                },
                candidates: vec![Candidate {
                    address: "127.0.0.1:31000".parse().unwrap(),
                    tcp: false,
                    priority: 5,
                }],
            },
        }),
        media::Command::CreateLeg { leg, .. } => Some(media::Event::LegCreated {
            leg,
            local: LocalTransport::Source,
        }),
        media::Command::CloseLeg { leg } => Some(media::Event::LegClosed {
            leg,
            stats: LegStats::default(),
        }),
        _ => None,
    }
}

async fn client(gateway: &Gateway, path: &str) -> Client {
    connect_async(format!("ws://{}{path}", gateway.address))
        .await
        .unwrap()
        .0
}

async fn say(client: &mut Client, frame: Value) {
    client.send(Message::text(frame.to_string())).await.unwrap();
}

/// The next frame but pings; `None` when the socket has closed.
async fn hear(client: &mut Client) -> Option<Value> {
    loop {
        match tokio::time::timeout(PATIENCE, client.next())
            .await
            .expect("the gateway says something")
        {
            Some(Ok(Message::Text(text))) => {
                let frame: Value = serde_json::from_str(&text).unwrap();
                assert!(frame["data"].is_array(), "data is always an array: {frame}");
                if frame["message"] != "ping" {
                    return Some(frame);
                }
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return None,
        }
    }
}

/// The code of the close frame, `None` where the connection only ended.
async fn closed_with(client: &mut Client) -> Option<u16> {
    loop {
        match tokio::time::timeout(PATIENCE, client.next())
            .await
            .expect("the gateway closes")
        {
            Some(Ok(Message::Close(frame))) => return frame.map(|f| f.code.into()),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return None,
        }
    }
}

#[tokio::test]
async fn a_page_that_closes_is_answered_with_a_close() {
    let gateway = gateway().await;
    let mut page = client(&gateway, "/").await;
    let frame = CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    };
    page.send(Message::Close(Some(frame))).await.unwrap();
    assert_eq!(closed_with(&mut page).await, Some(1000));
}

#[tokio::test]
async fn any_path_is_the_protocols_and_echo_is_answered() {
    let gateway = gateway().await;
    for path in ["/", "/stream1", "/a/b/websocket?x=1"] {
        let mut page = client(&gateway, path).await;
        say(
            &mut page,
            json!({"message": "connection", "data": [{"appKey": "defaultApp"}]}),
        )
        .await;
        let data = hear(&mut page).await.unwrap();
        assert_eq!(
            (data["message"].as_str(), data["data"][0]["status"].as_str()),
            (Some("getUserData"), Some("ESTABLISHED"))
        );
        let token = data["data"][0]["authToken"].as_str().unwrap();
        assert!(
            token.rsplit('-').next().unwrap().len() >= 32,
            "128 random bits and more"
        );
        hear(&mut page).await.unwrap();
    }
}

#[tokio::test]
async fn a_page_is_served_with_headers_that_shut_strangers_out() {
    let gateway = gateway().await;
    let get = async |path: &str| {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    };
    let page = get("/").await;
    assert!(
        page.starts_with("HTTP/1.1 200") && page.ends_with("<p>softphone"),
        "{page}"
    );
    assert!(
        page.to_ascii_lowercase()
            .contains("content-security-policy: default-src 'self'")
    );
    assert!(get("/etc/passwd").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn frames_over_256_kb_end_their_own_socket_and_nobody_elses() {
    let gateway = gateway().await;
    let (mut large, mut other) = (client(&gateway, "/").await, client(&gateway, "/").await);
    let _ = large.send(Message::text("x".repeat(300 * 1024))).await;
    assert_eq!(closed_with(&mut large).await, Some(1009));
    say(&mut other, json!({"message": "connection", "data": [{}]})).await;
    assert_eq!(hear(&mut other).await.unwrap()["message"], "getUserData");
}

#[tokio::test]
async fn garbage_is_answered_and_the_socket_lives() {
    let gateway = gateway().await;
    let mut page = client(&gateway, "/").await;
    for frame in [
        "",
        "{",
        "[]",
        "{\"message\":7}",
        "{\"message\":\"call\",\"data\":[7]}",
        "\u{0}",
    ] {
        page.send(Message::text(frame)).await.unwrap();
        assert_eq!(
            hear(&mut page).await.unwrap()["message"],
            "fail",
            "{frame:?}"
        );
    }
    page.send(Message::binary(vec![0, 1, 2])).await.unwrap();
    assert_eq!(hear(&mut page).await.unwrap()["message"], "fail");
    say(&mut page, json!({"message": "connection", "data": [{}]})).await;
    assert_eq!(hear(&mut page).await.unwrap()["message"], "getUserData");
}

#[tokio::test]
async fn a_flood_ends_in_a_closed_socket_while_others_are_served() {
    let gateway = gateway().await;
    let mut flood = client(&gateway, "/").await;
    let flooding = tokio::spawn(async move {
        for _ in 0..20_000 {
            if flood
                .send(Message::text("{\"message\":\"ping\"}"))
                .await
                .is_err()
            {
                break;
            }
        }
        while hear(&mut flood).await.is_some() {}
    });
    let mut page = client(&gateway, "/").await;
    say(&mut page, json!({"message": "connection", "data": [{}]})).await;
    assert_eq!(hear(&mut page).await.unwrap()["message"], "getUserData");
    tokio::time::timeout(PATIENCE, flooding)
        .await
        .expect("the flooding socket is closed")
        .unwrap();
}

#[tokio::test]
async fn a_shutdown_says_finish_and_closes() {
    let gateway = gateway().await;
    let mut page = client(&gateway, "/").await;
    say(&mut page, json!({"message": "connection", "data": [{}]})).await;
    let sdp = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=ice-ufrag:2sup\r\n\
               a=ice-pwd:YwOAObQkA9QWOwPIzuOOpv7X\r\na=fingerprint:sha-256 37:F9\r\na=setup:actpass\r\na=mid:0\r\na=rtcp-mux\r\n";
    say(
        &mut page,
        json!({"message": "call", "data": [{"callId": "c", "callee": "echo", "sdp": sdp}]}),
    )
    .await;
    while hear(&mut page).await.unwrap()["message"] != "talk" {}
    gateway.stop.send(true).unwrap();
    assert_eq!(hear(&mut page).await.unwrap()["message"], "finish");
    assert_eq!(hear(&mut page).await, None);
    drop(page);
    tokio::time::timeout(PATIENCE, gateway.role)
        .await
        .expect("the role ends")
        .unwrap();
}

/// The status that an upgrade with these further headers is answered with.
async fn upgrade(gateway: &Gateway, headers: &str) -> u16 {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    std::str::from_utf8(&head[9..]).unwrap().parse().unwrap()
}

#[tokio::test]
async fn only_pages_of_listed_origins_may_open_a_session_where_there_is_a_list() {
    let guard = Guard {
        origins: ["https://app.example".to_owned()].into(),
        rate: None,
    };
    let gateway = gateway_with(guard).await;
    for (headers, status) in [
        ("Origin: https://app.example\r\n", 101),
        ("Origin: HTTPS://App.Example\r\n", 101),
        ("Origin: https://app.example.evil.example\r\n", 403),
        ("Origin: http://app.example\r\n", 403),
        ("Origin: null\r\n", 403),
        ("", 403),
        ("Origin: \u{e9}\r\n", 400),
    ] {
        assert_eq!(upgrade(&gateway, headers).await, status, "{headers}");
    }
    let long = format!("Origin: https://{}\r\n", "a".repeat(300));
    assert_eq!(upgrade(&gateway, &long).await, 400);
}

#[tokio::test]
async fn an_address_that_connects_too_often_is_told_429_and_still_gets_pages() {
    let guard = Guard {
        origins: Arc::default(),
        rate: Some(Arc::new(Rate::new(1))),
    };
    let gateway = gateway_with(guard).await;
    let mut statuses = Vec::new();
    for _ in 0..40 {
        statuses.push(upgrade(&gateway, "").await);
    }
    assert_eq!(statuses[0], 101);
    assert!(statuses.contains(&429), "{statuses:?}");
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
}

/// A backend that accepts everything a moment after it was asked, and tells what it was asked.
async fn backend() -> (SocketAddr, mpsc::UnboundedReceiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut buf = Vec::new();
                while stream.read_buf(&mut buf).await.is_ok_and(|n| n > 0) {
                    let text = String::from_utf8_lossy(&buf).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else {
                        continue;
                    };
                    let Ok(body) = serde_json::from_str::<Value>(body) else {
                        continue;
                    };
                    let path = head.split(' ').nth(1).unwrap().to_owned();
                    tell.send((path, body)).unwrap();
                    buf.clear();
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
                    stream.write_all(ok).await.unwrap();
                }
            });
        }
    });
    (address, told)
}

#[tokio::test]
async fn a_gateway_that_ends_still_tells_the_backends_that_its_sessions_are_over() {
    let (address, mut told) = backend().await;
    let mut apps = apps();
    for app in apps.by_key.values_mut() {
        let app = Arc::make_mut(app);
        app.url = format!("http://{address}/hooks");
        app.methods = [HookMethod::Connect, HookMethod::ConnectionStatusEvent].into();
    }
    let gateway = gateway_of(Guard::default(), apps).await;
    let mut client = client(&gateway, "/").await;
    say(
        &mut client,
        json!({"message":"connection","data":[{"appKey":"defaultApp"}]}),
    )
    .await;
    while hear(&mut client).await.unwrap()["message"] != "getVersion" {}
    let remote = match client.get_ref() {
        MaybeTlsStream::Plain(stream) => stream.local_addr().unwrap(),
        _ => unreachable!("the test speaks plain TCP"),
    };
    gateway.stop.send(true).unwrap();
    tokio::time::timeout(PATIENCE, gateway.role)
        .await
        .unwrap()
        .unwrap();
    let mut heard = Vec::new();
    while let Ok((path, body)) = told.try_recv() {
        let id = body["sessionId"].as_str().unwrap();
        assert!(
            id.starts_with(&format!("/{remote}/{}-", gateway.address)),
            "{id}"
        );
        heard.push(format!(
            "{path} {}",
            body["status"].as_str().unwrap_or_default()
        ));
    }
    assert_eq!(heard[0], "/hooks/connect ");
    assert_eq!(heard[1], "/hooks/ConnectionStatusEvent ESTABLISHED");
    assert_eq!(heard[2], "/hooks/ConnectionStatusEvent DISCONNECTED");
}
