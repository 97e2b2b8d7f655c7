//! What is written, and what happens when it cannot be.

use headroom_units::ContractId;
use http::HeaderMap;
use serde_json::Value;

use super::*;

fn asked(target: &str, user_agent: &[u8]) -> Asked {
    let mut headers = HeaderMap::new();
    let parent =
        HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    headers.insert("traceparent", parent);
    let trace = TraceContext::of(&headers, || 0xabc);
    let request = Request::get(target)
        .header(HOST, "www.shop.example")
        .header(USER_AGENT, HeaderValue::from_bytes(user_agent).unwrap())
        .header("authorization", "Basic c2VjcmV0")
        .header("cookie", "session=secret")
        .body(())
        .unwrap();
    Asked::of(
        &request,
        "192.0.2.1".parse().unwrap(),
        Timestamp::from_nanos(1_000_001_234_567_890),
        trace,
    )
}

fn entry(asked: &Asked) -> Entry<'_> {
    Entry {
        asked,
        site: None,
        account: Account::Contract(ContractId::new(7)),
        answered: Some((StatusCode::OK, Outcome::Hit)),
        bytes: 1_234,
        duration: Duration::from_micros(56),
        complete: true,
    }
}

fn logs(path: &Path, with_query: bool) -> (AccessLogs, Counter) {
    let dropped = Counter::default();
    let edge = "east-1".parse().unwrap();
    (AccessLogs::open(path, &edge, with_query, 2, &dropped).unwrap(), dropped)
}

/// Every line of a log in which `write` wrote with the log of the first thread.
fn written(with_query: bool, write: impl FnOnce(&AccessLog)) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let (logs, dropped) = logs(&path, with_query);
    write(&logs.of_thread(0).unwrap());
    drop(logs);
    assert_eq!(dropped.get(), 0);
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn a_line_says_who_asked_for_what_and_what_became_of_it() {
    let lines = written(true, |log| log.record(&entry(&asked("/a/b?c=d", b"curl/8"))));
    assert_eq!(
        lines,
        ["{\"time\":\"1970-01-12T13:46:41.234567Z\",\"edge\":\"east-1\",\
          \"request\":\"0000000000000abc\",\"trace\":\"4bf92f3577b34da6a3ce929d0e0e4736\",\
          \"peer\":\"192.0.2.1\",\"site\":null,\"contract\":\"contract-7\",\"method\":\"GET\",\
          \"host\":\"www.shop.example\",\"target\":\"/a/b?c=d\",\"protocol\":\"HTTP/1.1\",\
          \"status\":200,\"outcome\":\"hit\",\"bytes\":1234,\"duration_us\":56,\
          \"complete\":true,\"user_agent\":\"curl/8\"}"]
    );
    assert_eq!(json(&lines[0])["bytes"], 1_234);
}

#[test]
fn queries_can_be_left_out() {
    let lines = written(false, |log| log.record(&entry(&asked("/a/b?token=secret", b"x"))));
    assert_eq!(json(&lines[0])["target"], "/a/b");
    assert!(!lines[0].contains("secret"), "{lines:?}");
}

#[test]
fn hostile_texts_stay_within_their_string() {
    let lines = written(true, |log| {
        for agent in [
            b"\",\"status\":500,\"x\":\"".as_slice(),
            b"back\\slash and\ttab",
            b"caf\xc3\xa9 \xff\xfe half \xe2\x82",
            b"",
            &[b'"'; 10_000],
        ] {
            log.record(&entry(&asked("/%22?a='b'", agent)));
        }
    });
    let lines: Vec<Value> = lines.iter().map(|line| json(line)).collect();
    let agents: Vec<&str> = lines.iter().map(|line| line["user_agent"].as_str().unwrap()).collect();
    assert_eq!(
        agents[..4],
        [
            "\",\"status\":500,\"x\":\"",
            "back\\slash and\ttab",
            "café \u{fffd}\u{fffd} half \u{fffd}",
            "",
        ]
    );
    assert_eq!(agents[4].len(), limits::LOGGED_FIELD_BYTES_MAX);
    assert!(lines.iter().all(|line| line["status"] == 200 && line["target"] == "/%22?a='b'"));
}

#[test]
fn every_byte_can_be_logged() {
    let all: Vec<u8> = (0..=255).collect();
    let mut line = Vec::new();
    write_text(&mut line, Some(&all));
    let text: String = serde_json::from_slice(&line).unwrap();
    let ascii: String = (0u8..128).map(char::from).collect();
    assert!(text.starts_with(&ascii));
    assert_eq!(text.chars().count(), 256);
    assert!(line.iter().all(|byte| *byte >= b' ' && *byte != 0x7f));
}

