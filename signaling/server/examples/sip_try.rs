//! Tries the trunk by hand: registers, calls, or waits for a call and takes it.
//!
//!     sip_try PROXY LOGIN PASSWORD DOMAIN [call NUMBER | wait] [late]
//!
//! PROXY is `host:port`, with `;transport=tcp` for TCP.

use signaling_server::peer::FromPeer;
use signaling_server::sip_socket::Listen;
use signaling_server::trunk::{TrunkConfig, run};
use signaling_trunk::api::{AccountId, AccountSpec, Command, Event, InviteId, Target};
use signaling_trunk::net::Transport;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

const SDP: &[u8] = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n";

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |n: usize| args.get(n).cloned().unwrap_or_default();
    let listen = [Transport::Udp, Transport::Tcp].map(|transport| Listen {
        transport,
        bind: "127.0.0.1:0".parse().expect("an address"),
        announce: None,
        name: String::new(),
    });
    let (bound, listeners) = oneshot::channel();
    let config = TrunkConfig {
        listen: listen.to_vec(),
        interfaces: vec![("127.0.0.1".parse().expect("an address"), 8)],
        user_agent: "Trunkgate".into(),
        bound: Some(bound),
        ..TrunkConfig::default()
    };
    let (commands, from_us) = mpsc::channel(64);
    let (to_us, mut events) = mpsc::channel(64);
    let (stop, stopped) = oneshot::channel::<()>();
    let role = tokio::spawn(run(config, from_us, to_us, async {
        let _ = stopped.await;
    }));
    println!("listening: {:?}", listeners.await.expect("bound"));

    let send = |command| commands.send(FromPeer::Message(command));
    let spec = AccountSpec {
        login: arg(1),
        auth_name: String::new(),
        password: arg(2),
        domain: arg(3),
        proxy: arg(0),
        port: 0,
        register: true,
        display: String::new(),
        contact_params: Vec::new(),
    };
    send(Command::OpenAccount {
        account: AccountId(1),
        spec,
    })
    .await
    .expect("running");
    let late = args.iter().any(|a| a == "late");
    let mut stop = Some(stop);
    while let Some((_, event)) = events.recv().await {
        println!("{event:?}");
        match event {
            Event::Registered { .. } if arg(4) == "call" => {
                let target = Target::User {
                    user: arg(5),
                    params: Vec::new(),
                };
                let sdp = if late { Vec::new() } else { SDP.to_vec() };
                let (invite, account) = (InviteId(2), AccountId(1));
                let command = Command::Invite {
                    invite,
                    account,
                    target,
                    from_display: String::new(),
                    headers: Vec::new(),
                    sdp,
                    options: Default::default(),
                };
                send(command).await.expect("running");
            }
            Event::Answered {
                invite, fork, late, ..
            } => {
                if late {
                    send(Command::Acknowledge {
                        invite,
                        fork,
                        sdp: SDP.to_vec(),
                    })
                    .await
                    .expect("running");
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
                send(Command::Offer {
                    invite,
                    sdp: SDP.to_vec(),
                })
                .await
                .expect("running");
            }
            Event::OfferAnswered { invite, .. } => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                send(Command::Hangup {
                    invite,
                    status: None,
                })
                .await
                .expect("running");
            }
            Event::Incoming { invite, .. } => {
                send(Command::Progress {
                    invite,
                    status: 180,
                    sdp: None,
                })
                .await
                .expect("running");
                tokio::time::sleep(Duration::from_millis(300)).await;
                send(Command::Accept {
                    invite,
                    sdp: SDP.to_vec(),
                })
                .await
                .expect("running");
            }
            Event::Offered { invite, offer, .. } => {
                send(Command::AnswerOffer {
                    invite,
                    offer,
                    sdp: SDP.to_vec(),
                })
                .await
                .expect("running");
            }
            Event::Ended { .. } | Event::RegistrationFailed { retry_s: None, .. } => {
                if let Some(stop) = stop.take() {
                    let _ = stop.send(());
                }
            }
            _ => {}
        }
    }
    role.await.expect("no panic").expect("ran");
}
