//! Conversations of frames, and what is held behind them.

use proptest::prelude::*;

use super::*;
use crate::http2::{
    frame::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, RST_STREAM,
        SETTINGS, WINDOW_UPDATE,
    },
    hpack,
};

/// A frame as it goes over the wire.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, kind, flags, stream, payload);
    out
}

fn request() -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [(":method", "POST"), (":scheme", "https"), (":path", "/a")] {
        hpack::write_field(&mut block, name.as_bytes(), value.as_bytes());
    }
    block
}

/// A request that has content.
fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &request())
}

fn update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

/// A connection, what was said on it, and what came of it.
struct Script {
    session: Session,
    fields: Fields,
    out: Vec<u8>,
    /// The slots that are in use.
    open: Vec<usize>,
}

impl Script {
    /// One whose preface and settings have come.
    fn begun() -> Self {
        let mut out = Vec::new();
        let session = Session::new(&mut out);
        let mut script = Self { session, fields: Fields::default(), out, open: Vec::new() };
        script.feed(&PREFACE).unwrap();
        script.feed(&frame(SETTINGS, 0, 0, &[])).unwrap();
        script.out.clear();
        script
    }

    /// Takes all frames in; requests become open streams, with content of `expected` bytes.
    fn feed_expecting(&mut self, bytes: &[u8], expected: Option<u64>) -> Result<usize, Reason> {
        let mut at = 0;
        loop {
            let took = self.session.take(&bytes[at..], 0, &mut self.fields, &mut self.out)?;
            let Took::Frame(length, event) = took else { return Ok(at) };
            at += length;
            match event {
                Event::Request(stream, ends) => {
                    self.open.push(self.session.open(stream, !ends, expected));
                }
                Event::Gone(slot) => self.open.retain(|open| *open != slot),
                Event::Nothing | Event::Content(..) | Event::Room(_) | Event::RoomForAll => {}
            }
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<usize, Reason> {
        self.feed_expecting(bytes, None)
    }

    /// What was said since it was asked last: kinds and streams, and the last four octets.
    fn said(&mut self) -> Vec<(u8, u32, u32)> {
        let (out, mut said) = (std::mem::take(&mut self.out), Vec::new());
        let mut rest = &out[..];
        while let Some(head) = FrameHead::read(rest) {
            let payload = &rest[HEAD_BYTES..HEAD_BYTES + head.length];
            let last = payload.last_chunk::<4>().map_or(0, |last| u32::from_be_bytes(*last));
            said.push((head.kind, head.stream, last));
            rest = &rest[HEAD_BYTES + head.length..];
        }
        assert!(rest.is_empty());
        said
    }
}

#[test]
fn windows_are_given_back_as_content_is_taken() {
    let mut script = Script::begun();
    script.feed(&post(1)).unwrap();
    let piece = frame(DATA, 0, 1, &[7; 16_384]);
    for _ in 0..limits::H2_STREAM_WINDOW / 16_384 {
        script.feed(&piece).unwrap();
    }
    assert_eq!(script.said(), [], "nobody took anything");
    script.session.taken(0, limits::H2_STREAM_WINDOW / 2, &mut script.out);
    assert_eq!(script.said(), [(WINDOW_UPDATE, 1, limits::H2_STREAM_WINDOW / 2)]);
    script.session.taken(0, u32::MAX, &mut script.out);
    let said = script.said();
    assert_eq!(said[0], (WINDOW_UPDATE, 1, limits::H2_STREAM_WINDOW / 2), "no more than there was");
    for _ in 0..limits::H2_STREAM_WINDOW / 16_384 {
        script.feed(&piece).unwrap();
    }
    script.said();
    script.feed(&piece).unwrap();
    assert_eq!(script.said().last(), Some(&(RST_STREAM, 1, Reason::FlowControl as u32)));
}

#[test]
fn content_that_nobody_wants_takes_nothing_from_others() {
    let mut script = Script::begun();
    script.feed(&post(1)).unwrap();
    for _ in 0..limits::H2_STREAM_WINDOW / 16_384 {
        script.feed(&frame(DATA, 0, 1, &[7; 16_384])).unwrap();
        script.session.discard(0, 16_384, &mut script.out);
    }
    assert_eq!(script.session.streams.get(0).unwrap().held, 0);
    assert_eq!(script.said(), [], "the stream gets no more room");
    script.feed(&post(3)).unwrap();
    for _ in 0..limits::H2_STREAM_WINDOW / 16_384 {
        script.feed(&frame(DATA, 0, 3, &[7; 16_384])).unwrap();
        script.session.discard(1, 16_384, &mut script.out);
    }
    assert_eq!(script.said(), [(WINDOW_UPDATE, 0, limits::H2_CONNECTION_WINDOW / 2)]);
}

#[test]
fn the_window_of_the_connection_outlives_its_streams() {
    let mut script = Script::begun();
    let pieces = limits::H2_STREAM_WINDOW / 16_384;
    // Each stream ends with all of its content held.
    for stream in (1..98).step_by(2) {
        script.feed(&post(stream)).unwrap();
        for _ in 0..pieces {
            script.feed(&frame(DATA, 0, stream, &[7; 16_384])).expect("the window is given back");
        }
        match stream % 3 {
            0 => drop(script.feed(&frame(RST_STREAM, 0, stream, &[0; 4])).unwrap()),
            1 => script.session.finish(0, &mut script.out),
            _ => script.session.cut(0, &mut script.out),
        }
    }
    // What comes on a stream that was reset counts too.
    for _ in 0..10 * pieces {
        script.feed(&frame(DATA, 0, 97, &[7; 16_384])).expect("the window is given back");
    }
}

#[test]
fn padding_is_given_back_at_once() {
    let mut script = Script::begun();
    script.feed(&post(1)).unwrap();
    let mut padded = vec![255];
    padded.extend([0; 255]);
    // The settings were the first.
    for _ in 1..limits::H2_CHATTER_MAX {
        script.feed(&frame(DATA, PADDED, 1, &padded)).unwrap();
    }
    assert_eq!(script.session.streams.get(0).unwrap().held, 0);
    let padding = script.feed(&frame(DATA, PADDED, 1, &padded));
    assert_eq!(padding, Err(Reason::EnhanceYourCalm), "padding alone is no work");
}

#[test]
fn content_has_the_length_that_was_said() {
    let outcome = |pieces: &[(usize, u8)], trailers: bool| {
        let mut script = Script::begun();
        script.feed_expecting(&post(1), Some(5)).unwrap();
        for (length, flags) in pieces {
            script.feed(&frame(DATA, *flags, 1, &vec![0; *length])).unwrap();
        }
        if trailers {
            let mut block = Vec::new();
            hpack::write_field(&mut block, b"x-late", b"1");
            script.feed(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).unwrap();
        }
        script.said().first().copied()
    };
    let reset = Some((RST_STREAM, 1, Reason::Protocol as u32));
    assert_eq!(outcome(&[(5, END_STREAM)], false), None);
    assert_eq!(outcome(&[(2, 0), (3, 0), (0, END_STREAM)], false), None);
    assert_eq!(outcome(&[(5, 0)], true), None);
    assert_eq!(outcome(&[(4, END_STREAM)], false), reset);
    assert_eq!(outcome(&[(6, 0)], false), reset);
    assert_eq!(outcome(&[(4, 0)], true), reset);
}

#[test]
fn what_comes_after_our_reset_is_no_error_until_its_end() {
    let mut script = Script::begun();
    script.feed(&post(1)).unwrap();
    script.session.finish(0, &mut script.out);
    assert_eq!(script.said(), [(RST_STREAM, 1, Reason::NoError as u32)]);
    script.feed(&frame(DATA, 0, 1, b"late")).unwrap();
    script.feed(&frame(DATA, END_STREAM, 1, b"late")).unwrap();
    assert_eq!(script.feed(&frame(DATA, 0, 1, b"too late")), Err(Reason::StreamClosed));
}

#[test]
fn settings_change_the_windows_of_open_streams() {
    let mut script = Script::begun();
    let initial = |size: u32| {
        let [a, b, c, d] = size.to_be_bytes();
        frame(SETTINGS, 0, 0, &[0, 4, a, b, c, d])
    };
    script.feed(&post(1)).unwrap();
    assert_eq!(script.session.room(0), 65_535);
    script.session.sent(Some(0), 1_000);
    script.feed(&initial(500)).unwrap();
    assert_eq!(script.session.room(0), 0, "less than nothing");
    script.feed(&initial(1_010)).unwrap();
    assert_eq!((script.session.room(0), script.session.room_for_new()), (10, 1_010));
    script.feed(&update(1, 0x7fff_ffff - 10)).unwrap();
    assert_eq!(script.session.room(0), 64_535, "as much as the connection has");
    assert_eq!(script.feed(&initial(1_011)), Err(Reason::FlowControl));
}

#[test]
fn a_smaller_table_is_confirmed() {
    let mut script = Script::begun();
    let table = |size: u8| frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, size]);
    assert!(!script.session.owes_table_size());
    script.feed(&table(100)).unwrap();
    assert!(script.session.owes_table_size());
    script.session.wrote_block();
    assert!(!script.session.owes_table_size());
}

