//! A DNS message, answered from the snapshot as the slow path answers it.

#![no_main]

use std::cell::RefCell;

use headroom_dns::probe::Probe;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static PROBE: RefCell<Probe> = RefCell::default();
}

fuzz_target!(|query: &[u8]| PROBE.with_borrow_mut(|probe| probe.snapshot(query)));
