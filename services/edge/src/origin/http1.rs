//! HTTP/1.1 to an origin, for requests without a body: the head goes out in one write, the
//! response's head is read, and the body owns the connection until it has come whole. There is no
//! task beside the one that asks.
//!
//! It does not choose connections (see [`super::pool`]), and sends no bodies.

mod body;
mod chunked;
mod head;

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

pub(super) use body::Http1Body;
use bytes::{Bytes, BytesMut};
use head::{Head, Reading};
use http::Response;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite as _, ReadBuf},
    time::{Instant, Sleep},
};

use super::{OriginResponse, TimedBody, connect::OriginStream, pool::Slot};
use crate::{limits, upstream::UpstreamHead};

/// Why a response is not sound. For the log.
type Unsound = &'static str;

thread_local! {
    /// What is read first goes here, so that a connection that waits holds no memory for it.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; limits::ORIGIN_READ_BYTES]);
    /// Where a request is written before it is sent.
    static WRITTEN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A connection to an origin.
pub(super) struct Connection {
    stream: OriginStream,
    alarm: Alarm,
}

/// Why there is no response.
#[derive(Debug)]
pub(super) enum Lost {
    /// Nothing of the request was sent.
    Unsent,
    /// The connection broke before the response's head had come.
    Broken(io::Error),
    Timeout,
    Unsound(Unsound),
}

impl Connection {
    /// A new connection. `silence_max` is how long the origin may take for the head of its
    /// response, and then be silent.
    pub(super) fn new(stream: OriginStream, silence_max: Duration) -> Box<Self> {
        Box::new(Self { stream, alarm: Alarm { silence_max, due: None, sleep: None } })
    }

    /// The bytes to and from the origin, of a connection that has nothing to do.
    pub(super) fn into_stream(self) -> OriginStream {
        self.stream
    }

    /// True if the origin has neither closed the connection nor said anything on it. What comes
    /// before it is asked for is no response: it could be taken for one of the next request.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut look = ReadBuf::new(&mut byte);
        let stream = &mut self.stream;
        // Unconstrained: else it could be told that nothing came because the task has done enough.
        let looking = poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut look));
        let looking = pin!(tokio::task::unconstrained(looking));
        looking.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Sends a request and reads the head of its response. When the body has come whole, the
    /// connection goes back to `home`.
    pub(super) async fn ask(
        mut self: Box<Self>,
        request: &UpstreamHead,
        home: &Arc<Slot>,
    ) -> Result<OriginResponse, Lost> {
        self.send(request).await?;
        let mut reading = Reading::new(request.interim.clone());
        let (head, behind) = poll_fn(|cx| self.poll_head(cx, &mut reading)).await?;
        self.alarm.calm();
        let framing = head.framing(&request.method);
        let home = (Arc::clone(home), head.keep);
        let silence_max = self.alarm.silence_max;
        let body = Http1Body::begin(self, framing, behind, home).map_err(Lost::Unsound)?;
        let mut response = Box::new(Response::new(TimedBody::of_http1(body, silence_max)));
        *response.status_mut() = head.status;
        *response.version_mut() = head.version;
        *response.headers_mut() = head.headers;
        Ok(response)
    }

    /// Sends a request from a buffer of the thread; what the origin does not take at once is copied.
    async fn send(&mut self, request: &UpstreamHead) -> Result<(), Lost> {
        let (mut sent, mut copied) = (0, None::<Box<[u8]>>);
        poll_fn(|cx| match &copied {
            Some(bytes) => self.poll_send(cx, bytes, &mut sent),
            None => WRITTEN.with_borrow_mut(|written| {
                written.clear();
                request.write_http1(written);
                let polled = self.poll_send(cx, written, &mut sent);
                copied = polled.is_pending().then(|| written.as_slice().into());
                polled
            }),
        })
        .await
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        sent: &mut usize,
    ) -> Poll<Result<(), Lost>> {
        let polled = loop {
            let rest = &bytes[*sent..];
            if rest.is_empty() {
                break Pin::new(&mut self.stream).poll_flush(cx);
            }
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => *sent += written,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        match polled {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
                Poll::Ready(Err(Lost::Timeout))
            }
            Poll::Ready(Err(_)) if *sent == 0 => Poll::Ready(Err(Lost::Unsent)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(Lost::Broken(error))),
            Poll::Pending => self.alarm.poll(cx).map(|()| Err(Lost::Timeout)),
        }
    }

    /// The head, with what came behind it.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        reading: &mut Reading,
    ) -> Poll<Result<(Head, Bytes), Lost>> {
        loop {
            let came =
                SCRATCH.with_borrow_mut(|scratch| match ready!(self.poll_scratch(cx, scratch)) {
                    Ok([]) => Poll::Ready(Err(Lost::Broken(io::ErrorKind::UnexpectedEof.into()))),
                    Ok(fresh) => Poll::Ready(reading.came(fresh).map_err(Lost::Unsound)),
                    Err(error) => Poll::Ready(Err(Lost::Broken(error))),
                });
            match came {
                Poll::Ready(Ok(Some(head))) => return Poll::Ready(Ok(head)),
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Err(lost)) => return Poll::Ready(Err(lost)),
                Poll::Pending => return self.alarm.poll(cx).map(|()| Err(Lost::Timeout)),
            }
        }
    }

    fn poll_scratch<'s>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &'s mut [u8],
    ) -> Poll<io::Result<&'s [u8]>> {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        let read = buffer.filled().len();
        Poll::Ready(Ok(&scratch[..read]))
    }

    /// What comes next, copied: few bytes hold no more memory than they need.
    fn poll_few(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        SCRATCH.with_borrow_mut(|scratch| {
            self.poll_scratch(cx, scratch).map_ok(Bytes::copy_from_slice)
        })
    }

    /// What comes next, up to `most` bytes, read to where it stays.
    fn poll_many(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<Bytes>> {
        let mut buffer = BytesMut::with_capacity(most);
        let mut limited = bytes::BufMut::limit(&mut buffer, most);
        ready!(pin!(self.stream.read_buf(&mut limited)).poll(cx))?;
        let wasteful = buffer.len() < most / 2;
        let bytes = if wasteful { Bytes::copy_from_slice(&buffer) } else { buffer.freeze() };
        Poll::Ready(Ok(bytes))
    }
}

