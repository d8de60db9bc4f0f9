//! Mutations by seed: input number `run` of a seed is the same on every machine, whatever ran before it.

/// SplitMix64: small, fast, and good enough to pick bytes with.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64, run: u64) -> Dice {
        let mut dice = Dice(seed ^ run.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.draw();
        dice
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to and without `end`; 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        // The remainder of a usize that was widened fits a usize.
        self.draw()
            .checked_rem(end as u64)
            .map_or(0, |n| n as usize)
    }

    fn byte(&mut self) -> u8 {
        self.draw().to_le_bytes()[0]
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }
}

/// Bytes and runs of bytes that mean something in more than one language.
const COMMON: &[&[u8]] = &[
    b"\0",
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b"\"",
    b"\\",
    b":",
    b";",
    b",",
    b"=",
    b"%",
    b"%00",
    b"<",
    b">",
    b"@",
    b"[",
    b"]",
    b"{",
    b"}",
    b"-1",
    b"0",
    b"255",
    b"256",
    b"65535",
    b"65536",
    b"2147483648",
    b"4294967295",
    b"4294967296",
    b"18446744073709551615",
    b"18446744073709551616",
    b"1e999",
    b"\xff",
    b"\xff\xff",
    b"\xff\xff\xff\xff",
    b"\x7f\xff",
    b"\x80\x00",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
];

/// One input: a seed of the corpus with one to eight changes. Now and then plain noise.
pub fn input(corpus: &[Vec<u8>], words: &[&[u8]], max_len: usize, dice: &mut Dice) -> Vec<u8> {
    let mut data = match dice.below(64) {
        0 => (0..dice.below(200)).map(|_| dice.byte()).collect(),
        _ => dice.pick(corpus).cloned().unwrap_or_default(),
    };
    // Mostly one or two: after eight changes little of a message is left to believe.
    let most = 1 << dice.below(4);
    for _ in 0..=dice.below(most) {
        change(&mut data, corpus, words, dice);
    }
    data.truncate(max_len);
    data
}

fn change(data: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&[u8]], dice: &mut Dice) {
    let at = dice.below(data.len());
    // Half of the ranges are short: a field, a number, a line end.
    let longest = if dice.below(2) == 0 { 8 } else { data.len() };
    let end = (at + 1 + dice.below(longest)).min(data.len());
    match dice.below(20) {
        0 | 15 => flip_bit(data, at, dice),
        1 | 16 => set(data, at, dice.byte()),
        2 | 17 | 18 => set_near(data, at, dice),
        3 => drop(data.drain(at.min(end)..end)),
        4 => {
            let piece = data.get(at..end).unwrap_or_default().to_vec();
            let to = dice.below(data.len() + 1);
            data.splice(to..to, piece);
        }
        5 => {
            // The same over and over, to find what grows faster than its input.
            let piece = data
                .get(at..end.min(at + 16))
                .unwrap_or_default()
                .repeat(1 + dice.below(64));
            data.splice(at..at, piece);
        }
        6..=8 => {
            let word = dice.pick(words).copied().unwrap_or_default();
            insert(data, word, dice);
        }
        9 | 10 => {
            let word = dice.pick(COMMON).copied().unwrap_or_default();
            insert(data, word, dice);
        }
        11..=13 => {
            let word = dice.pick(words).copied().unwrap_or_default().to_vec();
            data.splice(at.min(end)..end, word);
        }
        14 => {
            // The head of this one, the tail of another.
            let other = dice.pick(corpus).cloned().unwrap_or_default();
            let from = dice.below(other.len());
            data.truncate(at);
            data.extend_from_slice(other.get(from..).unwrap_or_default());
        }
        _ => data.truncate(at),
    }
}

fn flip_bit(data: &mut [u8], at: usize, dice: &mut Dice) {
    if let Some(byte) = data.get_mut(at) {
        *byte ^= 1 << dice.below(8);
    }
}

fn set(data: &mut [u8], at: usize, value: u8) {
    if let Some(byte) = data.get_mut(at) {
        *byte = value;
    }
}

/// One more or one less: lengths and counts that just do not fit.
fn set_near(data: &mut [u8], at: usize, dice: &mut Dice) {
    if let Some(byte) = data.get_mut(at) {
        *byte = if dice.below(2) == 0 {
            byte.wrapping_add(1)
        } else {
            byte.wrapping_sub(1)
        };
    }
}

fn insert(data: &mut Vec<u8>, word: &[u8], dice: &mut Dice) {
    let at = dice.below(data.len() + 1);
    data.splice(at..at, word.iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_run_give_the_same_input() {
        let corpus = [b"INVITE sip:a@b SIP/2.0\r\n".to_vec(), b"{}".to_vec()];
        let make = |run| input(&corpus, &[b"word"], 1000, &mut Dice::new(7, run));
        let first: Vec<_> = (0..200).map(make).collect();
        let again: Vec<_> = (0..200).map(make).collect();
        assert_eq!(first, again);
        assert!(
            first
                .iter()
                .collect::<std::collections::BTreeSet<_>>()
                .len()
                > 150
        );
    }

    #[test]
    fn an_empty_corpus_gives_input_too() {
        for run in 0..500 {
            input(&[], &[], 100, &mut Dice::new(1, run));
        }
    }
}
