//! Follows the frames of an HTTP/2 connection (RFC 9113 §4.1), and ends it if its peer makes work
//! for nothing: resets stream after stream (rapid reset, MadeYouReset), or floods it with frames
//! that only have to be answered or thrown away.
//!
//! The library below has limits of its own, for what it must hold at a time. These are for what it
//! is made to do over time. It reads only the nine bytes before each frame, keeps no frame and
//! judges no field.

use crate::limits::{
    H2_CHATTER_MAX, H2_CHATTER_PER_SECOND, H2_RESETS_MAX, H2_RESETS_PER_SECOND, TICKS_PER_SECOND,
};

/// How every HTTP/2 connection of a visitor begins (RFC 9113 §3.4).
pub(crate) const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEAD_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
/// END_STREAM of DATA and HEADERS, ACK of SETTINGS and PING.
const FIRST_FLAG: u8 = 1;
const ENHANCE_YOUR_CALM: u8 = 11;

/// What stands before each frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FrameHead {
    length: u32,
    kind: u8,
    flags: u8,
    stream: u32,
}

/// Finds the frames in the bytes of one direction.
#[derive(Debug, Default)]
struct Follower {
    head: [u8; HEAD_BYTES],
    have: usize,
    /// Bytes to pass over until the next frame.
    skip: usize,
}

impl Follower {
    fn follow(&mut self, mut bytes: &[u8], mut found: impl FnMut(FrameHead)) {
        loop {
            let passed = self.skip.min(bytes.len());
            self.skip -= passed;
            bytes = &bytes[passed..];
            if bytes.is_empty() {
                return;
            }
            let taken = (HEAD_BYTES - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEAD_BYTES {
                let head = FrameHead::of(self.head);
                self.have = 0;
                self.skip = usize::try_from(head.length).unwrap_or(usize::MAX);
                found(head);
            }
        }
    }

    /// True if the next byte begins a frame.
    fn is_between(&self) -> bool {
        self.have == 0 && self.skip == 0
    }
}

impl FrameHead {
    fn of(bytes: [u8; HEAD_BYTES]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = bytes;
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        Self { length: u32::from_be_bytes([0, a, b, c]), kind, flags, stream }
    }

    fn ends_or_acknowledges(self) -> bool {
        self.flags & FIRST_FLAG != 0
    }

    /// True if a visitor may send any number of such frames: each has its own limit.
    fn is_work(self) -> bool {
        match self.kind {
            DATA => self.length > 0 || self.ends_or_acknowledges(),
            SETTINGS | PING => self.ends_or_acknowledges(),
            HEADERS | RST_STREAM | WINDOW_UPDATE => true,
            // PRIORITY, CONTINUATION, and what nobody knows.
            _ => false,
        }
    }
}

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

/// Follows both directions of one connection.
#[derive(Debug)]
pub(crate) struct Frames {
    incoming: Follower,
    outgoing: Follower,
    resets: Allowance,
    chatter: Allowance,
    /// The highest stream the visitor opened.
    last_stream: u32,
    progress: u32,
    exceeded: bool,
}

impl Frames {
    /// For a connection from its preface on.
    pub(crate) fn new() -> Self {
        Self {
            incoming: Follower { skip: PREFACE.len(), ..Follower::default() },
            outgoing: Follower::default(),
            resets: Allowance::default(),
            chatter: Allowance::default(),
            last_stream: 0,
            progress: 0,
            exceeded: false,
        }
    }

    /// Looks at what came, at the tick `now`.
    pub(crate) fn came(&mut self, bytes: &[u8], now: u32) {
        let Self { incoming, resets, chatter, last_stream, progress, exceeded, .. } = self;
        incoming.follow(bytes, |head| {
            if head.kind == HEADERS {
                *last_stream = head.stream.max(*last_stream);
            }
            if matches!(head.kind, HEADERS | DATA) && head.is_work() {
                *progress = progress.wrapping_add(1);
            }
            let within = match head.kind {
                RST_STREAM => resets.take(now, H2_RESETS_MAX, H2_RESETS_PER_SECOND),
                _ if head.is_work() => true,
                _ => chatter.take(now, H2_CHATTER_MAX, H2_CHATTER_PER_SECOND),
            };
            *exceeded |= !within;
        });
    }