#[test]
fn numbers_and_addresses_are_written_as_usual() {
    for number in [0, 7, 10, 99, 12_345, u64::MAX] {
        let mut line = Vec::new();
        write_number(&mut line, number);
        assert_eq!(line, number.to_string().into_bytes());
    }
    for (address, shown) in [
        ("203.0.113.255", "203.0.113.255"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:10.0.0.9", "10.0.0.9"),
    ] {
        let mut line = Vec::new();
        write_address(&mut line, address.parse().unwrap());
        assert_eq!(line, shown.as_bytes());
    }
}

#[test]
fn a_record_is_logged_when_it_ends_however_that_is() {
    let lines = written(true, |log| {
        let mut whole = log.begin(asked("/whole", b"x"));
        whole.answered(StatusCode::OK, Outcome::Miss, 100);
        whole.sent(50);
        whole.complete();
        drop(whole);
        let mut cut_off = log.begin(asked("/cut-off", b"x"));
        cut_off.answered(StatusCode::OK, Outcome::Miss, 100);
        drop(cut_off);
        let mut counted = log.begin(asked("/counted", b"x"));
        counted.answered(StatusCode::OK, Outcome::Miss, 100);
        counted.expects(Some(7));
        counted.sent(3);
        counted.sent(4);
        drop(counted);
        drop(log.begin(asked("/abandoned", b"x")));
    });
    let shown = |line: &String| {
        let line = json(line);
        ["target", "status", "outcome", "bytes", "complete"]
            .map(|key| line[key].to_string())
            .join(" ")
    };
    assert_eq!(
        lines.iter().map(shown).collect::<Vec<_>>(),
        [
            "\"/whole\" 200 \"miss\" 150 true",
            "\"/cut-off\" 200 \"miss\" 100 false",
            "\"/counted\" 200 \"miss\" 107 true",
            "\"/abandoned\" null \"abandoned\" 0 false",
        ]
    );
}

#[test]
fn no_line_is_lost_or_mixed_with_many_threads_and_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let (logs, dropped) = logs(&path, true);
    thread::scope(|scope| {
        for thread in 0..2 {
            let log = logs.of_thread(thread).unwrap();
            scope.spawn(move || {
                for number in 0..3_000 {
                    log.record(&entry(&asked(&format!("/{thread}/{number}"), b"x")));
                }
            });
        }
    });
    drop(logs);
    let text = std::fs::read_to_string(path).unwrap();
    let mut next = [0, 0];
    for line in text.lines() {
        let line = json(line);
        let (thread, number) = line["target"].as_str().unwrap()[1..].split_once('/').unwrap();
        let next = &mut next[thread.parse::<usize>().unwrap()];
        let number: u64 = number.parse().unwrap();
        assert!(number >= *next, "lines of a thread stay in order");
        *next = number + 1;
    }
    let lost = 6_000 - u64::try_from(text.lines().count()).unwrap();
    assert_eq!(dropped.get(), lost, "what is not written is counted");
}

#[test]
fn a_writer_that_does_not_keep_up_costs_lines_not_time() {
    let ring = Ring {
        edge: "east-1".parse().unwrap(),
        with_query: true,
        dropped: Counter::default(),
        lines: Mutex::default(),
    };
    // Nobody writes.
    let log = AccessLog { ring: Arc::new(ring), writer: thread::current() };
    let asked = asked("/", b"x");
    while log.ring.dropped.get() < 10 {
        log.record(&entry(&asked));
    }
    let lines = log.ring.lock();
    let held: usize = lines.full.iter().map(Vec::len).sum();
    let most = (limits::ACCESS_LOG_BUFFERS_MAX + 1) * (limits::ACCESS_LOG_BUFFER_BYTES + 1_000);
    assert!(held + lines.current.len() <= most);
}

#[test]
fn the_file_is_opened_again_when_it_was_moved_away() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let (logs, _) = logs(&path, true);
    let log = logs.of_thread(1).unwrap();
    log.record(&entry(&asked("/before", b"x")));
    while std::fs::metadata(&path).unwrap().len() == 0 {
        logs.wake();
        thread::yield_now();
    }
    std::fs::rename(&path, &moved).unwrap();
    logs.reopen();
    while !path.exists() {
        thread::yield_now();
    }
    log.record(&entry(&asked("/after", b"x")));
    drop(logs);
    assert!(std::fs::read_to_string(moved).unwrap().contains("/before"));
    assert!(std::fs::read_to_string(path).unwrap().contains("/after"));
}

#[test]
fn a_file_that_cannot_be_written_costs_lines() {
    let mut sink = Sink::open(Path::new("/dev/full")).unwrap();
    assert_eq!(sink.write(b"{}\n{}\n"), Err(2));
    assert!(sink.failing);
    let missing = AccessLogs::open(
        Path::new("/nowhere/access.log"),
        &"east-1".parse().unwrap(),
        true,
        1,
        &Counter::default(),
    );
    assert!(missing.unwrap_err().to_string().contains("/nowhere/access.log"));
}
