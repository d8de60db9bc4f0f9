//! Pictures: what page and phone are told of each other's, and requests for a whole one.

use crate::rig::{BROWSER_OFFER, PHONE, Rig, SOURCE, browser_answer};
use media_control::{
    Codec, Command as Media, Direction, Event as FromMedia, LegId, LegSpec, MediaKind, Remote,
    RemoteMedia, RemoteTransport,
};
use serde_json::{Value, json};
use signaling_calls::{Config, Input};
use signaling_trunk::api::{Command as Trunk, Event, InviteId, OfferId, ReferId};

/// As Chromium writes it, shortened.
const PAGE_VIDEO: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 104 106 45\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\n\
a=sendrecv\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 ccm fir\r\n\
a=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
a=rtpmap:102 H264/90000\r\na=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\n\
a=rtpmap:104 H264/90000\r\na=fmtp:104 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f\r\n\
a=rtpmap:106 H264/90000\r\na=fmtp:106 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f\r\n\
a=rtpmap:45 AV1/90000\r\n";
/// With requests for pictures as it takes them.
const VP8: &str = "m=video 20002 RTP/AVP 97\r\na=rtpmap:97 VP8/90000\r\na=rtcp-fb:* nack pli\r\n";
/// As baresip writes it, and takes no such requests.
const H264: &str = "m=video 20002 RTP/AVP 99\r\na=rtpmap:99 H264/90000\r\n\
a=fmtp:99 packetization-mode=0;profile-level-id=42e00c\r\n";

fn page_offer() -> String {
    let offer = BROWSER_OFFER.replace("BUNDLE 0", "BUNDLE 0 1");
    format!("{offer}{PAGE_VIDEO}")
}

fn phone(video: &str) -> String {
    format!("{PHONE}{video}")
}

fn dial(rig: &mut Rig) -> (InviteId, String) {
    rig.frame(json!({"message": "call", "data": [{"callId": "c1", "callee": "1002", "sdp": page_offer()}]}));
    let (invite, sdp) = rig.invite();
    (invite, String::from_utf8(sdp).unwrap())
}

/// A call from the page that the phone answered with this m-line of pictures.
fn answered(video: &str) -> (Rig, InviteId) {
    let mut rig = Rig::registered(Config::default());
    let (invite, _) = dial(&mut rig);
    rig.answer(invite, &phone(video));
    (rig, invite)
}

fn page_sdp(rig: &Rig) -> String {
    rig.last("setRemoteSDP")[1].as_str().unwrap().to_owned()
}

fn video_line(sdp: &str) -> &str {
    let at = sdp.find("m=video").expect("an m-line of pictures");
    &sdp[at..]
}

/// What media was told last of a leg's pictures.
fn shown(rig: &Rig, leg: u64) -> Option<(Remote, RemoteMedia)> {
    rig.media.iter().rev().find_map(|command| match command {
        Media::ConnectLeg { leg: told, remote } if told.0 % 32 == leg => {
            let media = remote.media.iter().find(|m| m.kind == MediaKind::Video);
            Some(media.map(|media| (remote.clone(), media.clone())))
        }
        _ => None,
    })?
}

fn offers(rig: &mut Rig, invite: InviteId, number: u64, sdp: &str) -> String {
    rig.give(Input::Trunk(Event::Offered {
        invite,
        fork: None,
        offer: OfferId(number),
        sdp: Some(sdp.as_bytes().to_vec()),
        source: SOURCE.parse().unwrap(),
        raw: "INVITE x SIP/2.0".into(),
    }));
    rig.trunk
        .iter()
        .rev()
        .find_map(|command| match command {
            Trunk::AnswerOffer { sdp, .. } => Some(String::from_utf8(sdp.clone()).unwrap()),
            _ => None,
        })
        .expect("an answer")
}