    /// Looks at what was sent, at the tick `now`. A reset of ours is one that the visitor provoked.
    pub(crate) fn went(&mut self, bytes: &[u8], now: u32) {
        let Self { outgoing, resets, progress, exceeded, .. } = self;
        outgoing.follow(bytes, |head| match head.kind {
            DATA | HEADERS => *progress = progress.wrapping_add(1),
            RST_STREAM => *exceeded |= !resets.take(now, H2_RESETS_MAX, H2_RESETS_PER_SECOND),
            _ => {}
        });
    }

    /// Changes whenever a request or a response goes on.
    pub(crate) fn progress(&self) -> u32 {
        self.progress
    }

    /// True if the connection is to be ended.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.exceeded
    }

    /// The GOAWAY that says why (RFC 9113 §6.8), if a frame can be sent now.
    pub(crate) fn go_away(&self) -> Option<[u8; 17]> {
        let [a, b, c, d] = self.last_stream.to_be_bytes();
        let frame = [0, 0, 8, 7, 0, 0, 0, 0, 0, a, b, c, d, 0, 0, 0, ENHANCE_YOUR_CALM];
        self.outgoing.is_between().then_some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize, kind: u8, flags: u8, stream: u8) -> Vec<u8> {
        let [.., a, b, c] = u32::try_from(length).unwrap().to_be_bytes();
        let mut frame = vec![a, b, c, kind, flags, 0, 0, 0, stream];
        frame.extend(std::iter::repeat_n(0xff, length));
        frame
    }

    /// Feeds the preface and `frames` in pieces of every size; true if they are within bounds.
    fn passes(frames: &[u8]) -> bool {
        let bytes = [&PREFACE, frames].concat();
        let verdict = |size| {
            let mut followed = Frames::new();
            bytes.chunks(size).for_each(|piece| followed.came(piece, 0));
            !followed.is_exceeded()
        };
        let verdicts = [verdict(1), verdict(7), verdict(10), verdict(bytes.len())];
        assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{verdicts:?}");
        verdicts[0]
    }

    fn many(frame: &[u8], count: u32) -> Vec<u8> {
        frame.repeat(usize::try_from(count).unwrap())
    }

    #[test]
    fn resets_are_limited_and_come_back() {
        let reset = frame(4, RST_STREAM, 0, 1);
        assert!(passes(&many(&reset, H2_RESETS_MAX)));
        assert!(!passes(&many(&reset, H2_RESETS_MAX + 1)));
        let mut frames = Frames::new();
        frames.came(&[&PREFACE[..], &many(&reset, H2_RESETS_MAX)].concat(), 0);
        frames.came(&many(&reset, H2_RESETS_PER_SECOND), TICKS_PER_SECOND);
        assert!(!frames.is_exceeded());
        frames.went(&reset, TICKS_PER_SECOND);
        assert!(frames.is_exceeded(), "those we are made to send count too");
    }

    #[test]
    fn frames_that_are_no_work_are_limited() {
        for (length, kind, flags) in
            [(8, PING, 0), (6, SETTINGS, 0), (0, DATA, 0), (5, 2, 0), (1, 99, 0)]
        {
            let flood = many(&frame(length, kind, flags, 0), H2_CHATTER_MAX + 1);
            assert!(!passes(&flood), "{kind}");
        }
        for (length, kind, flags) in
            [(8, PING, 1), (0, SETTINGS, 1), (3, DATA, 0), (0, DATA, 1), (4, WINDOW_UPDATE, 0)]
        {
            let many = many(&frame(length, kind, flags, 0), H2_CHATTER_MAX + 1);
            assert!(passes(&many), "{kind}");
        }
    }

    #[test]
    fn go_away_waits_for_the_end_of_a_frame() {
        let mut frames = Frames::new();
        frames.came(&[&PREFACE[..], &frame(2, HEADERS, 5, 7)].concat(), 0);
        let sent = frame(20, DATA, 0, 7);
        frames.went(&sent[..15], 0);
        assert_eq!(frames.go_away(), None);
        frames.went(&sent[15..], 0);
        let expected = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 11];
        assert_eq!(frames.go_away(), Some(expected));
        assert_eq!(frames.progress(), 2);
    }
}
