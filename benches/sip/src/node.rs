//! The trunk role alone in its process, with somebody who calls and answers at once instead of the signaling role.

use signaling_server::peer::FromPeer;
use signaling_server::sip_socket::Listen;
use signaling_server::trunk::{TrunkConfig, run};
use signaling_trunk::api::{AccountId, AccountSpec, Command, Event, InviteId, Target};
use signaling_trunk::net::Transport;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

const SDP: &[u8] = b"v=0\r\no=- 53655765 2353687637 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n";
/// How long a call may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// `args`: the peer, calls a second (0: we are called), calls.
pub fn main(args: Vec<String>) {
    let number = |n: usize| args.get(n).and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
    let (peer, rate, calls) = (args[0].clone(), number(1), number(2));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .expect("a runtime")
        .block_on(node(peer, rate, calls));
}

async fn node(peer: String, rate: u32, calls: u32) {
    let (bound, listeners) = oneshot::channel();
    let config = TrunkConfig {
        listen: vec![Listen {
            name: String::new(),
            transport: Transport::Udp,
            bind: "127.0.0.1:0".parse().expect("an address"),
            announce: None,
        }],
        interfaces: vec![("127.0.0.1".parse().expect("an address"), 8)],
        user_agent: "bench".into(),
        // As SIPp: neither asks for timers nor for reliable responses.
        session_expires_s: Some(0),
        reliable_provisional: signaling_trunk::reliable::ReliableProvisional::Off,
        bound: Some(bound),
        ..TrunkConfig::default()
    };
    let (commands, taken) = mpsc::channel(1024);
    let (told, mut events) = mpsc::channel(1024);
    tokio::spawn(async move { run(config, taken, told, std::future::pending()).await });
    let _ = listeners.await;
    let send = async |command: Command| {
        let _ = commands.send(FromPeer::Message(command)).await;
    };
    send(Command::OpenAccount {
        account: AccountId(1),
        spec: AccountSpec {
            login: "1000".into(),
            auth_name: String::new(),
            password: String::new(),
            domain: "127.0.0.1".into(),
            proxy: peer,
            port: 0,
            register: rate == 0,
            display: String::new(),
            contact_params: Vec::new(),
        },
    })
    .await;
    if rate > 0 {
        println!("ready");
        let _ = std::io::stdin().read_line(&mut String::new());
    }
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut placed, mut done, mut failed) = (0, 0, 0);
    let mut quiet = tokio::time::Instant::now() + PATIENCE;
    loop {
        tokio::select! {
            _ = ticks.tick(), if placed < calls => {
                placed += 1;
                quiet = tokio::time::Instant::now() + PATIENCE;
                send(Command::Invite {
                    invite: InviteId(u64::from(placed) * 2),
                    account: AccountId(1),
                    target: Target::User { user: "service".into(), params: Vec::new() },
                    from_display: String::new(),
                    headers: Vec::new(),
                    sdp: SDP.to_vec(),
                    options: Default::default(),
                }).await;
            }
            event = events.recv() => match event {
                Some((_, Event::Answered { invite, .. })) => send(Command::Hangup { invite, status: None }).await,
                Some((_, Event::Incoming { invite, .. })) => {
                    send(Command::Progress { invite, status: 180, sdp: None }).await;
                    send(Command::Accept { invite, sdp: SDP.to_vec() }).await;
                }
                Some((_, Event::Ended { end, .. })) => {
                    done += 1;
                    let well = matches!(end, signaling_trunk::api::End::ByUs { .. } | signaling_trunk::api::End::ByPeer { .. });
                    failed += u32::from(!well);
                }
                Some((_, Event::Registered { .. })) => println!("ready"),
                Some(_) => {}
                None => return,
            },
            () = tokio::time::sleep_until(quiet), if rate > 0 => {
                println!("{placed} {}", failed + placed - done);
                return;
            }
        }
        if rate > 0 && done == calls {
            println!("{done} {failed}");
            // What it used is read now.
            std::future::pending::<()>().await;
        }
    }
}
