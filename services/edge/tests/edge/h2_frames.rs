//! What each frame means that breaks a rule, or bends one: by sections of RFC 9113.

use proptest::{collection::vec, prelude::*, test_runner::TestRunner};

use crate::{
    harness::{OWN, Origin, Saying, World, response},
    http2::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE,
        PROTOCOL_ERROR, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, block, frame, head,
    },
};

const PRIORITY: u8 = 2;
const PUSH_PROMISE: u8 = 5;
const PADDED: u8 = 8;
const HAS_PRIORITY: u8 = 0x20;
const NO_ERROR: u32 = 0;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;

/// What an edge does about frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Goes on: what is asked behind them is answered, and no stream was reset.
    GoesOn,
    /// Answers the first stream with a status, as it stands in the static table.
    Answers(u8),
    /// Resets a stream.
    Resets(u32),
    /// Ends the connection.
    Ends(u32),
}

use Does::{Answers, Ends, GoesOn, Resets};

/// A name, what is sent behind the preface, and what comes of it.
type Case = (&'static str, Vec<Vec<u8>>, Does);

/// An origin that answers everything but what it is asked to keep waiting.
async fn world() -> (World, Origin) {
    let origin = Origin::start(|request, _| {
        let hang = request.contains("/wait");
        if hang { Saying { hang, ..Saying::default() } } else { response("", "hello") }
    })
    .await;
    let world = World::before(&origin).await;
    (world, origin)
}

/// A request without content to which no response comes.
fn waiting(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&head("/wait")))
}

/// The same with content to come.
fn open(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(&post(&[])))
}

fn post(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let fields =
        [(":method", "POST"), (":scheme", "http"), (":authority", OWN), (":path", "/wait")];
    [&fields[..], more].concat()
}

fn number(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &number(8))
}

fn setting(name: u8, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&[0, name][..], &number(value)].concat())
}

fn update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &number(increment))
}

/// What comes of frames behind the preface and the first SETTINGS.
async fn outcome(raw: &mut Raw, frames: &[Vec<u8>]) -> Does {
    let asks = |word: &[u8; 8]| frame(PING, 0, 0, word);
    let mut all = frames.concat();
    all.extend(asks(b"and then"));
    raw.write(&all).await;
    while let Some((kind, flags, _, payload)) = raw.read().await {
        let code = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        match kind {
            HEADERS => return Answers(payload[0]),
            RST_STREAM => return Resets(code(0)),
            GOAWAY => return Ends(code(4)),
            // What is answered at all is answered before the second.
            PING if flags & ACK != 0 && payload == b"and then" => {
                raw.write(&asks(b"at last!")).await;
            }
            PING if flags & ACK != 0 && payload == b"at last!" => return GoesOn,
            _ => {}
        }
    }
    panic!("closed without a word");
}

