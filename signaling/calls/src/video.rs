//! Pictures of a call: what page and far end have in common, and requests for a whole one that cross between RTCP and
//! SIP INFO (RFC 5168).

use crate::addresses;
use crate::call::{Call, CallKey, Stage};
use crate::negotiate::{SipDescription, SipVideoLocal, pictures};
use crate::switchboard::Switchboard;
use media_control::{Command as Media, Direction, Format, LegId, MediaKind};
use signaling_trunk::api::{Command as Trunk, InviteId};
use std::net::{IpAddr, SocketAddr};

/// RFC 5168 §4.
const MEDIA_CONTROL: &str = "application/media_control+xml";
/// A request for a whole picture from the encoder of the other end (RFC 5168 §6).
const PICTURE_FAST_UPDATE: &str = "<?xml version=\"1.0\" encoding=\"utf-8\" ?>\r\n<media_control>\r\n\
<vc_primitive>\r\n<to_encoder>\r\n<picture_fast_update/>\r\n</to_encoder>\r\n</vc_primitive>\r\n</media_control>\r\n";

impl Call {
    /// A far leg of this call is to have ports for pictures.
    pub fn wants_pictures(&self) -> bool {
        let settled = !self.browser.formats.is_empty();
        if settled {
            return self.browser_shows();
        }
        let of_page = self.browser.description.as_ref().map(|d| &d.pictures);
        let of_far = self.sip().and_then(|sip| sip.description.as_ref());
        of_page.is_some_and(Option::is_some) || of_far.is_some_and(|d| d.pictures.is_some())
    }

    /// Pictures are part of the page's one description.
    pub fn browser_shows(&self) -> bool {
        self.browser.formats.iter().any(pictures::is_picture)
    }

    /// Page and far end have agreed on pictures, `hasVideo` of the call object.
    pub fn has_pictures(&self) -> bool {
        let far = self.sip().is_none_or(|sip| {
            let media = sip.remote.as_ref().map(|remote| remote.media.as_slice());
            media
                .unwrap_or_default()
                .iter()
                .any(|media| media.kind == MediaKind::Video)
        });
        self.browser_shows() && far
    }

    /// Picture formats of the page that the far end may be told of: all of them, or those agreed once that is settled.
    fn page_pictures(&self) -> (Vec<Format>, Direction) {
        let Some(page) = self
            .browser
            .description
            .as_ref()
            .and_then(|d| d.pictures.as_ref())
        else {
            return (Vec::new(), Direction::Inactive);
        };
        let agreed = &self.browser.formats;
        let kept = |format: &&Format| {
            let same = |f: &Format| pictures::is_picture(f) && f.receive_pt == format.receive_pt;
            agreed.is_empty() || agreed.iter().any(same)
        };
        let formats = page.formats.iter().filter(kept).cloned().collect();
        (formats, page.direction)
    }

    /// Our end for pictures towards a far leg whose ports are open.
    pub fn video_local(&self, ports: &[SocketAddr], near: Option<IpAddr>) -> Option<SipVideoLocal> {
        let address = addresses::nearest(ports, near)?;
        let (formats, direction) = self.page_pictures();
        Some(SipVideoLocal {
            address,
            formats,
            direction,
        })
    }

    /// A far end's first description settles what the page is told of pictures.
    pub fn settle_pictures(&mut self, far: &SipDescription) {
        let page = self.browser.description.as_ref();
        if let (Some(page), Some(far)) = (page.and_then(|d| d.pictures.as_ref()), &far.pictures) {
            let told = pictures::for_page(&page.formats, &far.formats);
            self.browser.formats.extend(told);
        }
        self.pictures_settled(far.pictures.as_ref().map_or(&[], |p| &p.formats));
    }

    /// The page's answer to our offer settles what it shows.
    pub fn settle_answered_pictures(&mut self) {
        let page = self.browser.description.as_ref();
        if let Some(page) = page.and_then(|d| d.pictures.as_ref())
            && page.direction != Direction::Inactive
        {
            let offered = pictures::of(&self.browser.offered);
            let agreed = pictures::agreed(&offered, &page.formats, true);
            self.browser.formats.extend(agreed);
        }
        self.pictures_settled(&[]);
    }

    /// From now on far ends are offered and answered what was settled with the page. `answer`: what one of them has just
    /// answered to our offer.
    fn pictures_settled(&mut self, answer: &[Format]) {
        let (formats, direction) = self.page_pictures();
        let shows = self.browser_shows();
        for sip in self.sips_mut() {
            let theirs = sip.description.as_ref().filter(|d| !d.is_answer);
            let theirs = theirs.and_then(|d| d.pictures.as_ref());
            if let Some(video) = sip.local.as_mut().and_then(|local| local.video.as_mut()) {
                // In a dialog that they began their numbers stay what they are (RFC 3264 §8.3.2).
                video.formats = match theirs {
                    _ if !shows => Vec::new(),
                    Some(theirs) => pictures::answer(&formats, &theirs.formats),
                    None if answer.is_empty() => formats.clone(),
                    None => pictures::kept(&formats, answer, &video.formats),
                };
                video.direction = direction;
            }
        }
    }
}

impl Switchboard {
    /// The page's decoder wants a whole picture, and the phone takes no such RTCP.
    pub(crate) fn key_frame_wanted(&mut self, leg: LegId) {
        let key = CallKey::of_leg(leg);
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let of_leg = call.sip().filter(|sip| sip.leg == leg && !sip.over);
        // Before the answer there is a dialog perhaps, but nobody to whom its pictures matter yet.
        let Some(sip) = of_leg.filter(|_| call.stage == Stage::Established) else {
            return;
        };
        let invite = sip.invite;
        self.trunk(
            key.0,
            Trunk::Info {
                invite,
                content_type: MEDIA_CONTROL.to_owned(),
                body: PICTURE_FAST_UPDATE.as_bytes().to_vec(),
            },
        );
    }

    /// An INFO of the far side that is no digit: perhaps about pictures.
    pub(crate) fn picture_info(&mut self, invite: InviteId, content_type: &str, body: &[u8]) {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case(MEDIA_CONTROL) {
            return;
        }
        if asks_for_picture(body)
            && let Some(key) = self.by_invite.get(&invite).copied()
            && self.calls.get(&key).is_some_and(|call| {
                let current = call.sip().is_some_and(|sip| sip.invite == invite);
                current && call.stage != Stage::Ending && call.browser_shows()
            })
        {
            let leg = key.browser_leg();
            self.media(key, Media::RequestKeyFrame { leg });
        }
    }
}

/// The element, with a prefix or without. XML is not read further: nothing else of RFC 5168 is in use.
fn asks_for_picture(body: &[u8]) -> bool {
    let name = b"picture_fast_update";
    body.windows(name.len() + 1).any(|window| {
        let (first, rest) = window.split_at(1);
        (first == b"<" || first == b":") && rest == name
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_request_is_found_in_what_phones_send() {
        let table: [(&str, bool); 5] = [
            (PICTURE_FAST_UPDATE, true),
            (
                "<media_control><vc_primitive><to_encoder><picture_fast_update></picture_fast_update></to_encoder>",
                true,
            ),
            (
                "<m:media_control><m:picture_fast_update/></m:media_control>",
                true,
            ),
            (
                "<media_control><vc_primitive><to_encoder/></vc_primitive></media_control>",
                false,
            ),
            ("", false),
        ];
        for (body, expected) in table {
            assert_eq!(asks_for_picture(body.as_bytes()), expected, "{body}");
        }
    }
}