#[test]
fn the_phone_is_offered_what_the_page_can_show_and_on_a_port_of_its_own() {
    let mut rig = Rig::registered(Config::default());
    let (_, offer) = dial(&mut rig);
    let video = video_line(&offer);
    assert!(
        video.starts_with("m=video 20010 RTP/AVP 96 102 104 106\r\n"),
        "{offer}"
    );
    for line in [
        "a=rtpmap:96 VP8/90000\r\n",
        "a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\n",
        "a=rtcp-fb:* nack pli\r\n",
        "a=rtcp-fb:* ccm fir\r\n",
        "a=sendrecv\r\n",
    ] {
        assert!(video.contains(line), "{line} is missing in {video}");
    }
    for word in ["rtx", "AV1", "transport-cc", "extmap", "mid"] {
        assert!(!offer.contains(word), "{word} in {offer}");
    }
    assert!(rig.media.iter().any(|command| matches!(
        command,
        Media::CreateLeg {
            spec: LegSpec::Rtp { video: true, .. },
            ..
        }
    )));
    let mut rig = Rig::registered(Config::default());
    rig.dial("c1", "1002");
    let (_, offer) = rig.invite();
    assert!(!String::from_utf8(offer).unwrap().contains("m=video"));
    assert!(rig.media.iter().all(|command| !matches!(
        command,
        Media::CreateLeg {
            spec: LegSpec::Rtp { video: true, .. },
            ..
        }
    )));
}

#[test]
fn page_and_phone_agree_on_what_both_have() {
    // m-line of the phone; the page's line, its fmtp; the codec and numbers that media is told of both.
    let both = "m=video 20002 RTP/AVP 99 97\r\na=rtpmap:99 H264/90000\r\na=fmtp:99 profile-level-id=42001f\r\n\
        a=rtpmap:97 VP8/90000\r\n";
    let table = [
        (
            VP8,
            "m=video 31000 UDP/TLS/RTP/SAVPF 96\r\n",
            "",
            Codec::Vp8,
            (96, 97),
        ),
        (
            H264,
            "m=video 31000 UDP/TLS/RTP/SAVPF 106\r\n",
            "a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e00c\r\n",
            Codec::H264,
            (106, 99),
        ),
        (
            both,
            "m=video 31000 UDP/TLS/RTP/SAVPF 104 96\r\n",
            "packetization-mode=0;profile-level-id=42001f\r\n",
            Codec::H264,
            (104, 99),
        ),
    ];
    for (video, page_line, fmtp, codec, (page_pt, phone_pt)) in table {
        let (rig, _) = answered(video);
        let sdp = page_sdp(&rig);
        let line = video_line(&sdp);
        assert!(line.starts_with(page_line), "{line}");
        assert!(line.contains(fmtp), "{line}");
        assert!(sdp.contains("a=group:BUNDLE 0 1\r\n"));
        for part in [
            "a=mid:1\r\n",
            "a=sendrecv\r\n",
            "a=rtcp-mux\r\n",
            "a=rtcp-fb:* nack pli\r\n",
        ] {
            assert!(line.contains(part), "{part} is missing in {line}");
        }
        let (_, page) = shown(&rig, rig_base(&rig)).expect("the page's pictures");
        assert_eq!(
            (page.formats[0].codec.clone(), page.formats[0].send_pt),
            (codec.clone(), page_pt)
        );
        assert!(page.key_frame.pli);
        let (remote, theirs) = shown(&rig, 1 + rig_base(&rig)).expect("the phone's pictures");
        assert_eq!(
            (theirs.formats[0].codec.clone(), theirs.formats[0].send_pt),
            (codec, phone_pt)
        );
        // What comes in has the number that we offered.
        assert_eq!(theirs.formats[0].receive_pt, page_pt);
        assert_eq!(theirs.key_frame.pli, video == VP8);
        let RemoteTransport::Rtp {
            video: Some(addresses),
            ..
        } = remote.transport
        else {
            panic!("no address for pictures")
        };
        assert_eq!(addresses.rtp, Some("192.0.2.9:20002".parse().unwrap()));
        assert_eq!(rig.last("talk")[0]["hasVideo"], true);
    }
}

