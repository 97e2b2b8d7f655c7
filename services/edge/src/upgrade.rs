//! Upgrades to another protocol (RFC 9110 §7.8), WebSocket above all: asked of the origin if the
//! site allows it, and tunnelled after the origin's 101, never before.
//!
//! The connection to the origin is made for this and used for nothing else. An upgrade that is not
//! allowed is ignored: the request is an ordinary one. Upgrades to HTTP itself or to TLS are never
//! passed on: what came then would get past everything that is checked here.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONNECTION, UPGRADE},
    request::Parts,
};
use hyper::{
    body::Incoming,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional},
    time::{Sleep, sleep},
};

use crate::{
    body::{EdgeBody, Pause, Source, Tally},
    connection::Line,
    content::RequestBody,
    metrics::Outcome,
    origin::{FetchError, TimedBody},
    proxy::{Reply, Visit, Worker},
    pulse::Pulse,
    respond,
    respond::Refusal,
    socket::Socket,
    upstream::Purpose,
};

/// What is tunnelled when both sides have agreed.
#[derive(Debug)]
pub(crate) struct Tunnel {
    visitor: OnUpgrade,
    origin: OnUpgrade,
    tally: Tally,
}

/// A visitor's wish for another protocol.
pub(crate) struct Upgrade {
    pub(crate) protocol: HeaderValue,
    /// The visitor's bytes after the 101.
    pub(crate) visitor: OnUpgrade,
    pub(crate) line: Arc<Line>,
}

/// The protocol a visitor asks to change to, if it is one that may be tunnelled.
pub(crate) fn asked(request: &Request<Option<RequestBody>>) -> Option<HeaderValue> {
    let plain = request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && request.body().is_none();
    if plain { protocol(request.headers()).cloned() } else { None }
}

/// The one protocol that `headers` name in `Upgrade` and confirm in `Connection`.
fn protocol(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut named = headers.get_all(UPGRADE).iter();
    let (protocol, None) = (named.next()?, named.next()) else { return None };
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(byte);
    let name = protocol.as_bytes().split(|byte| *byte == b'/').next().unwrap_or_default();
    let ours =
        [&b"h2c"[..], b"h2", b"http", b"tls"].iter().any(|own| name.eq_ignore_ascii_case(own));
    let sound = !name.is_empty() && protocol.as_bytes().iter().all(token);
    let mut options = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii));
    let confirmed = options.any(|option| option.eq_ignore_ascii_case(b"upgrade"));
    (sound && !ours && confirmed).then_some(protocol)
}

impl Worker {
    /// Asks the origin to change to `protocol`. Anything but its 101 is an ordinary response.
    pub(crate) async fn upgrade(
        self: &Arc<Self>,
        visit: &Visit,
        parts: &Parts,
        asked: Upgrade,
    ) -> Reply {
        let Upgrade { protocol, visitor, line } = asked;
        let mut head = visit.upstream_head(parts, &self.shared.via, Purpose::Visitor)?;
        head.add(CONNECTION.as_str(), b"upgrade");
        head.add(UPGRADE.as_str(), protocol.as_bytes());
        let answer = self.origins.fetch_upgrade(&visit.site, head).await;
        let mut response = answer.map_err(Refusal::Fetch)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(self.ordinary(visit, response));
        }
        let agreed = self::protocol(response.headers());
        if !agreed.is_some_and(|agreed| agreed.as_bytes().eq_ignore_ascii_case(protocol.as_bytes()))
        {
            tracing::warn!(site = %visit.site.id, "an origin switches to what was not asked for");
            return Err(Refusal::Fetch(FetchError::Unsound));
        }
        let origin = hyper::upgrade::on(&mut response);
        line.tunnel(Tunnel { visitor, origin, tally: self.tally(visit) });
        let mut response = response.map(|_| EdgeBody::empty());
        headroom_cache::remove_hop_by_hop(response.headers_mut());
        respond::add_via(response.headers_mut(), &self.shared.via);
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(UPGRADE, protocol);
        Ok((Outcome::Upgraded, response))
    }

    /// The origin did not agree: its response is like any other.
    fn ordinary(
        self: &Arc<Self>,
        visit: &Visit,
        response: Response<Incoming>,
    ) -> (Outcome, Response<EdgeBody>) {
        let tally = self.tally(visit);
        let silence_max = self.shared.follow_max;
        let mut response = response.map(|body| {
            EdgeBody::streamed(
                Source::Origin(TimedBody::of_last_response(body, silence_max)),
                tally,
            )
        });
        headroom_cache::remove_hop_by_hop(response.headers_mut());
        respond::add_via(response.headers_mut(), &self.shared.via);
        respond::add_cache_status(response.headers_mut(), "headroom; fwd=request");
        (Outcome::Bypass, response)
    }
}

