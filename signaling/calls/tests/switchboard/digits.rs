//! Digits of the page in their three ways, and those of the far side.

use crate::rig::{PHONE, Rig};
use media_control::{Command as Media, Event as MediaEvent, LegId};
use serde_json::{Value, json};
use signaling_calls::{Config, InbandDtmf, Input};
use signaling_protocol::HookMessage;
use signaling_protocol::call::DtmfType;
use signaling_trunk::api::{Cause, Command as Trunk, Event, Failure, InviteId, OfferId};

const ALL: &str = "0123456789*#ABCD";
const DEAF: &str = "v=0\r\no=phone 5 7 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
m=audio 20000 RTP/AVP 0\r\n";

fn talking_to(sdp: &str, config: Config) -> (Rig, InviteId) {
    let mut rig = Rig::registered(config);
    rig.reincarnates = true;
    rig.dial("c1", "1002");
    let (invite, _) = rig.invite();
    rig.answer(invite, sdp);
    rig.told();
    rig.trunk.clear();
    rig.media.clear();
    (rig, invite)
}

fn talking() -> (Rig, InviteId) {
    talking_to(PHONE, Config::default())
}

fn press(rig: &mut Rig, kind: &str, digits: impl Into<Value>) {
    rig.frame(json!({"message": "sendDtmf", "data": [{"callId": "c1", "type": kind, "dtmf": digits.into()}]}));
}

/// Type and body of each INFO that went out.
fn infos(rig: &mut Rig) -> Vec<(String, String)> {
    rig.trunk
        .drain(..)
        .filter_map(|command| match command {
            Trunk::Info {
                content_type, body, ..
            } => Some((content_type, String::from_utf8(body).unwrap())),
            _ => None,
        })
        .collect()
}

fn sent_digits(rig: &mut Rig) -> Vec<(LegId, String)> {
    rig.media
        .drain(..)
        .filter_map(|command| match command {
            Media::SendDigits { leg, digits, .. } => Some((leg, digits)),
            _ => None,
        })
        .collect()
}

fn hooked(rig: &mut Rig) -> Vec<(String, DtmfType)> {
    rig.hooks
        .drain(..)
        .filter_map(|hook| match hook {
            HookMessage::OnDtmfEvent(told) => {
                assert_eq!(told.call_id.as_str(), "c1");
                Some((told.dtmf, told.kind))
            }
            _ => None,
        })
        .collect()
}

fn legs(rig: &mut Rig) -> (LegId, LegId) {
    press(rig, "RFC2833", "1");
    let far = sent_digits(rig)[0].0;
    (LegId(far.0 - far.0 % 4), far)
}

#[test]
fn every_digit_of_a_page_leaves_once_on_the_way_that_it_asks_for() {
    let (mut rig, _) = talking();
    for digit in ALL.chars().chain("abcd".chars()) {
        let upper = digit.to_ascii_uppercase().to_string();
        press(&mut rig, "RFC2833", digit.to_string());
        let sent = sent_digits(&mut rig);
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].1, upper);
        assert_eq!(infos(&mut rig), []);
        press(&mut rig, "INFO", digit.to_string());
        assert_eq!(
            infos(&mut rig),
            [("application/dtmf".to_owned(), upper.clone())]
        );
        press(&mut rig, "INFO_RELAY", digit.to_string());
        let body = format!("Signal={upper}\r\nDuration=160\r\n");
        assert_eq!(
            infos(&mut rig),
            [("application/dtmf-relay".to_owned(), body)]
        );
        assert_eq!(sent_digits(&mut rig), []);
    }
    // None of it is told to anybody.
    assert_eq!(rig.told(), [""; 0]);
    assert_eq!(hooked(&mut rig), []);
}

#[test]
fn fast_digits_and_several_in_one_message_keep_their_order() {
    let (mut rig, _) = talking();
    press(&mut rig, "INFO", "12*");
    press(&mut rig, "INFO", 3);
    press(&mut rig, "INFO", "#a");
    let bodies: String = infos(&mut rig).into_iter().map(|(_, body)| body).collect();
    assert_eq!(bodies, "12*3#A");
    press(&mut rig, "RFC2833", "12*");
    press(&mut rig, "RFC2833", 3);
    let sent: String = sent_digits(&mut rig)
        .into_iter()
        .map(|(_, digits)| digits)
        .collect();
    assert_eq!(sent, "12*3");
}

#[test]
fn a_refused_info_is_told_once_for_each_time_it_was_tried() {
    let (mut rig, invite) = talking();
    let refused = || {
        Input::Trunk(Event::InfoRefused {
            invite,
            failure: Failure {
                status: 415,
                reason: "Unsupported Media Type".into(),
                cause: Cause::Response,
                raw: String::new(),
                ..Failure::default()
            },
        })
    };
    press(&mut rig, "INFO", "123");
    for _ in 0..3 {
        rig.give(refused());
    }
    let fail = rig.last("fail");
    assert!(fail[0]["info"].as_str().unwrap().contains("415"), "{fail}");
    assert!(fail[0].get("apiMethod").is_none_or(Value::is_null));
    assert_eq!(rig.told(), ["fail FAILED"]);
    press(&mut rig, "INFO", "1");
    rig.give(refused());
    assert_eq!(rig.told(), ["fail FAILED"]);
    // Of an INFO that no page asked for nobody is told.
    rig.give(refused());
    assert_eq!(rig.told(), [""; 0]);
}

