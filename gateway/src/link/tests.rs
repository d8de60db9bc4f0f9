//! Over real sockets on loopback, each on a port that the system chose.

use super::*;
use crate::files::{TestDir, test_dir};
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::time::timeout;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Word {
    Number { key: u64, n: u64 },
}

/// A build that knows more.
#[derive(Serialize, Deserialize, Debug)]
enum NewerWord {
    Number {
        key: u64,
        n: u64,
        #[serde(default)]
        colour: String,
    },
    Video {
        width: u32,
    },
}

fn number(key: u64, n: u64) -> Word {
    Word::Number { key, n }
}

struct Net {
    dir: TestDir,
}

impl Net {
    fn new() -> Net {
        Net { dir: test_dir() }
    }

    /// Each call is another process as far as the peer can see.
    fn process(&self) -> LinkConfig {
        let identity = Arc::new(Identity::load_or_make(self.dir.path()).unwrap());
        LinkConfig {
            idle: Duration::from_millis(1500),
            ..LinkConfig::new(identity, Handle::current())
        }
    }

    fn media(&self) -> (Listener, Sender<Word>, Receiver<Word>) {
        self.media_of(self.process())
    }

    fn media_of(&self, process: LinkConfig) -> (Listener, Sender<Word>, Receiver<Word>) {
        let listener = Listener::bind(process, LOOPBACK).unwrap();
        let (sender, receiver) = listener.serve("media");
        (listener, sender, receiver)
    }

    fn signaling(&self, listener: &Listener) -> (Sender<Word>, Receiver<Word>) {
        dial(
            &self.process(),
            "signaling",
            "media",
            listener.local_addr().unwrap(),
        )
        .unwrap()
    }
}

async fn next<In>(receiver: &mut Receiver<In>) -> LinkEvent<In> {
    timeout(PATIENCE, receiver.recv())
        .await
        .expect("an event in time")
        .expect("a link that lives")
}

/// Skips what the connection does and gives the next message.
async fn message<In: std::fmt::Debug>(receiver: &mut Receiver<In>) -> In {
    loop {
        if let LinkEvent::Message(message) = next(receiver).await {
            return message;
        }
    }
}