async fn check(cases: Vec<Case>) {
    let (world, _origin) = world().await;
    for (why, frames, expected) in cases {
        let mut raw = Raw::connect(world.address).await;
        assert_eq!(outcome(&mut raw, &frames).await, expected, "{why}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_connection_begins_with_the_preface_and_settings() {
    let (world, _origin) = world().await;
    let mut raw = Raw(tokio::net::TcpStream::connect(world.address).await.unwrap());
    raw.write(PREFACE).await;
    assert_eq!(outcome(&mut raw, &[]).await, Ends(PROTOCOL_ERROR), "§3.4 no SETTINGS");
    let mut raw = Raw(tokio::net::TcpStream::connect(world.address).await.unwrap());
    raw.write(PREFACE).await;
    let acknowledged = frame(SETTINGS, ACK, 0, &[]);
    assert_eq!(outcome(&mut raw, &[acknowledged]).await, Ends(PROTOCOL_ERROR), "§3.4 only an ACK");
    world.end().await;
}

/// §4, §5.5, §6.10.
#[tokio::test]
async fn frames_are_whole_and_blocks_undivided() {
    let whole = block(&head("/wait"));
    let (first, second) = whole.split_at(7);
    let begun = |stream| frame(HEADERS, END_STREAM, stream, first);
    let goes_on = |flags, stream| frame(CONTINUATION, flags, stream, second);
    let mut reserved = frame(PING, 0, 0, &[1; 8]);
    reserved[5] |= 0x80;
    check(vec![
        ("§4.1 an unknown frame", vec![frame(0x42, 0xff, 7, &[1, 2, 3])], GoesOn),
        ("§4.1 unknown flags", vec![frame(PING, 0x16, 0, &[1; 8])], GoesOn),
        ("§4.1 the reserved bit", vec![reserved], GoesOn),
        (
            "§4.2 too long, on a stream",
            vec![open(1), frame(DATA, 0, 1, &[0; 16_385])],
            Ends(FRAME_SIZE_ERROR),
        ),
        (
            "§4.2 too long, a head",
            vec![frame(HEADERS, END_HEADERS, 1, &[0; 16_385])],
            Ends(FRAME_SIZE_ERROR),
        ),
        (
            "§4.3 a block that cannot be decoded",
            vec![frame(HEADERS, END_HEADERS, 1, &[0xff; 9])],
            Ends(COMPRESSION_ERROR),
        ),
        (
            "§4.3 nor can trailers",
            vec![open(1), frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0x80])],
            Ends(COMPRESSION_ERROR),
        ),
        ("§6.10 a block in pieces", vec![begun(1), goes_on(END_HEADERS, 1)], GoesOn),
        (
            "§6.2 another frame within a block",
            vec![begun(1), frame(PING, 0, 0, &[0; 8])],
            Ends(PROTOCOL_ERROR),
        ),
        (
            "§5.5 an unknown frame within a block",
            vec![begun(1), frame(0x42, 0, 1, &[])],
            Ends(PROTOCOL_ERROR),
        ),
        ("§6.2 another head within a block", vec![begun(1), begun(3)], Ends(PROTOCOL_ERROR)),
        ("§6.10 on another stream", vec![begun(1), goes_on(END_HEADERS, 3)], Ends(PROTOCOL_ERROR)),
        ("§6.10 behind the end", vec![waiting(1), goes_on(END_HEADERS, 1)], Ends(PROTOCOL_ERROR)),
        ("§6.10 of nothing", vec![goes_on(END_HEADERS, 1)], Ends(PROTOCOL_ERROR)),
        ("§6.10 on no stream", vec![goes_on(END_HEADERS, 0)], Ends(PROTOCOL_ERROR)),
    ])
    .await;
}

/// §5.1.
#[tokio::test]
async fn frames_come_on_streams_that_are_open_for_them() {
    let data = |stream| frame(DATA, 0, stream, b"hello");
    let last = |stream| frame(DATA, END_STREAM, stream, b"hello");
    check(vec![
        ("§5.1 idle: DATA", vec![data(1)], Ends(PROTOCOL_ERROR)),
        ("§5.1 idle: RST_STREAM", vec![reset(1)], Ends(PROTOCOL_ERROR)),
        ("§5.1 idle: WINDOW_UPDATE", vec![update(1, 1)], Ends(PROTOCOL_ERROR)),
        ("§5.1 idle: PRIORITY", vec![frame(PRIORITY, 0, 1, &[0; 5])], GoesOn),
        ("§5.1 idle, as ours are", vec![waiting(1), update(2, 1)], Ends(PROTOCOL_ERROR)),
        ("§5.1 half-closed: DATA", vec![waiting(1), data(1)], Resets(STREAM_CLOSED)),
        ("§5.1 half-closed: HEADERS", vec![waiting(1), waiting(1)], Resets(STREAM_CLOSED)),
        ("§5.1 half-closed: WINDOW_UPDATE", vec![waiting(1), update(1, 1)], GoesOn),
        ("§5.1 half-closed by DATA", vec![open(1), last(1), data(1)], Resets(STREAM_CLOSED)),
        ("§5.1 reset: DATA", vec![open(1), reset(1), data(1)], Ends(STREAM_CLOSED)),
        ("§5.1 reset: HEADERS", vec![open(1), reset(1), open(1)], Ends(STREAM_CLOSED)),
        ("§5.1 reset: WINDOW_UPDATE", vec![open(1), reset(1), update(1, 1)], GoesOn),
        ("§5.1 reset: RST_STREAM", vec![open(1), reset(1), reset(1)], GoesOn),
        ("§5.1.1 an even stream", vec![waiting(2)], Ends(PROTOCOL_ERROR)),
        ("§5.1.1 an earlier stream", vec![waiting(5), waiting(3)], Ends(PROTOCOL_ERROR)),
        ("§5.1.1 a later stream", vec![waiting(3), waiting(7)], GoesOn),
        ("§5.1.1 passed over: DATA", vec![waiting(5), data(3)], Ends(STREAM_CLOSED)),
    ])
    .await;
}