#[test]
fn in_hold_digits_leave_by_info_and_those_of_the_media_are_refused_clearly() {
    let (mut rig, invite) = talking();
    rig.give(Input::Trunk(Event::Offered {
        invite,
        offer: OfferId(1),
        sdp: Some(
            PHONE
                .replace("5 7", "5 8")
                .replace("t=0 0", "t=0 0\r\na=sendonly")
                .into_bytes(),
        ),
        source: crate::rig::SOURCE.parse().unwrap(),
        raw: String::new(),
        fork: None,
    }));
    rig.told();
    press(&mut rig, "RFC2833", "5");
    assert_eq!(sent_digits(&mut rig), []);
    assert!(
        rig.last("fail")[0]["info"]
            .as_str()
            .unwrap()
            .contains("on hold")
    );
    rig.told();
    press(&mut rig, "INFO", "5");
    assert_eq!(infos(&mut rig).len(), 1);
    assert_eq!(rig.told(), [""; 0]);
}

#[test]
fn a_peer_without_events_gets_tones_unless_they_are_switched_off() {
    for (inband_dtmf, tones) in [(InbandDtmf::Auto, true), (InbandDtmf::Off, false)] {
        let config = Config {
            inband_dtmf,
            ..Config::default()
        };
        let (mut rig, invite) = talking_to(DEAF, config);
        press(&mut rig, "RFC2833", "5");
        assert_eq!(sent_digits(&mut rig).len(), usize::from(tones));
        assert_eq!(rig.told().len(), usize::from(!tones));
        // What media is told, here by a new description; with events there are never tones.
        for (sdp, wanted) in [(DEAF, tones), (PHONE, false)] {
            rig.give(Input::Trunk(Event::Offered {
                invite,
                offer: OfferId(1),
                sdp: Some(sdp.replace("20000", "20002").into_bytes()),
                source: crate::rig::SOURCE.parse().unwrap(),
                raw: String::new(),
                fork: None,
            }));
            let inband = rig.media.drain(..).find_map(|command| match command {
                Media::ConnectLeg { remote, .. } => Some(remote.media[0].inband_dtmf),
                _ => None,
            });
            assert_eq!(inband, Some(wanted));
        }
    }
}

#[test]
fn every_digit_of_the_far_side_by_info_reaches_browser_and_backend_once() {
    let (mut rig, invite) = talking();
    let (browser, _) = legs(&mut rig);
    for (n, digit) in ALL.chars().enumerate() {
        // A symbol or, above nine, the number of its event.
        let bodies = [
            ("application/dtmf", digit.to_string(), DtmfType::Info),
            (
                "application/dtmf-relay",
                format!("Signal={digit}\r\nDuration=120\r\n"),
                DtmfType::InfoRelay,
            ),
            (
                "application/dtmf-relay",
                format!("signal= {n}\nduration= 120"),
                DtmfType::InfoRelay,
            ),
        ];
        for (content_type, body, kind) in bodies {
            rig.give(Input::Trunk(Event::Info {
                invite,
                content_type: content_type.into(),
                body: body.into_bytes(),
            }));
            assert_eq!(sent_digits(&mut rig), [(browser, digit.to_string())]);
            assert_eq!(hooked(&mut rig), [(digit.to_string(), kind)]);
        }
    }
    rig.give(Input::Trunk(Event::Info {
        invite,
        content_type: "application/dtmf-relay".into(),
        body: b"Signal=16\r\nDuration=100\r\n".to_vec(),
    }));
    assert_eq!((sent_digits(&mut rig), hooked(&mut rig)), (vec![], vec![]));
    assert_eq!(rig.told(), [""; 0]);
}

#[test]
fn a_digit_in_the_media_is_the_backends_news_if_it_is_the_far_sides() {
    let (mut rig, _) = talking();
    let (browser, far) = legs(&mut rig);
    let heard = |leg| {
        Input::Media(MediaEvent::Digit {
            leg,
            digit: '#',
            duration_ms: 100,
        })
    };
    rig.give(heard(far));
    assert_eq!(hooked(&mut rig), [("#".to_owned(), DtmfType::Rfc2833)]);
    rig.give(heard(browser));
    assert_eq!(hooked(&mut rig), []);
    // Media has passed them on by itself.
    assert_eq!(sent_digits(&mut rig), []);
    rig.hang_up("c1");
    rig.give(heard(far));
    assert_eq!(hooked(&mut rig), []);
}

#[test]
fn an_echo_gives_digits_back() {
    let mut rig = Rig::connected();
    rig.dial("c1", "echo");
    rig.media.clear();
    press(&mut rig, "INFO", "5");
    assert_eq!(sent_digits(&mut rig).len(), 1);
    assert_eq!(infos(&mut rig), []);
}
