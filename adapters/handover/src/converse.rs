//! What the two processes say to each other, and how descriptors travel.

use std::{
    io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::{
    cmsg_space,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg, sockopt::socket_peercred,
    },
    process::geteuid,
};

use crate::{CONFIRMED, DRAINING, REFUSED, limits, patient};

/// What the first line begins with; the version and who is meant follow.
const HELLO: &str = "headroom-handover";
/// The version of this conversation: another is refused.
const VERSION: &str = "1";

/// The first line of the process that takes over.
pub(crate) fn hello(who: &str) -> String {
    format!("{HELLO} {VERSION} {who}\n")
}

/// The old process's side; it succeeds if the new one has confirmed.
pub(crate) fn converse(stream: UnixStream, who: &str, sockets: &[OwnedFd]) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let mut stream = patient(stream)?;
    if socket_peercred(&stream)?.uid != geteuid() {
        return refuse(&mut stream, "it is another user's".to_owned());
    }
    let said = line(&mut stream)?;
    if let Some(reason) = objection(&said, who) {
        return refuse(&mut stream, reason);
    }
    send(&stream, sockets)?;
    expect(&mut stream, CONFIRMED)?;
    stream.write_all(DRAINING)
}

/// Why the process that said this gets nothing.
fn objection(said: &str, who: &str) -> Option<String> {
    let mut words = said.splitn(3, ' ');
    if words.next() != Some(HELLO) {
        return Some("that is not how a hand-over begins".to_owned());
    }
    let version = words.next().unwrap_or_default();
    if version != VERSION {
        return Some(format!(
            "it speaks version {VERSION} of the hand-over, not {version}; stop it and start the \
             new one"
        ));
    }
    let asked = words.next().unwrap_or_default();
    (asked != who).then(|| format!("it serves {who}, not {asked}"))
}

fn refuse(stream: &mut UnixStream, reason: String) -> io::Result<()> {
    stream.write_all(&[&[REFUSED], reason.as_bytes(), b"\n"].concat())?;
    Err(io::Error::other(reason))
}

/// What is said up to the end of a line. Not read ahead: descriptors may follow.
fn line(stream: &mut UnixStream) -> io::Result<String> {
    let mut said = Vec::new();
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte)?;
        if byte == *b"\n" {
            return Ok(String::from_utf8_lossy(&said).into_owned());
        }
        if said.len() == limits::LINE_BYTES_MAX {
            return Err(io::Error::other("a line does not end"));
        }
        said.extend(byte);
    }
}

/// Reads what has to be said now.
pub(crate) fn expect(stream: &mut UnixStream, line: &[u8]) -> io::Result<()> {
    let mut said = vec![0; line.len()];
    stream.read_exact(&mut said)?;
    if said == line {
        return Ok(());
    }
    Err(io::Error::other(format!("{:?} was said", String::from_utf8_lossy(&said))))
}

/// In batches, each with one byte that says how many; a batch of none is the end.
fn send(stream: &UnixStream, sockets: &[OwnedFd]) -> io::Result<()> {
    for batch in sockets.chunks(limits::BATCH_MAX).chain([&[][..]]) {
        let fds: Vec<BorrowedFd<'_>> = batch.iter().map(|socket| socket.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(limits::BATCH_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::Error::other("the sockets do not fit into a message"));
        }
        let count = [u8::try_from(fds.len()).expect("a batch is smaller")];
        sendmsg(stream, &[IoSlice::new(&count)], &mut control, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// The sockets, or why the old process keeps them.
pub(crate) fn receive(stream: &mut UnixStream) -> io::Result<Result<Vec<OwnedFd>, String>> {
    let mut sockets = Vec::new();
    loop {
        let mut count = [0];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(limits::BATCH_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let got = recvmsg(&*stream, &mut [IoSliceMut::new(&mut count)], &mut control, flags)?;
        let rights = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let fds: Vec<OwnedFd> = rights.flatten().collect();
        if got.bytes == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if count == [REFUSED] {
            return line(stream).map(Err);
        }
        if got.flags.contains(ReturnFlags::CTRUNC) || fds.len() != usize::from(count[0]) {
            return Err(io::Error::other("some are missing: too few descriptors are allowed"));
        }
        if fds.is_empty() {
            return Ok(Ok(sockets));
        }
        sockets.extend(fds);
    }
}

const _: () = assert!(limits::BATCH_MAX < REFUSED as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_has_to_say_the_right_words() {
        let told = |said: &str| objection(said, "ns1").unwrap_or_default();
        assert_eq!(told(hello("ns1").trim_end()), "");
        assert_eq!(told(hello("ns2").trim_end()), "it serves ns1, not ns2");
        assert!(told("headroom-handover 2 ns1").contains("version 1 of the hand-over, not 2"));
        for said in ["", "GET / HTTP/1.1", "headroom-handover", "headroom-handover 1"] {
            assert_ne!(told(said), "", "{said}");
        }
    }
}
