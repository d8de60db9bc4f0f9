use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// All randomness of the agent: SHA-256 over a secret seed and a counter.
///
/// The shell seeds it from the operating system, a simulation from its number; being plain data it goes
/// on after a restart where it stood.
#[derive(Clone, Serialize, Deserialize)]
pub struct Dice {
    seed: [u8; 32],
    drawn: u64,
}

impl std::fmt::Debug for Dice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dice({} drawn)", self.drawn)
    }
}

impl Dice {
    pub fn new(seed: [u8; 32]) -> Dice {
        Dice { seed, drawn: 0 }
    }

    fn block(&mut self) -> [u8; 32] {
        self.drawn = self.drawn.wrapping_add(1);
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update(self.drawn.to_be_bytes());
        hash.finalize().into()
    }

    /// `bytes` (32 at most) of randomness as lower-case hex.
    pub fn hex(&mut self, bytes: usize) -> String {
        self.block()
            .iter()
            .take(bytes)
            .map(|b| format!("{b:02x}"))
            .collect()
    }

    pub fn u64(&mut self) -> u64 {
        self.block()
            .iter()
            .take(8)
            .fold(0, |n, b| (n << 8) | u64::from(*b))
    }

    /// Below `limit`; 0 where that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.u64().checked_rem(limit).unwrap_or(0)
    }

    pub fn branch(&mut self) -> String {
        format!("z9hG4bK{}", self.hex(12))
    }

    /// The same for the same text as long as the seed is: for answers that are not remembered.
    pub fn digest_of(&self, text: &[u8]) -> String {
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update(b"digest");
        hash.update(text);
        hash.finalize()
            .iter()
            .take(8)
            .map(|b| format!("{b:02x}"))
            .collect()
    }
}
