//! Hostile input for every parser that the network reaches.
//!
//! A target is a plain function over bytes that panics when something is wrong: the parser panicked, or a
//! property did not hold. The driver in `main.rs` feeds it mutations of a corpus, the same ones for the
//! same seed; `src/bin/libfuzzer.rs` puts libFuzzer around the same function.

pub mod mutate;
pub mod targets;

use std::path::{Path, PathBuf};

/// One parser under fire.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Texts worth inserting, from the language of the parser.
    pub words: &'static [&'static [u8]],
    /// Folders of the repository with more seeds than `corpus/<name>`; those that are not there are skipped.
    pub seeds: &'static [&'static str],
    /// Longest input to make.
    pub max_len: usize,
}

/// `tests/fuzz`, where the corpora are and the crashes go.
pub fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Target {
    /// The seeds, in an order that does not depend on the file system.
    pub fn corpus(&self) -> std::io::Result<Vec<Vec<u8>>> {
        let own = home().join("corpus").join(self.name);
        let others = self
            .seeds
            .iter()
            .map(|folder| home().join("../..").join(folder));
        let mut files: Vec<PathBuf> = Vec::new();
        for folder in std::iter::once(own).chain(others) {
            if !folder.is_dir() {
                continue;
            }
            let mut found: Vec<PathBuf> = std::fs::read_dir(&folder)?
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<Result<_, _>>()?;
            found.retain(|path| path.is_file());
            found.sort();
            files.append(&mut found);
        }
        files.iter().map(std::fs::read).collect()
    }
}