/// Calls of a rig begin at number 1.
fn rig_base(rig: &Rig) -> u64 {
    let first = rig.media.iter().find_map(|command| match command {
        Media::CreateLeg { leg, .. } => Some(leg.0 % 32),
        _ => None,
    });
    first.expect("a leg")
}

#[test]
fn a_phone_without_pictures_answers_sound_only_and_the_page_is_answered_inactive() {
    for video in [
        "",
        "m=video 0 RTP/AVP 97\r\n",
        "m=video 20002 RTP/AVP 34\r\na=rtpmap:34 H263/90000\r\n",
        "m=video 20002 RTP/SAVP 97\r\na=rtpmap:97 VP8/90000\r\n",
        "m=video 20002 RTP/AVP 99\r\na=rtpmap:99 H264/90000\r\na=fmtp:99 profile-level-id=64001f\r\n",
        "m=video 20002 RTP/AVP 97\r\nc=IN IP4 169.254.169.254\r\na=rtpmap:97 VP8/90000\r\n",
    ] {
        let (rig, _) = answered(video);
        let sdp = page_sdp(&rig);
        let line = video_line(&sdp);
        for part in ["a=inactive\r\n", "a=mid:1\r\n", "a=rtcp-mux\r\n"] {
            assert!(line.contains(part), "{video}: {part} is missing in {line}");
        }
        assert!(!line.contains("sendrecv"));
        assert!(sdp.contains("a=group:BUNDLE 0 1\r\n"), "{sdp}");
        let base = rig_base(&rig);
        assert_eq!(
            (shown(&rig, base), shown(&rig, base + 1)),
            (None, None),
            "{video}"
        );
        assert_eq!(rig.last("talk")[0]["hasVideo"], false);
    }
}

#[test]
fn a_page_that_only_watches_is_sent_pictures_and_sends_none() {
    let mut rig = Rig::registered(Config::default());
    let offer = format!(
        "{}{}",
        BROWSER_OFFER.replace("BUNDLE 0", "BUNDLE 0 1"),
        PAGE_VIDEO.replace("a=sendrecv", "a=recvonly")
    );
    rig.frame(
        json!({"message": "call", "data": [{"callId": "c1", "callee": "1002", "sdp": offer}]}),
    );
    let (invite, sdp) = rig.invite();
    let sdp = String::from_utf8(sdp).unwrap();
    assert!(video_line(&sdp).contains("a=recvonly\r\n"), "{sdp}");
    rig.answer(invite, &phone(&format!("{VP8}a=sendonly\r\n")));
    assert!(video_line(&page_sdp(&rig)).contains("a=sendonly\r\n"));
    let (_, theirs) = shown(&rig, rig_base(&rig) + 1).unwrap();
    assert_eq!(theirs.direction, Direction::RecvOnly);
}

#[test]
fn hold_is_for_eyes_too_and_every_m_line_keeps_its_place() {
    let (mut rig, invite) = answered(VP8);
    rig.frame(json!({"message": "hold", "data": [{"callId": "c1"}]}));
    let hold = last_offer(&rig);
    assert!(
        video_line(&hold).starts_with("m=video 20010 RTP/AVP 96\r\n"),
        "{hold}"
    );
    assert_eq!(hold.matches("a=sendonly\r\n").count(), 2, "{hold}");
    let held = phone(VP8).replace("a=rtpmap:101", "a=recvonly\r\na=rtpmap:101") + "a=recvonly\r\n";
    answer_reoffer(&mut rig, invite, &held);
    assert_eq!(
        shown(&rig, rig_base(&rig) + 1).unwrap().1.direction,
        Direction::Inactive
    );
    rig.frame(json!({"message": "unhold", "data": [{"callId": "c1"}]}));
    assert_eq!(last_offer(&rig).matches("a=sendrecv\r\n").count(), 2);
    answer_reoffer(&mut rig, invite, &phone(VP8));
    assert_eq!(
        shown(&rig, rig_base(&rig) + 1).unwrap().1.direction,
        Direction::SendRecv
    );

    // Refused once, the line stays refused and in its place.
    let (mut rig, _) = answered("m=video 0 RTP/AVP 97\r\n");
    rig.frame(json!({"message": "hold", "data": [{"callId": "c1"}]}));
    assert!(video_line(&last_offer(&rig)).starts_with("m=video 0 RTP/AVP 97\r\n"));
}

