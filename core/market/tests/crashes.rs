//! A crash at every step of every command, and what comes after it.
//!
//! The exchange decides a command, stores its events together with the answer to the caller's key,
//! applies them, and answers (`services/exchange/src/book.rs`). Here it loses its memory before or
//! after each of these steps; what is stored stays. Whoever got no answer asks again, with the same
//! key, as purchasers, operators and reconcilers do.

#![expect(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

mod workload;

use std::collections::BTreeMap;

use headroom_market::{Account, Command, Event, Market};
use headroom_units::{Money, Timestamp};
use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use workload::{Offered, absolute, audit, commands, note_offers, purchaser, rules};

/// As many crashes as there are at least.
const CRASHES_MIN: usize = 10_000;
/// How many sequences of commands are tried.
const SEQUENCES: u32 = 300;

/// When the exchange loses its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crash {
    Never,
    /// The events are decided, and not stored.
    Decided,
    /// They are stored, and not applied.
    Stored,
    /// They are applied, and nobody was answered.
    Applied,
}

/// What a crash leaves.
#[derive(Debug, Clone, Default)]
struct Disk {
    log: Vec<Event>,
    /// How many events a call with this key has led to.
    answered: BTreeMap<u64, usize>,
}

#[derive(Debug, Clone)]
struct Exchange {
    disk: Disk,
    market: Market,
}

impl Exchange {
    fn start(disk: Disk) -> Self {
        let mut market = Market::new(rules());
        disk.log.iter().for_each(|event| market.apply(event));
        Self { disk, market }
    }

    /// Executes a command, up to the crash; how many events it led to, if that was answered.
    fn execute(
        &mut self,
        command: &Command,
        key: Option<u64>,
        now: Timestamp,
        crash: Crash,
    ) -> Option<usize> {
        if let Some(count) = key.and_then(|key| self.disk.answered.get(&key)) {
            return (crash == Crash::Never).then_some(*count);
        }
        let Ok(events) = self.market.decide(command.clone(), now) else {
            return (crash == Crash::Never).then_some(0);
        };
        if crash == Crash::Decided {
            return None;
        }
        self.disk.log.extend(events.iter().cloned());
        self.disk.answered.extend(key.map(|key| (key, events.len())));
        if crash == Crash::Stored {
            return None;
        }
        events.iter().for_each(|event| self.market.apply(event));
        (crash == Crash::Never).then_some(events.len())
    }

    /// All money that ever came in.
    fn paid_in(&self) -> i64 {
        -self.market.ledger().balance(&Account::External).micro()
    }
}

/// Commands of callers are identified; what reconcilers ask for is not.
fn key_of(command: &Command, number: u64) -> Option<u64> {
    match command {
        Command::OpenAccount { .. }
        | Command::Credit { .. }
        | Command::PlaceBid { .. }
        | Command::CancelBid { .. } => Some(number),
        Command::Clear { .. }
        | Command::Recall { .. }
        | Command::Advance { .. }
        | Command::Settle { .. } => None,
    }
}

/// Crashes at each step of `command`; `healthy` is what it leads to without a crash.
fn crash_everywhere(
    before: &Exchange,
    healthy: &Exchange,
    (command, key, now): (&Command, Option<u64>, Timestamp),
    offered: &Offered,
) -> usize {
    let crashes = [Crash::Decided, Crash::Stored, Crash::Applied];
    for crash in crashes {
        let mut exchange = before.clone();
        assert_eq!(exchange.execute(command, key, now, crash), None);
        let mut exchange = Exchange::start(exchange.disk);
        // What was stored has happened, all of it; what was not has not, and none of it.
        let expected = if crash == Crash::Decided { before } else { healthy };
        assert_eq!(exchange.market, expected.market, "{crash:?} of {command:?}");
        audit(&exchange.market, offered);
        let answered = exchange.execute(command, key, now, Crash::Never);
        audit(&exchange.market, offered);
        if key.is_some() || crash == Crash::Decided {
            assert_eq!(exchange.market, healthy.market, "{crash:?} of {command:?}");
            assert_eq!(exchange.disk.log, healthy.disk.log);
            assert!(answered.is_some());
        }
        assert_eq!(exchange.paid_in(), healthy.paid_in(), "{crash:?} of {command:?}");
        if let Command::Settle { .. } = command {
            // Once settled is settled.
            assert_eq!(exchange.market.charged(), healthy.market.charged());
            assert_eq!(exchange.market.refunded(), healthy.market.refunded());
            assert_eq!(exchange.market.penalties(), healthy.market.penalties());
        }
    }
    crashes.len()
}

#[test]
fn nothing_is_lost_or_done_twice_wherever_it_crashes() {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut crashes = 0;
    for _ in 0..SEQUENCES {
        let commands = commands().new_tree(&mut runner).unwrap().current();
        let mut exchange = Exchange::start(Disk::default());
        let mut offered = Offered::new();
        let mut seconds = 100;
        let opening = (0..2).flat_map(|who| {
            let (purchaser, amount) = (purchaser(who), Money::from_micro(5_000));
            let open = Command::OpenAccount { purchaser: purchaser.clone() };
            [(0, open), (0, Command::Credit { purchaser, amount, by: String::new() })]
        });
        for (number, (pause, command)) in (0..).zip(opening.chain(commands)) {
            seconds += pause;
            let now = Timestamp::from_seconds(seconds);
            let command = absolute(command, &exchange.market, now);
            note_offers(&mut offered, &command);
            let (key, before) = (key_of(&command, number), exchange.clone());
            let done = exchange.execute(&command, key, now, Crash::Never);
            if done.is_some_and(|events| events > 0) {
                crashes += crash_everywhere(&before, &exchange, (&command, key, now), &offered);
            }
        }
    }
    println!("{crashes} crashes");
    assert!(crashes >= CRASHES_MIN, "only {crashes} crashes");
}
