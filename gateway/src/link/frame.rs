//! What travels on the link's streams: CBOR maps, each behind its length.
//!
//! ```text
//!  0                   1                   2                   3
//! +---------------------------------------------------------------+
//! | length of the CBOR item in bytes (big endian)                 |
//! +---------------------------------------------------------------+
//! | CBOR map …                                                    |
//! ```
//!
//! Maps by field name, so that an older or newer peer skips fields it does not know and takes the default
//! of those that are missing. A message is a byte string inside its frame: one that cannot be understood
//! costs only itself.

use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use thiserror::Error;

/// The newest version of the link that this build speaks; it understands the one before, too.
pub const VERSION: u16 = 1;

/// One encoded message may not be larger.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// A frame is closed when its messages have come to so many bytes; one message may go beyond.
pub const FRAME_FILL_BYTES: usize = 64 << 10;

/// A frame announced to be larger ends the connection.
pub const MAX_FRAME_BYTES: usize = MAX_MESSAGE_BYTES + FRAME_FILL_BYTES + (64 << 10);

const LENGTH_BYTES: usize = 4;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    #[error("a frame of {0} bytes is larger than the link allows")]
    TooLarge(usize),
    #[error("a frame is not what this stream carries")]
    Malformed,
}

/// The dialer's first frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Versions spoken, from `oldest` to `newest`.
    pub newest: u16,
    pub oldest: u16,
    /// The role that dials.
    pub role: String,
    /// The role that it wants to reach.
    pub wants: String,
    /// Drawn at the start of the dialing process.
    pub instance: u64,
    /// Drawn by the dialer; the same after a reconnect.
    pub session: u64,
    /// The instance that it believes to talk to.
    #[serde(default)]
    pub peer: Option<u64>,
    /// For each lane, how many messages it has seen.
    #[serde(default)]
    pub seen: Vec<u64>,
}

/// The listener's first frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reply {
    /// A sentence; everything else is void then.
    pub refused: Option<String>,
    /// The version that both speak.
    pub version: u16,
    pub instance: u64,
    /// The session goes on where it was; otherwise both start counting at 0.
    pub resumed: bool,
    pub seen: Vec<u64>,
}

/// On the control stream after the first frames: for each lane, how many messages were seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub seen: Vec<u64>,
}

/// On a lane: the messages of one turn, numbered from `first`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    pub first: u64,
    pub messages: Vec<Bytes>,
}

/// A CBOR byte string (serde would make an array of numbers of a `Vec<u8>`).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    /// Messages may hold keys and passwords: the length has to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        struct ByteString;
        impl Visitor<'_> for ByteString {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte string")
            }
            fn visit_bytes<E>(self, v: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(v.to_vec()))
            }
            fn visit_byte_buf<E>(self, v: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(v))
            }
        }
        deserializer.deserialize_byte_buf(ByteString)
    }
}

/// Puts `value` behind its length at the end of `out`.
pub fn write_frame<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    ciborium::into_writer(value, &mut *out).expect("plain data written to memory cannot fail");
    let length = out.len() - start - LENGTH_BYTES;
    let length = u32::try_from(length).expect("messages are limited before they come here");
    out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// Reads one CBOR item; anything after it is an error of the peer.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FrameError> {
    let mut rest = bytes;
    let value = ciborium::from_reader(&mut rest).map_err(|_| FrameError::Malformed)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(FrameError::Malformed)
    }
}

/// Finds frames in a stream that comes in pieces.
#[derive(Debug, Default)]
pub struct FrameReader {
    buf: Vec<u8>,
    taken: usize,
}

impl FrameReader {
    pub fn extend(&mut self, piece: &[u8]) {
        if self.taken > 0 {
            self.buf.drain(..self.taken);
            self.taken = 0;
        }
        self.buf.extend_from_slice(piece);
    }

    /// The next whole frame, decoded. `None`: more bytes are needed.
    pub fn read<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let rest = self.buf.get(self.taken..).unwrap_or_default();
        let Some((length, body)) = rest.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_FRAME_BYTES {
            return Err(FrameError::TooLarge(length));
        }
        let Some(frame) = body.get(..length) else {
            return Ok(None);
        };
        let value = decode(frame)?;
        self.taken += LENGTH_BYTES + length;
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_travels_as_a_byte_string() {
        let mut out = Vec::new();
        write_frame(
            &Batch {
                first: 7,
                messages: vec![Bytes(vec![1, 2, 3])],
            },
            &mut out,
        );
        // 0x43: byte string of three.
        assert!(out.windows(4).any(|w| w == [0x43, 1, 2, 3]), "{out:02x?}");
    }

    #[test]
    fn a_hello_with_fields_of_the_future_is_understood() {
        #[derive(Serialize)]
        struct Newer {
            newest: u16,
            oldest: u16,
            role: &'static str,
            wants: &'static str,
            instance: u64,
            session: u64,
            compression: &'static str,
        }
        let newer = Newer {
            newest: 9,
            oldest: 8,
            role: "signaling",
            wants: "media",
            instance: 1,
            session: u64::MAX,
            compression: "zstd",
        };
        let mut out = Vec::new();
        write_frame(&newer, &mut out);
        let mut reader = FrameReader::default();
        reader.extend(&out);
        let hello: Hello = reader.read().unwrap().unwrap();
        assert_eq!(
            (hello.newest, hello.session, hello.peer),
            (9, u64::MAX, None)
        );
    }

    #[test]
    fn an_oversized_length_is_refused_before_anything_is_kept() {
        let mut reader = FrameReader::default();
        reader.extend(&u32::MAX.to_be_bytes());
        assert!(matches!(
            reader.read::<Batch>(),
            Err(FrameError::TooLarge(_))
        ));
    }

    proptest! {
        #[test]
        fn frames_are_the_same_however_the_stream_is_cut(
            batches in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5), 0..5),
            step in 1usize..50,
        ) {
            let wanted: Vec<Batch> = batches
                .into_iter()
                .map(|m| Batch { first: 3, messages: m.into_iter().map(Bytes).collect() })
                .collect();
            let mut out = Vec::new();
            for batch in &wanted {
                write_frame(batch, &mut out);
            }
            let mut reader = FrameReader::default();
            let mut got = Vec::new();
            for piece in out.chunks(step) {
                reader.extend(piece);
                while let Some(batch) = reader.read::<Batch>().unwrap() {
                    got.push(batch);
                }
            }
            prop_assert_eq!(got, wanted);
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = FrameReader::default();
            reader.extend(&bytes);
            while let Ok(Some(_)) = reader.read::<Batch>() {}
            let _ = decode::<Hello>(&bytes);
            let _ = decode::<Reply>(&bytes);
        }
    }
}
