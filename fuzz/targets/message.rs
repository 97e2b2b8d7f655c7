//! A DNS message, answered over every transport by a server with a zone and a plan.

#![no_main]

use std::cell::RefCell;

use headroom_dns::probe::Probe;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static PROBE: RefCell<Probe> = RefCell::default();
}

fuzz_target!(|query: &[u8]| PROBE.with_borrow_mut(|probe| probe.message(query)));