/// Goes off when the origin was silent for too long. It is set only when there is something to
/// wait for, and the timer behind it is left as it is when that came: the next wait moves it.
#[derive(Debug)]
struct Alarm {
    silence_max: Duration,
    due: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Ready when it goes off. The time begins with the first call.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let due = *self.due.get_or_insert_with(|| now + self.silence_max);
        if due <= now {
            return Poll::Ready(());
        }
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if sleep.as_mut().poll(cx).is_ready() {
            // It was set for an earlier wait.
            sleep.as_mut().reset(due);
            return sleep.as_mut().poll(cx);
        }
        Poll::Pending
    }

    /// What was waited for came.
    fn calm(&mut self) {
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_alarm_goes_off_when_its_own_wait_is_over() {
        let silence_max = Duration::from_secs(10);
        let mut alarm = Alarm { silence_max, due: None, sleep: None };
        let rung = |alarm: &mut Alarm| {
            let mut cx = Context::from_waker(Waker::noop());
            alarm.poll(&mut cx).is_ready()
        };
        assert!(!rung(&mut alarm));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(!rung(&mut alarm));
        alarm.calm();
        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(!rung(&mut alarm), "nobody waited");
        let begun = Instant::now();
        poll_fn(|cx| alarm.poll(cx)).await;
        assert!(begun.elapsed() >= silence_max && begun.elapsed() < 2 * silence_max);
    }
}
