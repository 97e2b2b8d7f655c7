//! How much work for nothing a visitor may make: resets of stream after stream (rapid reset, and
//! those it provokes: MadeYouReset), and frames that only have to be answered or thrown away.

use super::frame::{
    ACK, DATA, END_STREAM, FrameHead, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
use crate::limits::{
    H2_CHATTER_MAX, H2_CHATTER_PER_SECOND, H2_RESETS_MAX, H2_RESETS_PER_SECOND, TICKS_PER_SECOND,
};

/// What may be used up at once, and comes back with time.
#[derive(Debug, Default)]
struct Allowance {
    used: u32,
    at: u32,
}

impl Allowance {
    /// Takes one at the tick `now`; false if nothing is left.
    fn take(&mut self, now: u32, max: u32, per_second: u32) -> bool {
        let back = now.wrapping_sub(self.at).saturating_mul(per_second) / TICKS_PER_SECOND;
        if back > 0 {
            self.used = self.used.saturating_sub(back);
            self.at = now;
        }
        self.used = self.used.saturating_add(1);
        self.used <= max
    }
}

/// What is left of the patience with one connection.
#[derive(Debug, Default)]
pub(crate) struct Allowances {
    resets: Allowance,
    chatter: Allowance,
}

impl Allowances {
    /// Judges a frame that came at the tick `now`; false if it is one too many.
    pub(crate) fn came(&mut self, head: FrameHead, now: u32) -> bool {
        match head.kind {
            RST_STREAM => self.reset(now),
            _ if is_work(head) => true,
            _ => self.empty(now),
        }
    }

    /// One more frame that is no work; false if it is one too many.
    pub(crate) fn empty(&mut self, now: u32) -> bool {
        self.chatter.take(now, H2_CHATTER_MAX, H2_CHATTER_PER_SECOND)
    }

    /// One more reset, of either side; false if it is one too many.
    pub(crate) fn reset(&mut self, now: u32) -> bool {
        self.resets.take(now, H2_RESETS_MAX, H2_RESETS_PER_SECOND)
    }
}

/// True if a visitor may send any number of such frames: each has its own limit.
fn is_work(head: FrameHead) -> bool {
    match head.kind {
        DATA => head.length > 0 || head.has(END_STREAM),
        SETTINGS | PING => head.has(ACK),
        HEADERS | WINDOW_UPDATE => true,
        // PRIORITY, CONTINUATION, and what nobody knows.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(length: usize, kind: u8, flags: u8) -> FrameHead {
        FrameHead { length, kind, flags, stream: 1 }
    }

    /// How many such frames may come at once, of a thousand.
    fn passes(head: FrameHead) -> u32 {
        let mut left = Allowances::default();
        (0..1_000).take_while(|_| left.came(head, 0)).fold(0, |count, _| count + 1)
    }

    #[test]
    fn resets_are_limited_and_come_back() {
        assert_eq!(passes(head(4, RST_STREAM, 0)), H2_RESETS_MAX);
        let mut left = Allowances::default();
        assert!((0..H2_RESETS_MAX).all(|_| left.came(head(4, RST_STREAM, 0), 0)));
        let later = TICKS_PER_SECOND;
        assert!((0..H2_RESETS_PER_SECOND).all(|_| left.came(head(4, RST_STREAM, 0), later)));
        assert!(!left.reset(later), "those we are made to send count too");
    }

    #[test]
    fn frames_that_are_no_work_are_limited() {
        for (length, kind, flags) in
            [(8, PING, 0), (6, SETTINGS, 0), (0, DATA, 0), (5, 2, 0), (0, 9, 4), (1, 99, 0)]
        {
            assert_eq!(passes(head(length, kind, flags)), H2_CHATTER_MAX, "{kind}");
        }
        for (length, kind, flags) in
            [(8, PING, 1), (0, SETTINGS, 1), (3, DATA, 0), (0, DATA, 1), (4, WINDOW_UPDATE, 0)]
        {
            assert_eq!(passes(head(length, kind, flags)), 1_000, "{kind}");
        }
    }
}
