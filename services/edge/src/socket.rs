//! A visitor's connection as hyper sees it: in the clear or over TLS, with somebody who looks at
//! its bytes and notes how it goes.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

use crate::{
    guard::Guard,
    http2::frame::PREFACE,
    memory_file::FilePart,
    pulse::{Awaited, Pulse, Stage},
    tls::TlsStream,
};

/// The bytes below HTTP.
#[derive(Debug)]
pub(crate) enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream>),
}

/// Who looks at the bytes.
#[derive(Debug)]
enum Follow {
    Http1(Guard),
    /// Nobody any more: they broke a rule.
    Refused,
    /// Nobody: they are not HTTP.
    Nothing,
}

/// A visitor's connection.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Stream,
    /// The first bytes, which were read before it was known who looks at them.
    begun: Vec<u8>,
    follow: Follow,
    pulse: Arc<Pulse>,
}

/// Reads as far as is needed to tell HTTP/2 with prior knowledge from HTTP/1 (RFC 9113 §3.3).
pub(crate) async fn begin(stream: &mut TcpStream) -> io::Result<(Vec<u8>, Stage)> {
    let mut begun = [0; PREFACE.len()];
    let mut length = 0;
    while length < PREFACE.len() && PREFACE.starts_with(&begun[..length]) {
        match stream.read(&mut begun[length..]).await? {
            0 => break,
            read => length += read,
        }
    }
    let stage = if begun == PREFACE { Stage::Http2 } else { Stage::Http1 };
    Ok((begun[..length].to_vec(), stage))
}

impl Socket {
    /// A connection that speaks HTTP/1.1.
    pub(crate) fn new(stream: Stream, begun: Vec<u8>, pulse: Arc<Pulse>) -> Self {
        pulse.enter(Stage::Http1);
        Self { stream, begun, follow: Follow::Http1(Guard::default()), pulse }
    }

    /// Lets pass whatever comes from now on: it is not HTTP any more.
    pub(crate) fn become_tunnel(&mut self) {
        self.follow = Follow::Nothing;
        self.pulse.enter(Stage::Tunnel);
    }

    fn awaits(&self) -> Awaited {
        match &self.follow {
            Follow::Http1(guard) if guard.is_between() => Awaited::Request,
            Follow::Http1(guard) if guard.is_in_head() => Awaited::Head,
            _ => Awaited::More,
        }
    }

    /// Passes on what was read before.
    fn take_begun(&mut self, buf: &mut ReadBuf<'_>) {
        if !self.begun.is_empty() {
            let taken = self.begun.len().min(buf.remaining());
            buf.put_slice(&self.begun[..taken]);
            self.begun.drain(..taken);
            self.begun.shrink_to_fit();
        }
    }

    /// What hyper reads behind a line that was spoiled, instead of what the visitor sends: the end
    /// of a head, without which it does not look at a head that came in pieces; then nothing more.
    fn end_of_refused(&mut self) -> Option<&'static [u8]> {
        match &self.follow {
            Follow::Http1(guard) if guard.is_refused() => {
                self.follow = Follow::Refused;
                Some(b"\r\n\r\n")
            }
            Follow::Refused => Some(b""),
            _ => None,
        }
    }

    fn went(&mut self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(sent)) => self.pulse.taken(*sent),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.pulse.stuck(true),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if let Some(end) = this.end_of_refused() {
            buf.put_slice(&end[..end.len().min(buf.remaining())]);
            return Poll::Ready(Ok(()));
        }
        this.take_begun(buf);
        if buf.remaining() > 0 {
            match Pin::new(&mut this.stream).poll_read(cx, buf) {
                Poll::Ready(read) => read?,
                Poll::Pending if buf.filled().len() > before => {}
                Poll::Pending => {
                    this.pulse.awaits(this.awaits());
                    return Poll::Pending;
                }
            }
        }
        this.pulse.awaits(Awaited::Nothing);
        let came = &mut buf.filled_mut()[before..];
        this.pulse.moved(came.len());
        if let Follow::Http1(guard) = &mut this.follow {
            guard.inspect(came);
            this.pulse.progress(guard.heads());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.went(&result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.went(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Over TLS it is here that what was written goes out.
        let result = Pin::new(&mut this.stream).poll_flush(cx);
        this.pulse.stuck(result.is_pending());
        result
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.pulse.stuck(result.is_pending());
        result
    }
}

impl Stream {
    /// Whether the system may send files over it by itself.
    pub(crate) fn sends_files(&self) -> bool {
        matches!(self, Self::Clear(_))
    }

    /// Sends the beginning of `part`, as much as is taken.
    pub(crate) fn poll_send_file(
        &self,
        part: &FilePart,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.poll_with(|stream| part.send(stream), cx)
    }

    /// Writes what a file follows: it goes with the file.
    pub(crate) fn poll_write_before_file(
        &self,
        parts: &[io::IoSlice<'_>],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        let send = |stream: &TcpStream| {
            Ok(sendmsg(stream, parts, &mut SendAncillaryBuffer::default(), flags)?)
        };
        self.poll_with(send, cx)
    }

    fn poll_with(
        &self,
        mut send: impl FnMut(&TcpStream) -> io::Result<usize>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let Self::Clear(stream) = self else {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        };
        loop {
            ready!(stream.poll_write_ready(cx))?;
            match stream.try_io(Interest::WRITABLE, || send(stream)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Clear(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
