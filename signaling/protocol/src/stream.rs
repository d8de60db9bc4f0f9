//! Published and played streams (§2.10) and what happens to them (§2.11).

use crate::connection::MediaProvider;
use crate::field::{Fault, Field, FieldFault, Fields, Object, object, words};
use crate::ids::MediaSessionId;
use serde::ser::SerializeMap;
use serde_json::Value;

object! {
    /// `publishStream`. Numbers are 0 when unset.
    pub struct PublishStream {
        "mediaSessionId" media_session_id: MediaSessionId,
        "name" name: String,
        "published" published: Option<bool>,
        "hasVideo" has_video: Option<bool>,
        "hasAudio" has_audio: Option<bool>,
        "status" status: Option<StreamStatus>,
        "record" record: Option<bool>,
        "mediaProvider" media_provider: Option<MediaProvider>,
        "sdp" sdp: Option<String>,
        "custom" custom: Option<Value>,
        "bitrate" bitrate: Option<u32>,
        "minBitrate" min_bitrate: Option<u32>,
        "maxBitrate" max_bitrate: Option<u32>,
        "rtmpUrl" rtmp_url: Option<String>,
        "constraints" constraints: Option<Value>,
        "transport" transport: Option<Transport>,
        "cvoExtension" cvo_extension: Option<bool>,
        "localMediaInfo" local_media_info: Option<Value>,
    }
}

object! {
    /// `playStream`. Width, height, bitrate and quality of 0 mean as published.
    pub struct PlayStream {
        "mediaSessionId" media_session_id: MediaSessionId,
        "name" name: String,
        "published" published: Option<bool>,
        "hasVideo" has_video: Option<bool>,
        "hasAudio" has_audio: Option<bool>,
        "status" status: Option<StreamStatus>,
        "record" record: Option<bool>,
        "width" width: Option<u32>,
        "height" height: Option<u32>,
        "mediaProvider" media_provider: Option<MediaProvider>,
        "sdp" sdp: Option<String>,
        "custom" custom: Option<Value>,
        "bitrate" bitrate: Option<u32>,
        "minBitrate" min_bitrate: Option<u32>,
        "maxBitrate" max_bitrate: Option<u32>,
        "quality" quality: Option<u32>,
        "constraints" constraints: Option<Value>,
        "transport" transport: Option<Transport>,
        "cvoExtension" cvo_extension: Option<bool>,
    }
}

words! {
    /// What the page wants its media to travel over.
    pub enum Transport {
        Udp = "UDP",
        Tcp = "TCP",
    }
}

object! {
    /// `unPublishStream`: the client has already closed its peer connection.
    pub struct UnPublishStream {
        "mediaSessionId" media_session_id: MediaSessionId,
        "name" name: Option<String>,
        "published" published: Option<bool>,
        "hasVideo" has_video: Option<bool>,
        "hasAudio" has_audio: Option<bool>,
        "status" status: Option<StreamStatus>,
        /// Always false here, whatever was asked when publishing.
        "record" record: Option<bool>,
    }
}

object! {
    /// `stopStream`.
    pub struct StopStream {
        "mediaSessionId" media_session_id: MediaSessionId,
        "name" name: Option<String>,
        "published" published: Option<bool>,
        "hasVideo" has_video: Option<bool>,
        "hasAudio" has_audio: Option<bool>,
        "status" status: Option<StreamStatus>,
        "record" record: Option<bool>,
    }
}

object! {
    /// `availableStream` from a client: is anything published under this name?
    pub struct AvailableStream {
        "mediaSessionId" media_session_id: MediaSessionId,
        "name" name: String,
    }
}

object! {
    /// `snapshot`, and the body of its hook. The id may belong to a stream that was never published or played.
    pub struct Snapshot {
        "name" name: String,
        "mediaSessionId" media_session_id: MediaSessionId,
        "custom" custom: Option<Value>,
    }
}

words! {
    /// Statuses of a stream (§4.4), without the older forms of stream events, see [`OlderStreamEvent`].
    pub enum StreamStatus {
        New = "NEW",
        Pending = "PENDING",
        Publishing = "PUBLISHING",
        Playing = "PLAYING",
        Paused = "PAUSED",
        PlaybackProblem = "PLAYBACK_PROBLEM",
        Unpublished = "UNPUBLISHED",
        Stopped = "STOPPED",
        Failed = "FAILED",
    }
}

impl StreamStatus {
    /// After this the client has forgotten the stream.
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            StreamStatus::Unpublished | StreamStatus::Stopped | StreamStatus::Failed
        )
    }
}

