//! That nobody gets more than the rate, and what is done beyond it.

use std::{collections::HashMap, time::Duration};

use proptest::prelude::*;

use super::*;

const QUERY: [u8; 30] = [0; 30];

/// A message of 60 octets with this response code and number of answers.
fn answer(rcode: u8, count: u8) -> Vec<u8> {
    let mut answer = vec![0; 60];
    (answer[3], answer[7]) = (rcode, count);
    answer
}

fn limit(per_client: u32, slip: u32, unverified: u32) -> RateLimit {
    let [per_client, unverified] = [per_client, unverified].map(NonZeroU32::new);
    RateLimit { per_client, slip, unverified }
}

#[test]
fn a_prefix_has_a_second_of_its_rate_at_once_and_then_the_rate() {
    let mut limiter = Limiter::new(limit(10, 0, 0), 1);
    let mut passed = |source: &str, from: u64, count: usize| {
        let judged = (0..count).map(|_| {
            let now = Timestamp::from_millis(from);
            limiter.judge(source.parse().unwrap(), &QUERY, &answer(0, 1), now)
        });
        judged.filter(|verdict| *verdict == Verdict::Pass).count()
    };
    assert_eq!(passed("192.0.2.1", 1_000, 30), 10);
    assert_eq!(passed("192.0.2.200", 1_000, 5), 0, "the same /24");
    assert_eq!(passed("192.0.3.1", 1_000, 5), 5, "another");
    assert_eq!(passed("192.0.2.1", 1_500, 30), 5);
    assert_eq!(passed("192.0.2.1", 9_000, 30), 10);
    assert_eq!(passed("2001:db8::1", 9_000, 30), 10);
    assert_eq!(passed("2001:db8:0:ff::9", 9_000, 30), 0, "the same /56");
    assert_eq!(passed("2001:db8:0:100::9", 9_000, 30), 10, "another");
}

#[test]
fn kinds_of_answers_have_rates_of_their_own() {
    let mut limiter = Limiter::new(limit(1, 0, 0), 1);
    let now = Timestamp::from_seconds(5);
    let mut judge = |rcode, count| {
        limiter.judge("192.0.2.1".parse().unwrap(), &QUERY, &answer(rcode, count), now)
    };
    for (rcode, count) in [(0, 1), (0, 0), (3, 0), (5, 0)] {
        assert_eq!(judge(rcode, count), Verdict::Pass, "{rcode} {count}");
        assert_eq!(judge(rcode, count), Verdict::Drop, "{rcode} {count}");
    }
    assert_eq!(judge(1, 0), Verdict::Drop, "all errors are of one kind");
}

#[test]
fn every_so_many_th_is_sent_truncated() {
    for (slip, least, most) in
        [(0, 0, 0), (1, 10_000, 10_000), (2, 4_500, 5_500), (5, 1_700, 2_300)]
    {
        let mut limiter = Limiter::new(limit(1, slip, 0), 1);
        let now = Timestamp::from_seconds(5);
        let judged = (0..10_001)
            .map(|_| limiter.judge("192.0.2.1".parse().unwrap(), &QUERY, &answer(0, 1), now));
        let truncated = judged.filter(|verdict| *verdict == Verdict::Truncate).count();
        assert!((least..=most).contains(&truncated), "{slip}: {truncated}");
        let tally = limiter.take_tally();
        assert_eq!(tally.dropped + tally.slipped, 10_000);
        assert_eq!(limiter.take_tally(), Tally::default());
    }
}

#[test]
fn under_attack_nothing_is_larger_than_its_question() {
    let mut limiter = Limiter::new(limit(0, 0, 200), 2);
    let mut judge = |millis: u64, number: u32, answer: &[u8]| {
        let source = IpAddr::V4(number.wrapping_mul(0x9e37_79b9).into());
        limiter.judge(source, &QUERY, answer, Timestamp::from_millis(millis))
    };
    let large = answer(0, 1);
    let passed = (0..150).filter(|number| judge(1_000, *number, &large) == Verdict::Pass).count();
    assert_eq!(passed, 100, "of two threads each has half");
    assert_eq!(judge(1_000, 1, &large[..30]), Verdict::Pass, "not larger");
    assert_eq!(judge(2_000, 1, &large), Verdict::Truncate, "the second after");
    assert_eq!(judge(3_000, 1, &large), Verdict::Pass, "it is over");
    for number in 0..150 {
        judge(4_000, number, &large);
    }
    assert_eq!(judge(60_000, 1, &large), Verdict::Pass, "it was long ago");
    assert_eq!(limiter.take_tally().truncated, 50 + 1 + 50);
}

