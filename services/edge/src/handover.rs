//! Hot restart: the listeners go from the process that serves to the one that replaces it.
//!
//! ```text
//!  new: plan loaded, caches open              old: serves, listens on the hand-over socket
//!    │ ── hello, version, edge ───────────────► │ same user? same edge?
//!    │ ◄────────────── listeners (SCM_RIGHTS) ── │
//!    │ accepts                                   │ accepts
//!    │ ── confirmed ──────────────────────────► │
//!    │ ◄──────────────────────────── draining ── │
//!    │ listens on the hand-over socket           │ accepts no more, drains, ends
//! ```
//!
//! Both hold the same sockets, so that no connection is in a queue that nobody accepts from. If
//! the new one dies before it confirms, the old one goes on as if nothing had been. What becomes
//! of connections and meters is not known here.
//!
//! A process that ends leaves the file of its hand-over socket: behind it nobody answers, and the
//! next one puts its own in its place. To remove it would race with that.

use std::{
    fs,
    io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    net::TcpListener,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::Path,
    sync::Arc,
};

use headroom_units::EdgeId;
use rustix::{
    cmsg_space,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg, sockopt::socket_peercred,
    },
    process::geteuid,
};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::{EdgeError, limits};

const CONFIRMED: &[u8] = b"confirmed\n";
const DRAINING: &[u8] = b"draining\n";
/// Listeners per message: below what the kernel passes at a time (253).
const BATCH: usize = 64;

fn hello(edge: &EdgeId) -> String {
    format!("headroom-handover 1 {edge}\n")
}

fn failed(path: &Path, reason: impl ToString) -> EdgeError {
    EdgeError::Handover { path: path.to_owned(), reason: reason.to_string() }
}

/// Listeners of another process, which goes on with them until [`Taken::confirm`].
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) listeners: Vec<TcpListener>,
    old: UnixStream,
}

impl Taken {
    /// Asks the process behind the socket at `path` for its listeners. `None` if there is none.
    pub(crate) fn ask(path: &Path, edge: &EdgeId) -> Result<Option<Self>, EdgeError> {
        let Some(mut old) = connect(path).map_err(|error| failed(path, error))? else {
            return Ok(None);
        };
        let asked = old.write_all(hello(edge).as_bytes()).and_then(|()| receive(&old));
        match asked {
            Ok(listeners) => Ok(Some(Self { listeners, old })),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(failed(path, "the process behind it refuses: it serves another edge or user"))
            }
            Err(error) => Err(failed(path, format!("the listeners did not come: {error}"))),
        }
    }

    /// Tells the old process that this one serves. If that took too long for it, it goes on: then
    /// it is asked once more, so that no two processes serve side by side.
    pub(crate) fn confirm(mut self, path: &Path, edge: &EdgeId) {
        let Err(late) = self.say_confirmed() else { return };
        tracing::warn!(error = %late, "the process before this one did not wait");
        match Self::ask(path, edge) {
            Ok(None) => {}
            Ok(Some(mut again)) => {
                if let Err(error) = again.say_confirmed() {
                    tracing::error!(%error, "the process before this one may go on; stop it");
                }
            }
            Err(error) => tracing::error!(%error, "the process before this one may go on; stop it"),
        }
    }

    fn say_confirmed(&mut self) -> io::Result<()> {
        self.old.write_all(CONFIRMED)?;
        expect(&mut self.old, DRAINING)
    }
}

/// Refuses to start beside a process that serves the same edge: both would listen, and answer from
/// different states.
pub(crate) fn refuse_second(path: &Path) -> Result<(), EdgeError> {
    match connect(path) {
        Ok(Some(_)) => {
            Err(failed(path, "another process serves this edge; take over from it, or stop it"))
        }
        Ok(None) => Ok(()),
        Err(error) => {
            let path = path.display();
            tracing::warn!(%path, %error, "whether another process serves this edge is not known");
            Ok(())
        }
    }
}

/// A connection to the process behind `path`, if there is one.
fn connect(path: &Path) -> io::Result<Option<UnixStream>> {
    match UnixStream::connect(path) {
        Ok(stream) => patient(stream).map(Some),
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn patient(stream: UnixStream) -> io::Result<UnixStream> {
    stream.set_read_timeout(Some(limits::HANDOVER_TIME_MAX))?;
    stream.set_write_timeout(Some(limits::HANDOVER_TIME_MAX))?;
    Ok(stream)
}

/// The hand-over socket of a process that serves.
#[derive(Debug)]
pub(crate) struct Offer {
    listener: UnixListener,
}

impl Offer {
    /// Listens at `path`, in place of whatever is there. Nobody but this user gets in.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let beside = path.with_extension("new");
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&beside)?;
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        fs::rename(&beside, path)?;
        Ok(Self { listener })
    }

    /// Hands the listeners to whoever asks, until one confirms (true) or `stop` (false).
    pub(crate) async fn hand_over(
        self,
        edge: &EdgeId,
        listeners: Vec<TcpListener>,
        stop: &CancellationToken,
    ) -> bool {
        let Ok(listener) = tokio::net::UnixListener::from_std(self.listener) else { return false };
        let listeners = Arc::new(listeners);
        loop {
            let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else {
                return false;
            };
            let (edge, listeners) = (edge.clone(), Arc::clone(&listeners));
            let conversed = async {
                let stream = accepted?.0.into_std()?;
                spawn_blocking(move || converse(stream, &edge, &listeners)).await?
            };
            match conversed.await {
                Ok(()) => {
                    tracing::info!("the listeners are handed over");
                    return true;
                }
                Err(error) => {
                    tracing::warn!(%error, "the listeners are not handed over: this process goes on");
                    tokio::time::sleep(limits::ACCEPT_REST).await;
                }
            }
        }
    }
}