#[test]
fn an_end_is_told_twice() {
    let mut script = Script::begun();
    script.feed(&post(1)).unwrap();
    script.session.drain(&mut script.out);
    script.session.drain(&mut script.out);
    let said = script.said();
    assert_eq!(said.iter().map(|(kind, ..)| *kind).collect::<Vec<_>>(), [GOAWAY, PING]);
    // What was on its way is answered.
    script.feed(&post(3)).unwrap();
    assert_eq!(script.open.len(), 2);
    script.feed(&frame(PING, ACK, 0, &DRAIN_PING)).unwrap();
    let mut last = vec![0, 0, 8, GOAWAY, 0, 0, 0, 0, 0];
    last.extend([0, 0, 0, 3, 0, 0, 0, 0]);
    assert_eq!(script.out, last);
    script.said();
    script.feed(&[post(5), frame(DATA, 0, 5, b"late")].concat()).unwrap();
    assert_eq!(script.open.len(), 2, "that is too late");
    assert_eq!(script.said(), [(RST_STREAM, 5, Reason::RefusedStream as u32)]);
    assert!(!script.session.is_over());
    script.open.iter().for_each(|slot| script.session.finish(*slot, &mut script.out));
    assert!(script.session.is_over());
}

#[test]
fn without_streams_it_holds_no_memory() {
    let mut script = Script::begun();
    for stream in (1..2 * limits::H2_STREAMS_MAX).step_by(2) {
        script.feed(&post(stream)).unwrap();
    }
    script.feed(&post(2 * limits::H2_STREAMS_MAX + 1)).unwrap();
    let refused = (RST_STREAM, 2 * limits::H2_STREAMS_MAX + 1, Reason::RefusedStream as u32);
    assert_eq!(script.said(), [refused]);
    let held = size_of::<Stream>() * usize::try_from(limits::H2_STREAMS_MAX).unwrap();
    assert!(script.session.memory() >= held);
    for stream in (1..2 * limits::H2_STREAMS_MAX + 2).step_by(2) {
        script.feed(&frame(RST_STREAM, 0, stream, &[0; 4])).unwrap();
    }
    assert_eq!(script.session.memory(), 0);
}

