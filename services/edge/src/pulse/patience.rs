//! For how long a visitor may keep a connection waiting for what. Pure: one sample of its pulse after
//! the other, an order after each.

use std::time::Duration;

use super::{Order, Stage};
use crate::limits::{
    DRAIN_IDLE_TICKS, H2_PING_INTERVAL, H2_PING_TIMEOUT, SLOW_BYTES_PER_TICK, TICK,
};

/// More than the question whether somebody is there takes, in bytes.
const PROBE_BYTES: u64 = 64;

/// A pulse as it is at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) stage: Stage,
    pub(super) awaits_head: bool,
    pub(super) awaits_request: bool,
    pub(super) awaits_more: bool,
    pub(super) stuck: bool,
    pub(super) moved: u64,
    pub(super) taken: u64,
    pub(super) progress: u32,
    pub(super) open: u32,
    pub(super) draining: bool,
}

/// How long a visitor may take for what, in ticks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    opening: u32,
    head: u32,
    idle: u32,
    send: u32,
    stalled: u32,
    tunnel: u32,
    /// After which silence an HTTP/2 visitor is asked whether it is there, and how long it may
    /// take to answer.
    probe: u32,
    probe_answer: u32,
}

/// The times of [`Patience`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// Until the protocol is known.
    pub(crate) opening: Duration,
    /// For a head.
    pub(crate) head: Duration,
    /// Between requests.
    pub(crate) idle: Duration,
    /// While nothing is taken of what is sent.
    pub(crate) send: Duration,
    /// While no request of an HTTP/2 connection goes on. Longer than any origin may take.
    pub(crate) stalled: Duration,
    /// While nothing goes through a tunnel.
    pub(crate) tunnel: Duration,
}

impl From<Times> for Patience {
    fn from(times: Times) -> Self {
        // One more: a wait begins anywhere between two ticks.
        let ticks = |time: Duration| {
            u32::try_from(time.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u32::MAX - 1) + 1
        };
        Self {
            opening: ticks(times.opening),
            head: ticks(times.head),
            idle: ticks(times.idle),
            send: ticks(times.send),
            stalled: ticks(times.stalled),
            tunnel: ticks(times.tunnel),
            probe: ticks(H2_PING_INTERVAL),
            probe_answer: ticks(H2_PING_TIMEOUT),
        }
    }
}

/// What is remembered of a connection from tick to tick: the last sample, and for how many ticks
/// it has been waiting for the same.
#[derive(Debug, Default)]
pub(super) struct History {
    last: Option<Sample>,
    opening: u32,
    head: u32,
    idle: u32,
    stuck: u32,
    still: u32,
    silent: u32,
    /// While content comes or goes, but hardly.
    slow: u32,
    /// What the visitor had taken when it was asked whether it is there.
    taken_when_asked: u64,
}

