//! What a visitor's connection begins with: the reader of heads and the guard.

#![no_main]

use headroom_edge::probe;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| probe::http1(bytes));