object! {
    /// The stream object of `notifyStreamStatusEvent`. 2.0 reads mediaSessionId, status, info, recordName
    /// and the two mute states.
    pub struct StreamObject {
        "mediaSessionId" media_session_id: MediaSessionId,
        "name" name: Option<String>,
        "published" published: Option<bool>,
        "hasVideo" has_video: Option<bool>,
        "hasAudio" has_audio: Option<bool>,
        "status" status: StreamStatus,
        "info" info: Option<String>,
        "audioCodec" audio_codec: Option<String>,
        "videoCodec" video_codec: Option<String>,
        "record" record: Option<bool>,
        "recordName" record_name: Option<String>,
        "width" width: Option<u32>,
        "height" height: Option<u32>,
        "bitrate" bitrate: Option<u32>,
        "minBitrate" min_bitrate: Option<u32>,
        "maxBitrate" max_bitrate: Option<u32>,
        "quality" quality: Option<u32>,
        /// Milliseconds since 1970.
        "createDate" create_date_ms: Option<u64>,
        "mediaProvider" media_provider: Option<MediaProvider>,
        "audioState" audio_state: Option<MuteState>,
        "videoState" video_state: Option<MuteState>,
    }
}

impl StreamObject {
    /// A stream of which no more is told than its status.
    pub fn new(media_session_id: MediaSessionId, status: StreamStatus) -> StreamObject {
        StreamObject {
            media_session_id,
            name: None,
            published: None,
            has_video: None,
            has_audio: None,
            status,
            info: None,
            audio_codec: None,
            video_codec: None,
            record: None,
            record_name: None,
            width: None,
            height: None,
            bitrate: None,
            min_bitrate: None,
            max_bitrate: None,
            quality: None,
            create_date_ms: None,
            media_provider: None,
            audio_state: None,
            video_state: None,
        }
    }
}

/// `{"muted": …}` in a stream object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MuteState {
    pub muted: bool,
}

impl Field for MuteState {
    fn read(value: Option<Value>) -> Result<Self, Fault> {
        match value.ok_or(Fault::Missing)? {
            Value::Object(mut fields) => {
                bool::read(fields.remove("muted")).map(|muted| MuteState { muted })
            }
            _ => Err(Fault::Expected("an object with muted")),
        }
    }

    fn write<S: SerializeMap>(&self, name: &'static str, map: &mut S) -> Result<(), S::Error> {
        map.serialize_entry(name, &serde_json::json!({ "muted": self.muted }))
    }
}

/// `notifyStreamStatusEvent`: a status, or a stream event in the form that packages up to 2.0.218 know.
/// Either way it has a status, without which the client's stream would have none.
#[derive(Clone, Debug, PartialEq)]
pub enum NotifyStreamStatusEvent {
    Status(Box<StreamObject>),
    Older(OlderStreamEvent),
}

impl Object for NotifyStreamStatusEvent {
    fn read_fields(fields: &mut Fields) -> Result<Self, FieldFault> {
        let status = fields
            .get("status")
            .and_then(Value::as_str)
            .unwrap_or_default();
        match OlderStreamStatus::from_word(status) {
            Some(_) => OlderStreamEvent::read_fields(fields).map(Self::Older),
            None => StreamObject::read_fields(fields).map(|stream| Self::Status(Box::new(stream))),
        }
    }

    fn write_fields<S: SerializeMap>(&self, map: &mut S) -> Result<(), S::Error> {
        match self {
            Self::Status(stream) => stream.write_fields(map),
            Self::Older(event) => event.write_fields(map),
        }
    }
}

crate::field::serde_by_object!(NotifyStreamStatusEvent);

object! {
    /// A stream event dressed as a status. `info` is required: without it the client throws.
    pub struct OlderStreamEvent {
        "mediaSessionId" media_session_id: MediaSessionId,
        "status" status: OlderStreamStatus,
        /// A PNG in base64, or `"remote bps/network bps"`.
        "info" info: String,
    }
}

words! {
    /// The older forms of `snapshotCompleted` and `notEnoughBandwidth`.
    pub enum OlderStreamStatus {
        SnapshotComplete = "SNAPSHOT_COMPLETE",
        NotEnoughBandwidth = "NOT_ENOUGH_BANDWIDTH",
    }
}

/// `notifyVideoFormat`: the older form of `resize`. Its status is always RESIZE.
#[derive(Clone, Debug, PartialEq)]
pub struct NotifyVideoFormat {
    pub media_session_id: MediaSessionId,
    pub streamer_video_width: u32,
    pub streamer_video_height: u32,
}

impl Object for NotifyVideoFormat {
    fn read_fields(fields: &mut Fields) -> Result<Self, FieldFault> {
        use crate::field::take;
        if take::<String>(fields, "status")? != "RESIZE" {
            return Err(FieldFault {
                field: "status",
                fault: Fault::Expected("RESIZE"),
            });
        }
        Ok(NotifyVideoFormat {
            media_session_id: take(fields, "mediaSessionId")?,
            streamer_video_width: take(fields, "streamerVideoWidth")?,
            streamer_video_height: take(fields, "streamerVideoHeight")?,
        })
    }