fn last_offer(rig: &Rig) -> String {
    rig.trunk
        .iter()
        .rev()
        .find_map(|command| match command {
            Trunk::Offer { sdp, .. } => Some(String::from_utf8(sdp.clone()).unwrap()),
            _ => None,
        })
        .expect("an offer")
}

fn answer_reoffer(rig: &mut Rig, invite: InviteId, sdp: &str) {
    rig.give(Input::Trunk(Event::OfferAnswered {
        invite,
        status: 200,
        sdp: Some(sdp.as_bytes().to_vec()),
        source: SOURCE.parse().unwrap(),
        raw: "SIP/2.0 200 OK".into(),
    }));
}

#[test]
fn a_phone_may_drop_its_pictures_and_bring_them_back() {
    let (mut rig, invite) = answered(VP8);
    let before = rig.page.len();
    let base = rig_base(&rig);
    let answer = offers(&mut rig, invite, 1, &phone("m=video 0 RTP/AVP 97\r\n"));
    assert!(video_line(&answer).starts_with("m=video 0 "), "{answer}");
    assert_eq!(shown(&rig, base + 1), None);
    let answer = offers(&mut rig, invite, 2, &phone(&VP8.replace("97", "120")));
    assert!(
        video_line(&answer).starts_with("m=video 20010 RTP/AVP 120\r\n"),
        "{answer}"
    );
    let (_, theirs) = shown(&rig, base + 1).unwrap();
    // Their offer, their numbers, both ways.
    assert_eq!(
        (theirs.formats[0].send_pt, theirs.formats[0].receive_pt),
        (120, 120)
    );
    let told: Vec<&Value> = rig.page[before..]
        .iter()
        .filter(|frame| frame["message"] == "setRemoteSDP")
        .collect();
    assert!(told.is_empty(), "the page gets one description");
}

#[test]
fn pictures_that_a_phone_adds_later_are_refused_where_the_page_has_none() {
    let (mut rig, invite) = answered("");
    let answer = offers(&mut rig, invite, 1, &phone(VP8));
    assert!(video_line(&answer).starts_with("m=video 0 "), "{answer}");
    let mut rig = Rig::registered(Config::default());
    rig.dial("c1", "1002");
    let (invite, _) = rig.invite();
    rig.answer(invite, PHONE);
    let answer = offers(&mut rig, invite, 1, &phone(VP8));
    assert!(video_line(&answer).starts_with("m=video 0 "), "{answer}");
}

fn accepted(rig: &Rig) -> String {
    rig.trunk
        .iter()
        .find_map(|command| match command {
            Trunk::Accept { sdp, .. } => Some(String::from_utf8(sdp.clone()).unwrap()),
            _ => None,
        })
        .expect("a 200")
}

/// The page's answer to our offer, with this direction of its pictures.
fn page_answers(rig: &mut Rig, direction: &str) {
    let id = rig.last("notifyIncomingCall")[0]["callId"].clone();
    let offer = page_sdp(rig);
    let mut answer = browser_answer(id.as_str().unwrap());
    let sound = answer["data"][0]["sdp"]
        .as_str()
        .unwrap()
        .replace("BUNDLE 0", "BUNDLE 0 1");
    let video = video_line(&offer)
        .replace("a=sendrecv", direction)
        .replace("a=setup:actpass", "a=setup:active");
    answer["data"][0]["sdp"] = json!(format!("{sound}{video}"));
    rig.frame(answer);
}