/// §6.1 to §6.4, §6.6.
#[tokio::test]
async fn frames_of_streams_have_the_form_they_should() {
    let padded = |kind, flags, payload: &[u8]| frame(kind, PADDED | flags, 1, payload);
    let whole = block(&head("/wait"));
    let with_padding = [&[3][..], &whole, &[0; 3]].concat();
    let with_both = [&[3][..], &[0x80, 0, 0, 1, 15], &whole, &[0; 3]].concat();
    let all = END_STREAM | END_HEADERS;
    check(vec![
        ("§6.1 on no stream", vec![frame(DATA, 0, 0, b"hello")], Ends(PROTOCOL_ERROR)),
        ("§6.1 padding", vec![open(1), padded(DATA, 0, &[2, 1, 0, 0])], GoesOn),
        ("§6.1 nothing but padding", vec![open(1), padded(DATA, 0, &[2, 0, 0])], GoesOn),
        (
            "§6.1 too much padding",
            vec![open(1), padded(DATA, 0, &[4, 1, 0, 0])],
            Ends(PROTOCOL_ERROR),
        ),
        ("§6.1 no length of padding", vec![open(1), padded(DATA, 0, &[])], Ends(FRAME_SIZE_ERROR)),
        ("§6.2 on no stream", vec![waiting(0)], Ends(PROTOCOL_ERROR)),
        ("§6.2 padding", vec![padded(HEADERS, all, &with_padding)], GoesOn),
        ("§6.2 too much", vec![padded(HEADERS, all, &[9, 0x82])], Ends(PROTOCOL_ERROR)),
        ("§6.2 priority", vec![padded(HEADERS, all | HAS_PRIORITY, &with_both)], GoesOn),
        (
            "§6.2 half a priority",
            vec![frame(HEADERS, all | HAS_PRIORITY, 1, &[0, 0])],
            Ends(FRAME_SIZE_ERROR),
        ),
        ("§6.3 on no stream", vec![frame(PRIORITY, 0, 0, &[0; 5])], Ends(PROTOCOL_ERROR)),
        (
            "§6.3 of another length",
            vec![open(1), frame(PRIORITY, 0, 1, &[0; 4])],
            Resets(FRAME_SIZE_ERROR),
        ),
        ("§6.4 on no stream", vec![reset(0)], Ends(PROTOCOL_ERROR)),
        (
            "§6.4 of another length",
            vec![open(1), frame(RST_STREAM, 0, 1, &[0; 3])],
            Ends(FRAME_SIZE_ERROR),
        ),
        (
            "§8.4 a push",
            vec![open(1), frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])],
            Ends(PROTOCOL_ERROR),
        ),
    ])
    .await;
}

/// §6.5, §6.7, §6.8.
#[tokio::test]
async fn frames_of_the_connection_have_the_form_they_should() {
    check(vec![
        ("§6.5 on a stream", vec![frame(SETTINGS, 0, 1, &[])], Ends(PROTOCOL_ERROR)),
        (
            "§6.5 an ACK that says something",
            vec![frame(SETTINGS, ACK, 0, &[0; 6])],
            Ends(FRAME_SIZE_ERROR),
        ),
        ("§6.5 of another length", vec![frame(SETTINGS, 0, 0, &[0; 5])], Ends(FRAME_SIZE_ERROR)),
        ("§6.5.2 ENABLE_PUSH", vec![setting(2, 2)], Ends(PROTOCOL_ERROR)),
        ("§6.5.2 a large window", vec![setting(4, 1 << 31)], Ends(FLOW_CONTROL_ERROR)),
        ("§6.5.2 a small frame", vec![setting(5, 16_383)], Ends(PROTOCOL_ERROR)),
        ("§6.5.2 a large frame", vec![setting(5, 1 << 24)], Ends(PROTOCOL_ERROR)),
        ("§6.5.2 the largest frame", vec![setting(5, (1 << 24) - 1)], GoesOn),
        ("§6.5.2 an unknown one", vec![setting(99, 1)], GoesOn),
        ("§6.7 on a stream", vec![frame(PING, 0, 1, &[0; 8])], Ends(PROTOCOL_ERROR)),
        ("§6.7 of another length", vec![frame(PING, 0, 0, &[0; 7])], Ends(FRAME_SIZE_ERROR)),
        ("§6.7 an ACK nobody waits for", vec![frame(PING, ACK, 0, &[0; 8])], GoesOn),
        ("§6.8 on a stream", vec![frame(GOAWAY, 0, 1, &[0; 8])], Ends(PROTOCOL_ERROR)),
        ("§6.8 half of one", vec![frame(GOAWAY, 0, 0, &[0; 7])], Ends(FRAME_SIZE_ERROR)),
        ("§6.8 while a request waits", vec![waiting(1), frame(GOAWAY, 0, 0, &[0; 8])], GoesOn),
    ])
    .await;
}

