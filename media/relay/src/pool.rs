//! The buffers of one worker: made once, used for ever.

use media_engine::{Buf, Datagram};

/// Datagrams of one batch. At 50 packets a second and one batch a millisecond, 256 are 5,000 calls.
pub const BATCH: usize = 256;

/// The slots of a batch, filled from the front.
pub struct Pool {
    slots: Vec<Datagram>,
    used: usize,
}

impl Pool {
    pub fn new() -> Pool {
        Pool {
            slots: (0..BATCH).map(|_| Datagram::new(Buf::new())).collect(),
            used: 0,
        }
    }

    /// Slots that are still empty, `limit` of them at most.
    pub fn free(&mut self, limit: usize) -> &mut [Datagram] {
        let end = self.slots.len().min(self.used + limit);
        &mut self.slots[self.used..end]
    }

    pub fn is_full(&self) -> bool {
        self.used == self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// The first `count` of the free slots were filled.
    pub fn fill(&mut self, count: usize) {
        self.used = (self.used + count).min(self.slots.len());
    }

    pub fn batch(&mut self) -> &mut [Datagram] {
        &mut self.slots[..self.used]
    }

    pub fn clear(&mut self) {
        for slot in &mut self.slots[..self.used] {
            slot.discard();
        }
        self.used = 0;
    }
}