#[test]
fn an_invite_with_pictures_is_announced_with_pictures() {
    let mut rig = Rig::registered(Config::default());
    rig.rings_in(Some(&phone(H264)));
    assert_eq!(rig.last("notifyIncomingCall")[0]["hasVideo"], true);
    let offer = page_sdp(&rig);
    let line = video_line(&offer);
    assert!(
        line.starts_with("m=video 31000 UDP/TLS/RTP/SAVPF 96\r\n"),
        "{offer}"
    );
    assert!(
        line.contains("a=fmtp:96 packetization-mode=0;profile-level-id=42e00c\r\n"),
        "{line}"
    );
    assert!(offer.contains("a=group:BUNDLE 0 1\r\n"));
    page_answers(&mut rig, "a=sendrecv");
    let accepted = accepted(&rig);
    let video = video_line(&accepted);
    assert!(video.starts_with("m=video 20010 RTP/AVP 99\r\n"), "{video}");
    assert!(
        video.contains("a=fmtp:99 packetization-mode=0;profile-level-id=42e00c\r\n"),
        "{video}"
    );
    assert!(!video.contains("rtcp-fb"), "they offered none: {video}");
    assert_eq!(rig.last("talk")[0]["hasVideo"], true);
    // In the dialog that they began their numbers stay.
    let id = rig.last("notifyIncomingCall")[0]["callId"].clone();
    rig.frame(json!({"message": "hold", "data": [{"callId": id}]}));
    assert!(video_line(&last_offer(&rig)).starts_with("m=video 20010 RTP/AVP 99\r\n"));

    let mut rig = Rig::registered(Config::default());
    rig.rings_in(Some(PHONE));
    assert_eq!(rig.last("notifyIncomingCall")[0]["hasVideo"], false);
    assert!(!page_sdp(&rig).contains("m=video"));
}

#[test]
fn what_a_page_answers_of_pictures_is_what_the_phone_is_told() {
    for (page, told) in [
        ("a=sendrecv", Some("a=sendrecv")),
        ("a=recvonly", Some("a=recvonly")),
        ("a=sendonly", Some("a=sendonly")),
        ("a=inactive", None),
    ] {
        let mut rig = Rig::registered(Config::default());
        rig.rings_in(Some(&phone(VP8)));
        page_answers(&mut rig, page);
        let accepted = accepted(&rig);
        let video = video_line(&accepted);
        match told {
            Some(told) => assert!(video.contains(told), "{page}: {video}"),
            None => assert!(video.starts_with("m=video 0 "), "{page}: {video}"),
        }
        assert_eq!(rig.last("talk")[0]["hasVideo"], told.is_some());
    }
    // Sound alone.
    let mut rig = Rig::registered(Config::default());
    rig.rings_in(Some(&phone(VP8)));
    let id = rig.last("notifyIncomingCall")[0]["callId"].clone();
    rig.frame(browser_answer(id.as_str().unwrap()));
    assert!(video_line(&accepted(&rig)).starts_with("m=video 0 "));
}

#[test]
fn echo_shows_a_page_itself() {
    let mut rig = Rig::connected();
    rig.frame(json!({"message": "call", "data": [{"callId": "c1", "callee": "echo", "sdp": page_offer()}]}));
    assert!(
        video_line(&page_sdp(&rig))
            .starts_with("m=video 31000 UDP/TLS/RTP/SAVPF 96 102 104 106\r\n")
    );
    assert_eq!(rig.last("talk")[0]["hasVideo"], true);
}

#[test]
fn a_picture_that_only_signalling_can_ask_for_is_asked_by_info() {
    let (mut rig, _) = answered(H264);
    let leg = LegId(rig_leg(&rig));
    rig.give(Input::Media(FromMedia::KeyFrameWanted { leg }));
    let asked = rig.trunk.iter().find_map(|command| match command {
        Trunk::Info {
            content_type, body, ..
        } => Some((
            content_type.clone(),
            String::from_utf8(body.clone()).unwrap(),
        )),
        _ => None,
    });
    let (content_type, body) = asked.expect("an INFO");
    assert_eq!(content_type, "application/media_control+xml");
    assert!(body.contains("<picture_fast_update/>"), "{body}");
}