/// One step of a script that may make no sense at all.
#[derive(Debug, Clone)]
enum Step {
    Came(Vec<u8>),
    Finish(usize),
    Cut(usize),
    Taken(usize, u32),
    Sent(usize, usize),
    Drain,
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..20),
        2 => Just(request()),
        1 => (0_usize..300).prop_map(|length| vec![0; length]),
        1 => any::<u32>().prop_map(|number| number.to_be_bytes().to_vec()),
        1 => (0_u16..8, any::<u32>())
            .prop_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat()),
        1 => Just(DRAIN_PING.to_vec()),
    ];
    let flags =
        prop_oneof![Just(END_HEADERS), Just(END_HEADERS | END_STREAM), Just(0), any::<u8>()];
    (0_u8..12, flags, 0_u32..12, payload)
        .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload))
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => frames().prop_map(Step::Came),
        2 => (1_u32..12).prop_map(|stream| Step::Came(post(stream))),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Step::Came),
        1 => (0_usize..6).prop_map(Step::Finish),
        1 => (0_usize..6).prop_map(Step::Cut),
        1 => (0_usize..6, any::<u32>()).prop_map(|(slot, bytes)| Step::Taken(slot, bytes)),
        1 => (0_usize..6, 0_usize..100_000).prop_map(|(slot, bytes)| Step::Sent(slot, bytes)),
        1 => Just(Step::Drain),
    ]
}

