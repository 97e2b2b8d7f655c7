//! NOTIFY: a primary tells that a zone has changed (RFC 1996).
//!
//! A call only makes us ask, so little can be done with a forged one: it is taken from an address
//! of a primary, or with a primary's signature, and a zone is asked for a few times a second at most.

use std::net::IpAddr;

use domain::base::{
    Message, MessageBuilder, Rtype, ToName as _,
    iana::{Class, Opcode, Rcode},
};
use headroom_units::Timestamp;

use super::{Secondaries, Secondary};
use crate::{
    limits,
    message::Name,
    tsig::{self, Signed},
};

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotifyOutcome {
    /// The zone will be asked for.
    Taken,
    /// It is not for us, or not from a primary.
    Refused,
}

/// QR, and the opcode where it stands in a header.
const QR: u8 = 0x80;
const OPCODE: u8 = 0x78;
const NOTIFY: u8 = 4 << 3;

impl Secondaries {
    /// Answers a call; none if the message is no call.
    pub(crate) fn hear(
        &self,
        message: &[u8],
        source: IpAddr,
        now: Timestamp,
    ) -> Option<(Vec<u8>, NotifyOutcome)> {
        if message.len() < limits::HEADER_LENGTH || message[2] & (QR | OPCODE) != NOTIFY {
            return None;
        }
        let mut octets = message.to_vec();
        let mut signed = match tsig::check_request(self.keys(), &mut octets, now) {
            Ok(signed) => signed,
            Err(turned) => {
                let is_malformed = turned.is_malformed();
                let rcode = if is_malformed { Rcode::FORMERR } else { Rcode::NOTAUTH };
                tracing::warn!(%source, fault = %turned.fault, "a NOTIFY is not taken");
                let mut answer = answer(message, rcode);
                turned.finish(&mut answer, now);
                return Some((answer, NotifyOutcome::Refused));
            }
        };
        let rcode = self.take(&octets, source, signed.as_ref());
        let mut answer = answer(&octets, rcode);
        if let Some(signed) = &mut signed {
            signed.sign_answer(&mut answer, now);
        }
        let is_taken = rcode == Rcode::NOERROR;
        let outcome = if is_taken { NotifyOutcome::Taken } else { NotifyOutcome::Refused };
        Some((answer, outcome))
    }

    fn take(&self, octets: &[u8], source: IpAddr, signed: Option<&Signed<'_>>) -> Rcode {
        let question = Message::from_slice(octets).ok().and_then(|message| {
            let question = message.sole_question().ok()?;
            Some((question.qname().to_name(), question.qtype(), question.qclass()))
        });
        let Some((name, rtype, class)) = question else { return Rcode::FORMERR };
        let zone: Name = name;
        if rtype != Rtype::SOA || class != Class::IN {
            return Rcode::NOTIMP;
        }
        let Some(secondary) = self.by_name.get(&zone) else { return Rcode::NOTAUTH };
        if !secondary.has(source, signed) {
            tracing::warn!(%zone, %source, "a NOTIFY comes from none of the zone's primaries");
            return Rcode::REFUSED;
        }
        tracing::info!(%zone, %source, "a primary tells that a zone has changed");
        secondary.called.notify_one();
        Rcode::NOERROR
    }
}

impl Secondary {
    /// Whether a call comes from a primary of this zone.
    fn has(&self, source: IpAddr, signed: Option<&Signed<'_>>) -> bool {
        let source = source.to_canonical();
        self.primaries.iter().any(|primary| match signed {
            Some(signed) => {
                primary.key.as_deref().is_some_and(|key| key.name() == signed.key().name())
            }
            None => primary.address.ip() == source,
        })
    }
}

/// An answer that repeats what it answers: its id, opcode and question, and says that we speak EDNS
/// if the other side does.
fn answer(octets: &[u8], rcode: Rcode) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    let header = builder.header_mut();
    header.set_id(u16::from_be_bytes([octets[0], octets[1]]));
    header.set_qr(true);
    header.set_opcode(Opcode::NOTIFY);
    header.set_aa(rcode == Rcode::NOERROR);
    header.set_rcode(rcode);
    let mut question = builder.question();
    let message = Message::from_slice(octets).ok();
    if let Some(asked) = message.and_then(|message| message.sole_question().ok()) {
        question.push(asked).expect("a question fits");
    }
    let mut additional = question.additional();
    if message.is_some_and(|message| message.opt().is_some()) {
        let size = |opt: &mut domain::base::message_builder::OptBuilder<'_, _>| {
            opt.set_udp_payload_size(limits::UDP_ANSWER_MAX);
            Ok(())
        };
        additional.opt(size).expect("an OPT record fits");
    }
    additional.finish()
}