fn rig_leg(rig: &Rig) -> u64 {
    rig.media
        .iter()
        .find_map(|command| match command {
            Media::CreateLeg {
                leg,
                spec: LegSpec::Rtp { .. },
                ..
            } => Some(leg.0),
            _ => None,
        })
        .expect("the phone's leg")
}

#[test]
fn an_info_of_the_phone_asks_the_page_for_a_picture() {
    let info = |rig: &mut Rig, invite: InviteId, body: &str| {
        rig.give(Input::Trunk(Event::Info {
            invite,
            content_type: "application/media_control+xml".into(),
            body: body.as_bytes().to_vec(),
        }));
        rig.media
            .iter()
            .filter(|command| matches!(command, Media::RequestKeyFrame { .. }))
            .count()
    };
    let wish = "<media_control><vc_primitive><to_encoder><picture_fast_update/></to_encoder></vc_primitive></media_control>";
    let (mut rig, invite) = answered(H264);
    assert_eq!(info(&mut rig, invite, "<media_control/>"), 0);
    assert_eq!(info(&mut rig, invite, wish), 1);
    let (mut rig, invite) = answered("");
    assert_eq!(info(&mut rig, invite, wish), 0);
}

#[test]
fn a_phone_is_heard_under_every_number_that_it_was_offered_for_what_it_answers() {
    // baresip takes the last H.264 that it is offered, writes its own profile beside it, and sends under the first.
    let (rig, _) = answered(
        "m=video 20002 RTP/AVP 104\r\na=rtpmap:104 H264/90000\r\n\
         a=fmtp:104 packetization-mode=0;profile-level-id=42e01f\r\n",
    );
    let (_, theirs) = shown(&rig, rig_base(&rig) + 1).unwrap();
    let numbers: Vec<(u8, u8)> = theirs
        .formats
        .iter()
        .map(|format| (format.send_pt, format.receive_pt))
        .collect();
    assert_eq!(numbers, [(104, 104), (104, 106)]);
    assert!(page_sdp(&rig).contains("m=video 31000 UDP/TLS/RTP/SAVPF 106\r\n"));
}

#[test]
fn a_transferred_call_goes_on_with_pictures() {
    let (mut rig, old) = answered(VP8);
    assert!(shown(&rig, 1).is_some());
    rig.media.clear();
    rig.give(Input::Trunk(Event::Referred {
        invite: old,
        refer: ReferId(31),
        target: "sip:1003@pbx.test".into(),
        replaces: None,
        referred_by: None,
        raw: "REFER sip:x SIP/2.0\r\n".into(),
    }));
    assert!(rig.media.iter().any(|command| matches!(
        command,
        Media::CreateLeg {
            spec: LegSpec::Rtp { video: true, .. },
            ..
        }
    )));
    let (new, offer) = rig.invite();
    let offer = String::from_utf8(offer).unwrap();
    assert!(video_line(&offer).contains("VP8/90000"), "{offer}");
    assert!(
        !offer.contains("H264"),
        "what the page was not answered: {offer}"
    );
    rig.media.clear();
    rig.answer(new, &phone(VP8));
    let leg = rig.media.iter().find_map(|command| match command {
        Media::ConnectLeg { leg, remote } => {
            let pictures = remote.media.iter().any(|m| m.kind == MediaKind::Video);
            pictures.then_some(leg.0)
        }
        _ => None,
    });
    let joined = rig.media.iter().find_map(|command| match command {
        Media::Join { b, .. } => Some(b.0),
        _ => None,
    });
    assert!(leg.is_some(), "{:?}", rig.media);
    assert_eq!(leg, joined);
    let described = rig.page.iter().filter(|m| m["message"] == "setRemoteSDP");
    assert_eq!(described.count(), 1);
}