impl History {
    /// What the connection is to do after one more tick.
    pub(super) fn judge(&mut self, now: Sample, patience: &Patience) -> Order {
        let same = |of: fn(&Sample) -> u64| {
            self.last.is_some_and(|last| last.stage == now.stage && of(&last) == of(&now))
        };
        let unmoved = same(|sample| sample.moved);
        let untaken = same(|sample| sample.taken);
        let no_progress = same(|sample| sample.progress.into());
        let busy = now.open > 0;
        let step = |count: &mut u32, on: bool| {
            *count = if on { *count + 1 } else { 0 };
            *count
        };
        let opening = step(&mut self.opening, now.stage == Stage::Opening);
        // The whole head within its time, however its bytes are spread.
        let in_head = now.awaits_head && !busy && no_progress;
        let head = step(&mut self.head, now.stage == Stage::Http1 && in_head);
        let waits = now.awaits_request && !busy && !now.stuck && no_progress;
        let idle = step(&mut self.idle, now.stage == Stage::Http1 && waits);
        let stuck = step(&mut self.stuck, now.stuck && untaken);
        let still = match now.stage {
            Stage::Http2 => no_progress,
            Stage::Tunnel => unmoved,
            Stage::Opening | Stage::Http1 => false,
        };
        let still = step(&mut self.still, still);
        let before = self.last.map_or(0, |last| last.moved);
        let hardly = now.moved.wrapping_sub(before) < SLOW_BYTES_PER_TICK;
        step(&mut self.slow, hardly && (now.awaits_more || now.stuck));
        let nothing_came = same(|sample| sample.moved.wrapping_sub(sample.taken));
        let silent = step(&mut self.silent, now.stage == Stage::Http2 && nothing_came);
        let is_dead = self.is_dead(silent, now.taken, patience);
        self.last = Some(now);
        let idle_max = if now.draining { DRAIN_IDLE_TICKS } else { patience.idle };
        let opening_max = if now.draining { 2 * DRAIN_IDLE_TICKS } else { patience.opening };
        let cut = opening >= opening_max
            || head >= patience.head
            || stuck >= patience.send
            || idle >= idle_max && now.draining
            || match now.stage {
                Stage::Http2 if is_dead => true,
                Stage::Http2 if busy => still >= patience.stalled,
                Stage::Http2 => now.draining && still >= DRAIN_IDLE_TICKS + patience.send,
                Stage::Tunnel => still >= patience.tunnel,
                Stage::Opening | Stage::Http1 => false,
            };
        let ends = idle >= idle_max || now.stage == Stage::Http2 && !busy && still >= idle_max;
        match (cut, ends) {
            (true, _) => Order::Cut,
            (_, true) => Order::Drain,
            _ => Order::GoOn,
        }
    }

    /// Whether a visitor that said nothing for so many ticks did not answer when it was asked. One
    /// that takes what is sent may not have got the question yet.
    fn is_dead(&mut self, silent: u32, taken: u64, patience: &Patience) -> bool {
        if silent == patience.probe {
            self.taken_when_asked = taken;
        }
        let is_late = silent >= patience.probe + patience.probe_answer;
        let takes = taken.wrapping_sub(self.taken_when_asked) > PROBE_BYTES;
        if is_late && takes {
            self.silent = 0;
        }
        is_late && !takes
    }

    /// For how many ticks the connection has been waiting for its visitor, if it still is.
    pub(super) fn kept_waiting(&self, now: Sample) -> u32 {
        let goes_on =
            self.last.is_none_or(|last| (last.progress, last.open) != (now.progress, now.open));
        let idle = if now.stage == Stage::Http2 && now.open == 0 { self.still } else { self.idle };
        match now.stage {
            // It may be quiet by its nature.
            Stage::Tunnel => 0,
            _ if goes_on => 0,
            _ => self.opening.max(self.head).max(idle).max(self.stuck).max(self.slow),
        }
    }