    fn write_fields<S: SerializeMap>(&self, map: &mut S) -> Result<(), S::Error> {
        self.media_session_id.write("mediaSessionId", map)?;
        map.serialize_entry("status", "RESIZE")?;
        self.streamer_video_width.write("streamerVideoWidth", map)?;
        self.streamer_video_height.write("streamerVideoHeight", map)
    }
}

crate::field::serde_by_object!(NotifyVideoFormat);

object! {
    /// `sendStreamEvent`: a publisher tells its subscribers something.
    pub struct SendStreamEvent {
        "mediaSessionId" media_session_id: MediaSessionId,
        "type" kind: StreamEventType,
        "payload" payload: Option<Value>,
        /// The seed's name for the payload.
        "info" info: Option<Value>,
    }
}

impl SendStreamEvent {
    /// The payload under whichever name it came.
    pub fn payload(&self) -> Option<&Value> {
        self.payload.as_ref().or(self.info.as_ref())
    }
}

words! {
    /// What a stream event is about: the first five come from publishers, the others are ours.
    pub enum StreamEventType {
        AudioMuted = "audioMuted",
        AudioUnmuted = "audioUnmuted",
        VideoMuted = "videoMuted",
        VideoUnmuted = "videoUnmuted",
        Data = "data",
        SnapshotCompleted = "snapshotCompleted",
        SnapshotFailed = "snapshotFailed",
        Resize = "resize",
        NotEnoughBandwidth = "notEnoughBandwidth",
    }
}

impl StreamEventType {
    /// Whether a client may send it.
    pub fn is_from_publishers(self) -> bool {
        match self {
            Self::AudioMuted
            | Self::AudioUnmuted
            | Self::VideoMuted
            | Self::VideoUnmuted
            | Self::Data => true,
            Self::SnapshotCompleted
            | Self::SnapshotFailed
            | Self::Resize
            | Self::NotEnoughBandwidth => false,
        }
    }
}

object! {
    /// `notifyStreamEvent`. For a subscriber the id is its own, not the publisher's.
    pub struct NotifyStreamEvent {
        "mediaSessionId" media_session_id: MediaSessionId,
        "type" kind: StreamEventType,
        /// Written as null when there is none.
        "payload" payload: Value,
    }
}

object! {
    /// `availableStream` to a client: settles its promise.
    pub struct StreamAvailability {
        "id" id: MediaSessionId,
        "status" available: TextFlag,
        "info" info: String,
    }
}

/// A flag that the client compares with the text `"true"`: the boolean would reject its promise (§2.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextFlag(pub bool);

impl Field for TextFlag {
    fn read(value: Option<Value>) -> Result<Self, Fault> {
        bool::read(value).map(TextFlag)
    }

    fn write<S: SerializeMap>(&self, name: &'static str, map: &mut S) -> Result<(), S::Error> {
        map.serialize_entry(name, if self.0 { "true" } else { "false" })
    }
}

object! {
    /// `outboundVideoRate` to players, `inboundVideoRate` to publishers.
    pub struct VideoRate {
        "mediaSessionId" media_session_id: MediaSessionId,
        "videoRate" video_rate_bps: u64,
    }
}

object! {
    /// Body of the hooks `publishStream`, `playStream`, `unPublishStream`, `stopStream`,
    /// `StreamStatusEvent` and `StreamKeepAliveEvent`.
    pub struct StreamHook {
        "sdp" sdp: Option<String>,
        "rtmpUrl" rtmp_url: Option<String>,
        "custom" custom: Option<Value>,
        .. stream: StreamObject,
    }
}

object! {
    /// Body of the hooks `sendStreamEvent` and `StreamEvent`.
    pub struct StreamEventHook {
        "mediaSessionId" media_session_id: MediaSessionId,
        "type" kind: StreamEventType,
        /// The payload again when it is text: the seed's name.
        "info" info: Option<String>,
        "payload" payload: Option<Value>,
        "custom" custom: Option<Value>,
    }
}

object! {
    /// Body of the hook `playHLS`.
    pub struct PlayHlsHook {
        "mediaSessionId" media_session_id: MediaSessionId,
        "name" name: String,
        /// The text `HLS`.
        "mediaProvider" media_provider: String,
        "token" token: Option<String>,
        "origin" origin: Option<String>,
        "custom" custom: Option<Value>,
    }
}

object! {
    /// Body of the hook `playRTSP`.
    pub struct PlayRtspHook {
        "mediaSessionId" media_session_id: MediaSessionId,
        "name" name: String,
        /// The text `RTSP`.
        "mediaProvider" media_provider: String,
        "rtspUrl" rtsp_url: Option<String>,
        "User-Agent" user_agent: Option<String>,
        "custom" custom: Option<Value>,
    }
}