async fn until_trouble(sender: &Sender<Word>) -> String {
    timeout(PATIENCE, async {
        loop {
            if let Some(trouble) = sender.stats().trouble {
                return trouble;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("a refusal in time")
}

#[tokio::test]
async fn messages_travel_both_ways() {
    let net = Net::new();
    let (listener, media, mut at_media) = net.media();
    let (signaling, mut at_signaling) = net.signaling(&listener);
    signaling.send(1, number(1, 1)).await.unwrap();
    assert_eq!(next(&mut at_media).await, LinkEvent::Up { fresh: true });
    assert_eq!(next(&mut at_media).await, LinkEvent::Message(number(1, 1)));
    media.send(1, number(1, 2)).await.unwrap();
    assert_eq!(next(&mut at_signaling).await, LinkEvent::Up { fresh: true });
    assert_eq!(
        next(&mut at_signaling).await,
        LinkEvent::Message(number(1, 2))
    );
    assert!(signaling.stats().up);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_comes_twice_while_the_connection_is_cut_again_and_again() {
    const KEYS: u64 = 16;
    const EACH: u64 = 400;
    let net = Net::new();
    let (listener, media, mut at_media) = net.media();
    let (signaling, mut at_signaling) = net.signaling(&listener);
    let talk = |sender: Sender<Word>| async move {
        for n in 0..EACH {
            for key in 0..KEYS {
                sender.send(key, number(key, n)).await.unwrap();
            }
        }
    };
    tokio::spawn(talk(signaling.clone()));
    tokio::spawn(talk(media.clone()));
    // Whoever reads cuts, in the middle of what is under way.
    let cutters = [&media, &signaling];
    let mut downs = 0;
    for (receiver, cutter) in [&mut at_media, &mut at_signaling].into_iter().zip(cutters) {
        let mut expected = [0; KEYS as usize];
        let mut ups = 0;
        let mut got = 0;
        while got < KEYS * EACH {
            match next(receiver).await {
                LinkEvent::Message(Word::Number { key, n }) => {
                    assert_eq!(n, expected[key as usize], "key {key}");
                    expected[key as usize] += 1;
                    got += 1;
                    if got % 1000 == 500 {
                        cutter.cut();
                    }
                }
                LinkEvent::Up { fresh } => {
                    assert_eq!(fresh, ups == 0);
                    ups += 1;
                }
                LinkEvent::Down => downs += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    // The last cut may still be under way when the last message has been read.
    let cut = async {
        while downs == 0 {
            match at_signaling.recv().await {
                Some(LinkEvent::Down) => downs += 1,
                other => assert!(other.is_some()),
            }
        }
    };
    timeout(PATIENCE, cut)
        .await
        .expect("a connection that is cut");
}

/// Passes datagrams on, as long as the way is open.
struct Way {
    address: SocketAddr,
    open: Arc<std::sync::atomic::AtomicBool>,
}

impl Way {
    async fn to(listener: SocketAddr) -> Way {
        let near = tokio::net::UdpSocket::bind(LOOPBACK).await.unwrap();
        let far = tokio::net::UdpSocket::bind(LOOPBACK).await.unwrap();
        let address = near.local_addr().unwrap();
        let open = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let is_open = open.clone();
        tokio::spawn(async move {
            let mut dialer = address;
            let (mut from_near, mut from_far) = ([0; 2048], [0; 2048]);
            loop {
                tokio::select! {
                    Ok((n, from)) = near.recv_from(&mut from_near) => {
                        dialer = from;
                        if is_open.load(Ordering::Relaxed) {
                            let _ = far.send_to(&from_near[..n], listener).await;
                        }
                    }
                    Ok((n, _)) = far.recv_from(&mut from_far) => {
                        if is_open.load(Ordering::Relaxed) {
                            let _ = near.send_to(&from_far[..n], dialer).await;
                        }
                    }
                }
            }
        });
        Way { address, open }
    }
}

#[tokio::test]
async fn a_network_that_swallows_everything_for_a_while_costs_no_message() {
    let net = Net::new();
    let (listener, media, mut at_media) = net.media();
    let way = Way::to(listener.local_addr().unwrap()).await;
    let (signaling, mut at_signaling) =
        dial::<Word, Word>(&net.process(), "signaling", "media", way.address).unwrap();
    assert_eq!(next(&mut at_signaling).await, LinkEvent::Up { fresh: true });
    assert_eq!(next(&mut at_media).await, LinkEvent::Up { fresh: true });
    way.open.store(false, Ordering::Relaxed);
    for n in 0..50 {
        signaling.send(1, number(1, n)).await.unwrap();
        media.send(1, number(1, n)).await.unwrap();
    }
    assert_eq!(next(&mut at_signaling).await, LinkEvent::Down);
    way.open.store(true, Ordering::Relaxed);
    assert_eq!(
        next(&mut at_signaling).await,
        LinkEvent::Up { fresh: false }
    );
    for n in 0..50 {
        assert_eq!(message(&mut at_signaling).await, number(1, n));
        assert_eq!(message(&mut at_media).await, number(1, n));
    }
}

#[tokio::test]
#[ignore = "prints the time of a round trip"]
async fn a_round_trip_waits_for_no_timer() {
    let net = Net::new();
    let runtime = thread("link").unwrap();
    let identity = Arc::new(Identity::load_or_make(net.dir.path()).unwrap());
    let config = || LinkConfig::new(identity.clone(), runtime.clone());
    let listener = Listener::bind(config(), LOOPBACK).unwrap();
    let (media, mut at_media) = listener.serve::<Word, Word>("media");
    let (signaling, mut at_signaling) = dial::<Word, Word>(
        &config(),
        "signaling",
        "media",
        listener.local_addr().unwrap(),
    )
    .unwrap();
    tokio::spawn(async move {
        loop {
            let word = message(&mut at_media).await;
            media.send(1, word).await.unwrap();
        }
    });
    let mut times = Vec::new();
    for n in 0..5000 {
        let begun = std::time::Instant::now();
        signaling.send(n, number(n, n)).await.unwrap();
        message(&mut at_signaling).await;
        times.push(begun.elapsed());
    }
    times.sort();
    println!(
        "round trip p50 {:?} p99 {:?} max {:?}",
        times[2500], times[4950], times[4999]
    );
}

#[tokio::test]
async fn a_listener_that_restarts_elsewhere_under_the_same_address_is_fresh() {
    let net = Net::new();
    let process = net.process();
    let (listener, media, at_media) = net.media_of(process.clone());
    let (signaling, mut at_signaling) = net.signaling(&listener);
    assert_eq!(next(&mut at_signaling).await, LinkEvent::Up { fresh: true });
    let address = listener.local_addr().unwrap();
    process.close().await;
    drop((process, listener, media, at_media));
    assert_eq!(next(&mut at_signaling).await, LinkEvent::Down);
    signaling.send(1, number(1, 1)).await.unwrap();
    let listener = loop {
        // The old socket closes when its driver has noticed.
        match Listener::bind(net.process(), address) {
            Ok(listener) => break listener,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let (_media, mut at_media) = listener.serve::<Word, Word>("media");
    assert_eq!(next(&mut at_signaling).await, LinkEvent::Up { fresh: true });
    signaling.send(1, number(1, 2)).await.unwrap();
    assert_eq!(message(&mut at_media).await, number(1, 2));
}

#[tokio::test]
async fn a_dialer_that_restarts_replaces_the_dead_one_and_is_fresh() {
    let net = Net::new();
    let (listener, _media, mut at_media) = net.media();
    let (first, at_first) = net.signaling(&listener);
    assert_eq!(next(&mut at_media).await, LinkEvent::Up { fresh: true });
    drop((first, at_first));
    let (second, _at_second) = net.signaling(&listener);
    second.send(1, number(1, 5)).await.unwrap();
    let mut changes = Vec::new();
    loop {
        match next(&mut at_media).await {
            LinkEvent::Message(message) => break assert_eq!(message, number(1, 5)),
            change => changes.push(change),
        }
    }
    assert_eq!(changes.last(), Some(&LinkEvent::Up { fresh: true }));
}

#[tokio::test]
async fn a_second_dialer_is_refused_while_the_first_is_alive() {
    let net = Net::new();
    let (listener, media, mut at_media) = net.media();
    let (_first, mut at_first) = net.signaling(&listener);
    assert_eq!(next(&mut at_media).await, LinkEvent::Up { fresh: true });
    let (second, _at_second) = net.signaling(&listener);
    let trouble = until_trouble(&second).await;
    assert!(trouble.contains("is served here and alive"), "{trouble}");
    media.send(1, number(1, 1)).await.unwrap();
    assert_eq!(message(&mut at_first).await, number(1, 1));
}

#[tokio::test]
async fn grace_over_is_told_as_lost() {
    let net = Net::new();
    let process = net.process();
    let (listener, _media, _at_media) = net.media_of(process.clone());
    let config = LinkConfig {
        grace: Duration::ZERO,
        ..net.process()
    };
    let (_signaling, mut at_signaling) = dial::<Word, Word>(
        &config,
        "signaling",
        "media",
        listener.local_addr().unwrap(),
    )
    .unwrap();
    assert_eq!(next(&mut at_signaling).await, LinkEvent::Up { fresh: true });
    process.close().await;
    assert_eq!(next(&mut at_signaling).await, LinkEvent::Down);
    assert_eq!(next(&mut at_signaling).await, LinkEvent::Lost);
}

#[tokio::test]
async fn a_node_of_another_authority_is_refused() {
    let (net, stranger) = (Net::new(), Net::new());
    let (listener, _media, mut at_media) = net.media();
    let (signaling, mut at_signaling) = stranger.signaling(&listener);
    let trouble = until_trouble(&signaling).await;
    assert!(trouble.to_lowercase().contains("certificate"), "{trouble}");
    assert!(at_signaling.try_recv().is_err());
    assert!(at_media.try_recv().is_err());
}

#[tokio::test]
async fn a_dialer_without_our_certificate_never_reaches_the_role() {
    let net = Net::new();
    let stranger = Net::new();
    let (listener, _media, mut at_media) = net.media();
    // It believes our authority, but shows a certificate of another one.
    Identity::load_or_make(stranger.dir.path()).unwrap();
    std::fs::copy(
        net.dir.path().join("ca.pem"),
        stranger.dir.path().join("ca.pem"),
    )
    .unwrap();
    let (signaling, mut at_signaling) = stranger.signaling(&listener);
    until_trouble(&signaling).await;
    assert!(at_signaling.try_recv().is_err());
    assert!(at_media.try_recv().is_err());
}

#[tokio::test]
async fn a_variant_that_is_not_understood_is_skipped_and_counted() {
    let net = Net::new();
    let (listener, media, mut at_media) = net.media();
    let (newer, _at_newer): (Sender<NewerWord>, Receiver<Word>) = dial(
        &net.process(),
        "signaling",
        "media",
        listener.local_addr().unwrap(),
    )
    .unwrap();
    newer
        .send(
            1,
            NewerWord::Number {
                key: 1,
                n: 1,
                colour: "green".into(),
            },
        )
        .await
        .unwrap();
    newer
        .send(1, NewerWord::Video { width: 640 })
        .await
        .unwrap();
    newer
        .send(
            1,
            NewerWord::Number {
                key: 1,
                n: 2,
                colour: String::new(),
            },
        )
        .await
        .unwrap();
    assert_eq!(message(&mut at_media).await, number(1, 1));
    assert_eq!(message(&mut at_media).await, number(1, 2));
    assert_eq!(media.stats().skipped, 1);
}

#[tokio::test]
async fn the_version_before_is_accepted_and_the_one_before_that_refused_with_a_sentence() {
    let net = Net::new();
    let listener = Listener::bind(
        LinkConfig {
            versions: (5, 4),
            ..net.process()
        },
        LOOPBACK,
    )
    .unwrap();
    let (_media, mut at_media) = listener.serve::<Word, Word>("media");
    let address = listener.local_addr().unwrap();

    let ancient = LinkConfig {
        versions: (3, 2),
        ..net.process()
    };
    let (sender, receiver) = dial::<Word, Word>(&ancient, "signaling", "media", address).unwrap();
    assert_eq!(
        until_trouble(&sender).await,
        "The signaling role speaks versions 2 to 3 of the link and this media role 4 to 5: upgrade the older one first."
    );
    drop((sender, receiver));

    let older = LinkConfig {
        versions: (4, 3),
        ..net.process()
    };
    let (sender, _receiver) = dial::<Word, Word>(&older, "signaling", "media", address).unwrap();
    sender.send(1, number(1, 1)).await.unwrap();
    assert_eq!(message(&mut at_media).await, number(1, 1));
}

#[tokio::test]
async fn a_role_that_is_not_played_there_is_named() {
    let net = Net::new();
    let (listener, ..) = net.media();
    let (sender, _receiver) = dial::<Word, Word>(
        &net.process(),
        "signaling",
        "trunk",
        listener.local_addr().unwrap(),
    )
    .unwrap();
    assert_eq!(
        until_trouble(&sender).await,
        "The trunk role is not played here."
    );
}

#[tokio::test]
async fn two_roles_share_one_socket() {
    let net = Net::new();
    let (listener, _media, mut at_media) = net.media();
    let (_trunk, mut at_trunk) = listener.serve::<Word, Word>("trunk");
    let (to_media, _at_signaling) = net.signaling(&listener);
    let (to_trunk, _from_trunk) = dial::<Word, Word>(
        &net.process(),
        "signaling",
        "trunk",
        listener.local_addr().unwrap(),
    )
    .unwrap();
    to_media.send(1, number(1, 1)).await.unwrap();
    to_trunk.send(1, number(1, 2)).await.unwrap();
    assert_eq!(message(&mut at_media).await, number(1, 1));
    assert_eq!(message(&mut at_trunk).await, number(1, 2));
}

#[tokio::test]
async fn a_full_queue_refuses_try_send_and_makes_send_wait() {
    let net = Net::new();
    // Nobody is there.
    let nowhere = std::net::UdpSocket::bind(LOOPBACK).unwrap();
    let (sender, _receiver) = dial::<Word, Word>(
        &net.process(),
        "signaling",
        "media",
        nowhere.local_addr().unwrap(),
    )
    .unwrap();
    let filled = async {
        loop {
            match sender.try_send(1, number(1, 0)) {
                Ok(()) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        }
    };
    assert_eq!(timeout(PATIENCE, filled).await.unwrap(), SendError::Full);
    let wait = timeout(Duration::from_millis(20), sender.send(1, number(1, 0)));
    assert!(wait.await.is_err());
}

#[tokio::test]
async fn a_receiver_that_does_not_read_holds_up_its_sender_and_loses_nothing() {
    let net = Net::new();
    let (listener, media, mut at_media) = net.media();
    let (signaling, mut at_signaling) = net.signaling(&listener);
    let mut sent = 0;
    // Full for a while, not only for the moment: everything between the two has filled up.
    while timeout(
        Duration::from_millis(200),
        signaling.send(1, number(1, sent)),
    )
    .await
    .is_ok()
    {
        sent += 1;
        assert!(sent < 100_000, "nothing is bounded");
    }
    // The other way is free.
    media.send(1, number(1, 7)).await.unwrap();
    assert_eq!(message(&mut at_signaling).await, number(1, 7));
    for n in 0..sent {
        assert_eq!(message(&mut at_media).await, number(1, n));
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_to_its_sender() {
    let net = Net::new();
    let (_listener, ..) = net.media();
    let (listener, media, _at_media) = net.media();
    drop(listener);
    let large = Sender::<String> {
        lanes: media.lanes.clone(),
        shared: media.shared.clone(),
        what: PhantomData,
    };
    let error = large
        .try_send(1, "x".repeat(MAX_MESSAGE_BYTES))
        .unwrap_err();
    assert!(matches!(error, SendError::TooLarge(_)));
}
