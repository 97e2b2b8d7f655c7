//! A connection with its socket: what it holds while it waits.

use std::time::Duration;

use headroom_bus::Bus;
use headroom_units::Scheme;
use prometheus_client::registry::Registry;
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
};

use super::{
    frame::{END_STREAM, FrameHead},
    *,
};
use crate::{
    Edge, EdgeConfig, Running, VisitorConfig, connection::Peer, origin::Origins, proxy::Worker,
    pulse::Watch, testing,
};

fn config() -> EdgeConfig {
    EdgeConfig {
        id: "east-1".parse().unwrap(),
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        threads: 1,
        cache_bytes: "8 MiB".parse().unwrap(),
        cache_directory: None,
        cache_disk_bytes: "64 MiB".parse().unwrap(),
        burst: Duration::from_millis(250),
        origin_connect_timeout: Duration::from_millis(500),
        origin_response_timeout: Duration::from_millis(500),
        origin_ca_file: None,
        allow_private_origins: true,
        object_bytes_max: "256 KiB".parse().unwrap(),
        plan_file: None,
        running: Running::default(),
        visitors: VisitorConfig::default(),
    }
}

/// A connection of an edge, and its visitor.
async fn connection() -> (Http2, TcpStream) {
    let config = config();
    let mut edge =
        Edge::bind(config.clone(), &Bus::in_process(), &mut Registry::default()).unwrap();
    let empty = edge.shared.table.load_full();
    let plan = testing::plan(1, Vec::new());
    let table = empty.with_plan(&plan, headroom_clock::now()).unwrap();
    edge.shared.table.store(Arc::new(table));
    let worker = Arc::new(Worker {
        shared: Arc::clone(&edge.shared),
        counts: edge.threads.remove(0),
        origins: Origins::new(&config, edge.origin_tls.clone(), Arc::clone(&edge.shared)),
        log: None,
    });
    let watch = Arc::new(Watch::new(worker.shared.times));
    let hall = Arc::new(Hall::new(Arc::clone(&worker), watch, None));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let visitor = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, address) = listener.accept().await.unwrap();
    let seat = hall.seat(address.ip()).unwrap();
    let peer = Peer { address: address.ip(), scheme: Scheme::Http };
    let line = Arc::new(Line::new(worker, peer, None, Arc::clone(&seat.under.pulse)));
    (Http2::new(hall, line, Stream::Clear(stream), Vec::new()), visitor)
}

/// A request whose fields the visitor wants to refer to later, with so much of it.
fn request(stream: u32, agent: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x84];
    for (index, value) in [(1, "nobody.example"), (58, agent)] {
        block.push(0x40 | index);
        block.push(u8::try_from(value.len()).unwrap());
        block.extend(value.as_bytes());
    }
    let mut out = Vec::new();
    frame::write(&mut out, frame::HEADERS, frame::END_HEADERS | END_STREAM, stream, &block);
    out
}

/// Reads until the end of the response on `stream`, while the connection goes on.
async fn answered(connection: &mut Http2, visitor: &mut TcpStream, stream: u32) {
    let reading = async {
        let mut bytes = Vec::new();
        loop {
            let mut rest = &bytes[..];
            while let Some(head) = FrameHead::read(rest) {
                let Some(next) = rest.get(frame::HEAD_BYTES + head.length..) else { break };
                if head.stream == stream && head.has(END_STREAM) {
                    return;
                }
                rest = next;
            }
            assert!(visitor.read_buf(&mut bytes).await.unwrap() > 0);
        }
    };
    tokio::select! {
        end = poll_fn(|cx| connection.poll(cx)) => panic!("{end}"),
        () = reading => {}
    }
}

#[tokio::test]
async fn a_connection_that_waits_holds_no_buffers() {
    let (mut connection, mut visitor) = connection().await;
    let mut begin = frame::PREFACE.to_vec();
    frame::write_settings(&mut begin, &[(frame::INITIAL_WINDOW_SIZE, 1 << 20)]);
    visitor.write_all(&begin).await.unwrap();
    let asked: Vec<u8> = (0..50).flat_map(|number| request(2 * number + 1, "one")).collect();
    visitor.write_all(&asked).await.unwrap();
    answered(&mut connection, &mut visitor, 99).await;
    // What it was told to remember, and nothing else.
    let remembered = connection.session.memory();
    assert_eq!(connection.memory(), remembered);
    assert!(remembered <= 3 * limits::H2_TABLE_BYTES_MAX, "{remembered}");
    // And that may be forgotten.
    let mut out = Vec::new();
    frame::write(&mut out, frame::HEADERS, frame::END_HEADERS | END_STREAM, 101, &[0x20, 0x82]);
    visitor.write_all(&out).await.unwrap();
    let reset = async { while visitor.read_u8().await.unwrap() != frame::RST_STREAM {} };
    tokio::select! {
        end = poll_fn(|cx| connection.poll(cx)) => panic!("{end}"),
        () = reset => {}
    }
    // A head is missing most of its fields, and we remember that its stream was reset: not here, as
    // it was at its end.
    assert_eq!(connection.memory(), 0);
}

#[tokio::test]
async fn the_state_of_a_connection_is_small() {
    assert!(size_of::<Http2>() <= 512, "{}", size_of::<Http2>());
}
