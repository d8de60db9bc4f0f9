//! libFuzzer around one target, which the environment names: coverage leads it where dice do not get.
//! See README.md for the flags.

#![no_main]

use std::sync::LazyLock;
use tests_fuzz::{Target, targets};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names the target");
    targets::ALL
        .iter()
        .find(|target| target.name == name)
        .expect("FUZZ_TARGET is one of `tests-fuzz --list`")
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    (TARGET.run)(data);
});