    /// Whether the visitor is to be asked after this tick whether it is there.
    pub(super) fn probes(&self, patience: &Patience) -> bool {
        self.silent == patience.probe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BETWEEN: Sample = Sample {
        stage: Stage::Http1,
        awaits_head: false,
        awaits_request: true,
        awaits_more: false,
        stuck: false,
        moved: 0,
        taken: 0,
        progress: 0,
        open: 0,
        draining: false,
    };
    const IN_HEAD: Sample = Sample { awaits_head: true, awaits_request: false, ..BETWEEN };

    fn patience() -> Patience {
        let (opening, head, idle, send, stalled, tunnel) = (5, 10, 20, 15, 50, 60);
        Patience { opening, head, idle, send, stalled, tunnel, probe: 200, probe_answer: 20 }
    }

    /// After how many ticks which order comes, if `sample` gives the pulse at each.
    fn told(sample: impl Fn(u32) -> Sample) -> Option<(u32, Order)> {
        let mut history = History::default();
        (1..100).find_map(|tick| match history.judge(sample(tick), &patience()) {
            Order::GoOn => None,
            order => Some((tick, order)),
        })
    }

    #[test]
    fn who_never_says_what_it_wants_is_cut_off() {
        let opening = |tick: u32| Sample { stage: Stage::Opening, moved: tick.into(), ..BETWEEN };
        assert_eq!(told(opening), Some((5, Order::Cut)));
    }

    #[test]
    fn a_head_has_to_come_in_its_time_however_its_bytes_are_spread() {
        let slow = |tick: u32| Sample { moved: tick.into(), ..IN_HEAD };
        assert_eq!(told(slow), Some((11, Order::Cut)));
        assert_eq!(told(|tick| Sample { progress: tick / 5, ..IN_HEAD }), None, "one by one");
        assert_eq!(told(|_| Sample { open: 1, ..IN_HEAD }), None, "it is not its turn");
    }

    #[test]
    fn idle_connections_end() {
        assert_eq!(told(|_| BETWEEN), Some((21, Order::Drain)));
        assert_eq!(told(|_| Sample { open: 1, ..BETWEEN }), None, "the origin takes its time");
        let h2 = Sample { stage: Stage::Http2, awaits_request: false, ..BETWEEN };
        assert_eq!(told(|tick: u32| Sample { moved: tick.into(), ..h2 }), Some((21, Order::Drain)));
        assert_eq!(told(|_| Sample { open: 1, ..h2 }), Some((51, Order::Cut)));
        assert_eq!(told(|tick| Sample { open: 1, progress: tick, ..h2 }), None);
        let tunnel = Sample { stage: Stage::Tunnel, ..BETWEEN };
        assert_eq!(told(|_| tunnel), Some((61, Order::Cut)));
        assert_eq!(told(|tick: u32| Sample { moved: tick.into(), ..tunnel }), None);
    }

    #[test]
    fn who_takes_nothing_is_cut_off() {
        let stuck = Sample { stuck: true, open: 1, ..BETWEEN };
        assert_eq!(told(|_| stuck), Some((16, Order::Cut)));
        assert_eq!(told(|tick: u32| Sample { taken: tick.into(), ..stuck }), None);
    }

    #[test]
    fn who_says_nothing_is_asked_whether_it_is_there() {
        let patience = Patience { probe: 10, probe_answer: 5, ..patience() };
        let asked = |came: fn(u32) -> u64| {
            let mut history = History::default();
            (1..40).find_map(|tick| {
                // What we send is no sign of the visitor.
                let (taken, progress) = (tick.into(), tick);
                let moved = taken + came(tick);
                let stage = Stage::Http2;
                let sample = Sample { stage, open: 1, moved, taken, progress, ..BETWEEN };
                let order = history.judge(sample, &patience);
                (history.probes(&patience) || order != Order::GoOn).then_some((tick, order))
            })
        };
        assert_eq!(asked(|_| 0), Some((11, Order::GoOn)));
        assert_eq!(asked(|tick| (tick / 8).into()), None);
        let mut history = History::default();
        let silent = Sample { stage: Stage::Http2, open: 1, ..BETWEEN };
        let cut = (1..40).find(|_| history.judge(silent, &patience) == Order::Cut);
        assert_eq!(cut, Some(16), "nor did it answer");
        let mut history = History::default();
        let takes = |tick: u32| {
            let taken = u64::from(tick) * 1_000;
            Sample { moved: taken, taken, progress: tick, ..silent }
        };
        let on = (1..80).all(|tick| history.judge(takes(tick), &patience) == Order::GoOn);
        assert!(on, "it takes what is sent, and may not have come to the question");
    }

    #[test]
    fn draining_does_not_wait_for_who_asks_nothing() {
        let idle = Sample { draining: true, ..BETWEEN };
        assert_eq!(told(|_| idle), Some((DRAIN_IDLE_TICKS + 1, Order::Cut)));
        assert_eq!(told(|_| Sample { open: 1, ..idle }), None);
        let opening = Sample { stage: Stage::Opening, ..idle };
        assert_eq!(told(|_| opening), Some((2 * DRAIN_IDLE_TICKS, Order::Cut)));
    }

    #[test]
    fn content_that_hardly_comes_keeps_us_waiting() {
        let waited = |bytes: u64| {
            let mut history = History::default();
            let sample = |tick: u64| Sample {
                awaits_request: false,
                awaits_more: true,
                moved: tick * bytes,
                ..BETWEEN
            };
            for tick in 1..10 {
                history.judge(sample(tick), &patience());
            }
            history.kept_waiting(sample(10))
        };
        assert_eq!((waited(SLOW_BYTES_PER_TICK - 1), waited(SLOW_BYTES_PER_TICK)), (9, 0));
    }
}