proptest! {
    /// Whatever comes: no panic, what is held is bounded, and no slot belongs to two.
    #[test]
    fn any_frames_leave_a_bounded_state(steps in prop::collection::vec(steps(), 0..60)) {
        let mut script = Script::begun();
        for step in steps {
            let Script { session, out, .. } = &mut script;
            let mut went = Ok(0);
            match step {
                Step::Came(bytes) => went = script.feed(&bytes),
                Step::Finish(slot) => session.finish(slot, out),
                Step::Cut(slot) => session.cut(slot, out),
                Step::Taken(slot, bytes) => session.taken(slot, bytes, out),
                Step::Sent(slot, bytes) => {
                    session.sent(Some(slot), bytes.min(session.room(slot)));
                }
                Step::Drain => session.drain(out),
            }
            let session = &script.session;
            script.open.retain(|slot| session.streams.get(*slot).is_some());
            prop_assert!(session.memory() <= 3 * limits::HEAD_BYTES_MAX);
            if went.is_err() {
                break;
            }
            script.said();
        }
    }

    /// However the bytes are divided, they mean the same.
    #[test]
    fn pieces_mean_what_the_whole_means(frames in prop::collection::vec(frames(), 0..20), size in 1_usize..40) {
        let all = frames.concat();
        let mut whole = Script::begun();
        let ended = whole.feed(&all);
        let mut pieces = Script::begun();
        let mut unread = Vec::new();
        let mut broke = None;
        for piece in all.chunks(size) {
            unread.extend_from_slice(piece);
            match pieces.feed(&unread) {
                Ok(at) => drop(unread.drain(..at)),
                Err(reason) => {
                    broke = Some(reason);
                    break;
                }
            }
        }
        prop_assert_eq!(ended.err(), broke);
        prop_assert_eq!(whole.out, pieces.out);
        prop_assert_eq!(whole.open, pieces.open);
    }
}

#[test]
fn a_block_may_go_on_in_continuations_and_nothing_comes_between() {
    let block = request();
    let (first, second) = block.split_at(5);
    let mut script = Script::begun();
    script.feed(&frame(HEADERS, END_STREAM, 1, first)).unwrap();
    assert!(script.session.memory() >= 5 && script.open.is_empty());
    script.feed(&frame(CONTINUATION, END_HEADERS, 1, second)).unwrap();
    assert_eq!(script.open.len(), 1);
    assert!(!script.session.streams.get(0).unwrap().receives);
    script.feed(&frame(HEADERS, 0, 3, first)).unwrap();
    assert_eq!(script.feed(&update(0, 1)), Err(Reason::Protocol));
}