/// §6.9.
#[tokio::test]
async fn windows_have_their_bounds() {
    const MAX: u32 = 0x7fff_ffff;
    let pieces = |count| frame(DATA, 0, 1, &[0; 16_384]).repeat(count);
    check(vec![
        ("§6.9 nothing, to the connection", vec![update(0, 0)], Ends(PROTOCOL_ERROR)),
        ("§6.9 nothing, to a stream", vec![waiting(1), update(1, 0)], Resets(PROTOCOL_ERROR)),
        (
            "§6.9 of another length",
            vec![frame(WINDOW_UPDATE, 0, 0, &[0; 3])],
            Ends(FRAME_SIZE_ERROR),
        ),
        ("§6.9.1 too much, to the connection", vec![update(0, MAX)], Ends(FLOW_CONTROL_ERROR)),
        (
            "§6.9.1 too much, to a stream",
            vec![waiting(1), update(1, MAX)],
            Resets(FLOW_CONTROL_ERROR),
        ),
        ("§6.9.1 the most", vec![waiting(1), update(1, MAX - 65_535)], GoesOn),
        (
            "§6.9.2 too much, by a setting",
            vec![waiting(1), update(1, MAX - 65_535), setting(4, 65_536)],
            Ends(FLOW_CONTROL_ERROR),
        ),
        ("§6.9.2 less than nothing", vec![waiting(1), setting(4, 0), setting(4, MAX)], GoesOn),
        ("§6.9.1 as much content as may come", vec![open(1), pieces(3)], GoesOn),
    ])
    .await;
}

/// §8.1 to §8.3 and §8.5, beside `h2::what_http2_may_not_carry_is_refused`.
#[tokio::test]
async fn requests_are_well_formed() {
    fn request(fields: &[(&str, &str)]) -> Vec<Vec<u8>> {
        vec![frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(fields))]
    }
    fn without(name: &str) -> Vec<Vec<u8>> {
        let fields = head("/wait");
        request(&fields.into_iter().filter(|field| field.0 != name).collect::<Vec<_>>())
    }
    fn with(field: (&'static str, &'static str)) -> Vec<Vec<u8>> {
        let mut fields = head("/wait").to_vec();
        fields.retain(|(name, _)| *name != field.0);
        fields.push(field);
        request(&fields)
    }
    let again = |name: &'static str| {
        let fields = head("/wait");
        let twice = *fields.iter().find(|field| field.0 == name).unwrap();
        request(&[&fields[..], &[twice]].concat())
    };
    let malformed = Resets(PROTOCOL_ERROR);
    let bad_request = Answers(0x8c);
    let trailers = |flags, fields: &[(&str, &str)]| {
        vec![open(1), frame(HEADERS, END_HEADERS | flags, 1, &block(fields))]
    };
    check(vec![
        ("§8.1 trailers", trailers(END_STREAM, &[("x-late", "1")]), GoesOn),
        ("§8.1 trailers that do not end it", trailers(0, &[("x-late", "1")]), malformed),
        ("§8.1 a pseudo-field in trailers", trailers(END_STREAM, &[(":path", "/")]), malformed),
        ("§8.1 upper case in trailers", trailers(END_STREAM, &[("X-Late", "1")]), malformed),
        ("§8.3.1 no method", without(":method"), malformed),
        ("§8.3.1 no scheme", without(":scheme"), malformed),
        ("§8.3.1 no path", without(":path"), malformed),
        ("§8.3.1 neither authority nor Host", without(":authority"), bad_request),
        ("§8.3.1 two methods", again(":method"), malformed),
        ("§8.3.1 two schemes", again(":scheme"), malformed),
        ("§8.3.1 two paths", again(":path"), malformed),
        ("§8.3.1 two authorities", again(":authority"), malformed),
        ("§8.3.1 an empty path", with((":path", "")), malformed),
        ("§8.3.1 a path that is none", with((":path", "wait")), malformed),
        ("§8.3.1 a fragment", with((":path", "/a#b")), malformed),
        ("§8.3.1 another scheme", with((":scheme", "https")), bad_request),
        ("§8.3.1 an authority with a user", with((":authority", "u@www.own.example")), bad_request),
        ("§8.3 of a response", with((":status", "200")), malformed),
        ("§8.2.1 an empty name", with(("", "a")), malformed),
        ("§8.2.1 a name with a space", with(("x a", "a")), malformed),
        ("§8.2.1 a value with a space before it", with(("x-a", " a")), malformed),
        ("§8.2.1 a value with a tab behind it", with(("x-a", "a\t")), malformed),
        ("§8.2.1 a control character", with(("x-a", "a\u{1}")), malformed),
        ("§8.2.1 an empty value", with(("x-a", "")), GoesOn),
        ("§8.2.2 trailers are expected", with(("te", "trailers")), GoesOn),
        ("§8.5 CONNECT with a path", with((":method", "CONNECT")), malformed),
    ])
    .await;
}

