//! What stands in the OPT record of a reply beside the client subnet: cookie (RFC 7873), name of
//! this server (NSID, RFC 5001), how long a connection may be idle (RFC 7828), padding (RFC 7830).
//!
//! It also writes the reply to one who is over its rate, which is never larger than the query.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use headroom_units::Timestamp;

use crate::{
    Transport,
    cookies::{COOKIE_LENGTH, CookieSecret, Cookies, Standing},
    limits,
    message::{self, Edns, Rcode, Reply},
};

/// What a name server says and asks of those who speak EDNS.
#[derive(Debug, Default)]
pub(crate) struct EdnsPolicy {
    cookies: Option<Cookies>,
    nsid: Option<Arc<[u8]>>,
    /// Whether those who are connected are asked to leave.
    is_leaving: AtomicBool,
}

/// The options of one reply.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReplyOptions {
    /// The client's cookie and ours.
    pub(crate) cookie: Option<[u8; COOKIE_LENGTH]>,
    /// The name of this server.
    pub(crate) nsid: Option<Arc<[u8]>>,
    /// How long a connection may be idle, in units of 100 ms.
    pub(crate) keepalive: Option<u16>,
    /// Whether the reply is filled up so that its length tells little.
    pub(crate) is_padded: bool,
}

impl ReplyOptions {
    /// Those that a reply without records has too.
    pub(crate) fn essential(&self) -> Self {
        Self { nsid: None, ..self.clone() }
    }
}

impl EdnsPolicy {
    /// Cookies with these secrets, of which the first signs; without any there are no cookies.
    /// The server is told by `nsid` to those who ask.
    pub(crate) fn new(secrets: &[CookieSecret], nsid: Option<&str>) -> Self {
        let nsid = nsid.map(|name| name.as_bytes().into());
        Self { cookies: Cookies::new(secrets), nsid, is_leaving: AtomicBool::new(false) }
    }

    /// From now on those who are connected are told to ask nothing more there (RFC 7828 §3.2.2).
    pub(crate) fn ask_to_leave(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
    }

    /// How long a connection may be idle, in units of 100 ms.
    fn idle(&self) -> u16 {
        if self.is_leaving.load(Ordering::Relaxed) { 0 } else { IDLE }
    }

    /// The options that go back, and what the source has proved of itself by its cookie.
    pub(crate) fn options(
        &self,
        edns: Edns,
        source: IpAddr,
        transport: Transport,
        now: Timestamp,
    ) -> (ReplyOptions, Option<Standing>) {
        let cookie = edns.cookie.zip(self.cookies.as_ref());
        let checked = cookie.map(|(cookie, cookies)| cookies.check(cookie, source, now));
        let options = ReplyOptions {
            cookie: checked.map(|checked| checked.reply),
            nsid: self.nsid.clone().filter(|_| edns.asks_nsid),
            // RFC 7828 §3.2.1: not over UDP.
            keepalive: (edns.asks_keepalive && transport != Transport::Udp).then(|| self.idle()),
            // RFC 7830 §6: only where it is encrypted.
            is_padded: edns.asks_padding && transport == Transport::Tls,
        };
        (options, checked.map(|checked| checked.standing))
    }

    /// The reply over UDP to one that is over its rate and has not shown that it is real: an
    /// invitation to come over TCP, or with the cookie that is sent along. Without records, and
    /// never larger than the query. What is wrong with a query is told all the same.
    pub(crate) fn slip(&self, query: &[u8], source: IpAddr, now: Timestamp) -> Option<Vec<u8>> {
        let request = message::read(query)?;
        if let Some(rcode) = request.fault {
            return Some(message::write_bare(&request, &Reply::bare(rcode), false))
                .filter(|reply| reply.len() <= query.len());
        }
        let edns = request.edns.unwrap_or_default();
        let (options, standing) = self.options(edns, source, Transport::Udp, now);
        if standing == Some(Standing::Invalid) {
            // RFC 7873 §5.2.4: it is told to try again with what it gets.
            let options = ReplyOptions { cookie: options.cookie, ..ReplyOptions::default() };
            let reply = Reply { options, ..Reply::bare(Rcode::BADCOOKIE) };
            let reply = message::write_bare(&request, &reply, false);
            if reply.len() <= query.len() {
                return Some(reply);
            }
        }
        let reply = message::write_bare(&request, &Reply::bare(Rcode::NOERROR), true);
        Some(reply).filter(|reply| reply.len() <= query.len())
    }
}

/// [`limits::TCP_IDLE`] as the option says it (RFC 7828 §3.1).
const IDLE: u16 = {
    let tenths = limits::TCP_IDLE.as_millis() / 100;
    assert!(tenths <= u16::MAX as u128);
    #[expect(clippy::cast_possible_truncation, reason = "just asserted")]
    let tenths = tenths as u16;
    tenths
};

/// What a padding option takes in a message of `length` octets, so that it becomes a multiple of
/// the block (RFC 8467 §4.1): its data, without its code and length.
pub(crate) fn padding(length: usize) -> usize {
    let whole = (length + OPTION_HEAD).next_multiple_of(limits::PADDING_BLOCK);
    whole.min(limits::MESSAGE_MAX).saturating_sub(length + OPTION_HEAD)
}

/// The code and the length of an option.
const OPTION_HEAD: usize = 4;