#[test]
fn without_limits_all_is_sent() {
    let mut limiter = Limiter::new(RateLimit::OFF, 1);
    assert!(!RateLimit::OFF.is_on() && RateLimit::default().is_on());
    for _ in 0..100_000 {
        let verdict =
            limiter.judge("192.0.2.1".parse().unwrap(), &QUERY, &answer(0, 1), Timestamp::EPOCH);
        assert_eq!(verdict, Verdict::Pass);
    }
}

#[test]
fn a_flood_of_forged_prefixes_does_not_silence_who_asks_little() {
    let mut limiter = Limiter::new(RateLimit { unverified: None, ..RateLimit::default() }, 1);
    let answer = answer(0, 1);
    let mut refused = 0;
    for at in 0..400_000_u32 {
        // Two seconds of 200,000 a second from everywhere, and one real client among them.
        let now = Timestamp::from_seconds(9).after(Duration::from_micros(u64::from(at) * 5));
        let forged = IpAddr::V4(at.wrapping_mul(0x9e37_79b9).into());
        limiter.judge(forged, &QUERY, &answer, now);
        if at % 1_000 == 0 {
            let verdict = limiter.judge("2001:db8::1".parse().unwrap(), &QUERY, &answer, now);
            refused += u32::from(verdict != Verdict::Pass);
        }
    }
    assert_eq!(refused, 0);
}

proptest! {
    /// Whatever the others do, and however many share a bucket.
    #[test]
    fn nobody_gets_more_than_the_rate_and_one_burst(
        rate in 1..50_u32,
        cells in 1..8_usize,
        steps in prop::collection::vec((0..6_u8, 0..2_u8, 0..200_u64), 1..400),
    ) {
        let mut limiter = Limiter::with_cells(limit(rate, 0, 0), 1, cells);
        let mut now = Timestamp::from_seconds(1_000);
        let mut passed: HashMap<(u8, u8), Vec<Timestamp>> = HashMap::new();
        for (client, kind, wait) in steps {
            now = now.after(Duration::from_millis(wait));
            let source = IpAddr::from([192, 0, client, wait.to_le_bytes()[0]]);
            let verdict = limiter.judge(source, &QUERY, &answer(kind * 3, 0), now);
            if verdict == Verdict::Pass {
                passed.entry((client, kind)).or_default().push(now);
            }
        }
        for moments in passed.values() {
            for (first, from) in moments.iter().enumerate() {
                for (last, until) in moments.iter().enumerate().skip(first) {
                    let in_window = u64::try_from(last - first + 1).unwrap();
                    let nanos = until.nanos() - from.nanos() + limits::RATE_BURST;
                    // What one answer costs is rounded down to whole nanoseconds.
                    let cost = limits::RATE_BURST / u64::from(rate);
                    prop_assert!(in_window <= nanos / cost, "{in_window} in {nanos} ns");
                }
            }
        }
    }

    /// One who is alone, and keeps to the rate, gets every answer.
    #[test]
    fn who_keeps_to_the_rate_is_always_answered(rate in 1..2_000_u32, source in any::<IpAddr>()) {
        let mut limiter = Limiter::new(limit(rate, 0, 0), 1);
        let mut now = Timestamp::from_seconds(1_000);
        for _ in 0..200 {
            prop_assert_eq!(limiter.judge(source, &QUERY, &answer(0, 1), now), Verdict::Pass);
            now = now.after(Duration::from_nanos(limits::RATE_BURST / u64::from(rate)));
        }
    }
}