/// §8.1.1.
#[tokio::test]
async fn content_is_as_long_as_it_is_said_to_be() {
    let malformed = Resets(PROTOCOL_ERROR);
    let announced =
        |length| frame(HEADERS, END_HEADERS, 1, &block(&post(&[("content-length", length)])));
    let twice = post(&[("content-length", "5"), ("content-length", "5")]);
    let ended = post(&[("content-length", "5")]);
    check(vec![
        ("two lengths", vec![frame(HEADERS, END_HEADERS, 1, &block(&twice))], malformed),
        ("no length", vec![announced("")], malformed),
        ("a length with a sign", vec![announced("+5")], malformed),
        ("too large a length", vec![announced("18446744073709551616")], malformed),
        (
            "a length, but no content",
            vec![frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&ended))],
            malformed,
        ),
        ("too much content", vec![announced("4"), frame(DATA, 0, 1, b"hello")], malformed),
        ("too little", vec![announced("6"), frame(DATA, END_STREAM, 1, b"hello")], malformed),
        ("just enough", vec![announced("5"), frame(DATA, END_STREAM, 1, b"hello")], GoesOn),
    ])
    .await;
}

#[tokio::test]
async fn connect_is_not_served() {
    let (world, _origin) = world().await;
    let mut raw = Raw::connect(world.address).await;
    let connect = block(&[(":method", "CONNECT"), (":authority", "www.own.example:443")]);
    raw.write(&frame(HEADERS, END_HEADERS, 1, &connect)).await;
    let (_, payload) = raw.until(HEADERS).await.unwrap();
    // A literal whose name is that of :status.
    assert_eq!(payload[..5], [8, 3, b'4', b'0', b'5']);
    assert_eq!(raw.until(RST_STREAM).await, Some((1, number(NO_ERROR).to_vec())));
    world.end().await;
}

/// A visitor that sends whatever it likes harms nobody but itself.
#[test]
fn an_edge_survives_any_frames() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (world, origin) = runtime.block_on(world());
    let address = world.address;
    let payload = prop_oneof![
        vec(any::<u8>(), 0..30),
        Just(block(&head("/a"))),
        Just(block(&head("/wait"))),
        any::<u32>().prop_map(|value| number(value).to_vec()),
    ];
    let flags =
        prop_oneof![Just(0), Just(END_HEADERS), Just(END_STREAM | END_HEADERS), any::<u8>()];
    let frames = (0_u8..12, flags, 0_u32..9, payload)
        .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload));
    let mut runner = TestRunner::new(ProptestConfig { cases: 64, ..ProptestConfig::default() });
    let survives = |frames: Vec<Vec<u8>>| {
        runtime.block_on(async {
            let mut raw = Raw::connect(address).await;
            for frame in frames {
                raw.write(&frame).await;
            }
            drop(raw);
            let mut other = Raw::connect(address).await;
            prop_assert_eq!(outcome(&mut other, &[]).await, GoesOn);
            Ok(())
        })
    };
    runner.run(&vec(frames, 0..40), survives).unwrap();
    runtime.block_on(async {
        let mut raw = Raw::connect(address).await;
        raw.write(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&head("/b")))).await;
        assert_eq!(raw.until(DATA).await, Some((1, b"hello".to_vec())));
        drop((raw, origin));
        world.until("headroom_edge_connections", "0").await;
        world.end().await;
    });
}
