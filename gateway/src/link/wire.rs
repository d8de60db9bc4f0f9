//! One connection's streams, polled together: a control stream and the lanes.
//!
//! One task polls all of them. A stream that cannot be written to keeps its frame, while its lane
//! gathers messages for the next one; so a busy link makes few large frames and an idle one loses no time.

use super::frame::{Batch, FrameError, FrameReader, Seen, write_frame};
use super::lane::LaneError;
use super::session::{LANES, Session};
use quinn::{Connection, RecvStream, SendStream};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;
use thiserror::Error;

const READ_BYTES: usize = 16 << 10;

/// Bytes taken from one stream before the others have their turn.
const READ_TURNS: usize = 8;

#[derive(Debug, Error)]
pub enum WireError {
    #[error(transparent)]
    Read(#[from] quinn::ReadError),
    #[error(transparent)]
    Write(#[from] quinn::WriteError),
    #[error("the peer ended a stream")]
    Ended,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Lane(#[from] LaneError),
}

impl WireError {
    /// The peer broke the rules, which another connection would not mend.
    pub fn is_misbehaviour(&self) -> bool {
        matches!(self, WireError::Frame(_) | WireError::Lane(_))
    }
}

pub struct Wire {
    pub connection: Connection,
    control: Stream,
    lanes: Vec<Stream>,
    /// Where streams are read into; clearing one for each would cost more than the reading.
    scratch: Vec<u8>,
}

impl Wire {
    /// `streams`: the control stream, then the lanes. `announce`: the listener sees a stream only when it
    /// carries something, so the dialer begins each lane with a frame of nothing.
    pub fn new(
        connection: Connection,
        streams: Vec<(SendStream, RecvStream)>,
        announce: bool,
    ) -> Option<Wire> {
        let mut streams = streams.into_iter().map(Stream::new);
        let control = streams.next()?;
        let mut lanes: Vec<Stream> = streams.collect();
        if lanes.len() != LANES {
            return None;
        }
        if announce {
            lanes
                .iter_mut()
                .for_each(|lane| write_frame(&Batch::default(), &mut lane.out));
        }
        Some(Wire {
            connection,
            control,
            lanes,
            scratch: vec![0; READ_BYTES],
        })
    }

    /// Moves what can be moved both ways. Ready when messages have come in (they are in `arrived`) or the
    /// connection is of no use any more.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
        may_read: bool,
        now: Instant,
        arrived: &mut Vec<Vec<u8>>,
    ) -> Poll<Result<(), WireError>> {
        self.control.poll_write(cx, |out| {
            if let Some(seen) = session.poll_seen(now) {
                write_frame(&seen, out);
            }
        })?;
        self.control
            .poll_read(cx, &mut self.scratch, |seen: Seen| {
                Ok(session.acknowledged(&seen)?)
            })?;
        for (i, lane) in self.lanes.iter_mut().enumerate() {
            lane.poll_write(cx, |out| {
                if let Some(batch) = session.poll_batch(i) {
                    write_frame(&batch, out);
                }
            })?;
            if may_read {
                lane.poll_read(cx, &mut self.scratch, |batch: Batch| {
                    arrived.extend(session.receive(i, batch, now)?);
                    Ok(())
                })?;
            }
        }
        if arrived.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(Ok(()))
        }
    }
}

struct Stream {
    send: SendStream,
    recv: RecvStream,
    out: Vec<u8>,
    written: usize,
    reader: FrameReader,
}

impl Stream {
    fn new((send, recv): (SendStream, RecvStream)) -> Stream {
        Stream {
            send,
            recv,
            out: Vec::new(),
            written: 0,
            reader: FrameReader::default(),
        }
    }

    /// Writes until the stream takes no more or `next` has nothing to add.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        mut next: impl FnMut(&mut Vec<u8>),
    ) -> Result<(), WireError> {
        loop {
            if self.written == self.out.len() {
                self.out.clear();
                self.written = 0;
                next(&mut self.out);
                if self.out.is_empty() {
                    return Ok(());
                }
            }
            match Pin::new(&mut self.send).poll_write(cx, &self.out[self.written..]) {
                Poll::Ready(written) => self.written += written?,
                Poll::Pending => return Ok(()),
            }
        }
    }

    fn poll_read<T: serde::de::DeserializeOwned>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        mut take: impl FnMut(T) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        for _ in 0..READ_TURNS {
            match self.recv.poll_read(cx, scratch) {
                Poll::Ready(read) => match read? {
                    0 => return Err(WireError::Ended),
                    n => self.reader.extend(&scratch[..n]),
                },
                Poll::Pending => return Ok(()),
            }
            while let Some(frame) = self.reader.read()? {
                take(frame)?;
            }
        }
        // Others first; there may be more here.
        cx.waker().wake_by_ref();
        Ok(())
    }
}
