//! Two processes of a hand-over, played by two tasks of one.

use std::{
    io::Read as _,
    net::{TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use super::*;

fn listeners(count: usize) -> Vec<OwnedFd> {
    (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap().into()).collect()
}

fn addresses(sockets: &[OwnedFd]) -> Vec<String> {
    let address = |socket: &OwnedFd| {
        TcpListener::from(socket.try_clone().unwrap()).local_addr().unwrap().to_string()
    };
    sockets.iter().map(address).collect()
}

async fn ask(path: &Path, who: &str) -> Result<Option<Taken>, HandoverError> {
    let (path, who) = (path.to_owned(), who.to_owned());
    spawn_blocking(move || Taken::ask(&path, &who)).await.unwrap()
}

async fn confirm(taken: Taken) {
    spawn_blocking(move || taken.confirm()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sockets_go_over_and_the_old_process_learns_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("handover.sock");
    assert!(ask(&path, "east-1").await.unwrap().is_none(), "nobody is there");
    let held = listeners(150);
    let expected = addresses(&held);
    let offer = Offer::bind(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let stop = CancellationToken::new();
    let old = tokio::spawn(async move { offer.hand_over("east-1", held, &stop).await });
    let second = refuse_second(&path, "east-1").unwrap_err().to_string();
    assert!(second.starts_with("another process serves east-1, it listens on "), "{second}");
    let other = ask(&path, "west-1").await.unwrap_err().to_string();
    assert!(other.ends_with("refuses: it serves east-1, not west-1"), "{other}");
    // One that dies before it confirms changes nothing.
    drop(ask(&path, "east-1").await.unwrap().unwrap());
    assert!(!old.is_finished());
    let taken = ask(&path, "east-1").await.unwrap().unwrap();
    assert_eq!(addresses(&taken.sockets), expected);
    confirm(taken).await;
    assert!(old.await.unwrap());
    assert!(ask(&path, "east-1").await.unwrap().is_none(), "nobody is there any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_at_a_socket_goes_over_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("handover.sock");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"before", socket.local_addr().unwrap()).unwrap();
    let offer = Offer::bind(&path).unwrap();
    let stop = CancellationToken::new();
    let held = vec![socket.into()];
    let old = tokio::spawn(async move { offer.hand_over("ns1", held, &stop).await });
    let mut taken = ask(&path, "ns1").await.unwrap().unwrap();
    let socket = UdpSocket::from(taken.sockets.remove(0));
    confirm(taken).await;
    assert!(old.await.unwrap());
    client.send_to(b"after", socket.local_addr().unwrap()).unwrap();
    for expected in [&b"before"[..], b"after"] {
        let mut came = [0; 16];
        let length = socket.recv(&mut came).unwrap();
        assert_eq!(&came[..length], expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_confirms_too_late_asks_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("handover.sock");
    let offer = Offer::bind(&path).unwrap();
    let stop = CancellationToken::new();
    let held = listeners(1);
    let old = tokio::spawn(async move { offer.hand_over("east-1", held, &stop).await });
    let taken = ask(&path, "east-1").await.unwrap().unwrap();
    // As if the old one had lost its patience.
    taken.old.shutdown(std::net::Shutdown::Both).unwrap();
    confirm(taken).await;
    assert!(old.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_is_told_and_gets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("handover.sock");
    let offer = Offer::bind(&path).unwrap();
    let stop = CancellationToken::new();
    let (held, stopping) = (listeners(1), stop.clone());
    let old = tokio::spawn(async move { offer.hand_over("east-1", held, &stopping).await });
    let said = spawn_blocking(move || {
        let mut stream = connect(&path).unwrap().unwrap();
        stream.write_all(b"headroom-handover 9 east-1\n").unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).unwrap();
        said
    });
    let said = said.await.unwrap();
    assert_eq!(said[0], REFUSED);
    assert!(
        String::from_utf8_lossy(&said[1..]).starts_with("it speaks version 1 of the hand-over")
    );
    assert!(!old.is_finished());
    stop.cancel();
    assert!(!old.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stops_hands_over_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("handover.sock");
    let offer = Offer::bind(&path).unwrap();
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let held = listeners(1);
    let address = addresses(&held).remove(0);
    let old = tokio::spawn(async move { offer.hand_over("east-1", held, &stopping).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    stop.cancel();
    assert!(!old.await.unwrap());
    assert!(TcpStream::connect(address).is_err(), "the listener is closed");
    assert!(ask(&path, "east-1").await.unwrap().is_none(), "nobody is there any more");
    refuse_second(&path, "east-1").unwrap();
}

#[tokio::test]
async fn the_socket_of_the_next_process_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("handover.sock");
    let old = Offer::bind(&path).unwrap();
    let _new = Offer::bind(&path).unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    assert!(!old.hand_over("east-1", Vec::new(), &stop).await);
    assert!(refuse_second(&path, "east-1").is_err(), "the next one is there");
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("handover.sock");
    fs::write(&path, "a letter").unwrap();
    assert_eq!(Offer::bind(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&path).unwrap(), "a letter");
}