/// The old process's side; it succeeds if the new one has confirmed.
fn converse(stream: UnixStream, edge: &EdgeId, listeners: &[TcpListener]) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let mut stream = patient(stream)?;
    let peer = socket_peercred(&stream)?.uid;
    if peer != geteuid() {
        return Err(io::Error::other("another user asks for the listeners"));
    }
    expect(&mut stream, hello(edge).as_bytes())?;
    send(&stream, listeners)?;
    expect(&mut stream, CONFIRMED)?;
    stream.write_all(DRAINING)
}

fn expect(stream: &mut UnixStream, line: &[u8]) -> io::Result<()> {
    let mut said = vec![0; line.len()];
    stream.read_exact(&mut said)?;
    if said == line {
        return Ok(());
    }
    Err(io::Error::other(format!("{:?} was said", String::from_utf8_lossy(&said))))
}

/// In batches, each with one byte that says how many; a batch of none is the end.
fn send(stream: &UnixStream, listeners: &[TcpListener]) -> io::Result<()> {
    for batch in listeners.chunks(BATCH).chain([&[][..]]) {
        let fds: Vec<BorrowedFd<'_>> = batch.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(BATCH))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::Error::other("the listeners do not fit into a message"));
        }
        let count = [u8::try_from(fds.len()).unwrap_or(u8::MAX)];
        sendmsg(stream, &[IoSlice::new(&count)], &mut control, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

fn receive(stream: &UnixStream) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    loop {
        let mut count = [0];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(BATCH))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let got = recvmsg(stream, &mut [IoSliceMut::new(&mut count)], &mut control, flags)?;
        let rights = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let fds: Vec<OwnedFd> = rights.flatten().collect();
        if got.bytes == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if got.flags.contains(ReturnFlags::CTRUNC) || fds.len() != usize::from(count[0]) {
            return Err(io::Error::other("some are missing: too few descriptors are allowed"));
        }
        if fds.is_empty() {
            return Ok(listeners);
        }
        listeners.extend(fds.into_iter().map(TcpListener::from));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn edge() -> EdgeId {
        "east-1".parse().unwrap()
    }

    fn listeners(count: usize) -> Vec<TcpListener> {
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect()
    }

    fn addresses(listeners: &[TcpListener]) -> Vec<String> {
        listeners.iter().map(|held| held.local_addr().unwrap().to_string()).collect()
    }

    async fn ask(path: &Path, edge: &str) -> Result<Option<Taken>, EdgeError> {
        let (path, edge) = (path.to_owned(), edge.parse().unwrap());
        spawn_blocking(move || Taken::ask(&path, &edge)).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn all_listeners_go_over_and_the_old_process_learns_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("handover.sock");
        assert!(ask(&path, "east-1").await.unwrap().is_none(), "nobody is there");
        let held = listeners(150);
        let expected = addresses(&held);
        let offer = Offer::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let stop = CancellationToken::new();
        let old = tokio::spawn(async move { offer.hand_over(&edge(), held, &stop).await });
        assert!(refuse_second(&path).unwrap_err().to_string().contains("another process"));
        assert!(ask(&path, "west-1").await.unwrap_err().to_string().contains("another edge"));
        // One that dies before it confirms changes nothing.
        drop(ask(&path, "east-1").await.unwrap().unwrap());
        assert!(!old.is_finished());
        let taken = ask(&path, "east-1").await.unwrap().unwrap();
        assert_eq!(addresses(&taken.listeners), expected);
        let socket = path.clone();
        spawn_blocking(move || taken.confirm(&socket, &edge())).await.unwrap();
        assert!(old.await.unwrap());
        assert!(ask(&path, "east-1").await.unwrap().is_none(), "nobody is there any more");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_confirms_too_late_asks_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("handover.sock");
        let offer = Offer::bind(&path).unwrap();
        let stop = CancellationToken::new();
        let held = listeners(1);
        let old = tokio::spawn(async move { offer.hand_over(&edge(), held, &stop).await });
        let taken = ask(&path, "east-1").await.unwrap().unwrap();
        // As if the old one had lost its patience.
        taken.old.shutdown(std::net::Shutdown::Both).unwrap();
        let socket = path.clone();
        spawn_blocking(move || taken.confirm(&socket, &edge())).await.unwrap();
        assert!(old.await.unwrap());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_process_that_stops_hands_over_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("handover.sock");
        let offer = Offer::bind(&path).unwrap();
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let held = listeners(1);
        let address = held[0].local_addr().unwrap();
        let old = tokio::spawn(async move { offer.hand_over(&edge(), held, &stopping).await });
        tokio::time::sleep(Duration::from_millis(20)).await;
        stop.cancel();
        assert!(!old.await.unwrap());
        assert!(std::net::TcpStream::connect(address).is_err(), "the listener is closed");
        assert!(ask(&path, "east-1").await.unwrap().is_none(), "nobody is there any more");
        refuse_second(&path).unwrap();
    }

    #[tokio::test]
    async fn the_socket_of_the_next_process_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("handover.sock");
        let old = Offer::bind(&path).unwrap();
        let _new = Offer::bind(&path).unwrap();
        let stop = CancellationToken::new();
        stop.cancel();
        assert!(!old.hand_over(&edge(), Vec::new(), &stop).await);
        assert!(refuse_second(&path).is_err(), "the next one is there");
    }
}
