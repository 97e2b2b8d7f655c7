//! The data of an EDNS option: a client subnet or a cookie.

#![no_main]

use headroom_dns::probe::Probe;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| Probe::options(data));