impl Tunnel {
    /// Carries bytes both ways until one side ends or nothing comes for too long.
    pub(crate) async fn run(self, pulse: &Pulse) {
        let carried = pulse.unless_cut(async {
            let (visitor, origin) = (self.visitor.await.ok()?, self.origin.await.ok()?);
            let parts = visitor.downcast::<TokioIo<Socket>>().ok()?;
            if !parts.read_buf.is_empty() {
                // Sent before the 101: whether it was meant for the origin, nobody knows.
                tracing::debug!("a visitor spoke before the protocol was changed");
                return None;
            }
            let mut socket = parts.io.into_inner();
            socket.become_tunnel();
            let mut visitor = Metered { socket, tally: self.tally, paid: 0, pause: None };
            let mut origin: TokioIo<Upgraded> = TokioIo::new(origin);
            copy_bidirectional(&mut visitor, &mut origin).await.ok()
        });
        match carried.await {
            Some(Some((from_visitor, to_visitor))) => {
                tracing::debug!(from_visitor, to_visitor, "a tunnel ended");
            }
            Some(None) => tracing::debug!("a tunnel broke off"),
            None => tracing::debug!("a tunnel is closed: nothing went through"),
        }
    }
}

/// Counts what goes to the visitor, and keeps to what is purchased.
struct Metered {
    socket: Socket,
    tally: Tally,
    /// Bytes that are paid and not yet sent.
    paid: usize,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Metered {
    /// How many of `wanted` bytes may be sent now.
    fn poll_paid(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        while self.paid == 0 && wanted > 0 {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match self.tally.take(wanted) {
                Ok(paid) => self.paid = paid,
                Err(Pause::For(time)) => self.pause = Some(Box::pin(sleep(time))),
                Err(Pause::ForEver) => {
                    return Poll::Ready(Err(io::Error::other("nothing is purchased any more")));
                }
            }
        }
        Poll::Ready(Ok(wanted.min(self.paid)))
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let paid = ready!(this.poll_paid(cx, buf.len()))?;
        let written = ready!(Pin::new(&mut this.socket).poll_write(cx, &buf[..paid]))?;
        this.paid -= written;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(fields: &[(&'static str, &'static str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        protocol(&headers).map(|protocol| protocol.to_str().unwrap().to_owned())
    }

    #[test]
    fn one_protocol_that_is_confirmed_is_asked_for() {
        let upgrade = ("connection", "keep-alive, Upgrade");
        assert_eq!(asks(&[("upgrade", "websocket"), upgrade]).as_deref(), Some("websocket"));
        assert_eq!(asks(&[("upgrade", "WebSocket"), upgrade]).as_deref(), Some("WebSocket"));
        assert_eq!(asks(&[("upgrade", "foo/2"), upgrade]).as_deref(), Some("foo/2"));
        assert_eq!(asks(&[("upgrade", "websocket")]), None);
        assert_eq!(asks(&[upgrade]), None);
        assert_eq!(asks(&[("upgrade", "a"), ("upgrade", "b"), upgrade]), None);
        for value in ["", "a, b", "h2c", "H2C", "TLS/1.2", "HTTP/2.0", "web socket"] {
            assert_eq!(asks(&[("upgrade", value), upgrade]), None, "{value}");
        }
    }
}
